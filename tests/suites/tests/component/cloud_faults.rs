//! A cloud that throttles, fails, refuses, or is changed by somebody else.

use std::time::Duration;

use ipnet::IpNet;
use tokio::time::{Instant, sleep};
use veni_dataplane::plan::INTERFACE_TABLE_BASE;
use veni_provider::{
    AddressSlots, AttachRequest, ErrorClass, Family, Grant, Limit, Operation, Provider, SubnetId,
};
use veni_provider_mock::config::{AllocationOrder, Bucket, ExistingInterface, Throttle};
use veni_provider_mock::{CloudConfig, Fault, FaultKind, NodeConfig};

use crate::daemon::Daemon;
use crate::world::{INSTANCE, SUBNET, Settings, World};

const TWO_WARM: Settings<'_> = &[("WARM_IP_TARGET", "2")];

fn refusing(class: ErrorClass) -> Fault {
    Fault::always(FaultKind::Error {
        class,
        reason: "NotNow: come back later".to_owned(),
    })
}

/// A gauge or counter as Prometheus reads it.
pub(crate) fn metric(daemon: &Daemon, name: &str) -> f64 {
    let text = daemon.app.metrics.text().expect("is text");
    let line = text.lines().find(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(' '))
    });
    let line = line.unwrap_or_else(|| panic!("there is no {name}"));
    line.rsplit(' ').next().unwrap().parse().expect("a number")
}

#[tokio::test(start_paused = true)]
async fn a_throttling_storm_is_met_with_few_calls_and_outlasted() {
    let world = World::aws("m5.large");
    // The last pause may be half a minute: longer than an ADD waits by default.
    let settings = [("WARM_IP_TARGET", "2"), ("VENI_ADD_WAIT", "120")];
    let daemon = world.start(&settings).await;
    daemon.settle().await;
    let before = world.calls.of(Operation::Assign);
    let mut storm = refusing(ErrorClass::Throttled { retry_after: None }).on(Operation::Assign);
    storm.lasts = Some(Duration::from_secs(40));
    world.cloud.inject(storm);
    let begun = Instant::now();
    daemon.add_all((0..6).map(|n| format!("pod-{n}"))).await;
    assert!(begun.elapsed() >= Duration::from_secs(40));
    // Pauses double from at most half a second: 0.25 + 0.5 + … > 40 s after 9.
    let calls = world.calls.of(Operation::Assign) - before;
    assert!(calls <= 10, "{calls} calls during the storm");
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn the_budget_shrinks_under_throttling_and_grows_back() {
    const BUDGET: &str = "veni_cloud_budget_per_second{family=\"addresses\"}";
    let world = World::aws("m5.large");
    let settings = [
        ("WARM_IP_TARGET", "1"),
        ("IP_COOLDOWN_PERIOD", "0"),
        ("VENI_RELEASE_DELAY", "0"),
    ];
    let daemon = world.start(&settings).await;
    daemon.settle().await;
    let full = metric(&daemon, BUDGET);
    let throttled = refusing(ErrorClass::Throttled { retry_after: None }).on(Operation::Assign);
    world.cloud.inject(throttled.times(3));
    daemon.add_all((0..4).map(|n| format!("pod-{n}"))).await;
    let slow = metric(&daemon, BUDGET);
    assert!(slow < full, "{slow} of {full}");
    for round in 0..60 {
        daemon
            .add(&format!("more-{round}"))
            .await
            .expect("is served");
        daemon.settle().await;
        daemon.del(&format!("more-{round}")).await;
        daemon.settle().await;
    }
    assert_eq!(metric(&daemon, BUDGET), full);
}

#[tokio::test(start_paused = true)]
async fn a_burst_stays_within_an_accounts_budget() {
    let mut config = CloudConfig::aws();
    let bucket = Bucket {
        burst: 2,
        per_second: 0.5,
    };
    config.throttle = Some(Throttle {
        reads: bucket,
        writes: bucket,
    });
    let world = World::new(config, "m5.xlarge");
    let daemon = world.start(TWO_WARM).await;
    let begun = Instant::now();
    daemon.add_all((0..30).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    daemon.check().await;
    let refused: u64 = world
        .cloud
        .dump()
        .calls_by(INSTANCE)
        .iter()
        .filter(|((_, outcome), _)| outcome == "throttled")
        .map(|(_, count)| count)
        .sum();
    assert!(
        refused <= 8,
        "{refused} throttled calls in {:?}",
        begun.elapsed()
    );
}

/// The pauses between assignments while pods wait and five in a row fail: each is
/// half to all of 0.5, 1, 2, 4 and 8 seconds.
async fn pauses_after(class: ErrorClass, world: &World, daemon: &Daemon) -> Vec<Duration> {
    let before = world.calls.of(Operation::Assign);
    world
        .cloud
        .inject(refusing(class).on(Operation::Assign).times(5));
    daemon.add_all((0..4).map(|n| format!("pod-{n}"))).await;
    let times = world.calls.times(Operation::Assign).split_off(before);
    let pauses: Vec<Duration> = times.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(pauses.len() >= 5, "{pauses:?}");
    assert!(pauses[2] > pauses[0] && pauses[4] > pauses[2], "{pauses:?}");
    pauses
}

#[tokio::test(start_paused = true)]
async fn passing_trouble_is_tried_again_with_growing_pauses() {
    let world = World::aws("m5.large");
    let daemon = world.start(TWO_WARM).await;
    daemon.settle().await;
    let pauses = pauses_after(ErrorClass::Transient, &world, &daemon).await;
    assert!(pauses[0] >= Duration::from_millis(250), "{pauses:?}");
    assert!(pauses[4] <= Duration::from_millis(8_100), "{pauses:?}");
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_leaves_changes_in_doubt_is_asked_ever_less_often() {
    let mut config = CloudConfig::aws().instant();
    config.settle_time = Duration::ZERO;
    let world = World::new(config, "m5.large");
    let daemon = world.start(TWO_WARM).await;
    daemon.settle().await;
    let pauses = pauses_after(ErrorClass::OutcomeUnknown, &world, &daemon).await;
    assert!(pauses[4] >= Duration::from_secs(4), "{pauses:?}");
    daemon.settle().await;
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn the_plan_tells_what_is_refused_until_it_is_granted() {
    let world = World::aws("m5.large");
    world.cloud.deny(Operation::Assign);
    let daemon = world.start(TWO_WARM).await;
    sleep(Duration::from_secs(5)).await;
    let told = daemon.explanation().await;
    assert!(told.contains("UnauthorizedOperation"), "{told}");
    let calls = world.calls.of(Operation::Assign);
    assert!(
        calls <= 2,
        "a refusal is not asked again and again: {calls}"
    );
    world.cloud.allow(Operation::Assign);
    sleep(Duration::from_secs(40)).await;
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 2);
    assert!(daemon.report().await.cloud_error.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_holds_the_pool_back_stands_first_with_since_when_and_until_when() {
    let world = World::aws("m5.large");
    let daemon = world.start(TWO_WARM).await;
    daemon.add_all((0..8).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    assert_eq!(daemon.plan().await.held_back, [] as [String; 0]);
    world.cloud.deny(Operation::AttachInterface);
    daemon.add_all((0..10).map(|n| format!("more-{n}"))).await;
    daemon.begin_add("too-many");
    sleep(Duration::from_secs(10)).await;
    let held_back = daemon.plan().await.held_back;
    let [text] = &held_back[..] else {
        panic!("one sentence: {held_back:?}");
    };
    let said = [
        "another interface",
        "since 1",
        "asked again in ",
        "jittered",
        "UnauthorizedOperation",
    ];
    assert!(said.iter().all(|words| text.contains(words)), "{text}");
    assert!(
        !text.contains("no interface is attached"),
        "two are: {text}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_cloud_told_of_free_addresses_shows_its_age() {
    let world = World::aws("m5.large");
    let daemon = world.start(TWO_WARM).await;
    daemon.settle().await;
    sleep(Duration::from_secs(200)).await;
    let age = daemon.report().await.subnets[0].age_seconds;
    assert!(age.is_some_and(|age| (200..230).contains(&age)), "{age:?}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_said_once_until_it_changes() {
    let world = World::aws("m5.large");
    world.cloud.deny(Operation::Assign);
    let daemon = world.start(TWO_WARM).await;
    let mut events = daemon.app.events.subscribe();
    let mut said = || {
        let told = std::iter::from_fn(|| events.try_recv().ok());
        told.filter(|event| event.message.contains("UnauthorizedOperation"))
            .count()
    };
    sleep(Duration::from_secs(600)).await;
    assert!(world.calls.of(Operation::Assign) > 3, "it is tried again");
    // The first may have been before we listened.
    assert!(said() <= 1);
    world.cloud.allow(Operation::Assign);
    // The pool asks ever less often, but still within a few minutes.
    sleep(Duration::from_secs(340)).await;
    daemon.settle().await;
    world.cloud.deny(Operation::Assign);
    daemon.add_all((0..2).map(|n| format!("pod-{n}"))).await;
    sleep(Duration::from_secs(300)).await;
    assert_eq!(said(), 1, "a new refusal is news");
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_takes_nothing_back_still_gives() {
    let world = World::aws("m5.large");
    let settings = [
        ("WARM_IP_TARGET", "2"),
        ("IP_COOLDOWN_PERIOD", "1"),
        ("VENI_RELEASE_DELAY", "5"),
    ];
    let daemon = world.start(&settings).await;
    world.cloud.deny(Operation::Release);
    daemon.add_all((0..6).map(|n| format!("pod-{n}"))).await;
    for number in 0..6 {
        daemon.del(&format!("pod-{number}")).await;
    }
    sleep(Duration::from_secs(10)).await;
    assert_ne!(world.calls.of(Operation::Release), 0, "it was tried");
    let told = daemon.explanation().await;
    assert!(
        told.contains("nothing goes back") && told.contains("UnauthorizedOperation"),
        "{told}"
    );
    daemon.add_all((0..14).map(|n| format!("pod-{n}"))).await;
    world.cloud.allow(Operation::Release);
    sleep(Duration::from_secs(40)).await;
    for number in 0..14 {
        daemon.del(&format!("pod-{number}")).await;
    }
    daemon.settle_for(Duration::from_secs(120)).await;
    assert_eq!(world.holdings().addresses, 2);
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_below_what_the_type_promises_is_learnt() {
    let world = World::aws("m5.large");
    world.cloud.inject(
        refusing(ErrorClass::LimitReached {
            limit: Limit::Interfaces,
        })
        .on(Operation::AttachInterface),
    );
    let daemon = world.start(&[("WARM_IP_TARGET", "12")]).await;
    daemon.settle_for(Duration::from_secs(60)).await;
    assert_eq!(world.holdings().addresses, 9);
    assert!(
        world.calls.of(Operation::AttachInterface) <= 3,
        "it does not ask for ever"
    );
    daemon.add_all((0..9).map(|n| format!("pod-{n}"))).await;
    let failure = daemon.add("one-more").await.expect_err("nothing can come");
    assert!(
        failure.message.contains("interfaces"),
        "{}",
        failure.message
    );
}

fn three_addresses(token: &str) -> AttachRequest {
    AttachRequest {
        subnet: Some(SubnetId::new(SUBNET)),
        slots: Some(AddressSlots::Addresses {
            family: Family::V4,
            count: 3,
        }),
        token: token.to_owned(),
    }
}

/// Settings with a short doubt time.
const LOOKS_OFTEN: Settings<'_> = &[
    ("WARM_IP_TARGET", "2"),
    ("VENI_INVENTORY_INTERVAL", "5"),
    ("VENI_DOUBT_TIME", "1"),
];

#[tokio::test(start_paused = true)]
async fn an_interface_attached_behind_our_back_is_taken_into_service() {
    let world = World::new(CloudConfig::aws(), "m5.large");
    let daemon = world.start(LOOKS_OFTEN).await;
    daemon.settle().await;
    let behind = world.other_client();
    let made = behind
        .attach_interface(&three_addresses("x"))
        .await
        .expect("fits");
    sleep(Duration::from_secs(15)).await;
    let report = daemon.report().await;
    assert_eq!(report.free, 5, "{:#?}", report.interfaces);
    daemon.add_all((0..5).map(|n| format!("pod-{n}"))).await;
    daemon.check().await;
    let used = daemon.app.endpoints.list();
    assert!(
        used.iter()
            .any(|record| record.cloud_interface == made.id.to_string())
    );
}

#[tokio::test(start_paused = true)]
async fn an_interface_removed_behind_our_back_is_dropped_with_its_rules() {
    let world = World::aws("m5.large");
    let settings = [("WARM_IP_TARGET", "11"), LOOKS_OFTEN[1], LOOKS_OFTEN[2]];
    let daemon = world.start(&settings).await;
    daemon.settle().await;
    let second = world.interfaces()[1].clone();
    let table = INTERFACE_TABLE_BASE + second.device_index;
    assert!(world.kernel.interface(table).is_some(), "it has rules");
    world.cloud.deny(Operation::AttachInterface);
    world
        .other_client()
        .detach_interface(&second.id)
        .await
        .expect("goes");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(daemon.report().await.interfaces.len(), 1);
    assert!(
        world.kernel.interface(table).is_none(),
        "its rules would swallow the next one's packets"
    );
    world.cloud.allow(Operation::AttachInterface);
    sleep(Duration::from_secs(40)).await;
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 11);
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_taken_away_while_in_use_is_reported_and_given_to_nobody_else() {
    let mut config = CloudConfig::aws().instant();
    // The cloud will give the very same address again.
    config.order = AllocationOrder::LowestFirst;
    let world = World::new(config, "m5.large");
    let daemon = world.start(LOOKS_OFTEN).await;
    daemon.settle().await;
    let address = daemon.add("victim").await.expect("is served");
    daemon.settle().await;
    let primary = world.interfaces()[0].id.clone();
    let taken = Grant {
        addresses: vec![address],
        prefixes: Vec::new(),
    };
    world
        .other_client()
        .release(&primary, &taken)
        .await
        .expect("goes");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(metric(&daemon, "veni_lost_addresses_total"), 1.0);
    let others = daemon.add_all((0..5).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    assert!(!others.contains(&address), "it still is the victim's");
    assert_eq!(daemon.app.endpoints.list().len(), 6);
    assert!(daemon.del("victim").await);
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_is_not_ours_takes_a_place_and_is_left_alone() {
    let mut node = NodeConfig::new(INSTANCE, "m5.large", SUBNET);
    node.interfaces.push(ExistingInterface {
        subnet: SubnetId::new(SUBNET),
        managed: false,
        by_hand: false,
        addresses: 4,
        prefixes: 0,
        mac: None,
        network_card: 0,
    });
    let world = World::with_node(CloudConfig::aws().instant(), node);
    let foreign = world.interfaces()[1].clone();
    let daemon = world
        .start(&[("WARM_IP_TARGET", "27"), ("MAX_PODS", "29")])
        .await;
    daemon.settle().await;
    assert_eq!(world.holdings().interfaces, 3);
    daemon.add_all((0..18).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    let foreign_now = world.interfaces()[1].clone();
    assert_eq!(foreign_now, foreign);
    let held: Vec<IpNet> = foreign.addresses.iter().map(|a| IpNet::from(*a)).collect();
    for record in daemon.app.endpoints.list() {
        assert!(!held.contains(&IpNet::from(record.addresses()[0])));
    }
    assert!(world.kernel.interface(INTERFACE_TABLE_BASE + 1).is_none());
}
