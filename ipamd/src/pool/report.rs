//! The pool in numbers and for operators.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_api::v1;
use veni_provider::{Interface, InterfaceState, Inventory};

use super::jobs::Work;
use super::origin::Origin;
use super::pick::{capacity, count_in};
use super::state::{Held, PoolInterface, PoolState, family_of};
use super::task::PoolTask;
use crate::events::Events;

/// The pool in numbers, of the first family that is served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LevelCounts {
    pub(crate) total: u32,
    pub(crate) free: u32,
    pub(crate) assigned: u32,
    pub(crate) cooling: u32,
    /// Those of the default network card.
    pub(crate) interfaces: u32,
    pub(crate) prefixes: u32,
}

impl PoolState {
    /// Counts what pods have and could have at once.
    pub(crate) fn levels(&self, now: Instant) -> LevelCounts {
        let Some(family) = self.families.first().copied() else {
            return LevelCounts::default();
        };
        let mut counts = LevelCounts::default();
        for interface in self.interfaces.values() {
            counts.interfaces += u32::from(interface.cloud.on_default_card());
            let origin_of = self.origins.on(&interface.cloud.id);
            for (cidr, held) in &interface.held {
                if family_of(cidr) != family {
                    continue;
                }
                let cooling = count_in(&self.cooling, cidr, |cooling| cooling.until > now);
                counts.cooling += cooling;
                if held.releasing {
                    continue;
                }
                let capacity = capacity(cidr);
                let capacity = capacity.saturating_sub(self.unavailable(origin_of(cidr), cidr));
                counts.total += capacity;
                counts.prefixes += u32::from(cidr.prefix_len() != cidr.max_prefix_len());
                if interface.serves() && held.serves() {
                    let taken = cooling + count_in(&self.leases, cidr, |_| true);
                    counts.free += capacity.saturating_sub(taken);
                }
            }
        }
        let of_family = |address: &&IpAddr| veni_provider::Family::of(**address) == family;
        let assigned = self.leases.keys().filter(of_family).count();
        counts.assigned = u32::try_from(assigned).unwrap_or(u32::MAX);
        counts
    }

    /// The inventory that this state amounts to: without what is in doubt or gone, so
    /// that no later daemon lends it. What pods have of it stands in their own entries.
    pub(crate) fn inventory(&self) -> Inventory {
        let interfaces = self.ordered().into_iter().map(|interface| {
            let certain = interface.presence.is_certain();
            let kept = interface.held.iter();
            let kept = kept.filter(|(_, held)| certain && held.serves());
            let cidrs: Vec<IpNet> = kept.map(|(cidr, _)| *cidr).collect();
            let grant = super::state::grant_of(&cidrs);
            Interface {
                addresses: grant.addresses,
                prefixes: grant.prefixes,
                ..interface.cloud.clone()
            }
        });
        Inventory {
            interfaces: interfaces.collect(),
            subnets: self.subnets.clone(),
        }
    }

    fn address_report(&self, address: IpAddr, otherwise: &str, now: Instant) -> v1::PoolAddress {
        let cooling = self.cooling.get(&address);
        let left = cooling.map(|cooling| cooling.until.saturating_duration_since(now));
        let owner = self.leases.get(&address);
        let state = match (owner, left) {
            (Some(_), _) => "assigned",
            (None, Some(left)) if !left.is_zero() => "cooling",
            _ => otherwise,
        };
        v1::PoolAddress {
            address: address.to_string(),
            state: state.to_owned(),
            owner: owner.map(|one| one.key.to_string()).unwrap_or_default(),
            cooling_seconds: seconds_up(left.unwrap_or_default()),
        }
    }

    /// The state of an address that no pod has and that does not cool.
    fn unused_state(&self, origin: Origin, cidr: &IpNet, held: &Held) -> &'static str {
        match origin.is_lent() {
            _ if held.releasing => "releasing",
            _ if !held.presence.is_certain() => "missing",
            false => "foreign",
            true if self.node_addresses.carries(cidr.addr()) => "carried",
            true => "free",
        }
    }

    fn prefix_report(&self, prefix: &IpNet, unavailable: u32, now: Instant) -> v1::PoolPrefix {
        let leased = self.leases.keys().filter(|a| prefix.contains(*a));
        let cooling = self.cooling.keys().filter(|a| prefix.contains(*a));
        let mut used: Vec<IpAddr> = leased.chain(cooling).copied().collect();
        used.sort();
        used.dedup();
        let used: Vec<v1::PoolAddress> = used
            .into_iter()
            .map(|address| self.address_report(address, "free", now))
            .collect();
        let count = |state: &str| {
            let count = used.iter().filter(|address| address.state == state).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        let (assigned, cooling) = (count("assigned"), count("cooling"));
        v1::PoolPrefix {
            prefix: prefix.to_string(),
            free: capacity(prefix)
                .saturating_sub(assigned + cooling)
                .saturating_sub(unavailable),
            assigned,
            cooling,
            used,
        }
    }

    fn interface_report(&self, interface: &PoolInterface, now: Instant) -> v1::PoolInterface {
        let mut addresses = Vec::new();
        let mut prefixes = Vec::new();
        let origin_of = self.origins.on(&interface.cloud.id);
        for (cidr, held) in &interface.held {
            let origin = origin_of(cidr);
            if cidr.prefix_len() == cidr.max_prefix_len() {
                let otherwise = self.unused_state(origin, cidr, held);
                addresses.push(self.address_report(cidr.addr(), otherwise, now));
            } else {
                let unavailable = match held.presence.is_certain() {
                    true => self.unavailable(origin, cidr).min(capacity(cidr)),
                    false => capacity(cidr),
                };
                prefixes.push(self.prefix_report(cidr, unavailable, now));
            }
        }
        let cloud = &interface.cloud;
        // The other family has slots of its own.
        let family = self.families.first().copied();
        let held = interface.held.keys();
        let slots_used = held.filter(|cidr| Some(family_of(cidr)) == family).count();
        v1::PoolInterface {
            id: cloud.id.to_string(),
            mac: cloud.mac.to_string(),
            link: interface.link.clone().unwrap_or_default(),
            device_index: cloud.device_index,
            network_card: cloud.network_card,
            primary: cloud.primary,
            subnet: cloud.subnet.to_string(),
            state: interface_state(interface).to_owned(),
            primary_address: cloud
                .own_addresses
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
            slots: self.limits().ipv4_per_interface.saturating_sub(1),
            slots_used: u32::try_from(slots_used).unwrap_or(u32::MAX),
            addresses,
            prefixes,
        }
    }

    fn subnet_report(&self, subnet: &veni_provider::Subnet, now: Instant) -> v1::PoolSubnet {
        let mut families = self.families.iter();
        let exhaustion =
            families.find_map(|family| self.exhausted.get(&(subnet.id.clone(), *family)));
        let until = exhaustion.and_then(|e| e.addresses_until.max(e.prefixes_until));
        let left = until.map(|until| until.saturating_duration_since(now));
        v1::PoolSubnet {
            id: subnet.id.to_string(),
            cidr: subnet
                .cidrs
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
            free_addresses: subnet.free_ipv4,
            exhausted: exhaustion.map(|e| e.reason.clone()).unwrap_or_default(),
            retry_seconds: seconds_up(left.unwrap_or_default()),
            age_seconds: self.subnets_as_of.map(|at| {
                let age = now.saturating_duration_since(at).as_secs();
                u32::try_from(age).unwrap_or(u32::MAX)
            }),
        }
    }
}

impl PoolTask {
    pub(super) fn report(&self, now: Instant) -> v1::PoolResponse {
        let state = &self.state;
        let counts = state.levels(now);
        v1::PoolResponse {
            node: state.node.instance_id.clone(),
            provider: self.worlds.provider.name().to_owned(),
            instance_type: state.node.instance_type.clone(),
            max_pods: self.settings.max_pods,
            interfaces: state
                .ordered()
                .into_iter()
                .map(|interface| state.interface_report(interface, now))
                .collect(),
            subnets: state
                .subnets
                .iter()
                .map(|subnet| state.subnet_report(subnet, now))
                .collect(),
            free: counts.free,
            assigned: counts.assigned,
            cooling: counts.cooling,
            total: counts.total,
            waiting: u32::try_from(self.waiters.len()).unwrap_or(u32::MAX),
            targets: self.settings.targets_in_words.clone(),
            cloud_calls: cloud_calls(&self.events),
            cloud_error: self.cloud_error.clone().unwrap_or_default(),
            daemon_version: env!("CARGO_PKG_VERSION").to_owned(),
            max_interfaces: state.limits().interfaces,
            // Of the rest of the host the service knows.
            host_warnings: state.node_addresses.warnings(),
            node_name: self.settings.node_name.clone(),
        }
    }

    pub(super) fn plan_report(&self) -> v1::PlanResponse {
        let in_flight = self.work.values().filter_map(|work| match work {
            Work::Cloud { action, reason, .. } => Some(v1::PlanAction {
                action: action.to_string(),
                reason: reason.clone(),
                in_flight: true,
            }),
            _ => None,
        });
        let unsettled = self.unsettled.iter().map(|unsettled| v1::PlanAction {
            action: unsettled.action.to_string(),
            reason: "its outcome is not known; the next inventory tells".to_owned(),
            in_flight: true,
        });
        let mut notes = Vec::new();
        for plan in self.plans.values() {
            notes.extend(plan.notes.iter().cloned());
            notes.extend(plan.hopeless.clone());
        }
        v1::PlanResponse {
            actions: in_flight.chain(unsettled).collect(),
            notes,
            held_back: self.held_back(Instant::now()),
        }
    }

    /// What keeps the pool from what it should be, a sentence each.
    fn held_back(&self, now: Instant) -> Vec<String> {
        let mut texts: Vec<String> = self.troubles.notes(now).collect();
        texts.extend(self.out_of_service(now));
        texts.extend(self.state.missing(now));
        if !self.looked {
            let text = "no change before the cloud has been looked at after the restart";
            texts.push(text.to_owned());
        }
        texts
    }
}

fn cloud_calls(events: &Events) -> u64 {
    let calls = &events.levels().cloud_calls;
    calls.load(std::sync::atomic::Ordering::Relaxed)
}

fn interface_state(interface: &PoolInterface) -> &'static str {
    match interface.cloud.state {
        _ if interface.detaching => "detaching",
        InterfaceState::Detaching => "detaching",
        _ if !interface.cloud.managed => "unmanaged",
        _ if !interface.presence.is_certain() => "missing",
        _ if interface.out_of_service.is_some() => "out of service",
        InterfaceState::Attached if interface.link.is_some() => "attached",
        InterfaceState::Attached | InterfaceState::Attaching => "attaching",
    }
}

/// Whole seconds, rounded up: 0 means that it is over.
fn seconds_up(left: Duration) -> u32 {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
