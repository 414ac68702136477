//! The cloud's interfaces: found by MAC, brought up, given a table of their own.

use std::net::IpAddr;

use netlink_packet_route::AddressFamily;

use super::address::{self, Assigned};
use super::link::{self, Link};
use super::netlink::{Change, Socket};
use super::route::{self, Route};
use super::rule::{self, FROM_INTERFACE, FROM_PODS, Rule};
use super::settings::{Setting, Unsettable};
use super::worker::Host;
use super::{errno, main_table, settings};
use crate::KernelError;
use crate::plan::{InterfacePlan, InterfaceReport, Repair, RepairKind, SECONDARY_GROUP};

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

/// Lets packets come in by an interface that answers would not leave by: node ports
/// and connections of pods on other interfaces.
pub(crate) fn loose_reverse_path(name: &str) -> Result<Option<Repair>, Unsettable> {
    let own = Setting::ipv4(&format!("conf/{name}/rp_filter"));
    own.ensure("2").or_else(|unsettable| {
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
    plan: &InterfacePlan,
) -> Result<InterfaceReport, KernelError> {
    let link = find(&mut host.socket, plan.mac)?;
    let mut repairs = Vec::new();
    if !plan.primary {
        repairs.extend(ignore_routers(&mut host.socket, &link)?);
    }
    repairs.extend(ensure_link(&mut host.socket, plan, &link)?);
    if plan.primary {
        // Its routes are the host's own; it has neither table nor rules of ours.
        let surplus = rule::settle(&mut host.socket, &[], concerns(plan.table))?;
        repairs.extend(surplus);
    } else {
        repairs.extend(loose_reverse_path(&link.name).map_err(Unsettable::into_error)?);
        repairs.extend(ensure_addresses(&mut host.socket, plan, &link)?);
        repairs.extend(ensure_routes(&mut host.socket, plan, &link)?);
        let wanted = rules(plan);
        let settled = rule::settle(&mut host.socket, &wanted, concerns(plan.table))?;
        repairs.extend(settled);
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
        let what = format!("link group of {name} was {} instead of {group}", link.group);
        repairs.push(Repair::new(RepairKind::Link, what));
    }
    if let Some(mtu) = plan.mtu.filter(|mtu| *mtu != link.mtu) {
        changes.push(link::mtu(index, name, mtu));
        let what = format!("MTU of {name} was {} instead of {mtu}", link.mtu);
        repairs.push(Repair::new(RepairKind::Link, what));
    }
    if !link.up {
        changes.push(link::up(index, name));
        repairs.push(Repair::new(RepairKind::Link, format!("{name} was down")));
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
    settings::ignore_router_advertisements(&link.name)?;
    let name = &link.name;
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
    let what = format!("{name} took addresses and routes from router advertisements");
    Ok(Some(Repair::new(RepairKind::Setting, what)))
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
    let mut repaired = |what: String| repairs.push(Repair::new(RepairKind::Address, what));
    for own in missing {
        let add = address::add(index, name, *own, address::host_length(*own));
        changes.push(add.unless(errno::Refusal::exists));
        repaired(format!("address {own} on {name} was missing"));
    }
    for assigned in surplus {
        let (address, length) = (assigned.address, assigned.length);
        changes.push(address::remove(index, name, address, length));
        repaired(format!("address {address} on {name} was surplus"));
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
    let mut repaired = |what: String| repairs.push(Repair::new(RepairKind::Route, what));
    for route in wanted.iter().filter(|route| !present.contains(route)) {
        changes.push(route.put(&link.name));
        repaired(format!("route {route} on {} was missing", link.name));
    }
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
        repaired(format!("route {route} was surplus"));
    }
    socket.apply(changes)?;
    Ok(repairs)
}

fn routes(plan: &InterfacePlan, index: u32) -> Vec<Route> {
    let mut routes = Vec::new();
    for gateway in plan.gateways.iter().copied() {
        routes.extend(routes_by(gateway, plan.table, index));
    }
    routes
}

/// A default route, and what its next hop is found by.
pub(crate) fn routes_by(gateway: IpAddr, table: u32, index: u32) -> Vec<Route> {
    let mut routes = Vec::new();
    if !is_link_local(gateway) {
        routes.push(Route::to(gateway, table, index));
    }
    routes.push(Route::default_by(gateway, table, index));
    routes
}

/// Link-local next hops need no route to be reached.
fn is_link_local(gateway: IpAddr) -> bool {
    matches!(gateway, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn rules(plan: &InterfacePlan) -> Vec<Rule> {
    let own = plan
        .own_addresses
        .iter()
        .map(|own| Rule::from(route::single(*own), FROM_INTERFACE, plan.table));
    let pods = plan
        .sources
        .iter()
        .map(|source| Rule::from(source.trunc(), FROM_PODS, plan.table));
    let mut rules: Vec<Rule> = Vec::new();
    for rule in own.chain(pods) {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
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
    rule::settle(&mut host.socket, &[], concerns(table))?;
    let routes = routes_of(&mut host.socket, Some(table))?;
    host.socket
        .apply(routes.into_iter().map(Route::remove).collect())?;
    Ok(())
}
