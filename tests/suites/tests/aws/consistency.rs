//! EC2's eventual consistency and slow state machines, each in a VPC that is so.

use std::time::Duration;

use serde_json::{Value, json};

use crate::lives::{ONE_WARM, ONE_WARM_PREFIX, live_through_with};

/// Lives in both modes under a setting of the knobs.
async fn live_with(values: Value, settle: Duration) {
    let settles = |settings: &mut veni_provider_aws::AwsSettings| settings.settle_time = settle;
    tokio::join!(
        live_through_with(ONE_WARM, &[], Some(&values), settles),
        live_through_with(ONE_WARM_PREFIX, &[], Some(&values), settles),
    );
}

#[tokio::test]
async fn a_describe_may_show_the_past() {
    live_with(json!({"describe_lag_seconds": 1.5}), Duration::from_secs(2)).await;
}

#[tokio::test]
async fn a_new_interface_may_not_be_found_yet() {
    live_with(
        json!({"create_visibility_seconds": 1}),
        Duration::from_secs(1),
    )
    .await;
}

#[tokio::test]
async fn attaching_and_detaching_may_take_their_time() {
    let slow = json!({"attach_seconds": 1.5, "detach_seconds": 1.5});
    live_with(slow, Duration::from_millis(300)).await;
}

#[tokio::test]
async fn lost_answers_are_made_out_though_describe_shows_the_past() {
    let knobs = json!({"describe_lag_seconds": 1.5, "attach_seconds": 1});
    let rule = json!({
        "operations": ["mutating"], "sequence": [1, 3, 5, 6, 9], "lose_answer": true,
    });
    live_through_with(ONE_WARM, &[rule], Some(&knobs), |settings| {
        settings.settle_time = Duration::from_secs(2);
    })
    .await;
}
