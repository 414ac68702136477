//! What the pool has released stays away from pods for as long as inventories show the
//! past, because another node may have it. If it is really there again, the pool finds it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};
use veni_provider::{
    AddressSlots, ErrorClass, Family, Grant, InterfaceId, Operation, Provider, SubnetId,
};
use veni_provider_mock::config::Latency;
use veni_provider_mock::{CloudConfig, Fault, FaultKind, MockProvider, NodeConfig};

use crate::daemon::{Daemon, key};
use crate::world::{INSTANCE, SUBNET, Settings, World, ranges_of};

/// Time after which the cloud promises that changes show.
const PROMISED: Duration = Duration::from_secs(5);
/// Time that they really take.
const LAG: Duration = Duration::from_secs(35);
/// What was released and is listed after this time, somebody has assigned since.
const LONGEST_LAG: Duration = Duration::from_secs(300);
const A_MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

const NEIGHBOUR: &str = "i-2";

const TWO_SOON: Settings<'_> = &[
    ("WARM_IP_TARGET", "2"),
    ("IP_COOLDOWN_PERIOD", "1"),
    ("VENI_RELEASE_DELAY", "5"),
];
/// The same with a daemon that refreshes its inventory as often as it can.
const TWO_WATCHED: Settings<'_> = &[
    ("WARM_IP_TARGET", "2"),
    ("IP_COOLDOWN_PERIOD", "1"),
    ("VENI_RELEASE_DELAY", "5"),
    ("VENI_INVENTORY_INTERVAL", "1"),
];
const PREFIXES_WATCHED: Settings<'_> = &[
    ("ENABLE_PREFIX_DELEGATION", "true"),
    ("WARM_IP_TARGET", "2"),
    ("IP_COOLDOWN_PERIOD", "1"),
    ("VENI_RELEASE_DELAY", "5"),
    ("VENI_INVENTORY_INTERVAL", "1"),
];

/// A node and its neighbour.
fn two_nodes() -> (Arc<World>, Neighbour) {
    let mut config = CloudConfig::aws().instant();
    config.settle_time = PROMISED;
    let world = World::new(config, "m5.large");
    let node = NodeConfig::new(NEIGHBOUR, "m5.4xlarge", SUBNET);
    let primary = world.cloud.add_node(node).expect("the node fits");
    let neighbour = Neighbour {
        provider: world.cloud.provider(NEIGHBOUR),
        primary: primary.id,
    };
    (world, neighbour)
}

struct Neighbour {
    provider: MockProvider,
    primary: InterfaceId,
}

impl Neighbour {
    /// Takes everything that is free in the subnet: what the node has released.
    async fn takes(&self, world: &World, slots: AddressSlots) -> Grant {
        let taken = self.provider.assign(&self.primary, slots).await;
        make_room(world);
        taken.expect("the node has given something back")
    }
}

/// Fills the subnet: from now on only released addresses are free.
fn take_the_rest(world: &World) {
    let subnet = SubnetId::new(SUBNET);
    world.cloud.fill_subnet(&subnet, 0).expect("the subnet");
}

fn make_room(world: &World) {
    let subnet = SubnetId::new(SUBNET);
    world.cloud.unfill(&subnet).expect("the subnet");
}

fn addresses(count: usize) -> AddressSlots {
    AddressSlots::Addresses {
        family: Family::V4,
        count: u32::try_from(count).expect("a few"),
    }
}

fn prefixes(count: usize) -> AddressSlots {
    AddressSlots::Prefixes {
        family: Family::V4,
        count: u32::try_from(count).expect("a few"),
    }
}

/// What a node has in truth.
fn held_in_cloud(world: &World, instance: &str) -> BTreeSet<IpNet> {
    let dump = world.cloud.dump();
    let node = dump.node(instance).expect("the node is there");
    let interfaces = node.interfaces.iter().map(|one| &one.interface);
    interfaces
        .flat_map(|one| {
            let own = one.own_addresses.iter().map(|own| IpNet::from(*own));
            own.chain(ranges_of(one))
        })
        .collect()
}

/// Single addresses that the daemon gives to pods, or would.
async fn in_service(daemon: &Daemon) -> BTreeSet<IpAddr> {
    let report = daemon.report().await;
    let serving = report
        .interfaces
        .iter()
        .filter(|one| one.state != "detaching");
    let listed = serving.flat_map(|one| &one.addresses);
    let kept = listed.filter(|one| one.state != "releasing");
    kept.map(|one| one.address.parse().expect("an address"))
        .collect()
}

/// Single addresses that somebody else has assigned to the node.
async fn foreign(daemon: &Daemon) -> BTreeSet<IpAddr> {
    let report = daemon.report().await;
    let listed = report.interfaces.iter().flat_map(|one| &one.addresses);
    let theirs = listed.filter(|one| one.state == "foreign");
    theirs
        .map(|one| one.address.parse().expect("an address"))
        .collect()
}

/// Addresses of the neighbour that pods here have or could get; there must be none.
async fn held_by_both(world: &World, daemon: &Daemon) -> Vec<IpAddr> {
    let theirs = held_in_cloud(world, NEIGHBOUR);
    let records = daemon.app.endpoints.list();
    let of_pods = records.iter().flat_map(|record| record.addresses());
    let mut ours = in_service(daemon).await;
    ours.extend(of_pods);
    let both = ours.into_iter();
    both.filter(|one| theirs.iter().any(|range| range.contains(one)))
        .collect()
}

async fn grow(daemon: &Daemon, pods: usize) {
    daemon.add_all((0..pods).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
}

/// Deletes the pods, so that the pool releases their addresses, in a cloud that from now on
/// shows the past. Waits until the first release has ended.
async fn release_with_lag(world: &World, daemon: &Daemon, pods: usize, by: Operation) {
    take_the_rest(world);
    world.cloud.set_consistency_delay(Latency::fixed(LAG));
    let before = world.calls.of(by);
    for number in 0..pods {
        assert!(daemon.del(&format!("pod-{number}")).await);
    }
    while world.calls.of(by) == before {
        sleep(SECOND / 10).await;
    }
    sleep(SECOND).await;
}

/// Makes more pods than the node has addresses for. They wait, because the cloud is slow to
/// assign new ones. Asserts, while the cloud lags and long after, that none gets what the
/// neighbour has.
async fn assert_no_pod_shares_with_the_neighbour(world: &World, daemon: &Daemon, what: &str) {
    let slow = Latency::fixed(A_MINUTE / 2);
    for operation in [Operation::Assign, Operation::AttachInterface] {
        world.cloud.set_latency(Some(operation), slow);
    }
    for second in 0..100 {
        if second < 24 {
            daemon.begin_add(&format!("late-{second}"));
        }
        sleep(SECOND).await;
        let both = held_by_both(world, daemon).await;
        assert!(both.is_empty(), "{what}, after {second} s: {both:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_that_a_late_inventory_still_lists_are_not_handed_out() {
    let (world, neighbour) = two_nodes();
    let daemon = world.start(TWO_WATCHED).await;
    grow(&daemon, 6).await;
    let before = held_in_cloud(&world, INSTANCE);
    release_with_lag(&world, &daemon, 6, Operation::Release).await;
    let released = before.len() - held_in_cloud(&world, INSTANCE).len();
    let taken = neighbour.takes(&world, addresses(released)).await;
    let of_ours = |one: &&IpAddr| before.contains(&IpNet::from(**one));
    assert!(released > 0, "something was given back");
    assert_eq!(taken.addresses.iter().filter(of_ours).count(), released);
    assert_no_pod_shares_with_the_neighbour(&world, &daemon, "given back").await;
}

#[tokio::test(start_paused = true)]
async fn prefixes_that_a_late_inventory_still_lists_are_not_handed_out() {
    let (world, neighbour) = two_nodes();
    let daemon = world.start(PREFIXES_WATCHED).await;
    grow(&daemon, 40).await;
    let before = held_in_cloud(&world, INSTANCE);
    release_with_lag(&world, &daemon, 40, Operation::Release).await;
    let released = before.len() - held_in_cloud(&world, INSTANCE).len();
    assert!(released > 0, "something was given back");
    let taken = neighbour.takes(&world, prefixes(released)).await;
    let of_ours = taken.prefixes.iter().all(|one| before.contains(one));
    assert!(of_ours, "{taken:?} of {before:?}");
    for number in 0..40 {
        daemon.begin_add(&format!("again-{number}"));
    }
    assert_no_pod_shares_with_the_neighbour(&world, &daemon, "given back").await;
}

/// A daemon whose release the cloud has done without an answer. Returns how many addresses
/// went.
async fn release_unanswered(world: &Arc<World>) -> (Daemon, usize) {
    let daemon = world.start(TWO_WATCHED).await;
    grow(&daemon, 6).await;
    let before = held_in_cloud(world, INSTANCE).len();
    let lost = Fault::next(Operation::Release, FaultKind::AnswerLost);
    world.cloud.inject(lost);
    release_with_lag(world, &daemon, 6, Operation::Release).await;
    let released = before - held_in_cloud(world, INSTANCE).len();
    assert!(released > 0, "something was given back");
    (daemon, released)
}

#[tokio::test(start_paused = true)]
async fn addresses_whose_release_was_not_answered_are_not_handed_out() {
    let (world, neighbour) = two_nodes();
    let (daemon, released) = release_unanswered(&world).await;
    neighbour.takes(&world, addresses(released)).await;
    assert_no_pod_shares_with_the_neighbour(&world, &daemon, "not answered").await;
    assert!(world.calls.of(Operation::Release) > 1, "it was repeated");
}

#[tokio::test(start_paused = true)]
async fn a_release_in_doubt_stays_in_doubt_while_its_repetition_is_refused() {
    let (world, neighbour) = two_nodes();
    let (daemon, released) = release_unanswered(&world).await;
    world.cloud.deny(Operation::Release);
    neighbour.takes(&world, addresses(released)).await;
    assert_no_pod_shares_with_the_neighbour(&world, &daemon, "refused").await;
    assert!(world.calls.of(Operation::Release) > 1, "it was tried");
}

#[test]
fn what_was_released_is_not_handed_out_after_a_kill_either() {
    for lost in [false, true] {
        let (world, neighbour) = two_nodes();
        world.until_killed(async {
            let daemon = world.start(TWO_WATCHED).await;
            grow(&daemon, 6).await;
            let before = held_in_cloud(&world, INSTANCE).len();
            if lost {
                let fault = Fault::next(Operation::Release, FaultKind::AnswerLost);
                world.cloud.inject(fault);
            }
            release_with_lag(&world, &daemon, 6, Operation::Release).await;
            neighbour
                .takes(
                    &world,
                    addresses(before - held_in_cloud(&world, INSTANCE).len()),
                )
                .await;
        });
        // Three lives within the lag, each shorter than what it has to wait.
        for _ in 0..3 {
            world.until_killed(async {
                let daemon = world.start(TWO_WATCHED).await;
                for second in 0..7 {
                    daemon.begin_add(&format!("early-{second}"));
                    sleep(SECOND).await;
                    let both = held_by_both(&world, &daemon).await;
                    assert!(both.is_empty(), "lost: {lost}, {second} s: {both:?}");
                }
            });
        }
        world.until_killed(async {
            let daemon = world.start(TWO_WATCHED).await;
            assert_no_pod_shares_with_the_neighbour(&world, &daemon, "after a kill").await;
        });
    }
}

/// Waits until the cloud is asked to take something back.
async fn something_is_given_back(world: &World) {
    let began = Instant::now();
    while world.calls.of(Operation::Release) == 0 {
        assert!(began.elapsed() < LONGEST_LAG, "nothing is given back");
        sleep(SECOND / 10).await;
    }
}

/// Deletes all pods but one of an interface that Veni has made. Tells how many addresses of it
/// the pool has given back.
async fn release_of_the_second_interface(world: &World, daemon: &Daemon) -> usize {
    let second = world.interfaces()[1].id.to_string();
    let records = daemon.app.endpoints.list().into_iter();
    let on_it = records.filter(|record| record.cloud_interface == second);
    let before = held_in_cloud(world, INSTANCE).len();
    take_the_rest(world);
    world.cloud.set_consistency_delay(Latency::fixed(LAG));
    for record in on_it.skip(1) {
        assert!(daemon.del(&record.key.container_id).await);
    }
    something_is_given_back(world).await;
    sleep(SECOND).await;
    before - held_in_cloud(world, INSTANCE).len()
}

#[test]
fn what_was_released_is_not_handed_out_after_a_reboot_either() {
    let (world, neighbour) = two_nodes();
    world.until_killed(async {
        let daemon = world.start(TWO_WATCHED).await;
        grow(&daemon, 15).await;
        let released = release_of_the_second_interface(&world, &daemon).await;
        assert!(released > 0, "something was given back");
        neighbour.takes(&world, addresses(released)).await;
        daemon.stop().await;
    });
    world.reboot();
    world.until_killed(async {
        let daemon = world.start(TWO_WATCHED).await;
        assert_no_pod_shares_with_the_neighbour(&world, &daemon, "after a reboot").await;
    });
}

/// Interfaces that the daemon counts with, and that the node does not have.
async fn counted_and_not_there(world: &World, daemon: &Daemon) -> Vec<String> {
    let real = world.interfaces();
    let report = daemon.report().await;
    let counted = report.interfaces.into_iter();
    let counted = counted.filter(|one| one.state != "detaching");
    counted
        .map(|one| one.id)
        .filter(|id| real.iter().all(|one| one.id.as_str() != id))
        .collect()
}

#[test]
fn an_interface_that_was_released_does_not_come_back_with_a_late_inventory() {
    for (lost, killed) in [(false, false), (false, true), (true, false), (true, true)] {
        let (world, neighbour) = two_nodes();
        let what = format!("lost: {lost}, killed: {killed}");
        let haunted = async |daemon: &Daemon| {
            for second in 0..80 {
                sleep(SECOND).await;
                let extra = counted_and_not_there(&world, daemon).await;
                assert!(extra.is_empty(), "{what}, after {second} s: {extra:?}");
                let both = held_by_both(&world, daemon).await;
                assert!(both.is_empty(), "{what}, after {second} s: {both:?}");
            }
            world.cloud.set_consistency_delay(Latency::ZERO);
            sleep(2 * LAG).await;
            daemon.check().await;
        };
        world.until_killed(async {
            let daemon = world.start(TWO_WATCHED).await;
            grow(&daemon, 12).await;
            assert_eq!(world.interfaces().len(), 2);
            if lost {
                let fault = Fault::next(Operation::DetachInterface, FaultKind::AnswerLost);
                world.cloud.inject(fault);
            }
            release_with_lag(&world, &daemon, 12, Operation::DetachInterface).await;
            assert_eq!(world.interfaces().len(), 1, "it is gone");
            neighbour.takes(&world, addresses(4)).await;
            if !killed {
                haunted(&daemon).await;
            }
        });
        if killed {
            world.until_killed(async {
                let daemon = world.start(TWO_WATCHED).await;
                haunted(&daemon).await;
            });
        }
    }
}

/// The messages of a daemon's events from now on.
fn messages(events: &mut tokio::sync::broadcast::Receiver<ipamd::events::Event>) -> Vec<String> {
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.push(event.message);
    }
    told
}

#[tokio::test(start_paused = true)]
async fn an_address_that_an_administrator_has_put_back_is_known_as_theirs_when_no_inventory_is_so_late()
 {
    let (world, _neighbour) = two_nodes();
    let daemon = world.start(TWO_SOON).await;
    grow(&daemon, 6).await;
    let mut events = daemon.app.events.subscribe();
    let before = held_in_cloud(&world, INSTANCE);
    take_the_rest(&world);
    for number in 0..6 {
        daemon.del(&format!("pod-{number}")).await;
    }
    something_is_given_back(&world).await;
    let released = Instant::now();
    let admin = world.other_client();
    let primary = world.interfaces()[0].id.clone();
    let put_back = admin.assign(&primary, addresses(1)).await;
    let address = put_back.expect("there is room").addresses[0];
    assert!(before.contains(&IpNet::from(address)), "it was ours");
    let looks = world.calls.of(Operation::Inventory);
    while !foreign(&daemon).await.contains(&address) {
        sleep(SECOND).await;
        let waited = released.elapsed();
        assert!(waited < 2 * LONGEST_LAG, "it is found");
    }
    let waited = released.elapsed();
    assert!(waited >= LONGEST_LAG, "{waited:?}");
    let said = messages(&mut events);
    let says = |text: &&String| text.contains(&address.to_string()) && text.contains("given back");
    assert!(said.iter().any(|text| says(&text)), "{said:?}");
    let looks = world.calls.of(Operation::Inventory) - looks;
    assert!((2..=10).contains(&looks), "{looks} looks");
    let free = daemon.report().await.free as usize;
    let got = daemon.add_all((0..free).map(|n| format!("new-{n}"))).await;
    assert!(!got.contains(&address), "no pod gets it");
}

#[tokio::test(start_paused = true)]
async fn inventories_that_lag_cost_a_few_looks_and_those_that_do_not_cost_none() {
    for (lag, at_most) in [(Duration::ZERO, 0), (LAG, 8)] {
        let (world, _neighbour) = two_nodes();
        let daemon = world.start(TWO_SOON).await;
        grow(&daemon, 6).await;
        sleep(A_MINUTE).await;
        world.cloud.set_consistency_delay(Latency::fixed(lag));
        let looks = world.calls.of(Operation::Inventory);
        for number in 0..6 {
            daemon.del(&format!("pod-{number}")).await;
        }
        sleep(30 * A_MINUTE).await;
        assert_eq!(world.holdings().addresses, 2, "the rest was given back");
        let looks = world.calls.of(Operation::Inventory) - looks;
        assert!(looks <= at_most, "{lag:?} cost {looks} looks");
        daemon.check().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_ends_in_doubt_again_and_again_is_not_asked_for_without_pause() {
    let (world, _neighbour) = two_nodes();
    let daemon = world.start(TWO_SOON).await;
    grow(&daemon, 6).await;
    let lost = FaultKind::Error {
        class: ErrorClass::OutcomeUnknown,
        reason: "the connection broke".to_owned(),
    };
    world.cloud.inject(Fault::always(lost));
    let before = world.calls.all();
    for number in 0..6 {
        daemon.del(&format!("pod-{number}")).await;
    }
    sleep(20 * A_MINUTE).await;
    let calls = world.calls.all() - before;
    assert!(calls < 200, "{calls} calls");
    world.cloud.clear_faults();
    daemon.settle_for(2 * A_MINUTE).await;
    assert_eq!(world.holdings().addresses, 2);
    daemon.check().await;
}

/// Asserts that every pod's address is one that the cloud assigns to this node.
fn nobody_has_what_is_gone(world: &World, daemon: &Daemon, what: &str) {
    for record in daemon.app.endpoints.list() {
        for address in record.addresses() {
            assert!(world.cloud_knows(address), "{what}: {address} is gone");
        }
    }
}

/// Takes and gives addresses back at random, for as long as a life lasts.
async fn takes_and_gives(provider: MockProvider, primary: InterfaceId, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut held = Vec::new();
    loop {
        sleep(Duration::from_millis(rng.random_range(100..3_000))).await;
        if rng.random_bool(0.6) {
            let count = rng.random_range(1..4);
            if let Ok(grant) = provider.assign(&primary, addresses(count)).await {
                held.push(grant);
            }
        } else if !held.is_empty() {
            let grant = held.swap_remove(rng.random_range(0..held.len()));
            // What the cloud refuses by chance stays.
            let _ = provider.release(&primary, &grant).await;
        }
    }
}

/// Pods come and go on a node that is killed again and again, in a subnet with
/// hardly more addresses than two nodes need, while what the node gave back shows
/// only after up to half a minute.
fn history(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (world, neighbour) = two_nodes();
    let subnet = SubnetId::new(SUBNET);
    world.cloud.fill_subnet(&subnet, 26).expect("the subnet");
    let settings = [TWO_SOON, &[("VENI_INVENTORY_INTERVAL", "2")]].concat();
    for life in 0..8 {
        let what = format!("seed {seed}, life {life}");
        world.until_killed(async {
            let daemon = world.start(&settings).await;
            nobody_has_what_is_gone(&world, &daemon, &what);
            world.cloud.clear_faults();
            let lost = Fault::random(0.15, FaultKind::AnswerLost);
            world.cloud.inject(lost);
            let (provider, primary) = (neighbour.provider.clone(), neighbour.primary.clone());
            tokio::spawn(takes_and_gives(provider, primary, seed + life));
            for _ in 0..rng.random_range(10..60) {
                let name = format!("pod-{}", rng.random_range(0..12));
                match rng.random_bool(0.5) {
                    true => drop(daemon.begin_add(&name)),
                    false => {
                        let endpoints = Arc::clone(&daemon.app.endpoints);
                        tokio::spawn(async move { endpoints.delete(&key(&name)).await });
                    }
                }
                let lag = Duration::from_secs(rng.random_range(0..30));
                world.cloud.set_consistency_delay(Latency::fixed(lag));
                sleep(Duration::from_millis(rng.random_range(0..2_000))).await;
                nobody_has_what_is_gone(&world, &daemon, &what);
                let both = held_by_both(&world, &daemon).await;
                assert!(both.is_empty(), "{what}: {both:?}");
            }
        });
    }
    world.cloud.clear_faults();
    world.cloud.set_consistency_delay(Latency::ZERO);
    world.until_killed(async {
        let daemon = world.start(&settings).await;
        for number in 0..12 {
            daemon.del(&format!("pod-{number}")).await;
        }
        daemon.settle_for(2 * LONGEST_LAG).await;
        let differences = daemon.differences().await;
        assert!(differences.is_empty(), "seed {seed}: {differences:#?}");
        assert_eq!(world.holdings().addresses, 2, "seed {seed}");
        assert_eq!(world.journal("releases"), 0, "seed {seed}");
    });
}

#[test]
fn no_address_is_two_nodes_whatever_is_killed_lost_and_late() {
    for seed in 0..6 {
        history(seed);
    }
}
