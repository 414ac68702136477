//! Subnets that are fragmented, full, or not the only one.

use std::time::Duration;

use ipnet::IpNet;
use tokio::time::sleep;
use veni_api::failure::code;
use veni_provider::{Operation, SubnetId};
use veni_provider_mock::CloudConfig;
use veni_provider_mock::config::SubnetConfig;

use crate::world::{SUBNET, Settings, World};

const PREFIXES: Settings<'_> = &[
    ("ENABLE_PREFIX_DELEGATION", "true"),
    ("WARM_IP_TARGET", "4"),
    ("VENI_RELEASE_DELAY", "10"),
    ("IP_COOLDOWN_PERIOD", "1"),
];

/// A cloud with a second subnet in the nodes' zone, and that subnet's range.
fn with_another_subnet() -> (CloudConfig, IpNet) {
    let mut config = CloudConfig::aws().instant();
    let range: IpNet = "10.0.32.0/20".parse().expect("a range");
    config
        .subnets
        .push(SubnetConfig::new("subnet-c", "zone-a", [range]));
    (config, range)
}

#[tokio::test(start_paused = true)]
async fn a_fragmented_subnet_gives_single_addresses_and_prefixes_come_back_later() {
    let world = World::aws("m5.large");
    let subnet = SubnetId::new(SUBNET);
    world.cloud.fragment_subnet(&subnet).expect("a subnet");
    let daemon = world.start(PREFIXES).await;
    daemon.settle().await;
    daemon.add_all((0..6).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    assert_eq!(world.holdings().prefixes, 0);
    assert!(world.holdings().addresses >= 8, "{:?}", world.holdings());
    world.cloud.unfill(&subnet).expect("a subnet");
    // The subnet is asked again after two minutes.
    sleep(Duration::from_secs(150)).await;
    daemon.settle().await;
    assert_eq!(world.holdings().prefixes, 1);
    daemon.add_all((6..8).map(|n| format!("pod-{n}"))).await;
    daemon.check().await;
    for number in 0..6 {
        daemon.del(&format!("pod-{number}")).await;
    }
    daemon.settle_for(Duration::from_secs(120)).await;
    assert_eq!(
        (world.holdings().prefixes, world.holdings().addresses),
        (1, 0)
    );
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_subnet_is_left_alone_for_a_while_and_then_asked_again() {
    let world = World::aws("m5.large");
    let subnet = SubnetId::new(SUBNET);
    world.cloud.fill_subnet(&subnet, 0).expect("a subnet");
    let daemon = world.start(&[("WARM_IP_TARGET", "3")]).await;
    sleep(Duration::from_secs(60)).await;
    let calls = world.calls.changes();
    assert!(
        calls <= 4,
        "a full subnet is not asked again and again: {calls}"
    );
    let failure = daemon.add("a").await.expect_err("nothing can come");
    assert_eq!(failure.code, code::NO_ADDRESS);
    let report = daemon.report().await;
    let told = report
        .subnets
        .iter()
        .find(|s| s.id == SUBNET)
        .expect("is listed");
    assert!(
        !told.exhausted.is_empty() && told.retry_seconds > 0,
        "{told:?}"
    );
    world.cloud.unfill(&subnet).expect("a subnet");
    sleep(Duration::from_secs(100)).await;
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 3);
    daemon.add("a").await.expect("is served");
    assert!(
        daemon
            .report()
            .await
            .subnets
            .iter()
            .all(|s| s.exhausted.is_empty())
    );
}

#[tokio::test(start_paused = true)]
async fn another_subnet_of_the_zone_helps_out() {
    let (config, range) = with_another_subnet();
    let world = World::new(config, "m5.large");
    world
        .cloud
        .fill_subnet(&SubnetId::new(SUBNET), 0)
        .expect("a subnet");
    let daemon = world.start(&[("WARM_IP_TARGET", "2")]).await;
    let address = daemon.add("a").await.expect("is served");
    assert!(range.contains(&address), "{address}");
    daemon.settle().await;
    assert_eq!(world.calls.of(Operation::AttachInterface), 1);
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_prefix_is_taken_before_single_addresses_stand_in() {
    let mut config = CloudConfig::aws().instant();
    // 64 addresses: one of the four /28 is the cloud's own and the node's.
    config.subnets[0].cidrs = vec!["10.0.0.0/26".parse::<IpNet>().expect("a range")];
    config.order = veni_provider_mock::config::AllocationOrder::LowestFirst;
    let world = World::new(config, "m5.large");
    let settings = [
        ("ENABLE_PREFIX_DELEGATION", "true"),
        ("WARM_IP_TARGET", "1"),
    ];
    let daemon = world.start(&settings).await;
    daemon.settle().await;
    daemon.add_all((0..40).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    let held = world.holdings();
    assert!(
        held.prefixes >= 2 && held.prefixes * 16 + held.addresses >= 40,
        "{held:?}"
    );
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_excluded_subnet_gives_pods_nothing_more_and_gets_back_what_they_leave() {
    let (config, range) = with_another_subnet();
    let world = World::new(config, "m5.large");
    let settings = [
        ("WARM_IP_TARGET", "2"),
        ("IP_COOLDOWN_PERIOD", "1"),
        ("VENI_RELEASE_DELAY", "10"),
        ("VENI_INVENTORY_INTERVAL", "30"),
    ];
    let daemon = world.start(&settings).await;
    let old = daemon.add_all((0..3).map(|n| format!("old-{n}"))).await;
    daemon.settle().await;
    assert!(
        old.iter().all(|address| !range.contains(address)),
        "{old:?}"
    );
    world
        .cloud
        .exclude_subnet(&SubnetId::new(SUBNET))
        .expect("a subnet");
    sleep(Duration::from_secs(31)).await;
    let new = daemon.add_all((0..3).map(|n| format!("new-{n}"))).await;
    assert!(new.iter().all(|address| range.contains(address)), "{new:?}");
    // Those that were there keep what they have; what nobody used goes.
    daemon.settle_for(Duration::from_secs(120)).await;
    daemon.check().await;
    assert_eq!(world.interfaces()[0].addresses.len(), 3);
    for number in 0..3 {
        daemon.del(&format!("old-{number}")).await;
    }
    daemon.settle_for(Duration::from_secs(120)).await;
    daemon.check().await;
    assert!(world.interfaces()[0].addresses.is_empty());
    assert!(new.iter().all(|address| world.cloud_knows(*address)));
}

#[tokio::test(start_paused = true)]
async fn a_primary_interface_that_is_not_for_pods_is_never_filled() {
    let mut config = CloudConfig::aws().instant();
    config.subnets[0].for_pods = false;
    let range: IpNet = "10.0.32.0/20".parse().expect("a range");
    config
        .subnets
        .push(SubnetConfig::new("subnet-c", "zone-a", [range]));
    let world = World::new(config, "m5.large");
    let daemon = world.start(&[("WARM_IP_TARGET", "2")]).await;
    // All that two other interfaces hold.
    let given = daemon.add_all((0..18).map(|n| format!("pod-{n}"))).await;
    assert!(given.iter().all(|address| range.contains(address)));
    let failure = daemon.add("one more").await.expect_err("there is no room");
    assert_eq!(failure.code, code::NO_ADDRESS);
    daemon.settle().await;
    daemon.check().await;
    assert!(world.interfaces()[0].addresses.is_empty());
    assert_eq!(world.holdings().interfaces, 3);
}

#[tokio::test(start_paused = true)]
async fn interfaces_in_other_subnets_go_on_while_one_subnet_is_put_aside() {
    let (config, _) = with_another_subnet();
    let world = World::new(config, "m5.large");
    let subnet = SubnetId::new(SUBNET);
    let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
    daemon.settle().await;
    world.cloud.fill_subnet(&subnet, 0).expect("a subnet");
    daemon.add_all((0..4).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    // The second interface is in the other subnet, and grows at once.
    let before = world.calls.of(Operation::Assign);
    daemon.add_all((4..8).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    assert!(world.calls.of(Operation::Assign) > before);
    assert!(
        world.interfaces()[1].addresses.len() >= 7,
        "{:?}",
        world.interfaces()
    );
    daemon.check().await;
}
