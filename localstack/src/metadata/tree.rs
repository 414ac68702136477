//! The tree of instance metadata: leaves by path, and listings of what is below.
//! Pure.
//!
//! A directory's listing names its entries one per line, without a newline at
//! the end; an entry that has entries of its own ends with `/`. For what an instance
//! does not have, there is neither a path nor an entry.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use ipnet::IpNet;

use super::documents::{Validity, credentials, identity, profile};
use super::view::{Instance, Interface, View};

/// The versions of the tree that exist. All have the same content here.
const VERSIONS: [&str; 26] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
];
/// The version that scripts should use.
pub(super) const LATEST: &str = "latest";

type Leaves = BTreeMap<String, String>;

/// What metadata answers to an instance's question for a path; `None` is a 404.
/// A path is taken with and without `/` at its end. `validity` is that of the
/// credentials of the instance's role.
pub fn answer(view: &View, instance: &str, path: &str, validity: Validity) -> Option<String> {
    let instance = view.instances.get(instance)?;
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        let versions: Vec<&str> = VERSIONS.into_iter().chain([LATEST]).collect();
        return Some(versions.join("\n"));
    }
    let (version, below) = path.split_once('/').unwrap_or((path, ""));
    if !is_version(version) {
        return None;
    }
    if below.is_empty() {
        return Some("dynamic\nmeta-data".to_owned());
    }
    let leaves = leaves(instance, validity);
    leaves.get(below).cloned().or_else(|| list(&leaves, below))
}

/// Whether a tree of this name exists.
pub(super) fn is_version(name: &str) -> bool {
    name == LATEST || VERSIONS.contains(&name)
}

/// The entries of a directory; `None` when there is no such directory.
fn list(leaves: &Leaves, directory: &str) -> Option<String> {
    let prefix = format!("{directory}/");
    let entries: BTreeSet<&str> = leaves
        .keys()
        .filter_map(|path| path.strip_prefix(&prefix))
        .map(|below| match below.find('/') {
            Some(end) => &below[..=end],
            None => below,
        })
        .collect();
    let lines: Vec<&str> = entries.into_iter().collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Everything that is told of an instance.
fn leaves(instance: &Instance, validity: Validity) -> Leaves {
    let mut leaves = Leaves::new();
    let mut data = |path: &str, text: String| {
        leaves.insert(format!("meta-data/{path}"), text);
    };
    of_instance(instance, &mut data);
    of_role(instance, validity, &mut data);
    if let Some(primary) = instance.primary() {
        of_primary(primary, &mut data);
    }
    for interface in &instance.interfaces {
        let folder = format!("network/interfaces/macs/{}", interface.mac);
        of_interface(instance, interface, &mut |name, text| {
            data(&format!("{folder}/{name}"), text);
        });
    }
    if instance.options.tags {
        for (key, value) in instance.tags.iter().filter(|(key, _)| can_be_told(key)) {
            data(&format!("tags/instance/{key}"), value.clone());
        }
    }
    leaves.insert(
        "dynamic/instance-identity/document".to_owned(),
        identity(instance),
    );
    leaves
}

fn of_instance(instance: &Instance, data: &mut impl FnMut(&str, String)) {
    data("ami-id", instance.image.clone());
    data("ami-launch-index", "0".to_owned());
    data("ami-manifest-path", "(unknown)".to_owned());
    data("instance-action", "none".to_owned());
    data("instance-id", instance.id.clone());
    data("instance-life-cycle", "on-demand".to_owned());
    data("instance-type", instance.instance_type.clone());
    data("placement/availability-zone", instance.zone.clone());
    data("placement/region", instance.region.clone());
    data("profile", "default-hvm".to_owned());
    data("reservation-id", instance.reservation.clone());
    let (domain, partition) = partition(&instance.region);
    data("services/domain", domain.to_owned());
    data("services/partition", partition.to_owned());
    if let Some(name) = instance.host_name() {
        data("hostname", name.clone());
        data("local-hostname", name);
    }
}

fn of_role(instance: &Instance, validity: Validity, data: &mut impl FnMut(&str, String)) {
    if let Some(role) = &instance.role {
        data("iam/info", profile(role, validity));
        let path = format!("iam/security-credentials/{}", role.name);
        data(&path, credentials(instance, validity));
    }
}

/// What the whole instance has by its primary interface.
fn of_primary(primary: &Interface, data: &mut impl FnMut(&str, String)) {
    data("mac", primary.mac.to_string());
    if let Some(own) = primary.ipv4.first() {
        data("local-ipv4", own.to_string());
    }
    if let Some(first) = primary.ipv6.first() {
        data("ipv6", first.to_string());
    }
    lines(
        data,
        "security-groups",
        primary.groups.iter().map(|group| &group.name),
    );
}

fn of_interface(instance: &Instance, interface: &Interface, data: &mut impl FnMut(&str, String)) {
    data("device-number", interface.device_index.to_string());
    data("interface-id", interface.id.clone());
    data("mac", interface.mac.to_string());
    data("owner-id", interface.owner.clone());
    data("subnet-id", interface.subnet.clone());
    data("vpc-id", interface.vpc.clone());
    if instance.several_cards {
        data("network-card", interface.network_card.to_string());
    }
    data("local-hostname", instance.host_name_of(interface));
    lines(data, "local-ipv4s", &interface.ipv4);
    lines(data, "ipv6s", &interface.ipv6);
    lines(data, "ipv4-prefix", ranges(&interface.prefixes, true));
    lines(data, "ipv6-prefix", ranges(&interface.prefixes, false));
    let (subnet, vpc) = (&interface.subnet_cidrs, &interface.vpc_cidrs);
    lines(data, "subnet-ipv4-cidr-block", ranges(subnet, true).take(1));
    lines(data, "subnet-ipv6-cidr-blocks", ranges(subnet, false));
    lines(data, "vpc-ipv4-cidr-block", ranges(vpc, true).take(1));
    lines(data, "vpc-ipv4-cidr-blocks", ranges(vpc, true));
    lines(data, "vpc-ipv6-cidr-blocks", ranges(vpc, false));
    let groups = || interface.groups.iter();
    lines(data, "security-group-ids", groups().map(|one| &one.id));
    lines(data, "security-groups", groups().map(|one| &one.name));
}

/// A leaf of several lines; none without any.
fn lines<T: Display>(
    data: &mut impl FnMut(&str, String),
    path: &str,
    items: impl IntoIterator<Item = T>,
) {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if !items.is_empty() {
        data(path, items.join("\n"));
    }
}

/// The ranges of one family.
fn ranges(all: &[IpNet], ipv4: bool) -> impl Iterator<Item = &IpNet> {
    all.iter()
        .filter(move |range| range.addr().is_ipv4() == ipv4)
}

/// EC2 refuses to tell tags whose keys cannot stand in a path.
fn can_be_told(key: &str) -> bool {
    let good = |letter: char| letter.is_alphanumeric() || "+-=.,_:@".contains(letter);
    !key.is_empty() && key.chars().all(good) && ![".", "..", "_index"].contains(&key)
}

/// Domain and name of the partition that a region is in.
fn partition(region: &str) -> (&'static str, &'static str) {
    if region.starts_with("cn-") {
        ("amazonaws.com.cn", "aws-cn")
    } else if region.starts_with("us-gov-") {
        ("amazonaws.com", "aws-us-gov")
    } else {
        ("amazonaws.com", "aws")
    }
}
