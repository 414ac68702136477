//! Limits of pods' bandwidth: made, compared, repaired and removed.

use super::{Fixture, add, differences, is_empty, plan, remove};
use crate::bandwidth::{Bandwidth, Limit, ifb_name};
use crate::plan::{EndpointLinks, EndpointPlan, KernelError, RepairKind};
use crate::{Changes, DataPlane};

const TO_POD: u64 = 10_000_000;
const FROM_POD: u64 = 2_000_000_000;

fn limited(number: u8, to_pod: Option<u64>, from_pod: Option<u64>) -> EndpointPlan {
    let limit = |rate| Limit { rate, burst: 0 };
    EndpointPlan {
        bandwidth: Bandwidth {
            to_pod: to_pod.map(limit),
            from_pod: from_pod.map(limit),
        },
        ..plan(number)
    }
}

fn both(number: u8) -> EndpointPlan {
    limited(number, Some(TO_POD), Some(FROM_POD))
}

async fn missing<F: Fixture>(fixture: &F, plan: &EndpointPlan, links: EndpointLinks) -> usize {
    let ensured = fixture.plane().ensure_limits(plan, links.host_index).await;
    let repairs = ensured.expect("ensured");
    let kinds = repairs.iter().map(|repair| repair.kind);
    assert!(kinds.into_iter().all(|kind| kind == RepairKind::Limit));
    repairs.len()
}

/// Each direction has its own limit or none.
pub async fn an_endpoint_has_the_limits_of_its_plan_and_no_others<F: Fixture>(fixture: &F) {
    let cases = [
        (None, None),
        (Some(TO_POD), None),
        (None, Some(FROM_POD)),
        (Some(TO_POD), Some(FROM_POD)),
        (Some(1_000), Some(40_000_000_000)),
    ];
    for (number, (to_pod, from_pod)) in (1..).zip(cases) {
        let (plan, namespace) = (limited(number, to_pod, from_pod), fixture.namespace());
        let links = add(fixture, &plan, &namespace).await.expect("added");
        assert_eq!(fixture.rates(links.host_index), (to_pod, from_pod));
        let ifb = fixture.index_of(&ifb_name(links.host_index));
        assert_eq!(ifb.is_some(), from_pod.is_some());
        let found = differences(fixture, &plan, links, Some(&namespace)).await;
        assert_eq!(found, Vec::<String>::new());
        assert_eq!(missing(fixture, &plan, links).await, 0);
        let again = add(fixture, &plan, &namespace).await.expect("added");
        assert_eq!(again, links);
        assert_eq!(fixture.rates(links.host_index), (to_pod, from_pod));
        assert_eq!(fixture.index_of(&ifb_name(links.host_index)), ifb);
    }
}

/// The pod's own link does not lead to them, so who takes them away is on the node.
pub async fn limits_that_others_took_away_are_told_and_made_again<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (both(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    let host = links.host_index;
    for round in 0..4 {
        let mut watch = fixture.plane().watch();
        let ifb = fixture.index_of(&ifb_name(host)).expect("it is there");
        match round {
            0 => fixture.delete_qdiscs(host),
            1 => fixture.delete_qdiscs(ifb),
            2 => fixture.delete_link()(ifb),
            _ => {
                fixture.delete_qdiscs(host);
                fixture.delete_link()(ifb);
            }
        }
        while !watch.changed().await.limits {}
        assert_ne!(fixture.rates(host), (Some(TO_POD), Some(FROM_POD)));
        let found = differences(fixture, &plan, links, None).await;
        assert!(!found.is_empty(), "round {round}");
        if round < 2 {
            assert!(missing(fixture, &plan, links).await > 0, "round {round}");
        } else {
            let completed = fixture.plane().add_endpoint(&plan, None).await;
            completed.expect("completed");
        }
        assert_eq!(fixture.rates(host), (Some(TO_POD), Some(FROM_POD)));
        assert_eq!(missing(fixture, &plan, links).await, 0);
        let found = differences(fixture, &plan, links, None).await;
        assert_eq!(found, Vec::<String>::new());
    }
}

/// Another rate than the plan's is as good as none.
pub async fn a_limit_of_another_rate_is_set_right<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (both(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    let other = limited(1, Some(5_000_000), Some(6_000_000));
    assert_eq!(missing(fixture, &other, links).await, 2);
    assert_eq!(
        fixture.rates(links.host_index),
        (Some(5_000_000), Some(6_000_000))
    );
    assert_eq!(missing(fixture, &plan, links).await, 2);
    assert_eq!(
        fixture.rates(links.host_index),
        (Some(TO_POD), Some(FROM_POD))
    );
}

/// The ifb device goes with one request for the whole dying group.
pub async fn limits_go_with_their_endpoint<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (both(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    let name = ifb_name(links.host_index);
    for _ in 0..2 {
        remove(fixture, &plan, links).await;
        let removed = fixture.plane().remove_limits(links.host_index).await;
        removed.expect("removed");
    }
    let observed = fixture.plane().observe(&[]).await.expect("observed");
    assert_eq!(observed.stray_ifbs, Vec::<u32>::new(), "it is dying");
    assert!(fixture.index_of(&name).is_some());
    let left = fixture.plane().reap(&[links.host_index]).await;
    assert_eq!(left.expect("reaped"), Vec::<u32>::new());
    assert_eq!(fixture.index_of(&name), None);
    let nothing = fixture.plane().remove_limits(links.host_index).await;
    nothing.expect("nothing to do");
    assert!(is_empty(fixture).await);
}

/// A pod that vanishes without a DEL leaves the ifb device.
pub async fn an_ifb_device_without_its_endpoint_is_found_and_removed<F: Fixture>(fixture: &F) {
    let (one, other) = (both(1), both(2));
    let (ends, lives) = (fixture.namespace(), fixture.namespace());
    let gone = add(fixture, &one, &ends).await.expect("added");
    let alive = add(fixture, &other, &lives).await.expect("added");
    let index = |links: EndpointLinks| fixture.index_of(&ifb_name(links.host_index));
    let (stray, used) = (index(gone).expect("made"), index(alive).expect("made"));
    let plane = fixture.plane();
    let strays = async || plane.observe(&[]).await.expect("observed").stray_ifbs;
    let removed = async |index| plane.remove_stray_ifb(index).await.expect("asked");
    assert_eq!(strays().await, Vec::<u32>::new());
    assert!(!removed(stray).await, "its endpoint lives");
    fixture.end(ends, gone.host_index).await;
    assert_eq!(strays().await, [stray]);
    assert!(removed(stray).await);
    assert!(!removed(stray).await, "it is gone");
    assert!(!removed(used).await);
    assert_eq!(strays().await, Vec::<u32>::new());
    assert_eq!((index(gone), index(alive)), (None, Some(used)));
}

/// No link of others is taken for an ifb device of ours.
pub async fn another_link_of_an_ifb_devices_name_is_refused_and_stays<F: Fixture>(fixture: &F) {
    let (unlimited, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &unlimited, &namespace).await.expect("added");
    let name = ifb_name(links.host_index);
    fixture.add_foreign_link(None, &name);
    let foreign = fixture.index_of(&name).expect("it is there");
    let plane = fixture.plane();
    let refused = plane.ensure_limits(&both(1), links.host_index).await;
    let error = refused.expect_err("refused");
    assert!(
        matches!(&error, KernelError::LinkTaken(taken) if *taken == name),
        "{error}"
    );
    plane
        .remove_limits(links.host_index)
        .await
        .expect("nothing to do");
    assert!(!plane.remove_stray_ifb(foreign).await.expect("asked"));
    plane.reap(&[]).await.expect("reaped");
    assert_eq!(fixture.index_of(&name), Some(foreign));
}

/// Neither direction's.
pub async fn an_add_that_fails_leaves_no_limits<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (both(1), fixture.namespace());
    fixture.enforcement().refuse(Some("the map is full"));
    let before = fixture.link_count();
    let error = add(fixture, &plan, &namespace).await.expect_err("refused");
    assert!(matches!(error, KernelError::NotEnforced { .. }), "{error}");
    assert_eq!(fixture.link_count(), before);
}

/// Limited pods come and go all the time, too.
pub async fn our_own_limits_are_not_told<F: Fixture>(fixture: &F) {
    let (other, second) = (plan(2), fixture.namespace());
    add(fixture, &other, &second).await.expect("added");
    let (plan, namespace, plane) = (both(1), fixture.namespace(), fixture.plane());
    let mut watch = plane.watch();
    for _ in 0..3 {
        let links = add(fixture, &plan, &namespace).await.expect("added");
        assert_eq!(missing(fixture, &plan, links).await, 0);
        remove(fixture, &plan, links).await;
        plane
            .remove_limits(links.host_index)
            .await
            .expect("removed");
        plane.reap(&[links.host_index]).await.expect("reaped");
    }
    fixture.delete_route(other.addresses[0].address);
    let mut heard = Changes::NONE;
    while !heard.pods {
        heard |= watch.changed().await;
    }
    assert!(!heard.limits, "{heard:?}");
}
