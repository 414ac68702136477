//! The facts that the auditor judges, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use veni_cloudlab::mock::dump::InterfaceDump;

use crate::kernel::{HostPorts, Limits, Link, Route, Rule};

/// Everything there is to know.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The nodes.
    pub nodes: Vec<NodeEvidence>,
}

/// One node.
#[derive(Debug, Clone)]
pub struct NodeEvidence {
    /// Its id in the cloud.
    pub instance: String,
    /// What the cloud has attached to it, in truth and without lag.
    pub attached: Vec<InterfaceDump>,
    /// Its links.
    pub links: Vec<Link>,
    /// The routes of the pod table.
    pub pod_routes: Vec<Route>,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// The link that the default route of each of the daemon's tables leads to.
    pub ways_out: BTreeMap<String, String>,
    /// Ports of it that lead to pods.
    pub host_ports: HostPorts,
    /// Token buckets and redirections of its links.
    pub limits: Limits,
    /// Its nftables tables.
    pub tables: Vec<String>,
    /// The pods whose namespaces exist on it.
    pub pods: Vec<PodEvidence>,
    /// The endpoints that the daemon tells of.
    pub endpoints: Vec<Endpoint>,
    /// Addresses that the daemon says are assigned to pods.
    pub leased: BTreeSet<IpAddr>,
    /// What the daemon says its interfaces hold, by their id.
    pub held: BTreeSet<(String, IpNet)>,
    /// The journal's entries.
    pub journal: Vec<Entry>,
    /// Notes of DELs that the daemon has not carried out yet.
    pub notes: usize,
}

/// A pod's namespace.
#[derive(Debug, Clone)]
pub struct PodEvidence {
    /// Container id.
    pub container: String,
    /// Links but loopback.
    pub links: Vec<String>,
    /// Global addresses but node-local ones.
    pub addresses: Vec<IpAddr>,
    /// Node-local addresses.
    pub egress: Vec<IpAddr>,
    /// How many default routes there are, both families.
    pub default_routes: usize,
}

/// An endpoint as the daemon tells it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Container id.
    pub container: String,
    /// Interface in the container.
    pub interface: String,
    /// Its addresses, without the node-local one.
    pub addresses: Vec<IpAddr>,
    /// Node-local address.
    pub egress: Option<IpAddr>,
    /// Host's end of its veth pair.
    pub host_link: String,
    /// `adding`, `ready`, `dying`.
    pub state: String,
}

/// A journal entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Container id.
    pub container: String,
    /// `adding`, `ready`, `dying`.
    pub state: String,
    /// Its addresses, without the node-local one.
    pub addresses: Vec<IpAddr>,
    /// Node-local address.
    pub egress: Option<IpAddr>,
    /// Ports of the node that its runtime asked for.
    pub ports: Vec<AskedPort>,
    /// Bits a second towards the pod and from it that its runtime asked for.
    pub limits: (Option<u64>, Option<u64>),
}

/// A port of the node that was asked for.
#[derive(Debug, Clone)]
pub struct AskedPort {
    /// `tcp`, `udp`, `sctp`.
    pub protocol: String,
    /// Port of the node.
    pub host_port: u64,
    /// Port of the pod.
    pub pod_port: u64,
    /// The node's address that it is for; `None` for all.
    pub host: Option<String>,
}
