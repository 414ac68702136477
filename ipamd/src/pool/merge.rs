//! The cloud's inventory against what we know: what is new is taken in, what it
//! lacks is judged by [`super::missing`], and an inventory that may be older than
//! our own last change is not believed about it. What we gave back stays away, see
//! [`super::tombstones`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_provider::{Interface, InterfaceId, InterfaceState, Inventory};

use super::missing::{Dropped, Lost, keep_what_an_interface_always_has};
use super::presence::Presence;
use super::state::{Held, PoolInterface, PoolState};
use super::tombstones::{OURS_AGAIN_AFTER, Verdict};

/// An interface on its way in or out is looked at again after this time at the
/// earliest.
pub(super) const SHORTEST_CHANGE: Duration = Duration::from_secs(1);

/// What an inventory has changed, in words, for log and events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Merge {
    /// Taken in.
    pub(crate) changes: Vec<String>,
    /// What two inventories lack, and no pod has.
    pub(super) dropped: Dropped,
    /// Addresses that pods have and two inventories lack, as of this one.
    pub(super) lost: Vec<Lost>,
    /// What this inventory is the first to lack, in words.
    pub(super) doubted: Vec<String>,
    /// What was in doubt and is listed again, in words.
    pub(super) listed_again: Vec<String>,
    /// Device indexes of interfaces of the default network card that were given back
    /// and are gone: their rules must go too.
    pub(crate) unplugged: Vec<u32>,
    /// Ranges that were given back, and the cloud agrees; or that are ours again.
    pub(crate) settled: Vec<IpNet>,
    /// Interfaces likewise.
    pub(crate) departed: Vec<InterfaceId>,
    /// What was given back and is ours again all the same, in words.
    pub(crate) returned: Vec<String>,
    /// Ranges whose release was not answered and that an interface still holds,
    /// for all that the cloud tells.
    pub(crate) still_held: BTreeMap<InterfaceId, Vec<IpNet>>,
    /// Interfaces whose detachment was not answered, likewise.
    pub(crate) still_attached: Vec<InterfaceId>,
    /// Something is missing that may be too young to show: an inventory that
    /// begins then tells.
    pub(crate) look_again: Option<Instant>,
}

impl Merge {
    pub(super) fn doubt(&mut self, trust_after: Instant) {
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
        self.subnets_as_of = Some(began);
        self.judge_departed(&inventory.interfaces, began, &mut merge);
        self.judge_ranges(&inventory.interfaces, began, &mut merge);
        self.judge_interfaces(&inventory.interfaces, began, &mut merge);
        let listed = inventory
            .interfaces
            .iter()
            .flat_map(described_cidrs)
            .collect();
        for interface in inventory.interfaces {
            let known = self.interfaces.contains_key(&interface.id);
            let departed = self.departed.get(&interface.id);
            if departed.is_some_and(|departed| !departed.in_doubt()) {
                continue;
            }
            let ours = known || departed.is_some();
            if interface.state == InterfaceState::Detaching && !ours {
                continue;
            }
            if known {
                self.update_interface(interface, began, now, &mut merge);
            } else {
                merge
                    .changes
                    .push(format!("interface {} found", interface.id));
                self.adopt_interface(interface, now, &mut merge);
            }
        }
        self.place_unlisted(now);
        merge.dropped = self.drop_gone(&listed);
        merge
    }

    /// Takes an interface in as an attachment's answer describes it.
    pub(crate) fn add_attached(&mut self, interface: Interface, now: Instant) {
        for cidr in described_cidrs(&interface) {
            self.tombstones.remove(&cidr);
        }
        self.departed.remove(&interface.id);
        self.moved_to(&interface.id, &described_cidrs(&interface));
        if self.interfaces.contains_key(&interface.id) {
            // An inventory was faster than the answer, and it may hold more by now.
            let cidrs = described_cidrs(&interface);
            return self.take_in(&interface.id, &cidrs, now, &mut Merge::default());
        }
        self.adopt_interface(interface, now, &mut Merge::default());
    }

    fn adopt_interface(&mut self, interface: Interface, now: Instant, merge: &mut Merge) {
        let id = interface.id.clone();
        let cidrs = described_cidrs(&interface);
        if interface.state != InterfaceState::Attached {
            merge.doubt(now + self.capabilities.settle_time.max(SHORTEST_CHANGE));
        }
        // Whether one that a daemon before was detaching still is there, is seen to.
        let detaching = self.departed.get(&id).is_some();
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
                detaching,
                presence: Presence::default(),
                out_of_service: None,
            },
        );
        self.take_in(&id, &cidrs, now, merge);
    }

    fn update_interface(
        &mut self,
        mut described: Interface,
        began: Instant,
        now: Instant,
        merge: &mut Merge,
    ) {
        let cidrs = described_cidrs(&described);
        let id = described.id.clone();
        let settle = self.capabilities.settle_time;
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
        keep_what_an_interface_always_has(&mut described, &interface.cloud);
        interface.cloud = Interface {
            addresses: Vec::new(),
            prefixes: Vec::new(),
            state,
            ..described
        };
        self.judge_held(&id, &cidrs, began, merge);
        self.take_in(&id, &cidrs, now, merge);
    }

    fn take_in(&mut self, id: &InterfaceId, cidrs: &[IpNet], now: Instant, merge: &mut Merge) {
        // Given back here and granted there: the inventory is from in between.
        let others = self.interfaces.iter().filter(|(other, _)| *other != id);
        let elsewhere: BTreeSet<IpNet> = others
            .flat_map(|(_, other)| other.held.iter().filter(|(_, held)| !held.releasing))
            .map(|(cidr, _)| *cidr)
            .filter(|cidr| cidrs.contains(cidr))
            .collect();
        if !elsewhere.is_empty() {
            merge.doubt(now + self.capabilities.settle_time.max(SHORTEST_CHANGE));
        }
        let Some(interface) = self.interfaces.get_mut(id) else {
            return;
        };
        for cidr in cidrs {
            if interface.held.contains_key(cidr) || elsewhere.contains(cidr) {
                continue;
            }
            let tombstone = self.tombstones.get(cidr);
            if tombstone.is_some_and(|tombstone| !tombstone.in_doubt()) {
                continue;
            }
            let held = Held {
                // Takes its place on the interface, and no pod gets it.
                releasing: tombstone.is_some(),
                ..Held::new(now)
            };
            interface.held.insert(*cidr, held);
            if tombstone.is_none() {
                merge.changes.push(format!("{cidr} on {id} found"));
            }
        }
    }

    /// Interfaces that were given back, by whether they are listed.
    fn judge_departed(&mut self, described: &[Interface], began: Instant, merge: &mut Merge) {
        let listed = |id: &InterfaceId| described.iter().any(|other| other.id == *id);
        let settle = self.capabilities.settle_time;
        for (id, verdict, before) in self.departed.judge(listed, began, settle) {
            match verdict {
                Verdict::TooEarly(trust_after) => {
                    trust_after.into_iter().for_each(|at| merge.doubt(at))
                }
                Verdict::Gone => {
                    if let Some(gone) = self.interfaces.remove(&id) {
                        merge.unplugged.extend(index_of_rules(&gone.cloud));
                    }
                    merge.departed.push(id);
                }
                Verdict::Listed { look_again } => {
                    merge.doubt(look_again);
                    if before.in_doubt() {
                        merge.still_attached.push(id);
                    }
                }
                Verdict::Ours => {
                    self.bring_back(&id);
                    merge.returned.push(returned(&id));
                    merge.departed.push(id);
                }
            }
        }
    }

    /// Ranges that were given back, by whether an interface lists them.
    fn judge_ranges(&mut self, described: &[Interface], began: Instant, merge: &mut Merge) {
        let holders: BTreeMap<IpNet, &InterfaceId> = described
            .iter()
            .flat_map(|one| described_cidrs(one).into_iter().map(|cidr| (cidr, &one.id)))
            .collect();
        let listed = |cidr: &IpNet| holders.contains_key(cidr);
        let settle = self.capabilities.settle_time;
        for (cidr, verdict, before) in self.tombstones.judge(listed, began, settle) {
            match verdict {
                Verdict::TooEarly(trust_after) => {
                    trust_after.into_iter().for_each(|at| merge.doubt(at))
                }
                Verdict::Gone => {
                    for interface in self.interfaces.values_mut() {
                        interface.held.remove(&cidr);
                    }
                    merge.settled.push(cidr);
                }
                Verdict::Listed { look_again } => {
                    merge.doubt(look_again);
                    let holder = holders.get(&cidr).filter(|_| before.in_doubt());
                    if let Some(holder) = holder {
                        let held = merge.still_held.entry((*holder).clone()).or_default();
                        held.push(cidr);
                    }
                }
                Verdict::Ours => {
                    for interface in self.interfaces.values_mut() {
                        if let Some(held) = interface.held.get_mut(&cidr) {
                            held.releasing = false;
                        }
                    }
                    merge.returned.push(returned(&cidr));
                    merge.settled.push(cidr);
                }
            }
        }
    }

    /// An interface that stays after all: its rules are made anew.
    pub(crate) fn bring_back(&mut self, interface: &InterfaceId) {
        if let Some(interface) = self.interfaces.get_mut(interface) {
            interface.detaching = false;
            interface.link = None;
            interface.wired = BTreeSet::new();
            interface.out_of_service = None;
        }
    }
}

fn returned(what: &dyn fmt::Display) -> String {
    let seconds = OURS_AGAIN_AFTER.as_secs();
    format!(
        "{what} was given back, and the cloud lists it since, for {seconds} s and more: it is the node's again, by somebody's hand"
    )
}

/// The device index by which an interface's rules go with it. One on another network
/// card had none, and shares its index with one that may have.
pub(super) fn index_of_rules(gone: &Interface) -> Option<u32> {
    gone.on_default_card().then_some(gone.device_index)
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
