//! The cloud's inventory against what we know: what is new is taken in, what is
//! gone is dropped, and an inventory that may be older than our own last
//! change is not believed about it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_provider::{Interface, InterfaceId, InterfaceState, Inventory};

use super::state::{Held, PoolInterface, PoolState};

/// An interface on its way in or out is looked at again after this time at the
/// earliest.
const SHORTEST_CHANGE: Duration = Duration::from_secs(1);

/// What an inventory has changed, in words, for log and events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Merge {
    /// Taken in or dropped.
    pub(crate) changes: Vec<String>,
    /// Addresses in use by pods that the cloud does not know (any more).
    pub(crate) lost: Vec<IpAddr>,
    /// Device indexes of interfaces that are gone: their rules must go too.
    pub(crate) unplugged: Vec<u32>,
    /// Tombstones that the cloud agrees with now.
    pub(crate) settled: Vec<IpNet>,
    /// Something is missing that may be too young to show: an inventory that
    /// begins then tells.
    pub(crate) look_again: Option<Instant>,
}

impl Merge {
    fn doubt(&mut self, trust_after: Instant) {
        let earlier = self
            .look_again
            .map_or(trust_after, |at| at.min(trust_after));
        self.look_again = Some(earlier);
    }
}

impl PoolState {
    /// Takes an inventory in that was asked for at `began`.
    pub(crate) fn merge(&mut self, inventory: Inventory, began: Instant, now: Instant) -> Merge {
        let mut merge = Merge::default();
        self.subnets = inventory.subnets;
        self.drop_missing_interfaces(&inventory.interfaces, began, &mut merge);
        for interface in inventory.interfaces {
            if self.is_departed(&interface.id, began) {
                continue;
            }
            let known = self.interfaces.contains_key(&interface.id);
            if interface.state == InterfaceState::Detaching && !known {
                continue;
            }
            if known {
                self.update_interface(interface, began, now, &mut merge);
            } else {
                merge
                    .changes
                    .push(format!("interface {} found", interface.id));
                self.adopt_interface(interface, began, now, &mut merge);
            }
        }
        self.settle_tombstones(began, &mut merge);
        merge
    }

    /// Takes an interface in as an attachment's answer describes it.
    pub(crate) fn add_attached(&mut self, interface: Interface, now: Instant) {
        for cidr in described_cidrs(&interface) {
            self.tombstones.remove(&cidr);
        }
        self.departed.remove(&interface.id);
        if self.interfaces.contains_key(&interface.id) {
            // An inventory was faster than the answer, and it may hold more by now.
            let cidrs = described_cidrs(&interface);
            return self.take_in(&interface.id, &cidrs, now, now, &mut Merge::default());
        }
        self.adopt_interface(interface, now, now, &mut Merge::default());
    }

    fn adopt_interface(
        &mut self,
        interface: Interface,
        began: Instant,
        now: Instant,
        merge: &mut Merge,
    ) {
        let id = interface.id.clone();
        let cidrs = described_cidrs(&interface);
        if interface.state != InterfaceState::Attached {
            merge.doubt(now + self.capabilities.settle_time.max(SHORTEST_CHANGE));
        }
        self.interfaces.insert(
            id.clone(),
            PoolInterface {
                cloud: Interface {
                    addresses: Vec::new(),
                    prefixes: Vec::new(),
                    ..interface
                },
                since: now,
                held: BTreeMap::new(),
                link: None,
                wired: Default::default(),
                detaching: false,
            },
        );
        self.take_in(&id, &cidrs, began, now, merge);
    }

    fn update_interface(
        &mut self,
        described: Interface,
        began: Instant,
        now: Instant,
        merge: &mut Merge,
    ) {
        let cidrs = described_cidrs(&described);
        let id = described.id.clone();
        let settle = self.capabilities.settle_time;
        let leases = &self.leases;
        let Some(interface) = self.interfaces.get_mut(&id) else {
            return;
        };
        // What we were told is attached is not on its way in again: that is an
        // inventory from before.
        let young = began < interface.since + settle;
        let state = match (interface.cloud.state, described.state) {
            (InterfaceState::Attached, InterfaceState::Attaching) if young => {
                InterfaceState::Attached
            }
            (_, described) => described,
        };
        if state != described.state || state != InterfaceState::Attached {
            merge.doubt(now + settle.max(SHORTEST_CHANGE));
        }
        interface.cloud = Interface {
            addresses: Vec::new(),
            prefixes: Vec::new(),
            state,
            ..described
        };
        interface.held.retain(|cidr, held| {
            if cidrs.contains(cidr) {
                return true;
            }
            if began < held.since + settle {
                merge.doubt(held.since + settle);
                return true;
            }
            merge.changes.push(format!("{cidr} on {id} is gone"));
            merge
                .lost
                .extend(leases.keys().filter(|address| cidr.contains(*address)));
            false
        });
        self.take_in(&id, &cidrs, began, now, merge);
    }

    fn take_in(
        &mut self,
        id: &InterfaceId,
        cidrs: &[IpNet],
        began: Instant,
        now: Instant,
        merge: &mut Merge,
    ) {
        let Some(interface) = self.interfaces.get_mut(id) else {
            return;
        };
        for cidr in cidrs {
            let buried = self
                .tombstones
                .get(cidr)
                .is_some_and(|trust_after| began < *trust_after);
            if buried || interface.held.contains_key(cidr) {
                continue;
            }
            if self.tombstones.remove(cidr).is_some() {
                merge.settled.push(*cidr);
            }
            merge.changes.push(format!("{cidr} on {id} found"));
            let held = Held {
                since: now,
                releasing: false,
            };
            interface.held.insert(*cidr, held);
        }
    }

    fn drop_missing_interfaces(
        &mut self,
        described: &[Interface],
        began: Instant,
        merge: &mut Merge,
    ) {
        let settle = self.capabilities.settle_time;
        let leases = &self.leases;
        self.interfaces.retain(|id, interface| {
            let listed = described.iter().any(|other| other.id == *id);
            if listed || interface.detaching {
                return true;
            }
            if began < interface.since + settle {
                merge.doubt(interface.since + settle);
                return true;
            }
            merge.changes.push(format!("interface {id} is gone"));
            let of_pods =
                |address: &&IpAddr| interface.held.keys().any(|cidr| cidr.contains(*address));
            let in_use: Vec<IpAddr> = leases.keys().filter(of_pods).copied().collect();
            // One incomplete inventory must not cut its pods off: their rules
            // stay until another interface gets the table.
            if in_use.is_empty() {
                merge.unplugged.push(interface.cloud.device_index);
            }
            merge.lost.extend(in_use);
            false
        });
    }

    fn is_departed(&mut self, id: &InterfaceId, began: Instant) -> bool {
        match self.departed.get(id) {
            Some(trust_after) if began < *trust_after => true,
            Some(_) => {
                self.departed.remove(id);
                false
            }
            None => false,
        }
    }

    fn settle_tombstones(&mut self, began: Instant, merge: &mut Merge) {
        self.departed.retain(|_, trust_after| began < *trust_after);
        self.tombstones.retain(|cidr, trust_after| {
            let stays = began < *trust_after;
            if stays {
                merge.doubt(*trust_after);
            } else {
                merge.settled.push(*cidr);
            }
            stays
        });
    }
}

pub(crate) fn described_cidrs(interface: &Interface) -> Vec<IpNet> {
    let addresses = interface
        .addresses
        .iter()
        .map(|address| IpNet::from(*address));
    addresses
        .chain(interface.prefixes.iter().copied())
        .collect()
}
