//! Changes of several steps of which a later one fails: what EC2 has accepted is
//! never told as if nothing had happened.

use serde_json::{Value, json};
use veni_provider::{AddressSlots, ErrorClass, Family, Grant, Provider};
use veni_provider::{InterfaceId, ProviderError};
use veni_provider_aws::AwsProvider;

use super::cloud::{Site, mend, request, settled, site};
use super::server::calm;

async fn attach(provider: &AwsProvider, token: &str) -> InterfaceId {
    let made = provider.attach_interface(&request(token)).await;
    made.expect("must attach").id
}

fn throttled() -> Value {
    json!({"code": "RequestLimitExceeded", "message": "slow down", "status": 503})
}

/// What a detach is told when calls fail that come after EC2 has accepted it.
/// Once they pass again, the interface goes without another word.
async fn detach_under(mut rule: Value, operation: &str) -> ProviderError {
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let id = attach(&provider, "out").await;
    rule["operations"] = json!([operation]);
    let fault = site.fault(rule).await;
    let answer = provider.detach_interface(&id).await;
    mend(fault).await;
    assert_eq!(site.calls().await["DetachNetworkInterface"], 1);
    assert_eq!(site.unattached().await, [id.to_string()], "it is detached");
    settled().await;
    provider.tidy().await;
    assert_eq!(site.interfaces().await.len(), 1, "{operation}");
    answer.expect_err("cannot be finished")
}

#[tokio::test]
async fn a_look_that_fails_after_a_detach_was_accepted_leaves_doubt() {
    let _calm = calm().await;
    // The first look, before the detach, passes.
    for (rule, cause) in [
        (
            json!({"after": 1, "error": throttled()}),
            "RequestLimitExceeded",
        ),
        (
            json!({"after": 1, "deny": true}),
            "ec2:DescribeNetworkInterfaces",
        ),
        (
            json!({"after": 1, "drop_request": true}),
            "connection broken",
        ),
    ] {
        let error = detach_under(rule, "DescribeNetworkInterfaces").await;
        assert_eq!(error.class, ErrorClass::OutcomeUnknown, "{error}");
        assert!(error.to_string().contains(cause), "{error}");
    }
}

#[tokio::test]
async fn an_interface_that_is_detached_and_cannot_be_deleted_leaves_doubt() {
    let _calm = calm().await;
    for (rule, cause) in [
        (json!({"error": throttled()}), "RequestLimitExceeded"),
        (
            json!({"deny": true}),
            "the node's role needs ec2:DeleteNetworkInterface",
        ),
        (json!({"expired": true}), "RequestExpired"),
    ] {
        let error = detach_under(rule, "DeleteNetworkInterface").await;
        assert_eq!(error.class, ErrorClass::OutcomeUnknown, "{error}");
        assert!(error.to_string().contains(cause), "{error}");
    }
}

#[tokio::test]
async fn a_detach_that_is_refused_itself_leaves_no_doubt() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let id = attach(&provider, "stays").await;
    let rule = json!({"operations": ["DetachNetworkInterface"], "error": throttled()});
    let fault = site.fault(rule).await;
    let answer = provider.detach_interface(&id).await;
    mend(fault).await;
    let class = answer.expect_err("is throttled").class;
    assert_eq!(class, ErrorClass::Throttled { retry_after: None });
    settled().await;
    provider.tidy().await;
    assert_eq!(site.interfaces().await.len(), 2, "it serves on");
}

#[tokio::test]
async fn a_look_that_fails_before_a_detach_leaves_no_doubt() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let id = attach(&provider, "stays").await;
    let rule = json!({"operations": ["DescribeNetworkInterfaces"], "error": throttled()});
    let fault = site.fault(rule).await;
    let answer = provider.detach_interface(&id).await;
    mend(fault).await;
    let class = answer.expect_err("is throttled").class;
    assert_eq!(class, ErrorClass::Throttled { retry_after: None });
    assert_eq!(site.calls().await.get("DetachNetworkInterface"), None);
    settled().await;
    provider.tidy().await;
    assert_eq!(site.interfaces().await.len(), 2, "it serves on");
}

#[tokio::test]
async fn what_a_detach_has_begun_is_finished_though_its_repetition_is_refused() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let id = attach(&provider, "out").await;
    // Of the looks the one before the detach passes.
    for (operation, after) in [
        ("DescribeNetworkInterfaces", 1),
        ("DetachNetworkInterface", 0),
    ] {
        let rule = json!({"operations": [operation], "after": after, "error": throttled()});
        let fault = site.fault(rule).await;
        let answer = provider.detach_interface(&id).await;
        answer.expect_err("is throttled");
        mend(fault).await;
    }
    assert_eq!(site.unattached().await, [id.to_string()]);
    settled().await;
    provider.tidy().await;
    assert!(site.unattached().await.is_empty());
}

#[tokio::test]
async fn an_interface_that_somebody_pulled_and_that_cannot_be_deleted_leaves_doubt() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let id = attach(&provider, "pulled").await;
    site.pull(id.as_str()).await;
    let rule = json!({"operations": ["DeleteNetworkInterface"], "error": throttled()});
    let fault = site.fault(rule).await;
    let answer = provider.detach_interface(&id).await;
    mend(fault).await;
    let class = answer.expect_err("is throttled").class;
    assert_eq!(class, ErrorClass::OutcomeUnknown);
}

#[tokio::test]
async fn while_deleting_is_not_permitted_nothing_more_is_detached() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let (first, second) = (
        attach(&provider, "one").await,
        attach(&provider, "two").await,
    );
    let fault = site
        .fault(json!({"operations": ["DeleteNetworkInterface"], "deny": true}))
        .await;
    let answer = provider.detach_interface(&first).await;
    answer.expect_err("cannot be deleted");
    let error = provider.detach_interface(&second).await;
    let error = error.expect_err("is not begun");
    assert_eq!(error.class, ErrorClass::Denied, "{error}");
    assert!(
        error.reason.contains("ec2:DeleteNetworkInterface"),
        "{error}"
    );
    assert_eq!(site.calls().await["DetachNetworkInterface"], 1);
    assert_eq!(site.unattached().await, [first.to_string()]);
    mend(fault).await;
    settled().await;
    provider.tidy().await;
    let answer = provider.detach_interface(&second).await;
    answer.expect("is permitted again");
    assert_eq!(site.interfaces().await.len(), 1);
}

/// A node whose primary interface holds something of both families.
async fn holding_both(site: &Site) -> (AwsProvider, InterfaceId, Grant) {
    let provider = site.provider().await;
    let inventory = provider.inventory().await.expect("an inventory");
    let primary = inventory.interfaces[0].id.clone();
    let mut all = Grant::default();
    for family in [Family::V4, Family::V6] {
        let slots = AddressSlots::Prefixes { family, count: 1 };
        let grant = provider.assign(&primary, slots).await.expect("a grant");
        all.prefixes.extend(grant.prefixes);
    }
    (provider, primary, all)
}

#[tokio::test]
async fn a_family_that_cannot_follow_the_one_released_before_leaves_doubt() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let (provider, primary, all) = holding_both(&site).await;
    let rule = json!({"operations": ["UnassignIpv6Addresses"], "count": 1, "error": throttled()});
    site.fault(rule).await;
    let answer = provider.release(&primary, &all).await;
    let class = answer.expect_err("half of it went").class;
    assert_eq!(class, ErrorClass::OutcomeUnknown);
    let shown = site.described(&primary).await;
    assert!(shown.ipv4_prefixes().is_empty() && !shown.ipv6_prefixes().is_empty());
    provider.release(&primary, &all).await.expect("the rest");
    let shown = site.described(&primary).await;
    assert!(shown.ipv6_prefixes().is_empty());
}

#[tokio::test]
async fn a_look_that_fails_after_ec2_missed_what_was_to_go_leaves_doubt() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let (provider, primary, all) = holding_both(&site).await;
    let first = Grant {
        prefixes: all.prefixes[..1].to_vec(),
        ..Grant::default()
    };
    provider.release(&primary, &first).await.expect("it goes");
    let one = AddressSlots::Addresses {
        family: Family::V4,
        count: 1,
    };
    let another = provider.assign(&primary, one).await.expect("an address");
    let two = Grant {
        addresses: another.addresses,
        ..first
    };
    let rule = json!({"operations": ["DescribeNetworkInterfaces"], "error": throttled()});
    site.fault(rule).await;
    let answer = provider.release(&primary, &two).await;
    let class = answer.expect_err("nobody knows what is left").class;
    assert_eq!(class, ErrorClass::OutcomeUnknown);
}
