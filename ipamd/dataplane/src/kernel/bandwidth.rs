//! Limits of a pod's bandwidth: token buckets on links of the node, out of the pod's reach.
//!
//! Towards the pod, the bucket is the root qdisc of the host's end. What comes from the pod
//! is redirected from the host's end to an ifb device, whose root qdisc is the bucket; the
//! kernel then goes on with it as having come from the host's end. The ifb device is found
//! by its name, and is ours by its link group. It does not go with the host's end.

use super::errno::Refusal;
use super::link::{self, Link};
use super::netlink::{Change, Socket};
use super::qdisc;
use super::worker::Host;
use crate::KernelError;
use crate::bandwidth::{TokenBucket, host_index_of, ifb_name};
use crate::plan::{DYING_GROUP, EndpointPlan, POD_GROUP, Repair};

/// Makes what is missing of an endpoint's limits and answers what it was. On links that
/// are down, as those of a new endpoint are, nothing waits for the kernel.
pub(crate) fn ensure(
    host: &mut Host,
    plan: &EndpointPlan,
    host_index: u32,
) -> Result<Vec<Repair>, KernelError> {
    let mut missing = Vec::new();
    if let Some(limit) = plan.bandwidth.to_pod {
        let bucket = limit.bucket(plan.mtu);
        let (socket, name) = (&mut host.socket, &plan.host_link);
        if let Some(what) = differs(socket, host_index, name, &bucket)? {
            host.socket
                .apply(vec![qdisc::put_bucket(host_index, name, &bucket)])?;
            missing.push(what);
        }
    }
    if let Some(limit) = plan.bandwidth.from_pod {
        let bucket = limit.bucket(plan.mtu);
        missing.extend(ensure_from_pod(host, plan, host_index, &bucket)?);
    }
    Ok(missing)
}

/// How a link's bucket differs from the one that is wanted.
fn differs(
    socket: &mut Socket,
    index: u32,
    name: &str,
    wanted: &TokenBucket,
) -> Result<Option<Repair>, KernelError> {
    let found = qdisc::bucket(socket, index)
        .map_err(|refusal| refusal.during(format!("look the qdisc of {name} up")))?;
    Ok(match found {
        None => Some(Repair::limit(
            format!("the limit of {name} (qdisc tbf)"),
            "missing",
        )),
        Some(found) if qdisc::same(&found, wanted) => None,
        Some(found) => Some(Repair::limit(
            format!("the limit of {name}"),
            format!(
                "{} byte/s with a burst of {} and a limit of {} bytes, expected {}, {} and {}",
                found.rate, found.burst, found.limit, wanted.rate, wanted.burst, wanted.limit
            ),
        )),
    })
}

fn ensure_from_pod(
    host: &mut Host,
    plan: &EndpointPlan,
    host_index: u32,
    bucket: &TokenBucket,
) -> Result<Vec<Repair>, KernelError> {
    let (name, mut missing) = (ifb_name(host_index), Vec::new());
    let mut changes = Vec::new();
    let ifb = match present(&mut host.socket, &name)? {
        Some(ifb) => ifb,
        None => {
            let object = format!("the ifb device {name} of {}", plan.host_link);
            missing.push(Repair::limit(object, "missing"));
            make(&mut host.socket, &name)?
        }
    };
    if let Some(what) = differs(&mut host.socket, ifb.index, &name, bucket)? {
        // Before the device is up, so that it has never been without.
        changes.push(qdisc::put_bucket(ifb.index, &name, bucket));
        missing.push(what);
    }
    if !ifb.up {
        changes.push(link::no_generated_addresses(ifb.index, &name));
        changes.push(link::alias(
            ifb.index,
            &name,
            &format!("what comes from {}", plan.host_link),
        ));
        changes.push(link::up(ifb.index, &name));
        missing.push(Repair::limit(name.clone(), "down"));
    }
    if host.redirects_by_itself {
        // A filter of ours is from before there was an enforcement, which has no place beside it.
        if !led(host, plan, host_index)?.is_empty() {
            changes.push(qdisc::remove_clsact(host_index, &plan.host_link));
        }
    } else if led(host, plan, host_index)? != [ifb.index] {
        changes.extend(redirect(plan, host_index, ifb.index));
        let object = format!("the redirection from {} to {name}", plan.host_link);
        missing.push(Repair::limit(object, "missing"));
    }
    host.socket.apply(changes)?;
    Ok(missing)
}

fn redirect(plan: &EndpointPlan, host_index: u32, to: u32) -> [Change; 3] {
    let name = plan.host_link.as_str();
    [
        qdisc::put_clsact(host_index, name),
        qdisc::remove_redirect(host_index, name),
        qdisc::put_redirect(host_index, name, to),
    ]
}

/// Where filters of ours lead what comes from the pod.
fn led(host: &mut Host, plan: &EndpointPlan, host_index: u32) -> Result<Vec<u32>, KernelError> {
    qdisc::redirects(&mut host.socket, host_index)
        .map_err(|refusal| refusal.during(format!("list the filters of {}", plan.host_link)))
}

fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>, KernelError> {
    link::by_name(socket, name).map_err(|refusal| refusal.during(format!("look {name} up")))
}

/// The ifb device of a name that is ours and not dying.
fn present(socket: &mut Socket, name: &str) -> Result<Option<Link>, KernelError> {
    match find(socket, name)? {
        Some(found) if !found.is_our_ifb() => Err(KernelError::LinkTaken(name.to_owned())),
        Some(dying) if dying.group == DYING_GROUP => {
            socket.apply(vec![link::delete(dying.index, name)])?;
            Ok(None)
        }
        found => Ok(found),
    }
}

/// Makes the ifb device, down.
fn make(socket: &mut Socket, name: &str) -> Result<Link, KernelError> {
    let made = link::create_ifb(socket, name).map_err(|refusal: Refusal| {
        refusal.during(format!("create the ifb device {name} for a limit"))
    })?;
    let found = match made {
        Some(link) => Some(link),
        None => find(socket, name)?,
    };
    found.ok_or_else(|| KernelError::NoSuchLink(name.to_owned()))
}

/// Takes away what a failed ADD has made for limits; the rest goes with the host's end.
pub(super) fn undo(host: &mut Host, plan: &EndpointPlan, host_index: u32) {
    if plan.bandwidth.from_pod.is_none() {
        return;
    }
    let name = ifb_name(host_index);
    let found = find(&mut host.socket, &name);
    let undone = found.and_then(|found| match found.filter(Link::is_our_ifb) {
        Some(ifb) => Ok(host.socket.apply(vec![link::delete(ifb.index, &name)])?),
        None => Ok(()),
    });
    if let Err(error) = undone {
        tracing::error!(link = name, %error, "failed to undo a pod's limit; the audit will");
    }
}

/// Takes an endpoint's ifb device down and into the dying group. What comes from the pod
/// after that is dropped.
pub(crate) fn remove(host: &mut Host, host_index: u32) -> Result<(), KernelError> {
    let name = ifb_name(host_index);
    if let Some(ifb) = find(&mut host.socket, &name)?
        && ifb.is_our_ifb()
        && ifb.group == POD_GROUP
    {
        host.socket
            .apply(vec![link::mark_dying(ifb.index, &name)])?;
    }
    Ok(())
}

/// Whether an ifb device of ours serves no endpoint: its host's end is gone, or others
/// have renamed it. One that is dying is the reaper's.
pub(crate) fn is_stray(socket: &mut Socket, ifb: &Link) -> Result<bool, KernelError> {
    if ifb.group == DYING_GROUP {
        return Ok(false);
    }
    let Some(host_index) = host_index_of(&ifb.name) else {
        return Ok(true);
    };
    let served = link::by_index(socket, host_index)
        .map_err(|refusal| refusal.during(format!("look link {host_index} up")))?;
    Ok(!served.is_some_and(|link| link.is_ours()))
}

/// Deletes an ifb device of ours that serves no endpoint.
pub(crate) fn remove_stray(host: &mut Host, index: u32) -> Result<bool, KernelError> {
    let found = link::by_index(&mut host.socket, index)
        .map_err(|refusal| refusal.during(format!("look link {index} up")))?;
    match found {
        Some(ifb) if ifb.is_our_ifb() && is_stray(&mut host.socket, &ifb)? => {
            host.socket.apply(vec![link::delete(index, &ifb.name)])?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// How an endpoint's limits differ from its plan, in words.
pub(crate) fn check(
    host: &mut Host,
    plan: &EndpointPlan,
    host_index: u32,
) -> Result<Vec<String>, KernelError> {
    let mut texts = Vec::new();
    if let Some(limit) = plan.bandwidth.to_pod {
        let bucket = limit.bucket(plan.mtu);
        let found = differs(&mut host.socket, host_index, &plan.host_link, &bucket)?;
        texts.extend(found.map(|limit| limit.now()));
    }
    let Some(limit) = plan.bandwidth.from_pod else {
        return Ok(texts);
    };
    let name = ifb_name(host_index);
    let Some(ifb) = find(&mut host.socket, &name)?.filter(Link::is_our_ifb) else {
        texts.push(format!(
            "the ifb device {name} of {} is missing",
            plan.host_link
        ));
        return Ok(texts);
    };
    let bucket = limit.bucket(plan.mtu);
    let found = differs(&mut host.socket, ifb.index, &name, &bucket)?;
    texts.extend(found.map(|limit| limit.now()));
    if !ifb.up {
        texts.push(format!("{name} is down"));
    }
    // Where the enforcement leads it there, it does so with every admission.
    if !host.redirects_by_itself && led(host, plan, host_index)? != [ifb.index] {
        texts.push(format!(
            "the redirection from {} to {name} is missing",
            plan.host_link
        ));
    }
    Ok(texts)
}
