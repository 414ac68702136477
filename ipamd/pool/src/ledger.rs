//! The snapshot as the planner reads it: what is under way is merged into the
//! interfaces it concerns, and what they hold is added up.
//!
//! Amounts are addresses in `u64`, so that a sum of many ranges does not overflow.

use crate::{Action, InterfaceSnapshot, Slot, Snapshot, Targets};
use ipnet::IpNet;
use veni_nouns::{DEFAULT_NETWORK_CARD, Family, InterfaceState, SlotKind, SubnetId, range};

impl Slot {
    /// Is it a single address or a prefix?
    #[must_use]
    pub fn kind(&self) -> SlotKind {
        SlotKind::of(&self.cidr)
    }

    /// Addresses in it that pods could have.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        range::capacity(&self.cidr)
    }

    /// Addresses that a pod could have: neither in use nor cooling nor unavailable nor
    /// on their way out.
    #[must_use]
    pub fn free(&self) -> u32 {
        if self.releasing {
            return 0;
        }
        self.capacity()
            .saturating_sub(self.assigned)
            .saturating_sub(self.cooling)
            .saturating_sub(self.unavailable)
    }

    /// Pods could have all of it: nothing in it is in use, cooling or unavailable.
    #[must_use]
    pub fn unused(&self) -> bool {
        self.assigned == 0 && self.cooling == 0 && self.unavailable == 0
    }

    /// It may be given back.
    #[must_use]
    pub fn may_go(&self) -> bool {
        self.unused() && !self.kept
    }
}

/// Addresses in a slot of this kind that pods could have.
pub(crate) fn slot_size(family: Family, kind: SlotKind) -> u64 {
    kind.capacity(family).into()
}

/// Slots that an action under way will bring.
#[derive(Debug, Clone)]
pub(crate) struct Coming<'a> {
    pub(crate) kind: SlotKind,
    pub(crate) count: u64,
    /// Where they come from, when the action says.
    pub(crate) subnet: Option<&'a SubnetId>,
}

/// One interface with what is under way on it.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) interface: &'a InterfaceSnapshot,
    /// Its place in the snapshot: device order.
    pub(crate) order: usize,
    /// A change of it is under way, ours or one that the cloud shows: nothing else is
    /// started.
    pub(crate) busy: bool,
    leaving: bool,
    pub(crate) coming: Option<Coming<'a>>,
    going: &'a [IpNet],
}

impl<'a> Line<'a> {
    /// It counts for the pool: ours, for pods, here or coming.
    pub(crate) fn serves(&self) -> bool {
        let usable = !self.leaving && self.interface.in_service;
        self.interface.managed && self.interface.for_pods && usable
    }

    /// It is on its way in.
    pub(crate) fn arriving(&self) -> bool {
        self.interface.in_service && self.interface.state == InterfaceState::Attaching
    }

    /// Its addresses can be used and changed.
    pub(crate) fn ready(&self) -> bool {
        self.interface.in_service && self.interface.state.carries_pods() && !self.leaving
    }

    /// Its slots that are not on their way out.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &'a Slot> + use<'a> {
        let going = self.going;
        self.interface
            .slots
            .iter()
            .filter(move |slot| !slot.releasing && !going.contains(&slot.cidr))
    }

    /// Its slots on their way out.
    pub(crate) fn going(&self) -> impl Iterator<Item = &'a Slot> + use<'a> {
        let going = self.going;
        self.interface
            .slots
            .iter()
            .filter(move |slot| slot.releasing || going.contains(&slot.cidr))
    }

    /// Those of them whose place comes free soon.
    pub(crate) fn going_soon(&self) -> impl Iterator<Item = &'a Slot> + use<'a> {
        self.going().filter(|slot| !slot.in_doubt)
    }

    pub(crate) fn assigned(&self) -> u64 {
        self.interface
            .slots
            .iter()
            .map(|slot| u64::from(slot.assigned))
            .sum()
    }

    pub(crate) fn cooling(&self) -> u64 {
        self.interface
            .slots
            .iter()
            .map(|slot| u64::from(slot.cooling))
            .sum()
    }

    pub(crate) fn free(&self, kind: SlotKind) -> u64 {
        self.slots()
            .filter(|slot| slot.kind() == kind)
            .map(|slot| u64::from(slot.free()))
            .sum()
    }

    /// Addresses of this kind that are on their way out.
    fn still_there(&self, kind: SlotKind) -> u64 {
        let leaving = self.interface.slots.iter().filter(|_| self.leaving);
        let going = self.going().filter(|_| !self.leaving);
        let slots = leaving.chain(going).filter(|slot| slot.kind() == kind);
        slots
            .map(|slot| {
                u64::from(slot.capacity() - slot.capacity().min(slot.assigned + slot.cooling))
            })
            .sum()
    }

    /// Slots of this kind with nothing in use, cooling or unavailable.
    pub(crate) fn unused(&self, kind: SlotKind) -> impl Iterator<Item = &'a Slot> + use<'a> {
        self.slots()
            .filter(move |slot| slot.kind() == kind && slot.unused())
    }

    /// Those of them that may be given back.
    pub(crate) fn spare(&self, kind: SlotKind) -> impl Iterator<Item = &'a Slot> + use<'a> {
        self.unused(kind).filter(|slot| slot.may_go())
    }

    /// Slots it can still be given. What is on its way out still occupies its slot.
    pub(crate) fn room(&self, slots_per_interface: u32) -> u64 {
        let coming = self.coming.as_ref().map_or(0, |coming| coming.count);
        u64::from(slots_per_interface)
            .saturating_sub(self.interface.slots.len() as u64)
            .saturating_sub(coming)
    }
}

/// The snapshot with what is under way merged in.
#[derive(Debug)]
pub(crate) struct Ledger<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// What slots are filled with, as far as the cloud can.
    pub(crate) kind: SlotKind,
    pub(crate) lines: Vec<Line<'a>>,
    /// Interfaces being attached that the snapshot does not list yet.
    pub(crate) unlisted: Vec<Coming<'a>>,
}

impl<'a> Ledger<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, targets: &Targets) -> Self {
        let kind = if snapshot.abilities.prefixes {
            targets.mode
        } else {
            SlotKind::Address
        };
        let mut attaches = attaches(snapshot).into_iter();
        let mut lines = Vec::with_capacity(snapshot.interfaces.len());
        for (order, interface) in snapshot.interfaces.iter().enumerate() {
            let updating = interface.state == InterfaceState::Updating;
            let mut line = Line {
                interface,
                order,
                busy: updating,
                leaving: interface.state == InterfaceState::Detaching,
                coming: None,
                going: &[],
            };
            if line.arriving() && interface.managed {
                line.coming = attaches.next().map(|mut coming| {
                    coming.count = coming.count.saturating_sub(interface.slots.len() as u64);
                    coming
                });
            }
            merge_under_way(&mut line, snapshot);
            lines.push(line);
        }
        Self {
            snapshot,
            kind,
            lines,
            unlisted: attaches.collect(),
        }
    }

    /// Interfaces that the default network card has or is about to have, whoever's
    /// they are. Those on other cards take no place of it.
    pub(crate) fn places_taken(&self) -> u64 {
        let lines = self.lines.iter();
        let attached = lines.filter(|line| line.interface.network_card == DEFAULT_NETWORK_CARD);
        (attached.count() + self.unlisted.len()) as u64
    }

    /// Addresses in a slot of the kind in use.
    pub(crate) fn size(&self) -> u64 {
        slot_size(self.snapshot.family, self.kind)
    }

    /// The kind that is not in use: what is left of another mode, or a stopgap.
    pub(crate) fn other(&self) -> SlotKind {
        match self.kind {
            SlotKind::Address => SlotKind::Prefix,
            SlotKind::Prefix => SlotKind::Address,
        }
    }

    /// Something that brings addresses is under way.
    pub(crate) fn growing(&self) -> bool {
        self.snapshot
            .in_flight
            .iter()
            .any(|under_way| under_way.action.grows())
            || self.lines.iter().any(Line::arriving)
    }

    /// Something is under way at all, from this daemon or an earlier one.
    pub(crate) fn changing(&self) -> bool {
        self.growing()
            || !self.snapshot.in_flight.is_empty()
            || self
                .lines
                .iter()
                .any(|line| line.busy || line.leaving || line.going_soon().next().is_some())
    }

    pub(crate) fn holdings(&self) -> Holdings {
        let mut sum = Holdings::default();
        for line in self.lines.iter().filter(|line| line.interface.managed) {
            sum.assigned += line.assigned();
            sum.cooling += line.cooling();
            if line.interface.for_pods {
                sum.going += line.still_there(self.kind);
            }
            if !line.serves() {
                continue;
            }
            sum.free += line.free(self.kind);
            sum.free_other += line.free(self.other());
            sum.unused_prefixes += line.unused(SlotKind::Prefix).count() as u64;
            if line.ready() {
                sum.free_now += line.free(self.kind) + line.free(self.other());
            }
        }
        let listed = self
            .lines
            .iter()
            .filter(|line| line.serves())
            .filter_map(|line| line.coming.as_ref());
        for coming in listed.chain(&self.unlisted) {
            let addresses = coming.count * slot_size(self.snapshot.family, coming.kind);
            if coming.kind == self.kind {
                sum.free += addresses;
            } else {
                sum.free_other += addresses;
            }
            if coming.kind == SlotKind::Prefix {
                sum.unused_prefixes += coming.count;
            }
        }
        sum
    }
}

/// What the attachments under way will bring, in their order.
fn attaches(snapshot: &Snapshot) -> Vec<Coming<'_>> {
    let under_way = snapshot
        .in_flight
        .iter()
        .filter_map(|under_way| match &under_way.action {
            Action::Attach {
                subnet,
                kind,
                count,
            } => Some(Coming {
                kind: *kind,
                count: u64::from(*count),
                subnet: subnet.as_ref(),
            }),
            _ => None,
        });
    under_way.collect()
}

/// Notes on the line what is under way on its interface.
fn merge_under_way<'a>(line: &mut Line<'a>, snapshot: &'a Snapshot) {
    for under_way in &snapshot.in_flight {
        if under_way.action.interface() != Some(&line.interface.id) {
            continue;
        }
        line.busy = true;
        match &under_way.action {
            Action::Assign { kind, count, .. } => {
                let subnet = Some(&line.interface.subnet);
                line.coming = Some(Coming {
                    kind: *kind,
                    count: u64::from(*count),
                    subnet,
                });
            }
            Action::Release { cidrs, .. } => line.going = cidrs,
            Action::Detach { .. } => line.leaving = true,
            Action::Attach { .. } => {}
        }
    }
}

/// Sums over the interfaces, in addresses.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Holdings {
    /// In use by pods, on whatever interface.
    pub(crate) assigned: u64,
    /// In cooldown, on whatever interface.
    pub(crate) cooling: u64,
    /// Free in slots of the kind in use, coming ones included.
    pub(crate) free: u64,
    /// Free in slots of the other kind, coming ones included.
    pub(crate) free_other: u64,
    /// Free of either kind and here.
    pub(crate) free_now: u64,
    /// On their way out, in slots of the kind in use: not usable, but there.
    pub(crate) going: u64,
    /// Prefixes with nothing in use or cooling, coming ones included.
    pub(crate) unused_prefixes: u64,
}

impl Holdings {
    /// What counts towards the targets: in use, or free in the kind in use.
    pub(crate) fn usable(&self) -> u64 {
        self.assigned + self.free
    }

    /// The same with what is free in the other kind.
    pub(crate) fn usable_of_either_kind(&self) -> u64 {
        self.usable() + self.free_other
    }

    /// The pool's size for the node's limit: what is cooling or has not gone yet
    /// counts here.
    pub(crate) fn total(&self) -> u64 {
        self.usable() + self.cooling + self.going
    }
}

/// As `u32`, stopping at its end.
pub(crate) fn saturate(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
