//! Where the programs hang: two tc blocks that all pods' links share, and a link that holds
//! them; and the egress of the cloud's interfaces (tc(8), `pkt_sched.h`, `pkt_cls.h`).
//!
//! A block lives as long as some qdisc joins it, and goes in silence with its filters. So a
//! veth pair of our own joins both for as long as the node runs.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use aya::programs::{SchedClassifier, TcAttachType};
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage,
};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use rustix::io::Errno;

use crate::Error;
use crate::netlink::{Netlink, attribute, is, text, word};

const CLSACT: &str = "clsact";
const BPF: &str = "bpf";

/// `TCM_IFINDEX_MAGIC_BLOCK`: the request is about a block, whose number is in the place of
/// the parent.
const A_BLOCK: i32 = -1;
/// Bytes of `struct tcmsg`, and of `struct ifinfomsg`.
const TC_HEADER: usize = 20;
const LINK_HEADER: usize = 16;
/// `ETH_P_ALL`: packets of every protocol.
const ANY_PROTOCOL: u16 = 3;
/// Before every other filter of a block or link.
const PREFERENCE: u32 = 1;
/// Our only filter of that preference.
const HANDLE: u32 = 1;

/// Numbers of attributes.
mod number_of {
    pub(super) const KIND: u16 = 1;
    pub(super) const OPTIONS: u16 = 2;
    pub(super) const INGRESS_BLOCK: u16 = 13;
    pub(super) const EGRESS_BLOCK: u16 = 14;
    pub(super) const BPF_FD: u16 = 6;
    pub(super) const BPF_NAME: u16 = 7;
    pub(super) const BPF_FLAGS: u16 = 8;
    pub(super) const BPF_ID: u16 = 11;
    pub(super) const LINK_NAME: u16 = 3;
}

/// `TCA_BPF_FLAG_ACT_DIRECT`: what the program returns is the verdict.
const DIRECT_ACTION: u32 = 1;

/// What filters of ours are called.
pub(crate) const NAMES: [&str; 3] = ["veni_from_pod", "veni_to_pod", "veni_leaving"];

/// Where a filter hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A block, by its number.
    Block(u32),
    /// What leaves by a link.
    Egress(u32),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Block(number) => write!(f, "tc block {number}"),
            Self::Egress(index) => write!(f, "egress of link {index}"),
        }
    }
}

/// A filter that the kernel tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) kind: String,
    pub(crate) name: String,
    /// The kernel's number of its program.
    pub(crate) program: Option<u32>,
}

/// What stands where a link's filters hang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Joined {
    /// Both blocks.
    Blocks,
    /// Nothing.
    Nothing,
    /// A qdisc of this kind, which joins no block of ours.
    Other(String),
}

fn failed(operation: String) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Netlink { operation, source }
}

fn own(number: u16, value: &[u8]) -> DefaultNla {
    DefaultNla::new(number, value.to_vec())
}

fn qdisc(index: u32) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = index.cast_signed();
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle {
        major: u16::MAX,
        minor: 0,
    };
    message
}

/// Makes a link join both blocks; success also where it has.
pub(crate) fn join(netlink: &mut Netlink, index: u32, blocks: (u32, u32)) -> Result<(), Error> {
    let mut message = qdisc(index);
    message.attributes = vec![
        TcAttribute::Kind(CLSACT.to_owned()),
        TcAttribute::Other(own(number_of::INGRESS_BLOCK, &blocks.0.to_ne_bytes())),
        TcAttribute::Other(own(number_of::EGRESS_BLOCK, &blocks.1.to_ne_bytes())),
    ];
    let made = netlink.change(
        RouteNetlinkMessage::NewQueueDiscipline(message),
        NLM_F_CREATE | NLM_F_EXCL,
    );
    match made {
        Err(error) if is(&error, Errno::EXIST) => match joined(netlink, index, blocks)? {
            Joined::Other(kind) => Err(Error::ForeignQdisc { index, kind }),
            Joined::Blocks | Joined::Nothing => Ok(()),
        },
        answer => answer.map_err(failed(format!(
            "join link {index} to the tc blocks {} and {}",
            blocks.0, blocks.1
        ))),
    }
}

/// What a link has where it should join the blocks.
pub(crate) fn joined(
    netlink: &mut Netlink,
    index: u32,
    blocks: (u32, u32),
) -> Result<Joined, Error> {
    let mut request = TcMessage::default();
    request.header.index = index.cast_signed();
    let found = match netlink.dump(RouteNetlinkMessage::GetQueueDiscipline(request)) {
        Ok(found) => found,
        Err(error) if is(&error, Errno::NODEV) => Vec::new(),
        Err(error) => return Err(failed(format!("list the qdiscs of link {index}"))(error)),
    };
    let ours = |payload: &&Vec<u8>| {
        word(payload, 4) == Some(index) && word(payload, 12) == Some(u32::from(TcHandle::CLSACT))
    };
    let Some(payload) = found.iter().find(ours) else {
        return Ok(Joined::Nothing);
    };
    let attributes = payload.get(TC_HEADER..).unwrap_or_default();
    let block = |number| attribute(attributes, number).and_then(|value| word(value, 0));
    let has = (
        block(number_of::INGRESS_BLOCK),
        block(number_of::EGRESS_BLOCK),
    );
    if has == (Some(blocks.0), Some(blocks.1)) {
        return Ok(Joined::Blocks);
    }
    let kind = attribute(attributes, number_of::KIND).map(text);
    Ok(Joined::Other(kind.unwrap_or_default()))
}

/// Gives a link a clsact of its own, where it has none.
pub(crate) fn ensure_clsact(netlink: &mut Netlink, index: u32) -> Result<(), Error> {
    let mut message = qdisc(index);
    message.attributes = vec![TcAttribute::Kind(CLSACT.to_owned())];
    let made = netlink.change(
        RouteNetlinkMessage::NewQueueDiscipline(message),
        NLM_F_CREATE | NLM_F_EXCL,
    );
    match made {
        Err(error) if is(&error, Errno::EXIST) => Ok(()),
        answer => answer.map_err(failed(format!("add qdisc clsact to link {index}"))),
    }
}

fn at(place: Place) -> TcMessage {
    let mut message = TcMessage::default();
    (message.header.index, message.header.parent) = match place {
        Place::Block(number) => (A_BLOCK, TcHandle::from(number)),
        Place::Egress(index) => (
            index.cast_signed(),
            TcHandle {
                major: u16::MAX,
                minor: TcHandle::MIN_EGRESS,
            },
        ),
    };
    message
}

fn filter(place: Place) -> TcMessage {
    let mut message = at(place);
    message.header.handle = TcHandle::from(HANDLE);
    message.header.info = PREFERENCE << 16 | u32::from(ANY_PROTOCOL.to_be());
    message
}

/// Puts a program in a place, or in one step in the place of the one that is there: every
/// packet passes one of the two.
pub(crate) fn put(
    netlink: &mut Netlink,
    place: Place,
    name: &str,
    program: BorrowedFd<'_>,
) -> Result<(), Error> {
    let descriptor = program.as_raw_fd().to_ne_bytes();
    let options = [
        own(number_of::BPF_FD, &descriptor),
        own(number_of::BPF_NAME, &[name.as_bytes(), &[0]].concat()),
        own(number_of::BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes()),
    ];
    let mut message = filter(place);
    message.attributes = vec![
        TcAttribute::Kind(BPF.to_owned()),
        TcAttribute::Options(options.map(TcOption::Other).to_vec()),
    ];
    netlink
        .change(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE)
        .map_err(failed(format!("put the filter {name} on the {place}")))
}

/// Takes our filter from a place; success also where there is none.
pub(crate) fn take(netlink: &mut Netlink, place: Place) -> Result<(), Error> {
    if !filters(netlink, place)?.iter().any(ours) {
        return Ok(());
    }
    let mut message = filter(place);
    message.attributes = vec![TcAttribute::Kind(BPF.to_owned())];
    netlink
        .change(RouteNetlinkMessage::DelTrafficFilter(message), 0)
        .map_err(failed(format!("remove our filter from the {place}")))
}

/// Whether a filter is one of the programs'.
pub(crate) fn ours(filter: &Filter) -> bool {
    filter.kind == BPF && NAMES.contains(&filter.name.as_str())
}

/// The filters of a place, in their order; none where the place is not there.
pub(crate) fn filters(netlink: &mut Netlink, place: Place) -> Result<Vec<Filter>, Error> {
    let found = match netlink.dump(RouteNetlinkMessage::GetTrafficFilter(at(place))) {
        Ok(found) => found,
        Err(error)
            if [Errno::NODEV, Errno::NOENT, Errno::INVAL]
                .iter()
                .any(|errno| is(&error, *errno)) =>
        {
            Vec::new()
        }
        Err(error) => return Err(failed(format!("list the filters of the {place}"))(error)),
    };
    Ok(found.iter().filter_map(|payload| read(payload)).collect())
}

fn read(payload: &[u8]) -> Option<Filter> {
    let attributes = payload.get(TC_HEADER..)?;
    let kind = text(attribute(attributes, number_of::KIND)?);
    // The first message about a preference tells no filter of it.
    let options = attribute(attributes, number_of::OPTIONS)?;
    let name = attribute(options, number_of::BPF_NAME).map(text);
    let program = attribute(options, number_of::BPF_ID).and_then(|value| word(value, 0));
    Some(Filter {
        name: name.unwrap_or_default(),
        program: program.filter(|_| kind == BPF),
        kind,
    })
}

/// The index of a link by its name.
pub(crate) fn index_of(netlink: &mut Netlink, name: &str) -> Result<Option<u32>, Error> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    let found = netlink
        .look_up(RouteNetlinkMessage::GetLink(message))
        .map_err(failed(format!("look the link {name} up")))?;
    Ok(found.and_then(|payload| {
        let named = attribute(payload.get(LINK_HEADER..)?, number_of::LINK_NAME)?;
        (text(named) == name).then(|| word(&payload, 4))?
    }))
}

/// The indexes of all links.
pub(crate) fn all_links(netlink: &mut Netlink) -> Result<Vec<u32>, Error> {
    let links = netlink
        .dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))
        .map_err(failed("list the links".to_owned()))?;
    Ok(links.iter().filter_map(|link| word(link, 4)).collect())
}

/// The other end of the pair that holds the blocks.
fn other_end(holder: &str) -> String {
    format!("{}-peer", holder.get(..10).unwrap_or(holder))
}

/// Makes the pair that holds the blocks, if it is not there, and answers its index. It stays
/// down: it carries nothing.
pub(crate) fn ensure_holder(netlink: &mut Netlink, name: &str) -> Result<u32, Error> {
    if let Some(index) = index_of(netlink, name)? {
        return Ok(index);
    }
    let mut peer = LinkMessage::default();
    peer.attributes = vec![LinkAttribute::IfName(other_end(name))];
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    let operation = format!("add the link {name} that holds the tc blocks");
    netlink
        .change(
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .map_err(failed(operation.clone()))?;
    index_of(netlink, name)?.ok_or_else(|| failed(operation)(Errno::NODEV.into()))
}

/// Removes a link; success also where it is not there.
pub(crate) fn remove_link(netlink: &mut Netlink, name: &str) -> Result<(), Error> {
    let Some(index) = index_of(netlink, name)? else {
        return Ok(());
    };
    let mut message = LinkMessage::default();
    message.header.index = index;
    netlink
        .change(RouteNetlinkMessage::DelLink(message), 0)
        .map_err(failed(format!("remove the link {name}")))
}

/// Takes a link out of the blocks; success also where it is in none.
pub(crate) fn leave(netlink: &mut Netlink, index: u32) -> Result<(), Error> {
    let answer = netlink.change(RouteNetlinkMessage::DelQueueDiscipline(qdisc(index)), 0);
    match answer {
        Err(error)
            if [Errno::NODEV, Errno::NOENT, Errno::INVAL]
                .iter()
                .any(|errno| is(&error, *errno)) =>
        {
            Ok(())
        }
        answer => answer.map_err(failed(format!("remove qdisc clsact from link {index}"))),
    }
}

/// Names of tcx programs on a link: they run before ours, and skip them if they answer
/// that a packet passes. None before Linux 6.6.
pub(crate) fn foreign_programs(netlink: &mut Netlink, index: u32) -> Result<Vec<String>, Error> {
    let Some(name) = name_of(netlink, index)? else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for way in [TcAttachType::Ingress, TcAttachType::Egress] {
        let Ok((_, programs)) = SchedClassifier::query_tcx(&name, way) else {
            continue;
        };
        names.extend(programs.iter().map(|program| {
            let name = program.name_as_str().unwrap_or_default();
            format!("{name} ({way:?}, id {})", program.id())
        }));
    }
    Ok(names)
}

/// The name of a link by its index.
fn name_of(netlink: &mut Netlink, index: u32) -> Result<Option<String>, Error> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let found = netlink
        .look_up(RouteNetlinkMessage::GetLink(message))
        .map_err(failed(format!("look link {index} up")))?;
    Ok(found
        .and_then(|payload| attribute(payload.get(LINK_HEADER..)?, number_of::LINK_NAME).map(text)))
}
