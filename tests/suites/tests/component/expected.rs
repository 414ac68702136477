//! Pods that the cluster has bound to the node, before their ADD comes.

use ipamd::cluster::ObjectName;
use veni_provider::Operation;

use crate::daemon::Daemon;
use crate::world::{Settings, World};

const ONE_WARM: Settings<'_> = &[
    ("WARM_IP_TARGET", "1"),
    ("VENI_RELEASE_DELAY", "10"),
    ("IP_COOLDOWN_PERIOD", "1"),
];

fn pods(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("pod-{number}"))
}

/// Sets which pods the source of the view tells to be without an address.
fn bind(daemon: &Daemon, pods: impl Iterator<Item = String>) {
    let name = |name| ObjectName {
        namespace: "default".to_owned(),
        name,
    };
    let pods = pods.map(name).collect();
    daemon.app.cluster.update(|view| view.expected_pods = pods);
}

#[tokio::test(start_paused = true)]
async fn addresses_come_for_pods_that_are_bound_to_the_node_before_any_add() {
    let world = World::aws("m5.large");
    let daemon = world.start(ONE_WARM).await;
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 1);
    bind(&daemon, pods(20));
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 21);
    assert!(world.calls.of(Operation::AttachInterface) > 0);
    let calls = world.calls.changes();
    // The source lags: all the time it tells of pods that have their address by now.
    daemon.add_all(pods(20)).await;
    daemon.settle().await;
    assert_eq!(world.calls.changes(), calls, "all had come before");
    assert_eq!(world.holdings().addresses, 21);
    bind(&daemon, pods(0));
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 21);
    daemon.check().await;
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_add_that_waits_is_not_counted_a_second_time_as_expected() {
    let world = World::aws("m5.large");
    let daemon = world.start(ONE_WARM).await;
    daemon.settle().await;
    bind(&daemon, pods(8));
    daemon.add_all(pods(8)).await;
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 9);
    daemon.check().await;
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_came_for_pods_that_are_expected_no_more_goes_back() {
    let world = World::aws("m5.large");
    let daemon = world.start(ONE_WARM).await;
    bind(&daemon, pods(8));
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 9);
    bind(&daemon, pods(0));
    daemon.settle_for(std::time::Duration::from_secs(60)).await;
    assert_eq!(world.holdings().addresses, 1);
    daemon.check().await;
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn more_pods_than_the_node_may_have_are_not_provided_for() {
    let world = World::aws("t3.small");
    let settings = [ONE_WARM, &[("MAX_PODS", "5")]].concat();
    let daemon = world.start(&settings).await;
    bind(&daemon, pods(1000));
    daemon.settle().await;
    assert_eq!(world.holdings().addresses, 5);
    daemon.check().await;
    daemon.stop().await;
}
