//! One interface of the node, and what it holds for pods.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use tokio::time::Instant;
use veni_nouns::Family;
use veni_provider::{Grant, Interface, SourceRouting};

use super::presence::Presence;

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
    pub(crate) routed: BTreeSet<IpNet>,
    /// It is being detached.
    pub(crate) detaching: bool,
    /// What inventories tell of it.
    pub(crate) presence: Presence,
    /// Since when it cannot be brought into service, as the last few tries have
    /// shown: what is free on it counts for nothing.
    pub(crate) out_of_service: Option<Instant>,
}

impl PoolInterface {
    /// An interface that has come now and holds nothing yet.
    pub(super) fn new(cloud: Interface, now: Instant) -> Self {
        Self {
            cloud: without_ranges(cloud),
            since: now,
            held: BTreeMap::new(),
            link: None,
            routed: BTreeSet::new(),
            detaching: false,
            presence: Presence::default(),
            out_of_service: None,
        }
    }

    /// Whether what leaves by it needs a rule, in a cloud with this source routing. What
    /// leaves by the primary interface follows the node's own routes.
    pub(super) fn needs_rules(&self, cloud: SourceRouting) -> bool {
        cloud == SourceRouting::BySource && !self.cloud.primary
    }

    /// What must leave by this interface, so needs a rule: also what inventories
    /// lack, for as long as it is not dropped, as pods may have it.
    pub(super) fn sources(&self, cloud: SourceRouting) -> BTreeSet<IpNet> {
        if !self.needs_rules(cloud) {
            return BTreeSet::new();
        }
        let held = self.held.iter().filter(|(_, held)| !held.releasing);
        held.map(|(range, _)| *range).collect()
    }

    /// Whether pods may have addresses of it now.
    pub(crate) fn serves(&self) -> bool {
        self.cloud.managed
            && self.cloud.for_pods
            && self.cloud.state.carries_pods()
            && self.link.is_some()
            && self.out_of_service.is_none()
            && self.presence.is_certain()
            && !self.detaching
    }

    /// It stays after all: its rules are made anew.
    pub(super) fn bring_back(&mut self) {
        self.detaching = false;
        self.link = None;
        self.routed.clear();
        self.out_of_service = None;
    }
}

/// A description without what the interface holds for pods.
pub(super) fn without_ranges(described: Interface) -> Interface {
    Interface {
        addresses: Vec::new(),
        prefixes: Vec::new(),
        ..described
    }
}

/// The ranges for pods that an interface is described with; a single address is a /32
/// or /128.
pub(crate) fn described_ranges(interface: &Interface) -> Vec<IpNet> {
    let addresses = interface.addresses.iter();
    addresses
        .map(|address| IpNet::from(*address))
        .chain(interface.prefixes.iter().copied())
        .collect()
}

/// The ranges of a grant; a single address is a /32 or /128.
pub(crate) fn ranges_of(grant: &Grant) -> Vec<IpNet> {
    let addresses = grant.addresses.iter().map(|address| IpNet::from(*address));
    addresses.chain(grant.prefixes.iter().copied()).collect()
}

/// The grant that some ranges make up.
pub(crate) fn grant_of(ranges: &[IpNet]) -> Grant {
    let (addresses, prefixes): (Vec<IpNet>, Vec<IpNet>) = ranges
        .iter()
        .partition(|range| range.prefix_len() == range.max_prefix_len());
    Grant {
        addresses: addresses.iter().map(IpNet::addr).collect(),
        prefixes,
    }
}

/// The family of a range.
pub(crate) fn family_of(range: &IpNet) -> Family {
    Family::of_range(range)
}
