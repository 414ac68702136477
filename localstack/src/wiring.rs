//! What the control plane says must be plugged in where, as plain data, and the
//! steps from one such state to the next. No I/O, no kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use veni_provider::{DEFAULT_NETWORK_CARD, InterfaceId, Mac};

/// The other end of what a security group allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peers {
    /// Addresses of a range.
    Range(IpNet),
    /// The interfaces at these ports of the VPC: a group's members. The source check
    /// stands before, so a packet from a port carries an address of its interface.
    Ports(BTreeSet<String>),
}

/// One rule of a security group: a flow that may be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityRule {
    /// The other end.
    pub peers: Peers,
    /// IP protocol number; `None` is any.
    pub protocol: Option<u8>,
    /// First and last destination port; `None` is any.
    pub ports: Option<(u16, u16)>,
}

/// An interface that is attached to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WiredInterface {
    /// The cloud's id.
    pub id: InterfaceId,
    /// Number of the node, from 1.
    pub node: u32,
    /// Device index; 0 on the default network card is the interface the node was born
    /// with.
    pub device_index: u32,
    /// Network card.
    pub network_card: u32,
    /// MAC of the node's end.
    pub mac: Mac,
    /// Its own addresses, at most one per family.
    pub own_addresses: Vec<IpAddr>,
    /// Everything that may be the source of a packet from it: own addresses,
    /// secondary addresses and prefixes.
    pub sources: BTreeSet<IpNet>,
    /// Ranges of its subnet.
    pub subnet_cidrs: Vec<IpNet>,
    /// Next hops of its subnet, one per family.
    pub gateways: Vec<IpAddr>,
    /// Flows that others may open to it.
    pub ingress: Vec<SecurityRule>,
    /// Flows that it may open to others.
    pub egress: Vec<SecurityRule>,
}

impl WiredInterface {
    /// Whether it is the interface that its node was born with.
    pub fn is_primary(&self) -> bool {
        self.device_index == 0 && self.network_card == DEFAULT_NETWORK_CARD
    }

    /// Name of its port in the VPC's namespace: `n1e0` is node 1's first interface.
    pub fn port(&self) -> String {
        format!("n{}e{}{}", self.node, self.device_index, self.card_suffix())
    }

    /// Name of its link in the node's namespace.
    pub fn link(&self) -> String {
        format!("eth{}{}", self.device_index, self.card_suffix())
    }

    /// Distinguishes network cards, because each card counts device indexes from 0.
    fn card_suffix(&self) -> String {
        match self.network_card {
            DEFAULT_NETWORK_CARD => String::new(),
            card => format!("c{card}"),
        }
    }

    /// Its own address of a family.
    pub(crate) fn own(&self, ipv4: bool) -> Option<IpAddr> {
        let mut all = self.own_addresses.iter();
        all.find(|address| address.is_ipv4() == ipv4).copied()
    }

    /// What cannot change while it is plugged in; another one must be pulled and plugged in.
    fn hardware(&self) -> (&InterfaceId, Mac, &[IpAddr]) {
        (&self.id, self.mac, &self.own_addresses)
    }
}

/// All attached interfaces, by the name of their port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wiring(pub BTreeMap<String, WiredInterface>);

impl FromIterator<WiredInterface> for Wiring {
    fn from_iter<I: IntoIterator<Item = WiredInterface>>(interfaces: I) -> Self {
        let named = interfaces.into_iter().map(|one| (one.port(), one));
        Self(named.collect())
    }
}

/// One step from a wiring to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Pull the interface.
    Unplug(WiredInterface),
    /// Plug a new one in.
    Plug(WiredInterface),
    /// Change what it may send and receive.
    Update {
        /// The interface as it shall be.
        interface: WiredInterface,
        /// Sources it has lost.
        lost: Vec<IpNet>,
        /// Sources it has gained.
        won: Vec<IpNet>,
        /// Whether the rules of its security groups have changed.
        rules: bool,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unplug(one) => write!(f, "unplug {} from {}", one.id, one.port()),
            Self::Plug(one) => write!(f, "plug {} into {}", one.id, one.port()),
            Self::Update {
                interface,
                lost,
                won,
                rules: _,
            } => write!(
                f,
                "update {} on {}: {} more, {} less",
                interface.id,
                interface.port(),
                won.len(),
                lost.len()
            ),
        }
    }
}

/// The steps from one wiring to another; pulling comes before plugging, so that
/// a port can be used again at once.
pub(crate) fn steps(from: &Wiring, to: &Wiring) -> Vec<Step> {
    let mut pulled = Vec::new();
    let mut rest = Vec::new();
    for (port, old) in &from.0 {
        let new = to.0.get(port);
        if new.is_none_or(|new| new.hardware() != old.hardware()) {
            pulled.push(Step::Unplug(old.clone()));
        }
    }
    for (port, new) in &to.0 {
        match from.0.get(port) {
            Some(old) if old == new => {}
            Some(old) if old.hardware() == new.hardware() => rest.push(Step::Update {
                interface: new.clone(),
                lost: old.sources.difference(&new.sources).copied().collect(),
                won: new.sources.difference(&old.sources).copied().collect(),
                rules: (&new.ingress, &new.egress) != (&old.ingress, &old.egress),
            }),
            _ => rest.push(Step::Plug(new.clone())),
        }
    }
    pulled.extend(rest);
    pulled
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An interface with its own address 10.0.0.(10 × node) and sources.
    pub(crate) fn interface(node: u32, device_index: u32, sources: &[&str]) -> WiredInterface {
        let own: IpAddr = IpAddr::from([10, 0, 0, u8::try_from(node * 10).expect("small")]);
        let mut all: BTreeSet<IpNet> = sources
            .iter()
            .map(|text| text.parse().expect("a range"))
            .collect();
        all.insert(IpNet::from(own));
        WiredInterface {
            id: InterfaceId::new(format!("eni-{node}-{device_index}")),
            node,
            device_index,
            network_card: 0,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            own_addresses: vec![own],
            sources: all,
            subnet_cidrs: vec!["10.0.0.0/24".parse().expect("a range")],
            gateways: vec![IpAddr::from([10, 0, 0, 1])],
            ingress: Vec::new(),
            egress: Vec::new(),
        }
    }

    #[test]
    fn nothing_is_done_when_nothing_has_changed() {
        let wiring: Wiring = [interface(1, 0, &["10.0.0.16/28"])].into_iter().collect();
        assert_eq!(steps(&wiring, &wiring), []);
    }

    #[test]
    fn an_assigned_and_a_released_address_are_one_update() {
        let before: Wiring = [interface(1, 0, &["10.0.0.11/32"])].into_iter().collect();
        let after: Wiring = [interface(1, 0, &["10.0.0.12/32"])].into_iter().collect();
        let [Step::Update { lost, won, .. }] = &steps(&before, &after)[..] else {
            panic!("one update");
        };
        assert_eq!(lost, &["10.0.0.11/32".parse().expect("a range")]);
        assert_eq!(won, &["10.0.0.12/32".parse().expect("a range")]);
    }

    #[test]
    fn another_interface_on_the_same_port_is_pulled_first() {
        let mut other = interface(1, 1, &[]);
        other.id = InterfaceId::new("eni-other");
        let before: Wiring = [interface(1, 1, &[])].into_iter().collect();
        let after: Wiring = [other].into_iter().collect();
        let done = steps(&before, &after);
        assert!(
            matches!(&done[..], [Step::Unplug(_), Step::Plug(_)]),
            "{done:?}"
        );
    }
}
