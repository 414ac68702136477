//! What policies allow one pod: addresses and ports.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

/// Which way a flow was opened, seen from the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Towards the pod.
    Ingress,
    /// By the pod.
    Egress,
}

/// What a pod may receive and what it may send.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodPolicy {
    /// Flows opened towards the pod.
    pub ingress: Side,
    /// Flows that the pod opens.
    pub egress: Side,
}

/// One direction of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Side {
    /// No policy selects the pod for this direction: all flows pass.
    #[default]
    Open,
    /// Only what the rules name passes. Pods with equal rules share one set.
    Isolated(Arc<RuleSet>),
}

/// Which peers may be talked to by which ports.
///
/// The longest prefix that contains the peer's address decides alone: its class already
/// holds what shorter prefixes allow. An address in no prefix is allowed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RuleSet {
    /// Per prefix, the index of its class in `classes`.
    pub peers: BTreeMap<IpNet, u32>,
    /// Each different one once.
    pub classes: Vec<Class>,
    /// The policies that decide, as `NAMESPACE/NAME`; [`PortRange::origin`] is an index of it.
    pub origins: Vec<String>,
}

/// What is allowed with one kind of peer; nothing where it is empty, as for a range that a
/// policy excepts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Class {
    /// Disjoint or not, in any order: one that contains a packet's port allows it.
    pub ports: Vec<PortRange>,
}

/// Ports that one policy allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// The destination ports of the flow.
    pub ports: Ports,
    /// Index of the policy in [`RuleSet::origins`].
    pub origin: u32,
}

/// Destination ports of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ports {
    /// Every protocol of IP and every port, ICMP included.
    All,
    /// From `first` to `last`, both included, of one protocol.
    Some {
        /// Whose ports.
        protocol: Protocol,
        /// 0 with a `last` of 65535 means every port.
        first: u16,
        /// At least `first`.
        last: u16,
    },
}

/// A protocol that a NetworkPolicy can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    /// Number 6.
    Tcp = 6,
    /// Number 17.
    Udp = 17,
    /// Number 132.
    Sctp = 132,
}

impl Protocol {
    /// As the API writes it; none means TCP.
    pub(crate) fn try_new(name: Option<&str>) -> Result<Self, String> {
        match name {
            None | Some("" | "TCP") => Ok(Self::Tcp),
            Some("UDP") => Ok(Self::Udp),
            Some("SCTP") => Ok(Self::Sctp),
            Some(other) => Err(format!("must be TCP, UDP or SCTP; it is {other:?}")),
        }
    }
}
