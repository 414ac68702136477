//! Veni neither releases nor uses what others assigned, whatever part of its own record is
//! lost, whenever it is killed, and whether or not the machine was turned off meanwhile.

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use veni_provider::{AddressSlots, Family, Operation, Provider, SubnetId};
use veni_provider_mock::config::ExistingInterface;
use veni_provider_mock::{CloudConfig, Fault, FaultKind, NodeConfig};

use crate::daemon::Daemon;
use crate::world::{INSTANCE, SUBNET, Settings, World};

/// Settings of a pool that releases an excess soon.
const SPARE_GOES: Settings<'_> = &[
    ("WARM_IP_TARGET", "1"),
    ("IP_COOLDOWN_PERIOD", "1"),
    ("VENI_RELEASE_DELAY", "5"),
    ("VENI_DETACH_AGE", "0"),
    ("VENI_INVENTORY_INTERVAL", "5"),
];
/// Longer than any excess stays.
const LONG_ENOUGH: Duration = Duration::from_secs(180);

fn addresses(count: u32) -> AddressSlots {
    let family = Family::V4;
    AddressSlots::Addresses { family, count }
}

/// Somebody else assigns addresses to an interface of the node, which its place names.
async fn assigned_by_hand(world: &World, place: usize, count: u32) -> Vec<IpAddr> {
    let interface = world.interfaces()[place].id.clone();
    let admin = world.other_client();
    let assigned = admin.assign(&interface, addresses(count)).await;
    assigned.expect("there is room").addresses
}

fn assert_kept(world: &World, place: usize, floating: &[IpAddr], what: &str) {
    let held = &world.interfaces()[place].addresses;
    let kept = floating.iter().all(|one| held.contains(one));
    assert!(kept, "{what}: {floating:?} are kept: {held:?}");
}

/// Makes pods until the node has no address left. Returns the addresses that they got.
async fn fill(daemon: &Daemon, pods: usize) -> Vec<IpAddr> {
    daemon.add_all((0..pods).map(|n| format!("pod-{n}"))).await
}

async fn empty(daemon: &Daemon, pods: usize) {
    for number in 0..pods {
        assert!(daemon.del(&format!("pod-{number}")).await);
    }
    sleep(LONG_ENOUGH).await;
    daemon.settle().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_somebody_assigns_meanwhile_is_lent_to_no_pod_and_not_released() {
    let world = World::aws("t3.small");
    let daemon = world.start(SPARE_GOES).await;
    daemon.settle().await;
    let mut events = daemon.app.events.subscribe();
    let floating = assigned_by_hand(&world, 0, 1).await;
    sleep(LONG_ENOUGH).await;
    assert_kept(&world, 0, &floating, "beside a warm target that is met");
    let text = floating[0].to_string();
    let mut told = false;
    while let Ok(event) = events.try_recv() {
        told |= event.message.contains(&text) && event.message.contains("somebody else");
    }
    assert!(told, "an event names it");
    // Three slots on each of three interfaces.
    let got = fill(&daemon, 8).await;
    assert!(!got.contains(&floating[0]), "{got:?}");
    daemon.add("one-more").await.expect_err("it is no pod's");
    let listed = daemon.report().await;
    let mut listed = listed.interfaces.iter().flat_map(|one| &one.addresses);
    let shown = listed.find(|one| one.address == text).expect("it is shown");
    assert_eq!(shown.state, "foreign");
    empty(&daemon, 8).await;
    assert_kept(&world, 0, &floating, "after pods have gone");
    assert_eq!(world.holdings().addresses, 2);
}

#[tokio::test(start_paused = true)]
async fn an_interface_of_ours_with_somebody_elses_address_stays_and_the_rest_is_released() {
    let world = World::aws("t3.small");
    let daemon = world.start(SPARE_GOES).await;
    fill(&daemon, 6).await;
    daemon.settle().await;
    let last = world.interfaces().len() - 1;
    assert!(last >= 1, "there is a second interface");
    sleep(Duration::from_secs(600)).await;
    let floating = assigned_by_hand(&world, last, 1).await;
    let id = world.interfaces()[last].id.clone();
    sleep(Duration::from_secs(20)).await;
    empty(&daemon, 6).await;
    let interfaces = world.interfaces();
    let its = interfaces.iter().find(|one| one.id == id);
    assert_eq!(its.expect("it stays").addresses, floating);
    assert_eq!(world.holdings().addresses, 2);
}

/// What the first start finds without any record of it.
fn found() -> (Arc<World>, NodeConfig) {
    let mut node = NodeConfig::new(INSTANCE, "t3.small", SUBNET);
    let existing = |by_hand| ExistingInterface {
        subnet: SubnetId::new(SUBNET),
        managed: true,
        by_hand,
        addresses: 2,
        prefixes: 0,
        mac: None,
        network_card: 0,
    };
    node.interfaces = vec![existing(false), existing(true)];
    let world = World::with_node(CloudConfig::aws().instant(), node.clone());
    (world, node)
}

#[tokio::test(start_paused = true)]
async fn what_is_found_without_a_record_serves_pods_and_only_our_interfaces_are_released() {
    let (world, _) = found();
    let floating = assigned_by_hand(&world, 0, 2).await;
    let by_hand = world.interfaces()[2].clone();
    let daemon = world.start(SPARE_GOES).await;
    let got = fill(&daemon, 9).await;
    let served = floating.iter().chain(&by_hand.addresses);
    assert!(served.clone().all(|one| got.contains(one)), "{got:?}");
    empty(&daemon, 9).await;
    assert_kept(&world, 0, &floating, "on the primary interface");
    let left = world.interfaces();
    assert_eq!(left.len(), 2, "ours was detached: {left:?}");
    assert_eq!(
        (&left[1].id, &left[1].addresses),
        (&by_hand.id, &by_hand.addresses)
    );
}

/// What may happen to the record while the machine is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordAfterReboot {
    Kept,
    Removed,
    Torn,
}

fn change_record(world: &World, record: RecordAfterReboot) {
    let file = world.state_dir().join("assigned.json");
    let text = fs::read_to_string(&file).expect("it was written");
    match record {
        RecordAfterReboot::Kept => {}
        RecordAfterReboot::Removed => fs::remove_file(&file).expect("it goes"),
        RecordAfterReboot::Torn => fs::write(&file, &text[..text.len() / 2]).expect("writes"),
    }
}

#[test]
fn after_a_reboot_what_we_assigned_to_the_primary_goes_back_only_if_the_record_tells() {
    for record in [
        RecordAfterReboot::Kept,
        RecordAfterReboot::Removed,
        RecordAfterReboot::Torn,
    ] {
        let world = World::aws("t3.small");
        let floating = world.until_killed(async {
            let daemon = world.start(&[("WARM_IP_TARGET", "2")]).await;
            daemon.settle().await;
            let floating = assigned_by_hand(&world, 0, 1).await;
            sleep(Duration::from_secs(120)).await;
            daemon.stop().await;
            floating
        });
        world.reboot();
        change_record(&world, record);
        world.until_killed(async {
            let daemon = world.start(SPARE_GOES).await;
            sleep(LONG_ENOUGH).await;
            daemon.settle().await;
            assert_kept(&world, 0, &floating, &format!("{record:?}"));
            let ours = world.holdings().addresses - 1;
            let expected = if record == RecordAfterReboot::Kept {
                1
            } else {
                2
            };
            assert_eq!(ours, expected, "{record:?}");
        });
    }
}

#[test]
fn what_a_call_brought_whose_daemon_was_killed_in_it_is_released_on_the_primary_too() {
    for reboot in [false, true] {
        let world = World::aws("t3.small");
        world.until_killed(async {
            let daemon = world.start(&[("WARM_IP_TARGET", "1")]).await;
            daemon.settle().await;
            let unheard = FaultKind::Timeout { applied: true };
            world.cloud.inject(Fault::next(Operation::Assign, unheard));
            for number in 0..2 {
                daemon.begin_add(&format!("pod-{number}"));
            }
            while world.holdings().addresses == 1 {
                sleep(Duration::from_millis(10)).await;
            }
            // The daemon is killed here: the cloud has done the change, and no answer came.
        });
        let held = world.holdings().addresses;
        if reboot {
            world.reboot();
        }
        world.until_killed(async {
            let daemon = world.start(SPARE_GOES).await;
            sleep(Duration::from_secs(2)).await;
            for number in 0..2 {
                daemon.del(&format!("pod-{number}")).await;
            }
            sleep(LONG_ENOUGH).await;
            daemon.settle().await;
            let left = world.holdings().addresses;
            match reboot {
                false => assert_eq!(left, 1, "all but the warm one went back"),
                true => assert_eq!(left, held, "nobody can tell whose the others are"),
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_folder_that_takes_nothing_holds_up_no_pod_and_loses_nothing_in_this_boot() {
    let world = World::aws("t3.small");
    fs::write(world.state_dir(), "no folder").expect("writes");
    let daemon = world.start(SPARE_GOES).await;
    daemon.settle().await;
    let floating = assigned_by_hand(&world, 0, 1).await;
    sleep(Duration::from_secs(20)).await;
    fill(&daemon, 6).await;
    daemon.settle().await;
    daemon.stop().await;
    let daemon = world.start(SPARE_GOES).await;
    sleep(Duration::from_secs(20)).await;
    empty(&daemon, 6).await;
    assert_kept(&world, 0, &floating, "known by the journal");
    assert_eq!(world.holdings().addresses, 2);
}

/// The cloud refuses because somebody else has filled the interface. What is on it was not
/// brought by the call.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_because_others_filled_the_interface_claims_nothing_of_theirs() {
    let world = World::aws("t3.small");
    let daemon = world.start(SPARE_GOES).await;
    let first = fill(&daemon, 1).await;
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 2, "one slot is left");
    let floating = assigned_by_hand(&world, 0, 1).await;
    let more = daemon
        .add_all(["more-0", "more-1"].map(str::to_owned))
        .await;
    daemon.settle().await;
    for address in first.iter().chain(&more) {
        assert!(!floating.contains(address), "{address} is somebody else's");
    }
    for pod in ["more-0", "more-1"] {
        assert!(daemon.del(pod).await);
    }
    empty(&daemon, 1).await;
    assert_kept(&world, 0, &floating, "when no pod is left");
}
