//! The virtual network: its ranges, those of its peerings, its subnets, and how much of
//! each is used. Ranges change rarely, so they are kept for a while.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;
use tokio::time::Instant;

use crate::actions::Action;
use crate::client::Client;
use crate::failure::Failure;
use crate::inventory::VERSION;
use crate::target::same_id;

/// So long ranges are kept.
const KEPT: Duration = Duration::from_secs(600);
/// Azure reserves so many addresses of a subnet.
const RESERVED: u32 = 5;

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownSubnet {
    pub(crate) id: String,
    pub(crate) cidrs: Vec<IpNet>,
}

/// A virtual network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ranges {
    /// Its own address space and those of its peerings.
    pub(crate) network: Vec<IpNet>,
    pub(crate) subnets: Vec<KnownSubnet>,
}

/// What was last read of the virtual network.
#[derive(Debug, Default)]
pub(crate) struct Network {
    kept: Mutex<Option<(Instant, Ranges)>>,
}

impl Network {
    /// The network of a subnet.
    pub(crate) async fn ranges(&self, client: &Client, subnet: &str) -> Result<Ranges, Failure> {
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some((when, ranges)) = &kept
            && when.elapsed() < KEPT
        {
            return Ok(ranges.clone());
        }
        match client
            .get(Action::GetNetwork, network_id(subnet), VERSION)
            .await
        {
            Ok(answer) => {
                let ranges = Ranges::of(&answer.body);
                let known = Some((Instant::now(), ranges.clone()));
                *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = known;
                Ok(ranges)
            }
            // What is known is better than nothing: it changes rarely.
            Err(failure) => match kept {
                Some((_, ranges)) => {
                    let reason = failure.error(None).reason;
                    tracing::warn!(reason, "failed to read the virtual network again");
                    Ok(ranges)
                }
                None => Err(failure),
            },
        }
    }
}

/// How many addresses of a subnet are free; `None` where Azure does not tell.
pub(crate) async fn free(client: &Client, subnet: &str) -> Result<Option<u32>, Failure> {
    let id = format!("{}/usages", network_id(subnet));
    let answer = client.get(Action::ListUsages, &id, VERSION).await?;
    let usages = answer.body.get("value").and_then(Value::as_array);
    let mut usages = usages.into_iter().flatten();
    let own = usages.find(|one| {
        let id = one.get("id").and_then(Value::as_str);
        id.is_some_and(|id| same_id(id, subnet))
    });
    Ok(own.and_then(|usage| {
        let number = |key| usage.get(key).and_then(Value::as_f64);
        let left = number("limit")? - number("currentValue")?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the range of a subnet's size after clamping"
        )]
        Some(left.clamp(0.0, f64::from(u32::MAX)) as u32)
    }))
}

/// How many addresses an empty subnet has for resources.
pub(crate) fn size(cidrs: &[IpNet]) -> u32 {
    let sizes = cidrs.iter().filter_map(|range| match range {
        IpNet::V4(range) => Some(1_u32.checked_shl((32 - range.prefix_len()).into())),
        IpNet::V6(_) => None,
    });
    let all = sizes.map(|size| size.unwrap_or(u32::MAX).saturating_sub(RESERVED));
    all.fold(0, u32::saturating_add)
}

fn network_id(subnet: &str) -> &str {
    let lower = subnet.to_ascii_lowercase();
    lower
        .rfind("/subnets/")
        .map_or(subnet, |end| &subnet[..end])
}

impl Ranges {
    fn of(network: &Value) -> Self {
        let mut ranges = prefixes(network.pointer("/properties/addressSpace"));
        let peerings = network.pointer("/properties/virtualNetworkPeerings");
        for peering in peerings.and_then(Value::as_array).into_iter().flatten() {
            ranges.extend(prefixes(peering.pointer("/properties/remoteAddressSpace")));
        }
        let subnets = network
            .pointer("/properties/subnets")
            .and_then(Value::as_array);
        let subnets = subnets.into_iter().flatten().filter_map(|subnet| {
            Some(KnownSubnet {
                id: subnet.get("id")?.as_str()?.to_owned(),
                cidrs: prefixes(subnet.get("properties")),
            })
        });
        Self {
            network: ranges,
            subnets: subnets.collect(),
        }
    }

    pub(crate) fn subnet(&self, id: &str) -> Option<&KnownSubnet> {
        self.subnets.iter().find(|one| same_id(&one.id, id))
    }
}

/// `addressPrefixes`, or the one `addressPrefix` that older subnets have.
fn prefixes(of: Option<&Value>) -> Vec<IpNet> {
    let Some(of) = of else {
        return Vec::new();
    };
    let several = of.get("addressPrefixes").and_then(Value::as_array);
    let one = of.get("addressPrefix");
    let all = several.into_iter().flatten().chain(one);
    let mut found: Vec<IpNet> = Vec::new();
    for range in all.filter_map(|text| text.as_str()?.parse().ok()) {
        if !found.contains(&range) {
            found.push(range);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_network_s_ranges_are_its_own_and_those_of_its_peerings() {
        let network = json!({"properties": {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/16", "10.1.0.0/16"]},
            "subnets": [
                {"id": "/n/subnets/a", "properties": {"addressPrefix": "10.0.0.0/24"}},
                {"id": "/n/subnets/b", "properties": {
                    "addressPrefix": "10.0.1.0/24",
                    "addressPrefixes": ["10.0.1.0/24", "fd00::/64"],
                }},
            ],
            "virtualNetworkPeerings": [{"properties": {
                "remoteAddressSpace": {"addressPrefixes": ["10.9.0.0/16"]},
            }}],
        }});
        let ranges = Ranges::of(&network);
        let texts: Vec<String> = ranges.network.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.0/16", "10.1.0.0/16", "10.9.0.0/16"]);
        let b = ranges.subnet("/N/Subnets/B").expect("is there");
        assert_eq!(b.cidrs.len(), 2);
        assert_eq!(size(&b.cidrs), 251);
    }

    #[test]
    fn a_subnet_s_network_is_what_stands_before_it_whatever_its_case() {
        assert_eq!(
            network_id("/x/virtualNetworks/n/SUBNETS/s"),
            "/x/virtualNetworks/n"
        );
        assert_eq!(network_id("/x"), "/x");
    }
}
