//! The configuration of a lab's EC2: its server, subnets and instances.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::internet::INTERNET_V6;

/// Which LocalStack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalStack {
    /// A running one with the fidelity hook. It outlives the lab.
    Running(SocketAddr),
    /// One of the lab's own, started by this script (`localstack/ec2/run`).
    Own(PathBuf),
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ec2Subnet {
    /// Its range, in 10.0.0.0/16.
    pub range: Ipv4Net,
    /// Its tags.
    pub tags: Vec<(String, String)>,
}

/// What a lab's EC2 is made of: a VPC of 10.0.0.0/16 whose subnets are in one
/// zone, and instances in the first subnet.
#[derive(Debug, Clone)]
pub struct Ec2Config {
    /// The server.
    pub server: LocalStack,
    /// Types of the instances, one for each node.
    pub instance_types: Vec<String>,
    /// The subnets; the nodes live in the first.
    pub subnets: Vec<Ec2Subnet>,
    /// Whether the VPC has IPv6, and each node an IPv6 address.
    pub ipv6: bool,
    /// Hops that an answer of instance metadata survives: 1 reaches the node, 2 its pods.
    pub metadata_hop_limit: u8,
    /// Addresses of the host outside of the VPC, where EC2's API is.
    pub internet: Vec<IpAddr>,
}

impl Ec2Config {
    /// Nodes of one type in 10.0.0.0/20, beside an empty 10.0.16.0/20.
    pub fn new(server: LocalStack, nodes: u32, instance_type: &str) -> Self {
        let subnet = |third| Ec2Subnet {
            range: Ipv4Net::new_assert(Ipv4Addr::new(10, 0, third, 0), 20),
            tags: Vec::new(),
        };
        Self {
            server,
            instance_types: (0..nodes).map(|_| instance_type.to_owned()).collect(),
            subnets: vec![subnet(0), subnet(16)],
            ipv6: false,
            metadata_hop_limit: 2,
            internet: vec![IpAddr::from([198, 51, 100, 10])],
        }
    }

    /// Adds IPv6, for the internet host as well.
    #[must_use]
    pub fn with_ipv6(mut self) -> Self {
        self.ipv6 = true;
        self.internet.push(INTERNET_V6.into());
        self
    }

    /// Replaces the subnets by ones with these ranges and without tags.
    #[must_use]
    pub fn subnets(mut self, ranges: &[Ipv4Net]) -> Self {
        let plain = |range: &Ipv4Net| Ec2Subnet {
            range: *range,
            tags: Vec::new(),
        };
        self.subnets = ranges.iter().map(plain).collect();
        self
    }

    /// Adds a tag to a subnet, which its place in the list names.
    ///
    /// # Panics
    /// When there is no such subnet.
    #[must_use]
    pub fn tagged(mut self, subnet: usize, key: &str, value: &str) -> Self {
        let tag = (key.to_owned(), value.to_owned());
        self.subnets[subnet].tags.push(tag);
        self
    }
}
