//! A node to be.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use veni_provider::{Limits, Mac, SubnetId};

/// An interface that a node has besides the primary one when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistingInterface {
    /// The subnet that the interface is in.
    pub subnet: SubnetId,
    /// Whether Veni may use it.
    pub managed: bool,
    /// Somebody made it by hand, so that only its addresses are Veni's to use.
    #[serde(default)]
    pub by_hand: bool,
    /// IPv4 addresses it holds besides its own.
    pub addresses: u32,
    /// IPv4 prefixes it holds.
    pub prefixes: u32,
    /// MAC; made up when not given.
    pub mac: Option<Mac>,
    /// Network card; device indexes of other cards than the default one begin at 1.
    #[serde(default)]
    pub network_card: u32,
}

/// A node to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// The node's id, unique in the cloud.
    pub instance_id: String,
    /// Type or size; [`crate::instances`] knows the limits of some.
    pub instance_type: String,
    /// Subnet of the primary interface.
    pub subnet: SubnetId,
    /// Limits, when they are not to follow from the type.
    pub limits: Option<Limits>,
    /// MAC of the primary interface, to match a link that exists.
    pub primary_mac: Option<Mac>,
    /// Own address of the primary interface, to match a link that exists.
    pub primary_address: Option<IpAddr>,
    /// Security groups of its interfaces; none means [`super::DEFAULT_SECURITY_GROUP`].
    pub security_groups: Vec<String>,
    /// Interfaces besides the primary one, in order of device index.
    pub interfaces: Vec<ExistingInterface>,
}

impl NodeConfig {
    /// A node with its primary interface alone.
    pub fn new(instance_id: &str, instance_type: &str, subnet: &str) -> Self {
        Self {
            instance_id: instance_id.to_owned(),
            instance_type: instance_type.to_owned(),
            subnet: SubnetId::new(subnet),
            limits: None,
            primary_mac: None,
            primary_address: None,
            security_groups: Vec::new(),
            interfaces: Vec::new(),
        }
    }

    /// With limits of its own.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }
}
