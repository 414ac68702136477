//! Many nodes at once against one Resource Manager with the documented buckets, all of them
//! with the identity of their cluster, as AKS gives it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use veni_arm::{Buckets, Config};
use veni_provider::{
    AddressSlots, ChangeRequest, ChangeResult, ErrorClass, Family, Limited, LimiterConfig,
    NoObserver, Progress, Provider, ProviderError, SlotKind, random,
};
use veni_provider_azure::{AzureProvider, AzureSettings};

mod fake;

use fake::Cloud;

const NODES: u32 = 200;
/// What each buys at its start: the pool's batch.
const BATCH: u32 = 16;

/// Waits as a refusal asks for, and a random time beyond that grows with refusals, as the
/// daemon does.
async fn pause(error: &ProviderError, refused: u32) {
    let ErrorClass::Throttled { retry_after } = error.class else {
        panic!("only calls are scarce here: {error}");
    };
    let hint = retry_after.unwrap_or(Duration::from_secs(1));
    let most = f64::from(1_u32 << refused.min(5));
    sleep(hint + Duration::from_secs_f64(random::within(0.0..most))).await;
}

/// Starts a node: who it is, what it holds, its first batch. Returns how many calls of it
/// were refused.
async fn start(settings: AzureSettings) -> u32 {
    let mut refused = 0;
    let provider = loop {
        match AzureProvider::connect(settings.clone()).await {
            Ok(provider) => break provider,
            Err(error) => {
                refused += 1;
                pause(&error, refused).await;
            }
        }
    };
    let config = LimiterConfig::default();
    let provider = Limited::new(Arc::new(provider), &config, Arc::new(NoObserver));
    let inventory = loop {
        match provider.inventory().await {
            Ok(inventory) => break inventory,
            Err(error) => {
                refused += 1;
                pause(&error, refused).await;
            }
        }
    };
    let change = ChangeRequest::Assign {
        interface: inventory.interfaces[0].id.clone(),
        slots: AddressSlots::new(Family::V4, SlotKind::Address, BATCH),
    };
    let mut asked = provider.begin(&change).await;
    let mut begun = None;
    loop {
        match asked {
            Ok(Progress::Done(ChangeResult::Assigned(grant))) => {
                assert_eq!(grant.addresses.len(), BATCH as usize);
                return refused;
            }
            Ok(Progress::Done(other)) => panic!("{other:?}"),
            Ok(Progress::Running(running)) => {
                sleep(running.ask_again).await;
                begun = Some(running.operation);
            }
            Err(error) => {
                refused += 1;
                pause(&error, refused).await;
            }
        }
        asked = match &begun {
            Some(operation) => provider.resume(operation).await,
            None => provider.begin(&change).await,
        };
    }
}

#[tokio::test(start_paused = true)]
async fn two_hundred_nodes_that_start_at_once_are_all_ready_within_minutes() {
    let cloud = Cloud::new(Config {
        buckets: Some(Buckets::default()),
        // As Microsoft.Network says for a NIC.
        retry_after: Duration::from_secs(10),
        ..Config::default()
    });
    let began = Instant::now();
    let mut nodes = JoinSet::new();
    for _ in 0..NODES {
        let (machine, _) = cloud.machine(|node| node.identities = vec!["kubelet".to_owned()]);
        nodes.spawn(start(cloud.settings(&machine)));
    }
    let mut refused = 0;
    while let Some(node) = nodes.join_next().await {
        refused += node.expect("must not panic");
    }
    let took = began.elapsed();
    let (reads, writes) = (cloud.arm.requests("GET"), cloud.arm.requests("PUT"));
    println!(
        "{NODES} nodes: {took:?} to the last, {reads} reads, {writes} writes, {refused} refused"
    );
    assert_eq!(
        cloud.arm.writes(),
        u64::from(NODES),
        "one write for each node"
    );
    assert!(took < Duration::from_secs(300), "{took:?}");
}
