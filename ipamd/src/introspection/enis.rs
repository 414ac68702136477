//! `/v1/enis`: interfaces with their addresses, in the AWS plugin's form. As
//! there, containers and their interfaces are not named, pods are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use ipnet::IpNet;
use serde_json::{Map, Value, json};
use veni_api::timestamp::rfc_3339;
use veni_api::v1;
use veni_dataplane::plan::INTERFACE_TABLE_BASE;
use veni_provider::DEFAULT_NETWORK_CARD;

/// The kernel's table `main`, by which traffic of the primary interface leaves.
const MAIN_TABLE: u32 = 254;
/// A time that was not, in the AWS plugin's form.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What is known of an address in use.
struct User {
    pod: v1::Pod,
    network: String,
    since: String,
}

/// The answer.
pub(super) fn of(pool: &v1::PoolResponse, endpoints: Vec<v1::Endpoint>) -> Value {
    let users = users(endpoints);
    let enis: Map<String, Value> = pool
        .interfaces
        .iter()
        .map(|interface| (interface.id.clone(), eni(interface, &users)))
        .collect();
    json!({
        "TotalIPs": pool.total,
        "AssignedIPs": pool.assigned,
        "ENIs": enis,
    })
}

fn users(endpoints: Vec<v1::Endpoint>) -> HashMap<IpAddr, User> {
    let mut users = HashMap::new();
    for endpoint in endpoints {
        let addresses = endpoint
            .addresses
            .iter()
            .filter_map(|text| address_of(text));
        for address in addresses {
            let user = User {
                pod: endpoint.pod.clone().unwrap_or_default(),
                network: endpoint.attachment.clone().unwrap_or_default().network,
                since: rfc_3339(UNIX_EPOCH + Duration::from_millis(endpoint.created_ms)),
            };
            users.insert(address, user);
        }
    }
    users
}

fn address_of(text: &str) -> Option<IpAddr> {
    let range: Option<IpNet> = text.parse().ok();
    range
        .map(|range| range.addr())
        .or_else(|| text.parse().ok())
}

fn eni(interface: &v1::PoolInterface, users: &HashMap<IpAddr, User>) -> Value {
    let single = interface.addresses.iter().filter_map(|one| {
        let address: IpAddr = one.address.parse().ok()?;
        Some((IpNet::from(address), std::slice::from_ref(one)))
    });
    let prefixes = interface.prefixes.iter().filter_map(|prefix| {
        let range: IpNet = prefix.prefix.parse().ok()?;
        Some((range, prefix.used.as_slice()))
    });
    let (mut v4, mut v6) = (Map::new(), Map::new());
    for (range, addresses) in single.chain(prefixes) {
        let family = if range.addr().is_ipv4() {
            &mut v4
        } else {
            &mut v6
        };
        family.insert(range.to_string(), cidr(range, addresses, users));
    }
    let table = match interface {
        one if one.primary => MAIN_TABLE,
        // Nothing is routed by interfaces on other network cards.
        one if one.network_card != DEFAULT_NETWORK_CARD => 0,
        one => INTERFACE_TABLE_BASE + one.device_index,
    };
    json!({
        "ID": interface.id,
        "IsPrimary": interface.primary,
        "IsTrunk": false,
        "IsEFA": false,
        "DeviceNumber": interface.device_index,
        "AvailableIPv4Cidrs": v4,
        "IPv6Cidrs": v6,
        "IsExcludedForPodIPs": interface.state == "unmanaged",
        "RouteTableID": table,
        "SubnetID": interface.subnet,
    })
}

fn cidr(range: IpNet, addresses: &[v1::PoolAddress], users: &HashMap<IpAddr, User>) -> Value {
    let shown: Map<String, Value> = addresses
        .iter()
        .map(|one| (one.address.clone(), address(one, users)))
        .collect();
    json!({
        "Cidr": { "IP": range.addr(), "Mask": mask(range) },
        "IPAddresses": shown,
        "IsPrefix": range.prefix_len() != range.max_prefix_len(),
        "AddressFamily": if range.addr().is_ipv4() { "4" } else { "6" },
    })
}

fn address(one: &v1::PoolAddress, users: &HashMap<IpAddr, User>) -> Value {
    let user = one
        .address
        .parse()
        .ok()
        .and_then(|address: IpAddr| users.get(&address));
    let user = user.filter(|_| one.state == "assigned");
    let mut metadata = Map::new();
    for (key, text) in [
        ("k8sPodNamespace", user.map(|user| &user.pod.namespace)),
        ("k8sPodName", user.map(|user| &user.pod.name)),
    ] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            metadata.insert(key.to_owned(), json!(text));
        }
    }
    json!({
        "Address": one.address,
        "IPAMKey": {
            "networkName": user.map_or("", |user| &user.network),
            "containerID": "",
            "ifName": "",
        },
        "IPAMMetadata": metadata,
        "AssignedTime": user.map_or(NEVER, |user| &user.since),
        "UnassignedTime": NEVER,
        "State": one.state,
        "CoolingSeconds": one.cooling_seconds,
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
