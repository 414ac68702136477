//! Interfaces of ours that somebody has tagged to be left alone: nothing changes
//! them. Each has a twin without the tag, which shows that the change was due.

use serde_json::json;
use veni_provider::{ErrorClass, Interface, InterfaceId, Provider};
use veni_provider_aws::AwsProvider;

use super::cloud::{Site, admin, mend, request, settled, site, tag};
use super::groups::{groups_of, set_new_group};
use super::leftovers::{ends_with_instance, leaked};
use super::server::calm;

async fn leave_alone(id: &InterfaceId) {
    tag(id.as_str(), "node.k8s.amazonaws.com/no_manage", "true").await;
}

/// Two interfaces of ours.
async fn twins(provider: &AwsProvider) -> (Interface, Interface) {
    let one = provider.attach_interface(&request("one")).await;
    let other = provider.attach_interface(&request("other")).await;
    (one.expect("must attach"), other.expect("must attach"))
}

/// Makes everything wrong that is repaired; answers the group they should have.
async fn spoil(site: &Site, twins: [&InterfaceId; 2]) -> String {
    for one in twins {
        site.let_outlive(one).await;
    }
    let primary = site.interfaces().await.into_iter().find(|one| {
        let attachment = one.attachment();
        attachment.is_some_and(|a| a.device_index() == Some(0))
    });
    let primary = primary.and_then(|one| one.network_interface_id);
    set_new_group(site, &InterfaceId::new(primary.expect("there is one"))).await
}

#[tokio::test]
async fn no_repair_changes_an_interface_that_is_tagged_to_be_left_alone() {
    let _calm = calm().await;
    for tagged_after_the_look in [false, true] {
        let site = site("m5.large").await;
        let provider = site.provider().await;
        let (kept, repaired) = twins(&provider).await;
        let before = groups_of(&site, &kept.id).await;
        let group = spoil(&site, [&kept.id, &repaired.id]).await;
        settled().await;
        if tagged_after_the_look {
            provider.inventory().await.expect("an inventory");
            leave_alone(&kept.id).await;
        } else {
            leave_alone(&kept.id).await;
            provider.inventory().await.expect("an inventory");
        }
        provider.tidy().await;
        assert_eq!(groups_of(&site, &repaired.id).await, [group]);
        assert!(ends_with_instance(&site, &repaired.id).await);
        assert_eq!(groups_of(&site, &kept.id).await, before);
        assert!(!ends_with_instance(&site, &kept.id).await);
    }
}

#[tokio::test]
async fn an_interface_that_was_tagged_after_the_last_look_is_not_detached() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let (kept, detached) = twins(&provider).await;
    provider.inventory().await.expect("an inventory");
    leave_alone(&kept.id).await;
    let answer = provider.detach_interface(&detached.id).await;
    answer.expect("nobody claims it");
    let error = provider.detach_interface(&kept.id).await;
    let error = error.expect_err("is to be left alone");
    assert_eq!(error.class, ErrorClass::Invalid);
    assert!(error.reason.contains("no_manage"), "{error}");
    provider.tidy().await;
    let shown = site.described(&kept.id).await;
    assert!(shown.attachment().is_some(), "it is attached as before");
    assert_eq!(site.interfaces().await.len(), 2);
}

#[tokio::test]
async fn a_leftover_of_this_node_that_was_tagged_meanwhile_is_kept() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let operations = ["AttachNetworkInterface", "DeleteNetworkInterface"];
    let fault = site
        .fault(json!({"operations": operations, "deny": true}))
        .await;
    for token in ["kept", "deleted"] {
        let answer = provider.attach_interface(&request(token)).await;
        answer.expect_err("cannot be undone");
    }
    let left = site.unattached().await;
    assert_eq!(left.len(), 2);
    leave_alone(&InterfaceId::new(&left[0])).await;
    mend(fault).await;
    settled().await;
    provider.tidy().await;
    assert_eq!(site.unattached().await, left[..1]);
}

#[tokio::test]
async fn what_a_dead_node_left_behind_and_is_tagged_is_neither_deleted_nor_marked() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let old = Some("2020-01-02T03:04:05Z");
    let dead = leaked(&site, "aws-K8S-i-gone", old).await;
    let kept = leaked(&site, "aws-K8S-i-gone", old).await;
    let of_unknown_age = leaked(&site, "aws-K8S-i-gone", None).await;
    leave_alone(&kept).await;
    leave_alone(&of_unknown_age).await;
    provider.clean_leaks().await.expect("must look");
    let mut left = site.unattached().await;
    left.sort_unstable();
    let mut expected = [&kept, &of_unknown_age].map(ToString::to_string);
    expected.sort_unstable();
    assert_eq!(left, expected, "{dead} was to be deleted");
    let found = admin().describe_network_interfaces();
    let found = found.network_interface_ids(of_unknown_age.as_str()).send();
    let found = found.await.expect("it is there");
    let mut tags = found.network_interfaces()[0].tag_set().iter();
    assert!(tags.all(|tag| tag.key() != Some("node.k8s.amazonaws.com/createdAt")));
}
