//! The pool in numbers, for metrics and operators.

use crate::ledger::{Ledger, Line, saturate};
use crate::{Snapshot, Targets};
use veni_nouns::SlotKind;

/// What the pool has, for metrics and operators. Each number stops at `u32::MAX`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// `assigned + cooling + free`.
    pub total: u32,
    /// In use by pods, on whatever interface.
    pub assigned: u32,
    /// In cooldown, on whatever interface.
    pub cooling: u32,
    /// Can be given to a pod now.
    pub free: u32,
    /// Will be free when what is under way has ended.
    pub coming: u32,
    /// Unused on interfaces that only drain: given out to nobody.
    pub draining: u32,
    /// Prefixes held, those on their way out not included.
    pub prefixes: u32,
    /// Interfaces of ours that are attached and not on their way out.
    pub interfaces: u32,
}

/// What is usable in this snapshot.
#[must_use]
pub fn counts(snapshot: &Snapshot) -> Counts {
    let kind = SlotKind::Address; // the sums below are of both kinds
    let targets = Targets::aws_default(kind);
    let ledger = Ledger::new(snapshot, &targets);
    let held = ledger.holdings();
    let ours = || {
        ledger
            .lines
            .iter()
            .filter(|line| line.interface.managed && line.ready())
    };
    let slots = || ours().flat_map(Line::slots);
    let draining: u64 = ours()
        .filter(|line| !line.serves())
        .flat_map(Line::slots)
        .map(|slot| u64::from(slot.free()))
        .sum();
    Counts {
        total: saturate(held.assigned + held.cooling + held.free_now),
        assigned: saturate(held.assigned),
        cooling: saturate(held.cooling),
        free: saturate(held.free_now),
        coming: saturate((held.free + held.free_other).saturating_sub(held.free_now)),
        draining: saturate(draining),
        prefixes: saturate(
            slots()
                .filter(|slot| slot.kind() == SlotKind::Prefix)
                .count() as u64,
        ),
        interfaces: saturate(ours().count() as u64),
    }
}
