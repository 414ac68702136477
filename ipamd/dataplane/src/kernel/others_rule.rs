//! A rule of another program, as far as it catches packets of pods.

use ipnet::IpNet;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use super::others::Scene;
use super::rule::{FORWARDED_OTHERWISE, PRIORITIES};
use crate::plan::{ForeignRule, POD_GROUP, PROTOCOL};

/// The table of the node's own addresses.
const LOCAL_TABLE: u32 = 255;

/// What becomes of what it catches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Catch {
    /// Looked up, of prefixes of at least that length.
    Looks { table: u32, beyond: u32 },
    /// Dropped or refused.
    Refuses,
}

/// One rule of another program that comes before ours.
#[derive(Debug)]
pub(super) struct OtherRule {
    pub(super) priority: u32,
    pub(super) source: Option<IpNet>,
    pub(super) catch: Catch,
    /// As `ip rule` writes it.
    pub(super) text: String,
}

impl OtherRule {
    /// `None` for a rule of ours or of the kernel's, and where no packet of a pod can match.
    pub(super) fn read(message: &RuleMessage, scene: &Scene<'_>) -> Option<Self> {
        let read = Selector::read(message)?;
        // Sockets of the node alone are bound to a link or have an owner.
        if read.of_sockets {
            return None;
        }
        let elsewhere = |range: Option<IpNet>| range.is_some_and(|it| !scene.overlaps_network(&it));
        let of_pods = |mark: u32, mask: u32| [0, scene.mark].iter().any(|of| of & mask == mark);
        let matches = !elsewhere(read.source)
            && !elsewhere(read.destination)
            && read.link.is_none_or(|name| is_of_pods(name, scene))
            && read.mark.is_none_or(|(mark, mask)| of_pods(mark, mask));
        if read.priority > FORWARDED_OTHERWISE
            || read.table == LOCAL_TABLE
            || (!matches && !read.inverted)
        {
            return None;
        }
        Some(Self {
            priority: read.priority,
            source: read.source.filter(|_| !read.inverted),
            catch: read.catch()?,
            text: read.text(),
        })
    }
}

/// A rule of another program at a priority of ours, whatever it matches.
pub(super) fn at_our_priority(message: &RuleMessage, scene: &Scene<'_>) -> Option<ForeignRule> {
    let read = Selector::read(message)?;
    PRIORITIES.contains(&read.priority).then(|| ForeignRule {
        text: format!("{} rule \"{}\"", scene.words(), read.text()),
        removal: format!("ip {}rule del {}", scene.option(), read.arguments()),
    })
}

fn is_of_pods(name: &str, scene: &Scene<'_>) -> bool {
    let mut links = scene.links.iter();
    links.any(|link| link.name == name && link.group == POD_GROUP)
}

/// What a rule of another program matches, and what it does.
struct Selector<'a> {
    priority: u32,
    inverted: bool,
    source: Option<IpNet>,
    destination: Option<IpNet>,
    /// Mark and mask.
    mark: Option<(u32, u32)>,
    /// The link that a packet comes in by.
    link: Option<&'a str>,
    /// It is for packets of the node's own sockets.
    of_sockets: bool,
    table: u32,
    /// Routes of shorter prefixes are passed over.
    beyond: u32,
    action: RuleAction,
}

impl<'a> Selector<'a> {
    /// `None` for a rule of ours.
    fn read(message: &'a RuleMessage) -> Option<Self> {
        let header = &message.header;
        let mut read = Self {
            priority: 0,
            inverted: header.flags.contains(RuleFlags::Invert),
            source: None,
            destination: None,
            mark: None,
            link: None,
            of_sockets: false,
            table: u32::from(header.table),
            beyond: 0,
            action: header.action,
        };
        let mut mask = u32::MAX;
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Protocol(protocol) if *protocol == RouteProtocol::from(PROTOCOL) => {
                    return None;
                }
                RuleAttribute::Oifname(_) | RuleAttribute::UidRange(_) => read.of_sockets = true,
                RuleAttribute::Priority(number) => read.priority = *number,
                RuleAttribute::Table(number) => read.table = *number,
                RuleAttribute::SuppressPrefixLen(length) if *length != u32::MAX => {
                    read.beyond = length + 1;
                }
                RuleAttribute::Iifname(name) => read.link = Some(name.as_str()),
                RuleAttribute::Source(address) => {
                    read.source = IpNet::new(*address, header.src_len).ok();
                }
                RuleAttribute::Destination(address) => {
                    read.destination = IpNet::new(*address, header.dst_len).ok();
                }
                RuleAttribute::FwMark(value) => read.mark = Some((*value, mask)),
                RuleAttribute::FwMask(value) => mask = *value,
                _ => {}
            }
        }
        read.mark = read.mark.map(|(mark, _)| (mark, mask));
        Some(read)
    }

    fn catch(&self) -> Option<Catch> {
        match self.action {
            RuleAction::ToTable => Some(Catch::Looks {
                table: self.table,
                beyond: self.beyond,
            }),
            RuleAction::Blackhole | RuleAction::Unreachable | RuleAction::Prohibit => {
                Some(Catch::Refuses)
            }
            _ => None,
        }
    }

    fn not(&self) -> &'static str {
        if self.inverted { "not " } else { "" }
    }

    /// What it matches, in the words of `ip rule`.
    fn matches(&self) -> String {
        let from = self
            .source
            .map_or_else(|| "all".to_owned(), |range| range.to_string());
        let mut text = format!("from {from}");
        if let Some(range) = self.destination {
            text += &format!(" to {range}");
        }
        if let Some((mark, mask)) = self.mark {
            text += &format!(" fwmark {mark:#x}/{mask:#x}");
        }
        if let Some(link) = self.link {
            text += &format!(" iif {link}");
        }
        text
    }

    /// As `ip rule` shows it.
    fn text(&self) -> String {
        let text = format!("{}: {}{}", self.priority, self.not(), self.matches());
        match self.catch() {
            Some(Catch::Looks { table, .. }) => text + &format!(" lookup {table}"),
            _ => text + " (no table)",
        }
    }

    /// As `ip rule del` takes it. One priority may have rules of ours as well.
    fn arguments(&self) -> String {
        let text = format!(
            "priority {} {}{}",
            self.priority,
            self.not(),
            self.matches()
        );
        match self.catch() {
            Some(Catch::Looks { table, .. }) => text + &format!(" lookup {table}"),
            _ => text,
        }
    }
}
