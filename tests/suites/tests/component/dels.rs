//! DEL, GC and the audit: what an ADD has made goes, once, and takes nothing
//! else along.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use veni_api::failure::code;
use veni_provider_mock::CloudConfig;
use veni_provider_mock::config::Latency;

use crate::world::{Settings, World};

/// Four free addresses, whatever the type.
const FOUR_WARM: Settings<'_> = &[("WARM_IP_TARGET", "4")];
/// One free address.
const ONE_WARM: Settings<'_> = &[("WARM_IP_TARGET", "1")];

fn slow_assign(seconds: u64) -> CloudConfig {
    let mut config = CloudConfig::aws().instant();
    config.latency.assign = Latency::fixed(Duration::from_secs(seconds));
    config
}

#[tokio::test(start_paused = true)]
async fn a_del_ends_an_add_that_waits() {
    let world = World::new(slow_assign(20), "m5.large");
    let daemon = world.start(ONE_WARM).await;
    let add = daemon.begin_add("a");
    sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    assert!(!daemon.del("a").await, "there was nothing yet");
    let failure = add.await.expect("no panic").expect_err("was ended");
    assert_eq!(failure.code, code::TRY_AGAIN_LATER);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(daemon.report().await.waiting, 0);
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_del_ends_all_adds_of_its_attachment_that_came_before() {
    let world = World::new(slow_assign(20), "m5.large");
    let daemon = world.start(ONE_WARM).await;
    // A repeated ADD queues behind the first one of its attachment.
    let adds = [daemon.begin_add("a"), daemon.begin_add("a")];
    sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    assert!(!daemon.del("a").await, "there was nothing yet");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    for add in adds {
        let failure = add.await.expect("no panic").expect_err("was ended");
        assert_eq!(failure.code, code::TRY_AGAIN_LATER);
    }
    daemon.settle().await;
    assert!(daemon.app.endpoints.list().is_empty());
    assert_eq!(daemon.report().await.assigned, 0);
}

#[tokio::test(start_paused = true)]
async fn adds_and_dels_of_one_attachment_run_one_after_the_other() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    daemon.settle().await;
    let delay = Duration::from_millis(300);
    world
        .kernel
        .delay(veni_dataplane::memory::Step::ConfigurePod, delay);
    world
        .kernel
        .delay(veni_dataplane::memory::Step::RemoveEndpoint, delay);
    for round in 0..5 {
        let add = daemon.begin_add("a");
        sleep(Duration::from_millis(50 + 100 * round)).await;
        let existed = daemon.del("a").await;
        let added = add.await.expect("no panic");
        assert_eq!(existed, added.is_ok(), "the del comes after the add, whole");
        assert!(daemon.app.endpoints.list().is_empty());
        assert!(world.kernel.routes().is_empty());
    }
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn garbage_collection_releases_what_is_not_in_the_list_and_nothing_younger() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    daemon.add_all(["keep", "stale"].map(str::to_owned)).await;
    // The call's time is the machine's, in milliseconds.
    std::thread::sleep(Duration::from_millis(3));
    let valid = [("keep".to_owned(), "eth0".to_owned())].into();
    let released = daemon.app.endpoints.collect_garbage("veni", &valid).await;
    assert_eq!(released.expect("goes right"), 1);
    let other = daemon
        .app
        .endpoints
        .collect_garbage("other", &Default::default())
        .await;
    assert_eq!(
        other.expect("goes right"),
        0,
        "another network's are not ours to judge"
    );
    let left: Vec<_> = daemon
        .app
        .endpoints
        .list()
        .into_iter()
        .map(|r| r.key.container_id)
        .collect();
    assert_eq!(left, ["keep"]);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_whose_namespace_vanished_is_released_without_a_del() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    daemon.add_all(["a", "b"].map(str::to_owned)).await;
    world.end_namespace("a");
    sleep(Duration::from_secs(15)).await;
    let left: Vec<_> = daemon
        .app
        .endpoints
        .list()
        .into_iter()
        .map(|r| r.key.container_id)
        .collect();
    assert_eq!(left, ["b"]);
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn host_routes_that_somebody_removed_are_made_again() {
    let world = World::aws("m5.large");
    let daemon = world.start(FOUR_WARM).await;
    let address = daemon.add("a").await.expect("is served");
    world.kernel.delete_route(address);
    assert!(
        world.kernel.routes().is_empty(),
        "the look sees that it is gone"
    );
    sleep(Duration::from_secs(15)).await;
    assert_eq!(world.kernel.routes().len(), 1);
    assert_eq!(daemon.app.metrics.repairs(), 1);
}
