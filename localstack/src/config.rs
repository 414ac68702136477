//! The configuration of a lab: its name, its folder, its control plane and its nodes.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv6Net};
use veni_provider_mock::{CloudConfig, NodeConfig};

use crate::folder::default_folder;
use crate::internet::INTERNET_V6;

/// The configuration of a lab.
#[derive(Debug, Clone)]
pub struct LabConfig {
    /// Its name. Labs with different names can run side by side.
    pub name: String,
    /// Its folder. It must contain nothing else, because the lab empties it.
    pub folder: PathBuf,
    /// Its control plane, with the nodes.
    pub plane: PlaneConfig,
}

/// What decides which interfaces and addresses the nodes have.
#[derive(Debug, Clone)]
pub enum PlaneConfig {
    /// The mock cloud, in the lab's own process.
    Mock {
        /// Network, subnets, latencies, limits, faults.
        cloud: Box<CloudConfig>,
        /// The nodes, in order.
        nodes: Vec<NodeConfig>,
    },
    /// A Resource Manager with rules, in the lab's own process.
    Arm(Box<crate::arm::ArmConfig>),
    /// LocalStack's EC2.
    #[cfg(feature = "aws")]
    Ec2(crate::ec2::Ec2Config),
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
            plane: PlaneConfig::Mock {
                cloud: Box::new(cloud),
                nodes,
            },
        }
    }

    /// A lab whose control plane is a Resource Manager with rules, in the default folder of
    /// its name.
    pub fn arm(name: &str, config: crate::arm::ArmConfig) -> Self {
        Self {
            name: name.to_owned(),
            folder: default_folder(name),
            plane: PlaneConfig::Arm(Box::new(config)),
        }
    }

    /// A lab whose control plane is LocalStack's EC2, in the default folder of
    /// its name.
    #[cfg(feature = "aws")]
    pub fn ec2(name: &str, config: crate::ec2::Ec2Config) -> Self {
        Self {
            name: name.to_owned(),
            folder: default_folder(name),
            plane: PlaneConfig::Ec2(config),
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
/// (RFC 3849, documentation). The internet host gets an address of that family, too.
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
