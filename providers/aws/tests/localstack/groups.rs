//! Security groups: secondary interfaces have those of the primary one.

use std::sync::atomic::{AtomicU32, Ordering};
use veni_provider::{ErrorClass, InterfaceId, Provider};
use veni_provider_aws::CustomNetwork;

use super::cloud::{Site, admin, request, settled, site};
use super::server::calm;

static GROUPS: AtomicU32 = AtomicU32::new(0);

#[tokio::test]
async fn secondary_interfaces_follow_the_primary_ones_security_groups() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let made = provider.attach_interface(&request("groups")).await;
    let made = made.expect("must attach");
    let inventory = provider.inventory().await.expect("an inventory");
    let primary = inventory.interfaces[0].id.clone();
    let group = set_new_group(&site, &primary).await;
    settled().await;
    provider.inventory().await.expect("an inventory");
    provider.tidy().await;
    assert_eq!(groups_of(&site, &made.id).await, [group]);
}

#[tokio::test]
async fn security_groups_are_changed_only_where_they_differ_and_are_not_pods_own() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let modify = "ModifyNetworkInterfaceAttribute";
    let provider = site.provider().await;
    let made = provider.attach_interface(&request("groups")).await;
    made.expect("must attach");
    drop(provider);
    // A provider that starts finds nothing to change.
    let before = site.calls().await.get(modify).copied();
    let provider = site.provider().await;
    provider.inventory().await.expect("an inventory");
    provider.tidy().await;
    assert_eq!(site.calls().await.get(modify).copied(), before);
    drop(provider);
    // Pods with a network of their own have groups of their own.
    let primary = site.interfaces().await.into_iter().find(|one| {
        let attachment = one.attachment();
        attachment.is_some_and(|a| a.device_index() == Some(0))
    });
    let primary = primary.and_then(|one| one.network_interface_id);
    set_new_group(&site, &InterfaceId::new(primary.expect("there is one"))).await;
    let mut settings = site.settings();
    settings.custom_network = CustomNetwork {
        subnet: site.subnet.clone(),
        security_groups: Vec::new(),
    }
    .always();
    let provider = site.provider_with(settings).await;
    provider.inventory().await.expect("an inventory");
    provider.tidy().await;
    assert_eq!(site.calls().await.get(modify).copied(), before);
}

/// A new security group of a VPC.
pub(crate) async fn make_group(vpc: &str) -> String {
    let call = admin()
        .create_security_group()
        .group_name(format!("pods-{}", GROUPS.fetch_add(1, Ordering::Relaxed)))
        .description("pods")
        .vpc_id(vpc);
    let group = call.send().await.expect("a group").group_id;
    group.expect("an id")
}

pub(crate) async fn set_new_group(site: &Site, interface: &InterfaceId) -> String {
    let group = make_group(&site.vpc).await;
    let call = admin()
        .modify_network_interface_attribute()
        .network_interface_id(interface.as_str())
        .groups(&group);
    call.send().await.expect("must be changed");
    group
}

#[tokio::test]
async fn a_security_group_that_is_gone_is_asked_for_once() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let inventory = provider.inventory().await.expect("an inventory");
    let primary = inventory.interfaces[0].id.clone();
    let old = set_new_group(&site, &primary).await;
    provider.inventory().await.expect("an inventory");
    let new = set_new_group(&site, &primary).await;
    delete_group(&old).await;
    let refused = provider.attach_interface(&request("gone")).await;
    let refused = refused.expect_err("the group is gone");
    assert_eq!(refused.class, ErrorClass::Transient, "{refused}");
    assert!(refused.reason.contains(&old), "{refused}");
    let made = provider.attach_interface(&request("gone")).await;
    let made = made.expect("must attach");
    assert_eq!(groups_of(&site, &made.id).await, [new]);
}

#[tokio::test]
async fn an_interface_does_not_follow_to_a_security_group_that_is_gone() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let made = provider.attach_interface(&request("gone")).await;
    let made = made.expect("must attach");
    let inventory = provider.inventory().await.expect("an inventory");
    let primary = inventory.interfaces[0].id.clone();
    let old = set_new_group(&site, &primary).await;
    settled().await;
    provider.inventory().await.expect("an inventory");
    let new = set_new_group(&site, &primary).await;
    delete_group(&old).await;
    // Once to be refused and to look, and once to follow.
    provider.tidy().await;
    provider.tidy().await;
    assert_eq!(groups_of(&site, &made.id).await, [new]);
}

#[tokio::test]
async fn a_security_group_of_the_settings_that_is_gone_has_to_be_repaired() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let mut settings = site.settings();
    settings.custom_network = CustomNetwork {
        subnet: site.subnet.clone(),
        security_groups: vec!["sg-0123456789abcdef0".to_owned()],
    }
    .always();
    let provider = site.provider_with(settings).await;
    let refused = provider.attach_interface(&request("wrong")).await;
    let refused = refused.expect_err("there is no such group");
    assert_eq!(refused.class, ErrorClass::Fatal, "{refused}");
}

pub(crate) async fn groups_of(site: &Site, interface: &InterfaceId) -> Vec<String> {
    let shown = site.described(interface).await;
    let groups = shown.groups().iter().filter_map(|group| group.group_id());
    groups.map(str::to_owned).collect()
}

async fn delete_group(group: &str) {
    let call = admin().delete_security_group().group_id(group);
    call.send().await.expect("must be deleted");
}
