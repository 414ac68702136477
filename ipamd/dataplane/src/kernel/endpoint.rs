//! A pod's network: how it is made, completed and taken away.
//!
//! Nothing here lists a table or runs a program, and only the way of an error
//! deletes a link.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::errno::Refusal;
use super::link::{self, Link};
use super::netlink::{Change, Refused};
use super::route::{self, MAIN_TABLE, Route};
use super::rule::{FROM_PODS, Rule};
use super::worker::{Host, Pod};
use super::{address, errno, neighbour, settings};
use crate::KernelError;
use crate::plan::{
    DYING_GROUP, DefaultRoute, EndpointLinks, EndpointPlan, GATEWAY_V4, GATEWAY_V6, POD_GROUP,
    POD_TABLE, PodAddress,
};

/// Prefix length of the host end's link-local address. A shorter one would bring a
/// route and an anycast address per pod, and the kernel walks all IPv6 routes
/// whenever a link comes up or goes.
const GATEWAY_V6_LENGTH: u8 = 128;

/// The next hop that a pod uses for a family.
pub(crate) fn gateway(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => GATEWAY_V4.into(),
        IpAddr::V6(_) => GATEWAY_V6.into(),
    }
}

/// The route by which the node reaches a pod.
pub(crate) fn host_route(plan: &EndpointPlan, address: IpAddr, host_index: u32) -> Route {
    let mut route = Route::to(address, POD_TABLE, host_index);
    route.preferred_source = plan
        .node_addresses
        .iter()
        .copied()
        .find(|node| node.is_ipv4() == address.is_ipv4());
    route
}

/// Gives a pod its network, or completes what is missing of it.
pub(crate) fn add(
    host: &mut Host,
    plan: &EndpointPlan,
    namespace: &OwnedFd,
) -> Result<EndpointLinks, KernelError> {
    let (mut pod, prepared) = host.enter(namespace.as_fd(), || match plan.no_ipv6 {
        true => settings::switch_ipv6_off(),
        false => Ok(()),
    })?;
    prepared?;
    let pair = ensure_pair(host, &mut pod, plan, namespace.as_fd())?;
    let connected = connect(host, &mut pod, plan, &pair, namespace.as_fd());
    match connected {
        Ok(()) => Ok(EndpointLinks {
            host_index: pair.host_index,
            pod_index: pair.pod_index,
            namespace_cookie: pod.cookie,
        }),
        Err(error) => {
            if pair.fresh {
                let undo = vec![link::delete(pair.host_index, &plan.host_link)];
                let rules = rules(plan, pair.pod_index).into_iter().map(Rule::remove);
                let undone = host.socket.apply(undo);
                let cleared = pod.socket.apply(rules.collect());
                for Refused { operation, refusal } in
                    [undone, cleared].into_iter().filter_map(Result::err)
                {
                    tracing::error!(operation, ?refusal, "failed to undo a pod's network");
                }
            }
            Err(error)
        }
    }
}

/// Completes the host's side of an endpoint whose veth pair exists.
pub(crate) fn complete_host_side(
    host: &mut Host,
    plan: &EndpointPlan,
) -> Result<EndpointLinks, KernelError> {
    let missing = || KernelError::NoSuchLink(plan.host_link.clone());
    let link = find(&mut host.socket, &plan.host_link)?.ok_or_else(missing)?;
    if !link.is_ours() || link.group != POD_GROUP {
        return Err(KernelError::LinkTaken(plan.host_link.clone()));
    }
    if link.mac != plan.host_mac {
        // The pod sends to the MAC that it was told of.
        let change = link::mac(link.index, &link.name, plan.host_mac);
        host.socket.apply(vec![change])?;
    }
    let pair = Pair {
        host_index: link.index,
        pod_index: link.peer.unwrap_or_default(),
        fresh: false,
    };
    host.socket.apply(on_host(plan, &pair))?;
    Ok(EndpointLinks {
        host_index: pair.host_index,
        pod_index: pair.pod_index,
        namespace_cookie: 0,
    })
}

struct Pair {
    host_index: u32,
    pod_index: u32,
    /// Made by this call, so undone by it as well.
    fresh: bool,
}

fn ensure_pair(
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
        host_index: link.index,
        pod_index,
        fresh: true,
    })
}

fn find(socket: &mut super::netlink::Socket, name: &str) -> Result<Option<Link>, KernelError> {
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
            return bury(host, &hosts_end);
        }
        if let Some(pods_end) = pods_end
            && hosts_end.is_ours()
            && hosts_end.mac == plan.host_mac
            && pods_end.mac == plan.pod_mac
            && are_a_pair(&hosts_end, &pods_end)
        {
            return Ok(Some(Pair {
                host_index: hosts_end.index,
                pod_index: pods_end.index,
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
            return bury(host, &peer);
        }
    }
    Err(KernelError::LinkTaken(plan.pod_link.clone()))
}

fn are_a_pair(one: &Link, other: &Link) -> bool {
    one.peer == Some(other.index) && other.peer == Some(one.index)
}

fn bury(host: &mut Host, dying: &Link) -> Result<Option<Pair>, KernelError> {
    host.socket
        .apply(vec![link::delete(dying.index, &dying.name)])?;
    Ok(None)
}

/// Everything after the veth pair. The pod's end comes up first and has no carrier
/// until the host's end is up, which happens when all else in the pod is done.
fn connect(
    host: &mut Host,
    pod: &mut Pod,
    plan: &EndpointPlan,
    pair: &Pair,
    namespace: BorrowedFd<'_>,
) -> Result<(), KernelError> {
    settings::ignore_router_advertisements(&plan.host_link)?;
    match pod.socket.apply(in_pod(plan, pair, pair.fresh)) {
        Err(refused) if refused.refusal.family_disabled() && wants_ipv6(plan) => {
            host.within(namespace, || settings::allow_ipv6(&plan.pod_link))?;
            pod.socket.apply(in_pod(plan, pair, false))?;
        }
        Err(refused) if refused.refusal.exists() => {
            let reason = io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the pod has one already that Veni did not make for this interface",
            );
            return Err(errno::refused(refused.operation, reason));
        }
        other => other?,
    }
    host.socket.apply(on_host(plan, pair))?;
    await_carrier(pod, plan, pair)
}

/// The end that came up first gets its carrier from a work queue, and drops what the
/// pod sends until that has run. To be asked about the link makes the kernel do it
/// now (6.7); before that, a pod takes longer to start than the queue.
fn await_carrier(pod: &mut Pod, plan: &EndpointPlan, pair: &Pair) -> Result<(), KernelError> {
    let found = link::by_index(&mut pod.socket, pair.pod_index)
        .map_err(|refusal| refusal.during(format!("look {} up in the pod", plan.pod_link)))?;
    found.map(drop).ok_or(KernelError::NamespaceGone)
}

fn wants_ipv6(plan: &EndpointPlan) -> bool {
    plan.routed().iter().any(|pod| pod.address.is_ipv6())
}

/// The changes inside the pod's namespace. `fresh`: nothing of it is there yet, so
/// what is there is somebody else's and refused.
fn in_pod(plan: &EndpointPlan, pair: &Pair, fresh: bool) -> Vec<Change> {
    let (index, name) = (pair.pod_index, plan.pod_link.as_str());
    let lenient = |change: Change| match fresh {
        true => change,
        false => change.unless(Refusal::exists),
    };
    let mut changes = vec![
        link::no_generated_addresses(index, name),
        link::up(index, name),
    ];
    for PodAddress { address } in plan.routed() {
        let gateway = gateway(address);
        let length = address::host_length(address);
        changes.push(lenient(address::add(index, name, address, length)));
        changes.push(neighbour::put(index, name, gateway, plan.host_mac));
        let routes = pod_routes(plan, gateway, index).into_iter();
        changes.extend(routes.map(|route| lenient(route.add(name))));
        if plan.default_route == DefaultRoute::InFront {
            let front = Route::default_by(gateway, MAIN_TABLE, index);
            changes.push(lenient(front.add_in_front(name)));
        }
    }
    changes.extend(rules(plan, index).into_iter().map(Rule::add));
    changes
}

/// The routes in the pod by one of its next hops, but for a default route in front of
/// others. An interface with a table of its own has the next hop in the main table as
/// well, with a metric of its own: who wants its default route there (Multus, when asked
/// for `default-route`) adds it by that next hop.
pub(crate) fn pod_routes(plan: &EndpointPlan, gateway: IpAddr, index: u32) -> Vec<Route> {
    let hop = |table| Route::to(gateway, table, index);
    match plan.own_table(index) {
        None => vec![
            hop(MAIN_TABLE),
            Route::default_by(gateway, MAIN_TABLE, index),
        ],
        Some(table) => vec![
            Route {
                metric: Some(table),
                ..hop(MAIN_TABLE)
            },
            hop(table),
            Route::default_by(gateway, table, index),
        ],
    }
}

/// The rules in the pod that lead packets from the interface's addresses into its own
/// table.
pub(crate) fn rules(plan: &EndpointPlan, index: u32) -> Vec<Rule> {
    let table = plan.own_table(index);
    let routed = plan.routed().into_iter();
    let rules = routed.filter_map(|pod| {
        let source = route::single(pod.address);
        Some(Rule::from(source, FROM_PODS, table?))
    });
    rules.collect()
}

/// Takes an endpoint's rules out of the pod's namespace, and a default route in front of
/// others, which has to serve no longer than it can; all else goes with its link.
pub(crate) fn clear_namespace(
    host: &mut Host,
    plan: &EndpointPlan,
    links: &EndpointLinks,
    namespace: &OwnedFd,
) -> Result<(), KernelError> {
    let rules = rules(plan, links.pod_index);
    if rules.is_empty() {
        return Ok(());
    }
    let mut pod = match host.enter(namespace.as_fd(), || ()) {
        Err(KernelError::NamespaceGone) => return Ok(()),
        other => other?.0,
    };
    if pod.cookie != links.namespace_cookie {
        return Ok(());
    }
    let mut changes: Vec<Change> = rules.into_iter().map(Rule::remove).collect();
    if plan.default_route == DefaultRoute::InFront {
        let gateways = plan.routed().into_iter().map(|pod| gateway(pod.address));
        let front = |hop| Route::default_by(hop, MAIN_TABLE, links.pod_index).remove();
        changes.extend(gateways.map(front));
    }
    pod.socket.apply(changes)?;
    Ok(())
}

fn on_host(plan: &EndpointPlan, pair: &Pair) -> Vec<Change> {
    let (index, name) = (pair.host_index, plan.host_link.as_str());
    let mut changes = vec![link::no_generated_addresses(index, name)];
    if wants_ipv6(plan) {
        // The node asks for its pods' MACs from this address.
        let gateway = address::add(index, name, GATEWAY_V6.into(), GATEWAY_V6_LENGTH);
        changes.push(gateway.unless(Refusal::exists));
    }
    changes.push(link::up(index, name));
    for pod in plan.routed() {
        changes.push(host_route(plan, pod.address, index).put(name));
    }
    changes
}

/// Takes a pod's network away.
pub(crate) fn remove(
    host: &mut Host,
    addresses: &[PodAddress],
    host_link_index: Option<u32>,
) -> Result<(), KernelError> {
    let mut changes = Vec::with_capacity(addresses.len() + 1);
    for PodAddress { address } in addresses.iter().copied() {
        let mut route = Route::to(address, POD_TABLE, 0);
        route.link_index = host_link_index;
        changes.push(route.remove());
    }
    if let Some(index) = host_link_index {
        let found = link::by_index(&mut host.socket, index)
            .map_err(|refusal| refusal.during(format!("look link {index} up")))?;
        // The index may be somebody else's by now; the group says whose it is.
        if let Some(link) = found
            && link.is_ours()
            && link.group == POD_GROUP
        {
            changes.push(link::condemn(index, &link.name));
        }
    }
    host.socket.apply(changes)?;
    Ok(())
}

/// Deletes what is dying and answers what is left of it.
pub(crate) fn reap(host: &mut Host, dying: &[u32]) -> Result<Vec<u32>, KernelError> {
    host.socket.apply(vec![link::delete_dying()])?;
    let mut left = Vec::new();
    for index in dying.iter().copied() {
        let found = link::by_index(&mut host.socket, index)
            .map_err(|refusal| refusal.during(format!("look link {index} up")))?;
        if found.is_some_and(|link| link.is_ours() && link.group == DYING_GROUP) {
            left.push(index);
        }
    }
    Ok(left)
}
