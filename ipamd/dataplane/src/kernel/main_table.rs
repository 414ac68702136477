//! The main table as forwarded packets follow it: without what leads by a secondary
//! interface.
//!
//! The rule [`super::rule::FORWARDED`] looks the main table up and passes such a route
//! over, the best one, and with it what that route hides. So a table of our own has
//! copies of the main table's other routes, and is asked next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteNextHopFlags, RouteProtocol,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::errno::Refusal;
use super::link;
use super::netlink::{Change, Socket};
use super::route::{self, MAIN_TABLE, Route};
use crate::KernelError;
use crate::plan::{PRIMARY_TABLE, PROTOCOL, SECONDARY_GROUP};

/// Metric of an IPv6 route that is given none (`IP6_RT_PRIO_USER`).
const IPV6_METRIC: u32 = 1024;

/// The node's way out, should nobody else know it.
#[derive(Debug)]
pub(crate) struct Primary<'a> {
    pub(crate) link_index: u32,
    pub(crate) gateways: &'a [IpAddr],
}

/// Brings the copies up to date with the main table, of the families given; there are
/// none of the others. Answers how many differed.
pub(crate) fn ensure_copies(
    socket: &mut Socket,
    families: &[AddressFamily],
    primary: &Primary<'_>,
) -> Result<usize, KernelError> {
    let secondary = secondary_links(socket)?;
    let mut differed = 0;
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut wanted = Vec::new();
        if families.contains(&family) {
            let main = routes(socket, family, MAIN_TABLE)?;
            wanted = copies(&main, &secondary);
            if is_default_hidden(&main, &wanted) {
                wanted.extend(own_way_out(primary, family));
            }
        }
        let present = ours(socket, family)?;
        differed += replace(socket, &present, wanted, |_| true)?;
    }
    Ok(differed)
}

/// As [`ensure_copies`], when one more link has become a secondary interface's: what leads by it
/// is no copy any more, and what it hides is one.
pub(crate) fn without_new_secondary(socket: &mut Socket) -> Result<(), KernelError> {
    let secondary = secondary_links(socket)?;
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let present = ours(socket, family)?;
        if present.is_empty() {
            continue; // the node has not been prepared
        }
        let main = routes(socket, family, MAIN_TABLE)?;
        let by_secondary = |route: &RouteMessage| without_links(route, &secondary).is_none();
        replace(socket, &present, copies(&main, &secondary), by_secondary)?;
    }
    Ok(())
}

/// Indexes of the links that are secondary interfaces.
pub(crate) fn secondary_links(socket: &mut Socket) -> Result<Vec<u32>, KernelError> {
    let links = link::all(socket).map_err(|refusal| refusal.during("list links"))?;
    let secondary = links.iter().filter(|link| link.group == SECONDARY_GROUP);
    Ok(secondary.map(|link| link.index).collect())
}

/// All routes of a table, whoever made them.
pub(crate) fn routes(
    socket: &mut Socket,
    family: AddressFamily,
    table: u32,
) -> Result<Vec<RouteMessage>, KernelError> {
    let mut request = RouteMessage::default();
    request.header.address_family = family;
    request.attributes.push(RouteAttribute::Table(table));
    route::dump(socket, request).map_err(|refusal| refusal.during("list routes"))
}

fn ours(socket: &mut Socket, family: AddressFamily) -> Result<Vec<RouteMessage>, KernelError> {
    let mut present = routes(socket, family, PRIMARY_TABLE)?;
    present.retain(|message| message.header.protocol == RouteProtocol::from(PROTOCOL));
    Ok(present.iter().map(copy).collect())
}

/// What forwarded packets may follow of the main table.
fn copies(main: &[RouteMessage], secondary: &[u32]) -> Vec<RouteMessage> {
    let mut copies: Vec<RouteMessage> = Vec::new();
    let mut taken = BTreeSet::new();
    for message in main.iter().filter(|message| is_for_forwarded(message)) {
        let Some(reduced) = without_links(message, secondary) else {
            continue;
        };
        let mut copy = copy(&reduced);
        let way = way_to_next_hop(&copy);
        if way.is_some() {
            copy.header.flags = RouteFlags::empty();
        }
        // Of routes that differ in their next hops alone the kernel takes the first.
        for copy in way.into_iter().chain([copy]) {
            if taken.insert(key(&copy)) {
                copies.push(copy);
            }
        }
    }
    copies
}

/// The kernel looks an IPv6 next hop up in the main table, even one that is said to be on
/// the link, and refuses the route where a secondary interface's hides it. It looks in the
/// route's own table first.
fn way_to_next_hop(message: &RouteMessage) -> Option<RouteMessage> {
    let mut attributes = message.attributes.iter();
    let gateway = attributes.find_map(route::gateway)?;
    let [link] = route::links(message)[..] else {
        return None;
    };
    match gateway {
        IpAddr::V6(address) if !address.is_unicast_link_local() => {
            let way = Route::to(gateway, PRIMARY_TABLE, link);
            Some(with_metric(&way))
        }
        _ => None,
    }
}

/// A route of ours as the kernel tells it.
fn with_metric(route: &Route) -> RouteMessage {
    let mut message = route.message();
    if message.header.address_family == AddressFamily::Inet6 {
        message
            .attributes
            .push(RouteAttribute::Priority(IPV6_METRIC));
    }
    copy(&message)
}

/// Unicast routes to where packets are forwarded to.
fn is_for_forwarded(message: &RouteMessage) -> bool {
    let header = &message.header;
    let local = |destination: IpAddr| match destination {
        IpAddr::V4(address) => address.is_multicast(),
        IpAddr::V6(address) => address.is_multicast() || address.is_unicast_link_local(),
    };
    header.kind == RouteType::Unicast
        && header.protocol != RouteProtocol::IcmpRedirect
        && !header.flags.contains(RouteFlags::Cloned)
        && !route::destination(message).is_some_and(local)
}

/// The route without next hops by these links; `None` when none is left.
fn without_links(message: &RouteMessage, links: &[u32]) -> Option<RouteMessage> {
    let mut left = message.clone();
    let mut only = None;
    for attribute in &mut left.attributes {
        match attribute {
            RouteAttribute::Oif(index) if links.contains(index) => return None,
            RouteAttribute::MultiPath(hops) => {
                let all = hops.len();
                hops.retain(|hop| !links.contains(&hop.interface_index));
                match hops.as_slice() {
                    [] => return None,
                    [hop] if all > 1 => only = Some(hop.clone()),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if let Some(hop) = only {
        let RouteNextHop {
            interface_index,
            attributes,
            ..
        } = hop;
        left.attributes.retain(|attribute| {
            !matches!(
                attribute,
                RouteAttribute::MultiPath(_) | RouteAttribute::NhId(_)
            )
        });
        left.attributes.extend(attributes);
        left.attributes.push(RouteAttribute::Oif(interface_index));
    }
    Some(left)
}

/// The same route as one of our table. What the kernel tells of its state is left out,
/// so that the copy of a copy equals it.
fn copy(message: &RouteMessage) -> RouteMessage {
    let mut copy = message.clone();
    copy.header.table = 0;
    copy.header.protocol = RouteProtocol::from(PROTOCOL);
    copy.header.flags &= RouteFlags::Onlink;
    let by_object = copy.attributes.iter().any(is_next_hop_object);
    copy.attributes.retain(|attribute| match attribute {
        RouteAttribute::Destination(_)
        | RouteAttribute::Source(_)
        | RouteAttribute::PrefSource(_)
        | RouteAttribute::Priority(_)
        | RouteAttribute::Metrics(_)
        | RouteAttribute::NhId(_) => true,
        // The kernel tells both, and takes one of them.
        RouteAttribute::Oif(_)
        | RouteAttribute::Gateway(_)
        | RouteAttribute::Via(_)
        | RouteAttribute::MultiPath(_)
        | RouteAttribute::EncapType(_)
        | RouteAttribute::Encap(_) => !by_object,
        _ => false,
    });
    for attribute in &mut copy.attributes {
        if let RouteAttribute::MultiPath(hops) = attribute {
            for hop in hops {
                hop.flags &= RouteNextHopFlags::Onlink;
            }
        }
    }
    copy.attributes.push(RouteAttribute::Table(PRIMARY_TABLE));
    copy
}

fn is_next_hop_object(attribute: &RouteAttribute) -> bool {
    matches!(attribute, RouteAttribute::NhId(_))
}

/// What the kernel tells routes of one table apart by: destination, its length, type of
/// service, metric.
type Key = (Option<IpAddr>, u8, u8, u32);

fn key(message: &RouteMessage) -> Key {
    let header = &message.header;
    (
        route::destination(message),
        header.destination_prefix_length,
        header.tos,
        route::metric(message),
    )
}

/// Whether the main table has a default route, and none that forwarded packets may take.
fn is_default_hidden(main: &[RouteMessage], copies: &[RouteMessage]) -> bool {
    let is_default = |message: &RouteMessage| {
        message.header.destination_prefix_length == 0 && message.header.kind == RouteType::Unicast
    };
    main.iter().any(is_default) && !copies.iter().any(is_default)
}

/// The default route that the cloud's network has for the primary interface.
fn own_way_out(primary: &Primary<'_>, family: AddressFamily) -> Vec<RouteMessage> {
    let of_family = |gateway: &IpAddr| super::address::family(*gateway) == family;
    let gateway = primary.gateways.iter().copied().find(of_family);
    let routes =
        gateway.map(|gateway| route::routes_by(gateway, PRIMARY_TABLE, primary.link_index));
    routes.iter().flatten().map(with_metric).collect()
}

/// Makes what is wanted of what is present, and removes what is `surplus` besides. The
/// longer prefixes come first: next hops of the others are found by them. Answers how many
/// changes that took.
fn replace(
    socket: &mut Socket,
    present: &[RouteMessage],
    mut wanted: Vec<RouteMessage>,
    surplus: impl Fn(&RouteMessage) -> bool,
) -> Result<usize, KernelError> {
    wanted.sort_by_key(|message| std::cmp::Reverse(message.header.destination_prefix_length));
    // By what tells them apart: a main table may have thousands of routes.
    let mut there: BTreeMap<Key, Vec<&RouteMessage>> = BTreeMap::new();
    for message in present {
        there.entry(key(message)).or_default().push(message);
    }
    let missing = wanted.iter().filter(|message| {
        let mut alike = there.get(&key(message)).into_iter().flatten();
        !alike.any(|other| equal(other, message))
    });
    let mut changes: Vec<Change> = missing
        .map(|message| {
            Change::new(
                RouteNetlinkMessage::NewRoute(message.clone()),
                NLM_F_CREATE | NLM_F_REPLACE,
                format!("copy route {} of the main table", route::text(message)),
            )
            // Its link or its next hop has gone since it was listed.
            .unless(Refusal::no_way)
        })
        .collect();
    let kept: BTreeSet<Key> = wanted.iter().map(key).collect();
    let gone = present
        .iter()
        .filter(|message| surplus(message) && !kept.contains(&key(message)));
    changes.extend(gone.map(|message| {
        Change::new(
            RouteNetlinkMessage::DelRoute(message.clone()),
            0,
            format!("remove the copy of route {}", route::text(message)),
        )
        .unless(Refusal::gone)
    }));
    let count = changes.len();
    socket.apply(changes)?;
    Ok(count)
}

/// The order of attributes is the kernel's.
fn equal(one: &RouteMessage, other: &RouteMessage) -> bool {
    let contains = |attribute| one.attributes.contains(attribute);
    one.header == other.header
        && one.attributes.len() == other.attributes.len()
        && other.attributes.iter().all(contains)
}

#[cfg(test)]
mod tests;
