//! Calls whose outcome is not told: what the provider says of them is true.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::credential_fn::provide_credentials_fn;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use serde_json::json;
use veni_provider::{
    AddressSlots, ErrorClass, Family, Grant, InterfaceId, InterfaceState, Provider, SubnetId,
};
use veni_provider_aws::{AwsProvider, AwsSettings, InstanceOverrides};

use super::cloud::{M5_LARGE, mend, request_for, sdk_config, site};
use super::server::{calm, knobs, server};

const TWO: AddressSlots = AddressSlots::Addresses {
    family: Family::V4,
    count: 2,
};

#[tokio::test]
async fn a_lost_answer_to_attach_network_interface_is_settled_by_a_look() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let rule = json!({"operations": ["AttachNetworkInterface"], "count": 1, "lose_answer": true});
    site.fault(rule).await;
    let made = provider
        .attach_interface(&request_for("settled", TWO))
        .await;
    let made = made.expect("it is attached after all");
    let inventory = provider.inventory().await.expect("an inventory");
    assert_eq!(inventory.interfaces.len(), 2);
    assert_eq!(inventory.interfaces[1], made);
    assert!(site.unattached().await.is_empty());
}

#[tokio::test]
async fn a_request_to_attach_that_never_arrived_leaves_doubt_and_is_cleared_up() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let rule = json!({"operations": ["AttachNetworkInterface"], "count": 1, "drop_request": true});
    site.fault(rule).await;
    let answer = provider.attach_interface(&request_for("doubt", TWO)).await;
    let class = answer.expect_err("nobody knows").class;
    assert_eq!(class, ErrorClass::OutcomeUnknown);
    assert_eq!(site.unattached().await.len(), 1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    provider.tidy().await;
    assert!(site.unattached().await.is_empty());
}

#[tokio::test]
async fn the_same_token_goes_on_with_what_was_left_behind() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let rule = json!({"operations": ["AttachNetworkInterface"], "count": 1, "drop_request": true});
    site.fault(rule).await;
    let answer = provider.attach_interface(&request_for("again", TWO)).await;
    answer.expect_err("nobody knows");
    let left = site.unattached().await;
    let made = provider.attach_interface(&request_for("again", TWO)).await;
    let made = made.expect("must attach");
    assert_eq!([made.id.to_string()].as_slice(), left);
    tokio::time::sleep(Duration::from_millis(300)).await;
    provider.tidy().await;
    let inventory = provider.inventory().await.expect("an inventory");
    assert_eq!(inventory.interfaces[1].id, made.id);
}

#[tokio::test]
async fn a_lost_answer_to_detach_leaves_an_interface_that_is_cleared_up() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let made = provider.attach_interface(&request_for("out", TWO)).await;
    let made = made.expect("must attach");
    let rule = json!({"operations": ["DetachNetworkInterface"], "count": 1, "lose_answer": true});
    site.fault(rule).await;
    let answer = provider.detach_interface(&made.id).await;
    let class = answer.expect_err("nobody knows").class;
    assert_eq!(class, ErrorClass::OutcomeUnknown);
    tokio::time::sleep(Duration::from_millis(300)).await;
    provider.tidy().await;
    assert_eq!(site.interfaces().await.len(), 1);
}

#[tokio::test]
async fn a_call_that_takes_too_long_leaves_doubt_and_a_look_none() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let mut settings = site.settings();
    settings.call_timeout = Duration::from_secs(4);
    let provider = site.provider_with(settings).await;
    let inventory = provider.inventory().await.expect("an inventory");
    let slow = json!({
        "operations": ["AssignPrivateIpAddresses", "DescribeNetworkInterfaces"],
        "latency_seconds": 30,
    });
    let fault = site.fault(slow).await;
    let assigned = provider.assign(&inventory.interfaces[0].id, TWO).await;
    let looked = provider.inventory().await;
    mend(fault).await;
    let class = assigned.expect_err("takes too long").class;
    assert_eq!(class, ErrorClass::OutcomeUnknown);
    assert_eq!(
        looked.expect_err("takes too long").class,
        ErrorClass::Transient
    );
}

/// A provider of which everything is known, so that connecting asks nobody.
async fn provider_by(sdk_config: SdkConfig) -> AwsProvider {
    let settings = AwsSettings {
        instance: InstanceOverrides {
            instance_id: Some("i-1".to_owned()),
            instance_type: Some("m5.large".to_owned()),
            zone: Some("us-east-1a".to_owned()),
            subnet: Some(SubnetId::new("subnet-1")),
            vpc: Some("vpc-1".to_owned()),
        },
        instance_types: Some(std::sync::Arc::new(|_: &str| Some(M5_LARGE))),
        sdk_config: Some(sdk_config),
        ..AwsSettings::default()
    };
    AwsProvider::connect(settings).await.expect("asks nobody")
}

#[expect(clippy::print_stdout, reason = "to the runner of the test")]
async fn class_of_assign(sdk_config: SdkConfig) -> ErrorClass {
    let provider = provider_by(sdk_config).await;
    let answer = provider.assign(&InterfaceId::new("eni-1"), TWO).await;
    let error = answer.expect_err("cannot succeed");
    println!("{error}");
    error.class
}

/// An address at which nobody listens.
fn closed() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[tokio::test]
async fn a_change_that_cannot_have_reached_ec2_leaves_no_doubt() {
    let config = sdk_config("nobody", &closed());
    assert_eq!(class_of_assign(config).await, ErrorClass::Transient);
}

#[tokio::test]
async fn a_node_without_credentials_is_denied_and_one_whose_credentials_are_late_is_not() {
    let with = |error: fn() -> CredentialsError| {
        let provider = provide_credentials_fn(move || async move { Err(error()) });
        sdk_config("nobody", &closed())
            .into_builder()
            .credentials_provider(SharedCredentialsProvider::new(provider))
            .build()
    };
    let none = with(|| CredentialsError::not_loaded("there are none"));
    assert_eq!(class_of_assign(none).await, ErrorClass::Denied);
    let late = with(|| CredentialsError::provider_error("the service does not answer"));
    assert_eq!(class_of_assign(late).await, ErrorClass::Transient);
}

#[tokio::test]
async fn a_missing_permission_is_explained() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let inventory = provider.inventory().await.expect("an inventory");
    site.fault(json!({"operations": ["AssignPrivateIpAddresses"], "deny": true}))
        .await;
    let answer = provider.assign(&inventory.interfaces[0].id, TWO).await;
    let error = answer.expect_err("is denied");
    assert_eq!(error.class, ErrorClass::Denied);
    let text = error.to_string();
    assert!(text.contains("ec2:AssignPrivateIpAddresses on"), "{text}");
    assert!(!text.contains("Encoded authorization"), "{text}");
    let needed = "the node's role needs ec2:AssignPrivateIpAddresses";
    assert!(text.contains(needed), "{text}");
}

#[tokio::test]
async fn credentials_that_expired_pass() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let inventory = provider.inventory().await.expect("an inventory");
    let rule = json!({"operations": ["AssignPrivateIpAddresses"], "count": 1, "expired": true});
    site.fault(rule).await;
    let primary = &inventory.interfaces[0];
    let answer = provider.assign(&primary.id, TWO).await;
    assert_eq!(
        answer.expect_err("has expired").class,
        ErrorClass::Transient
    );
    provider.assign(&primary.id, TWO).await.expect("new ones");
    assert_eq!(primary.state, InterfaceState::Attached);
}

#[tokio::test]
async fn a_failure_of_ec2_may_be_of_a_change_that_was_made() {
    let _calm = calm().await;
    for (code, status) in [
        ("InternalError", 500),
        ("ServiceUnavailable", 503),
        ("Unavailable", 503),
    ] {
        let site = site("m5.large").await;
        let provider = site.provider().await;
        let inventory = provider.inventory().await.expect("an inventory");
        let primary = &inventory.interfaces[0].id;
        let error = json!({"code": code, "message": "sorry", "status": status, "done": true});
        let rule = json!({"operations": ["AssignPrivateIpAddresses"], "count": 1, "error": error});
        site.fault(rule).await;
        let answer = provider.assign(primary, TWO).await;
        let class = answer.expect_err("fails").class;
        assert_eq!(class, ErrorClass::OutcomeUnknown, "{code}");
        let held = site.described(primary).await.private_ip_addresses().len();
        assert_eq!(held, 3, "{code}");
    }
}

#[tokio::test]
async fn a_lost_answer_to_create_costs_no_second_interface_and_no_tidying() {
    let _calm = calm().await;
    for effect in ["lose_answer", "drop_request", "truncate"] {
        let site = site("m5.large").await;
        let provider = site.provider().await;
        let operations = ["CreateNetworkInterface"];
        site.fault(json!({"operations": operations, "count": 1, effect: true}))
            .await;
        let made = provider
            .attach_interface(&request_for("once more", TWO))
            .await;
        let made = made.expect("it is made after all");
        assert_eq!(made.addresses.len(), 2, "{effect}");
        assert!(site.unattached().await.is_empty(), "{effect}");
        let there = site.interfaces().await;
        assert_eq!(there.len(), 2, "{effect}");
        let calls = site.calls().await;
        assert_eq!(calls["CreateNetworkInterface"], 2, "{effect}");
        assert!(!calls.contains_key("DeleteNetworkInterface"), "{effect}");
    }
}

#[tokio::test]
async fn a_creation_that_is_refused_when_it_is_asked_for_again_stays_in_doubt() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let operations = ["CreateNetworkInterface"];
    let lost = json!({"operations": operations, "count": 1, "lose_answer": true});
    let denied = json!({"operations": operations, "deny": true});
    site.fault(lost).await;
    site.fault(denied).await;
    let answer = provider
        .attach_interface(&request_for("refused", TWO))
        .await;
    let error = answer.expect_err("nobody knows");
    assert_eq!(error.class, ErrorClass::OutcomeUnknown);
    assert!(error.reason.contains("; and asked again: "), "{error}");
    assert_eq!(site.unattached().await.len(), 1);
}

#[tokio::test]
async fn lost_answers_to_create_leave_an_interface_that_is_found_and_cleared_up() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let rule = json!({"operations": ["CreateNetworkInterface"], "count": 2, "lose_answer": true});
    site.fault(rule).await;
    let answer = provider
        .attach_interface(&request_for("made unseen", TWO))
        .await;
    let class = answer.expect_err("nobody knows").class;
    assert_eq!(class, ErrorClass::OutcomeUnknown);
    assert_eq!(site.unattached().await.len(), 1);
    // Once to find it, and once when it is old enough.
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        provider.tidy().await;
    }
    assert!(site.unattached().await.is_empty());
}

#[tokio::test]
async fn a_release_that_is_repeated_before_describe_shows_the_first_takes_nothing_for_kept() {
    let turned = knobs(json!({"describe_lag_seconds": 30})).await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let advance = || server().control.advance_clock(Duration::from_secs(31));
    advance().await.expect("the clock");
    let inventory = provider.inventory().await.expect("an inventory");
    let primary = &inventory.interfaces[0].id;
    let grant = provider.assign(primary, TWO).await.expect("two addresses");
    advance().await.expect("the clock");
    provider.release(primary, &grant).await.expect("the first");
    // Describe lists both still, and EC2 knows neither.
    let again = provider.release(primary, &grant).await;
    let error = again.expect_err("which are left is not known");
    assert_eq!(error.class, ErrorClass::OutcomeUnknown, "{error}");
    let one = Grant {
        addresses: grant.addresses[..1].to_vec(),
        ..Grant::default()
    };
    let single = provider.release(primary, &one).await;
    single.expect("the one is not assigned, whatever Describe lists");
    advance().await.expect("the clock");
    let settled = provider.release(primary, &grant).await;
    settled.expect("neither is there");
    drop(turned);
}

#[tokio::test]
async fn an_interface_that_a_lagging_describe_does_not_show_attached_is_not_deleted() {
    let turned = knobs(json!({"describe_lag_seconds": 30})).await;
    let site = site("m5.large").await;
    let advanced = server().control.advance_clock(Duration::from_secs(31));
    advanced.await.expect("the clock");
    let provider = site.provider().await;
    let rule = json!({"operations": ["AttachNetworkInterface"], "count": 1, "lose_answer": true});
    site.fault(rule).await;
    let answer = provider
        .attach_interface(&request_for("lagging", TWO))
        .await;
    let class = answer.expect_err("Describe does not tell yet").class;
    assert_eq!(class, ErrorClass::OutcomeUnknown);
    tokio::time::sleep(Duration::from_millis(300)).await;
    provider.tidy().await;
    drop(turned);
    let inventory = provider.inventory().await.expect("an inventory");
    assert_eq!(inventory.interfaces.len(), 2);
    assert!(!site.calls().await.contains_key("DeleteNetworkInterface"));
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_that_is_not_cleared_up() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = std::sync::Arc::new(site.provider().await);
    let rule = json!({
        "operations": ["AttachNetworkInterface"], "count": 1,
        "latency_seconds": 8, "drop_request": true,
    });
    site.fault(rule).await;
    let caller = std::sync::Arc::clone(&provider);
    let call =
        tokio::spawn(async move { caller.attach_interface(&request_for("gone", TWO)).await });
    let made = async {
        while site.unattached().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let made = tokio::time::timeout(Duration::from_secs(60), made).await;
    made.expect("the interface must be made");
    call.abort();
    let _ = call.await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Once to find it if its answer was not awaited, and once to delete it.
    provider.tidy().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    provider.tidy().await;
    assert!(site.unattached().await.is_empty());
}
