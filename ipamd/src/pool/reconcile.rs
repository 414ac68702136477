//! The cloud's inventory against what we know, decided and not done: what is new, what
//! the inventory lacks, and what it tells of releases. [`super::apply`] does it.
//!
//! An inventory that may be older than our own last change is not believed about it.
//! What one lacks is left alone and in doubt until a second one agrees. What we gave
//! back stays away, see [`super::tombstones`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_provider::{Interface, InterfaceId, InterfaceState, Inventory, Subnet};

use super::holdings::Holdings;
use super::interface::{PoolInterface, described_ranges, without_ranges};
use super::presence::{Lack, Patience, Presence};
use super::releases::{Judged, Releases};
use super::tombstones::{Tombstone, Verdict};

/// After a change that is under way in the cloud, the inventory is refreshed after this
/// time at the earliest.
pub(super) const SHORTEST_CHANGE: Duration = Duration::from_secs(1);

/// One thing that follows from an inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// An interface that we do not know. One that a daemon before was detaching is
    /// still being detached.
    InterfaceFound {
        interface: Interface,
        detaching: bool,
    },
    /// What is told of an interface that we know.
    InterfaceDescribed(Interface),
    /// An interface that was in doubt is listed.
    InterfaceListedAgain(InterfaceId),
    /// An interface that we know is not listed.
    InterfaceLacking {
        id: InterfaceId,
        presence: Presence,
        lack: Lack,
    },
    /// A range that we do not know. It takes its place on the interface; while its release
    /// is in doubt no pod gets it.
    RangeFound {
        id: InterfaceId,
        range: IpNet,
        releasing: bool,
    },
    /// A range that was in doubt is listed.
    RangeListedAgain { id: InterfaceId, range: IpNet },
    /// A range that we know is not listed.
    RangeLacking {
        id: InterfaceId,
        range: IpNet,
        presence: Presence,
        lack: Lack,
    },
    /// A range that is not an interface's: it is a pod's address within a prefix that is
    /// listed.
    RangeEnded { id: InterfaceId, range: IpNet },
}

impl Finding {
    /// The interface that it is about.
    pub(super) fn interface(&self) -> &InterfaceId {
        match self {
            Self::InterfaceFound { interface, .. } | Self::InterfaceDescribed(interface) => {
                &interface.id
            }
            Self::InterfaceListedAgain(id)
            | Self::InterfaceLacking { id, .. }
            | Self::RangeFound { id, .. }
            | Self::RangeListedAgain { id, .. }
            | Self::RangeLacking { id, .. }
            | Self::RangeEnded { id, .. } => id,
        }
    }
}

/// All that follows from an inventory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    pub(super) subnets: Vec<Subnet>,
    /// What it tells of releases.
    pub(super) releases: Judged,
    /// The rest, in the order in which it is to be applied.
    pub(super) list: Vec<Finding>,
    /// All ranges that are listed.
    pub(super) listed: BTreeSet<IpNet>,
    /// Ranges whose release was not answered, on the interface that has them, if anything
    /// tells which: what lists them, or what they were on.
    pub(super) still_held: BTreeMap<InterfaceId, Vec<IpNet>>,
    /// Interfaces whose detachment was not answered.
    pub(super) still_attached: Vec<InterfaceId>,
    /// Ranges that were given back, and that a call without an answer has brought again.
    pub(super) came_again: Vec<(InterfaceId, IpNet)>,
    /// Ranges that were given back, and that somebody else has assigned since.
    pub(super) assigned_since: Vec<(InterfaceId, IpNet)>,
    /// An inventory that begins then tells more.
    pub(super) look_again: Option<Instant>,
}

/// What follows from an inventory that was asked for at `began`, and came `now`.
pub(super) fn reconcile(
    holdings: &Holdings,
    releases: &Releases,
    inventory: &Inventory,
    (began, now): (Instant, Instant),
) -> Findings {
    let described = &inventory.interfaces;
    let holders: BTreeMap<IpNet, &InterfaceId> = described
        .iter()
        .flat_map(|one| {
            described_ranges(one)
                .into_iter()
                .map(|range| (range, &one.id))
        })
        .collect();
    let judged = releases.judge(
        |range| holders.contains_key(range),
        |range| {
            let origins = &holdings.origins;
            let holder = holders.get(range);
            holder.is_some_and(|id| origins.may_have_come_again(id, range, began))
        },
        |id| described.iter().any(|one| one.id == *id),
        began,
        holdings.capabilities.settle_time,
    );
    let mut reconciler = Reconciler::new(holdings, &judged, began, now);
    reconciler.releases(&judged, &holders);
    for (id, interface) in &holdings.interfaces {
        if described.iter().any(|one| one.id == *id) {
            reconciler.listed_interface(id, interface);
        } else {
            reconciler.lacking_interface(id, interface);
        }
    }
    for interface in described {
        reconciler.described(interface);
    }
    Findings {
        subnets: inventory.subnets.clone(),
        listed: holders.keys().copied().collect(),
        releases: judged,
        ..reconciler.findings
    }
}

/// What an inventory says of one release, once it is judged.
type After<K> = BTreeMap<K, (Verdict, Option<Tombstone>)>;

struct Reconciler<'a> {
    holdings: &'a Holdings,
    ranges: After<IpNet>,
    interfaces: After<InterfaceId>,
    began: Instant,
    now: Instant,
    patience: Patience,
    /// Ranges that findings so far take from an interface, or bring to one.
    ended: BTreeSet<(&'a InterfaceId, IpNet)>,
    found: BTreeMap<IpNet, InterfaceId>,
    findings: Findings,
}

impl<'a> Reconciler<'a> {
    fn new(holdings: &'a Holdings, judged: &Judged, began: Instant, now: Instant) -> Self {
        let ranges = judged.ranges.iter();
        let interfaces = judged.interfaces.iter();
        Self {
            holdings,
            ranges: ranges
                .map(|one| (one.key, (one.verdict, one.tombstone)))
                .collect(),
            interfaces: interfaces
                .map(|one| (one.key.clone(), (one.verdict, one.tombstone)))
                .collect(),
            began,
            now,
            patience: holdings.patience(),
            ended: BTreeSet::new(),
            found: BTreeMap::new(),
            findings: Findings::default(),
        }
    }

    fn look_again(&mut self, at: Instant) {
        let earlier = self.findings.look_again.map_or(at, |before| before.min(at));
        self.findings.look_again = Some(earlier);
    }

    /// A change is under way in the cloud: a later inventory shows its end.
    fn look_when_settled(&mut self) {
        self.look_again(self.now + self.patience.settle.max(SHORTEST_CHANGE));
    }

    /// What releases are still open, and when more is known of them.
    fn releases(&mut self, judged: &Judged, holders: &BTreeMap<IpNet, &InterfaceId>) {
        for one in &judged.interfaces {
            self.look_again_for(one.verdict);
            if one.is_open() {
                self.findings.still_attached.push(one.key.clone());
            }
        }
        for one in &judged.ranges {
            self.look_again_for(one.verdict);
            let listed = holders.get(&one.key).copied();
            let Some(holder) = listed.or_else(|| self.releasing(&one.key)).cloned() else {
                continue;
            };
            let findings = &mut self.findings;
            if one.came_again() {
                findings.came_again.push((holder.clone(), one.key));
            }
            if one.verdict == Verdict::AssignedSince {
                findings.assigned_since.push((holder, one.key));
            } else if one.is_open() {
                findings.still_held.entry(holder).or_default().push(one.key);
            }
        }
    }

    /// The interface from which a range is being given back.
    fn releasing(&self, range: &IpNet) -> Option<&'a InterfaceId> {
        let mut interfaces = self.holdings.interfaces.iter();
        let releasing =
            |known: &PoolInterface| known.held.get(range).is_some_and(|held| held.releasing);
        let holder = interfaces.find(|(_, known)| releasing(known));
        holder.map(|(id, _)| id)
    }

    fn look_again_for(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::TooEarly(at) => at.into_iter().for_each(|at| self.look_again(at)),
            Verdict::Open { look_again } => self.look_again(look_again),
            Verdict::Gone | Verdict::AssignedSince => {}
        }
    }

    /// Whether the cloud agrees that an interface was given back.
    fn departed(&self, id: &InterfaceId) -> bool {
        let verdict = self.interfaces.get(id).map(|(verdict, _)| *verdict);
        verdict == Some(Verdict::Gone)
    }

    fn listed_interface(&mut self, id: &InterfaceId, interface: &PoolInterface) {
        if !interface.presence.is_certain() {
            let again = Finding::InterfaceListedAgain(id.clone());
            self.findings.list.push(again);
        }
    }

    fn lacking_interface(&mut self, id: &InterfaceId, interface: &PoolInterface) {
        // What is being detached is told of by its tombstone.
        if self.departed(id) || interface.detaching {
            return;
        }
        let mut presence = interface.presence;
        let lack = presence.lacked(interface.since, self.began, self.patience);
        self.note_lack(lack);
        self.findings.list.push(Finding::InterfaceLacking {
            id: id.clone(),
            presence,
            lack,
        });
    }

    fn note_lack(&mut self, lack: Lack) {
        match lack {
            Lack::TooYoung(at) => self.look_again(at),
            Lack::InDoubt { look_again, .. } => self.look_again(look_again),
            Lack::Gone { .. } => {}
        }
    }

    /// One interface of the inventory.
    fn described(&mut self, interface: &'a Interface) {
        let id = &interface.id;
        let release = self
            .interfaces
            .get(id)
            .and_then(|(_, tombstone)| *tombstone);
        if release.is_some_and(|release| !release.in_doubt()) {
            // Given back; the inventory lags.
            return;
        }
        if let Some(known) = self.holdings.interfaces.get(id) {
            self.known_interface(id, interface, known);
        } else if interface.state != InterfaceState::Detaching || release.is_some() {
            if interface.state != InterfaceState::Attached {
                self.look_when_settled();
            }
            self.findings.list.push(Finding::InterfaceFound {
                interface: without_ranges(interface.clone()),
                detaching: release.is_some(),
            });
        } else {
            return;
        }
        self.new_ranges(interface);
    }

    fn known_interface(
        &mut self,
        id: &'a InterfaceId,
        interface: &Interface,
        known: &'a PoolInterface,
    ) {
        // What we were told is attached is not on its way in again: that is an
        // inventory from before.
        let young = self.began < known.since + self.patience.settle;
        let state = match (known.cloud.state, interface.state) {
            (InterfaceState::Attached, InterfaceState::Attaching) if young => {
                InterfaceState::Attached
            }
            (_, told) => told,
        };
        if state != interface.state || state != InterfaceState::Attached {
            self.look_when_settled();
        }
        let mut described = without_ranges(interface.clone());
        described.state = state;
        keep_what_an_interface_always_has(&mut described, &known.cloud);
        let described = Finding::InterfaceDescribed(described);
        self.findings.list.push(described);
        let ranges = described_ranges(interface);
        for (range, held) in &known.held {
            let verdict = self.ranges.get(range).map(|(verdict, _)| *verdict);
            if matches!(verdict, Some(Verdict::Gone | Verdict::AssignedSince)) {
                // Ended by the release's own judgement, on all interfaces.
                self.ended.insert((id, *range));
            } else if ranges.contains(range) {
                if !held.presence.is_certain() {
                    let id = id.clone();
                    let again = Finding::RangeListedAgain { id, range: *range };
                    self.findings.list.push(again);
                }
            } else if ranges.iter().any(|other| other.contains(range)) {
                self.ended.insert((id, *range));
                let ended = Finding::RangeEnded {
                    id: id.clone(),
                    range: *range,
                };
                self.findings.list.push(ended);
            } else if held.releasing {
                // Its tombstone tells when it is gone.
            } else {
                let mut presence = held.presence;
                let lack = presence.lacked(held.since, self.began, self.patience);
                self.note_lack(lack);
                self.findings.list.push(Finding::RangeLacking {
                    id: id.clone(),
                    range: *range,
                    presence,
                    lack,
                });
            }
        }
    }

    /// What of an interface's ranges we do not know.
    fn new_ranges(&mut self, interface: &Interface) {
        let ranges = described_ranges(interface);
        // Given back here and granted there: the inventory is from in between.
        let (elsewhere, here): (Vec<IpNet>, Vec<IpNet>) = ranges
            .into_iter()
            .partition(|range| self.is_elsewhere(&interface.id, range));
        if !elsewhere.is_empty() {
            self.look_when_settled();
        }
        let known = self.holdings.interfaces.get(&interface.id);
        for range in here {
            let is_known = known.is_some_and(|known| known.held.contains_key(&range));
            if is_known && !self.ended.contains(&(&interface.id, range)) {
                continue;
            }
            let release = self
                .ranges
                .get(&range)
                .and_then(|(_, tombstone)| *tombstone);
            if release.is_some_and(|release| !release.in_doubt()) {
                continue;
            }
            let releasing = release.is_some();
            if !releasing {
                self.found.insert(range, interface.id.clone());
            }
            self.findings.list.push(Finding::RangeFound {
                id: interface.id.clone(),
                range,
                releasing,
            });
        }
    }

    /// Whether another interface holds a range, for all that we know.
    fn is_elsewhere(&self, id: &InterfaceId, range: &IpNet) -> bool {
        if self.found.get(range).is_some_and(|holder| holder != id) {
            return true;
        }
        let mut others = self.holdings.interfaces.iter();
        others.any(|(other, known)| {
            let held = known.held.get(range);
            other != id
                && held.is_some_and(|held| !held.releasing)
                && !self.departed(other)
                && !self.ended.contains(&(other, *range))
        })
    }
}

/// What an interface has whatever a description lacks: instance metadata may not
/// list it for a moment.
fn keep_what_an_interface_always_has(described: &mut Interface, known: &Interface) {
    let v4 = |addresses: &[IpAddr]| addresses.iter().any(IpAddr::is_ipv4);
    let v6 = |addresses: &[IpAddr]| addresses.iter().any(IpAddr::is_ipv6);
    for has in [v4 as fn(&[IpAddr]) -> bool, v6] {
        if has(&known.own_addresses) && !has(&described.own_addresses) {
            let kept = known.own_addresses.iter().filter(|one| has(&[**one]));
            described.own_addresses.extend(kept);
        }
        if has(&known.gateways) && !has(&described.gateways) {
            let kept = known.gateways.iter().filter(|one| has(&[**one]));
            described.gateways.extend(kept);
        }
    }
    if described.subnet_cidrs.is_empty() {
        described.subnet_cidrs.clone_from(&known.subnet_cidrs);
    }
}

#[cfg(test)]
mod tests;
