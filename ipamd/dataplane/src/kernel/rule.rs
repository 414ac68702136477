//! Policy rules. All of ours carry our protocol number; only those are changed.

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::address::family;
use super::errno::Refusal;
use super::netlink::{Change, Socket};
use super::route::MAIN_TABLE;
use crate::plan::{POD_TABLE, PROTOCOL};

/// To the pods of the node.
pub(crate) const TO_PODS: u32 = 512;
/// Marked traffic leaves by the primary interface.
pub(crate) const MARKED: u32 = 1024;
/// Traffic to external services follows the node's own routes.
pub(crate) const EXTERNAL_SERVICES: u32 = 1535;
/// Traffic of a prefix or address leaves by its interface.
pub(crate) const FROM_PODS: u32 = 1536;
/// Traffic of an interface's own address leaves by it.
pub(crate) const FROM_INTERFACE: u32 = 32765;

/// One rule of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) family: AddressFamily,
    pub(crate) priority: u32,
    pub(crate) source: Option<IpNet>,
    pub(crate) destination: Option<IpNet>,
    /// Mark and mask.
    pub(crate) mark: Option<(u32, u32)>,
    pub(crate) table: u32,
}

impl Rule {
    /// `512 from all lookup <pod table>`.
    pub(crate) fn to_pods(family: AddressFamily) -> Self {
        Self {
            family,
            priority: TO_PODS,
            source: None,
            destination: None,
            mark: None,
            table: POD_TABLE,
        }
    }

    /// `1024 from all fwmark <mark>/<mark> lookup main`.
    pub(crate) fn marked(family: AddressFamily, mark: u32) -> Self {
        Self {
            family,
            priority: MARKED,
            source: None,
            destination: None,
            mark: Some((mark, mark)),
            table: MAIN_TABLE,
        }
    }

    /// `1535 from all to <range> lookup main`.
    pub(crate) fn to_external_service(range: IpNet) -> Self {
        Self {
            family: family(range.addr()),
            priority: EXTERNAL_SERVICES,
            source: None,
            destination: Some(range),
            mark: None,
            table: MAIN_TABLE,
        }
    }

    /// `<priority> from <source> lookup <table>`.
    pub(crate) fn from(source: IpNet, priority: u32, table: u32) -> Self {
        Self {
            family: family(source.addr()),
            priority,
            source: Some(source),
            destination: None,
            mark: None,
            table,
        }
    }

    pub(crate) fn add(self) -> Change {
        Change::new(
            RouteNetlinkMessage::NewRule(self.message()),
            NLM_F_CREATE | NLM_F_EXCL,
            format!("add rule {self}"),
        )
        .unless(Refusal::exists)
    }

    pub(crate) fn remove(self) -> Change {
        Change::new(
            RouteNetlinkMessage::DelRule(self.message()),
            0,
            format!("remove rule {self}"),
        )
        .unless(Refusal::gone)
    }

    fn message(self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = self.family;
        message.header.action = RuleAction::ToTable;
        message.header.table = u8::try_from(self.table).unwrap_or(0);
        let attributes = &mut message.attributes;
        attributes.push(RuleAttribute::Priority(self.priority));
        attributes.push(RuleAttribute::Table(self.table));
        attributes.push(RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)));
        if let Some(source) = self.source {
            message.header.src_len = source.prefix_len();
            attributes.push(RuleAttribute::Source(source.addr()));
        }
        if let Some(destination) = self.destination {
            message.header.dst_len = destination.prefix_len();
            attributes.push(RuleAttribute::Destination(destination.addr()));
        }
        if let Some((mark, mask)) = self.mark {
            attributes.push(RuleAttribute::FwMark(mark));
            attributes.push(RuleAttribute::FwMask(mask));
        }
        message
    }

    fn read(message: &RuleMessage) -> Option<Self> {
        let mut rule = Self {
            family: message.header.family,
            priority: 0,
            source: None,
            destination: None,
            mark: None,
            table: u32::from(message.header.table),
        };
        let (mut ours, mut mark, mut mask) = (false, None, u32::MAX);
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Protocol(protocol) => {
                    ours = *protocol == RouteProtocol::from(PROTOCOL);
                }
                RuleAttribute::Priority(priority) => rule.priority = *priority,
                RuleAttribute::Table(table) => rule.table = *table,
                RuleAttribute::Source(address) => {
                    rule.source = IpNet::new(*address, message.header.src_len).ok();
                }
                RuleAttribute::Destination(address) => {
                    rule.destination = IpNet::new(*address, message.header.dst_len).ok();
                }
                RuleAttribute::FwMark(value) => mark = Some(*value),
                RuleAttribute::FwMask(value) => mask = *value,
                _ => {}
            }
        }
        rule.mark = mark.map(|mark| (mark, mask));
        ours.then_some(rule)
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = if self.family == AddressFamily::Inet6 {
            "-6 "
        } else {
            ""
        };
        write!(out, "{family}{} from ", self.priority)?;
        match self.source {
            Some(source) => write!(out, "{source}")?,
            None => write!(out, "all")?,
        }
        if let Some(destination) = self.destination {
            write!(out, " to {destination}")?;
        }
        if let Some((mark, mask)) = self.mark {
            write!(out, " fwmark {mark:#x}/{mask:#x}")?;
        }
        write!(out, " lookup {}", self.table)
    }
}

/// All rules of ours of one family.
pub(crate) fn ours(socket: &mut Socket, family: AddressFamily) -> Result<Vec<Rule>, Refusal> {
    let mut request = RuleMessage::default();
    request.header.family = family;
    let dump = match socket.dump(&RouteNetlinkMessage::GetRule(request)) {
        Err(refusal) if refusal.no_such_family() => Vec::new(),
        other => other?,
    };
    Ok(dump
        .into_iter()
        .filter_map(|reply| match reply.parse()? {
            RouteNetlinkMessage::NewRule(message) => Rule::read(&message),
            _ => None,
        })
        .collect())
}

/// Brings the rules of ours that `concern` accepts to what is wanted: what is
/// missing is added before anything is removed, so no packet finds neither.
pub(crate) fn settle(
    socket: &mut Socket,
    wanted: &[Rule],
    concern: impl Fn(&Rule) -> bool,
) -> Result<(), crate::KernelError> {
    let mut present = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let found = ours(socket, family);
        present.extend(found.map_err(|refusal| refusal.during("list rules"))?);
    }
    let missing = wanted.iter().filter(|rule| !present.contains(rule));
    let mut changes: Vec<Change> = missing.map(|rule| rule.add()).collect();
    let surplus = present
        .iter()
        .filter(|rule| concern(rule) && !wanted.contains(rule));
    changes.extend(surplus.map(|rule| rule.remove()));
    socket.apply(changes)?;
    Ok(())
}
