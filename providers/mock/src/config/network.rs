//! Subnets and security groups.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use veni_provider::SubnetId;

/// A subnet as a cloud is made with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetConfig {
    /// The id, unique in the cloud.
    pub id: SubnetId,
    /// The availability zone that it belongs to.
    pub zone: String,
    /// Ranges, at most one per family, inside the network's.
    pub cidrs: Vec<IpNet>,
    /// Whether it takes new interfaces, and pods may have addresses of those
    /// in it.
    #[serde(default = "yes")]
    pub for_pods: bool,
}

fn yes() -> bool {
    true
}

impl SubnetConfig {
    /// A subnet.
    pub fn new(id: &str, zone: &str, cidrs: impl IntoIterator<Item = IpNet>) -> Self {
        Self {
            id: SubnetId::new(id),
            zone: zone.to_owned(),
            cidrs: cidrs.into_iter().collect(),
            for_pods: true,
        }
    }
}

/// The other end of what a security rule allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// Addresses.
    Cidr(IpNet),
    /// All interfaces of a security group.
    Group(String),
}

/// What a security group allows: stateful, replies pass by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityRule {
    /// IP protocol number; `None` is any.
    pub protocol: Option<u8>,
    /// First and last port; `None` is any, and has to be for protocols without ports.
    pub ports: Option<(u16, u16)>,
    /// Whose traffic the rule lets pass.
    pub peer: Peer,
}

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// The id, unique in the cloud.
    pub id: String,
    /// What may come in.
    pub ingress: Vec<SecurityRule>,
    /// What may go out.
    pub egress: Vec<SecurityRule>,
}

/// Name of the group that interfaces get when a node names none.
pub const DEFAULT_SECURITY_GROUP: &str = "sg-default";

impl SecurityGroup {
    /// The group a new network comes with: everything among its members,
    /// everything outwards.
    pub fn default_group() -> Self {
        let any = |peer| SecurityRule {
            protocol: None,
            ports: None,
            peer,
        };
        Self {
            id: DEFAULT_SECURITY_GROUP.to_owned(),
            ingress: vec![any(Peer::Group(DEFAULT_SECURITY_GROUP.to_owned()))],
            egress: vec![
                any(Peer::Cidr(IpNet::V4(Ipv4Net::default()))),
                any(Peer::Cidr(IpNet::V6(Ipv6Net::default()))),
            ],
        }
    }
}
