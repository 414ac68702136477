//! What a node leaves behind when it dies at a bad moment, and who cleans it up.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use veni_testbed::ec2::{mend, tag};

use crate::lives::ONE_WARM;
use crate::world::{Settings, World};

/// Older than any interface on its way to an instance.
const LONG_AGO: &str = "2026-01-01T00:00:00Z";

#[tokio::test]
async fn another_node_clears_up_after_one_that_died_between_detach_and_delete() {
    let dying = World::new("m5.large").await;
    let daemon = dying.start(ONE_WARM).await;
    daemon.add_pods(0..12).await;
    daemon.rest().await;
    let rule = json!({"operations": ["DeleteNetworkInterface"], "drop_request": true});
    dying.site.fault(rule).await;
    daemon.del_pods(0..12).await;
    let unattached = async || !dying.site.unattached().await.is_empty();
    daemon
        .until("an interface is detached and not deleted", unattached)
        .await;
    daemon.kill().await;
    dying.terminate().await;
    let left = dying.site.unattached().await;
    assert_eq!(left.len(), 1);

    let other = World::at(dying.site.neighbour("m5.large").await);
    let looks_often = |settings: &mut veni_provider_aws::AwsSettings| {
        settings.leaks_every = Duration::from_secs(2);
    };
    let daemon = other.start_with(ONE_WARM, looks_often).await;
    daemon.rest_with_looks().await;
    assert_eq!(
        other.site.unattached().await,
        left,
        "it may be on its way to an instance"
    );
    tag(&left[0], "node.k8s.amazonaws.com/createdAt", LONG_AGO).await;
    let cleared = async || other.site.unattached().await.is_empty();
    daemon.until("it is deleted", cleared).await;
    daemon.finish_with_looks().await;
}

/// Settings of a daemon that cleans up only after its own node for the next hour.
const ALONE: Settings<'_> = &[
    ("WARM_IP_TARGET", "1"),
    ("DISABLE_LEAKED_ENI_CLEANUP", "true"),
];

/// Starts the node's next daemon at once. It must delete the interface that is attached to
/// nothing.
async fn next_clears_up(world: &Arc<World>, left: &[String]) {
    assert_eq!(world.site.unattached().await, left);
    let daemon = world.start(ALONE).await;
    daemon
        .until("it is deleted", async || {
            world.site.unattached().await.is_empty()
        })
        .await;
    daemon.finish().await;
}

#[tokio::test]
async fn a_daemon_that_is_killed_while_it_attaches_leaves_nothing_to_the_next() {
    let world = World::new("m5.large").await;
    let daemon = world.start(ALONE).await;
    daemon.until_holding(1, 1, 0).await;
    let rule = json!({"operations": ["AttachNetworkInterface"], "latency_seconds": 3, "drop_request": true});
    let slow = world.site.fault(rule).await;
    let adds: Vec<_> = (0..12)
        .map(|n| daemon.begin_add(&format!("pod-{n}")))
        .collect();
    let made = async || !world.site.unattached().await.is_empty();
    daemon.until("an interface is made", made).await;
    for add in adds {
        add.abort();
    }
    daemon.kill().await;
    mend(slow).await;
    let left = world.site.unattached().await;
    assert_eq!(left.len(), 1);
    next_clears_up(&world, &left).await;
}

#[tokio::test]
async fn a_daemon_that_is_killed_between_detach_and_delete_leaves_nothing_to_the_next() {
    let world = World::new("m5.large").await;
    let daemon = world.start(ALONE).await;
    daemon.add_pods(0..12).await;
    daemon.rest().await;
    let rule = json!({"operations": ["DeleteNetworkInterface"], "drop_request": true});
    let fault = world.site.fault(rule).await;
    daemon.del_pods(1..12).await;
    let detached = async || !world.site.unattached().await.is_empty();
    daemon.until("an interface is detached", detached).await;
    daemon.kill().await;
    mend(fault).await;
    let left = world.site.unattached().await;
    assert_eq!(left.len(), 1);
    next_clears_up(&world, &left).await;
}
