//! DEL and the reaper: what is taken away, and what never is.

use super::{Fixture, add, differences, is_empty, plan, remove};
use crate::DataPlane;
use crate::plan::KernelError;

/// DEL does not wait for the link to go.
pub async fn a_removed_endpoint_is_dying_until_it_is_reaped<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    remove(fixture, &plan, links).await;
    let observed = fixture.plane().observe(&[]).await.expect("observed");
    assert!(observed.endpoints.is_empty(), "{observed:?}");
    assert!(observed.links[0].dying, "{observed:?}");
    let left = fixture.plane().reap(&[links.host_index]).await;
    assert_eq!(left.expect("reaped"), Vec::<u32>::new());
    assert!(is_empty(fixture).await);
}

/// DEL is repeated, and comes for what never was.
pub async fn removing_what_is_gone_succeeds<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    remove(fixture, &plan, links).await;
    remove(fixture, &plan, links).await;
    let reaped = fixture.plane().reap(&[links.host_index]).await;
    reaped.expect("reaped");
    remove(fixture, &plan, links).await;
    let without_link = fixture
        .plane()
        .remove_endpoint(&plan.addresses, &[], None)
        .await;
    without_link.expect("nothing to do");
    let again = fixture.plane().reap(&[links.host_index, 123_456]).await;
    assert_eq!(again.expect("nothing to do"), Vec::<u32>::new());
}

/// A pod can vanish without a DEL.
pub async fn an_ended_namespace_takes_link_and_routes_along<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    assert!(!is_empty(fixture).await);
    fixture.end(namespace, links.host_index).await;
    assert!(is_empty(fixture).await);
    let found = differences(fixture, &plan, links, None).await;
    assert!(found.iter().any(|text| text.contains("eni1")), "{found:?}");
    remove(fixture, &plan, links).await;
}

/// An index that is somebody else's by now.
pub async fn a_link_of_others_is_never_deleted<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    remove(fixture, &plan, links).await;
    fixture.add_foreign_link(None, "theirs");
    for index in 1..links.host_index {
        let removed = fixture
            .plane()
            .remove_endpoint(&plan.addresses, &[], Some(index));
        removed.await.expect("nothing to do");
    }
    fixture.plane().reap(&[]).await.expect("reaped");
    // Its name is still taken.
    let mut theirs = plan.clone();
    theirs.host_link = "theirs".into();
    let error = add(fixture, &theirs, &namespace)
        .await
        .expect_err("refused");
    assert!(matches!(error, KernelError::LinkTaken(_)), "{error}");
}

/// An index identifies a link for as long as the machine runs.
pub async fn indexes_of_links_are_not_used_again<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let mut seen = Vec::new();
    for _ in 0..5 {
        let links = add(fixture, &plan, &namespace).await.expect("added");
        assert!(!seen.contains(&links.host_index), "{seen:?}");
        seen.push(links.host_index);
        remove(fixture, &plan, links).await;
        fixture.plane().reap(&seen).await.expect("reaped");
    }
}
