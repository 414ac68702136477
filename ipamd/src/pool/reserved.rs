//! What of the interfaces' ranges pods may not have, and what is never given back to
//! the cloud, by who assigned it and what links of the node carry.

use std::net::IpAddr;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_provider::{Interface, InterfaceId};

use super::merge::Merge;
use super::node_addresses::{Carried, News};
use super::origin::{Look, Origin};
use super::pick::count_in;
use super::state::{PoolInterface, PoolState};
use super::task::PoolTask;
use crate::events::EventKind;

impl PoolState {
    /// Learns from an inventory who assigned what; to be called before it is merged.
    /// Tells, in words, what somebody else has assigned since.
    pub(super) fn note_origins(
        &mut self,
        interfaces: &[Interface],
        now: Instant,
        provisioning: bool,
    ) -> Vec<String> {
        let (tombstones, known) = (&self.tombstones, &self.interfaces);
        let look = Look {
            now,
            provisioning,
            given_back: &|cidr| tombstones.get(cidr).is_some(),
            held: &|id: &InterfaceId, cidr: &IpNet| {
                let known = known.get(id);
                known.is_some_and(|known| known.held.contains_key(cidr))
            },
        };
        self.origins.seen(interfaces, &look)
    }

    /// Forgets what the cloud agrees that Veni gave back, whatever the call's answer was.
    pub(super) fn forget_given_back(&mut self, merge: &Merge) {
        let held = |cidr: &IpNet| {
            let mut interfaces = self.interfaces.values();
            interfaces.any(|interface| interface.held.contains_key(cidr))
        };
        let settled = merge.settled.iter().filter(|cidr| !held(cidr));
        let gone: Vec<IpNet> = settled.copied().collect();
        self.origins.given_back(&gone);
        for interface in &merge.departed {
            if !self.interfaces.contains_key(interface) {
                self.origins.detached(interface);
            }
        }
    }

    /// Compares what the node's links carry with what the pool has.
    fn compare_node_addresses(&mut self) -> News {
        let managed = self.interfaces.values().filter(|one| one.cloud.managed);
        let ranges = managed.flat_map(|interface| interface.held.keys());
        let leases = &self.leases;
        self.node_addresses
            .compare(ranges, |address| leases.contains_key(&address))
    }

    /// Addresses of a range that no pod may have although none has them.
    pub(super) fn unavailable(&self, origin: Origin, cidr: &IpNet) -> u32 {
        match origin.is_lent() {
            true => {
                let idle = |address: &IpAddr| {
                    !self.leases.contains_key(address) && !self.cooling.contains_key(address)
                };
                let carried = self.node_addresses.within(cidr).filter(idle).count();
                u32::try_from(carried).unwrap_or(u32::MAX)
            }
            // What a pod has had before stays its own, and counts as such.
            false => {
                let taken = count_in(&self.leases, cidr, |_| true);
                let taken = taken.saturating_add(count_in(&self.cooling, cidr, |_| true));
                // As the planner counts it, to whom a /80 is larger than to the daemon.
                let bits = u32::from(cidr.max_prefix_len() - cidr.prefix_len());
                let all = 1_u32.checked_shl(bits).unwrap_or(u32::MAX);
                all.saturating_sub(taken)
            }
        }
    }

    /// Whether a range is never given back.
    pub(super) fn is_kept(&self, origin: Origin, cidr: &IpNet) -> bool {
        origin != Origin::Veni || self.node_addresses.within(cidr).next().is_some()
    }

    /// Whether an interface is never detached: Veni did not make it, or something on
    /// it is kept.
    pub(super) fn stays_attached(&self, interface: &PoolInterface) -> bool {
        let origin_of = self.origins.on(&interface.cloud.id);
        let mut held = interface.held.keys();
        !self.origins.may_detach(&interface.cloud.id)
            || held.any(|cidr| self.is_kept(origin_of(cidr), cidr))
    }
}

impl PoolTask {
    /// Tells of addresses of the pool that have come to links of the node, or gone.
    pub(super) fn note_node_addresses(&mut self) {
        let News { come, gone } = self.state.compare_node_addresses();
        for Carried { address, in_use } in come {
            let (link, address) = (&address.link, address.address);
            let text = match in_use {
                true => format!(
                    "{address} is in use by a pod, and link {link} of the node carries it: the \
                     node answers in the pod's place"
                ),
                false => format!(
                    "{address} of the pool is carried by link {link} of the node: no pod gets it"
                ),
            };
            tracing::warn!("{text}");
            self.tell(EventKind::Pool, text);
        }
        for address in gone {
            let text = format!("{address} of the pool is no longer carried by the node");
            tracing::info!("{text}");
            self.tell(EventKind::Pool, text);
        }
        let (in_use, unused) = self.state.node_addresses.counts();
        self.metrics.set_node_addresses(in_use, unused);
    }
}
