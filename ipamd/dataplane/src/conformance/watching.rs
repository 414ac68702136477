//! What is told of changes by others.

use super::{Fixture, SECOND_MAC, add, interface, plan, remove};
use crate::{Changes, DataPlane, Watch};

/// Waits until a kind of change is told.
async fn told(watch: &mut Watch, kind: fn(&Changes) -> bool) {
    told_until(watch, kind).await;
}

/// Each kind of thing that others can change.
pub async fn what_others_change_is_told<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let mut watch = fixture.plane().watch();
    fixture.plug("eth1", SECOND_MAC);
    told(&mut watch, |changes| changes.links).await;
    add(fixture, &plan, &namespace).await.expect("added");
    for pod in &plan.addresses {
        fixture.delete_route(pod.address);
        told(&mut watch, |changes| changes.pods).await;
    }
    let wired = fixture.plane().ensure_interface(&interface()).await;
    wired.expect("in service");
    fixture.flush_table(interface().table);
    told(&mut watch, |changes| changes.rules_and_routes).await;
}

/// Everything that is told until a kind of change is.
async fn told_until(watch: &mut Watch, kind: fn(&Changes) -> bool) -> Changes {
    let mut all = Changes::NONE;
    while !kind(&all) {
        all |= watch.changed().await;
    }
    all
}

/// Pods come and go all the time, and so do interfaces. A change of another kind by
/// others shows that all of ours has been heard.
pub async fn our_own_changes_are_not_told<F: Fixture>(fixture: &F) {
    let (plan, other, namespace) = (plan(1), plan(2), fixture.namespace());
    let second = fixture.namespace();
    add(fixture, &other, &second).await.expect("added");
    fixture.plug("eth1", SECOND_MAC);
    let plane = fixture.plane();
    let wired = plane.ensure_interface(&interface()).await;
    wired.expect("in service");
    let mut watch = plane.watch();
    let table = interface().table;
    for _ in 0..3 {
        plane.remove_interface(table).await.expect("out of service");
        let wired = plane.ensure_interface(&interface()).await;
        wired.expect("in service");
    }
    // One change, so one notification: nothing of it comes later.
    fixture.delete_route(other.addresses[0].address);
    let heard = told_until(&mut watch, |changes| changes.pods).await;
    assert!(!heard.rules_and_routes && !heard.settings, "{heard:?}");
    for _ in 0..3 {
        let links = add(fixture, &plan, &namespace).await.expect("added");
        remove(fixture, &plan, links).await;
        plane.reap(&[links.host_index]).await.expect("reaped");
    }
    fixture.flush_table(table);
    let heard = told_until(&mut watch, |changes| changes.rules_and_routes).await;
    assert!(
        !heard.pods && !heard.settings && !heard.overrun,
        "{heard:?}"
    );
}

/// Pods' namespaces are their own.
pub async fn changes_in_pods_namespaces_are_not_told<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    add(fixture, &plan, &namespace).await.expect("added");
    let mut watch = fixture.plane().watch();
    fixture.add_foreign_link(Some(&namespace), "foreign0");
    fixture.delete_route(plan.addresses[0].address);
    assert!(!watch.changed().await.links);
}

/// Both are told as changes of addresses.
pub async fn what_comes_to_and_goes_from_the_nodes_links_is_told<F: Fixture>(fixture: &F) {
    fixture.plug("eth1", SECOND_MAC);
    let mut watch = fixture.plane().watch();
    fixture.add_address("eth1", "10.0.0.9/20");
    told(&mut watch, |changes| changes.addresses).await;
    fixture.remove_address("eth1", "10.0.0.9/20");
    told(&mut watch, |changes| changes.addresses).await;
}
