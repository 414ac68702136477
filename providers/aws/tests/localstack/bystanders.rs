//! What others own is refused or left alone.

use veni_provider::{AddressSlots, ErrorClass, Family, Grant, Provider};

use super::cloud::site;
use super::server::calm;

#[tokio::test]
async fn another_nodes_interface_is_not_detached() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let other = site.neighbour("m5.large").await;
    let others = other.provider().await;
    let request = veni_provider::AttachRequest {
        subnet: None,
        slots: None,
        token: "theirs".to_owned(),
    };
    let theirs = others.attach_interface(&request).await;
    let theirs = theirs.expect("must attach");
    let answer = provider.detach_interface(&theirs.id).await;
    assert_eq!(answer.expect_err("is not ours").class, ErrorClass::Invalid);
    let inventory = others.inventory().await.expect("an inventory");
    assert_eq!(inventory.interfaces.len(), 2);
}

#[tokio::test]
async fn what_is_gone_already_does_not_keep_the_rest_from_going() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let inventory = provider.inventory().await.expect("an inventory");
    let primary = inventory.interfaces[0].id.clone();
    let slots = AddressSlots::Addresses {
        family: Family::V4,
        count: 3,
    };
    let grant = provider.assign(&primary, slots).await.expect("addresses");
    let first = Grant {
        addresses: grant.addresses[..1].to_vec(),
        prefixes: Vec::new(),
    };
    provider.release(&primary, &first).await.expect("one goes");
    provider.release(&primary, &grant).await.expect("all go");
    let shown = site.described(&primary).await;
    assert_eq!(shown.private_ip_addresses().len(), 1, "the own one is left");
}

#[tokio::test]
async fn both_families_are_released_in_one_call_of_the_trait() {
    let _calm = calm().await;
    let site = site("m5.large").await;
    let provider = site.provider().await;
    let inventory = provider.inventory().await.expect("an inventory");
    let primary = inventory.interfaces[0].id.clone();
    let mut all = Grant::default();
    for family in [Family::V4, Family::V6] {
        for slots in [
            AddressSlots::Addresses { family, count: 2 },
            AddressSlots::Prefixes { family, count: 1 },
        ] {
            let grant = provider.assign(&primary, slots).await.expect("a grant");
            all.addresses.extend(grant.addresses);
            all.prefixes.extend(grant.prefixes);
        }
    }
    assert_eq!((all.addresses.len(), all.prefixes.len()), (4, 2));
    provider.release(&primary, &all).await.expect("all go");
    let shown = site.described(&primary).await;
    assert_eq!(shown.private_ip_addresses().len(), 1);
    assert!(shown.ipv6_addresses().is_empty());
    assert!(shown.ipv4_prefixes().is_empty() && shown.ipv6_prefixes().is_empty());
}
