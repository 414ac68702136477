//! Shows that the audit at the end of most tests of this lane can fail: one planted defect
//! for each thing that it checks.

use std::sync::Arc;
use std::time::Duration;

use veni_dataplane::DataPlane;
use veni_dataplane::plan::INTERFACE_TABLE_BASE;
use veni_provider::{AddressSlots, Family, Grant, Provider};
use veni_provider_mock::config::Latency;

use crate::daemon::Daemon;
use crate::recorder::Recorded;
use crate::world::World;

/// Twelve pods on two interfaces, and nothing wrong.
async fn healthy() -> (Arc<World>, Daemon) {
    let world = World::aws("m5.large");
    let daemon = world.start(&[("WARM_IP_TARGET", "2")]).await;
    daemon.add_all((0..12).map(|n| format!("pod-{n}"))).await;
    daemon.settle().await;
    daemon.check().await;
    (world, daemon)
}

async fn finds(daemon: &Daemon, text: &str) {
    let differences = daemon.differences().await;
    assert!(
        differences.iter().any(|found| found.contains(text)),
        "{differences:#?}"
    );
}

const ONE: AddressSlots = AddressSlots::Addresses {
    family: Family::V4,
    count: 1,
};

#[tokio::test(start_paused = true)]
async fn a_missing_route_is_found() {
    let (world, daemon) = healthy().await;
    world.kernel.delete_route(world.kernel.routes()[0].0);
    finds(&daemon, "routes").await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_rule_is_found() {
    let (world, daemon) = healthy().await;
    let removed = world
        .kernel
        .remove_interface(INTERFACE_TABLE_BASE + 1)
        .await;
    removed.expect("goes");
    finds(&daemon, "no rule out of").await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_the_cloud_took_is_found() {
    let (world, daemon) = healthy().await;
    let primary = &world.interfaces()[0];
    let taken = Grant {
        addresses: primary.addresses[..1].to_vec(),
        prefixes: Vec::new(),
    };
    world
        .other_client()
        .release(&primary.id, &taken)
        .await
        .expect("goes");
    finds(&daemon, "is not the node's in the cloud").await;
    finds(&daemon, "the cloud does not know it").await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_the_daemon_does_not_know_is_found() {
    let (world, daemon) = healthy().await;
    let second = world.interfaces()[1].id.clone();
    world
        .other_client()
        .assign(&second, ONE)
        .await
        .expect("fits");
    finds(&daemon, "the daemon does not know it").await;
}

#[tokio::test(start_paused = true)]
async fn two_changes_that_meet_on_one_interface_are_found() {
    let (world, daemon) = healthy().await;
    world
        .cloud
        .set_latency(None, Latency::fixed(Duration::from_secs(1)));
    let provider = Recorded {
        inner: Arc::new(world.other_client()),
        calls: world.calls.clone(),
    };
    let second = world.interfaces()[1].id.clone();
    let both = tokio::join!(provider.assign(&second, ONE), provider.assign(&second, ONE));
    both.0.and(both.1).expect("both fit");
    finds(&daemon, "met another change").await;
}
