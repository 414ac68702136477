//! Policy rules. All of ours carry our protocol number; only those are changed.
//!
//! A packet that comes in by a link and follows the node's own routes goes by
//! [`FORWARDED`] and [`FORWARDED_OTHERWISE`] and not by the kernel's own rule for the
//! main table: what others add there by a secondary interface is not for pods.

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::address::family;
use super::errno::Refusal;
use super::netlink::{Change, Socket};
use super::route::MAIN_TABLE;
use crate::KernelError;
use crate::plan::{Mark, POD_TABLE, PRIMARY_TABLE, PROTOCOL, Repair, RepairKind, SECONDARY_GROUP};

/// To the pods of the node.
pub(crate) const TO_PODS: u32 = 512;
/// Marked traffic leaves by the primary interface.
pub(crate) const MARKED: u32 = 1024;
/// Traffic to external services follows the node's own routes.
pub(crate) const EXTERNAL_SERVICES: u32 = 1535;
/// Traffic of a prefix or address leaves by its interface.
pub(crate) const FROM_PODS: u32 = 1536;
/// What is forwarded follows the main table, but by no secondary interface. Behind the
/// rules of others, and in front of the main table's own (32766).
pub(crate) const FORWARDED: u32 = 32763;
/// Where the main table has nothing else, it follows that table's routes by other links.
pub(crate) const FORWARDED_OTHERWISE: u32 = 32764;
/// Traffic of an interface's own address leaves by it.
pub(crate) const FROM_INTERFACE: u32 = 32765;

/// All of them.
pub(crate) const PRIORITIES: [u32; 7] = [
    TO_PODS,
    MARKED,
    EXTERNAL_SERVICES,
    FROM_PODS,
    FORWARDED,
    FORWARDED_OTHERWISE,
    FROM_INTERFACE,
];

/// The link that packets of the node itself come in by, as rules see them.
const LOOPBACK: &str = "lo";

/// What a rule does with packets that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Looks them up in a table.
    Lookup(u32),
    /// The same; a route by a link of the group counts as none.
    LookupExcept { table: u32, group: u32 },
    /// Goes on with the rule of that priority; while there is none, with the next one.
    GoTo(u32),
}

/// One rule of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) family: AddressFamily,
    pub(crate) priority: u32,
    pub(crate) source: Option<IpNet>,
    pub(crate) destination: Option<IpNet>,
    /// Mark and mask.
    pub(crate) mark: Option<(u32, u32)>,
    /// Only what came in by a link, and nothing that the node itself sends.
    pub(crate) forwarded: bool,
    pub(crate) action: Action,
}

impl Rule {
    fn new(family: AddressFamily, priority: u32, action: Action) -> Self {
        Self {
            family,
            priority,
            source: None,
            destination: None,
            mark: None,
            forwarded: false,
            action,
        }
    }

    /// `512 from all lookup <pod table>`.
    pub(crate) fn to_pods(family: AddressFamily) -> Self {
        Self::new(family, TO_PODS, Action::Lookup(POD_TABLE))
    }

    /// `32763 not from all iif lo lookup main suppress_ifgroup <secondary interfaces>`,
    /// `32764 not from all iif lo lookup <primary table>`.
    pub(crate) fn of_forwarded(family: AddressFamily) -> [Self; 2] {
        let main = Action::LookupExcept {
            table: MAIN_TABLE,
            group: SECONDARY_GROUP,
        };
        let mut rules = [
            Self::new(family, FORWARDED, main),
            Self::new(family, FORWARDED_OTHERWISE, Action::Lookup(PRIMARY_TABLE)),
        ];
        for rule in &mut rules {
            rule.forwarded = true;
        }
        rules
    }

    /// `1024 from all fwmark <mark>/<mark> goto 32763`.
    pub(crate) fn marked(family: AddressFamily, mark: u32) -> Self {
        Self {
            mark: Some((mark, mark)),
            ..Self::new(family, MARKED, Action::GoTo(FORWARDED))
        }
    }

    /// `1535 from all to <range> goto 32763`.
    pub(crate) fn to_external_service(range: IpNet) -> Self {
        let action = Action::GoTo(FORWARDED);
        Self {
            destination: Some(range),
            ..Self::new(family(range.addr()), EXTERNAL_SERVICES, action)
        }
    }

    /// `<priority> from <source> lookup <table>`.
    pub(crate) fn from(source: IpNet, priority: u32, table: u32) -> Self {
        Self {
            source: Some(source),
            ..Self::new(family(source.addr()), priority, Action::Lookup(table))
        }
    }

    /// `<priority> from all fwmark <value>/<mask> lookup <table>`.
    pub(crate) fn by_mark(family: AddressFamily, mark: Mark, priority: u32, table: u32) -> Self {
        Self {
            mark: Some((mark.value, mark.mask)),
            ..Self::new(family, priority, Action::Lookup(table))
        }
    }

    /// What does not work without it.
    fn carries(&self) -> &'static str {
        match self.priority {
            TO_PODS => "no pod of this node is reached: neither from outside, nor from the node",
            MARKED => {
                "what pods send out of the network, and answers of node ports, leave by the wrong \
                 interface and are dropped by the cloud"
            }
            EXTERNAL_SERVICES => "pods on secondary interfaces do not reach that external service",
            FROM_PODS => {
                "packets of pods with these addresses leave by the wrong interface, and the \
                 cloud drops them"
            }
            FROM_INTERFACE => {
                "answers from the interface's own address leave by the wrong interface, and the \
                 cloud drops them"
            }
            _ => "pods' packets may follow others' routes by a secondary interface and be lost",
        }
    }

    /// The table that it looks packets up in.
    pub(crate) fn table(&self) -> Option<u32> {
        match self.action {
            Action::Lookup(table) | Action::LookupExcept { table, .. } => Some(table),
            Action::GoTo(_) => None,
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
        let attributes = &mut message.attributes;
        attributes.push(RuleAttribute::Priority(self.priority));
        message.header.action = match self.action {
            Action::Lookup(_) | Action::LookupExcept { .. } => RuleAction::ToTable,
            Action::GoTo(priority) => {
                attributes.push(RuleAttribute::Goto(priority));
                RuleAction::Goto
            }
        };
        if let Some(table) = self.table() {
            message.header.table = u8::try_from(table).unwrap_or(0);
            attributes.push(RuleAttribute::Table(table));
        }
        if let Action::LookupExcept { group, .. } = self.action {
            attributes.push(RuleAttribute::SuppressIfGroup(group));
        }
        if self.forwarded {
            message.header.flags = RuleFlags::Invert;
            attributes.push(RuleAttribute::Iifname(LOOPBACK.to_owned()));
        }
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

    /// `None` for a rule of another program.
    pub(crate) fn read(message: &RuleMessage) -> Option<Self> {
        let mut rule = Self::new(message.header.family, 0, Action::Lookup(0));
        let mut table = u32::from(message.header.table);
        let (mut ours, mut mark, mut mask) = (false, None, u32::MAX);
        let (mut group, mut target) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Protocol(protocol) => {
                    ours = *protocol == RouteProtocol::from(PROTOCOL);
                }
                RuleAttribute::Priority(priority) => rule.priority = *priority,
                RuleAttribute::Table(number) => table = *number,
                RuleAttribute::Goto(priority) => target = Some(*priority),
                RuleAttribute::SuppressIfGroup(number) => group = Some(*number),
                RuleAttribute::Iifname(name) => {
                    let inverted = message.header.flags.contains(RuleFlags::Invert);
                    rule.forwarded = inverted && name == LOOPBACK;
                }
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
        rule.action = match (target, group) {
            (Some(priority), _) => Action::GoTo(priority),
            (None, Some(group)) => Action::LookupExcept { table, group },
            (None, None) => Action::Lookup(table),
        };
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
        let not = if self.forwarded { "not " } else { "" };
        write!(out, "{family}{} {not}from ", self.priority)?;
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
        if self.forwarded {
            write!(out, " iif {LOOPBACK}")?;
        }
        match self.action {
            Action::Lookup(table) => write!(out, " lookup {table}"),
            Action::LookupExcept { table, group } => {
                write!(out, " lookup {table} suppress_ifgroup {group}")
            }
            Action::GoTo(priority) => write!(out, " goto {priority}"),
        }
    }
}

/// All rules of one family, whoever made them.
pub(crate) fn all(socket: &mut Socket, family: AddressFamily) -> Result<Vec<RuleMessage>, Refusal> {
    let mut request = RuleMessage::default();
    request.header.family = family;
    let dump = match socket.dump(&RouteNetlinkMessage::GetRule(request)) {
        Err(refusal) if refusal.no_such_family() => Vec::new(),
        other => other?,
    };
    let rules = dump.into_iter().filter_map(|reply| match reply.parse()? {
        RouteNetlinkMessage::NewRule(message) => Some(message),
        _ => None,
    });
    // A kernel that lacks the family may answer with others.
    Ok(rules
        .filter(|message| message.header.family == family)
        .collect())
}

/// All rules of ours of one family.
pub(crate) fn ours(socket: &mut Socket, family: AddressFamily) -> Result<Vec<Rule>, Refusal> {
    Ok(all(socket, family)?.iter().filter_map(Rule::read).collect())
}

/// Brings the rules of ours that `concern` accepts to what is wanted: what is
/// missing is added before anything is removed, so no packet finds neither. Returns
/// what was missing or surplus.
pub(crate) fn ensure_rules(
    socket: &mut Socket,
    wanted: &[Rule],
    concern: impl Fn(&Rule) -> bool,
) -> Result<Vec<Repair>, KernelError> {
    let mut present = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let found = ours(socket, family);
        present.extend(found.map_err(|refusal| refusal.during("list rules"))?);
    }
    let (mut changes, mut repairs) = (Vec::new(), Vec::new());
    for rule in wanted.iter().filter(|rule| !present.contains(rule)) {
        changes.push(rule.add());
        let object = format!("rule {rule}");
        repairs.push(Repair::new(
            RepairKind::Rule,
            object,
            "missing",
            rule.carries(),
        ));
    }
    for rule in present
        .iter()
        .filter(|rule| concern(rule) && !wanted.contains(rule))
    {
        changes.push(rule.remove());
        let object = format!("rule {rule}");
        let breaks = "packets follow a rule that no plan has any more, perhaps to nowhere";
        repairs.push(Repair::new(RepairKind::Rule, object, "surplus", breaks));
    }
    socket.apply(changes)?;
    Ok(repairs)
}
