//! The cloud's interfaces: found by MAC, brought up, given a table of their own.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::AddressFamily;

use super::address::{self, Assigned, family};
use super::link::{self, Link};
use super::netlink::{Change, Mode, Socket};
use super::route::{self, Route};
use super::rule::{self, FROM_INTERFACE, FROM_PODS, Rule};
use super::settings::{Setting, Unsettable};
use super::worker::Host;
use super::{errno, main_table, settings};
use crate::plan::{
    InterfacePlan, InterfaceReport, Repair, RepairKind, SECONDARY_GROUP, SourceRouting,
};
use crate::{Enforcement, KernelError, enforcement};

/// The link that the cloud plugged in with this MAC. VLANs and the like share the
/// MAC of what they are on, and a virtual function that of its synthetic controller;
/// these are passed over. The kernel cannot be asked for a MAC, so a link is said to be
/// missing when two lists lack it.
pub(crate) fn find(socket: &mut Socket, mac: [u8; 6]) -> Result<Link, KernelError> {
    for _ in 0..2 {
        let links = link::all(socket).map_err(|refusal| refusal.during("list links"))?;
        let mut links = links.into_iter();
        if let Some(link) = links.find(|link| link.mac == mac && !link.is_derived()) {
            return Ok(link);
        }
    }
    let text = format!("with MAC {}", link::mac_text(&mac));
    Err(KernelError::NoSuchLink(text))
}

/// What another MTU than the plan's breaks.
pub(crate) const MTU_BREAKS: &str = "packets of pods that are larger do not pass, or are cut into \
                                     smaller ones than need be";

/// Lets packets come in by an interface that answers would not leave by: node ports
/// and connections of pods on other interfaces.
pub(crate) fn loose_reverse_path(name: &str, mode: Mode) -> Result<Option<Repair>, Unsettable> {
    let own = Setting::ipv4(&format!("conf/{name}/rp_filter"));
    let breaks = "answers that leave by another interface than the question came in by are \
                  dropped: node ports, and pods on other interfaces";
    own.ensure("2", breaks, mode).or_else(|unsettable| {
        // The kernel takes the larger of the two; only 1 drops such packets.
        let all = Setting::ipv4("conf/all/rp_filter");
        let values = [own.get().ok(), all.get().ok()];
        match values.iter().flatten().max().map(String::as_str) {
            Some("1") | None => Err(unsettable),
            Some(_) => Ok(None),
        }
    })
}

/// Brings an interface into service.
pub(crate) fn ensure(
    host: &mut Host,
    enforcement: &dyn Enforcement,
    plan: &InterfacePlan,
) -> Result<InterfaceReport, KernelError> {
    let link = find(&mut host.socket, plan.mac)?;
    enforcement::guard_exit(enforcement, &link.name, link.index)?;
    let mut repairs = Vec::new();
    if !plan.primary {
        repairs.extend(ignore_routers(&mut host.socket, &link)?);
    }
    repairs.extend(ensure_link(&mut host.socket, plan, &link)?);
    if plan.primary {
        // Its routes are the host's own; it has neither table nor rules of ours.
        let surplus = rule::ensure_rules(&mut host.socket, &[], concerns(plan.table))?;
        repairs.extend(surplus);
    } else {
        repairs.extend(
            loose_reverse_path(&link.name, host.socket.mode()).map_err(Unsettable::into_error)?,
        );
        repairs.extend(ensure_addresses(&mut host.socket, plan, &link)?);
        repairs.extend(ensure_routes(&mut host.socket, plan, &link)?);
        // Last, so that no packet is led into a table that lacks its routes.
        let wanted = rules(plan);
        let of_rules = rule::ensure_rules(&mut host.socket, &wanted, concerns(plan.table))?;
        repairs.extend(of_rules);
    }
    Ok(InterfaceReport {
        link: link.name,
        repairs,
    })
}

/// The link up, with its MTU, in its group.
fn ensure_link(
    socket: &mut Socket,
    plan: &InterfacePlan,
    link: &Link,
) -> Result<Vec<Repair>, KernelError> {
    let (index, name) = (link.index, link.name.as_str());
    let (mut changes, mut repairs) = (Vec::new(), Vec::new());
    let group = group(plan, link);
    if let Some(group) = group {
        changes.push(link::group(index, name, group));
        let state = format!("{} instead of {group}", link.group);
        repairs.push(Repair::new(
            RepairKind::Link,
            format!("link group of {name}"),
            state,
            "pods' packets may follow routes of the main table by the wrong interface, and the \
             cloud drops them",
        ));
    }
    if let Some(mtu) = plan.mtu.filter(|mtu| *mtu != link.mtu) {
        changes.push(link::mtu(index, name, mtu));
        let state = format!("{} instead of {mtu}", link.mtu);
        let object = format!("MTU of {name}");
        repairs.push(Repair::new(RepairKind::Link, object, state, MTU_BREAKS));
    }
    if !link.up {
        changes.push(link::up(index, name));
        repairs.push(Repair::new(
            RepairKind::Link,
            name,
            "down",
            "pods with addresses of this interface reach nobody outside of the node",
        ));
    }
    socket.apply(changes)?;
    if group.is_some()
        && let Err(error) = main_table::without_new_secondary(socket)
    {
        // The interface can serve; the next comparison of the node tries again.
        tracing::warn!(%error, link = name, "others' routes may take pods' packets by this link");
    }
    Ok(repairs)
}

/// The group that the link must be put into, where it is not in it. It stays there when
/// the interface goes out of service: what others have by it is nothing for pods until it
/// is gone.
fn group(plan: &InterfacePlan, link: &Link) -> Option<u32> {
    match (plan.primary, link.group) {
        (true, SECONDARY_GROUP) => Some(0),
        (true, _) | (false, SECONDARY_GROUP) => None,
        (false, _) => Some(SECONDARY_GROUP),
    }
}

/// What a router advertises on a secondary interface would be a default route and
/// addresses of the node itself. Both are the primary interface's alone, so no more is
/// heard, and what the kernel took in before is taken back. What a program has put
/// there, a DHCP client or a network manager, is left alone.
fn ignore_routers(socket: &mut Socket, link: &Link) -> Result<Option<Repair>, KernelError> {
    if !settings::hears_routers(&link.name) {
        return Ok(None);
    }
    let name = &link.name;
    let repair = Repair::new(
        RepairKind::Setting,
        format!("setting net/ipv6/conf/{name}/accept_ra"),
        "not 0: it takes addresses and routes from router advertisements",
        "what the node itself sends may leave by a secondary interface and be lost",
    );
    if socket.mode() == Mode::Compare {
        return Ok(Some(repair));
    }
    settings::ignore_router_advertisements(name)?;
    let present = address::of_link(socket, link.index)
        .map_err(|refusal| refusal.during(format!("list the addresses of {name}")))?;
    let (learnt, others): (Vec<Assigned>, Vec<Assigned>) =
        present.iter().partition(|assigned| assigned.advertised);
    let others: Vec<IpAddr> = others.iter().map(|assigned| assigned.address).collect();
    let mut changes: Vec<Change> = learnt
        .iter()
        .map(|assigned| address::remove(link.index, name, assigned.address, assigned.length))
        .collect();
    let routes = route::forget_advertised(socket, link.index, name, &others);
    changes.extend(routes.map_err(|refusal| refusal.during("list routes"))?);
    socket.apply(changes)?;
    Ok(Some(repair))
}

/// The interface's own addresses, where neither DHCP nor another tool puts them.
fn ensure_addresses(
    socket: &mut Socket,
    plan: &InterfacePlan,
    link: &Link,
) -> Result<Vec<Repair>, KernelError> {
    let present = address::of_link(socket, link.index)
        .map_err(|refusal| refusal.during(format!("list the addresses of {}", link.name)))?;
    let missing = plan
        .own_addresses
        .iter()
        .filter(|own| present.iter().all(|assigned| assigned.address != **own));
    let surplus = present
        .iter()
        .filter(|assigned| assigned.ours && !plan.own_addresses.contains(&assigned.address));
    let (mut changes, mut repairs) = (Vec::new(), Vec::new());
    let (index, name) = (link.index, link.name.as_str());
    let mut repaired = |address: IpAddr, state: &str, breaks| {
        let object = format!("address {address} on {name}");
        repairs.push(Repair::new(RepairKind::Address, object, state, breaks));
    };
    for own in missing {
        let add = address::add(index, name, *own, address::host_length(*own));
        changes.push(add.unless(errno::Refusal::exists));
        let breaks = "the node does not answer for the interface's own address";
        repaired(*own, "missing", breaks);
    }
    for assigned in surplus {
        let (address, length) = (assigned.address, assigned.length);
        changes.push(address::remove(index, name, address, length));
        let breaks = "the node answers for an address that is not the interface's any more";
        repaired(address, "surplus", breaks);
    }
    socket.apply(changes)?;
    Ok(repairs)
}

fn ensure_routes(
    socket: &mut Socket,
    plan: &InterfacePlan,
    link: &Link,
) -> Result<Vec<Repair>, KernelError> {
    let wanted = routes(plan, link.index);
    let present = routes_of(socket, Some(plan.table))?;
    let (mut changes, mut repairs) = (Vec::new(), Vec::new());
    let mut repaired = |object: String, state: &str, breaks| {
        repairs.push(Repair::new(RepairKind::Route, object, state, breaks));
    };
    for route in wanted.iter().filter(|route| !present.contains(route)) {
        changes.push(route.put(&link.name));
        let breaks = match route.destination.prefix_len() {
            0 => "pods with addresses of this interface reach nobody outside of the node",
            _ => "the interface's next hop is not found, so nothing leaves by it",
        };
        let object = format!("route {route} on {}", link.name);
        repaired(object, "missing", breaks);
    }
    // A route that is put takes the place of the one to the same destination. To remove
    // that one afterwards would remove the new one.
    let replaced = |route: &Route| {
        wanted
            .iter()
            .any(|other| other.destination == route.destination)
    };
    let surplus = present
        .iter()
        .filter(|route| !wanted.contains(route) && !replaced(route));
    for route in surplus {
        changes.push(route.remove());
        let breaks = "pods' packets to there leave another way than they should";
        repaired(format!("route {route}"), "surplus", breaks);
    }
    socket.apply(changes)?;
    Ok(repairs)
}

fn routes(plan: &InterfacePlan, index: u32) -> Vec<Route> {
    let mut routes = Vec::new();
    for gateway in plan.gateways.iter().copied() {
        routes.extend(route::routes_by(gateway, plan.table, index));
    }
    routes
}

fn rules(plan: &InterfacePlan) -> Vec<Rule> {
    let own = plan
        .own_addresses
        .iter()
        .map(|own| Rule::from(route::single(*own), FROM_INTERFACE, plan.table));
    let mut rules: Vec<Rule> = Vec::new();
    for rule in own.chain(of_pods(plan)) {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

fn of_pods(plan: &InterfacePlan) -> Vec<Rule> {
    match &plan.source_routing {
        SourceRouting::None => Vec::new(),
        SourceRouting::BySource(sources) => {
            let by_source = |source: &IpNet| Rule::from(source.trunc(), FROM_PODS, plan.table);
            sources.iter().map(by_source).collect()
        }
        SourceRouting::ByMark(mark) => {
            // A family without a next hop has nothing in the table to be led to.
            let families = plan.gateways.iter().map(|gateway| family(*gateway));
            let by_mark = |family| Rule::by_mark(family, *mark, FROM_PODS, plan.table);
            families.map(by_mark).collect()
        }
    }
}

/// The rules that are an interface's.
fn concerns(table: u32) -> impl Fn(&Rule) -> bool {
    move |rule| is_of_interface(rule) && rule.table() == Some(table)
}

/// Whether a rule of ours belongs to an interface and not to the node.
pub(crate) fn is_of_interface(rule: &Rule) -> bool {
    matches!(rule.priority, FROM_PODS | FROM_INTERFACE)
}

/// All routes of ours of both families.
pub(crate) fn routes_of(
    socket: &mut Socket,
    table: Option<u32>,
) -> Result<Vec<Route>, KernelError> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let routes = route::ours(socket, family, table);
        found.extend(routes.map_err(|refusal| refusal.during("list routes"))?);
    }
    Ok(found)
}

/// Takes an interface out of service: its rules first, so nothing falls through an
/// empty table.
pub(crate) fn remove(host: &mut Host, table: u32) -> Result<(), KernelError> {
    rule::ensure_rules(&mut host.socket, &[], concerns(table))?;
    let routes = routes_of(&mut host.socket, Some(table))?;
    host.socket
        .apply(routes.into_iter().map(Route::remove).collect())?;
    Ok(())
}
