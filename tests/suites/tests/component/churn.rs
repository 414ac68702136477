//! A day of pods that come and go, on a paused clock: nothing of the daemon grows.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;
use veni_provider_mock::CloudConfig;

use crate::daemon::Daemon;
use crate::world::{Settings, World};

const SETTINGS: Settings<'_> = &[
    ("WARM_IP_TARGET", "3"),
    ("IP_COOLDOWN_PERIOD", "10"),
    ("VENI_INVENTORY_INTERVAL", "600"),
];
/// What was released stays in the journal until an inventory lacks it, and warm addresses
/// beyond the target stay for some minutes: two inventories later both are over.
const REST: Duration = Duration::from_secs(1500);
const HOURS: u32 = 24;
const PODS: u32 = 20;

/// How much of everything there is.
#[derive(Debug, PartialEq, Eq)]
struct Sizes {
    /// Files below the run folder.
    files: BTreeSet<String>,
    /// In all of them; numbers in them have more or fewer digits.
    kilobytes: u64,
    links: usize,
    routes: usize,
    endpoints: usize,
    /// Lines that operators are told of the pool.
    told: usize,
    /// Series that the daemon exposes.
    series: usize,
}

/// Adds the files below a folder, and tells how long they are together.
fn files_below(folder: &Path, files: &mut BTreeSet<String>) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let found = entry.metadata().expect("it is there");
        if found.is_dir() {
            bytes += files_below(&entry.path(), files);
        } else {
            bytes += found.len();
            files.insert(entry.path().display().to_string());
        }
    }
    bytes
}

async fn sizes(daemon: &Daemon) -> Sizes {
    let (world, mut files) = (&daemon.world, BTreeSet::new());
    let bytes = files_below(world.folder(), &mut files);
    Sizes {
        files,
        kilobytes: bytes / 1024,
        links: world.kernel.link_names().len(),
        routes: world.kernel.routes().len(),
        endpoints: daemon.app.endpoints.list().len(),
        told: daemon.explanation().await.lines().count(),
        series: daemon.app.metrics.text().expect("a text").lines().count(),
    }
}

/// Without pods, and when all has settled.
async fn sizes_at_rest(daemon: &Daemon) -> Sizes {
    for number in 0..PODS {
        daemon.del(&format!("pod-{number}")).await;
    }
    sleep(REST).await;
    sizes(daemon).await
}

async fn churn_for_an_hour(daemon: &Daemon, rng: &mut StdRng) {
    for _ in 0..60 {
        for _ in 0..rng.random_range(0..5) {
            let pod = format!("pod-{}", rng.random_range(0..PODS));
            if rng.random_bool(0.5) {
                daemon.add(&pod).await.expect("there is room");
            } else {
                daemon.del(&pod).await;
                daemon.world.end_namespace(&pod);
            }
        }
        sleep(Duration::from_secs(60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_of_churn_lets_nothing_grow() {
    let world = World::new(CloudConfig::aws().seed(24), "m5.large");
    let daemon = world.start(SETTINGS).await;
    let mut rng = StdRng::seed_from_u64(24);
    churn_for_an_hour(&daemon, &mut rng).await;
    let first = sizes_at_rest(&daemon).await;
    for _ in 1..HOURS {
        churn_for_an_hour(&daemon, &mut rng).await;
    }
    assert_eq!(sizes_at_rest(&daemon).await, first);

    // The twin: one pod more is seen.
    daemon.add("one-more").await.expect("is served");
    let more = sizes(&daemon).await;
    assert!(more.files.len() > first.files.len(), "{more:?}");
    assert!(more.links > first.links, "{more:?}");
    assert!(more.routes > first.routes, "{more:?}");
    assert!(more.endpoints > first.endpoints, "{more:?}");
}
