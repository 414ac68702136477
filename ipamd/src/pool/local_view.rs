//! What the node sees of its interfaces by itself, against what the pool knows:
//! a difference that lasts is worth one inventory refresh. It is never the
//! reason to add or to remove anything.
//!
//! What the node sees lags behind its own changes, and may run ahead of what
//! the cloud's API tells. So a difference has to be there for a while before it
//! counts, and counts once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_provider::{LocalView, Mac};

use super::holdings::Holdings;

/// Something that the node sees and the pool does not know, or the reverse.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Difference {
    /// An interface.
    Interface { mac: Mac, seen: bool },
    /// A range of an interface that both know.
    Range { mac: Mac, range: IpNet, seen: bool },
    /// Anything else the provider takes as a sign.
    Mark { mark: String, seen: bool },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let come = |seen: &bool| if *seen { "has come" } else { "has gone" };
        match self {
            Self::Interface { mac, seen } => write!(f, "interface {mac} {}", come(seen)),
            Self::Range { mac, range, seen } => write!(f, "{range} on {mac} {}", come(seen)),
            Self::Mark { mark, seen } => write!(f, "{mark} {}", come(seen)),
        }
    }
}

/// What the daemon itself is changing: differences there have just been made
/// and are no news.
#[derive(Debug, Default)]
pub(crate) struct OwnChanges {
    /// Interfaces on which something is under way.
    pub(crate) of: BTreeSet<Mac>,
    /// Interfaces are on their way in, so that some may be seen already.
    pub(crate) arrivals: bool,
}

impl OwnChanges {
    fn explain(&self, difference: &Difference) -> bool {
        match difference {
            Difference::Interface { mac, seen } => {
                self.of.contains(mac) || (*seen && self.arrivals)
            }
            Difference::Range { mac, .. } => self.of.contains(mac),
            Difference::Mark { .. } => false,
        }
    }
}

/// What follows from a local view.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No difference that has not led to a refresh before.
    Nothing,
    /// Something that may be gone then.
    ViewAgain(Instant),
    /// Refresh the inventory: this is different for long enough.
    Refresh(Difference),
}

#[derive(Debug, Clone, Copy)]
struct Sighting {
    first: Instant,
    refreshed: bool,
}

/// What the local views so far have shown that the pool does not know.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    differences: BTreeMap<Difference, Sighting>,
    /// Those of the last local view that led to a refresh, or of the first one.
    marks: Option<BTreeSet<String>>,
}

impl Differences {
    /// Draws the conclusion of a local view; a difference counts after `patience`.
    pub(crate) fn take(
        &mut self,
        view: LocalView,
        holdings: &Holdings,
        own: &OwnChanges,
        now: Instant,
        patience: Duration,
    ) -> Verdict {
        let marks = self.marks.get_or_insert_with(|| view.marks.clone());
        let mut found = differences(&view, holdings);
        found.extend(changed_marks(marks, &view.marks));
        self.differences.retain(|known, _| found.contains(known));
        for difference in found {
            if !own.explain(&difference) {
                self.differences.entry(difference).or_insert(Sighting {
                    first: now,
                    refreshed: false,
                });
            }
        }
        let news = self.differences.iter().filter(|(_, one)| !one.refreshed);
        let Some((oldest, sighting)) = news.min_by_key(|(_, one)| one.first) else {
            return Verdict::Nothing;
        };
        let due = sighting.first + patience;
        if now < due {
            return Verdict::ViewAgain(due);
        }
        let oldest = oldest.clone();
        for sighting in self.differences.values_mut() {
            sighting.refreshed = true;
        }
        self.marks = Some(view.marks);
        Verdict::Refresh(oldest)
    }
}

fn differences(view: &LocalView, holdings: &Holdings) -> BTreeSet<Difference> {
    let known: BTreeMap<Mac, BTreeSet<IpNet>> = holdings
        .interfaces
        .values()
        .map(|interface| {
            let own = interface.cloud.own_addresses.iter();
            let held = interface.held.keys().copied();
            let ranges = own.map(|address| IpNet::from(*address)).chain(held);
            (interface.cloud.mac, ranges.collect())
        })
        .collect();
    let mut found = BTreeSet::new();
    for (mac, ranges) in &known {
        let mac = *mac;
        let Some(shown) = view.interfaces.get(&mac) else {
            found.insert(Difference::Interface { mac, seen: false });
            continue;
        };
        for range in ranges.symmetric_difference(shown) {
            let (range, seen) = (*range, shown.contains(range));
            found.insert(Difference::Range { mac, range, seen });
        }
    }
    let unknown = view
        .interfaces
        .keys()
        .filter(|mac| !known.contains_key(mac));
    found.extend(unknown.map(|mac| Difference::Interface {
        mac: *mac,
        seen: true,
    }));
    found
}

fn changed_marks<'a>(
    before: &'a BTreeSet<String>,
    now: &'a BTreeSet<String>,
) -> impl Iterator<Item = Difference> + use<'a> {
    before
        .symmetric_difference(now)
        .map(|mark| Difference::Mark {
            mark: mark.clone(),
            seen: now.contains(mark),
        })
}

#[cfg(test)]
mod tests;
