//! Interfaces that others made, and changes by others to Veni's interfaces.

use std::net::IpAddr;

use ipnet::IpNet;
use veni_provider::SubnetId;
use veni_provider_aws::CustomNetwork;
use veni_testbed::ec2::{admin, make_subnet, tag};

use crate::world::{Settings, World};

/// Settings with frequent inventories and a short doubt time, so that changes by others are
/// noticed soon.
const LOOKS_OFTEN: Settings<'_> = &[
    ("WARM_IP_TARGET", "2"),
    ("VENI_INVENTORY_INTERVAL", "1"),
    ("VENI_DOUBT_TIME", "1"),
];

#[tokio::test]
async fn pods_may_live_in_a_subnet_of_their_own() {
    let world = World::new("m5.large").await;
    let pods = make_subnet(&world.site.vpc, "10.0.5.0/24", None, &[]).await;
    let custom = CustomNetwork {
        subnet: SubnetId::new(pods.clone()),
        security_groups: Vec::new(),
    };
    let daemon = world
        .start_with(&[("WARM_IP_TARGET", "1")], |settings| {
            settings.custom_network = custom.always();
        })
        .await;
    daemon.add_pods(0..12).await;
    daemon.rest().await;
    let range: IpNet = "10.0.5.0/24".parse().expect("a range");
    for record in daemon.app.endpoints.list() {
        assert!(range.contains(&record.addresses()[0]));
    }
    let interfaces = world.interfaces().await;
    assert_eq!(
        interfaces[0].ranges.len(),
        0,
        "the primary interface gives nothing"
    );
    assert!(interfaces[1..].iter().all(|one| one.subnet == pods));
    daemon.finish().await;
}

#[tokio::test]
async fn an_interface_that_nobody_claims_is_used_unless_the_setting_forbids_it() {
    for used in [true, false] {
        let world = World::new("m5.large").await;
        let foreign = world.site.foreign(Some(1)).await;
        assign(&foreign, 3).await;
        let manage = ("MANAGE_UNTAGGED_ENI", if used { "true" } else { "false" });
        let daemon = world
            .start(&[LOOKS_OFTEN[0], ("MAX_PODS", "40"), manage])
            .await;
        // More than the primary and one further interface hold.
        let fit = if used { 27 } else { 18 };
        daemon.add_pods(0..fit).await;
        daemon
            .add("one-more")
            .await
            .expect_err("no interface is left");
        daemon.rest().await;
        daemon.check().await;
        let held = world
            .site
            .described(&foreign)
            .await
            .private_ip_addresses()
            .len();
        assert_eq!(held, if used { 10 } else { 4 });
        daemon.stop().await;
        world.terminate().await;
    }
}

#[tokio::test]
async fn an_interface_with_the_no_manage_tag_is_left_alone() {
    let world = World::new("m5.large").await;
    let foreign = world.site.foreign(Some(1)).await;
    tag(&foreign, "node.k8s.amazonaws.com/no_manage", "true").await;
    assign(&foreign, 3).await;
    let before = world.site.described(&foreign).await;
    let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
    daemon.add_pods(0..18).await;
    daemon
        .add("one-more")
        .await
        .expect_err("no interface is left");
    daemon.del_pods(0..18).await;
    daemon
        .until("the node is empty", async || {
            let held = world.interfaces().await;
            held.len() == 2 && held[0].addresses() == 1
        })
        .await;
    daemon.rest().await;
    assert_eq!(world.site.described(&foreign).await, before);
    daemon.stop().await;
    world.terminate().await;
}

#[tokio::test]
async fn an_interface_attached_by_hand_is_taken_into_service() {
    let world = World::new("m5.large").await;
    let settings = [
        LOOKS_OFTEN[1],
        ("WARM_IP_TARGET", "1"),
        ("MINIMUM_IP_TARGET", "4"),
    ];
    let daemon = world.start(&settings).await;
    daemon.until_holding(1, 4, 0).await;
    let foreign = world.site.foreign(None).await;
    assign(&foreign, 4).await;
    attach(&world, &foreign, 1).await;
    // It is empty and not needed. Whoever attached it must see it used or detached.
    daemon.add_pods(0..7).await;
    daemon.rest_with_looks().await;
    daemon.check().await;
    daemon.finish_with_looks().await;
}

#[tokio::test]
async fn an_interface_detached_by_hand_is_dropped_and_replaced() {
    let world = World::new("m5.large").await;
    let settings = [("WARM_IP_TARGET", "11"), LOOKS_OFTEN[1], LOOKS_OFTEN[2]];
    let daemon = world.start(&settings).await;
    daemon.until_holding(2, 11, 0).await;
    let second = world.interfaces().await[1].interface.clone();
    world.site.pull(&second).await;
    world.site.delete(&second).await;
    daemon
        .until("another takes its place", async || {
            let held = world.interfaces().await;
            held.len() == 2 && held[1].interface != second
        })
        .await;
    daemon.until_holding(2, 11, 0).await;
    daemon.add_pods(0..12).await;
    daemon.finish_with_looks().await;
}

#[tokio::test]
async fn a_free_address_unassigned_by_hand_is_given_to_nobody() {
    let world = World::new("m5.large").await;
    let daemon = world.start(LOOKS_OFTEN).await;
    daemon.until_holding(1, 2, 0).await;
    let primary = world.interfaces().await[0].clone();
    let taken = primary.ranges.first().expect("one").addr();
    unassign(&primary.interface, taken).await;
    daemon
        .until("another stands in", async || {
            world.holdings().await.addresses == 2
        })
        .await;
    daemon.rest_with_looks().await;
    daemon.check().await;
    daemon.add_pods(0..6).await;
    daemon.finish_with_looks().await;
}

#[tokio::test]
async fn an_address_unassigned_by_hand_under_a_pod_is_reported_and_given_to_nobody_else() {
    let world = World::new("m5.large").await;
    let daemon = world.start(LOOKS_OFTEN).await;
    let address = daemon.add("victim").await.expect("is served");
    daemon.rest_with_looks().await;
    let primary = world.interfaces().await[0].clone();
    unassign(&primary.interface, address).await;
    let metrics = daemon.app.metrics.clone();
    let said = async || {
        let text = metrics.text().expect("is text");
        text.contains("veni_lost_addresses_total 1")
    };
    daemon.until("the loss is reported", said).await;
    daemon.add_pods(0..6).await;
    let records = daemon.app.endpoints.list();
    let of_it = records
        .iter()
        .filter(|record| record.addresses().contains(&address));
    assert_eq!(of_it.count(), 1, "it still is the victim's");
    assert!(daemon.del("victim").await);
    world.end_namespace("victim");
    daemon.finish_with_looks().await;
}

pub(crate) async fn assign(interface: &str, count: i32) {
    let call = admin()
        .assign_private_ip_addresses()
        .network_interface_id(interface)
        .secondary_private_ip_address_count(count);
    call.send().await.expect("must be assigned");
}

pub(crate) async fn unassign(interface: &str, address: IpAddr) {
    let call = admin()
        .unassign_private_ip_addresses()
        .network_interface_id(interface)
        .private_ip_addresses(address.to_string());
    call.send().await.expect("must be unassigned");
}

async fn attach(world: &World, interface: &str, index: i32) {
    let call = admin()
        .attach_network_interface()
        .network_interface_id(interface)
        .instance_id(&world.site.instance)
        .device_index(index);
    call.send().await.expect("must be attached");
}
