//! What is in the kernel: everything of ours, and one pod's network beside its plan.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use ipnet::IpNet;

use super::link::{self, Link, mac_text};
use super::netlink::Socket;
use super::route::{MAIN_TABLE, Route};
use super::rule;
use super::worker::{Host, Pod};
use super::{address, bandwidth, endpoint, host_ports, interface, neighbour, settings};
use crate::KernelError;
use crate::host_ports::HostPort;
use crate::plan::{
    Aspect, DYING_GROUP, DefaultRoute, Difference, EndpointLinks, EndpointPlan, INTERFACE_TABLES,
    LinkKey, NodeAddress, Observed, ObservedEndpoint, ObservedLink, POD_GROUP, POD_TABLE,
    PodAddress,
};
use netlink_packet_route::AddressFamily;

/// Lists everything of ours.
pub(crate) fn observe(host: &mut Host, known: &[LinkKey]) -> Result<Observed, KernelError> {
    let mut observed = Observed::default();
    for route in interface::routes_of(&mut host.socket, None)? {
        if route.table == POD_TABLE {
            observed
                .endpoints
                .extend(route.link_index.map(|link_index| ObservedEndpoint {
                    address: route.destination.addr(),
                    link_index,
                }));
        } else if INTERFACE_TABLES.contains(&route.table) {
            observed.interface_tables.push(route.table);
        }
    }
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let rules =
            rule::ours(&mut host.socket, family).map_err(|refusal| refusal.during("list rules"))?;
        let tables = rules.iter().filter(|rule| interface::is_of_interface(rule));
        observed
            .interface_tables
            .extend(tables.filter_map(rule::Rule::table));
    }
    observed.interface_tables.sort_unstable();
    observed.interface_tables.dedup();
    let mut links = link::all(&mut host.socket).map_err(|refusal| refusal.during("list links"))?;
    for key in known {
        // A dump that is not interrupted can still lack what moved while it ran.
        if !links.iter().any(|link| is_it(link, key)) {
            links.extend(ask_for(host, key)?);
        }
    }
    for ifb in links.iter().filter(|link| link.is_our_ifb()) {
        if bandwidth::is_stray(&mut host.socket, ifb)? {
            observed.stray_ifbs.push(ifb.index);
        }
    }
    for link in links.into_iter().filter(Link::is_ours) {
        if let Ok(mac) = <[u8; 6]>::try_from(link.mac.as_slice()) {
            observed.links.push(ObservedLink {
                index: link.index,
                name: link.name,
                mac,
                dying: link.group == DYING_GROUP,
                routes_loopback: link.routes_loopback,
            });
        }
    }
    (observed.host_ports, observed.half_ports) = host_ports::observe(host)?;
    Ok(observed)
}

/// Lists the addresses of all links.
pub(crate) fn node_addresses(host: &mut Host) -> Result<Vec<NodeAddress>, KernelError> {
    let links = link::all(&mut host.socket).map_err(|refusal| refusal.during("list links"))?;
    let names: HashMap<u32, String> = links
        .into_iter()
        .map(|link| (link.index, link.name))
        .collect();
    let assigned = address::all(&mut host.socket)
        .map_err(|refusal| refusal.during("list the addresses of the node's links"))?;
    let mut addresses: Vec<NodeAddress> = assigned
        .into_iter()
        .map(|assigned| NodeAddress {
            address: assigned.address,
            length: assigned.length,
            // One that has come since the links were listed.
            link: names
                .get(&assigned.link_index)
                .cloned()
                .unwrap_or_else(|| format!("if{}", assigned.link_index)),
        })
        .collect();
    addresses.sort();
    Ok(addresses)
}

fn is_it(link: &Link, key: &LinkKey) -> bool {
    match key {
        LinkKey::Index(index) => link.index == *index,
        LinkKey::Name(name) => link.name == *name,
    }
}

fn ask_for(host: &mut Host, key: &LinkKey) -> Result<Option<Link>, KernelError> {
    let (answer, shown) = match key {
        LinkKey::Index(index) => (link::by_index(&mut host.socket, *index), index.to_string()),
        LinkKey::Name(name) => (link::by_name(&mut host.socket, name), name.clone()),
    };
    answer.map_err(|refusal| refusal.during(format!("look link {shown} up")))
}

/// Differences, in words.
#[derive(Default)]
struct Report {
    differences: Vec<Difference>,
}

impl Report {
    fn note(&mut self, aspect: Aspect, text: String) {
        self.differences.push(Difference { aspect, text });
    }

    fn expect<T: PartialEq + Display>(
        &mut self,
        aspect: Aspect,
        object: impl Display,
        wanted: T,
        found: T,
    ) {
        if wanted != found {
            self.note(aspect, format!("{object} is {found}, expected {wanted}"));
        }
    }
}

/// Compares a pod's network with its plan.
pub(crate) fn check(
    host: &mut Host,
    plan: &EndpointPlan,
    links: &EndpointLinks,
    namespace: Option<&OwnedFd>,
) -> Result<Vec<Difference>, KernelError> {
    let mut report = Report::default();
    let index = links.host_index;
    let found = link::by_index(&mut host.socket, index)
        .map_err(|refusal| refusal.during(format!("look link {index} up")))?;
    let present = by_destination(interface::routes_of(&mut host.socket, Some(POD_TABLE))?);
    check_host(plan, index, found.as_ref(), &present, &mut report);
    check_limits(host, plan, index, &mut report)?;
    check_host_ports(host, plan, &mut report)?;
    let of_host = report.differences.len();
    if let Some(namespace) = namespace {
        let (mut pod, with_ipv6) = host.enter(namespace.as_fd(), || match plan.no_ipv6 {
            true => settings::where_ipv6_is_on(&plan.pod_link),
            false => Vec::new(),
        })?;
        if check_pod(&mut pod, plan, links, &mut report)? {
            for link in with_ipv6 {
                let text = format!(
                    "IPv6 is on in the pod (net.ipv6.conf.{link}.disable_ipv6), expected off"
                );
                report.note(Aspect::Pod, text);
            }
        }
    }
    for difference in &mut report.differences[of_host..] {
        difference.aspect = Aspect::Pod;
    }
    Ok(report.differences)
}

/// Compares the node's side of many pods' networks with their plans, by one list of links
/// and one of routes.
pub(crate) fn check_all(
    host: &mut Host,
    endpoints: &[(EndpointPlan, EndpointLinks)],
) -> Result<Vec<Vec<Difference>>, KernelError> {
    let routes = by_destination(interface::routes_of(&mut host.socket, Some(POD_TABLE))?);
    let links = link::all(&mut host.socket).map_err(|refusal| refusal.during("list links"))?;
    let links: HashMap<u32, Link> = links.into_iter().map(|link| (link.index, link)).collect();
    let mut all = Vec::with_capacity(endpoints.len());
    for (plan, EndpointLinks { host_index, .. }) in endpoints {
        let found = match links.get(host_index) {
            Some(link) => Some(link.clone()),
            // A dump that is not interrupted can still lack what moved while it ran.
            None => ask_for(host, &LinkKey::Index(*host_index))?,
        };
        let mut report = Report::default();
        check_host(plan, *host_index, found.as_ref(), &routes, &mut report);
        check_limits(host, plan, *host_index, &mut report)?;
        check_host_ports(host, plan, &mut report)?;
        all.push(report.differences);
    }
    Ok(all)
}

/// Asks the kernel about the limits of one endpoint, and nothing where it has none.
fn check_limits(
    host: &mut Host,
    plan: &EndpointPlan,
    index: u32,
    report: &mut Report,
) -> Result<(), KernelError> {
    for text in bandwidth::check(host, plan, index)? {
        report.note(Aspect::Limit, text);
    }
    Ok(())
}

/// The pod table's routes, by where they lead to.
fn by_destination(routes: Vec<Route>) -> HashMap<IpNet, Route> {
    let mut found = HashMap::with_capacity(routes.len());
    for route in routes {
        // The kernel takes the first.
        found.entry(route.destination).or_insert(route);
    }
    found
}

fn check_host(
    plan: &EndpointPlan,
    index: u32,
    found: Option<&Link>,
    present: &HashMap<IpNet, Route>,
    report: &mut Report,
) {
    match found {
        None => report.note(
            Aspect::Link,
            format!("link {} (index {index}) is missing", plan.host_link),
        ),
        Some(link) => {
            let name = &plan.host_link;
            let object = format_args!("name of link {index}");
            report.expect(Aspect::LinkName, object, name, &link.name);
            check_link(link, plan.host_mac, plan.mtu, report);
            let object = format_args!("group of {name}");
            report.expect(Aspect::LinkGroup, object, POD_GROUP, link.group);
            if plan.host_ports().iter().any(HostPort::serves_loopback) && !link.routes_loopback {
                let text = format!(
                    "net.ipv4.conf.{name}.route_localnet is 0, expected 1: the pod's ports of the \
                     node are not reached by 127.0.0.1"
                );
                report.note(Aspect::HostPort, text);
            }
        }
    }
    for pod in plan.routed() {
        let wanted = endpoint::host_route(plan, pod.address, index);
        let to_it = present.get(&wanted.destination);
        let place = format!("on {}", plan.host_link);
        check_route(Aspect::Route, &wanted, to_it, &place, report);
    }
}

/// Each of an endpoint's elements is asked for by itself.
fn check_host_ports(
    host: &mut Host,
    plan: &EndpointPlan,
    report: &mut Report,
) -> Result<(), KernelError> {
    for missing in host_ports::missing(host, &plan.host_ports())? {
        report.note(Aspect::HostPort, missing);
    }
    Ok(())
}

fn check_link(link: &Link, mac: [u8; 6], mtu: u32, report: &mut Report) {
    let name = &link.name;
    let (wanted, found) = (mac_text(&mac), mac_text(&link.mac));
    report.expect(
        Aspect::LinkMac,
        format_args!("MAC of {name}"),
        wanted,
        found,
    );
    report.expect(
        Aspect::LinkMtu,
        format_args!("MTU of {name}"),
        mtu,
        link.mtu,
    );
    if !link.up {
        report.note(Aspect::LinkDown, format!("{name} is down"));
    }
}

fn check_route(
    aspect: Aspect,
    wanted: &Route,
    found: Option<&Route>,
    place: &str,
    report: &mut Report,
) {
    let Some(found) = found else {
        return report.note(aspect, format!("route {wanted} {place} is missing"));
    };
    let index = |route: &Route| route.link_index.unwrap_or_default();
    report.expect(
        aspect,
        format_args!("link of route {wanted} {place}"),
        index(wanted),
        index(found),
    );
    let hop = |hop: Option<IpAddr>| hop.map_or_else(|| "none".to_owned(), |hop| hop.to_string());
    report.expect(
        aspect,
        format_args!("next hop of route {wanted} {place}"),
        hop(wanted.gateway),
        hop(found.gateway),
    );
    report.expect(
        aspect,
        format_args!("preferred source of route {wanted} {place}"),
        hop(wanted.preferred_source),
        hop(found.preferred_source),
    );
}

/// Whether the namespace is the pod's own; nothing is said of another's.
fn check_pod(
    pod: &mut Pod,
    plan: &EndpointPlan,
    links: &EndpointLinks,
    report: &mut Report,
) -> Result<bool, KernelError> {
    if pod.cookie != links.namespace_cookie {
        report.note(
            Aspect::Pod,
            "the namespace is not the one that the pod was given its network in".into(),
        );
        return Ok(false);
    }
    let name = plan.pod_link.as_str();
    let found = link::by_name(&mut pod.socket, name)
        .map_err(|refusal| refusal.during(format!("look {name} up in the pod")))?;
    let Some(link) = found else {
        report.note(Aspect::Pod, format!("link {name} is missing in the pod"));
        return Ok(true);
    };
    report.expect(
        Aspect::Pod,
        format_args!("index of {name} in the pod"),
        links.pod_index,
        link.index,
    );
    check_link(&link, plan.pod_mac, plan.mtu, report);
    for PodAddress { address } in plan.routed() {
        check_address(&mut pod.socket, plan, &link, address, report)?;
    }
    for wanted in endpoint::rules(plan, link.index) {
        let present = rule::ours(&mut pod.socket, wanted.family)
            .map_err(|refusal| refusal.during("list the rules in the pod"))?;
        if !present.contains(&wanted) {
            report.note(Aspect::Pod, format!("rule {wanted} in the pod is missing"));
        }
    }
    Ok(true)
}

fn check_address(
    socket: &mut Socket,
    plan: &EndpointPlan,
    link: &Link,
    address: IpAddr,
    report: &mut Report,
) -> Result<(), KernelError> {
    let (index, name) = (link.index, &link.name);
    let assigned = address::of_link(socket, index)
        .map_err(|refusal| refusal.during(format!("list the addresses of {name} in the pod")))?;
    let length = address::host_length(address);
    match assigned.iter().find(|assigned| assigned.address == address) {
        None => report.note(
            Aspect::Pod,
            format!("address {address}/{length} on {name} is missing"),
        ),
        Some(assigned) => report.expect(
            Aspect::Pod,
            format_args!("prefix length of {address} on {name}"),
            length,
            assigned.length,
        ),
    }
    let gateway = endpoint::gateway(address);
    let mut wanted = endpoint::pod_routes(plan, gateway, index);
    if plan.default_route == DefaultRoute::InFront {
        wanted.push(Route::default_by(gateway, MAIN_TABLE, index));
    }
    let alone = plan.default_route == DefaultRoute::Only;
    let present = interface::routes_of(socket, alone.then_some(MAIN_TABLE))?;
    for wanted in wanted {
        // Another interface of the pod may have one to the same destination.
        let to_it = present
            .iter()
            .filter(|route| (route.table, route.destination) == (wanted.table, wanted.destination))
            .max_by_key(|route| route.link_index == wanted.link_index);
        check_route(Aspect::Pod, &wanted, to_it, "in the pod", report);
    }
    let hop = neighbour::permanent(socket, index, gateway)
        .map_err(|refusal| refusal.during(format!("look neighbour {gateway} up in the pod")))?;
    let found = hop.map_or_else(|| "missing".to_owned(), |mac| mac_text(&mac));
    report.expect(
        Aspect::Pod,
        format_args!("permanent neighbour {gateway} on {name}"),
        mac_text(&plan.host_mac),
        found,
    );
    Ok(())
}
