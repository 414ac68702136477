//! Takes in what an inventory has led to, in the one place that does, and says what
//! has changed by it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_pool::plan::slot_name;
use veni_provider::InterfaceId;

use super::difference::Difference;
use super::holdings::Holdings;
use super::interface::{Held, PoolInterface};
use super::presence::{Lack, Patience};
use super::reconcile::{Finding, Findings};
use super::releases::Releases;
use super::tombstones::{LONGEST_LAG, Verdict};

/// A pod's address that the cloud does not give the node any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) address: IpAddr,
    pub(super) pod: String,
    pub(super) interface: InterfaceId,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            pod,
            interface,
        } = self;
        write!(
            f,
            "{address} on {interface} is in use by {pod}, but the cloud took it away: two inventories lack it; \
             its rule stays until the pod has gone, so replace the pod"
        )
    }
}

/// What an inventory has changed, in words for log and events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct InventoryNews {
    /// Taken in.
    pub(super) found: Vec<Difference>,
    /// What two inventories lack, and no pod has.
    pub(super) dropped: Vec<Difference>,
    /// What this inventory is the first to lack.
    pub(super) doubted: Vec<String>,
    /// What was in doubt and is listed again.
    pub(super) listed_again: Vec<String>,
    /// What was given back, and somebody has assigned since.
    pub(super) returned: Vec<String>,
    /// Addresses that pods have and two inventories lack, as of this one.
    pub(super) lost: Vec<Lost>,
    /// Interfaces that two inventories lack, as of this one, and that pods are on.
    pub(super) lost_interfaces: usize,
}

/// Applies findings to what we know, of an inventory that is as old as `as_of`.
pub(super) fn apply(
    findings: &Findings,
    holdings: &mut Holdings,
    releases: &mut Releases,
    (as_of, now): (Instant, Instant),
) -> InventoryNews {
    let mut news = InventoryNews::default();
    holdings.subnets.set(findings.subnets.clone(), as_of);
    apply_releases(findings, holdings, &mut news);
    releases.judged(&findings.releases);
    let mut words = Words::new(holdings.patience());
    for finding in &findings.list {
        words.note(finding, &mut news);
        let lost = lost_by(finding, holdings);
        let is_interface = matches!(finding, Finding::InterfaceLacking { .. });
        news.lost_interfaces += usize::from(is_interface && !lost.is_empty());
        news.lost.extend(lost);
        apply_one(finding, holdings, now);
    }
    words.end(&mut news);
    holdings.place_unlisted(now);
    news.dropped = holdings.drop_gone(&findings.listed);
    forget_released(findings, holdings);
    news
}

/// What the cloud tells of releases: what is gone, and what has come again since.
fn apply_releases(findings: &Findings, holdings: &mut Holdings, news: &mut InventoryNews) {
    for one in &findings.releases.interfaces {
        match one.verdict {
            Verdict::Gone => drop(holdings.interfaces.remove(&one.key)),
            Verdict::AssignedSince => news.returned.push(attached_all_the_same(&one.key)),
            Verdict::TooEarly(_) | Verdict::Open { .. } => {}
        }
    }
    for one in &findings.releases.ranges {
        match one.verdict {
            Verdict::Gone => holdings.forget_range(&one.key),
            Verdict::AssignedSince => {
                holdings.forget_range(&one.key);
                news.returned.push(returned(&one.key));
            }
            Verdict::TooEarly(_) | Verdict::Open { .. } => {}
        }
    }
    for (id, range) in &findings.came_again {
        holdings.origins.came_again(id, range);
    }
    for (id, range) in &findings.assigned_since {
        holdings.origins.is_others(id, range);
    }
}

fn apply_one(finding: &Finding, holdings: &mut Holdings, now: Instant) {
    let id = finding.interface();
    if let Finding::InterfaceFound {
        interface,
        detaching,
    } = finding
    {
        let mut known = PoolInterface::new(interface.clone(), now);
        known.detaching = *detaching;
        holdings.interfaces.insert(id.clone(), known);
    }
    let Some(known) = holdings.interfaces.get_mut(id) else {
        return;
    };
    match finding {
        Finding::InterfaceFound { .. } => {}
        Finding::InterfaceDescribed(described) => known.cloud = described.clone(),
        Finding::InterfaceListedAgain(_) => known.presence.listed(),
        Finding::InterfaceLacking { presence, .. } => known.presence = *presence,
        Finding::RangeFound {
            range, releasing, ..
        } => {
            let held = Held {
                releasing: *releasing,
                ..Held::new(now)
            };
            known.held.insert(*range, held);
            if *releasing {
                // Nothing is given back that is not Veni's, so it goes back again, though
                // nobody may remember who assigned it.
                holdings.origins.is_ours(id, range);
            }
        }
        Finding::RangeListedAgain { range, .. } => {
            if let Some(held) = known.held.get_mut(range) {
                held.presence.listed();
            }
        }
        Finding::RangeLacking {
            range, presence, ..
        } => {
            if let Some(held) = known.held.get_mut(range) {
                held.presence = *presence;
            }
        }
        Finding::RangeEnded { range, .. } => {
            known.held.remove(range);
        }
    }
}

/// The pods whose addresses a second inventory lacks now.
fn lost_by(finding: &Finding, holdings: &Holdings) -> Vec<Lost> {
    let gone = |lack: &Lack| matches!(lack, Lack::Gone { news: true });
    let (id, ranges): (&InterfaceId, Vec<IpNet>) = match finding {
        Finding::InterfaceLacking { id, lack, .. } if gone(lack) => {
            let held = holdings.interfaces.get(id).map(|one| &one.held);
            (
                id,
                held.into_iter()
                    .flatten()
                    .map(|(range, _)| *range)
                    .collect(),
            )
        }
        Finding::RangeLacking {
            id, range, lack, ..
        } if gone(lack) => (id, vec![*range]),
        _ => return Vec::new(),
    };
    let pods = ranges
        .iter()
        .flat_map(|range| holdings.leases.holders_in(range));
    let lost = pods.map(|(address, holder)| Lost {
        address: *address,
        pod: holder.pod.clone(),
        interface: id.clone(),
    });
    lost.collect()
}

/// Forgets who assigned what the cloud agrees was given back.
fn forget_released(findings: &Findings, holdings: &mut Holdings) {
    let agreed = |verdict| matches!(verdict, Verdict::Gone | Verdict::AssignedSince);
    let held = holdings.ranges();
    let ranges = findings.releases.ranges.iter();
    let gone: Vec<IpNet> = ranges
        .filter(|one| agreed(one.verdict) && !held.contains(&one.key))
        .map(|one| one.key)
        .collect();
    holdings.origins.released(&gone);
    for one in &findings.releases.interfaces {
        if agreed(one.verdict) && !holdings.interfaces.contains_key(&one.key) {
            holdings.origins.detached(&one.key);
        }
    }
}

/// Puts findings into words, those of one interface's ranges together.
struct Words {
    patience: Patience,
    doubted_ranges: BTreeMap<InterfaceId, Vec<IpNet>>,
    ranges_again: BTreeMap<InterfaceId, Vec<IpNet>>,
}

impl Words {
    fn new(patience: Patience) -> Self {
        Self {
            patience,
            doubted_ranges: BTreeMap::new(),
            ranges_again: BTreeMap::new(),
        }
    }

    fn note(&mut self, finding: &Finding, news: &mut InventoryNews) {
        let is_news = |lack: &Lack| matches!(lack, Lack::InDoubt { news: true, .. });
        match finding {
            Finding::InterfaceFound { interface, .. } => {
                let text = format!("interface {} found", interface.id);
                news.found.push(Difference::of_interface(text));
            }
            Finding::RangeFound {
                id,
                range,
                releasing: false,
            } => {
                let text = format!("{range} on {id} found");
                news.found.push(Difference::of_range(text));
            }
            Finding::InterfaceLacking { id, lack, .. } if is_news(lack) => {
                news.doubted
                    .push(in_doubt(&format!("interface {id}"), self.patience));
            }
            Finding::InterfaceListedAgain(id) => {
                news.listed_again.push(again(&format!("interface {id}")));
            }
            Finding::RangeLacking {
                id, range, lack, ..
            } if is_news(lack) => {
                let ranges = self.doubted_ranges.entry(id.clone()).or_default();
                ranges.push(*range);
            }
            Finding::RangeListedAgain { id, range } => {
                let ranges = self.ranges_again.entry(id.clone()).or_default();
                ranges.push(*range);
            }
            _ => {}
        }
    }

    fn end(self, news: &mut InventoryNews) {
        let of = |(id, ranges): (&InterfaceId, &Vec<IpNet>)| Some((several(ranges)?, id.clone()));
        let doubted = self.doubted_ranges.iter().filter_map(of);
        let doubted = doubted.map(|(what, id)| in_doubt(&format!("{what} of {id}"), self.patience));
        news.doubted.extend(doubted);
        let listed_again = self.ranges_again.iter().filter_map(of);
        let listed_again = listed_again.map(|(what, id)| again(&format!("{what} of {id}")));
        news.listed_again.extend(listed_again);
    }
}

fn returned(what: &dyn fmt::Display) -> String {
    let seconds = LONGEST_LAG.as_secs();
    format!(
        "{what} was given back, and the cloud still lists it {seconds} s later: somebody else has assigned it since"
    )
}

fn attached_all_the_same(id: &InterfaceId) -> String {
    let seconds = LONGEST_LAG.as_secs();
    format!("{id} was detached, and the cloud still lists it {seconds} s later: it is attached")
}

fn in_doubt(what: &str, patience: Patience) -> String {
    let seconds = patience.distance.as_secs();
    format!(
        "inventory: {what}: not listed; in doubt until a second one tells in {seconds} s: it keeps its rules \
         and its place, and no other pod gets it"
    )
}

fn again(what: &str) -> String {
    format!("inventory: {what}: listed again, in doubt no more")
}

/// The first of some ranges, and how many more there are.
fn several(ranges: &[IpNet]) -> Option<String> {
    let first = slot_name(ranges.first()?);
    Some(match ranges.len() {
        1 => first,
        count => format!("{first} and {} more", count - 1),
    })
}
