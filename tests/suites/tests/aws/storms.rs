//! EC2 throttles: all of it, by a small bucket, and by its documented ones.

use serde_json::{Value, json};
use veni_provider::{LimiterConfig, Rate};
use veni_testbed::ec2::{calm, knobs, mend, server, site_in};

use crate::lives::{ONE_WARM, ONE_WARM_PREFIX, live_through, live_through_with};
use crate::world::World;

/// The times, in seconds, at which throttled calls of a node ended.
async fn throttled(access_key: &str, operation: &str) -> Vec<f64> {
    let log = server().control.log().await.expect("a log");
    let of_node = log.iter().filter(|call| {
        call["access_key"] == access_key
            && call["operation"] == operation
            && call["outcome"] == "RequestLimitExceeded"
    });
    of_node.filter_map(|call| call["at"].as_f64()).collect()
}

/// The most calls of a family that fit into a span, in seconds, if each is
/// throttled: those that were under way together when the first was refused, then
/// what the budget's own numbers allow. Each refusal cuts the rate, and no burst
/// is left after the first.
fn most_calls(span: f64, under_way: usize, full: Rate, limits: &LimiterConfig) -> usize {
    let (mut calls, mut spent, mut rate) = (under_way, 0.0, full.per_second);
    loop {
        rate = (rate * limits.decrease).max(limits.slowest);
        spent += 1.0 / rate;
        if spent > span {
            return calls;
        }
        calls += 1;
    }
}

#[test]
fn the_bound_of_a_storm_is_what_the_budget_allows() {
    let limits = LimiterConfig::default();
    // 5 a second, halved each time: after 0.4, 1.2 and 2.8 seconds.
    let most = |span| most_calls(span, 1, limits.addresses, &limits);
    assert_eq!([0.3, 0.5, 2.0, 3.0].map(most), [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_storm_is_met_with_no_more_calls_than_the_budget_allows() {
    let _calm = calm().await;
    let world = World::new("m5.large").await;
    let daemon = world.start(ONE_WARM).await;
    daemon.until_holding(1, 1, 0).await;
    let nothing = json!({"capacity": 0, "per_second": 0});
    let storm = json!({"operations": ["mutating"], "throttle": nothing});
    let storm = world.site.fault(storm).await;
    let adds: Vec<_> = (0..20)
        .map(|n| daemon.begin_add(&format!("pod-{n}")))
        .collect();
    let key = world.site.access_key.clone();
    let refused = async || throttled(&key, "AssignPrivateIpAddresses").await.len() >= 4;
    daemon.until("four calls are throttled", refused).await;
    mend(storm).await;
    let limits = LimiterConfig::default();
    // One change of an interface at a time, and two interfaces are made at once.
    for (operation, under_way, full) in [
        ("AssignPrivateIpAddresses", 1, limits.addresses),
        ("CreateNetworkInterface", 2, limits.interfaces),
    ] {
        let times = throttled(&key, operation).await;
        let span = times[times.len() - 1] - times[0];
        let most = most_calls(span, under_way, full, &limits);
        let calls = times.len();
        assert!(
            calls <= most,
            "{calls} {operation} in {span:.1} s, at most {most} fit"
        );
    }
    for add in adds {
        add.await
            .expect("no panic")
            .expect("is served after the storm");
    }
    daemon.finish().await;
}

#[tokio::test]
async fn a_small_bucket_is_lived_with() {
    let _calm = calm().await;
    let bucket = json!({"capacity": 2, "per_second": 2, "per": "family"});
    let rule = json!({"operations": ["*"], "throttle": bucket});
    let prefixes = live_through_with(ONE_WARM_PREFIX, &[], |_| {});
    tokio::join!(live_through(std::slice::from_ref(&rule)), prefixes);
}

fn throttled_by(faults: &[Value]) -> u64 {
    faults.iter().filter_map(|rule| rule["hits"].as_u64()).sum()
}

#[tokio::test]
async fn ten_nodes_of_one_account_stay_within_ec2s_own_buckets() {
    let _alone = knobs(json!({})).await;
    let rule = json!({"operations": ["*"], "throttle": "documented"});
    let control = &server().control;
    // Room for all of them.
    let first = World::at(site_in("10.0.0.0/20", "m5.xlarge").await);
    let mut worlds = vec![first];
    for _ in 1..10 {
        worlds.push(World::at(worlds[0].site.neighbour("m5.xlarge").await));
    }
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
