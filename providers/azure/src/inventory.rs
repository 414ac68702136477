//! What the node holds, as ARM shows it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::PoisonError;

use ipnet::IpNet;
use veni_provider::{
    DEFAULT_NETWORK_CARD, ErrorClass, Grant, Interface, InterfaceId, InterfaceState, Inventory,
    ProviderError, Subnet, SubnetId,
};

use crate::actions::Action;
use crate::configurations::{Nic, Provisioning};
use crate::network::{self, KnownSubnet};
use crate::operations::add;
use crate::provider::Core;

/// The version of Microsoft.Network's API: with blocks, which came with 2023-11-01.
pub(crate) const VERSION: &str = "2024-05-01";

impl Core {
    /// Reads the NIC.
    pub(crate) async fn nic(&self) -> Result<Nic, ProviderError> {
        let answer = self.client.get(Action::GetNic, &self.nic_id, VERSION).await;
        Nic::of(&answer.map_err(|failure| failure.error(None))?.body)
    }

    pub(crate) async fn inventory(&self) -> Result<Inventory, ProviderError> {
        let nic = self.nic().await?;
        let held = self.usable(&nic)?;
        let ranges = self.network.ranges(&self.client, &nic.subnet).await;
        let ranges = ranges.map_err(|failure| failure.error(None))?;
        let known = ranges.subnet(&nic.subnet).cloned();
        let known = known.unwrap_or_else(|| KnownSubnet {
            id: nic.subnet.clone(),
            cidrs: Vec::new(),
        });
        // Pods have IPv4 alone.
        let cidrs: Vec<IpNet> = known.cidrs.iter().copied().filter(is_v4).collect();
        let free_ipv4 = self.free(&nic.subnet, &cidrs).await;
        let id = SubnetId::new(&nic.subnet);
        Ok(Inventory {
            interfaces: vec![interface(&nic, held, &cidrs)?],
            subnets: vec![Subnet {
                id,
                cidrs,
                free_ipv4,
                usable: true,
            }],
        })
    }

    /// How many addresses the subnet has left. Where that is not told, a full subnet shows
    /// when one is asked for.
    async fn free(&self, subnet: &str, cidrs: &[IpNet]) -> u32 {
        match network::free(&self.client, subnet).await {
            Ok(Some(free)) => free,
            Ok(None) => network::size(cidrs),
            Err(failure) => {
                let reason = failure.error(None).reason;
                tracing::warn!(subnet, reason, "failed to read how full the subnet is");
                network::size(cidrs)
            }
        }
    }

    /// What pods may have: ranges of configurations of ours that have `Succeeded`. While a
    /// write is under way, and after one that has failed, ARM may show all of them in the
    /// NIC's state, so those that were good before stay so.
    ///
    /// # Errors
    /// `Transient`: a write is under way, and this daemon cannot know whether an address that
    /// shows was good before it.
    fn usable(&self, nic: &Nic) -> Result<Grant, ProviderError> {
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        let first = !matches!(*good, Good::Names(_));
        let mut grant = Grant::default();
        let mut names = BTreeSet::new();
        for one in nic.configurations.iter().filter(|one| one.ours.is_some()) {
            let Some(range) = one.range else { continue };
            if one.state == Provisioning::Succeeded || good.has(&one.name, &range) {
                add(&mut grant, range);
                names.insert(one.name.clone());
            } else if first && nic.state == Provisioning::Underway {
                let reason = format!(
                    "{} has not succeeded, and a write of {} is under way: what was good before \
                     it shows when it has ended",
                    one.name, nic.id
                );
                let operation = Action::GetNic.label();
                return Err(ProviderError::new(ErrorClass::Transient, operation, reason));
            }
        }
        *good = Good::Names(names);
        Ok(grant)
    }

    /// Notes what is good, for the time of the next write.
    pub(crate) fn remember(&self, nic: &Nic) {
        // What cannot be told now the next look tells.
        let _ = self.usable(nic);
    }
}

/// Which configurations of ours were good.
#[derive(Debug)]
pub(crate) enum Good {
    /// Those with these ranges, as a daemon before has seen them; none where nothing is
    /// remembered.
    Ranges(BTreeSet<IpNet>),
    /// Those of these names, at this daemon's last look.
    Names(BTreeSet<String>),
}

impl Default for Good {
    fn default() -> Self {
        Self::Ranges(BTreeSet::new())
    }
}

impl Good {
    fn has(&self, name: &str, range: &IpNet) -> bool {
        match self {
            Self::Ranges(ranges) => ranges.contains(range),
            Self::Names(names) => names.contains(name),
        }
    }
}

fn is_v4(range: &IpNet) -> bool {
    matches!(range, IpNet::V4(_))
}

/// The NIC in the provider's nouns. Configurations of others are neither the node's own
/// addresses nor pods': they only take slots.
fn interface(nic: &Nic, held: Grant, cidrs: &[IpNet]) -> Result<Interface, ProviderError> {
    let mac = nic.mac.parse().map_err(|error| {
        let reason = format!("{}: {error}; is its machine running?", nic.id);
        ProviderError::new(ErrorClass::Transient, Action::GetNic.label(), reason)
    })?;
    Ok(Interface {
        id: InterfaceId::new(&nic.id),
        mac,
        device_index: 0,
        network_card: DEFAULT_NETWORK_CARD,
        primary: true,
        managed: true,
        made_for_pods: false,
        for_pods: true,
        state: match nic.state {
            Provisioning::Underway => InterfaceState::Updating,
            Provisioning::Succeeded | Provisioning::Failed => InterfaceState::Attached,
        },
        subnet: SubnetId::new(&nic.subnet),
        subnet_cidrs: cidrs.to_vec(),
        gateways: cidrs.iter().filter_map(gateway).collect(),
        own_addresses: nic.primary_address().into_iter().collect(),
        addresses: held.addresses,
        prefixes: held.prefixes,
    })
}

/// The next hop of a subnet is its first address after the network's own.
/// <https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq>
fn gateway(range: &IpNet) -> Option<IpAddr> {
    match range {
        IpNet::V4(range) => {
            let first = range.network().to_bits().checked_add(1)?;
            Some(IpAddr::V4(first.into()))
        }
        IpNet::V6(_) => None,
    }
}
