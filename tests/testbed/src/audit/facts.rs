//! What the auditor judges, as plain data.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use veni_cloudlab::mock::dump::InterfaceDump;

use crate::kernel::{Link, Route, Rule};

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
    /// What the cloud has attached to it: the truth, without lag.
    pub attached: Vec<InterfaceDump>,
    /// Its links.
    pub links: Vec<Link>,
    /// The routes of the pod table.
    pub pod_routes: Vec<Route>,
    /// Its rules.
    pub rules: Vec<Rule>,
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
    /// Notes of DELs that nobody has worked off.
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
    /// Addresses.
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
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Node-local address.
    pub egress: Option<IpAddr>,
}
