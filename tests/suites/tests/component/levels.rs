//! How the pool's level moves: cooldown, excess, margins, whole scale-outs and
//! back, on both kinds of clouds.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use veni_provider::{Operation, SubnetId};
use veni_provider_mock::CloudConfig;

use crate::cloud_faults::metric;
use crate::daemon::Daemon;
use crate::world::{Holdings, SUBNET, World};

async fn delete_pods(daemon: &Daemon, numbers: std::ops::Range<usize>) {
    for number in numbers {
        assert!(daemon.del(&format!("pod-{number}")).await);
    }
}

fn pods(numbers: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    numbers.map(|number| format!("pod-{number}"))
}

#[tokio::test(start_paused = true)]
async fn a_released_address_is_given_to_nobody_within_its_cooldown() {
    let world = World::aws("m5.large");
    let settings = [("WARM_IP_TARGET", "2"), ("IP_COOLDOWN_PERIOD", "20")];
    let daemon = world.start(&settings).await;
    daemon.settle().await;
    let address = daemon.add("a").await.expect("is served");
    daemon.del("a").await;
    let deleted = Instant::now();
    for number in 0..30 {
        let name = format!("pod-{number}");
        let given = daemon.add(&name).await.expect("is served");
        let cool = deleted.elapsed() >= Duration::from_secs(20);
        assert!(given != address || cool, "after {:?}", deleted.elapsed());
        daemon.del(&name).await;
        sleep(Duration::from_secs(1)).await;
    }
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_cooldown_an_address_is_free_at_once() {
    let world = World::aws("m5.large");
    let daemon = world
        .start(&[("WARM_IP_TARGET", "1"), ("IP_COOLDOWN_PERIOD", "0")])
        .await;
    daemon.settle().await;
    let first = daemon.add("a").await.expect("is served");
    daemon.settle().await;
    daemon.del("a").await;
    let report = daemon.report().await;
    assert_eq!((report.cooling, report.free), (0, 2));
    let again = daemon.add_all(["b", "c"].map(str::to_owned)).await;
    assert!(again.contains(&first));
}

#[tokio::test(start_paused = true)]
async fn an_excess_goes_back_after_its_delay_and_not_before() {
    let world = World::aws("m5.large");
    let settings = [("WARM_IP_TARGET", "2"), ("VENI_RELEASE_DELAY", "60")];
    let daemon = world.start(&settings).await;
    daemon.add_all(pods(0..6)).await;
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 8);
    delete_pods(&daemon, 0..6).await;
    // 30 s of cooldown, 60 s of excess.
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.calls.of(Operation::Release), 0);
    let told = daemon.explanation().await;
    assert!(told.contains("go back in"), "{told}");
    sleep(Duration::from_secs(150)).await;
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 2);
    assert_eq!(world.calls.of(Operation::Release), 1, "in one call");
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn demand_that_swings_faster_than_the_delay_costs_no_cloud_call() {
    for settings in [
        &[("WARM_IP_TARGET", "4")][..],
        &[("WARM_ENI_TARGET", "1")],
        &[
            ("ENABLE_PREFIX_DELEGATION", "true"),
            ("WARM_PREFIX_TARGET", "1"),
        ],
    ] {
        let world = World::aws("m5.large");
        let daemon = world.start(settings).await;
        let mut calls = 0;
        for round in 0..12 {
            daemon.add_all(pods(0..6)).await;
            sleep(Duration::from_secs(25)).await;
            delete_pods(&daemon, 0..6).await;
            sleep(Duration::from_secs(25)).await;
            if round < 3 {
                calls = world.calls.changes();
            }
        }
        assert_eq!(
            world.calls.changes(),
            calls,
            "{settings:?}\n{}",
            daemon.explanation().await
        );
        daemon.check().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_at_rest_asks_the_cloud_less_than_ten_times_an_hour() {
    let world = World::new(CloudConfig::aws(), "m5.large");
    let daemon = world.start(&[]).await;
    daemon.add_all(pods(0..5)).await;
    daemon.settle().await;
    let calls = world.calls.all();
    sleep(Duration::from_secs(3600)).await;
    assert!(world.calls.all() - calls < 10);
}

#[tokio::test(start_paused = true)]
async fn replacing_pods_within_the_warm_pool_asks_the_cloud_nothing() {
    let world = World::new(CloudConfig::aws(), "m5.xlarge");
    let daemon = world.start(&[]).await;
    daemon.add_all(pods(0..4)).await;
    daemon.settle().await;
    let changes = world.calls.changes();
    // Of 28 addresses four are in use, at most eight cool, and fourteen stay warm.
    for number in 0..100 {
        daemon.del(&format!("pod-{number}")).await;
        daemon
            .add(&format!("pod-{}", number + 4))
            .await
            .expect("is warm");
        sleep(Duration::from_secs(4)).await;
    }
    assert_eq!(world.calls.changes(), changes);
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_goes_from_nothing_to_full_and_back() {
    // m5.xlarge: four interfaces with 14 addresses, or prefixes, each.
    let cases: [(&[(&str, &str)], Holdings); 3] = [
        (&[("WARM_IP_TARGET", "3")], held(1, 3, 0)),
        (&[("WARM_ENI_TARGET", "1")], held(1, 14, 0)),
        (&[("ENABLE_PREFIX_DELEGATION", "true")], held(1, 0, 1)),
    ];
    for (settings, expected) in cases {
        let world = World::new(CloudConfig::aws().seed(5), "m5.xlarge");
        let daemon = world.start(settings).await;
        daemon.settle().await;
        for round in 0..2 {
            daemon.add_all(pods(0..56)).await;
            daemon.settle().await;
            daemon.check().await;
            delete_pods(&daemon, 0..56).await;
            daemon.settle_for(Duration::from_secs(300)).await;
            assert_eq!(world.holdings(), expected, "{settings:?}, round {round}");
            daemon.check().await;
        }
    }
}

const fn held(interfaces: usize, addresses: usize, prefixes: usize) -> Holdings {
    Holdings {
        interfaces,
        addresses,
        prefixes,
    }
}

#[tokio::test(start_paused = true)]
async fn an_azure_node_grows_by_batches_and_never_attaches() {
    let world = World::new(CloudConfig::azure(), "Standard_D2s_v5");
    let daemon = world.start(&[]).await;
    daemon.settle().await;
    // Batches of 16 with half of one free: 16 * ceil(0.5 + pods / 16).
    for (pods_now, expected) in [
        (0, 16),
        (8, 16),
        (9, 32),
        (24, 32),
        (25, 48),
        (40, 48),
        (41, 64),
    ] {
        let before = daemon.app.endpoints.list().len();
        daemon.add_all(pods(before..pods_now)).await;
        daemon.settle().await;
        assert_eq!(world.holdings(), held(1, expected, 0), "{pods_now} pods");
        daemon.check().await;
    }
    assert!(
        world
            .kernel
            .interface(veni_dataplane::plan::INTERFACE_TABLE_BASE)
            .is_none()
    );
    let changes = world.calls.changes();
    // One pod more and one less around a border: the pool must not flap.
    for _ in 0..5 {
        delete_pods(&daemon, 40..41).await;
        sleep(Duration::from_secs(100)).await;
        daemon.add("pod-40").await.expect("is served");
        sleep(Duration::from_secs(100)).await;
    }
    assert_eq!(world.calls.changes(), changes);
    delete_pods(&daemon, 0..41).await;
    daemon.settle_for(Duration::from_secs(300)).await;
    assert_eq!(world.holdings(), held(1, 16, 0));
    assert_eq!(world.calls.of(Operation::AttachInterface), 0);
}

#[tokio::test(start_paused = true)]
async fn metrics_have_the_names_and_values_that_operators_know() {
    let world = World::aws("m5.large");
    let daemon = world
        .start(&[("WARM_IP_TARGET", "3"), ("IP_COOLDOWN_PERIOD", "300")])
        .await;
    daemon.settle().await;
    daemon.add_all(pods(0..5)).await;
    daemon.settle().await;
    daemon.del("pod-0").await;
    daemon.settle().await;
    let expected = [
        ("awscni_assigned_ip_addresses", 4.0),
        // Four in use, one cooling, three warm.
        ("awscni_total_ip_addresses", 8.0),
        ("awscni_eni_allocated", 1.0),
        ("awscni_eni_max", 3.0),
        // Three interfaces, each with nine for pods.
        ("awscni_ip_max", 27.0),
        ("awscni_total_ipv4_prefixes", 0.0),
        ("awscni_add_ip_req_count", 5.0),
        ("awscni_del_ip_req_count{reason=\"PodDeleted\"}", 1.0),
        ("awscni_del_ip_req_count{reason=\"SetupNSFailed\"}", 0.0),
        (
            "awscni_ipamd_action_inprogress{fn=\"increaseDatastorePool\"}",
            0.0,
        ),
        ("awscni_force_removed_ips", 0.0),
        ("awscni_no_available_ip_addresses", 2.0),
        ("veni_pool_addresses{state=\"free\"}", 3.0),
        ("veni_pool_addresses{state=\"assigned\"}", 4.0),
        ("veni_pool_addresses{state=\"cooling\"}", 1.0),
        ("veni_waiting_adds", 0.0),
        ("veni_add_seconds_count{phase=\"total\"}", 5.0),
        ("veni_del_seconds_count{phase=\"total\"}", 1.0),
        ("veni_add_results_total{outcome=\"ok\"}", 5.0),
        ("veni_lost_addresses_total", 0.0),
    ];
    for (name, value) in expected {
        assert_eq!(metric(&daemon, name), value, "{name}");
    }
    let called = "veni_cloud_calls_total{operation=\"assign\",outcome=\"ok\"}";
    assert_eq!(
        metric(&daemon, called) as usize,
        world.calls.of(Operation::Assign)
    );
}

#[tokio::test(start_paused = true)]
async fn an_add_that_fails_at_once_counts_as_one_without_an_address() {
    let world = World::aws("m5.large");
    let subnet = SubnetId::new(SUBNET);
    world.cloud.fill_subnet(&subnet, 0).expect("a subnet");
    let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
    daemon.settle().await;
    let counters = [
        "awscni_add_ip_req_count",
        "awscni_no_available_ip_addresses",
        "veni_add_results_total{outcome=\"no_address\"}",
    ];
    for before in [0.0, 1.0] {
        for name in counters {
            assert_eq!(metric(&daemon, name), before, "{name}");
        }
        daemon.add("a").await.expect_err("nothing can come");
    }
    assert_eq!(metric(&daemon, "veni_waiting_adds"), 0.0);
}
