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
use crate::plan::{InterfacePlan, SECONDARY_GROUP};

/// The link that the cloud plugged in with this MAC. VLANs and the like share the
/// MAC of what they are on, and a virtual function that of its synthetic controller;
/// these are passed over.
pub(crate) fn find(socket: &mut Socket, mac: [u8; 6]) -> Result<Link, KernelError> {
    let links = link::all(socket).map_err(|refusal| refusal.during("list links"))?;
    links
        .into_iter()
        .find(|link| link.mac == mac && !link.is_derived())
        .ok_or_else(|| KernelError::NoSuchLink(format!("with MAC {}", link::mac_text(&mac))))
}

/// Lets packets come in by an interface that answers would not leave by: node ports
/// and connections of pods on other interfaces.
pub(crate) fn loose_reverse_path(name: &str) -> Result<(), Unsettable> {
    let own = Setting::ipv4(&format!("conf/{name}/rp_filter"));
    own.ensure("2").or_else(|unsettable| {
        // The kernel takes the larger of the two; only 1 drops such packets.
        let all = Setting::ipv4("conf/all/rp_filter");
        let values = [own.get().ok(), all.get().ok()];
        match values.iter().flatten().max().map(String::as_str) {
            Some("1") | None => Err(unsettable),
            Some(_) => Ok(()),
        }
    })
}

/// Brings an interface into service.
pub(crate) fn ensure(host: &mut Host, plan: &InterfacePlan) -> Result<String, KernelError> {
    let link = find(&mut host.socket, plan.mac)?;
    if !plan.primary {
        ignore_routers(&mut host.socket, &link)?;
    }
    let mut changes = Vec::new();
    let group = group(plan, &link);
    changes.extend(group.map(|group| link::group(link.index, &link.name, group)));
    if let Some(mtu) = plan.mtu.filter(|mtu| *mtu != link.mtu) {
        changes.push(link::mtu(link.index, &link.name, mtu));
    }
    if !link.up {
        changes.push(link::up(link.index, &link.name));
    }
    host.socket.apply(changes)?;
    if group.is_some() {
        main_table::without_new_secondary(&mut host.socket)?;
    }
    if plan.primary {
        // Its routes are the host's own; it has neither table nor rules of ours.
        rule::settle(&mut host.socket, &[], concerns(plan.table))?;
        return Ok(link.name);
    }
    loose_reverse_path(&link.name).map_err(Unsettable::into_error)?;
    ensure_addresses(&mut host.socket, plan, &link)?;
    ensure_routes(&mut host.socket, plan, &link)?;
    rule::settle(&mut host.socket, &rules(plan), concerns(plan.table))?;
    Ok(link.name)
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
fn ignore_routers(socket: &mut Socket, link: &Link) -> Result<(), KernelError> {
    if !settings::hears_routers(&link.name) {
        return Ok(());
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
    Ok(())
}

/// The interface's own addresses, where neither DHCP nor another tool puts them.
fn ensure_addresses(
    socket: &mut Socket,
    plan: &InterfacePlan,
    link: &Link,
) -> Result<(), KernelError> {
    let present = address::of_link(socket, link.index)
        .map_err(|refusal| refusal.during(format!("list the addresses of {}", link.name)))?;
    let missing = plan
        .own_addresses
        .iter()
        .filter(|own| present.iter().all(|assigned| assigned.address != **own));
    let surplus = present
        .iter()
        .filter(|assigned| assigned.ours && !plan.own_addresses.contains(&assigned.address));
    let mut changes: Vec<Change> = missing
        .map(|own| {
            address::add(link.index, &link.name, *own, address::host_length(*own))
                .unless(errno::Refusal::exists)
        })
        .collect();
    changes.extend(surplus.map(|assigned| {
        address::remove(link.index, &link.name, assigned.address, assigned.length)
    }));
    socket.apply(changes)?;
    Ok(())
}

fn ensure_routes(
    socket: &mut Socket,
    plan: &InterfacePlan,
    link: &Link,
) -> Result<(), KernelError> {
    let wanted = routes(plan, link.index);
    let present = routes_of(socket, Some(plan.table))?;
    let missing = wanted.iter().filter(|route| !present.contains(route));
    let mut changes: Vec<Change> = missing.map(|route| route.put(&link.name)).collect();
    let replaced = |route: &Route| {
        wanted
            .iter()
            .any(|other| other.destination == route.destination)
    };
    let surplus = present
        .iter()
        .filter(|route| !wanted.contains(route) && !replaced(route));
    changes.extend(surplus.map(|route| route.remove()));
    socket.apply(changes)?;
    Ok(())
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
