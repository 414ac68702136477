//! Full interfaces in a subnet that is full, fragmented, or not listed.

use std::time::Duration;

use tokio::time::sleep;
use veni_api::failure::code;
use veni_provider::{Operation, SubnetId};

use crate::world::{SUBNET, Settings, World};

/// What the primary interface of a t3.small holds.
const PRIMARY: usize = 3;

const PREFIXES: Settings<'_> = &[
    ("ENABLE_PREFIX_DELEGATION", "true"),
    ("WARM_IP_TARGET", "1"),
    ("VENI_RELEASE_DELAY", "10"),
    ("IP_COOLDOWN_PERIOD", "1"),
];

fn pods(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|number| format!("pod-{number}"))
}

#[tokio::test(start_paused = true)]
async fn no_interface_is_asked_of_a_full_subnet_again_and_again() {
    let world = World::aws("t3.small");
    let subnet = SubnetId::new(SUBNET);
    let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
    daemon.add_all(pods(0..PRIMARY - 1)).await;
    daemon.settle().await;
    world.cloud.fill_subnet(&subnet, 0).expect("a subnet");
    daemon.add("last").await.expect("there is a free address");
    let told = daemon.add("more").await.expect_err("nothing can come");
    assert_eq!(told.code, code::NO_ADDRESS);
    assert!(
        told.message.contains("no free address") && told.message.contains(SUBNET),
        "{}",
        told.message
    );
    sleep(Duration::from_secs(60)).await;
    let calls = world.calls.of(Operation::AttachInterface);
    assert!(calls <= 2, "{calls} calls for another interface");
    world.cloud.unfill(&subnet).expect("a subnet");
    sleep(Duration::from_secs(90)).await;
    daemon.add("more").await.expect("is served");
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn the_single_address_left_in_a_subnet_makes_no_interface() {
    let world = World::aws("t3.small");
    let subnet = SubnetId::new(SUBNET);
    let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
    daemon.add_all(pods(0..PRIMARY - 1)).await;
    daemon.settle().await;
    world.cloud.fill_subnet(&subnet, 1).expect("a subnet");
    daemon.add("last").await.expect("there is a free address");
    for _ in 0..8 {
        daemon.add("more").await.expect_err("nothing can come");
        sleep(Duration::from_secs(10)).await;
    }
    let calls = world.calls.of(Operation::AttachInterface);
    assert!(calls <= 2, "{calls} calls for another interface");
    assert_eq!(world.holdings().interfaces, 1);
    world.cloud.unfill(&subnet).expect("a subnet");
    sleep(Duration::from_secs(90)).await;
    daemon.add("more").await.expect("is served");
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_interface_gets_all_but_the_address_that_it_takes_itself() {
    let world = World::aws("m5.large");
    let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
    daemon.add_all(pods(0..8)).await;
    daemon.settle().await;
    world
        .cloud
        .fill_subnet(&SubnetId::new(SUBNET), 5)
        .expect("a subnet");
    sleep(Duration::from_secs(3700)).await; // until it has been looked at
    let before = world.calls.of(Operation::AttachInterface);
    daemon.add_all(pods(8..13)).await;
    let calls = world.calls.of(Operation::AttachInterface) - before;
    assert_eq!(calls, 1, "one call takes what there is");
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn full_interfaces_in_a_fragmented_subnet_are_followed_by_one_with_single_addresses() {
    let world = World::aws("t3.small");
    let subnet = SubnetId::new(SUBNET);
    let daemon = world.start(PREFIXES).await;
    daemon.add_all(pods(0..16 * PRIMARY - 1)).await;
    daemon.settle().await;
    assert_eq!(
        (world.holdings().prefixes, world.holdings().interfaces),
        (3, 1)
    );
    world.cloud.fragment_subnet(&subnet).expect("a subnet");
    let before = world.calls.changes();
    daemon
        .add_all(pods(16 * PRIMARY - 1..16 * PRIMARY + 2))
        .await;
    daemon.settle().await;
    let held = world.holdings();
    assert_eq!((held.prefixes, held.interfaces), (3, 2), "{held:?}");
    assert!(held.addresses >= 2, "{held:?}");
    sleep(Duration::from_secs(60)).await;
    let calls = world.calls.changes() - before;
    assert!(calls <= 6, "{calls} changes asked for");
    daemon.check().await;
    world.cloud.unfill(&subnet).expect("a subnet");
    sleep(Duration::from_secs(150)).await;
    daemon
        .add_all(pods(16 * PRIMARY + 2..16 * PRIMARY + 12))
        .await;
    daemon.settle().await;
    assert!(world.holdings().prefixes > 3, "{:?}", world.holdings());
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_subnet_that_cannot_be_seen_is_not_asked_again_and_again() {
    // With room on the primary interface, and without.
    for pods_before in [1, PRIMARY - 1] {
        let world = World::aws("t3.small");
        world.calls.hide_subnets();
        let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
        daemon.add_all(pods(0..pods_before)).await;
        daemon.settle().await;
        world
            .cloud
            .fill_subnet(&SubnetId::new(SUBNET), 0)
            .expect("a subnet");
        daemon.add("last").await.expect("there is a free address");
        let before = world.calls.changes();
        let told = daemon.add("more").await.expect_err("nothing can come");
        assert_eq!(told.code, code::NO_ADDRESS);
        sleep(Duration::from_secs(60)).await;
        let calls = world.calls.changes() - before;
        assert!(calls <= 2, "{calls} changes asked for");
        world
            .cloud
            .unfill(&SubnetId::new(SUBNET))
            .expect("a subnet");
        sleep(Duration::from_secs(90)).await;
        daemon.add("more").await.expect("is served");
        daemon.check().await;
    }
}
