//! The nouns of the provider trait beside those that it shares with the planner
//! ([`veni_nouns`]): plain data, serialisable, no behaviour beyond parsing and counting.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use veni_nouns::{DEFAULT_NETWORK_CARD, Family, InterfaceId, InterfaceState, SlotKind, SubnetId};

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

/// Text that is not a MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a mac address: twelve hexadecimal digits, in pairs split by ':' or '-' or not at all"
)]
pub struct InvalidMac(String);

impl FromStr for Mac {
    type Err = InvalidMac;

    /// Takes the three ways in which clouds write one: `0e:1f:…`, `0E-1F-…`, `0E1F…`.
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let invalid = || InvalidMac(text.to_owned());
        let digits: Vec<u8> = text
            .bytes()
            .filter(|byte| !matches!(byte, b':' | b'-'))
            .collect();
        if digits.len() != 12 {
            return Err(invalid());
        }
        let mut bytes = [0; 6];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| invalid())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| invalid())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Mac {
    type Error = InvalidMac;

    fn try_from(text: String) -> Result<Self, InvalidMac> {
        text.parse()
    }
}

/// What a cloud can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Interfaces can be attached and detached while the node runs (AWS yes, Azure no).
    pub attach_while_running: bool,
    /// /28 prefixes can be delegated to an interface.
    pub ipv4_prefixes: bool,
    /// /80 prefixes can be delegated to an interface.
    pub ipv6_prefixes: bool,
    /// Single IPv6 secondary addresses can be assigned for pods (AWS no: there they are
    /// the node's own).
    pub ipv6_addresses: bool,
    /// How packets of pods must find the interface that holds their address.
    pub source_routing: SourceRouting,
    /// Addresses and prefixes can be given back.
    pub release: bool,
    /// Most addresses or prefixes in one assign or release call.
    pub batch: u32,
    /// All addresses and prefixes that [`crate::Provider::inventory`] lists were assigned by
    /// Veni, not necessarily by this daemon: the cloud tells whose they are, and those of
    /// others are left out.
    #[serde(default)]
    pub lists_own_alone: bool,
    /// After this time a change shows in [`crate::Provider::inventory`].
    pub settle_time: Duration,
}

/// How packets of pods must find the interface that holds their address. Journals and the
/// mock cloud's socket have it as a truth value: whether there is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum SourceRouting {
    /// They need not: all interfaces' addresses share one route (Azure: one NIC).
    None,
    /// By their source: an address may leave the node only by the interface that holds it
    /// (AWS).
    BySource,
}

impl From<bool> for SourceRouting {
    fn from(any: bool) -> Self {
        match any {
            true => Self::BySource,
            false => Self::None,
        }
    }
}

impl From<SourceRouting> for bool {
    fn from(routing: SourceRouting) -> Self {
        routing == SourceRouting::BySource
    }
}

/// What the node's instance type allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Interfaces of the default network card, the primary one included.
    pub interfaces: u32,
    /// IPv4 slots per interface, its own address included. A slot holds one
    /// address or one prefix.
    pub ipv4_per_interface: u32,
    /// IPv6 slots per interface; 0 where the type has no IPv6.
    pub ipv6_per_interface: u32,
    /// Virtual CPUs, for the recommended cap of pods; 0 where unknown.
    pub vcpus: u32,
}

/// The node that the provider speaks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The cloud's id of the instance.
    pub instance_id: String,
    /// Instance type or size.
    pub instance_type: String,
    /// Availability zone; may be empty.
    pub zone: String,
    /// What its instance type allows.
    pub limits: Limits,
    /// The network's own ranges: traffic that stays inside is never translated.
    pub network_cidrs: Vec<IpNet>,
}

/// One interface of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The cloud's id of the interface.
    pub id: InterfaceId,
    /// MAC; the link on the node is found by it.
    pub mac: Mac,
    /// Device index on its network card; 0 on the default card is the primary
    /// interface.
    pub device_index: u32,
    /// The network card that it is attached to. Pods have addresses of interfaces
    /// on the default card alone: one on another card is somebody's own use of it
    /// (EFA), and a provider never tells it as managed.
    #[serde(default)]
    pub network_card: u32,
    /// The interface that the node was born with.
    pub primary: bool,
    /// Whether Veni may use it; an operator's or another program's is not.
    pub managed: bool,
    /// Whether Veni, or the cloud's own plugin before it, made it for this node. Never so
    /// of the primary interface, and not where the provider cannot tell.
    #[serde(default)]
    pub made_for_pods: bool,
    /// Whether pods may be given addresses of it. On a managed interface where
    /// they may not, nothing is added and what no pod uses goes back: its
    /// subnet is excluded, or pods have subnets of their own.
    #[serde(default = "yes")]
    pub for_pods: bool,
    /// How far the interface is.
    pub state: InterfaceState,
    /// The subnet that its addresses come from.
    pub subnet: SubnetId,
    /// Ranges of the subnet, one per family.
    pub subnet_cidrs: Vec<IpNet>,
    /// Next hops of the subnet, one per family.
    pub gateways: Vec<IpAddr>,
    /// The interface's own addresses: never given to a pod.
    pub own_addresses: Vec<IpAddr>,
    /// Secondary addresses: pods may have them.
    pub addresses: Vec<IpAddr>,
    /// Delegated prefixes: pods may have all addresses in them.
    pub prefixes: Vec<IpNet>,
}

impl Interface {
    /// Whether it is on the default network card, the one that [`Limits`] and
    /// device indexes of pods' interfaces count.
    pub fn on_default_card(&self) -> bool {
        self.network_card == DEFAULT_NETWORK_CARD
    }

    /// All ranges that it holds: its own addresses and the others as /32 and
    /// /128, and its prefixes.
    pub fn ranges(&self) -> BTreeSet<IpNet> {
        let addresses = self.own_addresses.iter().chain(&self.addresses);
        addresses
            .map(|address| IpNet::from(*address))
            .chain(self.prefixes.iter().copied())
            .collect()
    }
}

/// Interfaces are for pods unless a provider says otherwise.
fn yes() -> bool {
    true
}

/// What the node itself can see of its interfaces without a call to the cloud.
///
/// It lags behind the truth in both directions, so it is a reason to look at
/// the inventory and never one to add or to remove anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalView {
    /// All ranges of each interface: its own addresses and the others as /32
    /// and /128, and its prefixes.
    pub interfaces: BTreeMap<Mac, BTreeSet<IpNet>>,
    /// Whatever else is worth a look at the inventory when it changes.
    pub marks: BTreeSet<String>,
}

/// A subnet that the node may take addresses from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The cloud's id of the subnet.
    pub id: SubnetId,
    /// Its ranges, one per family.
    pub cidrs: Vec<IpNet>,
    /// Free IPv4 addresses, as the cloud last told.
    pub free_ipv4: u32,
    /// Whether new interfaces may be made in it.
    pub usable: bool,
}

/// Everything the cloud knows of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Interfaces in order of network card and device index.
    pub interfaces: Vec<Interface>,
    /// Subnets, best first.
    pub subnets: Vec<Subnet>,
}

/// How many addresses or prefixes, of which family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressSlots {
    /// Single secondary addresses.
    Addresses {
        /// The family of all of them.
        family: Family,
        /// How many, at least 1.
        count: u32,
    },
    /// Delegated prefixes.
    Prefixes {
        /// The family of all of them.
        family: Family,
        /// How many, at least 1.
        count: u32,
    },
}

impl AddressSlots {
    /// So many slots of a kind.
    pub fn new(family: Family, kind: SlotKind, count: u32) -> Self {
        match kind {
            SlotKind::Address => Self::Addresses { family, count },
            SlotKind::Prefix => Self::Prefixes { family, count },
        }
    }

    /// Returns the family.
    pub fn family(self) -> Family {
        let (Self::Addresses { family, .. } | Self::Prefixes { family, .. }) = self;
        family
    }

    /// Returns what the slots are filled with.
    pub fn kind(self) -> SlotKind {
        match self {
            Self::Addresses { .. } => SlotKind::Address,
            Self::Prefixes { .. } => SlotKind::Prefix,
        }
    }

    /// Returns how many slots.
    pub fn count(self) -> u32 {
        let (Self::Addresses { count, .. } | Self::Prefixes { count, .. }) = self;
        count
    }
}

/// A request for one more interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// Subnet to make it in; `None` leaves the choice to the provider.
    pub subnet: Option<SubnetId>,
    /// What it should hold from the start.
    pub slots: Option<AddressSlots>,
    /// Makes a repetition of this very request recognisable to the cloud.
    pub token: String,
}

/// Addresses and prefixes, given or to give back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Single addresses, without a length.
    pub addresses: Vec<IpAddr>,
    /// Delegated prefixes, with their length.
    pub prefixes: Vec<IpNet>,
}

impl Grant {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.prefixes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_spellings_of_a_mac_are_the_same() {
        let expected = Mac([0x0e, 0x1f, 0, 0xa, 0xb, 0xc]);
        for text in ["0e:1f:00:0a:0b:0c", "0E-1F-00-0A-0B-0C", "0E1F000A0B0C"] {
            assert_eq!(text.parse(), Ok(expected));
        }
    }

    #[test]
    fn a_short_or_odd_mac_is_refused_with_its_text() {
        for text in ["0e:1f", "0e:1f:00:0a:0b:zz", ""] {
            let error = text.parse::<Mac>().expect_err("must be refused");
            assert!(error.to_string().contains(text));
        }
    }

    #[test]
    fn a_mac_is_written_in_lower_case_with_colons_everywhere() {
        let mac = Mac([0x0e, 0x1f, 0, 0xa, 0xb, 0xc]);
        let expected = "0e:1f:00:0a:0b:0c";
        assert_eq!(mac.to_string(), expected);
        assert_eq!(format!("{mac:?}"), expected);
        assert_eq!(String::from(mac), expected);
    }

    #[test]
    fn source_routing_is_kept_as_the_truth_value_that_it_once_was() {
        for routing in [SourceRouting::None, SourceRouting::BySource] {
            assert_eq!(SourceRouting::from(bool::from(routing)), routing);
        }
        assert!(bool::from(SourceRouting::BySource));
    }

    /// As a daemon before network cards and subnets of pods has kept it.
    fn kept() -> Interface {
        let text = r#"{
            "id": "eni-1", "mac": "0e:1f:00:0a:0b:0c", "device_index": 1, "primary": false,
            "managed": true, "state": "attached", "subnet": "subnet-1",
            "subnet_cidrs": ["10.0.0.0/24"], "gateways": ["10.0.0.1"],
            "own_addresses": ["10.0.0.5"], "addresses": ["10.0.0.6", "fd00::6"],
            "prefixes": ["10.0.0.16/28"]
        }"#;
        serde_json::from_str(text).expect("it is understood")
    }

    #[test]
    fn an_interface_kept_by_an_older_daemon_is_for_pods_and_on_the_default_card() {
        let interface = kept();
        assert!(interface.for_pods);
        assert!(!interface.made_for_pods);
        assert!(interface.on_default_card());
        let other = Interface {
            network_card: DEFAULT_NETWORK_CARD + 1,
            ..interface
        };
        assert!(!other.on_default_card());
    }

    #[test]
    fn ranges_are_all_addresses_and_prefixes() {
        let expected = ["10.0.0.5/32", "10.0.0.6/32", "fd00::6/128", "10.0.0.16/28"];
        let expected = expected.map(|range| range.parse().expect("a range"));
        assert_eq!(kept().ranges(), BTreeSet::from(expected));
    }

    #[test]
    fn slots_tell_what_they_were_made_of() {
        for kind in [SlotKind::Address, SlotKind::Prefix] {
            let slots = AddressSlots::new(Family::V6, kind, 7);
            assert_eq!(
                (slots.family(), slots.kind(), slots.count()),
                (Family::V6, kind, 7)
            );
        }
    }

    #[test]
    fn a_grant_is_empty_without_addresses_and_prefixes_alone() {
        let addresses = vec!["10.0.0.6".parse().expect("an address")];
        let prefixes = vec!["10.0.0.16/28".parse().expect("a prefix")];
        assert!(Grant::default().is_empty());
        let single = Grant {
            addresses,
            ..Grant::default()
        };
        assert!(!single.is_empty());
        let block = Grant {
            prefixes,
            ..Grant::default()
        };
        assert!(!block.is_empty());
    }
}
