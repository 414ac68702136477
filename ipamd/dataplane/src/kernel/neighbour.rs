//! Neighbours that are never asked for.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteProtocol, RouteType};

use super::address::family;
use super::errno::Refusal;
use super::link::mac_text;
use super::netlink::{Change, Socket};
use crate::plan::PROTOCOL;

/// Puts a permanent neighbour.
pub(crate) fn put(index: u32, link: &str, address: IpAddr, mac: [u8; 6]) -> Change {
    let mut message = request(index, address);
    message.header.state = NeighbourState::Permanent;
    message
        .attributes
        .push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
    message
        .attributes
        .push(NeighbourAttribute::Protocol(RouteProtocol::from(PROTOCOL)));
    Change::new(
        RouteNetlinkMessage::NewNeighbour(message),
        NLM_F_CREATE | NLM_F_REPLACE,
        format!("put neighbour {address} as {} on {link}", mac_text(&mac)),
    )
}

/// The MAC of a permanent neighbour.
pub(crate) fn permanent(
    socket: &mut Socket,
    index: u32,
    address: IpAddr,
) -> Result<Option<Vec<u8>>, Refusal> {
    let asked = RouteNetlinkMessage::GetNeighbour(request(index, address));
    let answer = match socket.ask(asked, 0) {
        Err(refusal) if refusal.gone() => None,
        other => other?,
    };
    Ok(match answer.and_then(|reply| reply.parse()) {
        Some(RouteNetlinkMessage::NewNeighbour(message))
            if message.header.state == NeighbourState::Permanent =>
        {
            message
                .attributes
                .into_iter()
                .find_map(|attribute| match attribute {
                    NeighbourAttribute::LinkLayerAddress(mac) => Some(mac),
                    _ => None,
                })
        }
        _ => None,
    })
}

fn request(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = index;
    message.header.kind = RouteType::Unspec;
    message
        .attributes
        .push(NeighbourAttribute::Destination(match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        }));
    message
}
