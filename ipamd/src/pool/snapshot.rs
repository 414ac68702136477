//! From the pool's state to the planner's snapshot.

use tokio::time::Instant;
use veni_pool::{
    CloudAbilities, Demand, Holds, InFlight, InterfaceSnapshot, InterfaceState, NodeLimits, Slot,
    SlotKind, Snapshot, SubnetSnapshot,
};
use veni_provider::{Family, InterfaceState as CloudState};

use super::pick::count_in;
use super::state::{PoolInterface, PoolState, family_of};
use super::tombstones::Tombstone;

/// What a snapshot needs besides the state.
pub(crate) struct Circumstances<'a> {
    /// Zero of the planner's clock.
    pub(crate) epoch: Instant,
    /// Now.
    pub(crate) now: Instant,
    /// What is under way in this family.
    pub(crate) in_flight: Vec<InFlight>,
    /// Who wants addresses.
    pub(crate) demand: Demand,
    /// What the last plan of this family handed on.
    pub(crate) memory: &'a PlanMemory,
    /// What the cloud is left alone with.
    pub(crate) holds: Holds,
    /// Most pods of the node.
    pub(crate) max_pods: u32,
    /// `MAX_ENI`.
    pub(crate) max_interfaces: Option<u32>,
}

/// What one plan hands on to the next.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlanMemory {
    pub(crate) excess_since_ms: Option<u64>,
    pub(crate) recent_peak: u32,
}

/// Milliseconds since the planner's zero.
pub(crate) fn millis(epoch: Instant, instant: Instant) -> u64 {
    let elapsed = instant.saturating_duration_since(epoch).as_millis();
    u64::try_from(elapsed).unwrap_or(u64::MAX)
}

impl PoolState {
    /// The planner's view of one family.
    pub(crate) fn snapshot(&self, family: Family, with: &Circumstances<'_>) -> Snapshot {
        Snapshot {
            now_ms: millis(with.epoch, with.now),
            family: match family {
                Family::V4 => veni_pool::Family::V4,
                Family::V6 => veni_pool::Family::V6,
            },
            abilities: self.abilities(family),
            limits: self.node_limits(family, with),
            interfaces: self
                .ordered()
                .into_iter()
                // The cloud has its place to give.
                .filter(|interface| !interface.presence.is_gone())
                .map(|interface| self.interface_snapshot(interface, family, with.now))
                .collect(),
            subnets: self.subnet_snapshots(family, with),
            in_flight: with.in_flight.clone(),
            demand: with.demand,
            excess_since_ms: with.memory.excess_since_ms,
            recent_peak: with.memory.recent_peak,
            holds: with.holds.clone(),
        }
    }

    fn abilities(&self, family: Family) -> CloudAbilities {
        CloudAbilities {
            // Interfaces are counted and bought by the IPv4 plan; IPv6 finds
            // room on the primary one. A node without IPv4 buys none at all:
            // one /80 outlasts it.
            attach: self.capabilities.attach_while_running && family == Family::V4,
            prefixes: match family {
                Family::V4 => self.capabilities.ipv4_prefixes,
                Family::V6 => self.capabilities.ipv6_prefixes,
            },
            release: self.capabilities.release,
            batch: self.capabilities.batch.max(1),
        }
    }

    fn node_limits(&self, family: Family, with: &Circumstances<'_>) -> NodeLimits {
        let limits = self.limits();
        let of_type = limits.interfaces;
        NodeLimits {
            interfaces: with
                .max_interfaces
                .map_or(of_type, |wanted| wanted.min(of_type)),
            slots_per_interface: match family {
                Family::V4 => limits.ipv4_per_interface.saturating_sub(1),
                Family::V6 => limits.ipv6_per_interface.saturating_sub(1),
            },
            max_pods: with.max_pods,
        }
    }

    fn interface_snapshot(
        &self,
        interface: &PoolInterface,
        family: Family,
        now: Instant,
    ) -> InterfaceSnapshot {
        let age = now.saturating_duration_since(interface.since).as_millis();
        InterfaceSnapshot {
            id: interface.cloud.id.to_string(),
            subnet: interface.cloud.subnet.to_string(),
            network_card: interface.cloud.network_card,
            primary: interface.cloud.primary,
            for_pods: interface.cloud.for_pods,
            managed: interface.cloud.managed,
            kept: self.stays_attached(interface),
            state: match interface.cloud.state {
                _ if interface.detaching => InterfaceState::Detaching,
                CloudState::Detaching => InterfaceState::Detaching,
                _ if !interface.presence.is_certain() => InterfaceState::Unusable,
                _ if interface.out_of_service.is_some() => InterfaceState::Unusable,
                // What is attached can be filled while its link is being brought
                // into service.
                CloudState::Attached => InterfaceState::Ready,
                CloudState::Attaching => InterfaceState::Attaching,
            },
            age_ms: u64::try_from(age).unwrap_or(u64::MAX),
            slots: self.slots(interface, family, now),
        }
    }

    fn slots(&self, interface: &PoolInterface, family: Family, now: Instant) -> Vec<Slot> {
        let origin_of = self.origins.on(&interface.cloud.id);
        let slot = |(cidr, held): (&ipnet::IpNet, &super::state::Held)| {
            let origin = origin_of(cidr);
            Slot {
                cidr: *cidr,
                assigned: count_in(&self.leases, cidr, |_| true),
                cooling: count_in(&self.cooling, cidr, |cooling| cooling.until > now),
                unavailable: self.unavailable(origin, cidr),
                kept: self.is_kept(origin, cidr),
                releasing: !held.serves(),
                in_doubt: match held.releasing {
                    true => self.tombstones.get(cidr).is_some_and(Tombstone::was_lost),
                    false => !held.presence.is_certain(),
                },
            }
        };
        interface
            .held
            .iter()
            .filter(|(cidr, held)| family_of(cidr) == family && !held.presence.is_gone())
            .map(slot)
            .collect()
    }

    fn subnet_snapshots(&self, family: Family, with: &Circumstances<'_>) -> Vec<SubnetSnapshot> {
        let at = |until: Option<Instant>| until.map(|until| millis(with.epoch, until));
        self.subnets
            .iter()
            .map(|subnet| {
                let exhaustion = self.exhausted.get(&(subnet.id.clone(), family));
                SubnetSnapshot {
                    id: subnet.id.to_string(),
                    free_addresses: subnet.free_ipv4,
                    usable: subnet.usable,
                    no_addresses_until_ms: at(exhaustion.and_then(|e| e.addresses_until)),
                    no_prefixes_until_ms: at(exhaustion.and_then(|e| e.prefixes_until)),
                }
            })
            .collect()
    }
}

/// What the provider calls the planner's kind of slot.
pub(crate) fn cloud_slots(
    family: Family,
    kind: SlotKind,
    count: u32,
) -> veni_provider::AddressSlots {
    match kind {
        SlotKind::Address => veni_provider::AddressSlots::Addresses { family, count },
        SlotKind::Prefix => veni_provider::AddressSlots::Prefixes { family, count },
    }
}
