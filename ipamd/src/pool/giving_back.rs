//! Giving back to the cloud: written down before the call, begun, repeated when
//! its answer was lost, and settled when the cloud agrees.

use std::collections::BTreeSet;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_pool::Action;
use veni_provider::{Family, InterfaceId};

use super::jobs::{Work, table_of};
use super::merge::{Merge, SHORTEST_CHANGE};
use super::planning::interface_of;
use super::state::{PoolState, family_of};
use super::task::PoolTask;
use super::tombstones::Burial;
use super::trouble::Asked;
use crate::crash;
use crate::events::{EventKind, unix_millis};
use crate::journal::{JournalError, Shelf};

impl PoolTask {
    /// Journalled before the call: after a restart these addresses must not be
    /// given out until the cloud has told whether they are still ours.
    pub(super) fn start_release(&mut self, work: Work, interface: InterfaceId, cidrs: Vec<IpNet>) {
        if !self.state.may_release(&interface, &cidrs) {
            return;
        }
        if let Err(error) = self.bury(&cidrs, None) {
            return self.release_not_written(&work, &error);
        }
        crash::point("release.journalled");
        self.state.set_releasing(&interface, &cidrs, true);
        let job = self.worlds.clone().release(interface, cidrs);
        self.start(work, job);
    }

    /// Likewise, for an interface with all that it holds.
    pub(super) fn start_detach(&mut self, work: Work, interface: InterfaceId) {
        let wiring = Work::Wire {
            interface: interface.clone(),
        };
        if self.work.values().any(|work| *work == wiring) {
            // Its rules would come after their removal.
            return;
        }
        let Some(known) = self.state.interfaces.get(&interface) else {
            return;
        };
        let cidrs: Vec<IpNet> = known.held.keys().copied().collect();
        let table = table_of(known);
        // The plan of one family does not see the other's pods.
        if !self.state.may_release(&interface, &cidrs) || self.state.stays_attached(known) {
            return;
        }
        if let Err(error) = self.bury(&cidrs, Some(&interface)) {
            return self.release_not_written(&work, &error);
        }
        if let Some(known) = self.state.interfaces.get_mut(&interface) {
            known.detaching = true;
        }
        let job = self.worlds.clone().detach(interface, table, cidrs);
        self.start(work, job);
    }

    /// Writes down what a call that begins now gives back.
    fn bury(
        &mut self,
        cidrs: &[IpNet],
        interface: Option<&InterfaceId>,
    ) -> Result<(), JournalError> {
        let buried = |cidr: &IpNet| self.buried.values().any(|one| one.ranges.contains(cidr));
        let departs = |id: &InterfaceId| {
            let mut burials = self.buried.values();
            burials.any(|one| one.interface.as_ref() == Some(id))
        };
        let burial = Burial {
            ranges: cidrs.iter().filter(|cidr| !buried(cidr)).copied().collect(),
            interface: interface.filter(|id| !departs(id)).cloned(),
        };
        if !burial.is_empty() {
            self.releases += 1;
            let entry = format!("{:016x}-{}", unix_millis(), self.releases);
            self.journal.write(Shelf::Releases, &entry, &burial)?;
            self.buried.insert(entry, burial);
        }
        for cidr in cidrs {
            self.state.tombstones.begin(cidr);
        }
        if let Some(interface) = interface {
            self.state.departed.begin(interface);
        }
        Ok(())
    }

    /// Nothing was given back by the last call. Tells what is ours as before; the
    /// rest is in doubt since an earlier one.
    pub(super) fn release_refused(&mut self, cidrs: &[IpNet]) -> Vec<IpNet> {
        let kept: Vec<IpNet> = cidrs
            .iter()
            .filter(|cidr| self.state.tombstones.refused(cidr))
            .copied()
            .collect();
        self.ours_again(&kept);
        kept
    }

    /// A repetition was refused, and what is in doubt stays so: a look that came while
    /// it was under way has told nothing, and the next one asks again.
    pub(super) fn look_after_doubt(&mut self, now: Instant) {
        self.look_by(now + self.state.capabilities.settle_time.max(SHORTEST_CHANGE));
    }

    /// Takes in what an inventory tells of what was given back.
    pub(super) fn settle_tombstones(&mut self, merge: &Merge, now: Instant) {
        for text in &merge.returned {
            tracing::warn!("{text}");
            self.tell(EventKind::Cloud, text.clone());
        }
        self.ours_again(&merge.settled);
        for interface in &merge.departed {
            self.settle_departure(interface);
        }
        self.repeat(merge, now);
    }

    /// Asks again for what no answer has told to be given back and what is there
    /// still, for all that the cloud tells: that costs nothing if it has gone. What
    /// cannot be asked for now, the next look asks for.
    fn repeat(&mut self, merge: &Merge, now: Instant) {
        for interface in &merge.still_attached {
            let action = Action::Detach {
                interface: interface.to_string(),
            };
            if self.may_repeat(Family::V4, &action, now) {
                let work = repetition(Family::V4, action);
                self.start_detach(work, interface.clone());
            }
        }
        for (interface, cidrs) in &merge.still_held {
            for family in [Family::V4, Family::V6] {
                let cidrs = self.state.still_releasing(interface, family, cidrs);
                let action = Action::Release {
                    interface: interface.to_string(),
                    cidrs: cidrs.clone(),
                };
                if !cidrs.is_empty() && self.may_repeat(family, &action, now) {
                    let work = repetition(family, action);
                    self.start_release(work, interface.clone(), cidrs);
                }
            }
        }
    }

    /// The cloud may be asked for such a thing, nothing else is under way on the
    /// interface, and the back-off after the last failure there is over.
    fn may_repeat(&self, family: Family, action: &Action, now: Instant) -> bool {
        if self.troubles.is_held(Asked::of(family, action), now) {
            return false;
        }
        let wanted = interface_of(action);
        let mut unsettled = self.unsettled.iter();
        !self.interface_is_busy(action) && unsettled.all(|one| interface_of(&one.action) != wanted)
    }

    /// What is ours again, or was given back and the cloud agrees: after a restart
    /// the journal must not call it released. With the last range of a release its
    /// entry goes.
    pub(super) fn ours_again(&mut self, cidrs: &[IpNet]) {
        let gone: BTreeSet<&IpNet> = cidrs.iter().collect();
        self.unbury(|burial| {
            let before = burial.ranges.len();
            burial.ranges.retain(|cidr| !gone.contains(cidr));
            burial.ranges.len() != before
        });
    }

    /// Likewise for an interface.
    pub(super) fn settle_departure(&mut self, interface: &InterfaceId) {
        self.unbury(|burial| {
            let its = burial.interface.as_ref() == Some(interface);
            if its {
                burial.interface = None;
            }
            its
        });
    }

    /// Changes journal entries; the change tells whether it has changed one.
    fn unbury(&mut self, change: impl Fn(&mut Burial) -> bool) {
        let journal = &self.journal;
        self.buried.retain(|entry, burial| {
            if !change(burial) {
                return true;
            }
            if burial.is_empty() {
                journal.remove(Shelf::Releases, entry);
                return false;
            }
            if let Err(error) = journal.write(Shelf::Releases, entry, burial) {
                tracing::warn!(%error, "a restart would doubt what is not, or no longer, given back");
            }
            true
        });
    }
}

impl PoolState {
    /// The calls for these ranges have ended, and nobody knows how.
    pub(super) fn release_lost(&mut self, cidrs: &[IpNet], now: Instant) {
        for cidr in cidrs {
            self.tombstones.lost(cidr, now);
        }
    }

    /// Of ranges whose release is in doubt, those that one call can give back.
    fn still_releasing(
        &self,
        interface: &InterfaceId,
        family: Family,
        cidrs: &[IpNet],
    ) -> Vec<IpNet> {
        let known = self.interfaces.get(interface);
        let known = known.filter(|known| known.cloud.managed && !known.detaching);
        let releasing = |cidr: &&IpNet| {
            let held = known.and_then(|known| known.held.get(cidr));
            family_of(cidr) == family && held.is_some_and(|held| held.releasing)
        };
        let batch = usize::try_from(self.capabilities.batch).unwrap_or(usize::MAX);
        cidrs
            .iter()
            .filter(releasing)
            .take(batch)
            .copied()
            .collect()
    }
}

fn repetition(family: Family, action: Action) -> Work {
    let reason = "its answer was lost, and the cloud does not show it done".to_owned();
    Work::Cloud {
        family,
        action,
        reason,
    }
}
