//! Routes. All of ours carry our protocol number.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::address::{family, host_length};
use super::errno::Refusal;
use super::netlink::{Change, Socket};
use crate::plan::PROTOCOL;

/// One route of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) table: u32,
    /// A prefix of length 0 is the default route.
    pub(crate) destination: IpNet,
    pub(crate) link_index: Option<u32>,
    pub(crate) gateway: Option<IpAddr>,
    /// Source that the node itself uses towards the destination.
    pub(crate) preferred_source: Option<IpAddr>,
    /// Metric that it is added with. Not read back: IPv6 routes get one that nobody
    /// asked for.
    pub(crate) metric: Option<u32>,
}

/// Metric of an IPv6 default route that comes before all others. The kernel gives
/// routes 1024 that are added without one.
const FRONT_METRIC: u32 = 1;

impl Route {
    /// A route to one address on a link.
    pub(crate) fn to(address: IpAddr, table: u32, link_index: u32) -> Self {
        Self {
            table,
            destination: single(address),
            link_index: Some(link_index),
            gateway: None,
            preferred_source: None,
            metric: None,
        }
    }

    /// A default route.
    pub(crate) fn default_by(gateway: IpAddr, table: u32, link_index: u32) -> Self {
        Self {
            table,
            destination: everything(gateway),
            link_index: Some(link_index),
            gateway: Some(gateway),
            preferred_source: None,
            metric: None,
        }
    }

    /// Adds it; refused when there is one to the same destination.
    pub(crate) fn add(self, link: &str) -> Change {
        self.change(NLM_F_CREATE | NLM_F_EXCL, link)
    }

    /// Adds it in place of one to the same destination.
    pub(crate) fn put(self, link: &str) -> Change {
        self.change(NLM_F_CREATE | NLM_F_REPLACE, link)
    }

    /// Adds it in front of those to the same destination, which stay and serve again
    /// when it goes. IPv4 puts the newest of one metric first; IPv6 would spread packets
    /// over both.
    pub(crate) fn add_in_front(mut self, link: &str) -> Change {
        match self.destination {
            IpNet::V4(_) => self.change(NLM_F_CREATE, link),
            IpNet::V6(_) => {
                self.metric = Some(FRONT_METRIC);
                self.add(link)
            }
        }
    }

    fn change(self, flags: u16, link: &str) -> Change {
        Change::new(
            RouteNetlinkMessage::NewRoute(self.message()),
            flags,
            format!("add route {self} on {link}"),
        )
    }

    /// Removes it, and none that differs.
    pub(crate) fn remove(self) -> Change {
        Change::new(
            RouteNetlinkMessage::DelRoute(self.message()),
            0,
            format!("remove route {self}"),
        )
        .unless(Refusal::gone)
    }

    pub(crate) fn message(self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.destination.addr());
        message.header.destination_prefix_length = self.destination.prefix_len();
        message.header.table = u8::try_from(self.table).unwrap_or(0);
        message.header.protocol = RouteProtocol::from(PROTOCOL);
        message.header.kind = RouteType::Unicast;
        message.header.scope = match (self.gateway, self.destination) {
            (None, IpNet::V4(_)) => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Table(self.table));
        if self.destination.prefix_len() > 0 {
            attributes.push(RouteAttribute::Destination(self.destination.addr().into()));
        }
        if let Some(index) = self.link_index {
            attributes.push(RouteAttribute::Oif(index));
        }
        if let Some(gateway) = self.gateway {
            attributes.push(RouteAttribute::Gateway(gateway.into()));
        }
        if let Some(source) = self.preferred_source {
            attributes.push(RouteAttribute::PrefSource(source.into()));
        }
        attributes.extend(self.metric.map(RouteAttribute::Priority));
        message
    }

    pub(crate) fn read(message: &RouteMessage) -> Option<Self> {
        if message.header.protocol != RouteProtocol::from(PROTOCOL) {
            return None;
        }
        let mut route = Self {
            table: u32::from(message.header.table),
            destination: everything(match message.header.address_family {
                AddressFamily::Inet => IpAddr::from([0; 4]),
                AddressFamily::Inet6 => IpAddr::from([0; 16]),
                _ => return None,
            }),
            link_index: None,
            gateway: None,
            preferred_source: None,
            metric: None,
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Table(table) => route.table = *table,
                RouteAttribute::Destination(address) => {
                    let length = message.header.destination_prefix_length;
                    route.destination = IpNet::new(plain(address)?, length).ok()?;
                }
                RouteAttribute::Oif(index) => route.link_index = Some(*index),
                RouteAttribute::Gateway(address) => route.gateway = plain(address),
                RouteAttribute::PrefSource(address) => route.preferred_source = plain(address),
                _ => {}
            }
        }
        Some(route)
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(out, " via {gateway}")?;
        }
        match self.table {
            MAIN_TABLE => Ok(()),
            table => write!(out, " in table {table}"),
        }
    }
}

/// The table that routes go to when nothing else is said.
pub(crate) const MAIN_TABLE: u32 = RouteHeader::RT_TABLE_MAIN as u32;

/// The prefix of one address.
pub(crate) fn single(address: IpAddr) -> IpNet {
    IpNet::new_assert(address, host_length(address))
}

fn everything(of_family: IpAddr) -> IpNet {
    match of_family {
        IpAddr::V4(_) => IpNet::new_assert(IpAddr::from([0; 4]), 0),
        IpAddr::V6(_) => IpNet::new_assert(IpAddr::from([0; 16]), 0),
    }
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// Where a route leads to; `None` for a default route.
pub(crate) fn destination(message: &RouteMessage) -> Option<IpAddr> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(address) => plain(address),
            _ => None,
        })
}

/// The next hop, where this is one.
pub(crate) fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => plain(address),
        _ => None,
    }
}

/// Of several routes to one destination the one of the smallest metric counts.
pub(crate) fn metric(message: &RouteMessage) -> u32 {
    let mut attributes = message.attributes.iter();
    let found = attributes.find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    found.unwrap_or(0)
}

/// Indexes of the links that a route leads by.
pub(crate) fn links(message: &RouteMessage) -> Vec<u32> {
    let attributes = message.attributes.iter();
    attributes
        .flat_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => vec![*index],
            RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
            _ => Vec::new(),
        })
        .collect()
}

/// A route's destination as it is written.
pub(crate) fn text(message: &RouteMessage) -> String {
    match destination(message) {
        Some(address) => format!("{address}/{}", message.header.destination_prefix_length),
        None => "default".to_owned(),
    }
}

/// All routes of ours, of one table (filtered by the kernel where it can) or of all.
pub(crate) fn ours(
    socket: &mut Socket,
    of_family: AddressFamily,
    table: Option<u32>,
) -> Result<Vec<Route>, Refusal> {
    let mut request = RouteMessage::default();
    request.header.address_family = of_family;
    request.header.protocol = RouteProtocol::from(PROTOCOL);
    request.attributes.extend(table.map(RouteAttribute::Table));
    Ok(dump(socket, request)?
        .iter()
        .filter_map(Route::read)
        .collect())
}

/// The routes of the family, and of the table where one is named, that a request asks for.
pub(crate) fn dump(
    socket: &mut Socket,
    request: RouteMessage,
) -> Result<Vec<RouteMessage>, Refusal> {
    let wanted = request.clone();
    let dump = match socket.dump(&RouteNetlinkMessage::GetRoute(request)) {
        // The table does not exist, or the family does not.
        Err(refusal) if refusal.gone() || refusal.no_such_family() => Vec::new(),
        other => other?,
    };
    let routes = dump.iter().filter_map(|reply| match reply.parse()? {
        RouteNetlinkMessage::NewRoute(message) => Some(message),
        _ => None,
    });
    Ok(routes
        .filter(|message| is_asked_for(message, &wanted))
        .collect())
}

/// Older kernels answer with all tables, and one without the family with the others'
/// routes.
fn is_asked_for(message: &RouteMessage, wanted: &RouteMessage) -> bool {
    let named = wanted.attributes.iter().find_map(table_attribute);
    message.header.address_family == wanted.header.address_family
        && named.is_none_or(|named| table(message) == named)
}

/// The table that a route is in.
pub(crate) fn table(message: &RouteMessage) -> u32 {
    let named = message.attributes.iter().find_map(table_attribute);
    named.unwrap_or(u32::from(message.header.table))
}

fn table_attribute(attribute: &RouteAttribute) -> Option<u32> {
    match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    }
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

/// Removes what the kernel has learnt from router advertisements on a link: routes by
/// the router, and the prefixes that it said are on the link. A prefix that one of
/// `others` is in came with that address, from whoever put it there.
pub(crate) fn forget_advertised(
    socket: &mut Socket,
    link_index: u32,
    link: &str,
    others: &[IpAddr],
) -> Result<Vec<Change>, Refusal> {
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet6;
    request.attributes.push(RouteAttribute::Table(MAIN_TABLE));
    request.attributes.push(RouteAttribute::Oif(link_index));
    let learnt = dump(socket, request)?
        .into_iter()
        .filter(|message| is_advertised(message, link_index, others));
    Ok(learnt.map(|message| forget(message, link)).collect())
}

fn is_advertised(message: &RouteMessage, link_index: u32, others: &[IpAddr]) -> bool {
    let header = &message.header;
    let attributes = &message.attributes;
    if header.kind != RouteType::Unicast
        || !attributes.contains(&RouteAttribute::Oif(link_index))
        || !attributes.contains(&RouteAttribute::Table(MAIN_TABLE))
    {
        return false;
    }
    let expires = attributes
        .iter()
        .any(|attribute| matches!(attribute, RouteAttribute::CacheInfo(info) if info.expires > 0));
    let prefix = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => {
            IpNet::new(plain(address)?, header.destination_prefix_length).ok()
        }
        _ => None,
    });
    let of_others = |prefix: IpNet| others.iter().any(|other| prefix.contains(other));
    match header.protocol {
        RouteProtocol::Ra => true,
        RouteProtocol::Kernel => expires && prefix.is_some_and(|prefix| !of_others(prefix)),
        _ => false,
    }
}

fn forget(mut learnt: RouteMessage, link: &str) -> Change {
    // What names a route; how it is and for how long is not asked.
    learnt.attributes.retain(|attribute| {
        matches!(
            attribute,
            RouteAttribute::Table(_)
                | RouteAttribute::Destination(_)
                | RouteAttribute::Oif(_)
                | RouteAttribute::Gateway(_)
                | RouteAttribute::Priority(_)
        )
    });
    Change::new(
        RouteNetlinkMessage::DelRoute(learnt),
        0,
        format!("remove a route that a router advertised on {link}"),
    )
    .unless(Refusal::gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(family: AddressFamily, table: u32) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        message.header.table = u8::try_from(table).unwrap_or(0);
        message.attributes.push(RouteAttribute::Table(table));
        message
    }

    #[test]
    fn of_what_a_kernel_answers_with_only_the_family_and_table_asked_for_count() {
        let (v4, v6) = (AddressFamily::Inet, AddressFamily::Inet6);
        let answer = [
            message(v4, MAIN_TABLE),
            message(v4, 22017),
            message(v6, MAIN_TABLE),
            message(v6, 22017),
        ];
        let counted = |wanted: &RouteMessage| -> Vec<bool> {
            let all = answer.iter();
            all.map(|one| is_asked_for(one, wanted)).collect()
        };
        assert_eq!(counted(&message(v4, 22017)), [false, true, false, false]);
        assert_eq!(counted(&message(v6, 22017)), [false, false, false, true]);
        let mut of_any_table = RouteMessage::default();
        of_any_table.header.address_family = v6;
        assert_eq!(counted(&of_any_table), [false, false, true, true]);
        let without_ipv6 = [message(v4, 22017), message(v4, MAIN_TABLE)];
        let wanted = message(v6, 22017);
        assert!(!without_ipv6.iter().any(|one| is_asked_for(one, &wanted)));
    }
}
