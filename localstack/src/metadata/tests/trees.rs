//! What the tree has, and what it has not.

use serde_json::Value;

use super::super::{Validity, View, answer};
use super::{FIRST, SECOND, instance, interface, view};

const VALIDITY: Validity = Validity {
    issued: 1_335_458_356,
    expires: 1_335_458_356 + 3600,
};

/// Under `/latest/meta-data/`.
fn data(view: &View, path: &str) -> Option<String> {
    answer(view, "i-1", &format!("/latest/meta-data/{path}"), VALIDITY)
}

fn of(mac: &str, what: &str) -> String {
    format!("network/interfaces/macs/{mac}/{what}")
}

#[test]
fn every_leaf_has_what_ec2_says() {
    let view = view();
    for (path, expected) in [
        ("ami-id", "ami-00000000000000000"),
        ("hostname", "ip-10-0-0-9.ec2.internal"),
        ("instance-id", "i-1"),
        ("instance-type", "m5.large"),
        ("ipv6", "2600:1f14:0:1::10"),
        ("local-hostname", "ip-10-0-0-9.ec2.internal"),
        ("local-ipv4", "10.0.0.9"),
        ("mac", FIRST),
        ("placement/availability-zone", "us-east-1a"),
        ("placement/region", "us-east-1"),
        ("security-groups", "group-1\ngroup-2"),
        ("services/domain", "amazonaws.com"),
        ("services/partition", "aws"),
        ("tags/instance/Name", "a node"),
        ("iam/security-credentials/", "node"),
        (&of(FIRST, "device-number"), "0"),
        (&of(FIRST, "interface-id"), "eni-1"),
        (&of(FIRST, "ipv6s"), "2600:1f14:0:1::10\n2600:1f14:0:1::11"),
        (&of(FIRST, "local-hostname"), "ip-10-0-0-9.ec2.internal"),
        (&of(FIRST, "local-ipv4s"), "10.0.0.9\n10.0.0.7"),
        (&of(FIRST, "mac"), FIRST),
        (&of(FIRST, "owner-id"), "000000000000"),
        (&of(FIRST, "security-group-ids"), "sg-1\nsg-2"),
        (&of(FIRST, "security-groups"), "group-1\ngroup-2"),
        (&of(FIRST, "subnet-id"), "subnet-1"),
        (&of(FIRST, "subnet-ipv4-cidr-block"), "10.0.0.0/24"),
        (&of(FIRST, "subnet-ipv6-cidr-blocks"), "2600:1f14:0:1::/64"),
        (&of(FIRST, "vpc-id"), "vpc-1"),
        (&of(FIRST, "vpc-ipv4-cidr-block"), "10.0.0.0/16"),
        (
            &of(FIRST, "vpc-ipv4-cidr-blocks"),
            "10.0.0.0/16\n100.64.0.0/16",
        ),
        (&of(FIRST, "vpc-ipv6-cidr-blocks"), "2600:1f14::/56"),
        (&of(SECOND, "device-number"), "1"),
        (&of(SECOND, "ipv4-prefix"), "10.0.0.32/28\n10.0.0.64/28"),
        (&of(SECOND, "ipv6-prefix"), "2600:1f14:0:1:1::/80"),
        (&of(SECOND, "local-hostname"), "ip-10-0-0-20.ec2.internal"),
        (&of(SECOND, "local-ipv4s"), "10.0.0.20"),
    ] {
        assert_eq!(data(&view, path).as_deref(), Some(expected), "{path}");
    }
}

#[test]
fn directories_list_what_is_below_and_end_without_a_newline() {
    let view = view();
    for (path, expected) in [
        ("network", "interfaces/"),
        ("network/interfaces/", "macs/"),
        ("iam/", "info\nsecurity-credentials/"),
        ("placement/", "availability-zone\nregion"),
        ("services/", "domain\npartition"),
        ("tags/", "instance/"),
        ("tags/instance/", "Name"),
    ] {
        assert_eq!(data(&view, path).as_deref(), Some(expected), "{path}");
    }
    let macs = data(&view, "network/interfaces/macs/").expect("a listing");
    assert_eq!(macs, format!("{FIRST}/\n{SECOND}/"));
    let top = data(&view, "").expect("a listing");
    for entry in [
        "iam/",
        "instance-id",
        "mac",
        "network/",
        "placement/",
        "tags/",
    ] {
        assert!(top.lines().any(|line| line == entry), "{entry} in {top}");
    }
    let below = data(&view, &of(SECOND, "")).expect("a listing");
    assert!(below.lines().all(|line| !line.ends_with('/')), "{below}");
}

#[test]
fn what_an_instance_does_not_have_is_not_there() {
    let mut bare = instance("i-1");
    bare.role = None;
    bare.options.tags = false;
    bare.interfaces[0].ipv6.clear();
    bare.interfaces[1].prefixes.clear();
    bare.interfaces[1].ipv4.clear();
    bare.interfaces[1].vpc_cidrs.truncate(2);
    bare.interfaces[1].subnet_cidrs.truncate(1);
    let view = View::of(bare);
    for path in [
        "iam/",
        "iam/info",
        "ipv6",
        "tags/",
        "tags/instance/",
        "tags/instance/Name",
        "no-such-thing",
        "instance-id/below",
        "instance",
        "network/interfaces/macs/0e:00:00:00:00:03/mac",
        &of(FIRST, "ipv6s"),
        &of(FIRST, "ipv4-prefix"),
        &of(FIRST, "network-card"),
        &of(SECOND, "ipv4-prefix"),
        &of(SECOND, "ipv6-prefix"),
        &of(SECOND, "local-ipv4s"),
        &of(SECOND, "subnet-ipv6-cidr-blocks"),
        &of(SECOND, "vpc-ipv6-cidr-blocks"),
    ] {
        assert_eq!(data(&view, path), None, "{path}");
    }
    for path in [
        "/latest/user-data",
        "/latest/api/token",
        "/2099-01-01/meta-data/",
        "latest",
    ] {
        assert_eq!(answer(&view, "i-1", path, VALIDITY), None, "{path}");
    }
    assert_eq!(answer(&view, "i-2", "/latest/meta-data/", VALIDITY), None);
}

#[test]
fn a_tag_whose_key_cannot_stand_in_a_path_is_not_told() {
    let view = view();
    assert_eq!(data(&view, "tags/instance/kubernetes.io/cluster/x"), None);
    assert_eq!(data(&view, "tags/instance/").as_deref(), Some("Name"));
}

#[test]
fn the_network_card_is_told_where_the_type_has_several() {
    let mut several = instance("i-1");
    several.several_cards = true;
    several.interfaces[1].network_card = 1;
    let view = View::of(several);
    assert_eq!(
        data(&view, &of(FIRST, "network-card")).as_deref(),
        Some("0")
    );
    assert_eq!(
        data(&view, &of(SECOND, "network-card")).as_deref(),
        Some("1")
    );
}

#[test]
fn a_dated_version_has_the_same_tree() {
    let view = view();
    for path in ["/2021-07-15/meta-data/mac", "/1.0/meta-data/mac"] {
        assert_eq!(answer(&view, "i-1", path, VALIDITY).as_deref(), Some(FIRST));
    }
    let versions = answer(&view, "i-1", "/", VALIDITY).expect("a listing");
    assert!(versions.starts_with("1.0\n2007-01-19\n"), "{versions}");
    assert!(versions.ends_with("\nlatest"), "{versions}");
    for version in versions.lines() {
        let listing = answer(&view, "i-1", &format!("/{version}/"), VALIDITY);
        assert_eq!(listing.as_deref(), Some("dynamic\nmeta-data"), "{version}");
    }
}

#[test]
fn the_identity_document_tells_who_and_where() {
    let path = "/latest/dynamic/instance-identity/document";
    let text = answer(&view(), "i-1", path, VALIDITY).expect("a document");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    for (key, expected) in [
        ("accountId", "000000000000"),
        ("architecture", "x86_64"),
        ("availabilityZone", "us-east-1a"),
        ("instanceId", "i-1"),
        ("instanceType", "m5.large"),
        ("privateIp", "10.0.0.9"),
        ("region", "us-east-1"),
        ("pendingTime", "1970-01-01T00:00:00Z"),
    ] {
        assert_eq!(document[key], expected, "{key}");
    }
}

#[test]
fn credentials_have_a_predictable_key_and_end_when_they_should() {
    let text = data(&view(), "iam/security-credentials/node").expect("credentials");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    for (key, expected) in [
        ("Code", "Success"),
        ("Type", "AWS-HMAC"),
        ("AccessKeyId", "ASIA0000000000000001"),
        ("LastUpdated", "2012-04-26T16:39:16Z"),
        ("Expiration", "2012-04-26T17:39:16Z"),
    ] {
        assert_eq!(document[key], expected, "{key}");
    }
    assert_eq!(data(&view(), "iam/security-credentials/other"), None);
}

#[test]
fn regions_have_domains_and_partitions_of_their_own() {
    for (region, name, partition) in [
        ("eu-west-1", "ip-10-0-0-9.eu-west-1.compute.internal", "aws"),
        (
            "cn-north-1",
            "ip-10-0-0-9.cn-north-1.compute.internal",
            "aws-cn",
        ),
        (
            "us-gov-west-1",
            "ip-10-0-0-9.us-gov-west-1.compute.internal",
            "aws-us-gov",
        ),
    ] {
        let mut there = instance("i-1");
        there.region = region.to_owned();
        let view = View::of(there);
        assert_eq!(data(&view, "hostname").as_deref(), Some(name));
        assert_eq!(
            data(&view, "services/partition").as_deref(),
            Some(partition)
        );
    }
}

#[test]
fn an_instance_is_known_by_every_address_that_is_assigned_to_it() {
    let mut view = view();
    let mut other = instance("i-2");
    other.interfaces = vec![interface("eni-3", "0e:00:00:00:00:03", 0, &["10.0.0.99"])];
    view.instances.insert(other.id.clone(), other);
    for (address, expected) in [
        ("10.0.0.9", Some("i-1")),
        ("10.0.0.7", Some("i-1")),
        ("10.0.0.33", Some("i-1")),
        ("::ffff:10.0.0.20", Some("i-1")),
        ("2600:1f14:0:1::11", Some("i-1")),
        ("10.0.0.99", Some("i-2")),
        ("10.0.0.1", None),
        ("2600:1f14:0:1::12", None),
    ] {
        let found = view.instance_at(address.parse().expect("an address"));
        assert_eq!(found.map(|one| one.id.as_str()), expected, "{address}");
    }
}
