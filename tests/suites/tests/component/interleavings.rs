//! Many seeded histories of ADDs, DELs and callers that go away, in a cloud that is slow,
//! lags and fails. The invariants hold at every moment.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::sleep;
use veni_api::failure::code;
use veni_dataplane::memory::Step;
use veni_provider::ErrorClass;
use veni_provider_mock::{CloudConfig, Fault, FaultKind};

use crate::daemon::{Daemon, key};
use crate::world::{Holdings, Settings, World};

const SETTINGS: Settings<'_> = &[
    ("WARM_IP_TARGET", "2"),
    ("IP_COOLDOWN_PERIOD", "3"),
    ("VENI_RELEASE_DELAY", "5"),
    ("VENI_INVENTORY_INTERVAL", "7"),
    ("VENI_ADD_WAIT", "20"),
];
/// The same with prefixes, for every other history.
const WITH_PREFIXES: (&str, &str) = ("ENABLE_PREFIX_DELEGATION", "true");

fn settings(seed: u64) -> Vec<(&'static str, &'static str)> {
    let mut settings = SETTINGS.to_vec();
    if seed % 2 == 1 {
        settings.push(WITH_PREFIXES);
    }
    settings
}

/// What is left when all pods are gone: two addresses, or the prefix they are in.
fn at_rest(seed: u64) -> Holdings {
    let (addresses, prefixes) = if seed % 2 == 1 { (0, 1) } else { (2, 0) };
    Holdings {
        interfaces: 1,
        addresses,
        prefixes,
    }
}

/// Attachments that a history knows.
const CONTAINERS: u32 = 14;

fn error(class: ErrorClass) -> FaultKind {
    FaultKind::Error {
        class,
        reason: "by chance".to_owned(),
    }
}

fn inject_random_faults(world: &World) {
    let kinds = [
        FaultKind::AnswerLost,
        error(ErrorClass::Transient),
        error(ErrorClass::Throttled { retry_after: None }),
        FaultKind::Partial { at_most: 1 },
    ];
    for kind in kinds {
        world.cloud.inject(Fault::random(0.08, kind));
    }
    world
        .kernel
        .delay(Step::ConfigurePod, Duration::from_millis(30));
    world
        .kernel
        .delay(Step::EnsureInterface, Duration::from_millis(200));
}

/// Asserts that no two endpoints have the same address.
fn assert_no_address_has_two_endpoints(daemon: &Daemon, seed: u64) {
    let mut owners: BTreeMap<IpAddr, String> = BTreeMap::new();
    for record in daemon.app.endpoints.list() {
        for address in record.addresses() {
            let other = owners.insert(address, record.key.to_string());
            assert_eq!(
                other, None,
                "seed {seed}: {address} is also of {}",
                record.key
            );
        }
    }
}

async fn history(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::new(CloudConfig::aws().seed(seed), "m5.large");
    let daemon = world.start(&settings(seed)).await;
    inject_random_faults(&world);
    let mut operations = JoinSet::new();
    for _ in 0..40 {
        let name = format!("pod-{}", rng.random_range(0..CONTAINERS));
        match rng.random_range(0..10) {
            0..5 => {
                let add = daemon.begin_add(&name);
                operations.spawn(async move {
                    match add.await {
                        Ok(Err(failure)) => {
                            let expected = [code::TRY_AGAIN_LATER, code::NO_ADDRESS];
                            assert!(expected.contains(&failure.code), "{}", failure.message);
                        }
                        Ok(Ok(_)) => {}
                        Err(cancelled) => assert!(cancelled.is_cancelled()),
                    }
                });
            }
            5..8 => {
                let endpoints = Arc::clone(&daemon.app.endpoints);
                operations.spawn(async move {
                    endpoints
                        .delete(&key(&name))
                        .await
                        .expect("del does not fail");
                });
            }
            8 => {
                let add = daemon.begin_add(&name);
                let patience = Duration::from_millis(rng.random_range(0..2_000));
                operations.spawn(async move {
                    sleep(patience).await;
                    add.abort();
                });
            }
            _ => sleep(Duration::from_millis(rng.random_range(0..3_000))).await,
        }
        assert_no_address_has_two_endpoints(&daemon, seed);
    }
    while let Some(ended) = operations.join_next().await {
        ended.expect("no operation fails in a way it must not");
        assert_no_address_has_two_endpoints(&daemon, seed);
    }
    world.cloud.clear_faults();
    daemon.settle().await;
    let differences = daemon.differences().await;
    assert!(differences.is_empty(), "seed {seed}: {differences:#?}");
    ends_where_it_began(&world, &daemon, seed).await;
}

async fn ends_where_it_began(world: &World, daemon: &Daemon, seed: u64) {
    for number in 0..CONTAINERS {
        daemon.del(&format!("pod-{number}")).await;
    }
    daemon.settle_for(Duration::from_secs(90)).await;
    let differences = daemon.differences().await;
    assert!(differences.is_empty(), "seed {seed}: {differences:#?}");
    let told = daemon.explanation().await;
    assert_eq!(world.holdings(), at_rest(seed), "seed {seed}\n{told}");
    assert_eq!(world.kernel.link_names(), ["eth0"], "seed {seed}");
    assert_eq!(world.journal("endpoints"), 0, "seed {seed}");
}

async fn histories(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        history(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn fifty_histories_keep_the_invariants() {
    histories(0..50).await;
}

#[tokio::test(start_paused = true)]
async fn fifty_more_histories_keep_the_invariants() {
    histories(50..100).await;
}

#[tokio::test(start_paused = true)]
async fn a_third_fifty_of_histories_keep_the_invariants() {
    histories(100..150).await;
}

#[tokio::test(start_paused = true)]
async fn a_last_fifty_of_histories_keep_the_invariants() {
    histories(150..200).await;
}
