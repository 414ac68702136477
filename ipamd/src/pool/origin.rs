//! Who assigned what the interfaces hold. What Veni assigned is Veni's to give back;
//! what somebody else assigned is kept for them.
//!
//! Plain data: it learns from calls and inventories, and its [`AssignedRecord`] is what must
//! outlive the daemon. Where and when that is written is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_pool::SlotKind;
use veni_provider::{AddressSlots, Family, Interface, InterfaceId, InterfaceState};

use super::interface::{described_ranges, family_of};
use super::tombstones::LONGEST_LAG;
use crate::journal::{AssignedRecord, Assignment, Origin};

/// What a call brings shows in the inventories that begin so long after it has ended.
const SHOWS_WITHIN: Duration = LONGEST_LAG;

/// What inventories lack for so long is forgotten: should somebody assign it again, it
/// is theirs.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The record that a daemon before has left.
#[derive(Debug, Clone)]
pub(crate) struct Recalled {
    pub(crate) record: AssignedRecord,
    /// It was written in this boot, with all that was under way.
    pub(crate) this_boot: bool,
}

/// What else an inventory is judged by.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    /// Veni assigns at all; where it does not, whatever comes is for pods.
    pub(crate) provisioning: bool,
    /// The cloud itself tells whose ranges are, and lists Veni's alone.
    pub(crate) own_alone: bool,
    /// Given back by Veni, and listed still.
    pub(crate) released: &'a dyn Fn(&IpNet) -> bool,
    /// The pool counts with it.
    pub(crate) held: &'a dyn Fn(&InterfaceId, &IpNet) -> bool,
}

/// Who assigned what, as this daemon knows.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    record: AssignedRecord,
    /// Interfaces that have come in this daemon's time.
    came: BTreeMap<InterfaceId, Instant>,
    /// Calls may have been cut of which this daemon knows nothing: by a reboot, or those
    /// of another daemon that served the node in between. Until then what shows on
    /// interfaces made for pods counts as theirs.
    cut_until: Option<Instant>,
    /// Since when inventories lack a range, or an interface.
    missing: BTreeMap<(InterfaceId, Option<IpNet>), Instant>,
    changed: bool,
}

impl Origins {
    /// What is known of a node at the start.
    pub(crate) fn new(node: &str, recalled: Option<Recalled>, now: Instant) -> Self {
        let shows_until = now + SHOWS_WITHIN;
        let (mut record, this_boot) = match recalled {
            Some(Recalled { record, this_boot }) => (record, this_boot),
            None => (AssignedRecord::default(), true),
        };
        record.node = node.to_owned();
        if !this_boot {
            record.calls.clear();
        }
        for call in record.calls.values_mut().flatten() {
            call.shows_until = Some(shows_until);
        }
        Self {
            record,
            cut_until: Some(shows_until),
            // The file is made, or made again where only the journal had it.
            changed: true,
            ..Self::default()
        }
    }

    /// Who assigned the ranges of an interface. Before an inventory has shown the
    /// interface nobody knows, and what was remembered of it goes on serving pods.
    pub(crate) fn on(&self, interface: &InterfaceId) -> impl Fn(&IpNet) -> Origin {
        let holding = self.record.interfaces.get(interface);
        move |cidr| match holding {
            None => Origin::Found,
            Some(holding) => *holding.ranges.get(cidr).unwrap_or(&Origin::Others),
        }
    }

    /// Who assigned one range of an interface.
    #[cfg(test)]
    pub(crate) fn of(&self, interface: &InterfaceId, cidr: &IpNet) -> Origin {
        self.on(interface)(cidr)
    }

    /// Whether Veni may detach an interface: it made it, and nobody else's ranges are
    /// on it.
    pub(crate) fn may_detach(&self, interface: &InterfaceId) -> bool {
        let holding = self.record.interfaces.get(interface);
        holding.is_some_and(|holding| {
            let mut origins = holding.ranges.values();
            holding.made_for_pods && origins.all(|origin| *origin == Origin::Veni)
        })
    }

    /// An assignment begins.
    pub(crate) fn assigning(&mut self, interface: &InterfaceId, slots: AddressSlots) {
        let calls = self.record.calls.entry(interface.clone()).or_default();
        calls.push(Assignment {
            slots,
            shown: Vec::new(),
            shows_until: None,
        });
        self.changed = true;
    }

    /// It brought these ranges. What an inventory seemed to show of it and is not among
    /// them is somebody else's.
    pub(crate) fn assigned(
        &mut self,
        interface: &InterfaceId,
        slots: AddressSlots,
        ranges: &[IpNet],
    ) {
        self.end(interface, slots);
        self.claim(interface, ranges);
    }

    /// It brought nothing.
    pub(crate) fn refused(&mut self, interface: &InterfaceId, slots: AddressSlots) {
        self.end(interface, slots);
    }

    /// It ended without an answer: inventories tell.
    pub(crate) fn lost(&mut self, interface: &InterfaceId, slots: AddressSlots, now: Instant) {
        if let Some(call) = self.running(interface, slots) {
            call.shows_until = Some(now + SHOWS_WITHIN);
        }
    }

    /// Veni has attached an interface.
    pub(crate) fn attached(&mut self, interface: &Interface, now: Instant) {
        self.came.insert(interface.id.clone(), now);
        self.claim(&interface.id, &described_ranges(interface));
        if let Some(holding) = self.record.interfaces.get_mut(&interface.id) {
            holding.made_for_pods = true;
        }
    }

    /// These are all that inventories may list although they were given back.
    pub(crate) fn given_back(&mut self, ranges: BTreeSet<IpNet>) {
        if self.record.given_back != ranges {
            self.record.given_back = ranges;
            self.changed = true;
        }
    }

    /// The cloud agrees that these ranges were given back.
    pub(crate) fn released(&mut self, ranges: &[IpNet]) {
        for holding in self.record.interfaces.values_mut() {
            let before = holding.ranges.len();
            holding.ranges.retain(|cidr, _| !ranges.contains(cidr));
            self.changed |= holding.ranges.len() != before;
        }
    }

    /// The cloud agrees that an interface is gone.
    pub(crate) fn detached(&mut self, interface: &InterfaceId) {
        self.changed |= self.record.interfaces.remove(interface).is_some();
        self.changed |= self.record.calls.remove(interface).is_some();
        self.came.remove(interface);
        self.missing.retain(|(id, _), _| id != interface);
    }

    /// Learns from an inventory. Tells, in words, what others have assigned since the
    /// one before.
    pub(crate) fn seen(&mut self, interfaces: &[Interface], context: &Context<'_>) -> Vec<String> {
        let mut told = Vec::new();
        for interface in interfaces.iter().filter(|one| one.managed) {
            if interface.state != InterfaceState::Detaching {
                told.extend(self.seen_interface(interface, context));
            }
        }
        self.forget_missing(interfaces, context);
        told
    }

    /// When an inventory must begin to show all that a call without an answer has brought.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        let calls = self.record.calls.values().flatten();
        calls.filter_map(|call| call.shows_until).min()
    }

    /// Whether a call of Veni's without an answer may have brought a range that was given
    /// back before: one to this interface, or the one that attached it.
    pub(crate) fn may_have_come_again(
        &self,
        interface: &InterfaceId,
        range: &IpNet,
        began: Instant,
    ) -> bool {
        let mut calls = self.record.calls.get(interface).into_iter().flatten();
        let holding = self.record.interfaces.get(interface);
        let made_for_pods = holding.is_some_and(|holding| holding.made_for_pods);
        // It has come after the release, which inventories show as late.
        let came = self.came.get(interface);
        let young = came.is_some_and(|came| began < *came + 2 * SHOWS_WITHIN);
        calls.any(|call| call.matches(range) && call.left() > 0) || (made_for_pods && young)
    }

    /// It has: the call need not bring another one.
    pub(crate) fn came_again(&mut self, interface: &InterfaceId, range: &IpNet) {
        let calls = self.record.calls.get_mut(interface);
        let mut calls = calls.into_iter().flatten();
        if let Some(call) = calls.find(|call| call.matches(range) && call.left() > 0) {
            call.shown.push(*range);
        }
    }

    /// Veni assigned a range.
    pub(crate) fn is_ours(&mut self, interface: &InterfaceId, range: &IpNet) {
        self.set(interface, *range, Origin::Veni);
    }

    /// Somebody else has assigned a range.
    pub(crate) fn is_others(&mut self, interface: &InterfaceId, range: &IpNet) {
        self.set(interface, *range, Origin::Others);
    }

    /// The record, if it has changed since it was last taken.
    pub(crate) fn take_changed(&mut self) -> Option<AssignedRecord> {
        std::mem::take(&mut self.changed).then(|| self.record.clone())
    }

    fn seen_interface(&mut self, interface: &Interface, context: &Context<'_>) -> Vec<String> {
        let id = &interface.id;
        let first = !self.record.interfaces.contains_key(id);
        if first {
            self.came.insert(id.clone(), context.now);
            self.changed = true;
        }
        let young = self.came.get(id).copied();
        let young = young.is_some_and(|came| context.now < came + SHOWS_WITHIN);
        let cut = self.cut_until.is_some_and(|until| context.now < until);
        let holding = self.record.interfaces.entry(id.clone()).or_default();
        if interface.made_for_pods && !holding.made_for_pods {
            holding.made_for_pods = true;
            // Found before anybody could tell whose the interface is.
            let found = holding.ranges.values_mut();
            for origin in found.filter(|origin| **origin == Origin::Found) {
                *origin = Origin::Veni;
            }
            self.changed = true;
        }
        let made_for_pods = holding.made_for_pods;
        let unknown: Vec<IpNet> = described_ranges(interface)
            .into_iter()
            .filter(|cidr| !holding.ranges.contains_key(cidr) && !(context.released)(cidr))
            .collect();
        let mut told = Vec::new();
        if context.own_alone {
            for cidr in unknown {
                self.set(id, cidr, Origin::Veni);
            }
            return told;
        }
        let brought = self.brought_by_calls(id, &unknown);
        for cidr in unknown {
            let origin = if brought.contains(&cidr) || (made_for_pods && (young || cut)) {
                Origin::Veni
            } else if first || !context.provisioning {
                Origin::Found
            } else {
                told.push(format!(
                    "{cidr} on {id} was assigned by somebody else: it is kept, and no pod gets it"
                ));
                Origin::Others
            };
            self.set(id, cidr, origin);
        }
        told
    }

    /// Which of these ranges the calls under way or in doubt explain. Where more have
    /// come than they asked for, nobody can tell whose are whose, and none is.
    fn brought_by_calls(&mut self, interface: &InterfaceId, unknown: &[IpNet]) -> Vec<IpNet> {
        let mut brought = Vec::new();
        let calls = self.record.calls.get_mut(interface).into_iter().flatten();
        let mut calls: Vec<&mut Assignment> = calls.collect();
        for family in [Family::V4, Family::V6] {
            for kind in [SlotKind::Address, SlotKind::Prefix] {
                let alike = |cidr: &&IpNet| (SlotKind::of(cidr), family_of(cidr)) == (kind, family);
                let come: Vec<IpNet> = unknown.iter().filter(alike).copied().collect();
                let Some(first) = come.first() else { continue };
                let asking = calls.iter().filter(|call| call.matches(first));
                if asking.map(|call| call.left()).sum::<usize>() < come.len() {
                    continue;
                }
                let mut rest = come.iter().copied();
                for call in calls.iter_mut().filter(|call| call.matches(first)) {
                    let left = call.left();
                    call.shown.extend(rest.by_ref().take(left));
                }
                brought.extend(come);
            }
        }
        brought
    }

    /// An inventory that began then has been taken in: what calls without an answer have
    /// brought so long before, it has shown.
    pub(crate) fn end_calls(&mut self, began: Instant) {
        let over = |call: &Assignment| {
            let ended = call.shows_until;
            ended.is_some_and(|until| began >= until || call.left() == 0)
        };
        for calls in self.record.calls.values_mut() {
            let before = calls.len();
            calls.retain(|call| !over(call));
            self.changed |= calls.len() != before;
        }
        self.record.calls.retain(|_, calls| !calls.is_empty());
    }

    fn running(&mut self, interface: &InterfaceId, slots: AddressSlots) -> Option<&mut Assignment> {
        let calls = self.record.calls.get_mut(interface)?;
        calls
            .iter_mut()
            .find(|call| call.slots == slots && call.shows_until.is_none())
    }

    /// Ends a call that was answered.
    fn end(&mut self, interface: &InterfaceId, slots: AddressSlots) {
        let Some(call) = self.running(interface, slots).cloned() else {
            return;
        };
        if let Some(calls) = self.record.calls.get_mut(interface) {
            let ended = calls.iter().position(|one| *one == call);
            ended.map(|place| calls.remove(place));
        }
        self.record.calls.retain(|_, calls| !calls.is_empty());
        for cidr in call.shown {
            self.set(interface, cidr, Origin::Others);
        }
        self.changed = true;
    }

    fn claim(&mut self, interface: &InterfaceId, ranges: &[IpNet]) {
        self.record.interfaces.entry(interface.clone()).or_default();
        for cidr in ranges {
            self.set(interface, *cidr, Origin::Veni);
        }
        self.changed = true;
    }

    fn set(&mut self, interface: &InterfaceId, cidr: IpNet, origin: Origin) {
        self.missing.remove(&(interface.clone(), Some(cidr)));
        if let Some(holding) = self.record.interfaces.get_mut(interface) {
            holding.ranges.insert(cidr, origin);
            self.changed = true;
        }
    }

    /// An inventory may lag, so that what it lacks is not forgotten at once.
    fn forget_missing(&mut self, interfaces: &[Interface], context: &Context<'_>) {
        let listed = |id: &InterfaceId| interfaces.iter().find(|one| one.id == *id);
        let mut missing = BTreeMap::new();
        for (id, holding) in &self.record.interfaces {
            let there = listed(id).map(described_ranges);
            if there.is_none() {
                missing.insert((id.clone(), None), context.now);
            }
            let there = there.unwrap_or_default();
            let gone = |cidr: &&IpNet| !there.contains(cidr) && !(context.held)(id, cidr);
            for cidr in holding.ranges.keys().filter(gone) {
                missing.insert((id.clone(), Some(*cidr)), context.now);
            }
        }
        for (what, since) in &mut missing {
            *since = self.missing.get(what).copied().unwrap_or(*since);
        }
        for ((id, cidr), _) in
            missing.extract_if(.., |_, since| context.now >= *since + FORGOTTEN_AFTER)
        {
            match cidr {
                Some(cidr) => {
                    if let Some(holding) = self.record.interfaces.get_mut(&id) {
                        holding.ranges.remove(&cidr);
                    }
                }
                None => drop(self.record.interfaces.remove(&id)),
            }
            self.changed = true;
        }
        self.missing = missing;
    }
}

#[cfg(test)]
mod tests;
