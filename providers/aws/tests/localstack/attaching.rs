//! What EC2 makes of attaching and detaching: device indexes, states, tags,
//! subnets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use veni_cloudlab::Fill;
use veni_provider::{AttachRequest, ErrorClass, InterfaceState, Limit, Provider, SubnetId};
use veni_provider_aws::CustomNetwork;

use super::cloud::{fill, make_subnet, mend, request, site, tag};
use super::groups::{groups_of, make_group};
use super::server::{calm, knobs, server};

#[tokio::test]
async fn a_new_interface_carries_what_eks_looks_for_and_ends_with_the_instance() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let mut settings = site.settings();
    settings.cluster_name = Some("blue".to_owned());
    settings.additional_tags = [("team".to_owned(), "a".to_owned())].into();
    let provider = site.provider_with(settings).await;
    let made = provider.attach_interface(&request("tags")).await;
    let shown = site.described(&made.expect("must attach").id).await;
    let description = format!("aws-K8S-{}", site.instance);
    assert_eq!(shown.description(), Some(description.as_str()));
    let tag = |key: &str| {
        let found = shown.tag_set().iter().find(|tag| tag.key() == Some(key));
        found.and_then(|tag| tag.value()).map(str::to_owned)
    };
    assert_eq!(
        tag("node.k8s.amazonaws.com/instance_id"),
        Some(site.instance.clone())
    );
    assert_eq!(
        tag("cluster.k8s.amazonaws.com/name").as_deref(),
        Some("blue")
    );
    assert_eq!(tag("eks:eni:owner").as_deref(), Some("amazon-vpc-cni"));
    assert_eq!(tag("team").as_deref(), Some("a"));
    let created = tag("node.k8s.amazonaws.com/createdAt").expect("is noted");
    assert!(
        created.ends_with('Z') && created.len() == 20,
        "RFC 3339: {created}"
    );
    let attachment = shown.attachment().expect("is attached");
    assert_eq!(attachment.delete_on_termination(), Some(true));
    let primary = site.interfaces().await;
    let primary = primary
        .iter()
        .find(|one| one.attachment().and_then(|a| a.device_index()) == Some(0));
    let groups = |one: &aws_sdk_ec2::types::NetworkInterface| {
        let ids = one.groups().iter().filter_map(|group| group.group_id());
        ids.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(groups(&shown), groups(primary.expect("there is one")));
}

#[tokio::test]
async fn a_device_index_that_somebody_takes_meanwhile_is_passed_over() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    provider.inventory().await.expect("an inventory");
    site.foreign(Some(1)).await;
    let made = provider.attach_interface(&request("second")).await;
    assert_eq!(made.expect("must attach").device_index, 2);
    assert!(site.unattached().await.is_empty());
}

#[tokio::test]
async fn two_interfaces_attached_at_once_get_different_device_indexes() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let (first, second) = (request("first"), request("second"));
    let (first, second) = tokio::join!(
        provider.attach_interface(&first),
        provider.attach_interface(&second),
    );
    let mut indexes = [first, second].map(|made| made.expect("must attach").device_index);
    indexes.sort_unstable();
    assert_eq!(indexes, [1, 2]);
    let calls = site.calls().await;
    assert_eq!(calls["AttachNetworkInterface"], 2, "without a conflict");
}

#[tokio::test]
async fn an_interface_that_is_not_seen_yet_is_attached_when_it_is() {
    let turned = knobs(json!({"create_visibility_seconds": 1})).await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let made = provider.attach_interface(&request("unseen")).await;
    drop(turned);
    made.expect("must attach");
    let calls = site.calls().await;
    assert!(calls["AttachNetworkInterface"] > 1, "{calls:?}");
    assert_eq!(site.interfaces().await.len(), 2);
}

#[tokio::test]
async fn states_that_take_time_are_waited_for() {
    let turned = knobs(json!({"attach_seconds": 1, "detach_seconds": 2})).await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let made = provider.attach_interface(&request("slow")).await;
    let made = made.expect("must attach");
    let inventory = provider.inventory().await.expect("an inventory");
    let shown = &inventory.interfaces[1];
    assert!(
        [InterfaceState::Attaching, InterfaceState::Attached].contains(&shown.state),
        "{shown:?}"
    );
    let detached = provider.detach_interface(&made.id).await;
    drop(turned);
    detached.expect("must be detached");
    assert_eq!(site.interfaces().await.len(), 1);
    let calls = site.calls().await;
    assert_eq!(calls["DeleteNetworkInterface"], 1, "{calls:?}");
}

#[tokio::test]
async fn a_full_subnet_is_followed_by_the_next_one_that_is_tagged() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let role = ("kubernetes.io/role/cni", "1");
    make_subnet(&site.vpc, "10.0.2.0/24", None, &[]).await;
    let second = make_subnet(&site.vpc, "10.0.1.0/24", None, &[role]).await;
    let full = make_subnet(&site.vpc, "10.0.3.0/24", None, &[role]).await;
    let provider = site.provider().await;
    fill(&site.subnet, Fill::Leave(0)).await;
    let inventory = provider.inventory().await.expect("an inventory");
    let shown: Vec<&SubnetId> = inventory.subnets.iter().map(|s| &s.id).collect();
    assert_eq!(shown.len(), 3, "the untagged one does not show: {shown:?}");
    // Full only after the last look.
    fill(shown[0], Fill::Leave(0)).await;
    let made = provider.attach_interface(&request("next")).await;
    let made = made.expect("must attach");
    let expected = if *shown[0] == full { &second } else { &full };
    assert_eq!(made.subnet, *expected);
    assert_eq!(made.gateways.len(), 1);
}

#[tokio::test]
async fn pods_with_a_network_of_their_own_take_nothing_of_the_primary_interface() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let pods = make_subnet(&site.vpc, "10.0.1.0/24", None, &[]).await;
    let mut settings = site.settings();
    settings.custom_network = CustomNetwork {
        subnet: pods.clone(),
        security_groups: Vec::new(),
    }
    .always();
    let provider = site.provider_with(settings).await;
    let made = provider.attach_interface(&request("custom")).await;
    assert_eq!(made.expect("must attach").subnet, pods);
    let inventory = provider.inventory().await.expect("an inventory");
    let interfaces = inventory.interfaces.iter();
    let for_pods: Vec<bool> = interfaces.map(|one| one.for_pods).collect();
    assert_eq!(for_pods, [false, true]);
}

#[tokio::test]
async fn an_interface_follows_the_network_that_pods_have_when_it_is_made_and_keeps_it() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let first = make_subnet(&site.vpc, "10.0.1.0/24", None, &[]).await;
    let now = Arc::new(Mutex::new(CustomNetwork {
        subnet: first.clone(),
        security_groups: Vec::new(),
    }));
    let answer = Arc::clone(&now);
    let mut settings = site.settings();
    settings.custom_network = Arc::new(move || answer.lock().ok().map(|now| now.clone()));
    let provider = site.provider_with(settings).await;
    let made = provider.attach_interface(&request("before")).await;
    let before = made.expect("must attach");
    // Made after the provider has looked.
    let second = make_subnet(&site.vpc, "10.0.2.0/24", None, &[]).await;
    let group = make_group(&site.vpc).await;
    *now.lock().expect("nobody has died") = CustomNetwork {
        subnet: second.clone(),
        security_groups: vec![group.clone()],
    };
    let late = AttachRequest {
        subnet: Some(first.clone()),
        ..request("late")
    };
    let refused = provider.attach_interface(&late).await;
    let refused = refused.expect_err("it was chosen before");
    assert_eq!(refused.class, ErrorClass::Transient, "{refused}");
    let made = provider.attach_interface(&request("after")).await;
    let after = made.expect("must attach");
    assert_eq!(after.subnet, second);
    assert_eq!(groups_of(&site, &after.id).await, [group]);
    let inventory = provider.inventory().await.expect("an inventory");
    let shown: Vec<_> = inventory.interfaces[1..]
        .iter()
        .map(|one| (&one.id, &one.subnet, one.for_pods))
        .collect();
    assert_eq!(
        shown,
        [(&before.id, &first, false), (&after.id, &second, true)]
    );
    let usable = inventory.subnets.iter().filter(|subnet| subnet.usable);
    assert_eq!(
        usable.map(|subnet| &subnet.id).collect::<Vec<_>>(),
        [&second]
    );
}

#[tokio::test]
async fn a_subnet_that_is_tagged_out_gives_pods_nothing_and_others_go_on() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    tag(site.subnet.as_str(), "kubernetes.io/role/cni", "0").await;
    let role = ("kubernetes.io/role/cni", "1");
    let other = make_subnet(&site.vpc, "10.0.1.0/24", None, &[role]).await;
    let provider = site.provider().await;
    let made = provider.attach_interface(&request("elsewhere")).await;
    assert_eq!(made.expect("must attach").subnet, other);
    let inventory = provider.inventory().await.expect("an inventory");
    let interfaces = inventory.interfaces.iter();
    let shown: Vec<_> = interfaces.map(|one| (one.managed, one.for_pods)).collect();
    assert_eq!(shown, [(true, false), (true, true)]);
    let usable = inventory.subnets.iter().filter(|subnet| subnet.usable);
    assert_eq!(
        usable.map(|subnet| &subnet.id).collect::<Vec<_>>(),
        [&other]
    );
}

#[tokio::test]
async fn an_interface_that_is_not_to_be_managed_is_shown_as_such() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let foreign = site.foreign(Some(1)).await;
    let provider = site.provider().await;
    let inventory = provider.inventory().await.expect("an inventory");
    assert!(inventory.interfaces[1].managed, "nobody claims it");
    tag(foreign.as_str(), "node.k8s.amazonaws.com/no_manage", "true").await;
    let inventory = provider.inventory().await.expect("an inventory");
    assert!(!inventory.interfaces[1].managed);
}

#[tokio::test]
async fn an_attach_that_is_refused_leaves_nothing_behind() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let fault = site
        .fault(json!({"operations": ["AttachNetworkInterface"], "deny": true}))
        .await;
    let answer = provider.attach_interface(&request("denied")).await;
    assert_eq!(answer.expect_err("is denied").class, ErrorClass::Denied);
    assert_eq!(site.interfaces().await.len(), 1);
    mend(fault).await;
    let made = provider.attach_interface(&request("granted")).await;
    made.expect("must attach");
    assert_eq!(site.interfaces().await.len(), 2);
}

#[tokio::test]
async fn the_limit_is_told_before_an_interface_is_made() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    for token in ["one", "two"] {
        let made = provider.attach_interface(&request(token)).await;
        made.expect("must attach");
    }
    let before = site.calls().await["CreateNetworkInterface"];
    let answer = provider.attach_interface(&request("three")).await;
    assert_eq!(
        answer.expect_err("is one too many").class,
        ErrorClass::LimitReached {
            limit: Limit::Interfaces,
        }
    );
    assert_eq!(site.calls().await["CreateNetworkInterface"], before);
}

#[tokio::test]
async fn a_table_that_promises_too_much_is_corrected_by_ec2() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let mut settings = site.settings();
    settings.instance_types = Some(std::sync::Arc::new(|_: &str| {
        Some(veni_provider_aws::TypeFacts {
            limits: veni_provider::Limits {
                interfaces: 9,
                ipv4_per_interface: 10,
                ipv6_per_interface: 10,
                vcpus: 2,
            },
            prefixes: true,
        })
    }));
    let provider = site.provider_with(settings).await;
    for token in ["one", "two"] {
        let made = provider.attach_interface(&request(token)).await;
        made.expect("must attach");
    }
    let answer = provider.attach_interface(&request("three")).await;
    assert_eq!(
        answer.expect_err("is one too many").class,
        ErrorClass::LimitReached {
            limit: Limit::Interfaces,
        }
    );
    assert_eq!(site.interfaces().await.len(), 3);
}

#[tokio::test]
async fn a_describe_that_lags_misleads_nobody_about_device_indexes() {
    let turned = knobs(json!({"describe_lag_seconds": 30})).await;
    let site = site("m5.large").await;
    let mut settings = site.settings();
    settings.settle_time = Duration::from_secs(60);
    settings.network_cidrs = vec!["10.0.0.0/16".parse().expect("a range")];
    let advanced = server().control.advance_clock(Duration::from_secs(31));
    advanced.await.expect("the clock");
    let provider = site.provider_with(settings).await;
    let mut indexes = Vec::new();
    for token in ["one", "two"] {
        let made = provider.attach_interface(&request(token)).await;
        indexes.push(made.expect("must attach").device_index);
        let inventory = provider.inventory().await.expect("an inventory");
        assert_eq!(inventory.interfaces.len(), 1, "Describe lags");
    }
    drop(turned);
    assert_eq!(indexes, [1, 2]);
    assert_eq!(site.calls().await["AttachNetworkInterface"], 2);
}

#[tokio::test]
async fn only_the_default_network_card_counts() {
    let _calm = calm().await;
    let site = site("p5.48xlarge").await;
    let provider = site.provider().await;
    for card in 1..4 {
        site.foreign_at(Some((card, 1))).await;
    }
    let inventory = provider.inventory().await.expect("an inventory");
    let elsewhere = inventory.interfaces.iter().filter(|one| !one.primary);
    let elsewhere: Vec<_> = elsewhere
        .map(|one| (one.network_card, one.device_index, one.managed))
        .collect();
    assert_eq!(elsewhere, [(1, 1, false), (2, 1, false), (3, 1, false)]);
    let made = provider.attach_interface(&request("second")).await;
    let made = made.expect("2 fit on the default card");
    assert_eq!((made.network_card, made.device_index), (0, 1));
    assert!(made.managed && made.on_default_card());
    let refused = provider.attach_interface(&request("third")).await;
    let limit = Limit::Interfaces;
    let class = refused.expect_err("2 are all").class;
    assert_eq!(class, ErrorClass::LimitReached { limit });
}
