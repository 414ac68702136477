//! A node's whole life in a few lines: it grows over three interfaces, serves pods and
//! shrinks to one, while faults strike.

use std::sync::Arc;

use serde_json::Value;
use veni_provider_aws::AwsSettings;

use crate::daemon::Daemon;
use crate::world::{Settings, World};

/// A small warm pool, so that the daemon has to ask EC2 for what pods need.
pub(crate) const ONE_WARM: Settings<'_> = &[("WARM_IP_TARGET", "1")];

/// The same with prefixes.
pub(crate) const ONE_WARM_PREFIX: Settings<'_> = &[
    ("WARM_IP_TARGET", "1"),
    ("ENABLE_PREFIX_DELEGATION", "true"),
];

/// A node that grows and shrinks while faults strike: every pod is served in the
/// time that an ADD waits, the daemon is never started again, and at the end the
/// audit finds nothing.
pub(crate) async fn live_through(faults: &[Value]) {
    live_through_with(ONE_WARM, faults, None, |_| {}).await;
}

/// The same with knobs of the node's VPC.
pub(crate) async fn live_through_with(
    settings: Settings<'_>,
    faults: &[Value],
    knobs: Option<&Value>,
    shape: impl FnOnce(&mut AwsSettings),
) {
    let world = World::new("m5.large").await;
    if let Some(knobs) = knobs {
        world.site.turn(knobs).await;
    }
    let daemon = world.start_with(settings, shape).await;
    let prefixes = settings
        .iter()
        .any(|(name, _)| *name == ONE_WARM_PREFIX[1].0);
    let (addresses, blocks) = if prefixes { (0, 1) } else { (1, 0) };
    daemon.until_holding(1, addresses, blocks).await;
    for fault in faults {
        world.site.fault(fault.clone()).await;
    }
    grow_and_shrink(&daemon).await;
    let (addresses, blocks) = if prefixes { (0, 1) } else { (2, 0) };
    daemon.until_holding(1, addresses, blocks).await;
    daemon.rest().await;
    assert_faults_struck(&world, faults.len()).await;
    daemon.finish().await;
}

async fn grow_and_shrink(daemon: &Daemon) {
    daemon.add_pods(0..20).await;
    daemon.rest().await;
    daemon.check().await;
    daemon.del_pods(1..20).await;
}

/// Asserts that a fault has struck: one that never did proves nothing.
async fn assert_faults_struck(world: &Arc<World>, expected: usize) {
    let all = world.faults().await;
    assert_eq!(all.len(), expected);
    for rule in all {
        assert_ne!(rule["hits"], 0, "never struck: {rule}");
    }
}
