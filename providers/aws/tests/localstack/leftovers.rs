//! What is cleared up and set right beside the calls.

use std::sync::{Arc, Mutex};

use serde_json::json;
use veni_provider::{ErrorClass, InterfaceId, Provider};
use veni_provider_aws::{Action, ActionCall, ActionObserver, Undeleted};

use super::cloud::{Site, admin, mend, request, settled, site, tag};
use super::server::calm;

/// Writes down what it is told of interfaces that were not deleted.
#[derive(Default)]
struct Notes(Mutex<Vec<(Undeleted, ErrorClass)>>);

impl Notes {
    fn told(&self) -> Vec<(Undeleted, ErrorClass)> {
        self.0.lock().expect("nobody panics in it").clone()
    }
}

impl ActionObserver for Notes {
    fn action(&self, _: &ActionCall<'_>) {}

    fn budget(&self, _: Action, _: f64) {}

    fn not_deleted(&self, which: Undeleted, class: &ErrorClass) {
        let mut told = self.0.lock().expect("nobody panics in it");
        told.push((which, class.clone()));
    }
}

#[tokio::test]
async fn what_cannot_be_deleted_at_once_is_deleted_later() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let notes = Arc::new(Notes::default());
    let mut settings = site.settings();
    settings.observer = notes.clone();
    let provider = site.provider_with(settings).await;
    let operations = ["AttachNetworkInterface", "DeleteNetworkInterface"];
    let fault = site
        .fault(json!({"operations": operations, "deny": true}))
        .await;
    let answer = provider.attach_interface(&request("stuck")).await;
    assert_eq!(
        answer.expect_err("cannot be undone").class,
        ErrorClass::OutcomeUnknown
    );
    assert_eq!(notes.told(), [(Undeleted::Unattached, ErrorClass::Denied)]);
    settled().await;
    provider.tidy().await;
    assert_eq!(site.unattached().await.len(), 1, "it is still denied");
    let left = (Undeleted::LeftBehind, ErrorClass::Denied);
    let told = notes.told();
    assert_eq!(told.last(), Some(&left));
    mend(fault).await;
    provider.tidy().await;
    assert!(site.unattached().await.is_empty());
    assert_eq!(notes.told(), told, "what is deleted is not told of");
    let before = site.total().await;
    provider.tidy().await;
    assert_eq!(site.total().await, before, "nothing to do costs nothing");
}

#[tokio::test]
async fn an_interface_that_would_outlive_the_instance_is_set_right() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let rule = json!({"operations": ["ModifyNetworkInterfaceAttribute"], "count": 1, "deny": true});
    site.fault(rule).await;
    let made = provider.attach_interface(&request("outlives")).await;
    let made = made.expect("it works without");
    assert!(!ends_with_instance(&site, &made.id).await);
    provider.tidy().await;
    assert!(ends_with_instance(&site, &made.id).await);
    site.let_outlive(&made.id).await;
    settled().await;
    provider.inventory().await.expect("an inventory");
    provider.tidy().await;
    assert!(ends_with_instance(&site, &made.id).await);
}

pub(crate) async fn ends_with_instance(site: &Site, id: &InterfaceId) -> bool {
    let shown = site.described(id).await;
    let attachment = shown.attachment().expect("is attached");
    attachment.delete_on_termination() == Some(true)
}

/// An interface that some node left behind, made at a time.
pub(crate) async fn leaked(site: &Site, description: &str, created: Option<&str>) -> InterfaceId {
    left_by(site, "i-gone", description, created).await
}

async fn left_by(
    site: &Site,
    instance: &str,
    description: &str,
    created: Option<&str>,
) -> InterfaceId {
    let id = site.foreign(None).await;
    let call = admin().modify_network_interface_attribute();
    let value = aws_sdk_ec2::types::AttributeValue::builder().value(description);
    let call = call
        .network_interface_id(id.as_str())
        .description(value.build());
    call.send().await.expect("must be changed");
    tag(id.as_str(), "node.k8s.amazonaws.com/instance_id", instance).await;
    if let Some(created) = created {
        tag(id.as_str(), "node.k8s.amazonaws.com/createdAt", created).await;
    }
    id
}

#[tokio::test]
async fn what_dead_nodes_left_behind_is_deleted_and_nothing_else() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let old = Some("2020-01-02T03:04:05Z");
    let dead = leaked(&site, "aws-K8S-i-gone", old).await;
    let young = leaked(&site, "aws-K8S-i-gone", Some("2999-01-02T03:04:05Z")).await;
    let unknown = leaked(&site, "aws-K8S-i-gone", None).await;
    let foreign = leaked(&site, "a database", old).await;
    let untagged = site.foreign(None).await;
    provider.clean_leaks().await.expect("must look");
    let mut left = site.unattached().await;
    left.sort_unstable();
    let mut expected = [&young, &unknown, &foreign, &untagged].map(ToString::to_string);
    expected.sort_unstable();
    assert_eq!(left, expected, "{dead} was to be deleted");
    let shown = site.described(&unknown).await;
    let noted = shown
        .tag_set()
        .iter()
        .any(|tag| tag.key() == Some("node.k8s.amazonaws.com/createdAt"));
    assert!(noted, "its age is known from now on");
}

#[tokio::test]
async fn another_clusters_leftovers_are_left_alone() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let mut settings = site.settings();
    settings.cluster_name = Some("blue".to_owned());
    let provider = site.provider_with(settings).await;
    let old = Some("2020-01-02T03:04:05Z");
    let blue = leaked(&site, "aws-K8S-i-gone", old).await;
    let green = leaked(&site, "aws-K8S-i-gone", old).await;
    for (id, cluster) in [(&blue, "blue"), (&green, "green")] {
        tag(id.as_str(), "cluster.k8s.amazonaws.com/name", cluster).await;
    }
    provider.clean_leaks().await.expect("must look");
    assert_eq!(site.unattached().await, [green.to_string()]);
}

/// Twice: once to find what is there, and once when it is old enough.
async fn tidy_twice(provider: &veni_provider_aws::AwsProvider) {
    for _ in 0..2 {
        settled().await;
        provider.tidy().await;
    }
}

#[tokio::test]
async fn a_provider_that_starts_deletes_what_the_one_before_left_and_nothing_else() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let now = Some("2999-01-02T03:04:05Z");
    let own = format!("aws-K8S-{}", site.instance);
    let half_made = left_by(&site, &site.instance, &own, now).await;
    let kept = left_by(&site, &site.instance, &own, now).await;
    tag(kept.as_str(), "node.k8s.amazonaws.com/no_manage", "true").await;
    let by_hand = left_by(&site, &site.instance, "a spare", now).await;
    let others = leaked(&site, "aws-K8S-i-gone", now).await;
    let mut settings = site.settings();
    settings.leak_cleanup = false;
    let provider = site.provider_with(settings).await;
    tidy_twice(&provider).await;
    assert_eq!(
        site.unattached().await.len(),
        4,
        "nothing was looked at yet"
    );
    provider.inventory().await.expect("an inventory");
    tidy_twice(&provider).await;
    let mut left = site.unattached().await;
    left.sort_unstable();
    let mut expected = [&kept, &by_hand, &others].map(ToString::to_string);
    expected.sort_unstable();
    assert_eq!(left, expected, "{half_made} was to be deleted");
}

#[tokio::test]
async fn looking_for_what_was_left_costs_a_start_one_call() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    provider.inventory().await.expect("an inventory");
    let before = site.total().await;
    tidy_twice(&provider).await;
    assert_eq!(site.total().await, before + 1);
    provider.inventory().await.expect("an inventory");
    let before = site.total().await;
    tidy_twice(&provider).await;
    assert_eq!(site.total().await, before, "once is enough");
}
