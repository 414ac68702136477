//! EC2 throttles: all of it, by a small bucket, and by its documented ones.

use std::time::Duration;

use serde_json::{Value, json};
use veni_provider::{LimiterConfig, Operation, Rate};
use veni_testbed::ec2::{mend, server, site_in};

use crate::lives::{ONE_WARM, ONE_WARM_PREFIX, live_through, live_through_with};
use crate::world::World;

/// Calls of a node that EC2 throttled.
async fn throttled(access_key: &str) -> usize {
    let told = server().control.calls(Some(access_key)).await;
    let told = told.expect("counts");
    let operations = told["operations"].as_object().into_iter().flatten();
    let refused =
        operations.filter_map(|(_, one)| one["outcomes"]["RequestLimitExceeded"].as_u64());
    usize::try_from(refused.sum::<u64>()).expect("a few")
}

/// The most calls of a family that fit into a span if EC2 throttles all of them: those that
/// were under way when the first was refused, and what the budget then lets pass, which is
/// no burst and at most the rate that is left after one refusal.
fn most_calls(span: Duration, under_way: usize, full: Rate, limits: &LimiterConfig) -> usize {
    let rate = full.per_second * limits.adaptation.decrease;
    let mut calls = under_way;
    while (calls - under_way + 1) as f64 <= span.as_secs_f64() * rate {
        calls += 1;
    }
    calls
}

#[test]
fn the_bound_of_a_storm_is_what_the_budget_allows() {
    let limits = LimiterConfig::default();
    // 5 a second, halved.
    let most = |span| most_calls(Duration::from_millis(span), 1, limits.addresses, &limits);
    assert_eq!([0, 399, 400, 2000].map(most), [1, 1, 2, 6]);
}

#[tokio::test]
async fn a_storm_is_met_with_no_more_calls_than_the_budget_allows() {
    let world = World::new("m5.large").await;
    let daemon = world.start(ONE_WARM).await;
    daemon.until_holding(1, 1, 0).await;
    let nothing = json!({"capacity": 0, "per_second": 0});
    let storm = json!({"operations": ["mutating"], "throttle": nothing});
    let storm = world.site.fault(storm).await;
    let adds: Vec<_> = (0..20)
        .map(|n| daemon.begin_add(&format!("pod-{n}")))
        .collect();
    let key = &world.site.access_key;
    let refused = async || world.calls.of(Operation::Assign) >= 5;
    daemon.until("four more are refused", refused).await;
    let refused = throttled(key).await;
    mend(storm).await;
    let limits = LimiterConfig::default();
    let mut most = 0;
    // One change of an interface at a time, and two interfaces are made at once.
    for (operation, under_way, full) in [
        (Operation::Assign, 1, limits.addresses),
        (Operation::AttachInterface, 2, limits.interfaces),
    ] {
        let times = world.calls.times(operation);
        // The first address was assigned before the storm.
        let times = &times[usize::from(operation == Operation::Assign)..];
        let span = times[times.len() - 1] - times[0];
        let fit = most_calls(span, under_way, full, &limits);
        let calls = times.len();
        assert!(
            calls <= fit,
            "{calls} {operation} in {span:?}, at most {fit} fit"
        );
        most += fit;
    }
    assert!(
        refused <= most,
        "{refused} calls, and {most} fit: none is sent twice"
    );
    for add in adds {
        add.await
            .expect("no panic")
            .expect("is served after the storm");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_small_bucket_is_lived_with() {
    let bucket = json!({"capacity": 2, "per_second": 2, "per": "family"});
    let rule = json!({"operations": ["*"], "throttle": bucket});
    let prefixes = live_through_with(ONE_WARM_PREFIX, &[], None, |_| {});
    tokio::join!(live_through(std::slice::from_ref(&rule)), prefixes);
}

fn throttled_by(faults: &[Value]) -> u64 {
    faults.iter().filter_map(|rule| rule["hits"].as_u64()).sum()
}

#[tokio::test]
async fn ten_nodes_of_one_account_stay_within_ec2s_own_buckets() {
    let control = &server().control;
    // Room for all of them.
    let first = World::at(site_in("10.0.0.0/20", "m5.xlarge").await);
    let mut worlds = vec![first];
    for _ in 1..10 {
        worlds.push(World::at(worlds[0].site.neighbour("m5.xlarge").await));
    }
    let keys: Vec<&str> = worlds
        .iter()
        .map(|one| one.site.access_key.as_str())
        .collect();
    let rule = json!({"operations": ["*"], "throttle": "documented", "access_key": keys});
    let documented = control.add_fault(&rule).await.expect("a fault");
    let lives = worlds.iter().map(|world| async move {
        let daemon = world.start(&[("WARM_ENI_TARGET", "1")]).await;
        daemon.add_pods(0..15).await;
        daemon
    });
    let daemons = futures::future::join_all(lives).await;
    let struck = control.faults().await.expect("faults");
    let struck: Vec<Value> = struck
        .into_iter()
        .filter(|one| one["id"] == documented)
        .collect();
    mend(documented).await;
    assert_ne!(struck[0]["seen"], 0);
    assert_eq!(throttled_by(&struck), 0, "ten nodes that start at once");
    for daemon in &daemons {
        daemon.rest().await;
    }
    for daemon in daemons {
        daemon.finish().await;
    }
}
