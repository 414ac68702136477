//! The cloud's inventory against what we know: what is new is taken in, what is
//! gone is dropped, and an inventory that may be older than our own last
//! change is not believed about it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_provider::{Interface, InterfaceId, InterfaceState, Inventory};

use super::state::{Held, PoolInterface, PoolState};

/// What an inventory has changed, in words, for log and events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Merge {
    /// Taken in or dropped.
    pub(crate) changes: Vec<String>,
    /// Addresses in use by pods that the cloud does not know (any more).
    pub(crate) lost: Vec<IpAddr>,
    /// Tombstones that the cloud agrees with now.
    pub(crate) settled: Vec<IpNet>,
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
        interface.cloud = Interface {
            addresses: Vec::new(),
            prefixes: Vec::new(),
            ..described
        };
        interface.held.retain(|cidr, held| {
            if cidrs.contains(cidr) || began < held.since + settle {
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
            if listed || began < interface.since + settle || interface.detaching {
                return true;
            }
            merge.changes.push(format!("interface {id} is gone"));
            merge.lost.extend(
                leases
                    .keys()
                    .filter(|address| interface.held.keys().any(|cidr| cidr.contains(*address))),
            );
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
            if !stays {
                merge.settled.push(*cidr);
            }
            stays
        });
    }
}

fn described_cidrs(interface: &Interface) -> Vec<IpNet> {
    let addresses = interface
        .addresses
        .iter()
        .map(|address| IpNet::from(*address));
    addresses
        .chain(interface.prefixes.iter().copied())
        .collect()
}
