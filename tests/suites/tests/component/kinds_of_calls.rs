//! One kind of call fails; the other kinds go on.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use veni_provider::{ErrorClass, Grant, Operation, Provider};
use veni_provider_mock::{Fault, FaultKind};

use crate::world::{Settings, World};

const MINUTE: Duration = Duration::from_secs(60);

fn failing(class: ErrorClass) -> Fault {
    Fault::always(FaultKind::Error {
        class,
        reason: "NotNow: come back later".to_owned(),
    })
}

/// Pauses between the calls of an operation from the `first` one on.
fn pauses(world: &World, operation: Operation, first: usize) -> Vec<Duration> {
    let times = world.calls.times(operation).split_off(first);
    times.windows(2).map(|two| two[1] - two[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_released_for_a_while_does_not_hold_up_pods() {
    let classes = [
        ErrorClass::Throttled { retry_after: None },
        ErrorClass::Throttled {
            retry_after: Some(5 * MINUTE),
        },
        ErrorClass::Transient,
        ErrorClass::Fatal,
        ErrorClass::OutcomeUnknown,
    ];
    for class in classes {
        let world = World::aws("m5.xlarge");
        let settings = [
            ("WARM_IP_TARGET", "2"),
            ("IP_COOLDOWN_PERIOD", "1"),
            ("VENI_RELEASE_DELAY", "5"),
        ];
        let daemon = world.start(&settings).await;
        for operation in [Operation::Release, Operation::DetachInterface] {
            world.cloud.inject(failing(class.clone()).on(operation));
        }
        daemon.add_all((0..12).map(|n| format!("pod-{n}"))).await;
        for number in 0..12 {
            daemon.del(&format!("pod-{number}")).await;
        }
        let tries = |world: &World| {
            let of = |operation| world.calls.of(operation);
            of(Operation::Release) + of(Operation::DetachInterface)
        };
        // The next pause is then one of eight seconds at least.
        while tries(&world) < 6 {
            sleep(Duration::from_secs(1)).await;
        }
        let begun = Instant::now();
        daemon.add_all((0..20).map(|n| format!("more-{n}"))).await;
        let waited = begun.elapsed();
        // Throttling has lowered the budget of calls, which recovers slowly.
        assert!(waited < Duration::from_secs(5), "{class:?}: {waited:?}");
        daemon.check().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_cloud_calls_wrong_is_followed_by_a_look() {
    for (class, looked) in [(ErrorClass::Invalid, true), (ErrorClass::Denied, false)] {
        let world = World::aws("m5.large");
        let settings = [
            ("WARM_IP_TARGET", "2"),
            ("IP_COOLDOWN_PERIOD", "1"),
            ("VENI_RELEASE_DELAY", "90"),
        ];
        let daemon = world.start(&settings).await;
        let operation = Operation::DetachInterface;
        world.cloud.inject(failing(class.clone()).on(operation));
        daemon.add_all((0..12).map(|n| format!("pod-{n}"))).await;
        for number in 0..12 {
            daemon.del(&format!("pod-{number}")).await;
        }
        while world.calls.of(operation) == 0 {
            sleep(Duration::from_secs(1)).await;
        }
        sleep(Duration::from_secs(25)).await;
        let asked = world.calls.times(operation)[0];
        let looks = world.calls.times(Operation::Inventory);
        let after = looks.iter().any(|at| *at >= asked);
        assert_eq!(after, looked, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_refused_is_tried_ever_less_often_and_seen_when_it_is_allowed() {
    let world = World::aws("m5.large");
    let settings = [("WARM_IP_TARGET", "2"), ("VENI_INVENTORY_INTERVAL", "600")];
    let daemon = world.start(&settings).await;
    daemon.settle().await;
    world.cloud.deny(Operation::Inventory);
    let before = world.calls.of(Operation::Inventory);
    sleep(60 * MINUTE).await;
    let tries = world.calls.of(Operation::Inventory) - before;
    assert!((5..40).contains(&tries), "{tries} in an hour");
    world.cloud.allow(Operation::Inventory);
    let before = world.calls.of(Operation::Inventory);
    sleep(6 * MINUTE).await;
    assert!(world.calls.of(Operation::Inventory) > before);
    daemon.add("pod").await.expect("is served");
    daemon.check().await;
}

const LOOKS_OFTEN: Settings<'_> = &[
    ("WARM_IP_TARGET", "12"),
    ("VENI_INVENTORY_INTERVAL", "2"),
    ("VENI_DOUBT_TIME", "1"),
];

#[tokio::test(start_paused = true)]
async fn an_address_that_comes_does_not_bring_a_refused_interface_back_sooner() {
    let world = World::aws("m5.large");
    world.cloud.deny(Operation::AttachInterface);
    let daemon = world.start(LOOKS_OFTEN).await;
    sleep(Duration::from_secs(3)).await;
    let primary = world.interfaces()[0].clone();
    assert_eq!(primary.addresses.len(), 9);
    let (assigned, attached) = (
        world.calls.of(Operation::Assign),
        world.calls.of(Operation::AttachInterface),
    );
    for round in 0..4 {
        // Somebody takes an address away, and the pool replaces it.
        let gone = Grant {
            addresses: vec![world.interfaces()[0].addresses[round]],
            prefixes: Vec::new(),
        };
        let behind = world.other_client();
        behind.release(&primary.id, &gone).await.expect("goes");
        sleep(Duration::from_secs(5)).await;
    }
    assert!(world.calls.of(Operation::Assign) >= assigned + 4);
    assert_eq!(world.interfaces()[0].addresses.len(), 9);
    assert_eq!(world.calls.of(Operation::AttachInterface), attached);
    let told = daemon.explanation().await;
    assert!(told.contains("UnauthorizedOperation"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_interface_is_asked_for_ever_less_often_and_comes_when_granted() {
    for class in [ErrorClass::Denied, ErrorClass::Fatal, ErrorClass::Invalid] {
        let world = World::aws("m5.large");
        let fault = failing(class.clone()).on(Operation::AttachInterface);
        let fault = world.cloud.inject(fault);
        let daemon = world.start(&[("WARM_IP_TARGET", "12")]).await;
        sleep(60 * MINUTE).await;
        let calls = world.calls.of(Operation::AttachInterface);
        assert!((10..=20).contains(&calls), "{class:?}: {calls} calls");
        let seen = pauses(&world, Operation::AttachInterface, 0);
        assert!(seen[0] <= Duration::from_secs(34), "{seen:?}");
        assert!(seen[1] > seen[0] && seen[2] > seen[1], "{seen:?}");
        world.cloud.remove_fault(fault);
        sleep(6 * MINUTE).await;
        daemon.settle().await;
        assert_eq!(world.holdings().addresses, 12);
        // A success in between has ended the back-off.
        world
            .cloud
            .inject(failing(class).on(Operation::AttachInterface));
        let first = world.calls.of(Operation::AttachInterface);
        daemon.add_all((0..8).map(|n| format!("pod-{n}"))).await;
        sleep(2 * MINUTE).await;
        let seen = pauses(&world, Operation::AttachInterface, first);
        assert!(seen[0] <= Duration::from_secs(34), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_throttles_everything_is_left_alone() {
    let world = World::aws("m5.large");
    let settings = [("WARM_IP_TARGET", "2"), ("VENI_ADD_WAIT", "120")];
    let daemon = world.start(&settings).await;
    daemon.settle().await;
    let before = world.calls.changes();
    let mut storm = failing(ErrorClass::Throttled { retry_after: None });
    storm.lasts = Some(MINUTE);
    world.cloud.inject(storm);
    daemon.add_all((0..20).map(|n| format!("pod-{n}"))).await;
    let calls = world.calls.changes() - before;
    // Ten of each kind that the pods need, and those that then succeed.
    assert!(calls <= 26, "{calls} changes during the storm");
    daemon.settle().await;
    daemon.check().await;
}
