//! A pod's veth pair: made, found made, or refused because somebody else has a name.

use std::os::fd::BorrowedFd;

use crate::KernelError;
use crate::kernel::link::{self, Link};
use crate::kernel::netlink::Socket;
use crate::kernel::worker::{Host, Pod};
use crate::plan::{DYING_GROUP, EndpointLinks, EndpointPlan};

/// A pod's veth pair.
pub(super) struct Pair {
    pub(super) links: EndpointLinks,
    /// Made by this call, so undone by it as well.
    pub(super) fresh: bool,
}

/// Makes the pair, or finds it made.
pub(super) fn ensure(
    host: &mut Host,
    pod: &mut Pod,
    plan: &EndpointPlan,
    namespace: BorrowedFd<'_>,
) -> Result<Pair, KernelError> {
    // Twice: the second time without the remains of an endpoint that was removed
    // a moment ago and still holds one of the names.
    for _ in 0..2 {
        match link::create_pair(&mut host.socket, plan, namespace) {
            Ok(echo) => return made(host, pod, plan, echo),
            Err(refusal) if refusal.exists() => {
                if let Some(pair) = present(host, pod, plan)? {
                    return Ok(pair);
                }
            }
            Err(refusal) => return Err(refusal.during(creating(plan))),
        }
    }
    Err(KernelError::LinkTaken(plan.host_link.clone()))
}

fn creating(plan: &EndpointPlan) -> String {
    format!(
        "create veth pair {} with {} in the pod",
        plan.host_link, plan.pod_link
    )
}

/// The indexes of the pair that was made: from the echo, or looked up where the
/// kernel does not echo (before 6.2).
fn made(
    host: &mut Host,
    pod: &mut Pod,
    plan: &EndpointPlan,
    echo: Option<Link>,
) -> Result<Pair, KernelError> {
    let found = match echo {
        Some(link) if link.peer.is_some() => Some(link),
        _ => find(&mut host.socket, &plan.host_link)?,
    };
    let link = found.ok_or_else(|| KernelError::NoSuchLink(plan.host_link.clone()))?;
    let pod_index = match link.peer {
        Some(index) => index,
        None => {
            find(&mut pod.socket, &plan.pod_link)?
                .ok_or(KernelError::NamespaceGone)?
                .index
        }
    };
    Ok(Pair {
        links: links(pod, link.index, pod_index),
        fresh: true,
    })
}

fn links(pod: &Pod, host_index: u32, pod_index: u32) -> EndpointLinks {
    EndpointLinks {
        host_index,
        pod_index,
        namespace_cookie: pod.cookie,
    }
}

/// A link by its name.
pub(super) fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>, KernelError> {
    link::by_name(socket, name).map_err(|refusal| refusal.during(format!("look {name} up")))
}

/// One of the names is taken: by this very endpoint, which is answered; by one that
/// is dying, which is deleted at last (`None`); or by somebody else's link.
fn present(
    host: &mut Host,
    pod: &mut Pod,
    plan: &EndpointPlan,
) -> Result<Option<Pair>, KernelError> {
    let pods_end = find(&mut pod.socket, &plan.pod_link)?;
    if let Some(hosts_end) = find(&mut host.socket, &plan.host_link)? {
        if hosts_end.is_ours() && hosts_end.group == DYING_GROUP {
            return delete_dying(host, &hosts_end);
        }
        // The names are the same for every ADD of a pod; the MACs are chosen anew by each.
        if let Some(pods_end) = pods_end
            && hosts_end.is_ours()
            && hosts_end.mac == plan.host_mac
            && pods_end.mac == plan.pod_mac
            && are_a_pair(&hosts_end, &pods_end)
        {
            return Ok(Some(Pair {
                links: links(pod, hosts_end.index, pods_end.index),
                fresh: false,
            }));
        }
        return Err(KernelError::LinkTaken(plan.host_link.clone()));
    }
    let Some(pods_end) = pods_end else {
        return Ok(None); // gone between the two requests
    };
    if let Some(index) = pods_end.peer {
        let peer = link::by_index(&mut host.socket, index)
            .map_err(|refusal| refusal.during(format!("look link {index} up")))?;
        if let Some(peer) = peer
            && peer.is_ours()
            && peer.group == DYING_GROUP
            && are_a_pair(&peer, &pods_end)
        {
            return delete_dying(host, &peer);
        }
    }
    Err(KernelError::LinkTaken(plan.pod_link.clone()))
}

fn are_a_pair(one: &Link, other: &Link) -> bool {
    one.peer == Some(other.index) && other.peer == Some(one.index)
}

fn delete_dying(host: &mut Host, dying: &Link) -> Result<Option<Pair>, KernelError> {
    host.socket
        .apply(vec![link::delete(dying.index, &dying.name)])?;
    Ok(None)
}
