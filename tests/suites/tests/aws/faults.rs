//! Calls that fail in every way in which calls to EC2 fail: each call in a node's life,
//! with each kind of fault.

use futures::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;

use crate::lives::{ONE_WARM, ONE_WARM_PREFIX, live_through, live_through_with};

/// Every call by which a node's life changes EC2.
const CHANGES: [&str; 7] = [
    "AssignPrivateIpAddresses",
    "CreateNetworkInterface",
    "AttachNetworkInterface",
    "ModifyNetworkInterfaceAttribute",
    "UnassignPrivateIpAddresses",
    "DetachNetworkInterface",
    "DeleteNetworkInterface",
];

/// The first call of each kind, each in a life of its own, side by side.
async fn strike_each(effect: Value) {
    let lives = CHANGES.map(|operation| {
        let mut rule = effect.clone();
        rule["operations"] = json!([operation]);
        rule["count"] = json!(1);
        async move { live_through(&[rule]).await }
    });
    join_all(lives).await;
}

#[tokio::test]
async fn the_answer_to_any_change_may_be_lost() {
    strike_each(json!({"lose_answer": true})).await;
}

#[tokio::test]
async fn the_answer_to_any_change_may_be_cut_in_half() {
    strike_each(json!({"truncate": true})).await;
}

#[tokio::test]
async fn any_change_may_be_lost_before_it_arrives() {
    strike_each(json!({"drop_request": true})).await;
}

#[tokio::test]
async fn ec2_itself_may_fail_at_any_change() {
    let error = json!({"code": "InternalError", "message": "sorry", "status": 500});
    strike_each(json!({"error": error})).await;
}

#[tokio::test]
async fn any_change_may_be_refused_for_now() {
    let error = json!({"code": "Unavailable", "message": "come back later", "status": 503});
    strike_each(json!({"error": error})).await;
}

#[tokio::test]
async fn any_change_may_be_made_that_is_answered_as_a_failure() {
    let error = json!({
        "code": "ServiceUnavailable", "message": "sorry", "status": 503, "done": true,
    });
    strike_each(json!({"error": error})).await;
}

#[tokio::test]
async fn answers_may_be_lost_again_and_again() {
    let rule = json!({
        "operations": ["mutating"], "sequence": [1, 2, 4, 5, 8, 9, 11], "lose_answer": true,
    });
    let prefixes = live_through_with(ONE_WARM_PREFIX, std::slice::from_ref(&rule), None, |_| {});
    tokio::join!(live_through(std::slice::from_ref(&rule)), prefixes);
}

#[tokio::test]
async fn looks_may_fail_when_they_are_needed_most() {
    let lost = json!({"operations": ["mutating"], "sequence": [2, 3], "lose_answer": true});
    let blind = json!({"operations": ["non-mutating"], "count": 4, "drop_request": true});
    live_through(&[lost, blind]).await;
}

#[tokio::test]
async fn slow_calls_delay_nobody_who_finds_an_address() {
    let world = crate::world::World::new("m5.large").await;
    let daemon = world.start(&[("WARM_IP_TARGET", "4")]).await;
    daemon.until_holding(1, 4, 0).await;
    let slow = json!({"operations": ["mutating"], "latency_seconds": 4});
    let slow = world.site.fault(slow).await;
    // The first of them starts a refill, which is still under way for the others.
    daemon.add_pods(0..3).await;
    let waiting = daemon.begin_add("waits-0");
    let more: Vec<_> = (1..3)
        .map(|n| daemon.begin_add(&format!("waits-{n}")))
        .collect();
    daemon
        .until("a refill is under way", async || {
            !daemon.plan().await.actions.is_empty() || daemon.report().await.waiting > 0
        })
        .await;
    waiting
        .await
        .expect("no panic")
        .expect("the fourth is there");
    assert_eq!(
        world.holdings().await.addresses,
        4,
        "before the refill has come"
    );
    for add in more {
        add.await.expect("no panic").expect("is served");
    }
    veni_testbed::ec2::mend(slow).await;
    daemon.finish().await;
}

#[tokio::test]
async fn changes_may_be_made_long_after_the_daemon_gave_up_waiting() {
    let lives = [
        "AssignPrivateIpAddresses",
        "CreateNetworkInterface",
        "AttachNetworkInterface",
        "UnassignPrivateIpAddresses",
        "DetachNetworkInterface",
        "DeleteNetworkInterface",
    ];
    let lives = lives.map(|operation| {
        let rule = json!({"operations": [operation], "count": 1, "latency_seconds": 4});
        async move {
            live_through_with(ONE_WARM, &[rule], None, |settings| {
                settings.call_timeout = Duration::from_secs(3);
                // Longer than what is late takes to happen.
                settings.settle_time = Duration::from_secs(4);
            })
            .await;
        }
    });
    join_all(lives).await;
}
