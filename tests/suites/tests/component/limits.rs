//! Real limits that are lower than those in the table of instance types.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::sleep;
use veni_provider::{ErrorClass, Limit, Limits, Operation};
use veni_provider_mock::config::SubnetConfig;
use veni_provider_mock::{CloudConfig, Fault, FaultKind};

use crate::world::{Settings, World};

/// An m5.large has 3 and 10.
const TOO_HIGH: Limits = Limits {
    interfaces: 3,
    ipv4_per_interface: 30,
    ipv6_per_interface: 30,
    vcpus: 2,
};
/// What fits on an interface of an m5.large.
const SLOTS: usize = 9;

const HOUR: Duration = Duration::from_secs(3600);

fn pods(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|number| format!("pod-{number}"))
}

async fn serves_all_that_fits(world: &Arc<World>, settings: Settings<'_>, fits: usize) {
    world.calls.replace_limits(TOO_HIGH);
    let daemon = world.start(settings).await;
    daemon.add_all(pods(0..1)).await;
    daemon.settle().await;
    daemon.add_all(pods(1..fits)).await;
    daemon.settle().await;
    daemon.add("one-more").await.expect_err("the node is full");
    daemon.check().await;
    let calls = world.calls.changes();
    assert!(calls <= 30, "{calls} changes asked for");
    daemon.settle_for(Duration::from_secs(60)).await;
    // The pool does not forget the limit.
    let before = world.calls.changes();
    sleep(6 * HOUR).await;
    let calls = world.calls.changes() - before;
    // After 10, 20, 40 … minutes each interface is tried with one slot more.
    assert!(calls <= 15, "{calls} changes in hours at rest");
    let report = daemon.report().await;
    let slots = report.interfaces.iter().map(|interface| interface.slots);
    assert!(slots.into_iter().all(|slots| slots as usize <= SLOTS + 1));
}

#[tokio::test(start_paused = true)]
async fn interfaces_that_take_fewer_addresses_than_promised_are_filled() {
    for settings in [
        &[("WARM_ENI_TARGET", "1"), ("MAX_PODS", "110")],
        &[("WARM_IP_TARGET", "2"), ("MAX_PODS", "110")],
    ] {
        let world = World::aws("m5.large");
        serves_all_that_fits(&world, settings, 3 * SLOTS).await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_pods_have_interfaces_of_their_own_too_many_addresses_are_not_too_many_interfaces() {
    for settings in [
        &[("WARM_ENI_TARGET", "1"), ("MAX_PODS", "110")],
        &[("WARM_IP_TARGET", "15"), ("MAX_PODS", "110")],
    ] {
        let mut config = CloudConfig::aws().instant();
        config.subnets[0].for_pods = false;
        let range: IpNet = "10.0.32.0/20".parse().expect("a range");
        config
            .subnets
            .push(SubnetConfig::new("subnet-c", "zone-a", [range]));
        let world = World::new(config, "m5.large");
        serves_all_that_fits(&world, settings, 2 * SLOTS).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_does_not_fit_is_asked_for_ever_less_often() {
    let world = World::aws("m5.large");
    world.cloud.inject(
        Fault::always(FaultKind::Error {
            class: ErrorClass::LimitReached {
                limit: Limit::Interfaces,
            },
            reason: "AttachmentLimitExceeded: no more".to_owned(),
        })
        .on(Operation::AttachInterface),
    );
    let daemon = world.start(&[("WARM_IP_TARGET", "12")]).await;
    sleep(24 * HOUR).await;
    // Twice to learn it, then after 10, 20, 40 … minutes.
    let calls = world.calls.of(Operation::AttachInterface);
    assert!((4..=10).contains(&calls), "{calls} calls in a day");
    assert_eq!(daemon.report().await.max_interfaces, 1);
}
