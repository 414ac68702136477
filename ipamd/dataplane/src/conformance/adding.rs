//! ADD: a pod gets its network, or nothing is left.

use std::net::IpAddr;

use super::{Fixture, add, differences, is_empty, plan, remove};
use crate::DataPlane;
use crate::plan::KernelError;

/// What was made is all that is observed, and equals its plan.
pub async fn a_new_endpoint_is_observed_and_checks_out<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    assert!(is_empty(fixture).await);
    let links = add(fixture, &plan, &namespace).await.expect("added");
    assert_ne!(links.namespace_cookie, 0);
    let observed = fixture.plane().observe(&[]).await.expect("observed");
    let mut routed: Vec<_> = observed
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.address, endpoint.link_index))
        .collect();
    routed.sort_unstable();
    let wanted: Vec<_> = plan
        .addresses
        .iter()
        .map(|pod| (pod.address, links.host_index))
        .collect();
    assert_eq!(routed, wanted);
    assert_eq!(observed.links.len(), 1);
    let link = &observed.links[0];
    assert_eq!(
        (link.index, link.mac, link.dying),
        (links.host_index, plan.host_mac, false)
    );
    assert_eq!(link.name, plan.host_link);
    let found = differences(fixture, &plan, links, Some(&namespace)).await;
    assert_eq!(found, Vec::<String>::new());
}

/// A repeated ADD finds its own endpoint.
pub async fn a_repeated_add_answers_the_same_and_changes_nothing<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    let before = fixture.plane().observe(&[]).await.expect("observed");
    let again = add(fixture, &plan, &namespace).await.expect("added");
    assert_eq!(again, links);
    assert_eq!(
        fixture.plane().observe(&[]).await.expect("observed"),
        before
    );
}

/// The dying link gives up both names.
pub async fn an_endpoint_can_be_added_again_before_it_is_reaped<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    remove(fixture, &plan, links).await;
    let again = add(fixture, &plan, &namespace).await.expect("added");
    assert_ne!(again.host_index, links.host_index);
    let found = differences(fixture, &plan, again, Some(&namespace)).await;
    assert_eq!(found, Vec::<String>::new());
    let mut other = plan.clone();
    other.host_link = "eni99".into();
    remove(fixture, &plan, again).await;
    let third = add(fixture, &other, &namespace).await.expect("added");
    let found = differences(fixture, &other, third, Some(&namespace)).await;
    assert_eq!(found, Vec::<String>::new());
}

/// A pod that was made again has a new namespace and may have the old host link.
pub async fn the_same_host_link_can_serve_a_new_namespace_before_it_is_reaped<F: Fixture>(
    fixture: &F,
) {
    let (plan, one, other) = (plan(1), fixture.namespace(), fixture.namespace());
    let links = add(fixture, &plan, &one).await.expect("added");
    remove(fixture, &plan, links).await;
    let again = add(fixture, &plan, &other).await.expect("added");
    assert_ne!(again.namespace_cookie, links.namespace_cookie);
    let found = differences(fixture, &plan, again, Some(&other)).await;
    assert_eq!(found, Vec::<String>::new());
}

/// The pod has a link of that name from elsewhere.
pub async fn another_links_name_in_the_pod_is_refused_and_nothing_is_left<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    fixture.add_foreign_link(Some(&namespace), "eth0");
    let error = add(fixture, &plan, &namespace).await.expect_err("refused");
    assert!(
        matches!(&error, KernelError::LinkTaken(name) if name == "eth0"),
        "{error}"
    );
    assert!(is_empty(fixture).await);
}

/// The node has a link of that name from elsewhere.
pub async fn another_links_name_on_the_node_is_refused_and_nothing_is_left<F: Fixture>(
    fixture: &F,
) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    fixture.add_foreign_link(None, "eni1");
    let error = add(fixture, &plan, &namespace).await.expect_err("refused");
    assert!(
        matches!(&error, KernelError::LinkTaken(name) if name == "eni1"),
        "{error}"
    );
    assert!(is_empty(fixture).await);
}

/// A link whose namespace lives is never evicted.
pub async fn an_endpoints_host_link_is_never_taken_for_another_namespace<F: Fixture>(fixture: &F) {
    let (plan, one, other) = (plan(1), fixture.namespace(), fixture.namespace());
    let links = add(fixture, &plan, &one).await.expect("added");
    let error = add(fixture, &plan, &other).await.expect_err("refused");
    assert!(
        matches!(&error, KernelError::LinkTaken(name) if name == "eni1"),
        "{error}"
    );
    let found = differences(fixture, &plan, links, Some(&one)).await;
    assert_eq!(found, Vec::<String>::new());
}

/// The kernel refuses the first step.
pub async fn an_invalid_name_is_refused_and_nothing_is_left<F: Fixture>(fixture: &F) {
    let namespace = fixture.namespace();
    let mut plan = plan(1);
    plan.host_link = "beyond-15-bytes-".into();
    let error = add(fixture, &plan, &namespace).await.expect_err("refused");
    assert!(matches!(error, KernelError::Refused { .. }), "{error}");
    assert!(is_empty(fixture).await);
}

/// Pods of one family open flows of the other by it.
pub async fn a_node_local_address_is_routed_compared_and_removed_as_the_others<F: Fixture>(
    fixture: &F,
) {
    for (number, family, egress) in [(1, 4, "fd00::ac:5"), (2, 6, "169.254.172.5")] {
        let egress: IpAddr = egress.parse().expect("an address");
        let (mut plan, namespace) = (plan(number), fixture.namespace());
        plan.addresses
            .retain(|pod| pod.address.is_ipv4() == (family == 4));
        plan.egress = Some(egress);
        let links = add(fixture, &plan, &namespace).await.expect("added");
        let observed = fixture.plane().observe(&[]).await.expect("observed");
        let routed = |address| {
            let mut all = observed.endpoints.iter();
            all.any(|one| one.address == address && one.link_index == links.host_index)
        };
        assert!(routed(egress) && routed(plan.addresses[0].address));
        let found = differences(fixture, &plan, links, Some(&namespace)).await;
        assert_eq!(found, Vec::<String>::new());
        fixture.delete_route(egress);
        let found = differences(fixture, &plan, links, Some(&namespace)).await;
        let named = |text: &String| text.contains(&egress.to_string());
        assert!(found.iter().any(named), "{found:?}");
        let repaired = fixture.plane().add_endpoint(&plan, None).await;
        repaired.expect("repaired");
        let found = differences(fixture, &plan, links, Some(&namespace)).await;
        assert_eq!(found, Vec::<String>::new());
        remove(fixture, &plan, links).await;
        let observed = fixture.plane().observe(&[]).await.expect("observed");
        assert!(observed.endpoints.is_empty(), "{observed:?}");
    }
}

/// IPv6 is off for all of the pod, and that is part of what is compared.
pub async fn a_pod_without_ipv6_is_compared_and_may_have_it_off_already<F: Fixture>(fixture: &F) {
    let (mut plan, namespace) = (plan(1), fixture.namespace());
    plan.addresses.retain(|pod| pod.address.is_ipv4());
    plan.no_ipv6 = true;
    for _ in 0..2 {
        let links = add(fixture, &plan, &namespace).await.expect("added");
        let found = differences(fixture, &plan, links, Some(&namespace)).await;
        assert_eq!(found, Vec::<String>::new());
        fixture.switch_ipv6_on(&namespace);
        let found = differences(fixture, &plan, links, Some(&namespace)).await;
        assert!(!found.is_empty());
        assert!(found.iter().all(|text| text.contains("IPv6")), "{found:?}");
        let repaired = add(fixture, &plan, &namespace).await.expect("added");
        let found = differences(fixture, &plan, repaired, Some(&namespace)).await;
        assert_eq!(found, Vec::<String>::new());
        remove(fixture, &plan, links).await;
    }
}
