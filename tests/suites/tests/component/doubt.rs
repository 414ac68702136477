//! Lost answers and inventories that show the past. Nothing is bought twice, nothing is
//! lost, and nothing that was released comes back.

use std::time::Duration;

use ipamd::events::Event;
use tokio::time::sleep;
use veni_provider::Operation;
use veni_provider_mock::config::Latency;
use veni_provider_mock::{CloudConfig, Fault, FaultKind};

use crate::daemon::Daemon;
use crate::world::{Holdings, Settings, World};

/// A cloud whose changes show after two seconds, and which promises five.
fn eventually_consistent() -> CloudConfig {
    let mut config = CloudConfig::aws().instant();
    config.consistency_delay = Latency::fixed(Duration::from_secs(2));
    config.settle_time = Duration::from_secs(5);
    config
}

/// Twelve addresses: nine on the primary interface and three on a second one.
const TWELVE: Settings<'_> = &[("WARM_IP_TARGET", "12")];
const TWELVE_HELD: Holdings = Holdings {
    interfaces: 2,
    addresses: 12,
    prefixes: 0,
};
/// Settings of a pool that releases soon.
const TWO_SOON: Settings<'_> = &[
    ("WARM_IP_TARGET", "2"),
    ("IP_COOLDOWN_PERIOD", "1"),
    ("VENI_RELEASE_DELAY", "5"),
];
const TWO_HELD: Holdings = Holdings {
    interfaces: 1,
    addresses: 2,
    prefixes: 0,
};

/// Settings with frequent inventories and a short doubt time.
const IMPATIENT: [(&str, &str); 2] = [("VENI_INVENTORY_INTERVAL", "1"), ("VENI_DOUBT_TIME", "1")];

async fn scale_up_and_down(daemon: &Daemon, pods: usize) {
    daemon.add_all((0..pods).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    for number in 0..pods {
        assert!(daemon.del(&format!("pod-{number}")).await);
    }
}

#[tokio::test(start_paused = true)]
async fn an_assign_whose_answer_is_lost_is_found_and_not_repeated() {
    let world = World::new(eventually_consistent(), "m5.large");
    world
        .cloud
        .inject(Fault::next(Operation::Assign, FaultKind::AnswerLost));
    let daemon = world.start(TWELVE).await;
    daemon.settle().await;
    assert_eq!(world.holdings(), TWELVE_HELD);
    assert_eq!(world.calls.of(Operation::Assign), 1);
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn an_attach_whose_answer_is_lost_is_found_and_not_repeated() {
    let world = World::new(eventually_consistent(), "m5.large");
    world.cloud.inject(Fault::next(
        Operation::AttachInterface,
        FaultKind::AnswerLost,
    ));
    let daemon = world.start(TWELVE).await;
    daemon.settle().await;
    assert_eq!(world.holdings(), TWELVE_HELD);
    assert_eq!(world.calls.of(Operation::AttachInterface), 1);
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn two_answers_lost_one_after_the_other_are_both_settled_soon() {
    let mut config = eventually_consistent();
    config.latency.assign = Latency::fixed(Duration::from_secs(1));
    config.latency.attach_interface = Latency::fixed(Duration::from_secs(2));
    let world = World::new(config, "m5.large");
    for operation in [Operation::Assign, Operation::AttachInterface] {
        world
            .cloud
            .inject(Fault::next(operation, FaultKind::AnswerLost));
    }
    let daemon = world.start(TWELVE).await;
    // The inventory that the first doubt asks for comes too early for the second one.
    sleep(Duration::from_secs(30)).await;
    assert_eq!(
        daemon.plan().await.actions,
        [],
        "{}",
        daemon.explanation().await
    );
    assert_eq!(daemon.report().await.total, 12);
    assert_eq!(world.holdings(), TWELVE_HELD);
    daemon.check().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_given_up_and_looked_after() {
    for (applied, attaches) in [(true, 1), (false, 2)] {
        let world = World::new(eventually_consistent(), "m5.large");
        let hangs = FaultKind::Timeout { applied };
        world
            .cloud
            .inject(Fault::next(Operation::AttachInterface, hangs));
        let daemon = world.start(TWELVE).await;
        sleep(Duration::from_secs(70)).await;
        daemon.settle().await;
        assert_eq!(world.holdings(), TWELVE_HELD, "applied: {applied}");
        assert_eq!(
            world.calls.of(Operation::AttachInterface),
            attaches,
            "applied: {applied}"
        );
        daemon.check().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_answer_is_lost_settles_with_the_inventory() {
    let world = World::new(eventually_consistent(), "m5.large");
    let daemon = world.start(TWO_SOON).await;
    world
        .cloud
        .inject(Fault::next(Operation::Release, FaultKind::AnswerLost));
    scale_up_and_down(&daemon, 6).await;
    daemon.settle_for(Duration::from_secs(120)).await;
    assert_eq!(world.holdings(), TWO_HELD);
    daemon.check().await;
    daemon.settle_for(Duration::from_secs(700)).await;
    assert_eq!(world.journal("releases"), 0, "the cloud has agreed");
}

#[tokio::test(start_paused = true)]
async fn a_release_that_never_arrived_is_repeated() {
    let world = World::new(eventually_consistent(), "m5.large");
    let settings = [TWO_SOON, &[("VENI_INVENTORY_INTERVAL", "600")]].concat();
    let daemon = world.start(&settings).await;
    let lost = FaultKind::Timeout { applied: false };
    world.cloud.inject(Fault::next(Operation::Release, lost));
    scale_up_and_down(&daemon, 6).await;
    daemon.settle_for(Duration::from_secs(120)).await;
    assert_eq!(world.holdings(), TWO_HELD);
    daemon.check().await;
    daemon.settle_for(Duration::from_secs(700)).await;
    assert_eq!(world.journal("releases"), 0, "the cloud has agreed");
}

#[tokio::test(start_paused = true)]
async fn a_detach_whose_answer_is_lost_settles_with_the_inventory() {
    for lost in [FaultKind::AnswerLost, FaultKind::Timeout { applied: false }] {
        let world = World::new(eventually_consistent(), "m5.large");
        let daemon = world.start(TWO_SOON).await;
        world
            .cloud
            .inject(Fault::next(Operation::DetachInterface, lost.clone()));
        scale_up_and_down(&daemon, 12).await;
        daemon.settle_for(Duration::from_secs(200)).await;
        assert_eq!(world.holdings(), TWO_HELD, "{lost:?}");
        daemon.check().await;
    }
}

/// Makes and deletes pods while every inventory shows the past. Returns the daemon's events.
async fn events_while_the_inventory_lags(config: CloudConfig) -> Vec<Event> {
    let world = World::new(config, "m5.large");
    let settings = [TWO_SOON, &IMPATIENT].concat();
    let daemon = world.start(&settings).await;
    let mut events = daemon.app.events.subscribe();
    for round in 0..3 {
        daemon
            .add_all((0..12).map(|n| format!("pod-{round}-{n}")))
            .await;
        sleep(Duration::from_secs(7)).await;
        daemon.check().await;
        for number in 0..12 {
            daemon.del(&format!("pod-{round}-{number}")).await;
        }
        sleep(Duration::from_secs(77)).await;
    }
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.push(event);
    }
    daemon.settle().await;
    daemon.check().await;
    told
}

#[tokio::test(start_paused = true)]
async fn a_lagging_inventory_drops_nothing_fresh_and_brings_nothing_back() {
    let mut config = eventually_consistent();
    config.consistency_delay = Latency::fixed(Duration::from_millis(4_900));
    let told = events_while_the_inventory_lags(config).await;
    let has = |text: &str| told.iter().any(|event| event.message.contains(text));
    assert!(
        has("slots given back") && has("detached"),
        "there was something to bring back"
    );
    let believed: Vec<&str> = told.iter().map(|event| event.message.as_str()).collect();
    let believed: Vec<_> = believed
        .iter()
        .filter(|text| text.starts_with("inventory"))
        .collect();
    assert!(believed.is_empty(), "{believed:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_lags_longer_than_it_promised_is_noticed_by_this_check() {
    let mut config = eventually_consistent();
    config.consistency_delay = Latency::fixed(Duration::from_secs(20));
    let world = World::new(config, "m5.large");
    let daemon = world.start(&[TWO_SOON, &IMPATIENT].concat()).await;
    let mut events = daemon.app.events.subscribe();
    sleep(Duration::from_secs(15)).await;
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.push(event.message);
    }
    assert!(
        told.iter().any(|text| text.starts_with("inventory")),
        "{told:?}"
    );
}
