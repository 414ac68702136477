//! A daemon that is stopped, killed, or comes up after a reboot: what it had is
//! found again, half-made things are undone, nothing is given out that is gone.

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use veni_dataplane::memory::Step;
use veni_provider::{ErrorClass, Operation};
use veni_provider_mock::config::Latency;
use veni_provider_mock::{CloudConfig, Fault, FaultKind};

use crate::world::{Daemon, Settings, World};

const FOUR_WARM: Settings<'_> = &[("WARM_IP_TARGET", "4")];
const TWO_SOON: Settings<'_> = &[
    ("WARM_IP_TARGET", "2"),
    ("IP_COOLDOWN_PERIOD", "1"),
    ("VENI_RELEASE_DELAY", "5"),
];

fn lagging() -> CloudConfig {
    let mut config = CloudConfig::aws().instant();
    config.consistency_delay = Latency::fixed(Duration::from_secs(4));
    config.settle_time = Duration::from_secs(5);
    config
}

fn unreachable() -> Fault {
    Fault::always(FaultKind::Error {
        class: ErrorClass::Transient,
        reason: "no route to the cloud".to_owned(),
    })
}

fn pods(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("pod-{number}"))
}

fn addresses(daemon: &Daemon) -> Vec<IpAddr> {
    let mut records = daemon.app.endpoints.list();
    records.sort_by(|a, b| a.key.cmp(&b.key));
    records.iter().map(|record| record.addresses()[0]).collect()
}

/// Three pods of a daemon that then ends, in order or not.
fn three_pods(world: &Arc<World>, in_order: bool) -> Vec<IpAddr> {
    world.life(async {
        let daemon = world.start(FOUR_WARM).await;
        let given = daemon.add_all(pods(3)).await;
        daemon.settle().await;
        if in_order {
            daemon.stop().await;
        }
        given
    })
}

#[test]
fn pods_keep_their_addresses_over_a_stop_and_over_a_kill() {
    for in_order in [true, false] {
        let world = World::new(lagging(), "m5.large");
        let before = three_pods(&world, in_order);
        let changes = world.calls.changes();
        world.life(async {
            let daemon = world.start(FOUR_WARM).await;
            assert_eq!(addresses(&daemon), before);
            assert_eq!(daemon.add("pod-1").await.expect("is there"), before[1]);
            daemon.settle().await;
            daemon.check().await;
            assert_eq!(world.calls.changes(), changes, "nothing was bought again");
            let fresh = daemon.add("another").await.expect("is warm");
            assert!(!before.contains(&fresh));
        });
    }
}

#[test]
fn pods_are_served_from_what_is_owned_while_the_cloud_cannot_be_reached() {
    let world = World::new(lagging(), "m5.large");
    let before = three_pods(&world, false);
    world.cloud.inject(unreachable());
    world.life(async {
        let begun = Instant::now();
        let daemon = world.start(FOUR_WARM).await;
        let fresh = daemon.add_all((3..7).map(|n| format!("pod-{n}"))).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(fresh.iter().all(|address| world.cloud_knows(*address)));
        assert!(fresh.iter().all(|address| !before.contains(address)));
        assert!(daemon.del("pod-0").await);
        sleep(Duration::from_secs(90)).await;
        let told = daemon.report().await.cloud_error;
        assert!(told.contains("no route to the cloud"), "{told}");
        world.cloud.clear_faults();
        sleep(Duration::from_secs(60)).await;
        daemon.settle().await;
        daemon.check().await;
        assert_eq!(daemon.report().await.free, 4);
    });
}

#[test]
fn a_first_start_waits_for_the_cloud() {
    let world = World::new(lagging(), "m5.large");
    let mut away = unreachable();
    away.lasts = Some(Duration::from_secs(30));
    world.life(async {
        world.cloud.inject(away);
        let begun = Instant::now();
        let daemon = world.start(FOUR_WARM).await;
        assert!(begun.elapsed() >= Duration::from_secs(30));
        assert!(begun.elapsed() <= Duration::from_secs(45), "{:?}", begun.elapsed());
        daemon.add("a").await.expect("is served");
    });
}

#[test]
fn an_add_that_a_kill_has_cut_is_undone() {
    for step in [Step::CreatePair, Step::ConfigurePod, Step::ConfigureHost] {
        let world = World::new(lagging(), "m5.large");
        world.life(async {
            let daemon = world.start(FOUR_WARM).await;
            daemon.settle().await;
            world.kernel.delay(step, Duration::from_secs(60));
            daemon.begin_add("cut");
            sleep(Duration::from_secs(1)).await;
        });
        world.kernel.delay(step, Duration::ZERO);
        world.life(async {
            let daemon = world.start(FOUR_WARM).await;
            assert!(daemon.app.endpoints.list().is_empty(), "{step:?}");
            assert!(world.kernel.routes().is_empty(), "{step:?}");
            sleep(Duration::from_secs(40)).await;
            assert_eq!(world.kernel.link_names(), ["eth0"], "{step:?}");
            assert_eq!(world.journal("endpoints"), 0, "{step:?}");
            daemon.add("cut").await.expect("is served");
            daemon.settle().await;
            daemon.check().await;
        });
    }
}

#[test]
fn a_del_that_a_kill_has_cut_is_finished() {
    let world = World::new(lagging(), "m5.large");
    world.life(async {
        let daemon = world.start(FOUR_WARM).await;
        daemon.add("a").await.expect("is served");
        world.kernel.delay(Step::RemoveEndpoint, Duration::from_secs(60));
        let endpoints = Arc::clone(&daemon.app.endpoints);
        tokio::spawn(async move { endpoints.delete(&crate::world::key("a")).await });
        sleep(Duration::from_secs(1)).await;
    });
    world.kernel.delay(Step::RemoveEndpoint, Duration::ZERO);
    world.life(async {
        let daemon = world.start(FOUR_WARM).await;
        assert!(daemon.app.endpoints.list().is_empty());
        assert!(!daemon.del("a").await, "a del that is repeated succeeds");
        sleep(Duration::from_secs(40)).await;
        assert_eq!(world.kernel.link_names(), ["eth0"]);
        assert_eq!(world.journal("endpoints"), 0);
        daemon.settle().await;
        daemon.check().await;
    });
}

#[test]
fn cooldowns_go_on_after_a_kill() {
    let settings = [("WARM_IP_TARGET", "1"), ("MAX_PODS", "2")];
    let world = World::new(lagging(), "m5.large");
    let before = world.life(async {
        let daemon = world.start(&settings).await;
        let given = daemon.add_all(pods(2)).await;
        daemon.del("pod-0").await;
        given[0]
    });
    world.life(async {
        let daemon = world.start(&settings).await;
        assert_eq!(daemon.report().await.cooling, 1);
        let begun = Instant::now();
        let address = daemon.add("next").await.expect("waits it out");
        assert_eq!(address, before, "there is no other");
        assert!(begun.elapsed() > Duration::from_secs(25), "{:?}", begun.elapsed());
    });
}

#[test]
fn pods_that_ended_while_no_daemon_ran_are_released_at_the_start() {
    let world = World::new(lagging(), "m5.large");
    let before = three_pods(&world, false);
    world.end_namespace("pod-1");
    world.life(async {
        let daemon = world.start(FOUR_WARM).await;
        assert_eq!(addresses(&daemon), [before[0], before[2]]);
        assert_eq!(daemon.app.metrics.repairs(), 1);
        assert_eq!(daemon.report().await.cooling, 1, "others may still send to it");
        daemon.settle().await;
        daemon.check().await;
    });
}

/// A daemon that is killed while the cloud works on a change of this kind: `at`
/// into a call of twenty seconds, which the cloud carries out after ten.
fn killed_during(operation: Operation, pods_before: usize, at: Duration) -> Arc<World> {
    let world = World::new(lagging(), "m5.large");
    world.life(async {
        let daemon = world.start(TWO_SOON).await;
        daemon.settle().await;
        let slow = Latency::fixed(Duration::from_secs(20));
        let grows = matches!(operation, Operation::Assign | Operation::AttachInterface);
        if grows {
            world.cloud.set_latency(Some(operation), slow);
        }
        let adds: Vec<_> = pods(pods_before).map(|name| daemon.begin_add(&name)).collect();
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

/// The next daemon serves a burst with nothing but addresses that the node has.
fn serves_a_burst(world: &Arc<World>, count: usize) {
    world.life(async {
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
        daemon.quiet_for(Duration::from_secs(700)).await;
        daemon.check().await;
        assert_eq!(world.holdings().addresses, 2);
        assert_eq!(world.journal("releases"), 0);
    });
}

#[test]
fn addresses_that_were_being_released_at_a_kill_are_given_to_nobody_who_would_lose_them() {
    for at in [1, 9, 11] {
        let world = killed_during(Operation::Release, 8, Duration::from_secs(at));
        assert_eq!(world.journal("releases"), 1, "it was written down before");
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
        world.life(async { sleep(Duration::from_secs(5)).await });
        let before = world.holdings();
        world.life(async {
            let daemon = world.start(TWO_SOON).await;
            daemon.settle().await;
            daemon.check().await;
            assert_eq!(world.holdings(), before, "{operation}");
        });
        serves_a_burst(&world, 12);
    }
}

#[test]
fn a_damaged_entry_is_dropped_and_its_address_stays_taken() {
    let world = World::new(lagging(), "m5.large");
    let before = three_pods(&world, false);
    let shelf = world.folder().join("journal/endpoints");
    let entry = fs::read_dir(&shelf).expect("lists").flatten().next().expect("an entry");
    fs::write(entry.path(), "{}").expect("writes");
    world.life(async {
        let daemon = world.start(FOUR_WARM).await;
        assert_eq!(daemon.app.endpoints.list().len(), 3, "one of them unknown");
        assert_eq!(daemon.app.metrics.repairs(), 2, "dropped, and taken in");
        let fresh = daemon.add_all((3..7).map(|n| format!("pod-{n}"))).await;
        assert!(fresh.iter().all(|address| !before.contains(address)));
        daemon.settle().await;
        daemon.check().await;
        for name in pods(3) {
            world.end_namespace(&name);
        }
        sleep(Duration::from_secs(15)).await;
        assert_eq!(daemon.app.endpoints.list().len(), 4, "the unknown one went with its link");
    });
}

#[test]
fn after_a_reboot_nothing_of_the_boot_before_is_believed_and_addresses_cool_once() {
    let world = World::new(lagging(), "m5.large");
    three_pods(&world, false);
    let held = world.holdings().addresses;
    world.reboot();
    world.life(async {
        let daemon = world.start(FOUR_WARM).await;
        assert!(daemon.app.endpoints.list().is_empty());
        assert_eq!(daemon.report().await.cooling as usize, held);
        let begun = Instant::now();
        let waiting = daemon.add("first").await.expect("has one at once");
        assert_eq!(begun.elapsed(), Duration::ZERO, "who waits need not cool");
        assert!(world.cloud_knows(waiting));
        sleep(Duration::from_secs(31)).await;
        daemon.settle().await;
        assert_eq!(daemon.report().await.cooling, 0);
        daemon.check().await;
    });
    world.life(async {
        let daemon = world.start(FOUR_WARM).await;
        assert_eq!(daemon.report().await.cooling, 0, "it cooled once");
        assert_eq!(daemon.app.endpoints.list().len(), 1);
    });
}

#[test]
fn addresses_that_never_were_a_pods_are_taken_before_those_that_cool_after_a_reboot() {
    let world = World::new(lagging(), "m5.large");
    let before = three_pods(&world, false);
    world.reboot();
    world.life(async {
        let daemon = world.start(FOUR_WARM).await;
        // The plan buys what it lacks while the others cool.
        sleep(Duration::from_secs(5)).await;
        let fresh = daemon.add("first").await.expect("is served");
        assert!(!before.contains(&fresh), "{fresh} of {before:?}");
    });
}

#[test]
fn many_kills_at_any_moment_lose_nothing() {
    let world = World::new(CloudConfig::aws().seed(11), "m5.large");
    for round in 0..25_u64 {
        world.life(async {
            let daemon = world.start(TWO_SOON).await;
            for number in 0..5 {
                let name = format!("pod-{}", (round * 3 + number) % 14);
                if (round + number) % 3 == 0 {
                    daemon.del(&name).await;
                } else {
                    daemon.begin_add(&name);
                }
            }
            sleep(Duration::from_millis(137 * round % 4_000)).await;
        });
    }
    world.life(async {
        let daemon = world.start(TWO_SOON).await;
        sleep(Duration::from_secs(20)).await;
        daemon.settle().await;
        daemon.check().await;
        for name in pods(14) {
            daemon.del(&name).await;
        }
        daemon.quiet_for(Duration::from_secs(700)).await;
        daemon.check().await;
        assert_eq!(world.holdings().addresses, 2);
        assert_eq!(world.holdings().interfaces, 1);
        assert_eq!((world.journal("endpoints"), world.journal("releases")), (0, 0));
    });
}
