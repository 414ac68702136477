//! A rule of another program, as far as it catches packets of pods.

use ipnet::IpNet;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use super::others::Scene;
use super::rule::FORWARDED_OTHERWISE;
use crate::plan::{POD_GROUP, PROTOCOL};

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
        let inverted = message.header.flags.contains(RuleFlags::Invert);
        let mut table = u32::from(message.header.table);
        let (mut priority, mut beyond) = (0, 0);
        let (mut source, mut destination) = (None, None);
        let (mut link, mut mark, mut mask) = (None, None, u32::MAX);
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Protocol(protocol) if *protocol == RouteProtocol::from(PROTOCOL) => {
                    return None;
                }
                // Sockets of the node alone are bound to a link or have an owner.
                RuleAttribute::Oifname(_) | RuleAttribute::UidRange(_) => return None,
                RuleAttribute::Priority(number) => priority = *number,
                RuleAttribute::Table(number) => table = *number,
                RuleAttribute::SuppressPrefixLen(length) if *length != u32::MAX => {
                    beyond = length + 1;
                }
                RuleAttribute::Iifname(name) => link = Some(name.as_str()),
                RuleAttribute::Source(address) => {
                    source = IpNet::new(*address, message.header.src_len).ok();
                }
                RuleAttribute::Destination(address) => {
                    destination = IpNet::new(*address, message.header.dst_len).ok();
                }
                RuleAttribute::FwMark(value) => mark = Some(*value),
                RuleAttribute::FwMask(value) => mask = *value,
                _ => {}
            }
        }
        let elsewhere = |range: Option<IpNet>| range.is_some_and(|it| !scene.overlaps_network(&it));
        let matches = !elsewhere(source)
            && !elsewhere(destination)
            && link.is_none_or(|name| is_of_pods(name, scene))
            && mark.is_none_or(|mark| [0, scene.mark].iter().any(|of| of & mask == mark));
        if priority > FORWARDED_OTHERWISE || table == LOCAL_TABLE || (!matches && !inverted) {
            return None;
        }
        let catch = match message.header.action {
            RuleAction::ToTable => Catch::Looks { table, beyond },
            RuleAction::Blackhole | RuleAction::Unreachable | RuleAction::Prohibit => {
                Catch::Refuses
            }
            _ => return None,
        };
        Some(Self {
            priority,
            source: source.filter(|_| !inverted),
            catch,
            text: text(
                inverted,
                priority,
                source,
                destination,
                mark.map(|m| (m, mask)),
                link,
                catch,
            ),
        })
    }
}

fn is_of_pods(name: &str, scene: &Scene<'_>) -> bool {
    let mut links = scene.links.iter();
    links.any(|link| link.name == name && link.group == POD_GROUP)
}

fn text(
    inverted: bool,
    priority: u32,
    source: Option<IpNet>,
    destination: Option<IpNet>,
    mark: Option<(u32, u32)>,
    link: Option<&str>,
    catch: Catch,
) -> String {
    let not = if inverted { "not " } else { "" };
    let from = source.map_or_else(|| "all".to_owned(), |range| range.to_string());
    let mut text = format!("{priority}: {not}from {from}");
    if let Some(range) = destination {
        text += &format!(" to {range}");
    }
    if let Some((mark, mask)) = mark {
        text += &format!(" fwmark {mark:#x}/{mask:#x}");
    }
    if let Some(link) = link {
        text += &format!(" iif {link}");
    }
    match catch {
        Catch::Looks { table, .. } => text + &format!(" lookup {table}"),
        Catch::Refuses => text + " (no table)",
    }
}
