//! Counts calls to EC2, as LocalStack sees them. Asserts the bounds and prints the figures
//! for docs/performance.md (`--nocapture`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipamd::pool::{REFRESH_AT_REST, REFRESH_WITH_LOCAL_VIEW};

use crate::daemon::Daemon;
use crate::metadata::Metadata;
use crate::others::unassign;
use crate::world::{Settings, World};

/// Calls by operation.
type Calls = BTreeMap<String, u64>;

/// A mode of the pool, and as many pods as an m5.xlarge then has room for: 58 with
/// two on the host's network in address mode.
struct Mode {
    name: &'static str,
    settings: Settings<'static>,
    pods: u32,
    /// What an empty node holds: addresses and prefixes.
    empty: (usize, usize),
}

const MODES: [Mode; 3] = [
    Mode {
        name: "WARM_ENI_TARGET=1",
        settings: &[("WARM_ENI_TARGET", "1")],
        pods: 56,
        empty: (14, 0),
    },
    Mode {
        name: "WARM_IP_TARGET=12",
        settings: &[("WARM_IP_TARGET", "12")],
        pods: 56,
        empty: (12, 0),
    },
    Mode {
        name: "WARM_PREFIX_TARGET=1",
        settings: &[("ENABLE_PREFIX_DELEGATION", "true")],
        pods: 58,
        empty: (0, 1),
    },
];

async fn calls(world: &World) -> Calls {
    world.site.calls().await.into_iter().collect()
}

fn since(before: &Calls, now: &Calls) -> Calls {
    let count = |name: &String| before.get(name).copied().unwrap_or(0);
    let more = now
        .iter()
        .map(|(name, calls)| (name.clone(), calls - count(name)));
    more.filter(|(_, calls)| *calls > 0).collect()
}

fn of(calls: &Calls, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| calls.get(*name)).sum()
}

#[expect(clippy::print_stdout, reason = "to the runner of the test")]
fn print(mode: &str, what: &str, calls: &Calls) {
    let total: u64 = calls.values().sum();
    println!("| {mode} | {what} | {total} | {calls:?} |");
}

/// Waits until the daemon has searched for what its predecessor may have left. It does so
/// once, a moment after its first inventory.
async fn until_searched(world: &World, daemon: &Daemon) {
    let searched = async || {
        let calls = calls(world).await;
        let looks = of(&calls, &["DescribeSubnets"]);
        of(&calls, &["DescribeNetworkInterfaces"]) > looks
    };
    daemon.until("it has looked for leftovers", searched).await;
}

/// A node of 58 pods. It searches for leaked interfaces once an hour; that belongs to the
/// cost of a node at rest and not to that of growth.
async fn start(mode: &Mode, release_delay: &str) -> (Arc<World>, Daemon) {
    let world = World::new("m5.xlarge").await;
    let usual = [
        ("DISABLE_LEAKED_ENI_CLEANUP", "true"),
        ("VENI_RELEASE_DELAY", release_delay),
    ];
    let settings = [&usual, mode.settings].concat();
    let daemon = world.start(&settings).await;
    (world, daemon)
}

/// Grows by what `more` does. Asserts what growth may cost.
async fn grow(mode: &Mode, world: &World, daemon: &Daemon, at_once: bool) -> Calls {
    let (before, had) = (calls(world).await, world.holdings().await.interfaces);
    let what = if at_once {
        daemon.add_pods(0..mode.pods).await;
        "grow, all at once"
    } else {
        for number in 0..mode.pods {
            daemon.add_pods(number..number + 1).await;
        }
        "grow, one by one"
    };
    daemon.rest().await;
    let grown = since(&before, &calls(world).await);
    print(mode.name, what, &grown);
    let attached = (world.holdings().await.interfaces - had) as u64;
    assert_eq!(
        of(&grown, &["CreateNetworkInterface"]),
        attached,
        "{grown:?}"
    );
    let attaching = [
        "CreateNetworkInterface",
        "AttachNetworkInterface",
        "ModifyNetworkInterfaceAttribute",
    ];
    assert!(of(&grown, &attaching) <= 3 * attached, "{grown:?}");
    let assigning = of(&grown, &["AssignPrivateIpAddresses"]);
    let total: u64 = grown.values().sum();
    assert_eq!(
        total,
        of(&grown, &attaching) + assigning,
        "nothing else is called: {grown:?}"
    );
    if at_once {
        // One batch fills what an interface has room for.
        assert!(assigning <= had as u64, "{grown:?}");
    }
    grown
}

async fn shrink(mode: &Mode, world: &World, daemon: &Daemon) {
    let (before, had) = (calls(world).await, world.holdings().await.interfaces);
    daemon.del_pods(0..mode.pods).await;
    let (addresses, prefixes) = mode.empty;
    daemon.until_holding(1, addresses, prefixes).await;
    daemon.rest().await;
    let shrunk = since(&before, &calls(world).await);
    print(mode.name, "back to no pod", &shrunk);
    let held = world.holdings().await;
    let left = (had - held.interfaces) as u64;
    let leaving = [
        "DetachNetworkInterface",
        "DescribeNetworkInterfaces",
        "DeleteNetworkInterface",
    ];
    // Describe to see whose it is, detach, describe, delete. The first Describe is needed
    // because a detach cannot be undone and the last inventory may be an hour old.
    assert!(of(&shrunk, &leaving) <= 4 * left, "{shrunk:?}");
    let releasing = of(&shrunk, &["UnassignPrivateIpAddresses"]);
    // One batch, or two when a busy machine takes long to end the pods.
    assert!(releasing <= 2 * held.interfaces as u64, "{shrunk:?}");
    assert_eq!(
        shrunk.values().sum::<u64>(),
        of(&shrunk, &leaving) + releasing,
        "{shrunk:?}"
    );
}

#[tokio::test]
async fn a_node_grows_to_its_last_pod_and_back_with_few_calls() {
    let lives = MODES.map(|mode| async move {
        // Longer than the longest pause of a machine that is busy with other things.
        let (world, daemon) = start(&mode, "4").await;
        daemon.rest().await;
        until_searched(&world, &daemon).await;
        print(mode.name, "start", &calls(&world).await);
        grow(&mode, &world, &daemon, true).await;
        shrink(&mode, &world, &daemon).await;
        grow(&mode, &world, &daemon, false).await;
        shrink(&mode, &world, &daemon).await;
        daemon.finish().await;
    });
    futures::future::join_all(lives).await;
}

#[tokio::test]
async fn replacing_pods_within_the_warm_pool_costs_no_call() {
    let lives = MODES.map(|mode| async move {
        // As with the default strategy: a pod goes a moment before its replacement comes.
        let (world, daemon) = start(&mode, "60").await;
        daemon.add_pods(0..20).await;
        daemon.rest().await;
        until_searched(&world, &daemon).await;
        let before = calls(&world).await;
        for number in 0..100 {
            daemon.del_pods(number..number + 1).await;
            daemon.add_pods(number + 20..number + 21).await;
            // Less than half of what is warm cools at any time.
            daemon
                .until("few cool", async || daemon.report().await.cooling <= 4)
                .await;
        }
        let replaced = since(&before, &calls(&world).await);
        print(mode.name, "100 pods replaced", &replaced);
        assert_eq!(replaced, Calls::new(), "{}", mode.name);
        daemon.finish().await;
    });
    futures::future::join_all(lives).await;
}

#[tokio::test]
async fn a_node_at_rest_calls_less_than_ten_times_an_hour() {
    // Intervals are scaled down: an inventory every second, a search for leaks every four.
    const SECONDS: u64 = 8;
    const LEAKS: Duration = Duration::from_secs(4);
    let world = World::new("m5.xlarge").await;
    let settings = [("VENI_INVENTORY_INTERVAL", "1"), ("WARM_IP_TARGET", "5")];
    let mut by_default = Duration::ZERO;
    let daemon = world
        .start_with(&settings, |settings| {
            by_default = std::mem::replace(&mut settings.leaks_every, LEAKS);
        })
        .await;
    daemon.until_holding(1, 5, 0).await;
    daemon.rest_with_looks().await;
    until_searched(&world, &daemon).await;
    let before = calls(&world).await;
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let rested = since(&before, &calls(&world).await);
    print("any", "at rest, 8 looks", &rested);
    let looks = of(&rested, &["DescribeSubnets"]);
    let searches = of(&rested, &["DescribeNetworkInterfaces"]) - looks;
    let total: u64 = rested.values().sum();
    assert_eq!(total, 2 * looks + searches, "{rested:?}");
    assert!(searches <= SECONDS / LEAKS.as_secs() + 1, "{rested:?}");
    let hourly = |each: Duration| 3600_u64.div_ceil(each.as_secs());
    for (where_, rest) in [
        ("with instance metadata", REFRESH_WITH_LOCAL_VIEW),
        ("without", REFRESH_AT_REST),
    ] {
        let a_look = (total - searches).div_ceil(looks);
        let an_hour = a_look * hourly(rest) + hourly(by_default);
        println!("at rest {where_}: {an_hour} calls an hour");
        assert!(rest == REFRESH_AT_REST || an_hour < 10, "{an_hour}");
    }
    daemon.finish_with_looks().await;
}

#[tokio::test]
async fn instance_metadata_tells_at_no_cost_when_a_look_is_worth_it() {
    let world = World::new("m5.xlarge").await;
    let metadata = Metadata::of(&world).await;
    let settings = [
        ("VENI_LOCAL_VIEW_INTERVAL", "1"),
        ("VENI_DOUBT_TIME", "1"),
        ("WARM_IP_TARGET", "5"),
        ("DISABLE_LEAKED_ENI_CLEANUP", "true"),
    ];
    let daemon = world
        .start_with(&settings, |settings| {
            settings.instance.instance_id = None;
            settings.metadata_endpoint = Some(metadata.url.clone());
        })
        .await;
    daemon.until_holding(1, 5, 0).await;
    metadata.look().await;
    daemon.rest().await;
    until_searched(&world, &daemon).await;
    let before = calls(&world).await;
    // Several local views, none of which differs from what the pool knows.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(since(&before, &calls(&world).await), Calls::new());
    let primary = world.interfaces().await[0].clone();
    let taken = primary.ranges.first().expect("one").addr();
    unassign(&primary.interface, taken).await;
    metadata.look().await;
    daemon.until_holding(1, 5, 0).await;
    let told = since(&before, &calls(&world).await);
    let looks = of(&told, &["DescribeSubnets"]);
    // One inventory that raises a doubt, and perhaps the second that must agree.
    assert!((1..=2).contains(&looks), "{told:?}");
    metadata.look().await;
    daemon.finish().await;
}
