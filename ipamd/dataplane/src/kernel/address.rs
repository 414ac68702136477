//! Addresses of links.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::errno::Refusal;
use super::netlink::{Change, Socket};
use crate::plan::PROTOCOL;

/// The kernel's name of an address's family.
pub(crate) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// Prefix length of a single address.
pub(crate) fn host_length(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// An address as the kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub(crate) address: IpAddr,
    pub(crate) length: u8,
    pub(crate) link_index: u32,
    /// Carries our protocol number (kernel 5.18).
    pub(crate) ours: bool,
    /// Made by the kernel itself out of a router advertisement (kernel 5.18).
    pub(crate) advertised: bool,
}

/// Adds an address without duplicate address detection, which the cloud's control
/// plane has answered already, and without a route for its prefix.
pub(crate) fn add(index: u32, link: &str, address: IpAddr, length: u8) -> Change {
    Change::new(
        RouteNetlinkMessage::NewAddress(message(index, address, length)),
        NLM_F_CREATE | NLM_F_EXCL,
        format!("add address {address}/{length} on {link}"),
    )
}

/// Removes an address.
pub(crate) fn remove(index: u32, link: &str, address: IpAddr, length: u8) -> Change {
    Change::new(
        RouteNetlinkMessage::DelAddress(message(index, address, length)),
        0,
        format!("remove address {address}/{length} from {link}"),
    )
    .unless(Refusal::gone)
}

fn message(index: u32, address: IpAddr, length: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = length;
    message.header.index = index;
    let mut flags = AddressFlags::Noprefixroute;
    if address.is_ipv6() {
        message.header.flags = AddressHeaderFlags::Nodad;
        flags |= AddressFlags::Nodad;
    } else {
        message.attributes.push(AddressAttribute::Local(address));
    }
    message.attributes.push(AddressAttribute::Address(address));
    message.attributes.push(AddressAttribute::Flags(flags));
    message
        .attributes
        .push(AddressAttribute::Protocol(AddressProtocol::from(PROTOCOL)));
    message
}

/// The addresses of one link; older kernels send those of all.
pub(crate) fn of_link(socket: &mut Socket, index: u32) -> Result<Vec<Assigned>, Refusal> {
    let assigned = dump(socket, index)?;
    let of_it = assigned.into_iter();
    Ok(of_it.filter(|found| found.link_index == index).collect())
}

/// The addresses of all links.
pub(crate) fn all(socket: &mut Socket) -> Result<Vec<Assigned>, Refusal> {
    dump(socket, 0)
}

fn dump(socket: &mut Socket, index: u32) -> Result<Vec<Assigned>, Refusal> {
    let mut request = AddressMessage::default();
    request.header.index = index;
    let dump = socket.dump(&RouteNetlinkMessage::GetAddress(request))?;
    let assigned = dump.into_iter().filter_map(|reply| match reply.parse()? {
        RouteNetlinkMessage::NewAddress(message) => read(&message),
        _ => None,
    });
    Ok(assigned.collect())
}

pub(crate) fn read(message: &AddressMessage) -> Option<Assigned> {
    let maker = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Protocol(protocol) => Some(*protocol),
            _ => None,
        });
    // On links with a peer address, `Local` is the link's own.
    let local = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
    let address = local.or_else(|| {
        message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
    })?;
    Some(Assigned {
        address,
        length: message.header.prefix_len,
        link_index: message.header.index,
        ours: maker == Some(AddressProtocol::from(PROTOCOL)),
        advertised: maker == Some(AddressProtocol::RouterAnnouncement),
    })
}
