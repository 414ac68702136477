//! A daemon is killed while the cloud carries out its call. The next one finds out what
//! became of the call, and gives no pod what is gone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use veni_provider::Operation;
use veni_provider_mock::CloudConfig;
use veni_provider_mock::config::Latency;

use crate::world::{Settings, World};

const TWO_SOON: Settings<'_> = &[
    ("WARM_IP_TARGET", "2"),
    ("IP_COOLDOWN_PERIOD", "1"),
    ("VENI_RELEASE_DELAY", "5"),
    ("VENI_INVENTORY_INTERVAL", "600"),
];

fn eventually_consistent() -> CloudConfig {
    let mut config = CloudConfig::aws().instant();
    config.consistency_delay = Latency::fixed(Duration::from_secs(4));
    config.settle_time = Duration::from_secs(5);
    config
}

fn pods(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("pod-{number}"))
}

/// A daemon that is killed while the cloud works on a change of this kind: `at`
/// into a call of twenty seconds, which the cloud carries out after ten.
fn killed_during(operation: Operation, pods_before: usize, at: Duration) -> Arc<World> {
    let world = World::new(eventually_consistent(), "m5.large");
    world.until_killed(async {
        let daemon = world.start(TWO_SOON).await;
        daemon.settle().await;
        let slow = Latency::fixed(Duration::from_secs(20));
        let grows = matches!(operation, Operation::Assign | Operation::AttachInterface);
        if grows {
            world.cloud.set_latency(Some(operation), slow);
        }
        let adds: Vec<_> = pods(pods_before)
            .map(|name| daemon.begin_add(&name))
            .collect();
        if !grows {
            for add in adds {
                add.await.expect("no panic").expect("is served");
            }
            daemon.settle().await;
            world.cloud.set_latency(Some(operation), slow);
            for name in pods(pods_before) {
                daemon.del(&name).await;
            }
        }
        let before = world.calls.of(operation);
        while world.calls.of(operation) == before {
            sleep(Duration::from_millis(100)).await;
        }
        sleep(at).await;
    });
    world.cloud.set_latency(None, Latency::ZERO);
    world
}

/// Asserts that the next daemon serves a burst with addresses that the node really has.
fn serves_a_burst(world: &Arc<World>, count: usize) {
    world.until_killed(async {
        let daemon = world.start(TWO_SOON).await;
        let burst = (0..count).map(|number| format!("burst-{number}"));
        let given = daemon.add_all(burst).await;
        let strange: Vec<_> = given.iter().filter(|a| !world.cloud_knows(**a)).collect();
        assert!(strange.is_empty(), "not the node's: {strange:?}");
        daemon.settle().await;
        daemon.check().await;
        for number in 0..count {
            daemon.del(&format!("burst-{number}")).await;
        }
        for name in pods(12) {
            daemon.del(&name).await;
        }
        daemon.settle_for(Duration::from_secs(700)).await;
        daemon.check().await;
        assert_eq!(world.holdings().addresses, 2);
        assert_eq!(world.journal("releases"), 0);
    });
}

#[test]
fn addresses_that_were_being_released_at_a_kill_are_given_to_nobody_who_would_lose_them() {
    for at in [1, 9, 11] {
        let world = killed_during(Operation::Release, 8, Duration::from_secs(at));
        assert_ne!(world.journal("releases"), 0, "it was written down before");
        serves_a_burst(&world, 9);
    }
}

#[test]
fn an_interface_that_was_being_detached_at_a_kill_serves_nobody_who_would_lose_it() {
    for at in [1, 9, 11] {
        let world = killed_during(Operation::DetachInterface, 12, Duration::from_secs(at));
        serves_a_burst(&world, 9);
    }
}

#[test]
fn what_was_being_bought_at_a_kill_is_found_and_not_bought_again() {
    for (operation, pods_before) in [(Operation::Assign, 4), (Operation::AttachInterface, 9)] {
        let world = killed_during(operation, pods_before, Duration::from_secs(15));
        // It shows in the inventory by now.
        world.until_killed(async { sleep(Duration::from_secs(5)).await });
        let bought = |world: &World| {
            let kinds = [Operation::Assign, Operation::AttachInterface];
            kinds.map(|kind| world.calls.of(kind)).iter().sum::<usize>()
        };
        let before = bought(&world);
        world.until_killed(async {
            let daemon = world.start(TWO_SOON).await;
            // As many as asked before.
            let again = pods(pods_before);
            daemon.add_all(again).await;
            daemon.settle().await;
            daemon.check().await;
            assert_eq!(bought(&world), before, "{operation}");
        });
        serves_a_burst(&world, 12);
    }
}
