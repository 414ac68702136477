//! Partitions that do not know a parameter which a call can do without.

use serde_json::{Value, json};
use veni_provider::Provider;

use super::cloud::{request, site};
use super::server::calm;

async fn serves_under(rule: Value, refusals: u64) {
    let site = site("m5.large").await;
    site.fault(rule.clone()).await;
    let provider = site.provider().await;
    let connected = site.total().await;
    let inventory = provider.inventory().await.expect("an inventory");
    assert_eq!(inventory.interfaces.len(), 1);
    // Interfaces and subnets, and what was refused.
    assert_eq!(site.total().await - connected, 2 + refusals, "{rule}");
    let before = site.total().await;
    provider.inventory().await.expect("an inventory");
    assert_eq!(
        site.total().await - before,
        2,
        "{rule}: it is not tried again"
    );
    let made = provider.attach_interface(&request("second")).await;
    let made = made.expect("must attach");
    provider.detach_interface(&made.id).await.expect("must go");
}

#[tokio::test]
async fn a_parameter_that_ec2_does_not_know_costs_one_call() {
    let _calm = calm().await;
    for parameter in ["IncludeManagedResources", "MaxResults"] {
        serves_under(json!({"unknown_parameter": parameter}), 1).await;
    }
}

#[tokio::test]
async fn a_refusal_that_names_the_parameter_counts_whatever_its_code() {
    let _calm = calm().await;
    for code in [
        "InvalidParameterValue",
        "InvalidParameter",
        "UnsupportedOperation",
    ] {
        let error = json!({"code": code, "message": "includeManagedResources is not supported"});
        let rule = json!({
            "operations": ["DescribeNetworkInterfaces"], "count": 1, "error": error,
        });
        serves_under(rule, 1).await;
    }
}

#[tokio::test]
async fn a_call_that_is_refused_all_the_same_fails_after_one_more_try() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let error = json!({"code": "UnknownParameter", "message": "unrecognized"});
    let rule = json!({"operations": ["DescribeNetworkInterfaces"], "error": error});
    site.fault(rule).await;
    let refused = provider.inventory().await.expect_err("is refused twice");
    assert!(refused.reason.contains("UnknownParameter"), "{refused}");
    assert_eq!(site.calls().await["DescribeNetworkInterfaces"], 2);
}
