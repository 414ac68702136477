//! What the pool knows: interfaces and what they hold, who has which address,
//! what is cooling, and what has been given back and may still show up.
//!
//! Plain data with plain methods; only the owner task has one. It starts
//! nothing and waits for nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_pool::SlotKind;
use veni_provider::{
    Capabilities, Family, Grant, Interface, InterfaceId, InterfaceState, Limits, Node, Subnet,
    SubnetId,
};

use super::lessons::Lessons;
use super::node_addresses::NodeAddresses;
use super::origin::Origins;
use super::presence::Presence;
use super::tombstones::Tombstones;
use crate::attachment::AttachmentKey;

/// One address or prefix that an interface holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// When we learnt of it. An inventory that began before it had time to
    /// settle says nothing about it.
    pub(crate) since: Instant,
    /// It is being given back.
    pub(crate) releasing: bool,
    /// What inventories tell of it.
    pub(crate) presence: Presence,
}

impl Held {
    /// What the cloud has granted now.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            releasing: false,
            presence: Presence::default(),
        }
    }

    /// Whether a pod may get an address of it.
    pub(crate) fn serves(&self) -> bool {
        !self.releasing && self.presence.is_certain()
    }
}

/// One interface of the node.
#[derive(Debug, Clone)]
pub(crate) struct PoolInterface {
    /// As the cloud describes it; addresses and prefixes stand in `held`.
    pub(crate) cloud: Interface,
    /// When it came.
    pub(crate) since: Instant,
    /// What it holds for pods.
    pub(crate) held: BTreeMap<IpNet, Held>,
    /// Its link on the node, once the data plane has brought it into service.
    pub(crate) link: Option<String>,
    /// What the data plane routes out of it by rule.
    pub(crate) wired: BTreeSet<IpNet>,
    /// It is being detached.
    pub(crate) detaching: bool,
    /// What inventories tell of it.
    pub(crate) presence: Presence,
    /// Since when it cannot be brought into service, as the last few tries have
    /// shown: what is free on it counts for nothing.
    pub(crate) out_of_service: Option<Instant>,
}

impl PoolInterface {
    /// What must leave by this interface, so needs a rule: also what inventories
    /// lack, for as long as it is not dropped, as pods may have it.
    pub(crate) fn sources(&self, capabilities: &Capabilities) -> BTreeSet<IpNet> {
        if self.cloud.primary || !capabilities.source_routing {
            return BTreeSet::new();
        }
        self.held
            .iter()
            .filter(|(_, held)| !held.releasing)
            .map(|(cidr, _)| *cidr)
            .collect()
    }

    /// Whether pods may have addresses of it now.
    pub(crate) fn serves(&self) -> bool {
        self.cloud.managed
            && self.cloud.for_pods
            && self.cloud.state == InterfaceState::Attached
            && self.link.is_some()
            && self.out_of_service.is_none()
            && self.presence.is_certain()
            && !self.detaching
    }
}

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) key: AttachmentKey,
    /// The pod where one is known, else the attachment: for people.
    pub(crate) pod: String,
}

/// An address that nobody may have for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cooling {
    pub(crate) until: Instant,
    /// Only a caution after a reboot: an ADD that waits may have it.
    pub(crate) soft: bool,
}

/// A subnet that has nothing to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exhaustion {
    /// When the cloud last said so.
    pub(crate) since: Instant,
    /// With fewer free addresses than this the same would be refused again.
    pub(crate) least: u32,
    pub(crate) addresses_until: Option<Instant>,
    pub(crate) prefixes_until: Option<Instant>,
    pub(crate) reason: String,
}

/// The pool.
#[derive(Debug)]
pub(crate) struct PoolState {
    pub(crate) node: Node,
    pub(crate) capabilities: Capabilities,
    pub(crate) families: Vec<Family>,
    /// What IPv4 slots are filled with.
    pub(crate) mode: SlotKind,
    pub(crate) interfaces: BTreeMap<InterfaceId, PoolInterface>,
    pub(crate) subnets: Vec<Subnet>,
    /// When the inventory began that told of the subnets.
    pub(crate) subnets_as_of: Option<Instant>,
    pub(crate) exhausted: HashMap<(SubnetId, Family), Exhaustion>,
    /// Ordered, so that what is in a range is found without looking at the rest.
    pub(crate) leases: BTreeMap<IpAddr, Holder>,
    /// Addresses of pods that no interface is known to hold, and the interface
    /// that the journal names.
    pub(crate) unlisted: BTreeMap<IpAddr, InterfaceId>,
    /// Ordered likewise.
    pub(crate) cooling: BTreeMap<IpAddr, Cooling>,
    /// Given back, or about to be; inventories may still list it.
    pub(crate) tombstones: Tombstones<IpNet>,
    /// Interfaces given back, likewise.
    pub(crate) departed: Tombstones<InterfaceId>,
    /// What the cloud's refusals have taught of limits.
    pub(crate) lessons: Lessons,
    /// So far apart are two inventories that must both lack what is dropped.
    pub(crate) doubt_time: Duration,
    /// Who assigned what the interfaces hold.
    pub(crate) origins: Origins,
    /// What links of the node itself carry.
    pub(crate) node_addresses: NodeAddresses,
}

/// `VENI_DOUBT_TIME` where nothing is set: what a cloud that is eventually
/// consistent takes at most, but for an outage. Amazon advises to repeat a
/// Describe with growing pauses, for minutes.
pub(crate) const DOUBT_TIME_SECONDS: u32 = 120;

/// What an attachment was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// One address per family, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// The interface that holds the first.
    pub interface: InterfaceId,
}

impl PoolState {
    pub(crate) fn new(
        node: Node,
        capabilities: Capabilities,
        families: Vec<Family>,
        mode: SlotKind,
    ) -> Self {
        Self {
            node,
            capabilities,
            families,
            mode,
            interfaces: BTreeMap::new(),
            subnets: Vec::new(),
            subnets_as_of: None,
            exhausted: HashMap::new(),
            leases: BTreeMap::new(),
            unlisted: BTreeMap::new(),
            cooling: BTreeMap::new(),
            tombstones: Tombstones::default(),
            departed: Tombstones::default(),
            lessons: Lessons::default(),
            doubt_time: Duration::from_secs(DOUBT_TIME_SECONDS.into()),
            origins: Origins::default(),
            node_addresses: NodeAddresses::default(),
        }
    }

    /// Interfaces in order of network card and device index, as the planner wants
    /// them.
    pub(crate) fn ordered(&self) -> Vec<&PoolInterface> {
        let mut interfaces: Vec<&PoolInterface> = self.interfaces.values().collect();
        interfaces.sort_by_key(|one| (one.cloud.network_card, one.cloud.device_index));
        interfaces
    }

    /// How many interfaces the default network card has: those that count against
    /// [`Limits::interfaces`].
    pub(crate) fn on_default_card(&self) -> u32 {
        let all = self.interfaces.values();
        let count = all.filter(|one| one.cloud.on_default_card()).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Gives one address per family to an attachment, all or none.
    pub(crate) fn lease(&mut self, holder: &Holder, now: Instant, waits: bool) -> Option<Lease> {
        let mut picked = Vec::with_capacity(self.families.len());
        for family in &self.families {
            picked.push(self.pick(*family, now, waits)?);
        }
        let interface = picked.first().map(|(interface, _)| interface.clone())?;
        let addresses: Vec<IpAddr> = picked.into_iter().map(|(_, address)| address).collect();
        self.restore_lease(holder, &addresses);
        Some(Lease {
            addresses,
            interface,
        })
    }

    /// How many attachments, those of `waiting` included, are more than one of their
    /// container: a pod with two interfaces needs two addresses and is one pod.
    pub(crate) fn further_attachments<'a>(
        &'a self,
        waiting: impl Iterator<Item = &'a AttachmentKey>,
    ) -> u32 {
        let leased = self.leases.values().map(|holder| &holder.key);
        let all: Vec<&AttachmentKey> = leased.chain(waiting).collect();
        // A container has one first interface. This is asked after every ADD, and on most
        // nodes no pod has another.
        let beside = all.iter().filter(|key| !key.is_first_interface());
        let containers: BTreeSet<&str> = beside.map(|key| key.container_id.as_str()).collect();
        if containers.is_empty() {
            return 0;
        }
        let theirs = all.into_iter();
        let theirs: BTreeSet<&AttachmentKey> = theirs
            .filter(|key| containers.contains(key.container_id.as_str()))
            .collect();
        u32::try_from(theirs.len() - containers.len()).unwrap_or(u32::MAX)
    }

    /// Notes that an attachment has addresses already: recovery.
    pub(crate) fn restore_lease(&mut self, holder: &Holder, addresses: &[IpAddr]) {
        for address in addresses {
            self.cooling.remove(address);
            self.leases.insert(*address, holder.clone());
        }
    }

    /// Takes addresses back from an attachment; those of others stay theirs.
    pub(crate) fn give_back(
        &mut self,
        key: &AttachmentKey,
        addresses: &[IpAddr],
        cools_until: Option<Instant>,
    ) {
        for address in addresses {
            if self.leases.get(address).is_some_and(|one| one.key == *key) {
                self.leases.remove(address);
                self.unlisted.remove(address);
                if let Some(until) = cools_until {
                    self.cooling
                        .insert(*address, Cooling { until, soft: false });
                }
            }
        }
    }

    /// The node's limits: its type's, lowered by what the cloud has taught.
    pub(crate) fn limits(&self) -> Limits {
        self.lessons.applied_to(self.node.limits)
    }

    /// Ends cooldowns, exhaustions and lessons that are over.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.cooling.retain(|_, cooling| cooling.until > now);
        self.lessons.expire(now);
        let over = |until: Option<Instant>| until.filter(|until| *until > now);
        self.exhausted.retain(|_, exhaustion| {
            exhaustion.addresses_until = over(exhaustion.addresses_until);
            exhaustion.prefixes_until = over(exhaustion.prefixes_until);
            exhaustion.addresses_until.is_some() || exhaustion.prefixes_until.is_some()
        });
    }

    /// Ends the exhaustion of subnets that an inventory shows with enough free
    /// addresses, if it began late enough to know of the refusal.
    pub(crate) fn find_room(&mut self, began: Instant) {
        let settle = self.capabilities.settle_time;
        for ((id, family), exhaustion) in &mut self.exhausted {
            let mut subnets = self.subnets.iter();
            let roomy =
                subnets.any(|subnet| subnet.id == *id && subnet.free_ipv4 >= exhaustion.least);
            if roomy && *family == Family::V4 && began >= exhaustion.since + settle {
                exhaustion.addresses_until = None;
            }
        }
    }

    /// Whether an address may be given out.
    pub(crate) fn is_free(&self, address: IpAddr, now: Instant, waits: bool) -> bool {
        let cooling = self
            .cooling
            .get(&address)
            .is_some_and(|cooling| cooling.until > now && !(cooling.soft && waits));
        let taken = self.leases.contains_key(&address);
        !cooling && !taken && !self.node_addresses.carries(address)
    }

    /// Adds what the cloud has just granted to an interface.
    pub(crate) fn add_grant(&mut self, interface: &InterfaceId, grant: &Grant, now: Instant) {
        let cidrs = grant_cidrs(grant);
        self.moved_to(interface, &cidrs);
        let Some(interface) = self.interfaces.get_mut(interface) else {
            return;
        };
        for cidr in cidrs {
            self.tombstones.remove(&cidr);
            interface.held.insert(cidr, Held::new(now));
        }
    }

    /// Drops what the cloud has just taken back. It may show up in inventories
    /// for a while.
    pub(crate) fn remove_released(
        &mut self,
        interface: &InterfaceId,
        cidrs: &[IpNet],
        now: Instant,
    ) {
        for cidr in cidrs {
            self.tombstones.done(cidr, now);
            if let Some(interface) = self.interfaces.get_mut(interface) {
                interface.held.remove(cidr);
            }
        }
    }

    /// Marks what is being given back, or no longer is.
    pub(crate) fn set_releasing(&mut self, interface: &InterfaceId, cidrs: &[IpNet], on: bool) {
        let Some(interface) = self.interfaces.get_mut(interface) else {
            return;
        };
        for cidr in cidrs {
            if let Some(held) = interface.held.get_mut(cidr) {
                held.releasing = on;
            }
        }
    }

    /// Everything for pods that the node holds.
    pub(crate) fn ranges(&self) -> BTreeSet<IpNet> {
        let interfaces = self.interfaces.values();
        interfaces
            .flat_map(|interface| interface.held.keys().copied())
            .collect()
    }

    /// Whether a plan's release still holds: nothing of it in use, cooling, in doubt or kept.
    pub(crate) fn may_release(&self, interface: &InterfaceId, cidrs: &[IpNet]) -> bool {
        let used = |cidr: &IpNet| {
            self.leases.keys().any(|address| cidr.contains(address))
                || self.cooling.keys().any(|address| cidr.contains(address))
        };
        let certain = |known: &PoolInterface| {
            let held = |cidr| known.held.get(cidr);
            known.presence.is_certain()
                && cidrs
                    .iter()
                    .filter_map(held)
                    .all(|one| one.presence.is_certain())
        };
        let kept = |known: &PoolInterface| {
            let origin_of = self.origins.on(&known.cloud.id);
            cidrs.iter().any(|cidr| self.is_kept(origin_of(cidr), cidr))
        };
        let known = self.interfaces.get(interface);
        known.is_some_and(|known| certain(known) && !kept(known)) && !cidrs.iter().any(used)
    }
}

/// The ranges of a grant; a single address is a /32 or /128.
pub(crate) fn grant_cidrs(grant: &Grant) -> Vec<IpNet> {
    let addresses = grant.addresses.iter().map(|address| IpNet::from(*address));
    addresses.chain(grant.prefixes.iter().copied()).collect()
}

/// The grant that some ranges make up.
pub(crate) fn grant_of(cidrs: &[IpNet]) -> Grant {
    let (addresses, prefixes): (Vec<IpNet>, Vec<IpNet>) = cidrs
        .iter()
        .partition(|cidr| cidr.prefix_len() == cidr.max_prefix_len());
    Grant {
        addresses: addresses.iter().map(IpNet::addr).collect(),
        prefixes,
    }
}

/// The family of a range.
pub(crate) fn family_of(cidr: &IpNet) -> Family {
    match cidr {
        IpNet::V4(_) => Family::V4,
        IpNet::V6(_) => Family::V6,
    }
}
