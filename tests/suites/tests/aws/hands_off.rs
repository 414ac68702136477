//! Daemons that are told to leave things alone do so.

use std::collections::HashMap;
use std::time::Duration;

use veni_provider_aws::AwsSettings;
use veni_testbed::cloudlab::sdk::types::AttributeValue;
use veni_testbed::ec2::{admin, tag};

use crate::daemon::Daemon;
use crate::others::assign;
use crate::world::{Settings, World};

/// Older than any interface on its way to an instance.
const LONG_AGO: &str = "2026-01-01T00:00:00Z";

/// Settings that make background work frequent.
fn busy(settings: &mut AwsSettings) {
    settings.tidy_every = Duration::from_millis(200);
    settings.leaks_every = Duration::from_secs(1);
}

/// Makes an interface that some node has left behind.
async fn leftover(world: &World, instance: &str) -> String {
    let id = world.site.foreign(None).await;
    let description = AttributeValue::builder().value(format!("aws-K8S-{instance}"));
    let call = admin()
        .modify_network_interface_attribute()
        .network_interface_id(&id)
        .description(description.build());
    call.send().await.expect("must be changed");
    tag(&id, "node.k8s.amazonaws.com/instance_id", instance).await;
    tag(&id, "node.k8s.amazonaws.com/createdAt", LONG_AGO).await;
    id
}

/// Gives an interface a security group of its own.
async fn set_new_group(world: &World, interface: &str) {
    let admin = admin();
    let call = admin
        .create_security_group()
        .group_name("pods")
        .description("pods")
        .vpc_id(&world.site.vpc);
    let group = call.send().await.expect("a group").group_id;
    let call = admin
        .modify_network_interface_attribute()
        .network_interface_id(interface)
        .groups(group.expect("an id"));
    call.send().await.expect("must be changed");
}

fn changes(calls: &HashMap<String, u64>) -> Vec<&String> {
    let names = calls.keys();
    names.filter(|name| !name.starts_with("Describe")).collect()
}

/// Waits for several more inventories. The daemon's background work follows each of them.
async fn looked_at_often(daemon: &Daemon) {
    let looks = async || daemon.world.site.calls().await["DescribeSubnets"];
    let before = looks().await;
    daemon
        .until("several looks", async || looks().await >= before + 4)
        .await;
}

/// A node with an interface that an administrator has filled, and with everything that a
/// daemon would normally correct: security groups, `DeleteOnTermination`, leftovers.
async fn untidy() -> std::sync::Arc<World> {
    let world = World::new("m5.large").await;
    let filled = world.site.foreign(Some(1)).await;
    let instance = world.site.instance.clone();
    tag(&filled, "node.k8s.amazonaws.com/instance_id", &instance).await;
    assign(&filled, 3).await;
    world.site.let_outlive(&filled).await;
    leftover(&world, &instance).await;
    leftover(&world, "i-gone").await;
    world
}

const LOOKS_OFTEN: (&str, &str) = ("VENI_INVENTORY_INTERVAL", "1");

#[tokio::test]
async fn without_provisioning_nothing_is_changed_whatever_an_administrator_does() {
    let world = untidy().await;
    let settings = [
        LOOKS_OFTEN,
        ("DISABLE_NETWORK_RESOURCE_PROVISIONING", "true"),
    ];
    let daemon = world.start_with(&settings, busy).await;
    daemon.add_pods(0..3).await;
    let primary = world.interfaces().await[0].interface.clone();
    set_new_group(&world, &primary).await;
    looked_at_often(&daemon).await;
    daemon.del_pods(0..3).await;
    looked_at_often(&daemon).await;
    let calls = world.site.calls().await;
    assert!(changes(&calls).is_empty(), "{calls:?}");
    assert_eq!(world.site.unattached().await.len(), 2);
    daemon.stop().await;
    world.terminate().await;
}

#[tokio::test]
async fn with_provisioning_the_same_node_is_set_right() {
    let world = untidy().await;
    let daemon = world.start_with(&[LOOKS_OFTEN], busy).await;
    daemon.add_pods(0..3).await;
    let primary = world.interfaces().await[0].interface.clone();
    set_new_group(&world, &primary).await;
    daemon
        .until("everything is set right", async || {
            let calls = world.site.calls().await;
            let modified = calls.get("ModifyNetworkInterfaceAttribute");
            let left = world.site.unattached().await;
            left.is_empty() && modified.is_some_and(|calls| *calls >= 2)
        })
        .await;
    daemon.stop().await;
    world.terminate().await;
}

/// Returns what a node's daemon leaves of another node's leftovers.
async fn leaves(settings: Settings<'_>, expected: usize) {
    let world = World::new("m5.large").await;
    leftover(&world, "i-gone").await;
    let settings = [&[LOOKS_OFTEN], settings].concat();
    let daemon = world.start_with(&settings, busy).await;
    looked_at_often(&daemon).await;
    daemon
        .until("it is left alone, or gone", async || {
            world.site.unattached().await.len() == expected
        })
        .await;
    daemon.stop().await;
    world.terminate().await;
}

#[tokio::test]
async fn where_pods_have_no_ipv4_interfaces_of_dead_nodes_are_left_alone() {
    let ipv6 = [
        ("ENABLE_IPv6", "true"),
        ("ENABLE_PREFIX_DELEGATION", "true"),
        ("ENABLE_IPv4", "false"),
    ];
    tokio::join!(leaves(&ipv6, 1), leaves(&ipv6[..2], 0));
}
