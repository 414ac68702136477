//! What EC2 says of instances, as far as instance metadata tells it. Plain data.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use veni_provider::Mac;

/// What EC2 says of all instances, by instance id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The instances.
    pub instances: BTreeMap<String, Instance>,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// Its type, such as `m5.large`.
    pub instance_type: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Image that it was started from.
    pub image: String,
    /// Region, such as `us-east-1`.
    pub region: String,
    /// Availability zone.
    pub zone: String,
    /// Account that owns it, twelve digits.
    pub account: String,
    /// Its reservation.
    pub reservation: String,
    /// When it was started, seconds of Unix time.
    pub launched: u64,
    /// What its owner set for instance metadata.
    pub options: Options,
    /// Its tags; told only if [`Options::tags`].
    pub tags: BTreeMap<String, String>,
    /// The role whose credentials it gets.
    pub role: Option<Role>,
    /// Whether its type has several network cards; only then metadata tells
    /// which card an interface is on.
    pub several_cards: bool,
    /// Attached interfaces; the primary one is at device index 0 of card 0.
    pub interfaces: Vec<Interface>,
}

/// EC2's `InstanceMetadataOptions`; `Default` gives those of EC2's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether metadata answers at all (`HttpEndpoint`).
    pub enabled: bool,
    /// Whether it answers over IPv6, too (`HttpProtocolIpv6`).
    pub ipv6: bool,
    /// Whether every request needs a token (`HttpTokens=required`).
    pub tokens_required: bool,
    /// So many hops the answer to a token's request can travel, 1 to 64
    /// (`HttpPutResponseHopLimit`).
    pub hop_limit: u8,
    /// Whether the instance's tags are told (`InstanceMetadataTags`).
    pub tags: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            enabled: true,
            ipv6: false,
            tokens_required: false,
            hop_limit: 1,
            tags: false,
        }
    }
}

/// The IAM role of an instance, with the profile that hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// The instance profile.
    pub profile_arn: String,
    /// The instance profile's id.
    pub profile_id: String,
}

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// An attached interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its id.
    pub id: String,
    /// Its MAC address.
    pub mac: Mac,
    /// Device index on its network card.
    pub device_index: u32,
    /// Network card.
    pub network_card: u32,
    /// Account that owns it.
    pub owner: String,
    /// Its subnet.
    pub subnet: String,
    /// The subnet's ranges.
    pub subnet_cidrs: Vec<IpNet>,
    /// Its VPC.
    pub vpc: String,
    /// The VPC's ranges; the first one of IPv4 is the primary one.
    pub vpc_cidrs: Vec<IpNet>,
    /// IPv4 addresses; the first one is its own, the others are secondary.
    pub ipv4: Vec<Ipv4Addr>,
    /// IPv6 addresses.
    pub ipv6: Vec<Ipv6Addr>,
    /// Delegated prefixes of both families.
    pub prefixes: Vec<IpNet>,
    /// Its security groups.
    pub groups: Vec<Group>,
}

impl View {
    /// A view of one instance.
    pub fn of(instance: Instance) -> Self {
        Self {
            instances: BTreeMap::from([(instance.id.clone(), instance)]),
        }
    }

    /// The instance that sends from an address: one that EC2 has assigned to an
    /// interface of it. Addresses that IPv6 maps IPv4 into count as IPv4.
    pub fn instance_at(&self, address: IpAddr) -> Option<&Instance> {
        let address = address.to_canonical();
        self.instances.values().find(|instance| {
            let mut interfaces = instance.interfaces.iter();
            interfaces.any(|interface| interface.sends_from(address))
        })
    }
}

impl Instance {
    /// An instance in `us-east-1a`, of LocalStack's account, without interfaces
    /// and with the options that EC2's API gives.
    pub fn new(id: &str, instance_type: &str) -> Self {
        Self {
            id: id.to_owned(),
            instance_type: instance_type.to_owned(),
            architecture: "x86_64".to_owned(),
            image: "ami-00000000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            zone: "us-east-1a".to_owned(),
            account: "000000000000".to_owned(),
            reservation: "r-00000000000000000".to_owned(),
            launched: 0,
            options: Options::default(),
            tags: BTreeMap::new(),
            role: None,
            several_cards: false,
            interfaces: Vec::new(),
        }
    }

    /// The primary interface.
    pub fn primary(&self) -> Option<&Interface> {
        let mut interfaces = self.interfaces.iter();
        interfaces.find(|interface| interface.device_index == 0 && interface.network_card == 0)
    }

    /// The instance's name in its region's private domain, by the own address of
    /// its primary interface.
    pub(super) fn host_name(&self) -> Option<String> {
        Some(self.host_name_of(self.primary()?))
    }

    /// An interface's name in the region's private domain: by its own address, or
    /// by the instance's id when it has none of IPv4.
    pub(super) fn host_name_of(&self, interface: &Interface) -> String {
        let domain = match self.region.as_str() {
            "us-east-1" => "ec2.internal".to_owned(),
            region => format!("{region}.compute.internal"),
        };
        let host = match interface.ipv4.first() {
            Some(own) => format!("ip-{}", own.to_string().replace('.', "-")),
            None => self.id.clone(),
        };
        format!("{host}.{domain}")
    }
}

impl Interface {
    /// An interface of LocalStack's account at a device index of card 0, without
    /// addresses.
    pub fn new(id: &str, mac: Mac, device_index: u32) -> Self {
        Self {
            id: id.to_owned(),
            mac,
            device_index,
            network_card: 0,
            owner: "000000000000".to_owned(),
            subnet: "subnet-00000000000000000".to_owned(),
            subnet_cidrs: Vec::new(),
            vpc: "vpc-00000000000000000".to_owned(),
            vpc_cidrs: Vec::new(),
            ipv4: Vec::new(),
            ipv6: Vec::new(),
            prefixes: Vec::new(),
            groups: Vec::new(),
        }
    }

    fn sends_from(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) if self.ipv4.contains(&address) => true,
            IpAddr::V6(address) if self.ipv6.contains(&address) => true,
            _ => self.prefixes.iter().any(|prefix| prefix.contains(&address)),
        }
    }
}
