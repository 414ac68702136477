//! What a lab is made of.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv6Net};
use veni_provider_mock::{CloudConfig, NodeConfig};

use crate::folder::default_folder;
use crate::internet::INTERNET_V6;

/// What a lab is made of.
#[derive(Debug, Clone)]
pub struct LabConfig {
    /// Its name; labs with different names live side by side.
    pub name: String,
    /// Its folder; must not hold anything else.
    pub folder: PathBuf,
    /// The cloud: network, subnets, latencies, limits, faults.
    pub cloud: CloudConfig,
    /// The nodes, in order.
    pub nodes: Vec<NodeConfig>,
}

impl LabConfig {
    /// A lab with `nodes` nodes of one type, spread over the cloud's subnets,
    /// in the default folder of its name.
    pub fn new(name: &str, cloud: CloudConfig, nodes: u32, instance_type: &str) -> Self {
        let subnets: Vec<String> = cloud.subnets.iter().map(|one| one.id.to_string()).collect();
        let nodes = (1..=nodes)
            .zip(subnets.iter().cycle())
            .map(|(number, subnet)| {
                NodeConfig::new(&format!("i-node{number}"), instance_type, subnet)
            })
            .collect();
        Self {
            name: name.to_owned(),
            folder: default_folder(name),
            cloud,
            nodes,
        }
    }

    /// In another folder.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }
}

/// Gives a cloud IPv6: a /56 for the network, a /64 for each subnet
/// (RFC 3849, documentation); its internet host has an address of it, too.
pub fn with_ipv6(mut cloud: CloudConfig) -> CloudConfig {
    let range = |third: u16, length: u8| {
        let base = Ipv6Addr::new(0x2001, 0xdb8, 0x10, third, 0, 0, 0, 0);
        IpNet::V6(Ipv6Net::new_assert(base, length))
    };
    cloud.vpc_cidrs.push(range(0, 56));
    for (number, subnet) in (0..=255).zip(&mut cloud.subnets) {
        subnet.cidrs.push(range(number, 64));
    }
    cloud.internet.push(INTERNET_V6.into());
    cloud
}
