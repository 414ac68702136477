//! What the pool knows of the node: its interfaces and what they hold, who has which
//! address, who assigned what, and what the cloud's answers have taught.
//!
//! Plain data with plain methods; only the owner task has one. It starts nothing, waits
//! for nothing and writes nothing down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_nouns::range::capacity;
use veni_nouns::{Family, InterfaceId, SlotKind};
use veni_provider::{Capabilities, Grant, Interface, Limits, Node};

use super::difference::Difference;
use super::interface::{Held, PoolInterface, described_ranges, ranges_of};
use super::learned_limits::LearnedLimits;
use super::leases::{Holder, Leases};
use super::node_addresses::{News, NodeAddresses};
use super::origin::{Context, Origins};
use super::presence::{Patience, Presence};
use super::subnets::Subnets;
use crate::attachment::AttachmentKey;
use crate::journal::Origin;

/// What the pool knows.
#[derive(Debug)]
pub(crate) struct Holdings {
    pub(super) node: Node,
    pub(super) capabilities: Capabilities,
    /// The families that every pod gets, IPv4 first.
    pub(super) families: Vec<Family>,
    /// What IPv4 slots are filled with.
    pub(super) mode: SlotKind,
    pub(super) interfaces: BTreeMap<InterfaceId, PoolInterface>,
    pub(super) subnets: Subnets,
    pub(super) leases: Leases,
    /// Addresses of pods that no interface is known to hold, and the interface
    /// that the journal names.
    pub(super) unlisted: BTreeMap<IpAddr, InterfaceId>,
    /// What the cloud's refusals have taught of limits.
    pub(super) learned: LearnedLimits,
    /// So far apart are two inventories that must both lack what is dropped.
    pub(super) doubt_time: Duration,
    /// Who assigned what the interfaces hold.
    pub(super) origins: Origins,
    /// What links of the node itself carry.
    pub(super) node_addresses: NodeAddresses,
}

impl Holdings {
    pub(crate) fn new(
        node: Node,
        capabilities: Capabilities,
        families: Vec<Family>,
        mode: SlotKind,
        doubt_time: Duration,
    ) -> Self {
        Self {
            node,
            capabilities,
            families,
            mode,
            interfaces: BTreeMap::new(),
            subnets: Subnets::default(),
            leases: Leases::default(),
            unlisted: BTreeMap::new(),
            learned: LearnedLimits::default(),
            doubt_time,
            origins: Origins::default(),
            node_addresses: NodeAddresses::default(),
        }
    }

    /// Interfaces in order of network card and device index, as the planner wants
    /// them.
    pub(super) fn ordered(&self) -> Vec<&PoolInterface> {
        let mut interfaces: Vec<&PoolInterface> = self.interfaces.values().collect();
        interfaces.sort_by_key(|one| (one.cloud.network_card, one.cloud.device_index));
        interfaces
    }

    /// How many interfaces the default network card has: those that count against
    /// [`Limits::interfaces`].
    pub(super) fn on_default_card(&self) -> u32 {
        let all = self.interfaces.values();
        let count = all.filter(|one| one.cloud.on_default_card()).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The node's limits: its type's, lowered by what the cloud has taught.
    pub(super) fn limits(&self) -> Limits {
        self.learned.applied_to(self.node.limits)
    }

    /// Everything for pods that the node holds.
    pub(super) fn ranges(&self) -> BTreeSet<IpNet> {
        let interfaces = self.interfaces.values();
        let held = interfaces.flat_map(|interface| interface.held.keys());
        held.copied().collect()
    }

    /// How long inventories take to be believed.
    pub(super) fn patience(&self) -> Patience {
        let settle = self.capabilities.settle_time;
        Patience {
            settle,
            // Two inventories that are closer together may both show the time before one
            // change of ours, and would agree on what has only not settled yet.
            distance: self.doubt_time.max(2 * settle),
        }
    }

    /// Whether anything is in doubt: what a refusal means is not known then.
    pub(super) fn has_doubts(&self) -> bool {
        let mut interfaces = self.interfaces.values();
        !self.unlisted.is_empty()
            || interfaces.any(|one| {
                let mut held = one.held.values();
                one.presence.is_in_doubt() || held.any(|held| held.presence.is_in_doubt())
            })
    }

    /// Ends cooldowns and learned limits that are over, and the time for which full
    /// subnets are left alone.
    pub(super) fn expire(&mut self, now: Instant) {
        self.leases.expire(now);
        self.learned.expire(now);
        self.subnets.expire(now);
    }

    /// Takes addresses back from an attachment; those of others stay theirs.
    pub(super) fn take_back(
        &mut self,
        key: &AttachmentKey,
        addresses: &[IpAddr],
        cools_until: Option<Instant>,
    ) {
        for address in self.leases.take_back(key, addresses, cools_until) {
            self.unlisted.remove(&address);
        }
    }

    /// Adds what the cloud has just granted to an interface.
    pub(super) fn add_grant(&mut self, id: &InterfaceId, grant: &Grant, now: Instant) {
        let ranges = ranges_of(grant);
        self.moved_to(id, &ranges);
        if let Some(interface) = self.interfaces.get_mut(id) {
            let held = ranges.into_iter().map(|range| (range, Held::new(now)));
            interface.held.extend(held);
        }
    }

    /// Takes an interface in as an attachment's answer describes it. An inventory may have
    /// been faster than the answer, and shown more.
    pub(super) fn add_attached(&mut self, interface: Interface, now: Instant) {
        let ranges = described_ranges(&interface);
        self.moved_to(&interface.id, &ranges);
        let known = self
            .interfaces
            .entry(interface.id.clone())
            .or_insert_with(|| PoolInterface::new(interface, now));
        for range in ranges {
            known.held.entry(range).or_insert(Held::new(now));
        }
    }

    /// The cloud has given these to an interface, so no other has them any more.
    fn moved_to(&mut self, id: &InterfaceId, ranges: &[IpNet]) {
        let others = self.interfaces.iter_mut().filter(|(other, _)| *other != id);
        for (_, other) in others {
            other.held.retain(|range, _| !ranges.contains(range));
        }
    }

    /// Drops what the cloud has just taken back.
    pub(super) fn remove_ranges(&mut self, id: &InterfaceId, ranges: &[IpNet]) {
        if let Some(interface) = self.interfaces.get_mut(id) {
            interface.held.retain(|range, _| !ranges.contains(range));
        }
    }

    /// Drops a range that the cloud agrees was given back, wherever it is.
    pub(super) fn forget_range(&mut self, range: &IpNet) {
        for interface in self.interfaces.values_mut() {
            interface.held.remove(range);
        }
    }

    /// Marks ranges as being given back, or as staying.
    pub(super) fn set_releasing(&mut self, id: &InterfaceId, ranges: &[IpNet], releasing: bool) {
        let held = self
            .interfaces
            .get_mut(id)
            .map(|interface| &mut interface.held);
        for (range, held) in held.into_iter().flatten() {
            if ranges.contains(range) {
                held.releasing = releasing;
            }
        }
    }

    /// Whether a plan's release still holds: nothing of it in use, cooling, in doubt or kept.
    pub(super) fn may_release(&self, id: &InterfaceId, ranges: &[IpNet]) -> bool {
        let Some(interface) = self.interfaces.get(id) else {
            return false;
        };
        let origin_of = self.origins.on(id);
        let held = |range: &IpNet| interface.held.get(range);
        let certain = |range| held(range).is_none_or(|held| held.presence.is_certain());
        interface.presence.is_certain()
            && ranges.iter().all(certain)
            && !ranges
                .iter()
                .any(|range| self.is_kept(origin_of(range), range))
            && !ranges.iter().any(|range| self.leases.uses(range))
    }

    /// Of ranges whose release is in doubt, those that one call can give back.
    pub(super) fn still_releasing(
        &self,
        id: &InterfaceId,
        family: Family,
        ranges: &[IpNet],
    ) -> Vec<IpNet> {
        let known = self.interfaces.get(id);
        let known = known.filter(|known| known.cloud.managed && !known.detaching);
        let releasing = |range: &&IpNet| {
            let held = known.and_then(|known| known.held.get(range));
            Family::of_range(range) == family && held.is_some_and(|held| held.releasing)
        };
        let batch = usize::try_from(self.capabilities.batch).unwrap_or(usize::MAX);
        let open = ranges.iter().filter(releasing);
        open.take(batch).copied().collect()
    }

    /// Learns from an inventory who assigned what; to be called before it is reconciled.
    /// Tells, in words, what somebody else has assigned since.
    pub(super) fn note_origins(
        &mut self,
        interfaces: &[Interface],
        now: Instant,
        provisioning: bool,
        released: impl Fn(&IpNet) -> bool,
    ) -> Vec<String> {
        let known = &self.interfaces;
        let context = Context {
            now,
            provisioning,
            own_alone: self.capabilities.lists_own_alone,
            released: &released,
            held: &|id: &InterfaceId, range: &IpNet| {
                let known = known.get(id);
                known.is_some_and(|known| known.held.contains_key(range))
            },
        };
        self.origins.seen(interfaces, &context)
    }

    /// What is being given back is Veni's, also where nobody remembers who assigned it.
    pub(super) fn claim_releasing(&mut self) {
        for (id, interface) in &self.interfaces {
            let held = interface.held.iter();
            for (range, _) in held.filter(|(_, held)| held.releasing) {
                self.origins.is_ours(id, range);
            }
        }
    }

    /// Addresses of a range that no pod may have although none has them.
    pub(super) fn unavailable(&self, origin: Origin, range: &IpNet) -> u32 {
        match origin.is_lent() {
            true => {
                let carried = self.node_addresses.within(range);
                let idle = carried.filter(|address| !self.leases.is_taken(*address));
                u32::try_from(idle.count()).unwrap_or(u32::MAX)
            }
            // What a pod has had before stays its own, and counts as such.
            false => {
                let taken = self.leases.taken_in(range).len();
                let taken = u32::try_from(taken).unwrap_or(u32::MAX);
                capacity(range).saturating_sub(taken)
            }
        }
    }

    /// Whether a range is never given back: somebody else assigned it, or the node
    /// itself carries an address of it.
    pub(super) fn is_kept(&self, origin: Origin, range: &IpNet) -> bool {
        origin != Origin::Veni || self.node_addresses.within(range).next().is_some()
    }

    /// Whether an interface is never detached: Veni did not make it, or something on
    /// it is kept.
    pub(super) fn stays_attached(&self, interface: &PoolInterface) -> bool {
        let origin_of = self.origins.on(&interface.cloud.id);
        let mut held = interface.held.keys();
        !self.origins.may_detach(&interface.cloud.id)
            || held.any(|range| self.is_kept(origin_of(range), range))
    }

    /// Compares what the node's links carry with what the pool has. Tells what has
    /// changed since the last time.
    pub(super) fn compare_node_addresses(&mut self) -> News {
        let managed = self.interfaces.values().filter(|one| one.cloud.managed);
        let ranges = managed.flat_map(|interface| interface.held.keys());
        let leases = &self.leases;
        self.node_addresses
            .compare(ranges, |address| leases.is_leased(address))
    }

    /// Takes in a pod of the journal: its addresses, and the id of the interface that holds
    /// the first; empty where the journal does not tell.
    pub(crate) fn restore(&mut self, holder: &Holder, addresses: &[IpAddr], interface: &str) {
        self.leases.give(holder, addresses);
        if let Some(first) = addresses.first().filter(|_| !interface.is_empty()) {
            self.unlisted.insert(*first, InterfaceId::new(interface));
        }
    }

    /// Adds to the interfaces what pods have on them and no inventory has listed yet, so
    /// that it keeps its rules.
    pub(crate) fn place_unlisted(&mut self, now: Instant) {
        let interfaces = &mut self.interfaces;
        self.unlisted.retain(|address, id| {
            let mut held = interfaces.values().flat_map(|one| one.held.keys());
            if held.any(|range| range.contains(address)) {
                return false;
            }
            let Some(interface) = interfaces.get_mut(id) else {
                return true;
            };
            let held = Held {
                presence: Presence::in_doubt_since(now),
                ..Held::new(now)
            };
            interface.held.insert(IpNet::from(*address), held);
            false
        });
    }

    /// Drops what two inventories lack, but for what pods have: their rules stand
    /// until they end, or until another interface is described with what they have,
    /// as `listed` tells.
    pub(super) fn drop_gone(&mut self, listed: &BTreeSet<IpNet>) -> Vec<Difference> {
        let mut dropped = Vec::new();
        let leases = &self.leases;
        let used = |range: &IpNet| leases.leased_in(range) > 0 && !listed.contains(range);
        self.interfaces.retain(|id, interface| {
            let departs = interface.presence.is_gone();
            interface.held.retain(|range, held| {
                let keep = !(held.presence.is_gone() || departs) || used(range);
                if !keep && !departs {
                    dropped.push(Difference::of_range(format!("{range} on {id} is gone")));
                }
                keep
            });
            if departs && interface.held.is_empty() {
                let text = format!("interface {id} is gone");
                dropped.push(Difference::of_interface(text));
                return false;
            }
            true
        });
        dropped
    }
}
