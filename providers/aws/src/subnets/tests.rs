use super::*;
use crate::settings::CustomNetwork;

fn record(id: &str, free_ipv4: u32, tagged: &[(&str, &str)]) -> Record {
    Record {
        id: SubnetId::new(id),
        cidrs: Vec::new(),
        free_ipv4,
        tags: tagged.iter().map(|(k, v)| tags::tag(k, v)).collect(),
    }
}

fn usable_ids(records: &[Record], settings: &AwsSettings) -> Vec<String> {
    choose(records, &SubnetId::new("primary"), &[], settings)
        .into_iter()
        .filter(|subnet| subnet.usable)
        .map(|subnet| subnet.id.to_string())
        .collect()
}

fn of_cluster(name: &str) -> AwsSettings {
    AwsSettings {
        cluster_name: Some(name.to_owned()),
        ..AwsSettings::default()
    }
}

#[test]
fn the_primary_subnet_needs_no_tag_and_others_do() {
    let records = [
        record("primary", 1, &[]),
        record("other", 9, &[]),
        record("tagged", 5, &[(tags::SUBNET_ROLE, "1")]),
    ];
    assert_eq!(
        usable_ids(&records, &AwsSettings::default()),
        ["tagged", "primary"]
    );
}

#[test]
fn a_role_of_zero_keeps_us_out_of_the_primary_subnet_too() {
    let records = [record("primary", 1, &[(tags::SUBNET_ROLE, "0")])];
    let shown = choose(
        &records,
        &SubnetId::new("primary"),
        &[],
        &AwsSettings::default(),
    );
    assert!(!shown[0].usable, "it is still shown: {shown:?}");
}

#[test]
fn without_discovery_the_primary_subnet_is_the_only_one_whatever_its_tags() {
    let settings = AwsSettings {
        subnet_discovery: false,
        ..AwsSettings::default()
    };
    let records = [
        record("primary", 1, &[(tags::SUBNET_ROLE, "0")]),
        record("tagged", 5, &[(tags::SUBNET_ROLE, "1")]),
    ];
    assert_eq!(usable_ids(&records, &settings), ["primary"]);
}

#[test]
fn a_subnet_that_names_clusters_serves_those_alone() {
    let blue = "cni.networking.k8s.aws/cluster/blue";
    let green = "cni.networking.k8s.aws/cluster/green";
    let role = (tags::SUBNET_ROLE, "1");
    let records = [
        record("both", 4, &[role, (blue, ""), (green, "")]),
        record("green", 3, &[role, (green, "")]),
        record("free", 2, &[role]),
    ];
    assert_eq!(usable_ids(&records, &of_cluster("blue")), ["both", "free"]);
    let unscoped = usable_ids(&records, &AwsSettings::default());
    assert_eq!(unscoped, ["both", "green", "free"]);
}

#[test]
fn subnets_come_in_order_of_free_addresses_and_unusable_ones_last() {
    let role = [(tags::SUBNET_ROLE, "1")];
    let records = [
        record("held", 99, &[]),
        record("few", 3, &role),
        record("many", 30, &role),
    ];
    let held = [SubnetId::new("held")];
    let shown = choose(
        &records,
        &SubnetId::new("primary"),
        &held,
        &AwsSettings::default(),
    );
    let ids: Vec<&str> = shown.iter().map(|subnet| subnet.id.as_str()).collect();
    assert_eq!(ids, ["many", "few", "held"]);
}

#[test]
fn a_custom_network_replaces_discovery() {
    let settings = AwsSettings {
        custom_network: CustomNetwork {
            subnet: SubnetId::new("pods"),
            security_groups: Vec::new(),
        }
        .always(),
        ..AwsSettings::default()
    };
    let records = [
        record("primary", 9, &[(tags::SUBNET_ROLE, "1")]),
        record("pods", 1, &[]),
    ];
    assert_eq!(usable_ids(&records, &settings), ["pods"]);
    // One that there is not is for the first interface to be refused by name.
    assert_eq!(usable_ids(&records[..1], &settings), ["pods"]);
}

#[test]
fn the_gateway_is_the_first_address_and_the_routers_own_for_ipv6() {
    let mut both = record("primary", 1, &[]);
    both.cidrs = ["10.0.16.0/20", "2600:1f14::/64"]
        .map(|text| text.parse().expect("a range"))
        .to_vec();
    let expected: [IpAddr; 2] =
        ["10.0.16.1", "fe80:ec2::1"].map(|text| text.parse().expect("an address"));
    assert_eq!(both.gateways(), expected);
}
