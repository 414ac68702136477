//! Seeded histories of a daemon that is killed again and again, at any moment, in
//! a cloud that is slow, lags and loses answers.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;
use veni_dataplane::memory::Step;
use veni_provider_mock::{CloudConfig, Fault, FaultKind};

use crate::daemon::{Daemon, key};
use crate::world::{Holdings, Settings, World};

const SETTINGS: Settings<'_> = &[
    ("WARM_IP_TARGET", "2"),
    ("IP_COOLDOWN_PERIOD", "1"),
    ("VENI_RELEASE_DELAY", "3"),
    ("VENI_INVENTORY_INTERVAL", "600"),
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
/// Lives of a daemon in one history.
const LIVES: u32 = 12;

/// Starts some operations, then gives them a moment, however far they get.
async fn random_adds_and_dels(daemon: &Daemon, rng: &mut StdRng) {
    for _ in 0..rng.random_range(1..8) {
        let name = format!("pod-{}", rng.random_range(0..CONTAINERS));
        if rng.random_bool(0.6) {
            daemon.begin_add(&name);
        } else {
            let endpoints = Arc::clone(&daemon.app.endpoints);
            tokio::spawn(async move { endpoints.delete(&key(&name)).await });
        }
        sleep(Duration::from_millis(rng.random_range(0..700))).await;
    }
    sleep(Duration::from_millis(rng.random_range(0..6_000))).await;
}

/// Asserts that after a kill, every pod's address is one that the cloud assigns to this
/// node.
fn nobody_has_what_is_gone(world: &World, daemon: &Daemon, seed: u64) {
    let mut seen: BTreeSet<IpAddr> = BTreeSet::new();
    for record in daemon.app.endpoints.list() {
        for address in record.addresses() {
            assert!(
                seen.insert(address),
                "seed {seed}: {address} is two endpoints'"
            );
            assert!(world.cloud_knows(address), "seed {seed}: {address} is gone");
        }
    }
}

fn history(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::new(CloudConfig::aws().seed(seed), "m5.large");
    world
        .kernel
        .delay(Step::ConfigurePod, Duration::from_millis(40));
    world
        .kernel
        .delay(Step::RemoveEndpoint, Duration::from_millis(40));
    let answers_get_lost = Fault::random(0.1, FaultKind::AnswerLost);
    for _ in 0..LIVES {
        world.until_killed(async {
            let daemon = world.start(&settings(seed)).await;
            nobody_has_what_is_gone(&world, &daemon, seed);
            world.cloud.clear_faults();
            world.cloud.inject(answers_get_lost.clone());
            random_adds_and_dels(&daemon, &mut rng).await;
            nobody_has_what_is_gone(&world, &daemon, seed);
        });
    }
    world.cloud.clear_faults();
    world.until_killed(async {
        let daemon = world.start(&settings(seed)).await;
        sleep(Duration::from_secs(20)).await;
        daemon.settle().await;
        let differences = daemon.differences().await;
        assert!(differences.is_empty(), "seed {seed}: {differences:#?}");
        for number in 0..CONTAINERS {
            daemon.del(&format!("pod-{number}")).await;
        }
        daemon.settle_for(Duration::from_secs(700)).await;
        let differences = daemon.differences().await;
        assert!(differences.is_empty(), "seed {seed}: {differences:#?}");
        let told = daemon.explanation().await;
        assert_eq!(world.holdings(), at_rest(seed), "seed {seed}\n{told}");
        let left = (world.journal("endpoints"), world.journal("releases"));
        assert_eq!(left, (0, 0), "seed {seed}");
    });
}

#[test]
fn kills_at_any_moment_lose_nothing_and_double_nothing() {
    for seed in 0..20 {
        history(seed);
    }
}
