//! Shows that the audit at the end of every test of this lane can fail: one planted defect
//! for each thing that it checks.

use veni_testbed::ec2::{Attached, Holding};

use crate::audit::Evidence;
use crate::world::World;

fn finds(healthy: &Evidence, text: &str, plant: impl FnOnce(&mut Evidence)) {
    let mut evidence = healthy.clone();
    plant(&mut evidence);
    let found = evidence.differences();
    let seen = found.iter().any(|one| one.contains(text));
    assert!(seen, "{text}: {found:#?}");
}

/// A set with one of its interfaces changed.
fn change(
    all: &mut std::collections::BTreeSet<Holding>,
    index: u32,
    edit: impl FnOnce(&mut Holding),
) {
    let at = |one: &&Holding| one.attached.as_ref().is_some_and(|at| at.index == index);
    let mut one = all.iter().find(at).expect("it is there").clone();
    all.remove(&one);
    edit(&mut one);
    all.insert(one);
}

#[tokio::test]
async fn the_audit_sees_each_planted_defect() {
    let world = World::new("m5.large").await;
    let daemon = world.start(&[("WARM_IP_TARGET", "2")]).await;
    daemon.add_pods(0..12).await;
    daemon.rest().await;
    let healthy = daemon.evidence().await;
    assert_eq!(healthy.differences(), Vec::<String>::new());

    let first = healthy.pods[0].clone();
    finds(&healthy, "is of", |e| e.pods.push(first.clone()));
    finds(&healthy, "routes", |e| {
        e.routes.remove(&first.1);
    });
    finds(&healthy, "does not know", |e| {
        e.told.pop_first();
    });
    finds(&healthy, "has not assigned", |e| {
        let (interface, _) = e.told.first().expect("one").clone();
        e.told
            .insert((interface, "192.0.2.250/32".parse().expect("a range")));
    });
    finds(&healthy, "has no rule out of", |e| {
        e.in_service.retain(|plan| plan.primary);
    });
    finds(&healthy, "does not describe", |e| {
        e.described.pop_first();
    });
    finds(&healthy, "is not the node's in EC2", |e| {
        change(&mut e.truth, 0, |one| one.ranges.clear());
    });
    finds(&healthy, "assigned twice", |e| {
        let held = e.told.first().expect("one").1;
        change(&mut e.truth, 0, |one| {
            one.ranges.insert(held);
        });
        change(&mut e.truth, 1, |one| {
            one.ranges.insert(held);
        });
    });
    finds(&healthy, "is attached to nothing", |e| {
        change(&mut e.truth, 1, |one| one.attached = None);
    });
    finds(&healthy, "is detaching", |e| {
        change(&mut e.truth, 1, |one| {
            one.attached.as_mut().expect("attached").status = "detaching".to_owned();
        });
    });
    finds(&healthy, "met another change", |e| {
        e.collisions.push("assign met another change".to_owned());
    });
    let elsewhere = Attached {
        instance: "i-other".to_owned(),
        index: 1,
        status: "attached".to_owned(),
    };
    finds(&healthy, "is not the node's in EC2", |e| {
        change(&mut e.truth, 1, |one| one.attached = Some(elsewhere));
    });
    daemon.finish().await;
}
