//! What endpoints are made by and made with.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use veni_dataplane::DataPlane;

use super::metrics::EndpointMetrics;
use crate::events::Events;
use crate::journal::Journal;
use crate::pool::Pool;
use crate::repairs::RepairMetrics;

/// What all endpoints of the node have in common.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// First letters of the host ends' names.
    pub veth_prefix: String,
    /// MTU, bytes, unless the network configuration says another.
    pub pod_mtu: u32,
    /// Longest wait for an address.
    pub add_wait: Duration,
    /// Cooldown of addresses.
    pub cooldown: Duration,
    /// The node's own addresses, source of its packets to pods.
    pub node_addresses: Vec<IpAddr>,
    /// Range of the node-local addresses by which pods open flows of the family that
    /// they have no addresses of; `None` when they open none.
    pub egress: Option<IpNet>,
    /// Whether IPv6 is switched off in every pod.
    pub no_ipv6: bool,
}

/// What endpoints are made with.
#[derive(Clone)]
pub struct Tools {
    /// Where addresses come from and go back to.
    pub pool: Pool,
    /// Where endpoints are made.
    pub kernel: Arc<dyn DataPlane>,
    /// What a restart finds.
    pub journal: Journal,
    /// What operators are told.
    pub events: Events,
    /// What is counted and timed.
    pub(crate) metrics: EndpointMetrics,
    /// Where repairs are counted.
    pub(crate) repairs: RepairMetrics,
}
