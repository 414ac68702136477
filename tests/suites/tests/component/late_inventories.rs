//! Inventories that lack what the node holds, for a moment or for minutes. Pods keep their
//! rules, no new pod gets what is in doubt, and the pool drops what is really gone when a
//! second inventory agrees.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipamd::events::Event;
use ipnet::IpNet;
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, sleep};
use veni_dataplane::plan::INTERFACE_TABLE_BASE;
use veni_provider::{ErrorClass, Grant, Interface, Limit, Operation, Provider};
use veni_provider_mock::config::Latency;
use veni_provider_mock::{CloudConfig, Fault, FaultKind};

use crate::daemon::Daemon;
use crate::world::{Settings, World, ranges_of};

const SECOND: Duration = Duration::from_secs(1);
/// The default of `VENI_DOUBT_TIME`.
const DOUBT_TIME: Duration = Duration::from_secs(120);
/// Nine addresses on the primary interface and two on a second one.
const ELEVEN: Settings<'_> = &[("WARM_IP_TARGET", "11"), ("VENI_INVENTORY_INTERVAL", "8")];
const TWO: Settings<'_> = &[("WARM_IP_TARGET", "2"), ("VENI_INVENTORY_INTERVAL", "8")];

fn cloud() -> CloudConfig {
    let mut config = CloudConfig::aws().instant();
    config.settle_time = 5 * SECOND;
    config
}

/// The pods' addresses that have no rule to the table of the interface that holds them.
fn unruled(world: &World, daemon: &Daemon) -> Vec<IpAddr> {
    let records = daemon.app.endpoints.list();
    let addresses: BTreeSet<IpAddr> = records.iter().flat_map(|one| one.addresses()).collect();
    let mut found = Vec::new();
    for interface in world.interfaces().iter().filter(|one| !one.primary) {
        let ranges = ranges_of(interface);
        let of_it = addresses
            .iter()
            .filter(|one| ranges.iter().any(|range| range.contains(*one)));
        found.extend(of_it.filter(|one| !is_ruled(world, interface, **one)));
    }
    found
}

fn is_ruled(world: &World, interface: &Interface, address: IpAddr) -> bool {
    let plan = world
        .kernel
        .interface(INTERFACE_TABLE_BASE + interface.device_index);
    plan.is_some_and(|plan| {
        plan.mac == interface.mac.0
            && plan
                .source_routing
                .sources()
                .iter()
                .any(|source| source.contains(&address))
    })
}

fn messages(events: &mut Receiver<Event>) -> Vec<String> {
    std::iter::from_fn(|| events.try_recv().ok())
        .map(|event| event.message)
        .collect()
}

/// Single addresses and interfaces that an operator sees in a state.
async fn in_state(daemon: &Daemon, state: &str) -> Vec<String> {
    let report = daemon.report().await;
    let interfaces = report.interfaces.iter();
    let interfaces = interfaces
        .filter(|one| one.state == state)
        .map(|one| one.id.clone());
    let addresses = report.interfaces.iter().flat_map(|one| &one.addresses);
    let addresses = addresses.filter(|one| one.state == state);
    interfaces
        .chain(addresses.map(|one| one.address.clone()))
        .collect()
}

/// Pods on both interfaces of a node.
async fn eleven_pods(daemon: &Daemon) {
    daemon.add_all((0..11).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
}

fn pod_on(daemon: &Daemon, interface: &Interface) -> (String, IpAddr) {
    let records = daemon.app.endpoints.list();
    let on_it =
        |one: &&ipamd::journal::endpoint::Record| one.cloud_interface == interface.id.to_string();
    let record = records.iter().find(on_it).expect("a pod is on it");
    (record.key.container_id.clone(), record.addresses()[0])
}

async fn release_by_hand(world: &World, interface: &Interface, address: IpAddr) {
    let taken = Grant {
        addresses: vec![address],
        prefixes: Vec::new(),
    };
    let released = world.other_client().release(&interface.id, &taken).await;
    released.expect("goes");
}

/// Somebody takes a free address away, and another node may have it now. A daemon that
/// starts meanwhile knows no more than the one before.
#[tokio::test(start_paused = true)]
async fn what_is_in_doubt_is_lent_by_no_later_daemon() {
    for (found_out, cloud_answers) in [(true, true), (true, false), (false, true)] {
        let world = World::new(cloud(), "m5.large");
        let daemon = world.start(ELEVEN).await;
        daemon.settle().await;
        let primary = &world.interfaces()[0];
        // Take the lowest one: the next pod would get it.
        let taken = primary.addresses.iter().min().copied().expect("an address");
        if found_out {
            sleep(DOUBT_TIME).await;
            release_by_hand(&world, primary, taken).await;
            sleep(20 * SECOND).await;
            assert_eq!(in_state(&daemon, "missing").await, [taken.to_string()]);
            daemon.stop().await;
        } else {
            daemon.stop().await;
            release_by_hand(&world, primary, taken).await;
        }
        if !cloud_answers {
            world.cloud.deny(Operation::Inventory);
        }
        let daemon = world.start(ELEVEN).await;
        sleep(20 * SECOND).await;
        // Ten of eleven are left. The pool buys the missing one once the cloud answers.
        let got = daemon.add_all((0..10).map(|n| format!("pod-{n}"))).await;
        assert!(!got.contains(&taken), "{taken} is another's: {got:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pods_keep_their_rules_while_inventories_lag() {
    for lag in [45 * SECOND, 170 * SECOND] {
        let world = World::new(cloud(), "m5.large");
        world.cloud.set_consistency_delay(Latency::fixed(lag));
        let daemon = world.start(TWO).await;
        let mut events = daemon.app.events.subscribe();
        daemon.add_all((0..14).map(|n| format!("pod-{n}"))).await;
        assert!(world.interfaces().len() > 1, "some have rules");
        for second in 0..400 {
            let unruled = unruled(&world, &daemon);
            assert!(unruled.is_empty(), "{lag:?}, after {second} s: {unruled:?}");
            sleep(SECOND).await;
        }
        let told = messages(&mut events);
        let has = |text: &str| told.iter().any(|message| message.contains(text));
        let late = lag > DOUBT_TIME;
        assert_eq!(has("in doubt until"), late, "{lag:?}: {told:#?}");
        assert_eq!(has("in doubt no more"), late, "{lag:?}: {told:#?}");
        assert!(!has("took it away") && !has("is gone"), "{told:#?}");
        daemon.settle_for(100 * SECOND).await;
        daemon.check().await;
        assert_eq!(world.holdings().addresses, 16, "no more than it needs");
        let slots = daemon.report().await.interfaces[0].slots;
        assert_eq!(slots, 9, "nothing false was learnt");
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_one_inventory_lacks_is_given_to_nobody_until_it_is_listed_again() {
    let world = World::new(cloud(), "m5.large");
    let daemon = world.start(TWO).await;
    sleep(2 * DOUBT_TIME).await;
    let mut events = daemon.app.events.subscribe();
    let hidden = world.interfaces()[0].addresses[0];
    world.calls.hide([IpNet::from(hidden)]);
    sleep(10 * SECOND).await;
    assert_eq!(in_state(&daemon, "missing").await, [hidden.to_string()]);
    let told = daemon.explanation().await;
    let says = |text: &str| told.contains(text);
    assert!(says(&hidden.to_string()) && says("in doubt"), "{told}");
    let others = daemon.add_all((0..8).map(|n| format!("pod-{n}"))).await;
    assert!(!others.contains(&hidden), "{others:?}");
    let slots = world.interfaces()[0].addresses.len();
    assert!(slots <= 9, "its place was not given away");
    world.calls.hide([]);
    sleep(10 * SECOND).await;
    let none: [String; 0] = [];
    assert_eq!(in_state(&daemon, "missing").await, none);
    let said = messages(&mut events);
    let ended = said.iter().filter(|text| text.contains("in doubt no more"));
    assert_eq!(ended.count(), 1, "{said:#?}");
    assert_eq!(world.calls.of(Operation::Release), 0, "it was not released");
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_away_is_dropped_by_a_second_inventory_that_the_pool_asks_for() {
    let world = World::new(cloud(), "m5.large");
    let daemon = world.start(&[("WARM_IP_TARGET", "2")]).await;
    sleep(2 * DOUBT_TIME).await;
    let primary = world.interfaces()[0].clone();
    let gone = primary.addresses[0];
    let looks = world.calls.of(Operation::Inventory);
    release_by_hand(&world, &primary, gone).await;
    // The local view shows it within half a minute, and then the difference has to last.
    sleep(50 * SECOND).await;
    assert_eq!(in_state(&daemon, "missing").await, [gone.to_string()]);
    sleep(DOUBT_TIME).await;
    daemon.settle().await;
    let none: [String; 0] = [];
    assert_eq!(in_state(&daemon, "missing").await, none);
    daemon.check().await;
    let looks = world.calls.of(Operation::Inventory) - looks;
    assert!(looks <= 3, "{looks} looks");
}

#[tokio::test(start_paused = true)]
async fn an_address_taken_from_a_pod_is_named_and_its_rule_stands_until_the_pod_has_gone() {
    let world = World::new(cloud(), "m5.large");
    let daemon = world.start(ELEVEN).await;
    eleven_pods(&daemon).await;
    sleep(2 * DOUBT_TIME).await;
    let mut events = daemon.app.events.subscribe();
    let second = world.interfaces()[1].clone();
    let (pod, address) = pod_on(&daemon, &second);
    release_by_hand(&world, &second, address).await;
    sleep(2 * DOUBT_TIME).await;
    let told = messages(&mut events);
    let id = second.id.to_string();
    let names = |text: &&String| {
        let words = [address.to_string(), format!("default/{pod}"), id.clone()];
        text.contains("took it away") && words.iter().all(|word| text.contains(word))
    };
    assert_eq!(told.iter().filter(names).count(), 1, "{told:#?}");
    assert!(is_ruled(&world, &second, address), "its rule stands");
    sleep(10 * DOUBT_TIME).await;
    assert!(is_ruled(&world, &second, address), "as long as the pod");
    assert!(daemon.del(&pod).await);
    daemon.settle().await;
    assert!(!is_ruled(&world, &second, address), "it went with the pod");
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_one_inventory_lacks_keeps_its_pods_rules_and_its_place() {
    let world = World::new(cloud(), "m5.large");
    let daemon = world.start(ELEVEN).await;
    eleven_pods(&daemon).await;
    sleep(2 * DOUBT_TIME).await;
    let second = world.interfaces()[1].clone();
    world.calls.hide_interface(Some(second.id.clone()));
    for _ in 0..100 {
        sleep(SECOND).await;
        assert_eq!(unruled(&world, &daemon), [] as [IpAddr; 0]);
    }
    assert_eq!(in_state(&daemon, "missing").await[0], second.id.to_string());
    assert!(world.interfaces().len() <= 3);
    world.calls.hide_interface(None);
    sleep(2 * DOUBT_TIME).await;
    daemon.settle().await;
    daemon.check().await;
    assert_eq!(world.calls.of(Operation::DetachInterface), 0);
}

#[tokio::test(start_paused = true)]
async fn an_interface_taken_from_pods_is_named_and_goes_with_the_last_of_them() {
    let world = World::new(cloud(), "m5.large");
    let daemon = world.start(ELEVEN).await;
    eleven_pods(&daemon).await;
    sleep(2 * DOUBT_TIME).await;
    let mut events = daemon.app.events.subscribe();
    let second = world.interfaces()[1].clone();
    let table = INTERFACE_TABLE_BASE + second.device_index;
    world.cloud.deny(Operation::AttachInterface);
    let behind = world.other_client();
    behind.detach_interface(&second.id).await.expect("goes");
    sleep(3 * DOUBT_TIME).await;
    let told = messages(&mut events);
    let lost = told.iter().filter(|text| text.contains("took it away"));
    let records = daemon.app.endpoints.list();
    let id = second.id.to_string();
    let of_it = records.iter().filter(|one| one.cloud_interface == id);
    let pods: Vec<String> = of_it.map(|one| one.key.container_id.clone()).collect();
    assert_eq!(lost.count(), pods.len(), "{told:#?}");
    assert!(!pods.is_empty() && world.kernel.interface(table).is_some());
    for pod in pods {
        daemon.del(&pod).await;
    }
    sleep(SECOND).await;
    let left = daemon.report().await.interfaces;
    assert!(left.iter().all(|one| one.id != id), "{left:#?}");
    assert!(world.kernel.interface(table).is_none(), "its rules went");
}

#[tokio::test(start_paused = true)]
async fn no_limit_is_learnt_while_anything_is_in_doubt() {
    for doubt in [true, false] {
        let world = World::new(cloud(), "m5.large");
        let daemon = world.start(TWO).await;
        sleep(2 * DOUBT_TIME).await;
        if doubt {
            let hidden = world.interfaces()[0].addresses[0];
            world.calls.hide([IpNet::from(hidden)]);
            sleep(10 * SECOND).await;
        }
        let limit = Limit::Slots;
        let refusal = FaultKind::Error {
            class: ErrorClass::LimitReached { limit },
            reason: "PrivateIpAddressLimitExceeded".to_owned(),
        };
        world.cloud.inject(Fault::next(Operation::Assign, refusal));
        daemon.begin_add("a");
        daemon.begin_add("b");
        sleep(60 * SECOND).await;
        let slots = daemon.report().await.interfaces[0].slots;
        assert_eq!(slots == 9, doubt, "{slots} slots");
    }
}

/// A daemon that died after its pods had come, and whose memory of the cloud was
/// lost: only the journal of the pods is left.
fn kill_and_lose_the_inventory(world: &Arc<World>) {
    world.until_killed(async {
        let daemon = world.start(ELEVEN).await;
        eleven_pods(&daemon).await;
    });
    let memory = world.folder().join("journal/cloud");
    std::fs::remove_dir_all(memory).expect("goes");
}

#[test]
fn a_rule_stands_for_every_pod_after_a_restart_whose_first_inventory_lacks_its_address() {
    let world = World::new(cloud(), "m5.large");
    kill_and_lose_the_inventory(&world);
    let second = world.interfaces()[1].clone();
    world
        .calls
        .hide(second.addresses.iter().map(|one| IpNet::from(*one)));
    world.until_killed(async {
        let daemon = world.start(ELEVEN).await;
        for second in 0..100 {
            let unruled = unruled(&world, &daemon);
            assert!(unruled.is_empty(), "after {second} s: {unruled:?}");
            sleep(SECOND).await;
        }
        world.calls.hide([]);
        sleep(2 * DOUBT_TIME).await;
        daemon.settle().await;
        assert!(unruled(&world, &daemon).is_empty());
        daemon.check().await;
    });
}

#[test]
fn a_rule_stands_for_every_pod_after_a_restart_whose_first_inventory_lacks_its_interface() {
    let world = World::new(cloud(), "m5.large");
    kill_and_lose_the_inventory(&world);
    let second = world.interfaces()[1].clone();
    world.calls.hide_interface(Some(second.id.clone()));
    world.until_killed(async {
        let daemon = world.start(ELEVEN).await;
        let told = daemon.explanation().await;
        assert!(told.contains(second.id.as_str()), "{told}");
        for _ in 0..30 {
            assert!(unruled(&world, &daemon).is_empty());
            sleep(SECOND).await;
        }
        world.calls.hide_interface(None);
        sleep(DOUBT_TIME).await;
        daemon.settle().await;
        assert!(unruled(&world, &daemon).is_empty());
        daemon.check().await;
    });
}

#[tokio::test(start_paused = true)]
async fn what_an_interface_always_has_stays_though_a_description_lacks_it() {
    let world = World::new(cloud(), "m5.large");
    let daemon = world.start(ELEVEN).await;
    eleven_pods(&daemon).await;
    let second = world.interfaces()[1].clone();
    let table = INTERFACE_TABLE_BASE + second.device_index;
    let before = world.kernel.interface(table).expect("is wired");
    world.calls.hide_lists(true);
    let begun = Instant::now();
    // The slow audit sets all interfaces up again now and then.
    while begun.elapsed() < 100 * SECOND {
        sleep(SECOND).await;
        let now = world.kernel.interface(table).expect("is wired");
        assert_eq!(now, before, "after {:?}", begun.elapsed());
    }
}
