//! Giving back: which slots and interfaces are more than the pool needs.
//!
//! Nothing in use or cooling is ever touched. Whole interfaces go first, then
//! slots of the other kind and of interfaces that drain, then slots of the
//! emptiest interface, so that it runs empty. When it is time is decided
//! elsewhere: this only says what could go.

use crate::goal::Goal;
use crate::ledger::{Holdings, Ledger, Line};
use crate::reasons::{Kept, Reason};
use crate::{Action, PlannedAction, Targets};
use ipnet::IpNet;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use veni_nouns::SlotKind;

/// What could go back.
#[derive(Debug, Default)]
pub(crate) struct Excess {
    pub(crate) actions: Vec<PlannedAction>,
    /// Addresses that this gives back.
    pub(crate) addresses: u64,
    /// When the next interface is old enough to be detached.
    pub(crate) ripe_ms: Option<u64>,
}

impl Excess {
    /// There is nothing to give back, now or when an interface is older.
    pub(crate) fn is_none(&self) -> bool {
        self.actions.is_empty() && self.ripe_ms.is_none()
    }
}

/// What could go so that `keep` addresses stay usable. Without `surplus` only
/// interfaces that drain are looked at.
pub(crate) fn excess(
    ledger: &Ledger<'_>,
    held: &Holdings,
    goal: &Goal,
    targets: &Targets,
    (keep, surplus): (u64, bool),
) -> Excess {
    if !ledger.snapshot.abilities.release {
        return Excess::default();
    }
    let surplus = surplus && held.free + held.free_other >= goal.release_at;
    let mut shrinker = Shrinker {
        ledger,
        goal,
        targets,
        keep,
        surplus,
        left: *held,
        detached: Vec::new(),
        released: BTreeMap::new(),
        excess: Excess::default(),
    };
    shrinker.detach();
    shrinker.release(Pass::Leftovers);
    if goal.whole.is_none() {
        shrinker.release(Pass::KindInUse);
    }
    shrinker.finish()
}

/// What a pass over the slots looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Slots of the other kind, and all slots of interfaces that drain.
    Leftovers,
    KindInUse,
}

struct Shrinker<'a> {
    ledger: &'a Ledger<'a>,
    goal: &'a Goal,
    targets: &'a Targets,
    keep: u64,
    surplus: bool,
    /// What would be left.
    left: Holdings,
    /// Lines that go whole.
    detached: Vec<usize>,
    /// Slots that go, by line.
    released: BTreeMap<usize, Vec<IpNet>>,
    excess: Excess,
}

/// What a slot or an interface contributes to the pool, in addresses.
#[derive(Clone, Copy, Default)]
struct Share {
    free: u64,
    free_other: u64,
    prefixes: u64,
}

impl<'a> Shrinker<'a> {
    /// Lines on which nothing is under way, the ones to give up first.
    fn candidates(&self) -> Vec<&'a Line<'a>> {
        let mut lines: Vec<_> = self
            .ledger
            .lines
            .iter()
            .filter(|line| line.interface.managed && line.ready() && !line.busy)
            .collect();
        lines.sort_by_key(|line| (line.serves(), line.assigned(), Reverse(line.order)));
        lines
    }

    /// Are the targets met without this share? Of the kind in use enough must
    /// stay; the other kind may stand in for it only as long as none of it goes.
    fn spares(&self, share: Share) -> bool {
        let usable = self.left.usable().saturating_sub(share.free);
        let either = self
            .left
            .usable_of_either_kind()
            .saturating_sub(share.free + share.free_other);
        let enough = usable >= self.keep || (share.free == 0 && either >= self.keep);
        let prefixes = self.left.unused_prefixes.saturating_sub(share.prefixes);
        self.surplus && enough && (share.prefixes == 0 || prefixes >= self.goal.prefixes)
    }

    fn give_up(&mut self, share: Share) {
        self.left.free -= share.free.min(self.left.free);
        self.left.free_other -= share.free_other.min(self.left.free_other);
        self.left.unused_prefixes -= share.prefixes.min(self.left.unused_prefixes);
    }

    fn detach(&mut self) {
        let snapshot = self.ledger.snapshot;
        // Where an interface may not go, its slots may.
        let hold = snapshot.in_force(&snapshot.holds.detach);
        let refused = hold.is_some_and(|hold| hold.refusal.is_some());
        if !snapshot.abilities.attach || refused {
            return;
        }
        for line in self.candidates() {
            let stays = line.interface.primary || line.interface.kept;
            if stays || line.assigned() + line.cooling() > 0 {
                continue;
            }
            let held: u64 = line.slots().map(|slot| u64::from(slot.free())).sum();
            let share = match line.serves() {
                true => self.share_of(line),
                false => Share::default(),
            };
            if line.serves() && !self.spares(share) {
                continue;
            }
            let young = self
                .targets
                .detach_age_ms
                .saturating_sub(line.interface.age_ms);
            if young > 0 {
                let ripe = self.ledger.snapshot.now_ms + young;
                self.excess.ripe_ms =
                    Some(self.excess.ripe_ms.map_or(ripe, |first| first.min(ripe)));
                continue;
            }
            let reason = self.why_detached(line, share);
            self.give_up(share);
            self.detached.push(line.order);
            self.excess.addresses += held;
            let action = Action::Detach {
                interface: line.interface.id.clone(),
            };
            self.excess.actions.push(PlannedAction { action, reason });
        }
    }

    fn share_of(&self, line: &Line<'_>) -> Share {
        Share {
            free: line.free(self.ledger.kind),
            free_other: line.free(self.ledger.other()),
            prefixes: line.unused(SlotKind::Prefix).count() as u64,
        }
    }

    fn why_detached(&self, line: &Line<'_>, share: Share) -> Reason {
        if !line.serves() {
            return Reason::EmptyAndClosed;
        }
        let usable = self.left.usable_of_either_kind() - share.free - share.free_other;
        Reason::Empty {
            kept: self.kept(usable),
        }
    }

    fn kept(&self, usable: u64) -> Kept {
        Kept {
            usable,
            needed: self.keep,
            in_use: self.left.assigned,
            target: self.goal.target,
        }
    }

    fn release(&mut self, pass: Pass) {
        let batch = self.ledger.snapshot.abilities.batch.max(1) as usize;
        let size = self.ledger.size();
        for line in self.candidates() {
            if self.detached.contains(&line.order) {
                continue;
            }
            let mut slots: Vec<_> = line.slots().filter(|slot| slot.may_go()).collect();
            slots.sort_by_key(|slot| Reverse(slot.cidr));
            for slot in slots {
                if self
                    .released
                    .get(&line.order)
                    .is_some_and(|cidrs| cidrs.len() == batch)
                {
                    break;
                }
                let in_use_kind = slot.kind() == self.ledger.kind;
                let leftover = !line.serves() || !in_use_kind;
                let prefixes = u64::from(slot.kind() == SlotKind::Prefix);
                let share = match in_use_kind {
                    true => Share {
                        free: size,
                        free_other: 0,
                        prefixes,
                    },
                    false => Share {
                        free: 0,
                        free_other: u64::from(slot.free()),
                        prefixes,
                    },
                };
                if leftover != (pass == Pass::Leftovers) || (line.serves() && !self.spares(share)) {
                    continue;
                }
                if line.serves() {
                    self.give_up(share);
                }
                self.excess.addresses += u64::from(slot.free());
                self.released.entry(line.order).or_default().push(slot.cidr);
            }
        }
    }

    fn finish(mut self) -> Excess {
        for (order, mut cidrs) in std::mem::take(&mut self.released) {
            cidrs.sort();
            let line = &self.ledger.lines[order];
            let reason = self.why_released(line, &cidrs);
            let action = Action::Release {
                interface: line.interface.id.clone(),
                cidrs,
            };
            self.excess.actions.push(PlannedAction { action, reason });
        }
        self.excess
    }

    fn why_released(&self, line: &Line<'_>, cidrs: &[IpNet]) -> Reason {
        if !line.serves() {
            return Reason::Closed;
        }
        let unused = self.ledger.other();
        let kept = self.kept(self.left.usable_of_either_kind());
        match line.unused(unused).any(|slot| cidrs.contains(&slot.cidr)) {
            true => Reason::MakesWay { unused, kept },
            false => Reason::Excess {
                lasted_ms: self.targets.release_delay_ms,
                kept,
            },
        }
    }
}
