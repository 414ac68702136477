//! What the data plane is told and what it tells: plain data.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::EnforcementError;
use crate::bandwidth::Bandwidth;
use crate::host_ports::{self, HostPort, PortMapping};

/// Protocol number (`rtm_protocol`, `FRA_PROTOCOL`) of everything Veni makes:
/// what carries it is ours, everything else is never touched. Numbers above 4
/// are free for user space (rtnetlink(7)); 0x56 is not in iproute2's rt_protos.
pub const PROTOCOL: u8 = 0x56;

/// The table of all pod routes.
pub const POD_TABLE: u32 = 0x5600;

/// The table of what forwarded packets follow where the main table has a route by a
/// secondary interface: copies of its routes by other links.
pub const PRIMARY_TABLE: u32 = 0x5601;

/// First table of the secondary interfaces. An interface of the default network card has
/// the one of its device index, counted from here, unless another one has that.
pub const INTERFACE_TABLE_BASE: u32 = 0x5610;

/// The tables that interfaces may have.
pub const INTERFACE_TABLES: Range<u32> = INTERFACE_TABLE_BASE..POD_LINK_TABLE_BASE;

/// First table of the interfaces that a pod has beside its first, in the pod's own
/// namespace; the link's index there is added. The number is also the metric of such a
/// link's routes in the pod's main table, where two routes to one next hop need two.
pub const POD_LINK_TABLE_BASE: u32 = 0x5700;

/// Link group that the host's end of every pod's veth pair is made in.
pub const POD_GROUP: u32 = 0x5650;

/// Link group of veth ends that are about to be deleted.
pub const DYING_GROUP: u32 = 0x5645;

/// Link group of the cloud's secondary interfaces: their routes in the main table are
/// not for pods.
pub const SECONDARY_GROUP: u32 = 0x5653;

/// Connection mark of traffic that must leave by the primary interface, unless the
/// node's plan says another.
pub const PRIMARY_MARK: u32 = 0x80;

/// The pods' IPv4 next hop.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The pods' IPv6 next hop.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Node-local IPv4 addresses, by which pods that have IPv6 alone open flows
/// outward. Every node has the same; no other machine ever sees one.
pub const EGRESS_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 172, 0), 22);

/// Node-local IPv6 addresses, by which pods that have IPv4 alone open flows outward.
pub const EGRESS_V6: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0xac, 0), 118);

/// The node-local addresses of the family of an address.
pub fn egress_range(family_of: IpAddr) -> IpNet {
    match family_of {
        IpAddr::V4(_) => EGRESS_V4.into(),
        IpAddr::V6(_) => EGRESS_V6.into(),
    }
}

/// Whether an address is one of the node-local ones, which no cloud assigns.
pub fn is_node_local(address: IpAddr) -> bool {
    egress_range(address).contains(&address)
}

/// How packets of pods that leave the network are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceNatPorts {
    /// Ports chosen fully at random (`prng`).
    #[default]
    FullyRandom,
    /// Ports by hash (`hashrandom`).
    Random,
    /// Ports kept where possible (`none`).
    Keep,
}

/// An address that pods may open no flows to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedAddress {
    /// The address.
    pub address: IpAddr,
    /// The TCP and UDP port that pods may reach all the same.
    pub but_port: Option<u16>,
}

/// What the whole node needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlan {
    /// MAC by which the primary interface's link is found.
    pub primary_mac: [u8; 6],
    /// Its next hops, one per family at most: for pods where others have replaced the
    /// node's default route by one that leaves by a secondary interface.
    pub primary_gateways: Vec<IpAddr>,
    /// Its MTU, bytes; `None` leaves it alone.
    pub primary_mtu: Option<u32>,
    /// The node's own IPv4 address on it: source of translated traffic and `src` of pod routes.
    pub node_v4: Option<Ipv4Addr>,
    /// The node's own IPv6 address.
    pub node_v6: Option<Ipv6Addr>,
    /// Traffic to these ranges keeps the pod's address. IPv6 addresses of a cloud
    /// are valid outside of it, so IPv6 is translated only when there are IPv6
    /// ranges among these.
    pub untranslated: Vec<IpNet>,
    /// Whether traffic that leaves the network is translated to the node's address.
    pub source_nat: bool,
    /// How ports are chosen.
    pub source_nat_ports: SourceNatPorts,
    /// Whether node-port traffic that came in by the primary interface is marked.
    pub node_ports: bool,
    /// Mark of connections, and of their packets, that must leave by the primary
    /// interface: its bits and no others are set and looked at. Not 0.
    pub mark: u32,
    /// Traffic to these ranges follows the node's own routes, whatever interface
    /// holds the pod's address. None of length 0.
    pub external_services: Vec<IpNet>,
    /// Whether the node looks TCP packets up in its routes before it looks for a
    /// socket of its own (`tcp_early_demux=0`); else that setting is left alone.
    pub no_tcp_early_demux: bool,
    /// The node's own address that node-local addresses of its family
    /// ([`egress_range`]) are translated to; `None` where pods have none.
    pub egress: Option<IpAddr>,
    /// Where pods may open no flows to.
    pub closed_to_pods: Vec<ClosedAddress>,
    /// Prefix of the host ends' names. nftables knows them by [`POD_GROUP`], which
    /// names chosen by others cannot imitate.
    pub veth_prefix: String,
}

/// Kinds of things of ours in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RepairKind {
    /// A policy rule.
    Rule,
    /// A route in an interface's table.
    Route,
    /// A route to a pod.
    PodRoute,
    /// An address of an interface.
    Address,
    /// Whether a link is up, its MTU, its MAC.
    Link,
    /// A setting below `/proc/sys`.
    Setting,
    /// Our nftables tables.
    Nftables,
    /// A limit of a pod's bandwidth.
    Limit,
}

/// Something that is not as the plan has it: a verb has mended it, a comparison has found
/// it. A verb cannot tell a repair from a first making: its caller knows whether the same
/// plan was carried out before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// What kind of thing it is.
    pub kind: RepairKind,
    /// The thing (`rule 512 from all lookup 22016`).
    pub object: String,
    /// How it differs (`missing`, `0 instead of 1`).
    pub state: String,
    /// What does not work for as long as it differs.
    pub breaks: &'static str,
}

impl Repair {
    pub(crate) fn new(
        kind: RepairKind,
        object: impl Into<String>,
        state: impl Into<String>,
        breaks: &'static str,
    ) -> Self {
        Self {
            kind,
            object: object.into(),
            state: state.into(),
            breaks,
        }
    }

    pub(crate) fn limit(object: impl Into<String>, state: impl Into<String>) -> Self {
        let breaks = "the pod may send or receive more than it is allowed to";
        Self::new(RepairKind::Limit, object, state, breaks)
    }

    /// In words, of what was repaired (`rule 512 from all lookup 22016 was missing`).
    pub fn before(&self) -> String {
        format!("{} was {}", self.object, self.state)
    }

    /// In words, of what is still so (`rule 512 from all lookup 22016 is missing`).
    pub fn now(&self) -> String {
        format!("{} is {}", self.object, self.state)
    }
}

/// What was found or done while the node was prepared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// Link of the primary interface.
    pub primary_link: String,
    /// What was not as the plan has it, but for what the plan itself has changed.
    pub repairs: Vec<Repair>,
    /// Settings that could not be made, each with its consequence, in words.
    pub warnings: Vec<String>,
    /// Rules of other programs at priorities that Veni uses, also harmless ones.
    pub foreign_rules: Vec<ForeignRule>,
}

/// A rule of another program at one of Veni's priorities. The kernel asks rules of one
/// priority in the order of their making, so which one counts is left to chance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignRule {
    /// As `ip rule` writes it.
    pub text: String,
    /// How it is removed.
    pub removal: String,
}

/// How pods' packets find the interface that holds their address (rules 1536).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceRouting {
    /// They follow the node's own routes: on the primary interface, and where the cloud
    /// lets every address leave by any interface.
    None,
    /// By a rule for each of these prefixes and addresses. The kernel walks all of them
    /// for every packet.
    BySource(Vec<IpNet>),
    /// By one rule for a mark, which something that knows where pods' addresses are held has
    /// put on the packets before they are routed.
    ByMark(Mark),
}

impl SourceRouting {
    /// The prefixes and addresses that it has rules for.
    pub fn sources(&self) -> &[IpNet] {
        match self {
            Self::BySource(sources) => sources,
            Self::None | Self::ByMark(_) => &[],
        }
    }
}

/// A mark of packets (`fwmark`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its bits, all within `mask`.
    pub value: u32,
    /// The bits that are looked at. None of [`NodePlan::mark`]'s, which goes before it.
    pub mask: u32,
}

/// What one cloud interface needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfacePlan {
    /// MAC by which the link is found.
    pub mac: [u8; 6],
    /// The primary interface uses the main table; nothing of its routes is ours.
    pub primary: bool,
    /// Table of its routes, one of [`INTERFACE_TABLES`].
    pub table: u32,
    /// Its own addresses.
    pub own_addresses: Vec<IpAddr>,
    /// Next hops, one per family.
    pub gateways: Vec<IpAddr>,
    /// Which packets of pods leave by it.
    pub source_routing: SourceRouting,
    /// MTU, bytes; `None` leaves it alone. The primary interface's is the node's
    /// ([`NodePlan::primary_mtu`]).
    pub mtu: Option<u32>,
}

/// What was found or done while an interface was brought into service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceReport {
    /// Its link.
    pub link: String,
    /// What was not as the plan has it.
    pub repairs: Vec<Repair>,
}

/// One address of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodAddress {
    /// The address; /32 or /128.
    pub address: IpAddr,
}

/// Which of a pod's packets leave by an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefaultRoute {
    /// All: it has the pod's only default route. One that is there already is refused.
    #[default]
    Only,
    /// Those from its own addresses, by a rule and a table of its own. A pod may have
    /// any number of such interfaces beside its first, whoever made that.
    None,
    /// As [`DefaultRoute::None`], and by a default route in front of those that the pod
    /// has and keeps.
    InFront,
}

/// What one interface of a pod needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPlan {
    /// `NAMESPACE/NAME` of the Kubernetes pod, for whom policies decide; `None` for a
    /// container that is no pod. The daemon's record of the endpoint has it, not this part.
    #[serde(skip)]
    pub pod: Option<String>,
    /// Interface name in the pod, `eth0` as a rule; at most 15 bytes.
    pub pod_link: String,
    /// Name of the host's end; at most 15 bytes.
    pub host_link: String,
    /// MAC of the pod's end.
    pub pod_mac: [u8; 6],
    /// MAC of the host's end.
    pub host_mac: [u8; 6],
    /// MTU of both ends, bytes.
    pub mtu: u32,
    /// At most one address per family.
    pub addresses: Vec<PodAddress>,
    /// Preferred source of the host's routes to the pod, per family.
    pub node_addresses: Vec<IpAddr>,
    /// Node-local address of a family that is not among `addresses`.
    #[serde(default)]
    pub egress: Option<IpAddr>,
    /// Whether IPv6 is switched off in the whole of the pod's namespace.
    #[serde(default)]
    pub no_ipv6: bool,
    /// Which packets leave by it.
    #[serde(default)]
    pub default_route: DefaultRoute,
    /// How much of it may pass in a second.
    #[serde(default, skip_serializing_if = "Bandwidth::is_unlimited")]
    pub bandwidth: Bandwidth,
    /// Ports of the node that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port_mappings: Vec<PortMapping>,
}

impl EndpointPlan {
    /// The table in the pod's namespace that leads packets from its addresses out by
    /// it, for the link of that index; `None` where the main table does.
    pub fn own_table(&self, pod_index: u32) -> Option<u32> {
        (self.default_route != DefaultRoute::Only)
            .then(|| POD_LINK_TABLE_BASE.saturating_add(pod_index))
    }

    /// All addresses that the node routes to the pod, the node-local one last.
    pub fn routed(&self) -> Vec<PodAddress> {
        let egress = self.egress.map(|address| PodAddress { address });
        self.addresses.iter().copied().chain(egress).collect()
    }

    /// The ports of the node that lead to it, for each of its addresses.
    pub fn host_ports(&self) -> Vec<HostPort> {
        host_ports::host_ports(&self.addresses, &self.port_mappings)
    }
}

/// What the kernel answered to an ADD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointLinks {
    /// Index of the host's end; identifies it in this boot.
    pub host_index: u32,
    /// Index of the pod's end in its namespace.
    pub pod_index: u32,
    /// The namespace's cookie (SO_NETNS_COOKIE), never used again in this boot; 0
    /// where no namespace was at hand.
    pub namespace_cookie: u64,
}

/// What of a pod's network differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// The host's end of its veth pair is gone.
    Link,
    /// The name of the host's end.
    LinkName,
    /// Its MAC, which the pod sends to.
    LinkMac,
    /// Its MTU.
    LinkMtu,
    /// Its link group, by which rules and nftables know it.
    LinkGroup,
    /// It is down.
    LinkDown,
    /// The node's route to the pod.
    Route,
    /// A limit of its bandwidth.
    Limit,
    /// A port of the node that leads to the pod.
    HostPort,
    /// Something in the pod's own namespace.
    Pod,
}

/// One difference between a pod's plan and the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub aspect: Aspect,
    /// In words, naming the object, what is expected and what is there.
    pub text: String,
}

/// A host link of ours, or a route of ours without a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedEndpoint {
    /// Address that the pod table routes.
    pub address: IpAddr,
    /// Index of the link it is routed to.
    pub link_index: u32,
}

/// A host's end of a veth pair that is ours by its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedLink {
    /// Index, its identity in this boot.
    pub index: u32,
    /// Name that it has now; others rename links.
    pub name: String,
    /// MAC that it has now; others set MACs.
    pub mac: [u8; 6],
    /// In the dying group.
    pub dying: bool,
    /// Whether packets from and to loopback addresses pass it (`route_localnet`).
    pub routes_loopback: bool,
}

/// An address that a link of the node itself carries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeAddress {
    /// The address.
    pub address: IpAddr,
    /// Its prefix length.
    pub length: u8,
    /// Name of the link.
    pub link: String,
}

/// What a link is asked for by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LinkKey {
    /// Its index.
    Index(u32),
    /// Its name.
    Name(String),
}

/// Everything of ours in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// All routes of the pod table.
    pub endpoints: Vec<ObservedEndpoint>,
    /// All links of the pods' and of the dying group.
    pub links: Vec<ObservedLink>,
    /// Tables of interfaces that have rules or routes of ours.
    pub interface_tables: Vec<u32>,
    /// Indexes of ifb devices of ours whose endpoint's link is gone.
    pub stray_ifbs: Vec<u32>,
    /// Ports of the node that lead to pods, in order; those of which a part is missing are not
    /// among them.
    pub host_ports: Vec<HostPort>,
    /// Those of which a part is missing, in order.
    pub half_ports: Vec<HalfPort>,
}

/// A port of the node of which only a part is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HalfPort {
    /// The port is led to a pod that is not among those that ports lead to: whoever opens a
    /// connection reaches it, and some of its answers get lost.
    WithoutPod(HostPort),
    /// The pod is among those that ports lead to, and none does.
    WithoutPort(IpAddr),
}

impl Observed {
    /// Whether the pod table has a route to an address by a link.
    pub fn leads(&self, address: IpAddr, link_index: u32) -> bool {
        let mut routes = self.endpoints.iter();
        routes.any(|route| (route.address, route.link_index) == (address, link_index))
    }
}

/// What the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The pod's namespace does not exist any more.
    #[error("the pod's network namespace is gone")]
    NamespaceGone,
    /// A link that was expected is not there.
    #[error("no link {0}")]
    NoSuchLink(String),
    /// A set of nftables that was expected is not there, or its table is not.
    #[error("nftables has no {0}")]
    NoSuchSet(String),
    /// A name is taken by something that is not ours.
    #[error(
        "link {0} exists already and belongs to something else: remove it or choose another name"
    )]
    LinkTaken(String),
    /// Any other refusal.
    #[error("failed to {operation}: {reason}")]
    Refused {
        /// Operation and object (`add route 10.0.1.7/32 on eni3f2a`).
        operation: String,
        /// The kernel's reason.
        reason: std::io::Error,
    },
    /// The enforcement did not take an endpoint in, or did not let it go.
    #[error("failed to {operation}: {reason}")]
    NotEnforced {
        /// Operation and object (`admit eni3f2a`).
        operation: String,
        /// The enforcement's reason.
        reason: EnforcementError,
    },
    /// A program that we need failed.
    #[error("failed to {operation}: {reason}")]
    Tool {
        /// Operation and object.
        operation: String,
        /// What the program said.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_local_addresses_are_told_from_those_of_the_cloud() {
        let is_local = |text: &str| is_node_local(text.parse().expect("an address"));
        let (v4, v6) = (EGRESS_V4.addr().to_string(), EGRESS_V6.addr().to_string());
        assert!(is_local(&v4) && is_local(&v6));
        assert!(!is_local("10.0.1.7") && !is_local("2001:db8::7"));
    }

    #[test]
    fn only_routing_by_source_has_sources() {
        let range: IpNet = "10.0.1.16/28".parse().expect("a range");
        assert_eq!(SourceRouting::BySource(vec![range]).sources(), [range]);
        assert!(SourceRouting::None.sources().is_empty());
    }

    #[test]
    fn a_plan_that_was_written_before_node_local_addresses_is_read() {
        let written = r#"{
            "pod_link": "eth0", "host_link": "eni1", "mtu": 9001,
            "pod_mac": [2, 0, 0, 0, 0, 1], "host_mac": [2, 0, 0, 0, 0, 2],
            "addresses": [{ "address": "10.0.1.7" }], "node_addresses": ["10.0.0.5"]
        }"#;
        let plan: EndpointPlan = serde_json::from_str(written).expect("a plan");
        assert_eq!((plan.egress, plan.no_ipv6), (None, false));
        assert_eq!(plan.default_route, DefaultRoute::Only);
        assert_eq!(plan.routed(), plan.addresses);
        assert_eq!(plan.port_mappings, []);
        assert!(plan.bandwidth.is_unlimited());
    }
}
