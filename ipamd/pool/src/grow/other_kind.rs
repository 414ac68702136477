//! The other kind of slot: unused ones make room, single addresses stand in for
//! prefixes.

use super::{Grower, Room, Standing};
use crate::reasons::{GrowingChange, Reason};
use crate::{Action, PlannedAction};
use veni_nouns::SlotKind;

impl Grower<'_> {
    /// Gives unused slots of the other kind back so that `want` slots of the kind
    /// in use find room; pods that wait or are expected keep their addresses. One
    /// step at a time: not while slots are on their way out already.
    pub(super) fn make_room(&mut self, want: u64) -> Room {
        let abilities = &self.ledger.snapshot.abilities;
        let under_way = self
            .ledger
            .lines
            .iter()
            .any(|line| line.going_soon().next().is_some());
        let snapshot = self.ledger.snapshot;
        let stuck = snapshot.in_force(&snapshot.holds.release).is_some()
            || snapshot.in_force(&snapshot.holds.assign).is_some();
        if !abilities.release || under_way || stuck {
            return Room::default();
        }
        let (kind, other) = (self.ledger.kind, self.ledger.other());
        let demand = &self.ledger.snapshot.demand;
        let demand = u64::from(demand.waiting) + u64::from(demand.expected);
        let mut spare = self.held.free_now.saturating_sub(demand);
        let mut lines = self.by_fullness();
        lines.reverse();
        let unused = lines.iter().flat_map(|line| line.spare(other)).count() as u64;
        // While nothing of the kind in use is free, one slot stays for the next pod.
        let want = if self.held.free == 0 && unused > 1 {
            want.min(unused - 1)
        } else {
            want
        };
        let mut room = Room::default();
        for line in lines {
            let shut = self
                .subnets
                .shortage(&line.interface.subnet, kind)
                .is_some();
            if line.busy || shut || self.touched.contains(&line.order) {
                continue;
            }
            let mut cidrs = Vec::new();
            for slot in line.spare(other) {
                let size = u64::from(slot.free());
                if room.slots == want || spare < size || cidrs.len() as u64 == self.batch() {
                    break;
                }
                spare -= size;
                room.slots += 1;
                room.addresses += size;
                cidrs.push(slot.cidr);
            }
            if !cidrs.is_empty() {
                self.touched.insert(line.order);
                let interface = line.interface.id.clone();
                let reason = Reason::MakesRoom {
                    wanted: kind,
                    need: self.need,
                };
                let action = Action::Release { interface, cidrs };
                self.growth.actions.push(PlannedAction { action, reason });
            }
        }
        room
    }

    /// No prefix is to be had: single addresses stand in for `lacking` of them.
    /// One slot an interface stays open for the prefix that comes later, and
    /// interfaces are attached for pods only, not for the target.
    pub(super) fn stand_in(&mut self, lacking: u64) {
        let demand = &self.ledger.snapshot.demand;
        let free = self.held.free + self.held.free_other;
        let demand = u64::from(demand.waiting) + u64::from(demand.expected);
        let mut demand = demand.saturating_sub(free).min(lacking);
        let mut lacking = lacking;
        let reason = Reason::Short {
            need: self.need,
            stands_in: true,
            no_room: false,
        };
        for line in self.by_fullness() {
            let subnet = &line.interface.subnet;
            let exhausted = self.subnets.shortage(subnet, SlotKind::Prefix).is_some();
            if !exhausted || self.touched.contains(&line.order) {
                continue;
            }
            if let Some(shortage) = self.subnets.shortage(subnet, SlotKind::Address) {
                self.shortage(shortage);
                continue;
            }
            let room = line.room(self.slots_per_interface());
            let room = room.min(demand.max(room.saturating_sub(1))).min(lacking);
            let mut count = room;
            if !line.busy {
                let available = self
                    .subnets
                    .room(subnet, SlotKind::Address)
                    .min(self.allowed);
                count = room.min(available);
                let now = count.min(self.batch());
                if now > 0 && self.standing(GrowingChange::Assign) == Standing::Open {
                    self.assign(line, SlotKind::Address, now, reason.clone());
                }
            }
            lacking -= count;
            demand = demand.saturating_sub(count);
        }
        demand -= self.future_room(SlotKind::Address, demand);
        self.attach_with(SlotKind::Address, demand, true);
    }
}
