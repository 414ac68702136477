//! Plans as operators read them.

use crate::build::{
    ADDRESS, NOW_MS, Node, PREFIX, assign, attach, hold, node, subnet, warm_eni, warm_ip,
    warm_prefix,
};
use insta::assert_snapshot;
use veni_pool::{CloudAbilities, InterfaceState, Targets, plan};

#[test]
fn first_start_with_the_defaults() {
    let snapshot = node(3, 9, 29).interface("eni-0");
    assert_snapshot!(plan(&snapshot, &Targets::aws_default(ADDRESS)));
}

#[test]
fn first_start_with_prefixes() {
    let snapshot = node(3, 9, 110).interface("eni-0");
    assert_snapshot!(plan(&snapshot, &Targets::aws_default(PREFIX)));
}

#[test]
fn a_burst_beyond_the_warm_pool() {
    let snapshot = node(4, 14, 58)
        .interface("eni-0")
        .singles(8, 1, 2)
        .demand(20, 10);
    assert_snapshot!(plan(&snapshot, &warm_ip(ADDRESS, 2, 0)));
}

#[test]
fn a_burst_with_its_refill_under_way() {
    let snapshot = node(4, 14, 58)
        .interface("eni-0")
        .singles(11, 0, 0)
        .demand(12, 0)
        .under_way(assign("eni-0", ADDRESS, 3))
        .under_way(attach(ADDRESS, 11));
    assert_snapshot!(plan(&snapshot, &warm_ip(ADDRESS, 2, 0)));
}

#[test]
fn nothing_to_do() {
    let snapshot = node(3, 9, 29).interface("eni-0").singles(4, 0, 2);
    assert_snapshot!(plan(&snapshot, &warm_ip(ADDRESS, 2, 5)));
}

#[test]
fn excess_that_waits() {
    let snapshot = node(3, 9, 29)
        .interface("eni-0")
        .singles(4, 0, 5)
        .excess_for(18_000, 6);
    assert_snapshot!(plan(&snapshot, &warm_ip(ADDRESS, 2, 0)));
}

#[test]
fn excess_that_goes_back() {
    let snapshot = node(3, 9, 29)
        .interface("eni-0")
        .singles(4, 0, 5)
        .interface("eni-1")
        .singles(1, 0, 4)
        .interface("eni-2")
        .singles(0, 0, 3)
        .excess_for(60_000, 7);
    assert_snapshot!(plan(&snapshot, &warm_ip(ADDRESS, 2, 0)));
}

#[test]
fn a_warm_interface_too_many() {
    let snapshot = node(3, 9, 29)
        .interface("eni-0")
        .singles(0, 0, 9)
        .interface("eni-1")
        .singles(0, 0, 9)
        .excess_for(60_000, 9);
    assert_snapshot!(plan(&snapshot, &warm_eni(ADDRESS, 1)));
}

#[test]
fn a_fragmented_subnet() {
    let snapshot = node(3, 9, 110)
        .with(|node| node.subnets[0].no_prefixes_until_ms = Some(NOW_MS + 95_000))
        .interface("eni-0")
        .demand(3, 0);
    assert_snapshot!(plan(&snapshot, &warm_prefix(1)));
}

#[test]
fn prefixes_after_a_fragmented_subnet() {
    let snapshot = node(3, 9, 110).interface("eni-0").singles(3, 0, 5);
    assert_snapshot!(plan(&snapshot, &warm_prefix(1)));
}

#[test]
fn single_addresses_after_prefixes() {
    let snapshot = node(3, 9, 110)
        .interface("eni-0")
        .singles(0, 0, 3)
        .prefix(4, 0)
        .prefix(0, 0)
        .excess_for(60_000, 7);
    assert_snapshot!(plan(&snapshot, &warm_ip(ADDRESS, 3, 0)));
}

#[test]
fn all_subnets_full() {
    let snapshot = node(3, 9, 29)
        .with(|node| {
            node.subnets.push(subnet("subnet-b", 0));
            node.subnets[0].no_addresses_until_ms = Some(NOW_MS + 95_000);
            node.subnets[1].no_addresses_until_ms = Some(NOW_MS + 20_000);
        })
        .interface("eni-0")
        .singles(4, 0, 0)
        .demand(2, 0);
    assert_snapshot!(plan(&snapshot, &warm_ip(ADDRESS, 2, 0)));
}

#[test]
fn the_node_is_full_and_addresses_cool() {
    let snapshot = node(3, 9, 9)
        .interface("eni-0")
        .singles(7, 2, 0)
        .demand(2, 0);
    assert_snapshot!(plan(&snapshot, &warm_ip(ADDRESS, 2, 0)));
}

#[test]
fn the_node_is_full() {
    let snapshot = node(3, 9, 9)
        .interface("eni-0")
        .singles(9, 0, 0)
        .demand(2, 0);
    assert_snapshot!(plan(&snapshot, &warm_ip(ADDRESS, 2, 0)));
}

#[test]
fn permission_denied() {
    let snapshot = node(3, 9, 29)
        .with(|node| {
            node.holds.assign = hold(Some("ec2:AssignPrivateIpAddresses is not allowed"));
        })
        .interface("eni-0")
        .singles(4, 0, 0)
        .demand(2, 0);
    assert_snapshot!(plan(&snapshot, &warm_ip(ADDRESS, 2, 0)));
}

#[test]
fn an_azure_node_out_of_slots() {
    let snapshot = node(1, 255, 300)
        .with(|node| {
            let prefixes = false;
            node.abilities = CloudAbilities {
                attach: false,
                prefixes,
                release: true,
                batch: 256,
            };
        })
        .interface("nic-0")
        .singles(250, 0, 0)
        .singles(5, 0, 0)
        .demand(1, 0);
    assert_snapshot!(plan(&snapshot, &Targets::azure_default(ADDRESS)));
}

#[test]
fn custom_networking_begins() {
    let snapshot = node(3, 9, 20)
        .interface("eni-0")
        .singles(0, 0, 9)
        .last(|interface| interface.for_pods = false)
        .interface("eni-1")
        .last(|interface| interface.state = InterfaceState::Attaching)
        .under_way(attach(ADDRESS, 9))
        .demand(2, 0);
    assert_snapshot!(plan(&snapshot, &Targets::aws_default(ADDRESS)));
}
