//! The tree as tables, and exchanges without sockets on a paused clock.

mod exchanges;
mod trees;

use std::collections::BTreeMap;

use veni_provider::Mac;

use super::{Group, Instance, Interface, Options, Role, View};

/// MAC of the primary interface.
const FIRST: &str = "0e:00:00:00:00:01";
/// MAC of the second interface.
const SECOND: &str = "0e:00:00:00:00:02";

fn parsed<T: std::str::FromStr>(texts: &[&str]) -> Vec<T>
where
    T::Err: std::fmt::Debug,
{
    texts
        .iter()
        .map(|text| text.parse().expect("a good text"))
        .collect()
}

fn group(number: u32) -> Group {
    Group {
        id: format!("sg-{number}"),
        name: format!("group-{number}"),
    }
}

fn interface(id: &str, mac: &str, device_index: u32, ipv4: &[&str]) -> Interface {
    let mac: Mac = mac.parse().expect("a mac");
    let mut interface = Interface::new(id, mac, device_index);
    interface.subnet = "subnet-1".to_owned();
    interface.subnet_cidrs = parsed(&["10.0.0.0/24", "2600:1f14:0:1::/64"]);
    interface.vpc = "vpc-1".to_owned();
    interface.vpc_cidrs = parsed(&["10.0.0.0/16", "100.64.0.0/16", "2600:1f14::/56"]);
    interface.ipv4 = parsed(ipv4);
    interface.groups = vec![group(1), group(2)];
    interface
}

/// Two interfaces: the first with IPv6 and a secondary address, the second with
/// prefixes.
fn instance(id: &str) -> Instance {
    let mut first = interface("eni-1", FIRST, 0, &["10.0.0.9", "10.0.0.7"]);
    first.ipv6 = parsed(&["2600:1f14:0:1::10", "2600:1f14:0:1::11"]);
    let mut second = interface("eni-2", SECOND, 1, &["10.0.0.20"]);
    second.prefixes = parsed(&["10.0.0.32/28", "10.0.0.64/28", "2600:1f14:0:1:1::/80"]);
    Instance {
        tags: BTreeMap::from([
            ("Name".to_owned(), "a node".to_owned()),
            ("kubernetes.io/cluster/x".to_owned(), "owned".to_owned()),
        ]),
        options: Options {
            tags: true,
            ..Options::default()
        },
        role: Some(Role {
            name: "node".to_owned(),
            profile_arn: "arn:aws:iam::000000000000:instance-profile/node".to_owned(),
            profile_id: "AIPA1".to_owned(),
        }),
        interfaces: vec![first, second],
        ..Instance::new(id, "m5.large")
    }
}

fn view() -> View {
    View::of(instance("i-1"))
}
