//! A pod's network: how it is made, completed and taken away.
//!
//! Nothing here lists a table or runs a program, and only the way of an error
//! deletes a link.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::bandwidth;
use super::errno::Refusal;
use super::link;
use super::netlink::{Change, Refused};
use super::route::{self, MAIN_TABLE, Route};
use super::rule::{FROM_PODS, Rule};
use super::worker::{Host, Pod};
use super::{address, errno, host_ports, neighbour, settings};
use crate::host_ports::HostPort;
use crate::plan::{
    DYING_GROUP, DefaultRoute, EndpointLinks, EndpointPlan, GATEWAY_V4, GATEWAY_V6, POD_GROUP,
    POD_TABLE, PodAddress,
};
use crate::{Enforcement, KernelError, enforcement};
use pair::Pair;

mod pair;

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
    enforcement: &dyn Enforcement,
    plan: &EndpointPlan,
    namespace: &OwnedFd,
) -> Result<EndpointLinks, KernelError> {
    let (mut pod, prepared) = host.enter(namespace.as_fd(), || match plan.no_ipv6 {
        true => settings::switch_ipv6_off(),
        false => Ok(()),
    })?;
    prepared?;
    let pair = pair::ensure(host, &mut pod, plan, namespace.as_fd())?;
    let in_the_pod = connect_pod(host, &mut pod, plan, &pair, namespace.as_fd());
    let connected = in_the_pod.and_then(|()| {
        bandwidth::ensure(host, plan, pair.links.host_index)?;
        // The pod's end has no carrier yet: nothing passes that is not admitted.
        enforcement::admit(enforcement, plan, &pair.links)?;
        on_host(host, plan, pair.links.host_index)?;
        await_carrier(&mut pod, plan, &pair)
    });
    match connected {
        Ok(()) => Ok(pair.links),
        Err(error) => {
            if pair.fresh {
                bandwidth::undo(host, plan, pair.links.host_index);
                undo(host, &mut pod, plan, &pair);
                enforcement::undo(enforcement, plan, &pair.links);
            }
            Err(error)
        }
    }
}

/// Takes away what a failed ADD has made in the kernel.
fn undo(host: &mut Host, pod: &mut Pod, plan: &EndpointPlan, pair: &Pair) {
    if let Err(error) = host_ports::remove(host, &plan.host_ports()) {
        tracing::error!(%error, "failed to undo a pod's ports of the node");
    }
    let pair_away = vec![link::delete(pair.links.host_index, &plan.host_link)];
    // No link takes them along: a rule by source names none.
    let rules = rules(plan, pair.links.pod_index).into_iter();
    let undone = host.socket.apply(pair_away);
    let cleared = pod.socket.apply(rules.map(Rule::remove).collect());
    for Refused { operation, refusal } in [undone, cleared].into_iter().filter_map(Result::err) {
        tracing::error!(operation, ?refusal, "failed to undo a pod's network");
    }
}

/// Completes the host's side of an endpoint whose veth pair exists.
pub(crate) fn complete_host_side(
    host: &mut Host,
    enforcement: &dyn Enforcement,
    plan: &EndpointPlan,
) -> Result<EndpointLinks, KernelError> {
    let missing = || KernelError::NoSuchLink(plan.host_link.clone());
    let link = pair::find(&mut host.socket, &plan.host_link)?.ok_or_else(missing)?;
    if !link.is_ours() || link.group != POD_GROUP {
        return Err(KernelError::LinkTaken(plan.host_link.clone()));
    }
    if link.mac != plan.host_mac {
        // The pod sends to the MAC that it was told of.
        let change = link::mac(link.index, &link.name, plan.host_mac);
        host.socket.apply(vec![change])?;
    }
    let links = EndpointLinks {
        host_index: link.index,
        pod_index: link.peer.unwrap_or_default(),
        namespace_cookie: 0,
    };
    bandwidth::ensure(host, plan, links.host_index)?;
    enforcement::admit(enforcement, plan, &links)?;
    on_host(host, plan, links.host_index)?;
    Ok(links)
}

/// Everything in the pod. Its end comes up first and has no carrier until the host's end
/// is up, which happens when all this is done.
fn connect_pod(
    host: &mut Host,
    pod: &mut Pod,
    plan: &EndpointPlan,
    pair: &Pair,
    namespace: BorrowedFd<'_>,
) -> Result<(), KernelError> {
    settings::ignore_router_advertisements(&plan.host_link)?;
    let present = match pair.fresh {
        true => Present::IsOthers,
        false => Present::IsOurs,
    };
    match pod.socket.apply(in_pod(plan, pair, present)) {
        Err(refused) if refused.refusal.family_disabled() && wants_ipv6(plan) => {
            host.within(namespace, || settings::allow_ipv6(&plan.pod_link))?;
            // The first attempt may have made the IPv4 half.
            pod.socket.apply(in_pod(plan, pair, Present::IsOurs))?;
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
    Ok(())
}

/// The end that came up first gets its carrier from a work queue, and drops what the
/// pod sends until that has run. To be asked about the link makes the kernel do it
/// now (6.7); before that, a pod takes longer to start than the queue.
fn await_carrier(pod: &mut Pod, plan: &EndpointPlan, pair: &Pair) -> Result<(), KernelError> {
    let found = link::by_index(&mut pod.socket, pair.links.pod_index)
        .map_err(|refusal| refusal.during(format!("look {} up in the pod", plan.pod_link)))?;
    found.map(drop).ok_or(KernelError::NamespaceGone)
}

fn wants_ipv6(plan: &EndpointPlan) -> bool {
    plan.routed().iter().any(|pod| pod.address.is_ipv6())
}

/// Whose the addresses and routes are that a pod has already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Present {
    /// Another plugin's: the interface has just been made. They are refused.
    IsOthers,
    /// Made for this interface before. They are kept.
    IsOurs,
}

/// The changes inside the pod's namespace.
fn in_pod(plan: &EndpointPlan, pair: &Pair, present: Present) -> Vec<Change> {
    let (index, name) = (pair.links.pod_index, plan.pod_link.as_str());
    let lenient = |change: Change| match present {
        Present::IsOthers => change,
        Present::IsOurs => change.unless(Refusal::exists),
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

/// Takes an endpoint's rules out of the pod's namespace, and its default route in front of
/// others, so that the pod's other interfaces serve at once; all else goes with its link.
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
    // The path may lead to another namespace by now; its cookie never comes again.
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

/// The host's side, and last of all what leads others to the pod.
fn on_host(host: &mut Host, plan: &EndpointPlan, index: u32) -> Result<(), KernelError> {
    let ports = plan.host_ports();
    host.socket.apply(host_changes(plan, &ports, index))?;
    host_ports::put(host, &ports)
}

fn host_changes(plan: &EndpointPlan, ports: &[HostPort], index: u32) -> Vec<Change> {
    let name = plan.host_link.as_str();
    let mut changes = vec![link::no_generated_addresses(index, name)];
    if ports.iter().any(HostPort::serves_loopback) {
        changes.push(link::route_loopback(index, name));
    }
    if wants_ipv6(plan) {
        // The node asks for its pods' MACs from this address.
        let gateway = address::add(index, name, GATEWAY_V6.into(), GATEWAY_V6_LENGTH);
        changes.push(gateway.unless(Refusal::exists));
    }
    // The kernel takes no route by a link that is down.
    changes.push(link::up(index, name));
    for pod in plan.routed() {
        changes.push(host_route(plan, pod.address, index).put(name));
    }
    changes
}

/// Takes a pod's network away.
pub(crate) fn remove(
    host: &mut Host,
    enforcement: &dyn Enforcement,
    addresses: &[PodAddress],
    ports: &[HostPort],
    host_link_index: Option<u32>,
) -> Result<(), KernelError> {
    host_ports::remove(host, ports)?;
    let mut changes = Vec::with_capacity(addresses.len() + 1);
    for PodAddress { address } in addresses.iter().copied() {
        let mut route = Route::to(address, POD_TABLE, 0);
        // By this link where it is known: another pod may have the address by now.
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
            changes.push(link::mark_dying(index, &link.name));
        }
    }
    host.socket.apply(changes)?;
    // Last: until the link is down, its packets are the pod's.
    enforcement::dismiss(enforcement, addresses, host_link_index)
}

/// Deletes what is dying and answers what is left of it.
pub(crate) fn reap(host: &mut Host, dying: &[u32]) -> Result<Vec<u32>, KernelError> {
    host.socket.apply(vec![link::delete_dying()])?;
    // The answer is for the group as a whole and names no link.
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
