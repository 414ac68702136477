//! Changes of different interfaces run side by side. No ADD waits for a change that it
//! does not need.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use veni_provider::Operation;
use veni_provider_mock::CloudConfig;
use veni_provider_mock::config::{Latencies, Latency};

use crate::world::World;

fn five_seconds_a_call() -> CloudConfig {
    let mut config = CloudConfig::aws().instant();
    config.latency = Latencies::all(Latency::fixed(Duration::from_secs(5)));
    config
}

#[tokio::test(start_paused = true)]
async fn changes_of_different_interfaces_run_in_parallel() {
    let world = World::new(five_seconds_a_call(), "m5.xlarge");
    let daemon = world.start(&[("WARM_IP_TARGET", "40")]).await;
    let begun = Instant::now();
    // 14 on the primary interface, 14 and 12 on two new ones.
    while daemon.report().await.free < 40 {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.calls.most_at_once(), 3);
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(world.calls.of(Operation::Assign), 1);
    assert_eq!(world.calls.of(Operation::AttachInterface), 2);
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_delays_neither_adds_nor_dels_nor_reports() {
    let world = World::aws("m5.xlarge");
    let daemon = world.start(&[("WARM_IP_TARGET", "6")]).await;
    daemon.settle().await;
    let slow = Latency::fixed(Duration::from_secs(50));
    world.cloud.set_latency(Some(Operation::Assign), slow);
    let begun = Instant::now();
    for number in 0..6 {
        daemon.add(&format!("pod-{number}")).await.expect("is warm");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(daemon.del("pod-3").await);
    assert_eq!(
        daemon.plan().await.actions.len(),
        1,
        "the slow call is under way"
    );
    assert_eq!(begun.elapsed(), Duration::from_millis(60));
}

#[tokio::test(start_paused = true)]
async fn two_changes_never_meet_on_one_interface() {
    let world = World::new(CloudConfig::aws().seed(3), "m5.xlarge");
    let settings = [
        ("WARM_IP_TARGET", "2"),
        ("IP_COOLDOWN_PERIOD", "1"),
        ("VENI_RELEASE_DELAY", "2"),
    ];
    let daemon = world.start(&settings).await;
    for round in 0..6 {
        let count = [3, 20, 8, 40, 1, 15][round];
        daemon
            .add_all((0..count).map(|n| format!("pod-{round}-{n}")))
            .await;
        sleep(Duration::from_millis(1_700)).await;
        for number in 0..count {
            daemon.del(&format!("pod-{round}-{number}")).await;
        }
        sleep(Duration::from_secs(4)).await;
    }
    assert!(
        world.calls.most_at_once() > 1,
        "there was something to meet"
    );
    assert_eq!(world.calls.collisions(), Vec::<String>::new());
    daemon.settle().await;
    daemon.check().await;
}
