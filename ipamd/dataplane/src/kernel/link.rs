//! Links: the requests that make, change, find and delete them.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{
    DefaultNla, Emitable, NLA_F_NESTED, NLM_F_CREATE, NLM_F_EXCL, NlasIterator,
};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::errno::Refusal;
use super::netlink::{Change, Reply, Socket};
use crate::plan::{DYING_GROUP, EndpointPlan, POD_GROUP};

/// Kinds of links that take the MAC of what they are on.
const DERIVED_KINDS: [&str; 5] = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"];

/// Numbers of the attributes that are read (`if_link.h`).
mod number_of {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const PEER: u16 = 5;
    pub(super) const CONTROLLER: u16 = 10;
    pub(super) const INFO: u16 = 18;
    pub(super) const OF_FAMILIES: u16 = 26;
    pub(super) const GROUP: u16 = 27;
    /// Inside of `INFO`.
    pub(super) const INFO_KIND: u16 = 1;
    /// Inside of `OF_FAMILIES`: AF_INET, and inside of that the settings, which are told as
    /// one array and set one by one (`ip.h`).
    pub(super) const IPV4: u16 = 2;
    pub(super) const IPV4_SETTINGS: u16 = 1;
    pub(super) const ROUTE_LOCALNET: u16 = 26;
}

/// A link as the kernel tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: Vec<u8>,
    pub(crate) group: u32,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// The other end of a veth pair, in whatever namespace that is; what a VLAN is on.
    pub(crate) peer: Option<u32>,
    /// Bridge, bond or synthetic interface that this one is part of.
    pub(crate) controller: Option<u32>,
    /// Kind as `ip -d link` shows it; empty for real interfaces.
    pub(crate) kind: String,
    /// Whether IPv4 packets from and to loopback addresses pass it (`route_localnet`).
    pub(crate) routes_loopback: bool,
}

impl Link {
    /// Reads what is needed of `struct ifinfomsg` and its attributes (rtnetlink(7)).
    /// Links of others carry attributes that no parser knows all of.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let word = |at: usize| number(payload.get(at..at + 4)?);
        let mut link = Self {
            index: word(4)?,
            up: LinkFlags::from_bits_retain(word(8)?).contains(LinkFlags::Up),
            ..Self::default()
        };
        for attribute in NlasIterator::new(payload.get(16..)?).flatten() {
            let value = attribute.value();
            match attribute.kind() {
                number_of::ADDRESS => link.mac = value.to_vec(),
                number_of::NAME => link.name = string(value),
                number_of::MTU => link.mtu = number(value)?,
                number_of::PEER => link.peer = number(value),
                number_of::CONTROLLER => link.controller = number(value),
                number_of::GROUP => link.group = number(value)?,
                number_of::INFO => {
                    link.kind = NlasIterator::new(value)
                        .flatten()
                        .find(|info| info.kind() == number_of::INFO_KIND)
                        .map(|info| string(info.value()))
                        .unwrap_or_default();
                }
                number_of::OF_FAMILIES => link.routes_loopback = routes_loopback(value),
                _ => {}
            }
        }
        Some(link)
    }

    /// The host's end of a pod's veth pair, made by us.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.group, POD_GROUP | DYING_GROUP) && self.kind == "veth"
    }

    /// An ifb device that a pod's packets pass through, made by us.
    pub(crate) fn is_our_ifb(&self) -> bool {
        matches!(self.group, POD_GROUP | DYING_GROUP) && self.kind == "ifb"
    }

    /// Interfaces that borrow another's MAC are not what a cloud plugged in.
    pub(crate) fn is_derived(&self) -> bool {
        self.controller.is_some() || DERIVED_KINDS.contains(&self.kind.as_str()) || self.is_ours()
    }
}

/// Reads that setting out of what is told of a link for each family.
fn routes_loopback(of_families: &[u8]) -> bool {
    let at = usize::from(number_of::ROUTE_LOCALNET - 1) * 4;
    let mut families = NlasIterator::new(of_families).flatten();
    families.any(|family| {
        family.kind() == number_of::IPV4
            && NlasIterator::new(family.value()).flatten().any(|settings| {
                let value = settings.value().get(at..at + 4).and_then(number);
                settings.kind() == number_of::IPV4_SETTINGS && value.is_some_and(|on| on != 0)
            })
    })
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

fn string(value: &[u8]) -> String {
    let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// A MAC as it is written.
pub(crate) fn mac_text(mac: &[u8]) -> String {
    let bytes: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

/// Makes the veth pair with the peer in the pod's namespace. Answers the host's
/// end, with the peer's index, where the kernel echoes it (6.2).
pub(crate) fn create_pair(
    socket: &mut Socket,
    plan: &EndpointPlan,
    namespace: BorrowedFd<'_>,
) -> Result<Option<Link>, Refusal> {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(plan.pod_link.clone()),
        LinkAttribute::Address(plan.pod_mac.to_vec()),
        LinkAttribute::Mtu(plan.mtu),
        LinkAttribute::NumTxQueues(1),
        LinkAttribute::NumRxQueues(1),
        LinkAttribute::NetNsFd(namespace.as_raw_fd()),
    ];
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(plan.host_link.clone()),
        LinkAttribute::Address(plan.host_mac.to_vec()),
        LinkAttribute::Mtu(plan.mtu),
        LinkAttribute::Group(POD_GROUP),
        // One queue is what a veth uses anyway; by default it is made with one per
        // processor, each with its entries in sysfs.
        LinkAttribute::NumTxQueues(1),
        LinkAttribute::NumRxQueues(1),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    let request = RouteNetlinkMessage::NewLink(message);
    let echoed = socket.apply_echoed(request, NLM_F_CREATE | NLM_F_EXCL)?;
    Ok(link_of(echoed))
}

/// Makes an ifb device in the pods' group, down. Answers it where the kernel echoes it
/// (6.2).
pub(crate) fn create_ifb(socket: &mut Socket, name: &str) -> Result<Option<Link>, Refusal> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Group(POD_GROUP),
        LinkAttribute::NumTxQueues(1),
        LinkAttribute::NumRxQueues(1),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]),
    ];
    let request = RouteNetlinkMessage::NewLink(message);
    let echoed = socket.apply_echoed(request, NLM_F_CREATE | NLM_F_EXCL)?;
    Ok(link_of(echoed))
}

/// The link of a name.
pub(crate) fn by_name(socket: &mut Socket, name: &str) -> Result<Option<Link>, Refusal> {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(name.to_owned()));
    get(socket, message)
}

/// The link of an index.
pub(crate) fn by_index(socket: &mut Socket, index: u32) -> Result<Option<Link>, Refusal> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    get(socket, message)
}

fn get(socket: &mut Socket, mut message: LinkMessage) -> Result<Option<Link>, Refusal> {
    message.attributes.push(without_statistics());
    match socket.ask(RouteNetlinkMessage::GetLink(message), 0) {
        Ok(answer) => Ok(link_of(answer)),
        Err(refusal) if refusal.gone() => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// All links of the namespace.
pub(crate) fn all(socket: &mut Socket) -> Result<Vec<Link>, Refusal> {
    let mut message = LinkMessage::default();
    message.attributes.push(without_statistics());
    let dump = socket.dump(&RouteNetlinkMessage::GetLink(message))?;
    Ok(dump
        .into_iter()
        .filter_map(|reply| link_of(Some(reply)))
        .collect())
}

fn link_of(reply: Option<Reply>) -> Option<Link> {
    Link::read(&reply?.payload)
}

fn without_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

/// No IPv6 addresses but those that are given.
pub(crate) fn no_generated_addresses(index: u32, name: &str) -> Change {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(generated_addresses_off());
    Change::new(
        RouteNetlinkMessage::SetLink(message),
        0,
        format!("switch generated IPv6 addresses off on {name}"),
    )
    .unless(Refusal::no_such_family)
}

fn generated_addresses_off() -> LinkAttribute {
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
        In6AddrGenMode::None,
    )])])
}

/// Lets IPv4 packets from and to loopback addresses pass a link (`route_localnet`). By
/// netlink, so that it needs no writable `/proc/sys`.
pub(crate) fn route_loopback(index: u32, name: &str) -> Change {
    let nested = |kind: u16, inside: DefaultNla| {
        let mut bytes = vec![0; inside.buffer_len()];
        inside.emit(&mut bytes);
        DefaultNla::new(kind | NLA_F_NESTED, bytes)
    };
    let setting = DefaultNla::new(number_of::ROUTE_LOCALNET, 1_u32.to_ne_bytes().to_vec());
    let of_ipv4 = nested(number_of::IPV4, nested(number_of::IPV4_SETTINGS, setting));
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Other(nested(
        number_of::OF_FAMILIES,
        of_ipv4,
    )));
    Change::new(
        RouteNetlinkMessage::SetLink(message),
        0,
        format!("set net.ipv4.conf.{name}.route_localnet=1"),
    )
}

/// Brings a link up.
pub(crate) fn up(index: u32, name: &str) -> Change {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    Change::new(
        RouteNetlinkMessage::SetLink(message),
        0,
        format!("bring {name} up"),
    )
}

/// Sets a link's MTU, bytes.
pub(crate) fn mtu(index: u32, name: &str, mtu: u32) -> Change {
    let purpose = format!("set the MTU of {name} to {mtu}");
    set(index, LinkAttribute::Mtu(mtu), purpose)
}

/// Puts a link into a group.
pub(crate) fn group(index: u32, name: &str, group: u32) -> Change {
    let purpose = format!("put {name} into link group {group}");
    set(index, LinkAttribute::Group(group), purpose)
}

/// Says what a link is for, to people.
pub(crate) fn alias(index: u32, name: &str, alias: &str) -> Change {
    let purpose = format!("set the alias of {name}");
    set(index, LinkAttribute::IfAlias(alias.to_owned()), purpose)
}

/// Sets a link's MAC.
pub(crate) fn mac(index: u32, name: &str, mac: [u8; 6]) -> Change {
    let purpose = format!("set the MAC of {name} to {}", mac_text(&mac));
    set(index, LinkAttribute::Address(mac.to_vec()), purpose)
}

/// Sets one thing of a link.
fn set(index: u32, attribute: LinkAttribute, purpose: String) -> Change {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(attribute);
    Change::new(RouteNetlinkMessage::SetLink(message), 0, purpose)
}

/// Takes a link down and into the dying group.
pub(crate) fn mark_dying(index: u32, name: &str) -> Change {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.change_mask = LinkFlags::Up;
    message.attributes.push(LinkAttribute::Group(DYING_GROUP));
    Change::new(
        RouteNetlinkMessage::SetLink(message),
        0,
        format!("take {name} down and into the dying group"),
    )
    .unless(Refusal::gone)
}

/// Deletes one link; a veth's other end goes with it. Waits for the kernel (10 to 20 ms).
pub(crate) fn delete(index: u32, name: &str) -> Change {
    let mut message = LinkMessage::default();
    message.header.index = index;
    Change::new(
        RouteNetlinkMessage::DelLink(message),
        0,
        format!("delete {name}"),
    )
    .unless(Refusal::gone)
}

/// Deletes all links of the dying group: one wait for all of them.
pub(crate) fn delete_dying() -> Change {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Unspec;
    message.attributes.push(LinkAttribute::Group(DYING_GROUP));
    Change::new(
        RouteNetlinkMessage::DelLink(message),
        0,
        "delete the links of the dying group",
    )
    .unless(Refusal::gone)
}
