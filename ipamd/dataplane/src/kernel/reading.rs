//! Reads a datagram in each way in which the data plane reads one of the kernel's: as an
//! answer to a request, of whatever kind, and as a notification.

use netlink_packet_route::RouteNetlinkMessage;

use super::address;
use super::flows::Flow;
use super::host_ports::{self, IPV4, IPV6};
use super::link::Link;
use super::netlink::{self, Reply};
use super::nft_elements;
use super::qdisc;
use super::route::Route;
use super::rule::Rule;
use super::watch::read;

/// Reads a datagram, whatever is in it, and returns how many messages made sense.
pub fn read_datagram(datagram: &[u8]) -> usize {
    let mut sense = 0;
    for message in read::messages(datagram) {
        let _changes = (read::route(message, &[]), read::nftables(message, &[]));
        sense += 1;
    }
    let replies = netlink::replies(datagram);
    sense + replies.iter().map(read_reply).sum::<usize>()
}

fn read_reply(reply: &Reply) -> usize {
    let of_route = match reply.parse() {
        Some(RouteNetlinkMessage::NewAddress(message)) => address::read(&message).is_some(),
        Some(RouteNetlinkMessage::NewRoute(message)) => Route::read(&message).is_some(),
        Some(RouteNetlinkMessage::NewRule(message)) => Rule::read(&message).is_some(),
        _ => false,
    };
    let by_bytes = [
        Link::read(&reply.payload).is_some(),
        qdisc::read_bucket(&reply.payload).is_some(),
        qdisc::read_redirect(reply).is_some(),
        Flow::read(reply).is_some(),
    ];
    let elements = nft_elements::read(reply);
    for (key, value) in &elements {
        for family in [IPV4, IPV6] {
            let _pod = host_ports::read_pod(family, key);
            for of_one in [false, true] {
                let _port = host_ports::read(family, of_one, key, value);
            }
        }
    }
    let others = by_bytes.into_iter().chain([of_route]).filter(|is| *is);
    elements.len() + others.count()
}
