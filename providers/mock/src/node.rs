//! A node of the mock cloud: its interfaces in truth, and as its inventory
//! shows them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_provider::{DEFAULT_NETWORK_CARD, Family, Interface, InterfaceId, InterfaceState, Limits};

use crate::allocator::Lease;
use crate::config::NodeConfig;
use crate::dump::{InterfaceDump, NodeDump};
use crate::visibility::History;

#[derive(Debug)]
pub(crate) struct NodeState {
    pub(crate) instance_id: String,
    pub(crate) instance_type: String,
    pub(crate) zone: String,
    pub(crate) limits: Limits,
    pub(crate) security_groups: Vec<String>,
    /// In order of device index.
    pub(crate) interfaces: Vec<Interface>,
    /// Interfaces made by a request's token.
    pub(crate) tokens: BTreeMap<String, InterfaceId>,
    /// Whether it was made completely.
    pub(crate) complete: bool,
    views: BTreeMap<InterfaceId, History<Interface>>,
}

impl NodeState {
    /// Without interfaces, not complete.
    pub(crate) fn new(
        config: &NodeConfig,
        zone: String,
        limits: Limits,
        security_groups: Vec<String>,
    ) -> Self {
        Self {
            instance_id: config.instance_id.clone(),
            instance_type: config.instance_type.clone(),
            zone,
            limits,
            security_groups,
            interfaces: Vec::new(),
            tokens: BTreeMap::new(),
            complete: false,
            views: BTreeMap::new(),
        }
    }

    pub(crate) fn interface(&self, id: &InterfaceId) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.id == *id)
    }

    pub(crate) fn interface_mut(&mut self, id: &InterfaceId) -> Option<&mut Interface> {
        self.interfaces
            .iter_mut()
            .find(|interface| interface.id == *id)
    }

    pub(crate) fn on_card(&self, network_card: u32) -> impl Iterator<Item = &Interface> {
        let all = self.interfaces.iter();
        all.filter(move |interface| interface.network_card == network_card)
    }

    pub(crate) fn first_free_device_index(&self, network_card: u32) -> u32 {
        let taken = |index| self.on_card(network_card).any(|i| i.device_index == index);
        let first = u32::from(network_card != DEFAULT_NETWORK_CARD);
        (first..).find(|index| !taken(*index)).unwrap_or(u32::MAX)
    }

    /// Slots of a family that an interface can still take.
    pub(crate) fn room(&self, interface: &Interface, family: Family) -> u32 {
        let limit = match family {
            Family::V4 => self.limits.ipv4_per_interface,
            Family::V6 => self.limits.ipv6_per_interface,
        };
        let addresses = interface.own_addresses.iter().chain(&interface.addresses);
        let used = addresses.filter(|a| Family::of(**a) == family).count()
            + interface
                .prefixes
                .iter()
                .filter(|prefix| Family::of(prefix.addr()) == family)
                .count();
        limit.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    /// Readers see the interface as it is now after `delay`.
    pub(crate) fn show(&mut self, id: &InterfaceId, now: Instant, delay: Duration) {
        let value = self.interface(id).cloned();
        let history = self.views.entry(id.clone()).or_insert_with(History::new);
        history.change(now + delay, value);
    }

    /// Readers see a new interface coming, and there after `delay`.
    pub(crate) fn show_attached(&mut self, id: &InterfaceId, now: Instant, delay: Duration) {
        if let Some(mut coming) = self.interface(id).cloned()
            && delay > Duration::ZERO
        {
            coming.state = InterfaceState::Attaching;
            let history = self.views.entry(id.clone()).or_insert_with(History::new);
            history.change(now + delay / 2, Some(coming));
        }
        self.show(id, now, delay);
    }

    /// Readers see an interface leaving, and gone after `delay`.
    pub(crate) fn show_detached(&mut self, mut gone: Interface, now: Instant, delay: Duration) {
        let id = gone.id.clone();
        let history = self.views.entry(id).or_insert_with(History::new);
        gone.state = InterfaceState::Detaching;
        history.change(now + delay / 2, Some(gone));
        history.change(now + delay, None);
    }

    /// Readers see everything as it is, from the start of the node on.
    pub(crate) fn show_at(&mut self, now: Instant) {
        self.views.clear();
        for interface in self.interfaces.clone() {
            self.show(&interface.id, now, Duration::ZERO);
        }
        self.complete = true;
    }

    /// Interfaces as readers see them now.
    pub(crate) fn seen(&mut self, now: Instant) -> Vec<Interface> {
        let mut seen: Vec<Interface> = self
            .views
            .values_mut()
            .filter_map(|history| history.at(now).cloned())
            .collect();
        self.views.retain(|_, history| !history.is_over());
        seen.sort_by_key(|one| (one.network_card, one.device_index, one.id.clone()));
        seen
    }

    pub(crate) fn dump(&self) -> NodeDump {
        NodeDump {
            instance_id: self.instance_id.clone(),
            instance_type: self.instance_type.clone(),
            zone: self.zone.clone(),
            limits: self.limits,
            interfaces: self
                .interfaces
                .iter()
                .map(|interface| InterfaceDump {
                    interface: interface.clone(),
                    security_groups: self.security_groups.clone(),
                })
                .collect(),
        }
    }
}

/// All that an interface has taken from its subnet.
pub(crate) fn leases(interface: &Interface) -> Vec<Lease> {
    let address = |address: &IpAddr| Lease::Address(*address);
    let prefix = |prefix: &IpNet| Lease::Prefix(*prefix);
    let addresses = interface.own_addresses.iter().chain(&interface.addresses);
    addresses
        .map(address)
        .chain(interface.prefixes.iter().map(prefix))
        .collect()
}
