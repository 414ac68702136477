//! `/v1/enis`: interfaces with their addresses, in the AWS plugin's form. As
//! there, containers and their interfaces are not named, pods are.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use ipnet::IpNet;
use serde_json::{Map, Value, json};
use veni_api::timestamp::rfc_3339;
use veni_provider::DEFAULT_NETWORK_CARD;

use crate::journal::endpoint::Record;
use crate::pool::{AddressReport, AddressState, InterfaceReport, InterfaceState, PoolReport};
use crate::serve::seconds_up;

/// The kernel's table `main`, by which traffic of the primary interface leaves.
const MAIN_TABLE: u32 = 254;
/// For an interface by which nothing is routed.
const NO_TABLE: u32 = 0;
/// A time that was not, in the AWS plugin's form.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Who has which address.
type Users<'a> = HashMap<IpAddr, &'a Record>;

/// The answer: by network card, as in the AWS plugin since it knows several. Pods have
/// addresses of the first card alone, which is always there.
pub(super) fn of(pool: &PoolReport, endpoints: &[Record]) -> Value {
    let users: Users<'_> = endpoints
        .iter()
        .flat_map(|record| {
            let addresses = record.addresses().into_iter();
            addresses.map(move |address| (address, record))
        })
        .collect();
    let mut cards = BTreeMap::from([(DEFAULT_NETWORK_CARD, Map::new())]);
    for interface in &pool.interfaces {
        let enis = cards.entry(interface.network_card).or_default();
        enis.insert(interface.id.to_string(), eni(interface, &users));
    }
    let answer = cards.into_iter().map(|(card, enis)| {
        let (total, assigned) = match card {
            DEFAULT_NETWORK_CARD => (pool.counts.total, pool.counts.assigned),
            _ => (0, 0),
        };
        let of_card = json!({ "TotalIPs": total, "AssignedIPs": assigned, "ENIs": enis });
        (card.to_string(), of_card)
    });
    Value::Object(answer.collect())
}

fn eni(interface: &InterfaceReport, users: &Users<'_>) -> Value {
    let single = interface.addresses.iter();
    let single = single.map(|one| (IpNet::from(one.address), std::slice::from_ref(one)));
    let prefixes = interface.prefixes.iter();
    let prefixes = prefixes.map(|prefix| (prefix.prefix, prefix.used.as_slice()));
    let (mut v4, mut v6) = (Map::new(), Map::new());
    for (range, addresses) in single.chain(prefixes) {
        let family = match range {
            IpNet::V4(_) => &mut v4,
            IpNet::V6(_) => &mut v6,
        };
        family.insert(range.to_string(), cidr(range, addresses, users));
    }
    let table = match interface {
        one if one.primary => MAIN_TABLE,
        // Nothing is routed by interfaces on other network cards.
        one if one.network_card != DEFAULT_NETWORK_CARD => NO_TABLE,
        one => one.table.unwrap_or(NO_TABLE),
    };
    json!({
        "ID": interface.id.as_str(),
        "IsPrimary": interface.primary,
        "IsTrunk": false,
        "IsEFA": false,
        "DeviceNumber": interface.device_index,
        "AvailableIPv4Cidrs": v4,
        "IPv6Cidrs": v6,
        "IsExcludedForPodIPs": interface.state == InterfaceState::Unmanaged,
        "RouteTableID": table,
        "SubnetID": interface.subnet.as_str(),
    })
}

fn cidr(range: IpNet, addresses: &[AddressReport], users: &Users<'_>) -> Value {
    let shown: Map<String, Value> = addresses
        .iter()
        .map(|one| (one.address.to_string(), address(one, users)))
        .collect();
    json!({
        "Cidr": { "IP": range.addr(), "Mask": mask(range) },
        "IPAddresses": shown,
        "IsPrefix": range.prefix_len() != range.max_prefix_len(),
        "AddressFamily": if range.addr().is_ipv4() { "4" } else { "6" },
    })
}

fn address(one: &AddressReport, users: &Users<'_>) -> Value {
    let user = match &one.state {
        AddressState::Assigned(_) => users.get(&one.address),
        _ => None,
    };
    let mut metadata = Map::new();
    for (key, text) in [
        ("k8sPodNamespace", user.map(|user| &user.pod.namespace)),
        ("k8sPodName", user.map(|user| &user.pod.name)),
    ] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            metadata.insert(key.to_owned(), json!(text));
        }
    }
    if user.is_some() {
        metadata.insert("interfacesCount".to_owned(), json!(1));
    }
    let since = user.map(|user| rfc_3339(UNIX_EPOCH + Duration::from_millis(user.created_ms)));
    let left = match one.state {
        AddressState::Cooling { left } => left,
        _ => Duration::ZERO,
    };
    json!({
        "Address": one.address,
        "IPAMKey": {
            "networkName": user.map_or("", |user| &user.key.network),
            "containerID": "",
            "ifName": "",
        },
        "IPAMMetadata": metadata,
        "AssignedTime": since.as_deref().unwrap_or(NEVER),
        "UnassignedTime": NEVER,
        "State": one.state.to_string(),
        "CoolingSeconds": seconds_up(left),
    })
}

/// A mask as Go's JSON has one: its bytes in base 64 (RFC 4648).
fn mask(range: IpNet) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = match range.netmask() {
        IpAddr::V4(mask) => mask.octets().to_vec(),
        IpAddr::V6(mask) => mask.octets().to_vec(),
    };
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = 0_u32;
        for position in 0..3 {
            group = group << 8 | u32::from(chunk.get(position).copied().unwrap_or_default());
        }
        for digit in 0..4 {
            let index = (group >> (18 - 6 * digit) & 63) as usize;
            let filled = digit <= chunk.len();
            text.push(if filled {
                char::from(DIGITS[index])
            } else {
                '='
            });
        }
    }
    text
}
