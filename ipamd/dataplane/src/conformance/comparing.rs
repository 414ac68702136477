//! The comparison of what is there with its plan, and repairs.

use super::{Fixture, SECOND_MAC, add, differences, interface, is_empty, plan};
use crate::DataPlane;
use crate::plan::{Aspect, KernelError, LinkKey};

/// The audit has no descriptor of the pod's namespace.
pub async fn a_missing_route_is_told_and_repaired_without_a_namespace<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    fixture.delete_route(plan.addresses[0].address);
    let found = differences(fixture, &plan, links, Some(&namespace)).await;
    assert!(
        found.iter().any(|text| text.contains("10.0.1.1")),
        "{found:?}"
    );
    let repaired = fixture.plane().add_endpoint(&plan, None).await;
    assert_eq!(repaired.expect("repaired").host_index, links.host_index);
    let found = differences(fixture, &plan, links, Some(&namespace)).await;
    assert_eq!(found, Vec::<String>::new());
}

/// Without its namespace, a pod's network cannot be made.
pub async fn a_missing_endpoint_is_not_repaired_without_a_namespace<F: Fixture>(fixture: &F) {
    let error = fixture.plane().add_endpoint(&plan(1), None).await;
    let error = error.expect_err("refused");
    assert!(matches!(error, KernelError::NoSuchLink(_)), "{error}");
    assert!(is_empty(fixture).await);
}

/// Paths of namespaces are used again.
pub async fn the_check_tells_another_namespace_from_the_pods_own<F: Fixture>(fixture: &F) {
    let (plan, own, other) = (plan(1), fixture.namespace(), fixture.namespace());
    let links = add(fixture, &plan, &own).await.expect("added");
    let found = differences(fixture, &plan, links, Some(&other)).await;
    assert_eq!(found.len(), 1, "{found:?}");
}

/// A link that is asked for is found once, whatever the dump has.
pub async fn a_known_link_is_observed_by_its_index_and_by_its_name<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    let known = [
        LinkKey::Index(links.host_index),
        LinkKey::Name(plan.host_link.clone()),
        LinkKey::Index(links.host_index + 1000),
        LinkKey::Name("eni-none".into()),
    ];
    let observed = fixture.plane().observe(&known).await.expect("observed");
    let found: Vec<u32> = observed.links.iter().map(|link| link.index).collect();
    assert_eq!(found, [links.host_index]);
}

/// Index, group and name say whose a link is; its MAC may have been changed.
pub async fn a_changed_mac_is_told_and_set_again_without_a_namespace<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    fixture.set_mac(links.host_index, [0x02, 0, 0, 0, 9, 9]);
    let found = differences(fixture, &plan, links, Some(&namespace)).await;
    assert!(!found.is_empty());
    let repaired = fixture.plane().add_endpoint(&plan, None).await;
    assert_eq!(repaired.expect("repaired").host_index, links.host_index);
    let found = differences(fixture, &plan, links, Some(&namespace)).await;
    assert_eq!(found, Vec::<String>::new());
}

/// A comparison finds what the verb would mend, and leaves it to the verb.
pub async fn a_comparison_of_an_interface_tells_what_differs_and_changes_nothing<F: Fixture>(
    fixture: &F,
) {
    let (plane, plan) = (fixture.plane(), interface());
    let found = plane.compare_interface(&plan).await;
    assert!(
        matches!(found, Err(KernelError::NoSuchLink(_))),
        "{found:?}"
    );
    fixture.plug("eth1", SECOND_MAC);
    plane.ensure_interface(&plan).await.expect("in service");
    let found = plane.compare_interface(&plan).await.expect("compared");
    assert_eq!(found.repairs, []);
    fixture.flush_table(plan.table);
    for _ in 0..2 {
        let found = plane.compare_interface(&plan).await.expect("compared");
        assert_ne!(found.repairs, [], "it is still so");
    }
    let mended = plane.ensure_interface(&plan).await.expect("in service");
    assert_ne!(mended.repairs, []);
    let found = plane.compare_interface(&plan).await.expect("compared");
    assert_eq!(found.repairs, []);
}

/// As CHECK finds it, of all pods at once.
pub async fn pods_are_compared_at_once_as_each_by_itself<F: Fixture>(fixture: &F) {
    let (one, other) = (plan(1), plan(2));
    let (first, second) = (fixture.namespace(), fixture.namespace());
    let mut endpoints = Vec::new();
    for (plan, namespace) in [(&one, &first), (&other, &second)] {
        let links = add(fixture, plan, namespace).await.expect("added");
        endpoints.push((plan.clone(), links));
    }
    let plane = fixture.plane();
    let found = plane.compare_endpoints(&endpoints).await.expect("compared");
    assert_eq!(found, [Vec::new(), Vec::new()]);
    fixture.delete_route(other.addresses[0].address);
    let found = plane.compare_endpoints(&endpoints).await.expect("compared");
    assert_eq!(found[0], []);
    let aspects: Vec<Aspect> = found[1].iter().map(|one| one.aspect).collect();
    assert_eq!(aspects, [Aspect::Route], "{found:?}");
    let alone = plane.check_endpoint(&other, &endpoints[1].1, None).await;
    assert_eq!(found[1], alone.expect("checked"));
    fixture.delete_link()(endpoints[0].1.host_index);
    let found = plane.compare_endpoints(&endpoints).await.expect("compared");
    assert!(
        found[0].iter().any(|one| one.aspect == Aspect::Link),
        "{found:?}"
    );
}
