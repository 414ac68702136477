//! What interfaces hold, seen in two ways: as EC2 describes it, which may lag, and as the
//! hook's own state has it, which is the truth. An audit compares both.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use aws_sdk_ec2::types::NetworkInterface;
use ipnet::IpNet;
use serde_json::Value;

use super::server::server;
use super::site::Site;

/// Where an interface is attached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attached {
    /// To which instance.
    pub instance: String,
    /// Device index.
    pub index: u32,
    /// `attaching`, `attached`, `detaching`.
    pub status: String,
}

/// One interface of a VPC.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holding {
    /// Interface id.
    pub interface: String,
    /// MAC, as EC2 writes it.
    pub mac: String,
    /// Subnet id.
    pub subnet: String,
    /// Where it is, if anywhere.
    pub attached: Option<Attached>,
    /// Its own IPv4 address.
    pub own: BTreeSet<IpAddr>,
    /// Secondary addresses, as ranges of one, and prefixes. An instance's own
    /// IPv6 address is among them, because EC2 does not distinguish it.
    pub ranges: BTreeSet<IpNet>,
}

impl Holding {
    /// Whether it is attached to an instance and not on its way out.
    pub fn serves(&self, instance: &str) -> bool {
        let here = |at: &Attached| at.instance == instance && at.status == "attached";
        self.attached.as_ref().is_some_and(here)
    }

    /// Single addresses, without the interface's own.
    pub fn addresses(&self) -> usize {
        let single = |range: &&IpNet| range.prefix_len() == range.max_prefix_len();
        self.ranges.iter().filter(single).count()
    }

    /// The number of its prefixes.
    pub fn prefixes(&self) -> usize {
        self.ranges.len() - self.addresses()
    }
}

/// The interfaces of a site's VPC, as EC2 describes them.
pub async fn described(site: &Site) -> BTreeSet<Holding> {
    let all = site.interfaces().await;
    all.iter().map(of_description).collect()
}

/// The interfaces of a site's VPC in truth, even if Describe does not show it yet.
///
/// # Panics
/// The server does not answer.
pub async fn in_truth(site: &Site) -> BTreeSet<Holding> {
    let state = server().control.state().await.expect("a state");
    of_state(&state, &site.vpc)
}

fn of_description(one: &NetworkInterface) -> Holding {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let mut own = BTreeSet::new();
    let mut ranges = BTreeSet::new();
    for shown in one.private_ip_addresses() {
        let address: IpAddr = parsed(shown.private_ip_address());
        if shown.primary() == Some(true) {
            own.insert(address);
        } else {
            ranges.insert(IpNet::from(address));
        }
    }
    let ipv6 = one.ipv6_addresses().iter();
    ranges.extend(ipv6.map(|shown| IpNet::from(parsed::<IpAddr>(shown.ipv6_address()))));
    let ipv4 = one.ipv4_prefixes().iter();
    ranges.extend(ipv4.map(|shown| parsed::<IpNet>(shown.ipv4_prefix())));
    let ipv6 = one.ipv6_prefixes().iter();
    ranges.extend(ipv6.map(|shown| parsed::<IpNet>(shown.ipv6_prefix())));
    Holding {
        interface: text(one.network_interface_id()),
        mac: text(one.mac_address()),
        subnet: text(one.subnet_id()),
        attached: one.attachment().map(|at| Attached {
            instance: text(at.instance_id()),
            index: at.device_index().map_or(0, i32::unsigned_abs),
            status: text(at.status().map(|status| status.as_str())),
        }),
        own,
        ranges,
    }
}

/// The interfaces of a VPC in the hook's state.
pub fn of_state(state: &Value, vpc: &str) -> BTreeSet<Holding> {
    let regions = state["regions"].as_array().into_iter().flatten();
    let interfaces = regions.filter_map(|region| region["interfaces"].as_array());
    let of_vpc = interfaces.flatten().filter(|one| one["VpcId"] == vpc);
    of_vpc.map(of_record).collect()
}

fn of_record(one: &Value) -> Holding {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = |name: &str| one[name].as_array().cloned().unwrap_or_default();
    let mut own = BTreeSet::new();
    let mut ranges = BTreeSet::new();
    for shown in all("PrivateIpAddresses") {
        let address: IpAddr = parsed(shown["PrivateIpAddress"].as_str());
        if shown["Primary"] == true {
            own.insert(address);
        } else {
            ranges.insert(IpNet::from(address));
        }
    }
    for shown in all("Ipv6Addresses") {
        ranges.insert(IpNet::from(parsed::<IpAddr>(shown["Ipv6Address"].as_str())));
    }
    for (list, field) in [
        ("Ipv4Prefixes", "Ipv4Prefix"),
        ("Ipv6Prefixes", "Ipv6Prefix"),
    ] {
        ranges.extend(all(list).iter().map(|p| parsed::<IpNet>(p[field].as_str())));
    }
    let at = &one["Attachment"];
    let attached = at.is_object().then(|| Attached {
        instance: text(&at["InstanceId"]),
        index: at["DeviceIndex"]
            .as_u64()
            .and_then(|index| u32::try_from(index).ok())
            .unwrap_or(0),
        status: text(&at["Status"]),
    });
    Holding {
        interface: text(&one["NetworkInterfaceId"]),
        mac: text(&one["MacAddress"]),
        subnet: text(&one["SubnetId"]),
        attached,
        own,
        ranges,
    }
}

fn parsed<T: FromStr>(text: Option<&str>) -> T {
    let parsed = text.and_then(|text| text.parse().ok());
    parsed.unwrap_or_else(|| panic!("EC2 writes {text:?}"))
}
