//! What instance metadata shows of the interfaces: the inventory of a node that
//! may not ask EC2, where others attach interfaces and assign addresses and
//! Veni uses what is there; and the local view for all others, which tells when it is
//! worth asking EC2.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::timeout;
use veni_provider::{
    DEFAULT_NETWORK_CARD, ErrorClass, Interface, InterfaceId, InterfaceState, Inventory, LocalView,
    Mac, ProviderError, Subnet, SubnetId,
};

use crate::identity::INTERFACES;
use crate::interfaces::own_first;
use crate::provider::Core;
use crate::subnets::Record;

/// A local view that takes longer is given up; the next one comes soon.
const LOCAL_VIEW_TIMEOUT: Duration = Duration::from_secs(10);

/// What of the primary interface is worth a look when it changes.
const MARKS: [&str; 3] = [
    "security-group-ids",
    "vpc-ipv4-cidr-blocks",
    "vpc-ipv6-cidr-blocks",
];

impl Core {
    /// What metadata shows now; `None` when it does not answer, or is another
    /// machine's.
    pub(crate) async fn local_view(&self) -> Option<LocalView> {
        if !self.at_home {
            return None;
        }
        match timeout(LOCAL_VIEW_TIMEOUT, self.read_local_view())
            .await
            .ok()?
        {
            Ok(view) => Some(view),
            Err(error) => {
                tracing::debug!(%error, "no local view of the interfaces");
                None
            }
        }
    }

    async fn read_local_view(&self) -> Result<LocalView, ProviderError> {
        let mut view = LocalView::default();
        let macs = self.metadata.required(INTERFACES).await?;
        for mac in macs.split_whitespace() {
            let mac = mac.trim_end_matches('/');
            let Ok(parsed) = mac.parse::<Mac>() else {
                continue;
            };
            let ranges = self.ranges_by_metadata(mac).await?;
            view.interfaces.insert(parsed, ranges);
        }
        // The other interfaces follow the primary one's groups, and what leaves
        // the VPC's ranges is translated: both are looked at with an inventory.
        if let Some(mac) = &self.instance.mac {
            for what in MARKS {
                let marks: Vec<String> = all_of(&self.told(mac, what).await?);
                view.marks.extend(marks);
            }
        }
        Ok(view)
    }

    async fn ranges_by_metadata(&self, mac: &str) -> Result<BTreeSet<IpNet>, ProviderError> {
        let mut ranges = BTreeSet::new();
        for what in ["local-ipv4s", "ipv6s"] {
            let addresses: Vec<IpAddr> = all_of(&self.told(mac, what).await?);
            ranges.extend(addresses.into_iter().map(IpNet::from));
        }
        for what in ["ipv4-prefix", "ipv6-prefix"] {
            let prefixes: Vec<IpNet> = all_of(&self.told(mac, what).await?);
            ranges.extend(prefixes);
        }
        Ok(ranges)
    }

    /// What is told of an interface; `None` where there is no such thing.
    async fn told(&self, mac: &str, what: &str) -> Result<Option<String>, ProviderError> {
        let path = format!("{INTERFACES}{mac}/{what}");
        self.metadata.optional(&path).await
    }

    /// What metadata tells of all interfaces. Nothing is usable for more: EC2 is
    /// not asked for it.
    pub(crate) async fn inventory_by_metadata(&self) -> Result<Inventory, ProviderError> {
        let macs = self.metadata.required(INTERFACES).await?;
        let mut interfaces = Vec::new();
        let mut subnets: Vec<Subnet> = Vec::new();
        for mac in macs.split_whitespace() {
            let mac = mac.trim_end_matches('/');
            // One that goes while we look is left out.
            let Some(interface) = self.interface_by_metadata(mac).await? else {
                continue;
            };
            if subnets.iter().all(|known| known.id != interface.subnet) {
                subnets.push(Subnet {
                    id: interface.subnet.clone(),
                    cidrs: interface.subnet_cidrs.clone(),
                    free_ipv4: 0,
                    usable: false,
                });
            }
            interfaces.push(interface);
        }
        interfaces.sort_by_key(|one| (one.network_card, one.device_index));
        Ok(Inventory {
            interfaces,
            subnets,
        })
    }

    /// The interface of a MAC; `None` when it is gone.
    async fn interface_by_metadata(&self, mac: &str) -> Result<Option<Interface>, ProviderError> {
        let mut told = Told::new();
        for what in ASKED {
            if let Some(text) = self.told(mac, what).await? {
                told.insert(what, text);
            }
        }
        let custom = self.settings.custom_network().is_some();
        interface_of(mac, &told, self.instance.ipv6, custom)
    }
}

/// What is told of an interface, by the last part of its path.
pub(crate) type Told = BTreeMap<&'static str, String>;

/// What is asked of an interface. What every one has comes last: one that goes while its
/// addresses are read must not stay without them.
pub(crate) const ASKED: [&str; 10] = [
    "local-ipv4s",
    "ipv6s",
    "ipv4-prefix",
    "ipv6-prefix",
    "subnet-ipv4-cidr-block",
    "subnet-ipv6-cidr-blocks",
    "network-card",
    "device-number",
    "interface-id",
    "subnet-id",
];

/// The interface of a MAC by what is told of it; `None` when it is gone. `ipv6` is the
/// instance's own address, and with a custom network no pod is on the primary interface.
///
/// # Errors
/// It is told in part.
pub(crate) fn interface_of(
    mac: &str,
    told: &Told,
    ipv6: Option<IpAddr>,
    custom_network: bool,
) -> Result<Option<Interface>, ProviderError> {
    let texts = |what: &str| told.get(what).cloned();
    let ipv4: Vec<IpAddr> = all_of(&texts("local-ipv4s"));
    let ipv6s: Vec<IpAddr> = all_of(&texts("ipv6s"));
    let mut prefixes: Vec<IpNet> = all_of(&texts("ipv4-prefix"));
    prefixes.extend(all_of::<IpNet>(&texts("ipv6-prefix")));
    prefixes.sort_unstable();
    let mut ranges: Vec<IpNet> = all_of(&texts("subnet-ipv4-cidr-block"));
    ranges.extend(all_of::<IpNet>(&texts("subnet-ipv6-cidr-blocks")));
    let network_card = texts("network-card").and_then(|text| text.parse().ok());
    let network_card = network_card.unwrap_or(DEFAULT_NETWORK_CARD);
    let device_index = texts("device-number").and_then(|text| text.parse().ok());
    let (Some(id), Some(device_index), Some(subnet), Ok(mac)) = (
        texts("interface-id"),
        device_index,
        texts("subnet-id"),
        mac.parse::<Mac>(),
    ) else {
        return Ok(None);
    };
    let on_default_card = network_card == DEFAULT_NETWORK_CARD;
    let primary = device_index == 0 && on_default_card;
    // One for remote memory access alone has a subnet and no address.
    let has_ipv4 = !ipv4.is_empty();
    let needs_ipv4 = primary || prefixes.iter().any(|prefix| prefix.addr().is_ipv4());
    let in_ipv4 = ranges.iter().any(|range| range.addr().is_ipv4());
    if (has_ipv4 && !in_ipv4) || (in_ipv4 && needs_ipv4 && !has_ipv4) {
        return Err(told_in_part(&id));
    }
    let (mut own_addresses, addresses) = own_and_others(&ipv4, &ipv6s, primary);
    own_first(&mut own_addresses, ipv6);
    let record = Record::told(SubnetId::new(subnet), ranges);
    Ok(Some(Interface {
        id: InterfaceId::new(id),
        mac,
        device_index,
        network_card,
        primary,
        // Metadata does not tell an interface's tags.
        managed: on_default_card,
        made_for_pods: false,
        for_pods: !primary || !custom_network,
        state: InterfaceState::Attached,
        gateways: record.gateways(),
        subnet: record.id,
        subnet_cidrs: record.cidrs,
        own_addresses,
        addresses,
        prefixes,
    }))
}

/// Reads what metadata tells of an interface, one text after the other in the order in which
/// they are asked for: a way in for fuzzing. An empty text is none.
///
/// # Errors
/// It is told in part.
#[cfg(feature = "fuzz")]
pub fn read_interface<'a>(
    mac: &str,
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<Option<Interface>, ProviderError> {
    let told = ASKED.into_iter().zip(texts);
    let told = told.filter(|(_, text)| !text.is_empty());
    let told = told
        .map(|(what, text)| (what, text.trim().to_owned()))
        .collect();
    interface_of(mac, &told, None, false)
}

/// A list that must be there is missing for a moment: that proves nothing.
fn told_in_part(id: &str) -> ProviderError {
    let reason = format!("interface {id} is listed without its IPv4 addresses or their subnet");
    ProviderError::new(ErrorClass::Transient, "instance metadata", reason)
}

/// The interface's own addresses, and all others in order. The first IPv4
/// address is its own, and so are all of IPv6 on the primary interface.
fn own_and_others(ipv4: &[IpAddr], ipv6: &[IpAddr], primary: bool) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let (first, further) = ipv4.split_at(ipv4.len().min(1));
    let (mut own, mut others) = (first.to_vec(), further.to_vec());
    match primary {
        true => own.extend(ipv6),
        false => others.extend(ipv6),
    }
    others.sort_unstable();
    (own, others)
}

/// All items of a text, one per line.
fn all_of<T: FromStr>(text: &Option<String>) -> Vec<T> {
    let items = text.as_deref().unwrap_or_default().split_whitespace();
    items.filter_map(|item| item.parse().ok()).collect()
}
