//! From what the pool knows to the planner's snapshot.

use ipnet::IpNet;
use tokio::time::Instant;
use veni_nouns::{Family, InterfaceState};
use veni_pool::{
    CloudAbilities, Demand, Holds, InFlight, InterfaceSnapshot, NodeLimits, Slot, Snapshot,
    SubnetSnapshot,
};
use veni_provider::{Capabilities, Limits, Subnet};

use super::holdings::Holdings;
use super::interface::{Held, PoolInterface, family_of};
use super::releases::Releases;
use super::subnets::Subnets;
use super::tombstones::Tombstone;
use crate::clock;

/// What a snapshot needs besides what the pool knows.
pub(super) struct Circumstances<'a> {
    /// Zero of the planner's clock.
    pub(super) epoch: Instant,
    /// Now.
    pub(super) now: Instant,
    /// What is under way in this family.
    pub(super) in_flight: Vec<InFlight>,
    /// Who wants addresses.
    pub(super) demand: Demand,
    /// What the last plan of this family handed on.
    pub(super) memory: &'a PlanMemory,
    /// What the cloud is left alone with.
    pub(super) holds: Holds,
    /// Most pods of the node.
    pub(super) max_pods: u32,
    /// `MAX_ENI`.
    pub(super) max_interfaces: Option<u32>,
}

/// What one plan hands on to the next.
#[derive(Debug, Clone, Default)]
pub(super) struct PlanMemory {
    pub(super) excess_since_ms: Option<u64>,
    pub(super) recent_peak: u32,
}

/// Milliseconds since the planner's zero.
pub(super) fn millis(epoch: Instant, instant: Instant) -> u64 {
    clock::millis(instant.saturating_duration_since(epoch))
}

/// The planner's view of one family.
pub(super) fn snapshot(
    holdings: &Holdings,
    releases: &Releases,
    family: Family,
    with: &Circumstances<'_>,
) -> Snapshot {
    let interfaces = holdings.ordered().into_iter();
    Snapshot {
        now_ms: millis(with.epoch, with.now),
        family,
        abilities: abilities(&holdings.capabilities, family),
        limits: node_limits(holdings.limits(), family, with),
        interfaces: interfaces
            // The cloud has its place to give.
            .filter(|interface| !interface.presence.is_gone())
            .map(|interface| interface_snapshot(holdings, releases, interface, family, with.now))
            .collect(),
        subnets: subnet_snapshots(&holdings.subnets, family, with),
        in_flight: with.in_flight.clone(),
        demand: with.demand,
        excess_since_ms: with.memory.excess_since_ms,
        recent_peak: with.memory.recent_peak,
        holds: with.holds.clone(),
    }
}

fn abilities(can: &Capabilities, family: Family) -> CloudAbilities {
    CloudAbilities {
        // Interfaces are counted and bought by the IPv4 plan; IPv6 finds
        // room on the primary one. A node without IPv4 buys none at all:
        // one /80 outlasts it.
        attach: can.attach_while_running && family == Family::V4,
        prefixes: match family {
            Family::V4 => can.ipv4_prefixes,
            Family::V6 => can.ipv6_prefixes,
        },
        release: can.release,
        batch: can.batch.max(1),
    }
}

fn node_limits(limits: Limits, family: Family, with: &Circumstances<'_>) -> NodeLimits {
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
    holdings: &Holdings,
    releases: &Releases,
    interface: &PoolInterface,
    family: Family,
    now: Instant,
) -> InterfaceSnapshot {
    InterfaceSnapshot {
        id: interface.cloud.id.clone(),
        subnet: interface.cloud.subnet.clone(),
        network_card: interface.cloud.network_card,
        primary: interface.cloud.primary,
        for_pods: interface.cloud.for_pods,
        managed: interface.cloud.managed,
        kept: holdings.stays_attached(interface),
        state: match interface.detaching {
            true => InterfaceState::Detaching,
            false => interface.cloud.state,
        },
        // What is attached can be filled while its link is being brought into service.
        in_service: interface.presence.is_certain() && interface.out_of_service.is_none(),
        age_ms: millis(interface.since, now),
        slots: slots(holdings, releases, interface, family, now),
    }
}

fn slots(
    holdings: &Holdings,
    releases: &Releases,
    interface: &PoolInterface,
    family: Family,
    now: Instant,
) -> Vec<Slot> {
    let origin_of = holdings.origins.on(&interface.cloud.id);
    let slot = |(range, held): (&IpNet, &Held)| {
        let origin = origin_of(range);
        Slot {
            cidr: *range,
            assigned: holdings.leases.leased_in(range),
            cooling: holdings.leases.cooling_in(range, now),
            unavailable: holdings.unavailable(origin, range),
            kept: holdings.is_kept(origin, range),
            releasing: !held.serves(),
            in_doubt: match held.releasing {
                true => releases.of_range(range).is_some_and(Tombstone::was_lost),
                false => !held.presence.is_certain(),
            },
        }
    };
    let held = interface.held.iter();
    held.filter(|(range, held)| family_of(range) == family && !held.presence.is_gone())
        .map(slot)
        .collect()
}

fn subnet_snapshots(
    subnets: &Subnets,
    family: Family,
    with: &Circumstances<'_>,
) -> Vec<SubnetSnapshot> {
    let at = |until: Option<Instant>| until.map(|until| millis(with.epoch, until));
    let subnet = |subnet: &Subnet| {
        let exhaustion = subnets.exhaustion(&subnet.id, family);
        SubnetSnapshot {
            id: subnet.id.clone(),
            free_addresses: subnet.free_ipv4,
            usable: subnet.usable,
            no_addresses_until_ms: at(exhaustion.and_then(|one| one.addresses_until)),
            no_prefixes_until_ms: at(exhaustion.and_then(|one| one.prefixes_until)),
        }
    };
    subnets.list().iter().map(subnet).collect()
}
