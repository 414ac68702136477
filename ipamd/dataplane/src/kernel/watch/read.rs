//! What a notification says, by a few of its bytes: nothing is allocated, and what
//! others do is told apart from what pods' comings and goings bring along.

use netlink_packet_core::NLM_F_REPLACE;

use crate::kernel::route::MAIN_TABLE;
use crate::plan::{DYING_GROUP, INTERFACE_TABLES, POD_GROUP, POD_TABLE, PRIMARY_TABLE, PROTOCOL};
use crate::watch::Changes;

/// Names of our tables, as attributes hold them, and their family (NFPROTO_INET).
const OUR_TABLES: [&[u8]; 2] = [b"veni\0", b"veni_host_ports\0"];
const OUR_FAMILY: u8 = 1;

/// Subsystem of nftables in the upper byte of a message's type.
const NFTABLES: u16 = 10;

/// Bytes of a netlink header, and where it holds what.
const HEADER: usize = 16;

/// Types of rtnetlink's messages (`rtnetlink.h`).
mod kind {
    pub(super) const NEW_LINK: u16 = 16;
    pub(super) const DEL_LINK: u16 = 17;
    pub(super) const NEW_ADDRESS: u16 = 20;
    pub(super) const DEL_ADDRESS: u16 = 21;
    pub(super) const NEW_ROUTE: u16 = 24;
    pub(super) const DEL_ROUTE: u16 = 25;
    pub(super) const DEL_RULE: u16 = 33;
    pub(super) const NEW_QDISC: u16 = 36;
    pub(super) const DEL_QDISC: u16 = 37;
    pub(super) const NEW_FILTER: u16 = 44;
    pub(super) const DEL_FILTER: u16 = 45;
    pub(super) const NEW_SETTING: u16 = 80;
}

/// Numbers of attributes.
mod attribute {
    pub(super) const LINK_GROUP: u16 = 27;
    pub(super) const LINK_INFO: u16 = 18;
    /// Inside of `LINK_INFO`.
    pub(super) const LINK_KIND: u16 = 1;
    pub(super) const ROUTE_TABLE: u16 = 15;
    pub(super) const RULE_PROTOCOL: u16 = 21;
    pub(super) const SETTING_LINK: u16 = 1;
    pub(super) const SETTING_FORWARDING: u16 = 2;
    pub(super) const SETTING_RP_FILTER: u16 = 3;
    /// Of every object of nftables, the table's own message included.
    pub(super) const NFTABLES_TABLE: u16 = 1;
}

/// `RTPROT_KERNEL`.
const PROTOCOL_KERNEL: u8 = 2;
const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Scope of addresses that are valid on their link alone.
const SCOPE_LINK: u8 = 253;
/// `IFF_UP`.
const UP: u32 = 1;
/// Something of limits may have changed. Qdiscs and filters are those of any link: what is
/// compared is cheap where no pod has a limit.
const LIMITS: Changes = Changes {
    limits: true,
    ..Changes::NONE
};
/// `conf/all`, as a link's index.
const ALL_LINKS: u32 = u32::MAX;

/// The messages of a datagram, each with its header. Ends at the first that is cut off.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    chunks(
        datagram,
        |bytes| word(bytes, 0).and_then(|length| usize::try_from(length).ok()),
        HEADER,
    )
}

/// Attributes: their numbers and values.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let length = |bytes: &[u8]| half(bytes, 0).map(usize::from);
    // The two upper bits say how the value is encoded.
    chunks(bytes, length, 4).filter_map(|chunk| Some((half(chunk, 2)? & 0x3fff, &chunk[4..])))
}

/// Pieces that begin with their length, each padded to four bytes.
fn chunks(
    mut rest: &[u8],
    length_of: impl Fn(&[u8]) -> Option<usize>,
    shortest: usize,
) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = length_of(rest).filter(|length| *length >= shortest)?;
        let chunk = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(chunk)
    })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let value = bytes.get(at..at + 2)?;
    value.try_into().ok().map(u16::from_ne_bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let value = bytes.get(at..at + 4)?;
    value.try_into().ok().map(u32::from_ne_bytes)
}

fn find(payload: &[u8], behind: usize, number: u16) -> Option<u32> {
    let mut all = attributes(payload.get(behind..)?);
    all.find(|(kind, _)| *kind == number)
        .and_then(|(_, value)| match value {
            [byte] => Some(u32::from(*byte)),
            _ => word(value, 0),
        })
}

/// Reads a message of rtnetlink. Who asked for a change stands in the header: what the
/// ports `own` asked for is no news.
pub(crate) fn route(message: &[u8], own: &[u32]) -> Changes {
    let asked_by = word(message, 12).unwrap_or_default();
    if own.contains(&asked_by) {
        return Changes::NONE;
    }
    let payload = &message[HEADER..];
    let flags = half(message, 6).unwrap_or_default();
    let read = match half(message, 4).unwrap_or_default() {
        kind @ (kind::NEW_LINK | kind::DEL_LINK) => link(payload, kind == kind::DEL_LINK, asked_by),
        kind::NEW_ADDRESS | kind::DEL_ADDRESS => address(payload),
        kind::DEL_ROUTE => removed_route(payload),
        kind::NEW_ROUTE => new_route(payload, flags & NLM_F_REPLACE != 0),
        kind::DEL_RULE => rule(payload),
        kind::NEW_SETTING => setting(payload),
        kind::NEW_QDISC | kind::DEL_QDISC | kind::NEW_FILTER | kind::DEL_FILTER => Some(LIMITS),
        _ => None,
    };
    read.unwrap_or_default()
}

/// `struct ifinfomsg`: family, type, index, flags, changed flags. Ends of veth pairs
/// that are ours are of interest only where somebody takes them down, or up again: their
/// routes went when they were down. Before 6.2 the kernel does not say who asked, and to
/// take one up is ours as a rule. When one is made, all its flags count as changed. One
/// that goes takes a pod along: nothing can be repaired.
fn link(payload: &[u8], gone: bool, asked_by: u32) -> Option<Changes> {
    let (flags, changed) = (word(payload, 8)?, word(payload, 12)?);
    if *payload.first()? != AF_UNSPEC {
        return None; // a port of a bridge
    }
    match find(payload, 16, attribute::LINK_GROUP).unwrap_or_default() {
        DYING_GROUP => None,
        // It stays when its pod's link goes, so that one that goes went alone.
        POD_GROUP if is_ifb(payload) => {
            let down = changed & UP != 0 && changed != u32::MAX && flags & UP == 0;
            (gone || down).then_some(LIMITS)
        }
        POD_GROUP => {
            let set = changed & UP != 0 && changed != u32::MAX;
            let by_others = flags & UP == 0 || asked_by != 0;
            (set && by_others && !gone).then_some(Changes {
                pods: true,
                ..Changes::NONE
            })
        }
        _ => Some(Changes {
            links: true,
            ..Changes::NONE
        }),
    }
}

fn is_ifb(link: &[u8]) -> bool {
    let mut all = attributes(link.get(16..).unwrap_or_default());
    let info = all.find(|(number, _)| *number == attribute::LINK_INFO);
    info.is_some_and(|(_, info)| {
        let mut info = attributes(info);
        info.any(|(number, kind)| number == attribute::LINK_KIND && kind.starts_with(b"ifb"))
    })
}

/// `struct ifaddrmsg`: family, prefix length, flags, scope, index. Addresses that IPv6
/// makes for each link by itself are no news.
fn address(payload: &[u8]) -> Option<Changes> {
    let (family, scope) = (*payload.first()?, *payload.get(3)?);
    (family != AF_INET6 || scope != SCOPE_LINK).then_some(Changes {
        addresses: true,
        ..Changes::NONE
    })
}

/// `struct rtmsg`: family, lengths, tos, table, protocol. A route of ours that went.
fn removed_route(payload: &[u8]) -> Option<Changes> {
    match *payload.get(5)? {
        PROTOCOL => route_of_ours(payload),
        protocol => route_of_others(payload, protocol),
    }
}

fn new_route(payload: &[u8], replaces: bool) -> Option<Changes> {
    let of_ours = replaces.then(|| route_of_ours(payload)).flatten();
    of_ours.or_else(|| route_of_others(payload, *payload.get(5)?))
}

/// A route of the main table that others made or removed. The kernel's own come and go
/// with addresses, which are told; with each pod come some.
fn route_of_others(payload: &[u8], protocol: u8) -> Option<Changes> {
    let table = find(payload, 12, attribute::ROUTE_TABLE)?;
    let others = table == MAIN_TABLE && ![PROTOCOL, PROTOCOL_KERNEL].contains(&protocol);
    others.then_some(Changes {
        main_table: true,
        ..Changes::NONE
    })
}

/// A route of a table of ours: one by whomever may have taken the place of ours.
fn route_of_ours(payload: &[u8]) -> Option<Changes> {
    let table = find(payload, 12, attribute::ROUTE_TABLE)?;
    match table {
        POD_TABLE => Some(Changes {
            pods: true,
            ..Changes::NONE
        }),
        table if table == PRIMARY_TABLE || INTERFACE_TABLES.contains(&table) => Some(Changes {
            rules_and_routes: true,
            ..Changes::NONE
        }),
        _ => None,
    }
}

/// `struct fib_rule_hdr`. A rule of ours that went.
fn rule(payload: &[u8]) -> Option<Changes> {
    let protocol = find(payload, 12, attribute::RULE_PROTOCOL)?;
    (protocol == u32::from(PROTOCOL)).then_some(Changes {
        rules_and_routes: true,
        ..Changes::NONE
    })
}

/// `struct netconfmsg`: family. One setting that was made otherwise than pods need it.
/// A message with both settings comes with each new link and says nothing.
fn setting(payload: &[u8]) -> Option<Changes> {
    let family = *payload.first()?;
    let link = find(payload, 4, attribute::SETTING_LINK)?;
    let forwarding = find(payload, 4, attribute::SETTING_FORWARDING);
    let rp_filter = find(payload, 4, attribute::SETTING_RP_FILTER);
    let wrong = match (family, forwarding, rp_filter) {
        (AF_INET, Some(forwarding), None) => forwarding == 0,
        (AF_INET, None, Some(rp_filter)) => rp_filter != 2 && i32::try_from(link).is_ok(),
        (AF_INET6, Some(forwarding), None) => forwarding == 0 && link == ALL_LINKS,
        _ => false,
    };
    wrong.then_some(Changes {
        settings: true,
        ..Changes::NONE
    })
}

/// Reads a message of nftables: `struct nfgenmsg` (family, version, resource), then
/// attributes, of which the kernel puts the table's name first.
///
/// What the ports `own` asked for is no news: elements of ours that come and go with pods.
pub(crate) fn nftables(message: &[u8], own: &[u32]) -> Changes {
    let asked_by = word(message, 12).unwrap_or_default();
    if own.contains(&asked_by) {
        return Changes::NONE;
    }
    let ours = half(message, 4).is_some_and(|kind| kind >> 8 == NFTABLES)
        && message.get(HEADER) == Some(&OUR_FAMILY)
        && message.get(HEADER + 4..).is_some_and(|rest| {
            let mut all = attributes(rest);
            all.any(|(number, value)| {
                number == attribute::NFTABLES_TABLE && OUR_TABLES.contains(&value)
            })
        });
    Changes {
        nftables: ours,
        ..Changes::NONE
    }
}

#[cfg(test)]
mod tests;
