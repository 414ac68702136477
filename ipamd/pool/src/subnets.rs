//! What the subnets can still give: which are exhausted until when, and how
//! many of a subnet's free addresses this plan has already promised.

use crate::ledger::{Ledger, slot_size};
use crate::reasons::Obstacle;
use crate::{Action, Snapshot, SubnetSnapshot};
use std::collections::HashMap;
use veni_nouns::{Family, SlotKind, SubnetId};

/// What passes by itself, and when: a subnet that gives nothing of a kind, a cloud that
/// is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) obstacle: Obstacle,
    pub(crate) until_ms: u64,
}

/// The subnets' free addresses while a plan is made.
#[derive(Debug)]
pub(crate) struct Subnets<'a> {
    snapshot: &'a Snapshot,
    promised: HashMap<&'a SubnetId, u64>,
}

impl<'a> Subnets<'a> {
    /// What is under way is promised already: asking for it twice would make the
    /// cloud refuse the whole call.
    pub(crate) fn new(ledger: &Ledger<'a>) -> Self {
        let snapshot = ledger.snapshot;
        let mut subnets = Self {
            snapshot,
            promised: HashMap::new(),
        };
        for line in &ledger.lines {
            if let Some(coming) = line.coming.as_ref().filter(|coming| coming.count > 0) {
                subnets.take(&line.interface.subnet, coming.kind, coming.count);
            }
        }
        for under_way in &snapshot.in_flight {
            if let Action::Attach {
                subnet: Some(subnet),
                kind,
                count,
            } = &under_way.action
            {
                subnets.take_interface(subnet, *kind, u64::from(*count));
            }
        }
        subnets
    }

    fn find(&self, id: &SubnetId) -> Option<&'a SubnetSnapshot> {
        self.snapshot.subnets.iter().find(|subnet| subnet.id == *id)
    }

    /// Why nothing of this kind can come out of the subnet now; `None` when it
    /// can, and for a subnet that is not known.
    pub(crate) fn shortage(&self, id: &SubnetId, kind: SlotKind) -> Option<Shortage> {
        let subnet = self.find(id)?;
        let now = self.snapshot.now_ms;
        let later = |until: Option<u64>| until.filter(|until| *until > now);
        let (lacks, until_ms) = match (later(subnet.no_addresses_until_ms), kind) {
            (Some(until), _) => (SlotKind::Address, until),
            (None, SlotKind::Prefix) => (SlotKind::Prefix, later(subnet.no_prefixes_until_ms)?),
            (None, SlotKind::Address) => return None,
        };
        let obstacle = Obstacle::Exhausted {
            subnet: id.clone(),
            lacks,
            wait_ms: until_ms - now,
        };
        Some(Shortage { obstacle, until_ms })
    }

    /// Slots the subnet can still fill. What the cloud told of free addresses may
    /// be old, so as long as nothing is promised one slot is always tried.
    pub(crate) fn room(&self, id: &SubnetId, kind: SlotKind) -> u64 {
        self.at_least_one(id, self.left(id, kind, 0))
    }

    /// The same on a new interface, which takes an address for itself.
    pub(crate) fn room_on_another(&self, id: &SubnetId, kind: SlotKind) -> u64 {
        self.at_least_one(id, self.left(id, kind, 1))
    }

    fn at_least_one(&self, id: &SubnetId, left: u64) -> u64 {
        let promised = self.promised.get(id).copied().unwrap_or(0);
        left.max(u64::from(promised == 0))
    }

    /// Slots that are left beside `own` single addresses.
    fn left(&self, id: &SubnetId, kind: SlotKind, own: u64) -> u64 {
        let (Some(subnet), Family::V4) = (self.find(id), self.snapshot.family) else {
            return u64::MAX; // unknown, or a /64
        };
        let taken = self.promised.get(id).copied().unwrap_or(0) + own;
        u64::from(subnet.free_addresses).saturating_sub(taken) / slot_size(Family::V4, kind)
    }

    /// Promises slots out of the subnet.
    pub(crate) fn take(&mut self, id: &SubnetId, kind: SlotKind, slots: u64) {
        if let Some(subnet) = self.find(id) {
            let addresses = slots.saturating_mul(slot_size(self.snapshot.family, kind));
            let promised = self.promised.entry(&subnet.id).or_default();
            *promised = promised.saturating_add(addresses);
        }
    }

    /// The same with a new interface's own address.
    pub(crate) fn take_interface(&mut self, id: &SubnetId, kind: SlotKind, slots: u64) {
        self.take(id, SlotKind::Address, 1);
        self.take(id, kind, slots);
    }

    /// The subnet for a new interface: the best one with room as far as is
    /// known, else the best one that is not known to be exhausted.
    pub(crate) fn best(&self, kind: SlotKind) -> Option<&'a SubnetId> {
        let open = || {
            self.snapshot
                .subnets
                .iter()
                .map(|subnet| (subnet, &subnet.id))
                .filter_map(|(subnet, id)| {
                    (subnet.usable && self.shortage(id, kind).is_none()).then_some(id)
                })
        };
        open()
            .find(|id| self.left(id, kind, 1) > 0)
            .or_else(|| open().find(|id| self.room_on_another(id, kind) > 0))
    }

    /// Is the choice of a subnet the provider's?
    pub(crate) fn unknown(&self) -> bool {
        self.snapshot.subnets.is_empty()
    }

    /// Why no subnet takes a new interface with slots of this kind.
    pub(crate) fn obstacles(&self, kind: SlotKind) -> Vec<Shortage> {
        let usable = self.snapshot.subnets.iter().filter(|subnet| subnet.usable);
        usable
            .filter_map(|subnet| self.shortage(&subnet.id, kind))
            .collect()
    }
}
