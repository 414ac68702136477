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
        let held = self.usable(&nic);
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
    /// write is under way ARM may show all of them as updating, so those that were good
    /// before stay so; and so do those that the first look of a daemon finds, as pods of the
    /// daemon before it may have them.
    fn usable(&self, nic: &Nic) -> Grant {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let updating = nic.state == Provisioning::Underway;
        let good = |name: &str, state: Provisioning| match state {
            Provisioning::Succeeded => true,
            _ if updating => seen.as_ref().is_none_or(|seen| seen.contains(name)),
            _ => false,
        };
        let mut grant = Grant::default();
        let mut names = BTreeSet::new();
        for one in nic.configurations.iter().filter(|one| one.ours.is_some()) {
            let Some(range) = one.range.filter(|_| good(&one.name, one.state)) else {
                continue;
            };
            add(&mut grant, range);
            names.insert(one.name.clone());
        }
        *seen = Some(names);
        grant
    }

    /// Notes what is good, for the time of the next write.
    pub(crate) fn remember(&self, nic: &Nic) {
        self.usable(nic);
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
