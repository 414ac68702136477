//! Subnets: what Describe says of them, and which of them new interfaces may be
//! made in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aws_sdk_ec2::types::{Subnet as Described, SubnetCidrBlockStateCode, Tag};
use ipnet::IpNet;
use veni_provider::{Subnet, SubnetId};

use crate::settings::{AwsSettings, CustomNetwork};
use crate::tags;

/// The VPC's router answers here on every subnet that has IPv6.
const IPV6_ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0x0ec2, 0, 0, 0, 0, 0, 1);

/// A subnet as EC2 describes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) id: SubnetId,
    pub(crate) cidrs: Vec<IpNet>,
    pub(crate) free_ipv4: u32,
    tags: Vec<Tag>,
}

impl Record {
    /// `None` for a subnet without an id, which EC2 does not have.
    pub(crate) fn of(described: &Described) -> Option<Self> {
        let ipv4 = described.cidr_block().and_then(|text| text.parse().ok());
        let ipv6 = described
            .ipv6_cidr_block_association_set()
            .iter()
            .find(|association| {
                let state = association.ipv6_cidr_block_state().and_then(|s| s.state());
                state == Some(&SubnetCidrBlockStateCode::Associated)
            })
            .and_then(|association| association.ipv6_cidr_block()?.parse().ok());
        let free = described.available_ip_address_count().unwrap_or(0);
        Some(Self {
            id: SubnetId::new(described.subnet_id()?),
            cidrs: ipv4.into_iter().chain(ipv6).collect(),
            free_ipv4: u32::try_from(free).unwrap_or(0),
            tags: described.tags().to_vec(),
        })
    }

    /// A subnet of which only the ranges are known.
    pub(crate) fn told(id: SubnetId, cidrs: Vec<IpNet>) -> Self {
        Self {
            id,
            cidrs,
            free_ipv4: 0,
            tags: Vec::new(),
        }
    }

    /// Whether its tags keep pods out, also those of interfaces in it.
    pub(crate) fn excluded(&self) -> bool {
        tags::value(&self.tags, tags::SUBNET_ROLE) == Some("0")
    }

    /// Next hops, one per range: the first address after the network's for
    /// IPv4.
    pub(crate) fn gateways(&self) -> Vec<IpAddr> {
        let next_hop = |cidr: &IpNet| match cidr {
            IpNet::V4(range) => {
                let first = u32::from(range.network()).checked_add(1)?;
                Some(IpAddr::V4(Ipv4Addr::from(first)))
            }
            IpNet::V6(_) => Some(IpAddr::V6(IPV6_ROUTER)),
        };
        self.cidrs.iter().filter_map(next_hop).collect()
    }
}

/// Whether new interfaces may be made in it.
fn usable(
    record: &Record,
    primary: &SubnetId,
    custom: Option<&CustomNetwork>,
    settings: &AwsSettings,
) -> bool {
    if let Some(custom) = custom {
        return record.id == custom.subnet;
    }
    let is_primary = record.id == *primary;
    if !settings.subnet_discovery {
        return is_primary;
    }
    let role = tags::value(&record.tags, tags::SUBNET_ROLE);
    let lets_in = role.map_or(is_primary, |value| value != "0");
    lets_in && serves(record, settings.cluster_name.as_deref())
}

/// A subnet that names clusters serves those alone.
fn serves(record: &Record, cluster: Option<&str>) -> bool {
    let Some(cluster) = cluster else {
        return true;
    };
    let mut named = record
        .tags
        .iter()
        .filter_map(|tag| tag.key()?.strip_prefix(tags::SUBNET_CLUSTER))
        .peekable();
    named.peek().is_none() || named.any(|name| name == cluster)
}

/// The subnets to show: those that are usable, most free addresses first, then
/// those that only hold interfaces. One that an ENIConfig names is shown although
/// EC2 has none of the name: who tries it is told so.
pub(crate) fn choose(
    records: &[Record],
    primary: &SubnetId,
    held: &[SubnetId],
    settings: &AwsSettings,
) -> Vec<Subnet> {
    let custom = settings.custom_network();
    let mut shown: Vec<Subnet> = records
        .iter()
        .map(|record| Subnet {
            id: record.id.clone(),
            cidrs: record.cidrs.clone(),
            free_ipv4: record.free_ipv4,
            usable: usable(record, primary, custom.as_ref(), settings),
        })
        .filter(|subnet| subnet.usable || held.contains(&subnet.id) || subnet.id == *primary)
        .collect();
    if let Some(custom) = custom
        && shown.iter().all(|subnet| subnet.id != custom.subnet)
    {
        shown.push(Subnet {
            id: custom.subnet,
            cidrs: Vec::new(),
            free_ipv4: 0,
            usable: true,
        });
    }
    shown.sort_by(|a, b| {
        let best_first = |subnet: &Subnet| (!subnet.usable, u32::MAX - subnet.free_ipv4);
        best_first(a)
            .cmp(&best_first(b))
            .then_with(|| a.id.cmp(&b.id))
    });
    shown
}

#[cfg(test)]
mod tests;
