//! A daemon that is stopped, killed, or starts after a reboot. It finds again what it had,
//! undoes half-made things, and gives no pod what is gone.

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use veni_dataplane::memory::Step;
use veni_provider::ErrorClass;
use veni_provider_mock::config::Latency;
use veni_provider_mock::{CloudConfig, Fault, FaultKind};

use crate::daemon::Daemon;
use crate::world::{Settings, World};

const FOUR_WARM: Settings<'_> = &[("WARM_IP_TARGET", "4")];

fn eventually_consistent() -> CloudConfig {
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
    world.until_killed(async {
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
        let world = World::new(eventually_consistent(), "m5.large");
        let before = three_pods(&world, in_order);
        let changes = world.calls.changes();
        world.until_killed(async {
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
    let world = World::new(eventually_consistent(), "m5.large");
    let before = three_pods(&world, false);
    world.cloud.inject(unreachable());
    world.until_killed(async {
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
    let world = World::new(eventually_consistent(), "m5.large");
    let mut away = unreachable();
    away.lasts = Some(Duration::from_secs(30));
    world.until_killed(async {
        world.cloud.inject(away);
        let begun = Instant::now();
        let daemon = world.start(FOUR_WARM).await;
        assert!(begun.elapsed() >= Duration::from_secs(30));
        assert!(
            begun.elapsed() <= Duration::from_secs(45),
            "{:?}",
            begun.elapsed()
        );
        daemon.add("a").await.expect("is served");
    });
}

#[test]
fn an_add_that_a_kill_has_cut_is_undone() {
    for step in [Step::CreatePair, Step::ConfigurePod, Step::ConfigureHost] {
        let world = World::new(eventually_consistent(), "m5.large");
        world.until_killed(async {
            let daemon = world.start(FOUR_WARM).await;
            daemon.settle().await;
            world.kernel.delay(step, Duration::from_secs(60));
            daemon.begin_add("cut");
            sleep(Duration::from_secs(1)).await;
        });
        world.kernel.delay(step, Duration::ZERO);
        world.until_killed(async {
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
    let world = World::new(eventually_consistent(), "m5.large");
    world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        daemon.add("a").await.expect("is served");
        world
            .kernel
            .delay(Step::RemoveEndpoint, Duration::from_secs(60));
        let endpoints = Arc::clone(&daemon.app.endpoints);
        tokio::spawn(async move { endpoints.delete(&crate::daemon::key("a")).await });
        sleep(Duration::from_secs(1)).await;
    });
    world.kernel.delay(Step::RemoveEndpoint, Duration::ZERO);
    world.until_killed(async {
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
    let world = World::new(eventually_consistent(), "m5.large");
    let before = world.until_killed(async {
        let daemon = world.start(&settings).await;
        let given = daemon.add_all(pods(2)).await;
        daemon.del("pod-0").await;
        given[0]
    });
    world.until_killed(async {
        let daemon = world.start(&settings).await;
        assert_eq!(daemon.report().await.cooling, 1);
        let begun = Instant::now();
        let address = daemon.add("next").await.expect("waits it out");
        assert_eq!(address, before, "there is no other");
        assert!(
            begun.elapsed() > Duration::from_secs(25),
            "{:?}",
            begun.elapsed()
        );
    });
}

#[test]
fn pods_that_ended_while_no_daemon_ran_are_released_at_the_start() {
    let world = World::new(eventually_consistent(), "m5.large");
    let before = three_pods(&world, false);
    world.end_namespace("pod-1");
    world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        assert_eq!(addresses(&daemon), [before[0], before[2]]);
        assert_eq!(daemon.app.metrics.repairs(), 1);
        assert_eq!(
            daemon.report().await.cooling,
            1,
            "others may still send to it"
        );
        daemon.settle().await;
        daemon.check().await;
    });
}

#[test]
fn a_damaged_entry_is_dropped_and_its_address_stays_taken() {
    let world = World::new(eventually_consistent(), "m5.large");
    let before = three_pods(&world, false);
    let folder = world.folder().join("journal/endpoints");
    let entry = fs::read_dir(&folder)
        .expect("lists")
        .flatten()
        .next()
        .expect("an entry");
    fs::write(entry.path(), "{}").expect("writes");
    world.until_killed(async {
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
        assert_eq!(
            daemon.app.endpoints.list().len(),
            4,
            "the unknown one went with its link"
        );
    });
}

#[test]
fn after_a_reboot_nothing_of_the_boot_before_is_believed_and_addresses_cool_once() {
    let world = World::new(eventually_consistent(), "m5.large");
    three_pods(&world, false);
    let held = world.holdings().addresses;
    world.reboot();
    world.until_killed(async {
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
    world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        assert_eq!(daemon.report().await.cooling, 0, "it cooled once");
        assert_eq!(daemon.app.endpoints.list().len(), 1);
    });
}

#[test]
fn addresses_that_never_were_a_pods_are_taken_before_those_that_cool_after_a_reboot() {
    let world = World::new(eventually_consistent(), "m5.large");
    let before = three_pods(&world, false);
    world.reboot();
    world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        // The pool buys what it lacks while the other addresses cool.
        sleep(Duration::from_secs(5)).await;
        let fresh = daemon.add("first").await.expect("is served");
        assert!(!before.contains(&fresh), "{fresh} of {before:?}");
    });
}

/// What the plugin leaves when it finds no daemon.
fn leave_a_note(world: &World, container: &str, time_ms: u64) {
    let folder = world.folder().join(veni_api::PENDING_DIR);
    fs::create_dir_all(&folder).expect("makes it");
    let key = crate::daemon::key(container);
    let note = serde_json::json!({
        "version": 1,
        "network": key.network,
        "containerId": key.container_id,
        "interfaceName": key.interface_name,
        "timeMs": time_ms,
        "bootId": "",
    });
    let name = veni_api::file_names::note(key.parts());
    fs::write(folder.join(name), note.to_string()).expect("writes");
}

#[test]
fn dels_that_came_while_no_daemon_ran_are_made_up_for_and_undo_no_later_add() {
    let world = World::new(eventually_consistent(), "m5.large");
    let before = three_pods(&world, false);
    leave_a_note(&world, "pod-0", ipamd::clock::unix_millis() + 1);
    leave_a_note(&world, "pod-1", 1);
    world.until_killed(async {
        let daemon = world.start(FOUR_WARM).await;
        sleep(Duration::from_secs(15)).await;
        assert_eq!(addresses(&daemon), [before[1], before[2]]);
        let left = fs::read_dir(world.folder().join(veni_api::PENDING_DIR)).expect("lists");
        assert_eq!(left.count(), 0, "both are done with");
        daemon.settle().await;
        daemon.check().await;
    });
}

#[test]
fn a_stop_ends_adds_that_wait_and_finishes_those_that_build() {
    let mut config = eventually_consistent();
    config.latency.assign = Latency::fixed(Duration::from_secs(50));
    let world = World::new(config, "m5.large");
    world.until_killed(async {
        let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
        sleep(Duration::from_secs(60)).await;
        world
            .kernel
            .delay(Step::ConfigurePod, Duration::from_secs(1));
        let builds = daemon.begin_add("builds");
        sleep(Duration::from_millis(100)).await;
        let waits = daemon.begin_add("waits");
        sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        daemon.stop().await;
        assert!(
            begun.elapsed() <= Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
        builds.await.expect("no panic").expect("was finished");
        let failure = waits.await.expect("no panic").expect_err("was ended");
        assert_eq!(failure.code, veni_api::failure::code::TRY_AGAIN_LATER);
    });
    world.kernel.delay(Step::ConfigurePod, Duration::ZERO);
    world.until_killed(async {
        let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
        assert_eq!(addresses(&daemon).len(), 1);
        assert_eq!(
            daemon.app.metrics.repairs(),
            0,
            "nothing was left half done"
        );
    });
}
