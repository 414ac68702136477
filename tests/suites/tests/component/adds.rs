//! ADD against the warm pool: at once, in order, hopeless, given up.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use veni_api::failure::code;
use veni_provider::{Operation, SubnetId};
use veni_provider_mock::config::Latency;
use veni_provider_mock::{CloudConfig, NodeConfig};

use crate::daemon::Daemon;
use crate::world::{INSTANCE, SUBNET, Settings, World};

/// Four free addresses, whatever the type.
const FOUR_WARM: Settings<'_> = &[("WARM_IP_TARGET", "4")];
/// One free address: the second of two ADDs finds none.
const ONE_WARM: Settings<'_> = &[("WARM_IP_TARGET", "1")];

fn slow_assign(seconds: u64) -> CloudConfig {
    let mut config = CloudConfig::aws().instant();
    config.latency.assign = Latency::fixed(Duration::from_secs(seconds));
    config
}

#[tokio::test(start_paused = true)]
async fn the_warm_pool_reaches_its_target_after_the_start() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 4);
    assert_eq!(daemon.report().await.free, 4);
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_add_from_the_warm_pool_asks_the_cloud_nothing_and_waits_for_nothing() {
    let world = World::new(slow_assign(5), "m5.large");
    let daemon = world.start(FOUR_WARM).await;
    daemon.settle().await;
    let (calls, begun) = (world.calls.all(), Instant::now());
    for name in ["a", "b", "c", "d"] {
        daemon.add(name).await.expect("is served");
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // The refill is under way, but the ADD did not wait for it.
    assert_eq!(world.calls.of(Operation::Inventory), 1);
    assert!(world.calls.all() <= calls + 1, "one refill at most");
    daemon.settle().await;
    assert_eq!(daemon.report().await.free, 4);
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn adds_on_an_empty_pool_are_served_in_order_of_arrival() {
    let world = World::new(slow_assign(5), "m5.large");
    let daemon = world.start(ONE_WARM).await;
    daemon.settle().await;
    daemon.add("first").await.expect("is warm");
    let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..8 {
        let add = daemon.begin_add(&format!("waiting-{number}"));
        let served = served.clone();
        tokio::spawn(async move {
            add.await.expect("no panic").expect("is served");
            served.send(number).expect("is listened to");
        });
        sleep(Duration::from_millis(100)).await;
    }
    let mut seen = Vec::new();
    for _ in 0..8 {
        seen.extend(order.recv().await);
    }
    assert_eq!(seen, (0..8).collect::<Vec<_>>());
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_add_fails_at_once_when_the_subnet_is_full_and_names_it() {
    let world = World::aws("m5.large");
    let subnet = SubnetId::new(SUBNET);
    world.cloud.fill_subnet(&subnet, 0).expect("a subnet");
    let daemon = world.start(ONE_WARM).await;
    daemon.settle().await;
    let begun = Instant::now();
    let failure = daemon.add("a").await.expect_err("nothing can come");
    assert_eq!(failure.code, code::NO_ADDRESS);
    assert!(failure.message.contains(SUBNET), "{}", failure.message);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert!(world.kernel.routes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_last_addresses_of_a_subnet_are_given_out_before_an_add_fails() {
    let world = World::aws("m5.large");
    let daemon = world.start(ONE_WARM).await;
    daemon.settle().await;
    // The subnet changes after the pool has read it: three are left, and it asks for five.
    let subnet = SubnetId::new(SUBNET);
    world.cloud.fill_subnet(&subnet, 3).expect("a subnet");
    let adds: Vec<_> = (0..6)
        .map(|n| daemon.begin_add(&format!("pod-{n}")))
        .collect();
    let mut served = 0;
    for add in adds {
        match add.await.expect("no panic") {
            Ok(_) => served += 1,
            Err(failure) => assert_eq!(failure.code, code::NO_ADDRESS, "{}", failure.message),
        }
    }
    assert_eq!(served, 4, "the warm one and the last three");
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_add_fails_at_once_when_the_node_has_all_it_may_have() {
    let world = World::aws("t3.nano");
    let daemon = world
        .start(&[("WARM_IP_TARGET", "1"), ("MAX_PODS", "30")])
        .await;
    // Two interfaces with one address for pods each.
    daemon.add_all(["a", "b"].map(str::to_owned)).await;
    daemon.settle().await;
    let failure = daemon.add("c").await.expect_err("nothing can come");
    assert_eq!(failure.code, code::NO_ADDRESS);
    assert!(
        failure.message.contains("all 2 interfaces"),
        "{}",
        failure.message
    );
    assert_eq!(world.holdings().interfaces, 2);
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn of_more_pods_than_the_node_holds_only_those_beyond_fail() {
    let world = World::aws("m5.large");
    // Addresses come with their interface, but their rules only when its link appears.
    world.delay_links(Duration::from_secs(2));
    let daemon = world.start(ONE_WARM).await;
    daemon.settle().await;
    let adds: Vec<_> = (0..40)
        .map(|number| daemon.begin_add(&format!("pod-{number}")))
        .collect();
    let mut served = 0;
    for add in adds {
        served += usize::from(add.await.expect("no panic").is_ok());
    }
    assert_eq!(
        served, 27,
        "three interfaces with nine addresses for pods each"
    );
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn the_pool_never_holds_more_than_the_node_may_have_pods() {
    let world = World::aws("m5.large");
    let daemon = world
        .start(&[("WARM_IP_TARGET", "8"), ("MAX_PODS", "5")])
        .await;
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 5);
    daemon.add_all((0..5).map(|n| format!("pod-{n}"))).await;
    let failure = daemon.add("one-more").await.expect_err("nothing can come");
    assert!(failure.message.contains("5 pods"), "{}", failure.message);
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 5);
}

#[tokio::test(start_paused = true)]
async fn an_add_fails_with_the_clouds_own_words_when_permission_is_denied() {
    let world = World::aws("m5.large");
    world.cloud.deny(Operation::Assign);
    let daemon = world.start(ONE_WARM).await;
    sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    let failure = daemon.add("a").await.expect_err("nothing can come");
    assert_eq!(failure.code, code::NO_ADDRESS);
    assert!(
        failure.message.contains("UnauthorizedOperation"),
        "{}",
        failure.message
    );
    assert!(begun.elapsed() < Duration::from_secs(1));
    world.cloud.allow(Operation::Assign);
    sleep(Duration::from_secs(40)).await;
    daemon.add("b").await.expect("the permission is noticed");
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_add_waits_for_cooling_addresses_when_nothing_else_can_come() {
    let world = World::aws("m5.large");
    let daemon = world
        .start(&[("WARM_IP_TARGET", "1"), ("MAX_PODS", "2")])
        .await;
    let before = daemon.add_all(["a", "b"].map(str::to_owned)).await;
    assert!(daemon.del("a").await);
    let begun = Instant::now();
    let address = daemon.add("c").await.expect("waits out the cooldown");
    assert_eq!(address, before[0]);
    assert!(
        begun.elapsed() >= Duration::from_secs(29),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        begun.elapsed() <= Duration::from_secs(31),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_add_that_waits_too_long_is_told_to_try_again_and_what_it_waits_for() {
    let world = World::new(slow_assign(50), "m5.large");
    let daemon = world
        .start(&[("WARM_IP_TARGET", "1"), ("VENI_ADD_WAIT", "20")])
        .await;
    let begun = Instant::now();
    let failure = daemon.add("a").await.expect_err("it takes too long");
    assert_eq!(begun.elapsed(), Duration::from_secs(20));
    assert_eq!(failure.code, code::TRY_AGAIN_LATER);
    assert!(
        failure.message.contains("within 20 s"),
        "{}",
        failure.message
    );
    assert!(failure.message.contains("assign"), "{}", failure.message);
    // The caller has left the queue, so the address that comes stays free.
    daemon.settle().await;
    assert_eq!(daemon.report().await.assigned, 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_frees_the_place_and_the_address() {
    let world = World::new(slow_assign(5), "m5.large");
    let daemon = world.start(ONE_WARM).await;
    daemon.settle().await;
    daemon.add("first").await.expect("is warm");
    let gone = daemon.begin_add("gone");
    let patient = daemon.begin_add("patient");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(daemon.report().await.waiting, 2);
    gone.abort();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(daemon.report().await.waiting, 1);
    patient.await.expect("no panic").expect("is served");
    daemon.settle().await;
    assert_eq!(daemon.report().await.assigned, 2);
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_add_under_way_is_finished_when_its_caller_goes_away() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    daemon.settle().await;
    let delay = Duration::from_secs(2);
    world
        .kernel
        .delay(veni_dataplane::memory::Step::ConfigurePod, delay);
    let add = daemon.begin_add("a");
    sleep(Duration::from_secs(1)).await;
    add.abort();
    sleep(Duration::from_secs(2)).await;
    assert_eq!(daemon.app.endpoints.list().len(), 1);
    daemon.settle().await;
    daemon.check().await;
    assert!(daemon.del("a").await, "its runtime will delete it");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_add_returns_the_same_address() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    let first = daemon.add("a").await.expect("is served");
    let again = daemon.add("a").await.expect("is served");
    assert_eq!(first, again);
    assert_eq!(daemon.app.endpoints.list().len(), 1);
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_add_into_another_namespace_is_another_endpoint_of_the_attachment() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    daemon.settle().await;
    let first = daemon.add("a").await.expect("is served");
    world.end_namespace("a");
    let second = daemon.add("a").await.expect("is served");
    assert_ne!(first, second, "the first one cools");
    assert_eq!(daemon.app.endpoints.list().len(), 1);
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_beyond_the_warm_pool_is_served_completely_and_without_a_double() {
    let config = CloudConfig::aws().seed(7);
    let world = World::with_node(config, NodeConfig::new(INSTANCE, "m5.xlarge", SUBNET));
    let daemon = world.start(&[("WARM_IP_TARGET", "5")]).await;
    let addresses = daemon.add_all((0..56).map(|n| format!("pod-{n}"))).await;
    let distinct: BTreeSet<IpAddr> = addresses.iter().copied().collect();
    assert_eq!(distinct.len(), 56);
    daemon.settle().await;
    daemon.check().await;
    delete_all(&daemon, 56).await;
    assert!(world.kernel.routes().is_empty());
}

async fn delete_all(daemon: &Daemon, count: usize) {
    for number in 0..count {
        assert!(daemon.del(&format!("pod-{number}")).await);
    }
}

#[tokio::test(start_paused = true)]
async fn sandboxes_that_died_without_a_del_make_room_before_an_add_is_called_hopeless() {
    let world = World::aws("m5.large");
    let settings = [
        ("WARM_IP_TARGET", "1"),
        ("MAX_PODS", "3"),
        // No audit: only the ADD itself may find the pods that are gone.
        ("VENI_AUDIT_INTERVAL", "3600"),
    ];
    let daemon = world.start(&settings).await;
    daemon.add_all((0..3).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    daemon.add("too-many").await.expect_err("all of them live");
    world.end_namespace("pod-0");
    world.end_namespace("pod-1");
    let adds: Vec<_> = (0..2)
        .map(|n| daemon.begin_add(&format!("new-{n}")))
        .collect();
    for add in adds {
        add.await.expect("no panic").expect("the dead make room");
    }
    assert_eq!(daemon.app.metrics.repairs(), 2);
    daemon.settle().await;
    daemon.check().await;
}
