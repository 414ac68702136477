//! A subnet's free space over its ranges, and what was taken from it to make
//! it scarce.

use std::net::IpAddr;

use ipnet::IpNet;
use rand::rngs::StdRng;
use veni_provider::{ErrorClass, Family, Scarcity, Subnet};

use crate::allocator::{Allocator, Lease};
use crate::config::{AllocationOrder, SubnetConfig};
use crate::dump::SubnetDump;
use crate::refusal::Refusal;

#[derive(Debug)]
pub(crate) struct SubnetState {
    pub(crate) config: SubnetConfig,
    ranges: Vec<Allocator>,
    filled: Vec<Lease>,
}

impl SubnetState {
    pub(crate) fn new(config: SubnetConfig, order: AllocationOrder) -> Self {
        let ranges = config
            .cidrs
            .iter()
            .map(|cidr| Allocator::new(*cidr, order))
            .collect();
        Self {
            config,
            ranges,
            filled: Vec::new(),
        }
    }

    pub(crate) fn families(&self) -> impl Iterator<Item = Family> {
        self.ranges.iter().map(Allocator::family)
    }

    /// The first address of each range, as clouds have it.
    pub(crate) fn gateways(&self) -> Vec<IpAddr> {
        self.config
            .cidrs
            .iter()
            .map(|cidr| match cidr.network() {
                IpAddr::V4(network) => IpAddr::V4((network.to_bits() | 1).into()),
                IpAddr::V6(network) => IpAddr::V6((network.to_bits() | 1).into()),
            })
            .collect()
    }

    pub(crate) fn free_ipv4(&self) -> u32 {
        small(self.range(Family::V4).map(Allocator::free_addresses))
    }

    pub(crate) fn as_seen(&self) -> Subnet {
        Subnet {
            id: self.config.id.clone(),
            cidrs: self.config.cidrs.clone(),
            free_ipv4: self.free_ipv4(),
            usable: self.config.for_pods,
        }
    }

    pub(crate) fn dump(&self) -> SubnetDump {
        let range = self.range(Family::V4);
        let size = range.map_or(0, |range| {
            1_u32 << (32 - range.range().prefix_len()).min(31)
        });
        SubnetDump {
            id: self.config.id.clone(),
            free_ipv4: self.free_ipv4(),
            free_ipv4_prefixes: small(range.map(Allocator::free_prefixes)),
            free_ipv6_prefixes: small(self.range(Family::V6).map(Allocator::free_prefixes)),
            used_ipv4: size.saturating_sub(5 + self.free_ipv4()),
            filled: self.filled.clone(),
        }
    }

    pub(crate) fn take_address(
        &mut self,
        family: Family,
        rng: &mut StdRng,
    ) -> Result<IpAddr, Refusal> {
        self.range_mut(family)?
            .take_address(rng)
            .ok_or_else(|| self.exhausted(Scarcity::Addresses))
    }

    pub(crate) fn take_prefix(
        &mut self,
        family: Family,
        rng: &mut StdRng,
    ) -> Result<IpNet, Refusal> {
        self.range_mut(family)?
            .take_prefix(rng)
            .ok_or_else(|| self.exhausted(Scarcity::Prefixes))
    }

    pub(crate) fn take_this(&mut self, address: IpAddr) -> bool {
        self.ranges.iter_mut().any(|range| range.take_this(address))
    }

    pub(crate) fn free(&mut self, lease: Lease) {
        for range in &mut self.ranges {
            if range.free(lease) {
                return;
            }
        }
    }

    pub(crate) fn fill(&mut self, leave_free: u32, rng: &mut StdRng) {
        for range in &mut self.ranges {
            let taken = range.fill(u128::from(leave_free), rng);
            self.filled.extend(taken.into_iter().map(Lease::Address));
        }
    }

    pub(crate) fn fragment(&mut self, rng: &mut StdRng) {
        for range in &mut self.ranges {
            let taken = range.fragment(rng);
            self.filled.extend(taken.into_iter().map(Lease::Address));
        }
    }

    pub(crate) fn unfill(&mut self) {
        for lease in std::mem::take(&mut self.filled) {
            self.free(lease);
        }
    }

    fn range(&self, family: Family) -> Option<&Allocator> {
        self.ranges.iter().find(|range| range.family() == family)
    }

    fn range_mut(&mut self, family: Family) -> Result<&mut Allocator, Refusal> {
        let id = self.config.id.clone();
        self.ranges
            .iter_mut()
            .find(|range| range.family() == family)
            .ok_or_else(|| {
                Refusal::new(
                    ErrorClass::Invalid,
                    format!("InvalidParameterValue: subnet {id} has no range of this family"),
                )
            })
    }

    fn exhausted(&self, scarcity: Scarcity) -> Refusal {
        let id = &self.config.id;
        let text = match scarcity {
            Scarcity::Addresses => format!(
                "InsufficientFreeAddressesInSubnet: subnet {id} has not enough free addresses"
            ),
            Scarcity::Prefixes => format!(
                "InsufficientCidrBlocks: subnet {id} has not enough free aligned blocks \
                 ({} single addresses are free)",
                self.free_ipv4()
            ),
        };
        let class = ErrorClass::Exhausted {
            subnet: id.clone(),
            scarcity,
        };
        Refusal::new(class, text)
    }
}

fn small(count: Option<u128>) -> u32 {
    u32::try_from(count.unwrap_or(0)).unwrap_or(u32::MAX)
}
