//! Interfaces of a pod beside its first.

use super::{Fixture, add, differences, plan, remove};
use crate::DataPlane;
use crate::plan::{DefaultRoute, EndpointPlan, KernelError};

/// The same as [`plan`], for another interface of a pod.
fn further(number: u8, default_route: DefaultRoute) -> EndpointPlan {
    EndpointPlan {
        pod_link: format!("net{number}"),
        default_route,
        ..plan(number)
    }
}

/// As a delegate of another plugin, beside any first interface.
pub async fn a_pod_has_further_interfaces_beside_its_first_in_any_order<F: Fixture>(fixture: &F) {
    for order in [[1, 2, 3], [2, 1, 3], [3, 2, 1]] {
        let namespace = fixture.namespace();
        let mut made = Vec::new();
        for number in order {
            let plan = match number {
                1 => plan(1),
                number => further(number, DefaultRoute::None),
            };
            let links = add(fixture, &plan, &namespace).await.expect("added");
            let again = add(fixture, &plan, &namespace).await.expect("added");
            assert_eq!(again, links);
            made.push((plan, links));
        }
        // Two families for each of two further interfaces.
        assert_eq!(fixture.pod_rules(&namespace), 4);
        for (plan, links) in &made {
            let found = differences(fixture, plan, *links, Some(&namespace)).await;
            assert_eq!(found, Vec::<String>::new(), "{}", plan.pod_link);
        }
        fixture.delete_pod_rules(&namespace);
        for (plan, links) in &made {
            let found = differences(fixture, plan, *links, Some(&namespace)).await;
            let named = found.iter().any(|text| text.contains("rule"));
            assert_eq!(named, plan.pod_link != "eth0", "{found:?}");
            let again = add(fixture, plan, &namespace).await.expect("added");
            assert_eq!(again, *links);
            let found = differences(fixture, plan, *links, Some(&namespace)).await;
            assert_eq!(found, Vec::<String>::new());
        }
        for (plan, links) in &made {
            remove(fixture, plan, *links).await;
        }
        fixture.plane().reap(&[]).await.expect("reaped");
    }
}

/// Whichever goes, and repeatedly.
pub async fn an_interface_that_goes_leaves_the_others_of_its_pod_alone<F: Fixture>(fixture: &F) {
    for gone in 0..3 {
        let namespace = fixture.namespace();
        let plans = [
            plan(1),
            further(2, DefaultRoute::None),
            further(3, DefaultRoute::None),
        ];
        let mut made = Vec::new();
        for plan in plans {
            let links = add(fixture, &plan, &namespace).await.expect("added");
            made.push((plan, links));
        }
        let (plan, links) = made.remove(gone);
        for _ in 0..2 {
            remove(fixture, &plan, links).await;
            let descriptor = fixture.descriptor(&namespace);
            let cleared = fixture.plane().clear_namespace(&plan, &links, descriptor);
            cleared.await.expect("cleared");
            fixture.plane().reap(&[]).await.expect("reaped");
        }
        assert_eq!(fixture.pod_rules(&namespace), if gone == 0 { 4 } else { 2 });
        for (plan, links) in &made {
            let found = differences(fixture, plan, *links, Some(&namespace)).await;
            assert_eq!(found, Vec::<String>::new(), "{}", plan.pod_link);
            remove(fixture, plan, *links).await;
        }
        fixture.plane().reap(&[]).await.expect("reaped");
    }
}

/// Its link goes, and no rule stays behind.
pub async fn a_further_interface_that_fails_leaves_no_rules<F: Fixture>(fixture: &F) {
    let namespace = fixture.namespace();
    let first = further(2, DefaultRoute::InFront);
    let links = add(fixture, &first, &namespace).await.expect("added");
    let second = further(3, DefaultRoute::InFront);
    let error = add(fixture, &second, &namespace).await;
    let error = error.expect_err("a second one in front");
    assert!(matches!(error, KernelError::Refused { .. }), "{error}");
    assert_eq!(fixture.pod_rules(&namespace), 2, "those of the first");
    let found = differences(fixture, &first, links, Some(&namespace)).await;
    assert_eq!(found, Vec::<String>::new());
    let observed = fixture.plane().observe(&[]).await.expect("observed");
    assert_eq!(observed.links.len(), 1);
}

/// Paths of namespaces are used again, and a DEL may come after its pod.
pub async fn rules_are_only_cleared_in_the_pods_own_namespace<F: Fixture>(fixture: &F) {
    let (own, other) = (fixture.namespace(), fixture.namespace());
    let plans = [
        further(2, DefaultRoute::None),
        further(3, DefaultRoute::None),
    ];
    let links = add(fixture, &plans[0], &own).await.expect("added");
    let others = add(fixture, &plans[1], &other).await.expect("added");
    assert_eq!(links.pod_index, others.pod_index, "the same table");
    let descriptor = fixture.descriptor(&other);
    let cleared = fixture
        .plane()
        .clear_namespace(&plans[0], &links, descriptor);
    cleared.await.expect("nothing to do");
    let found = differences(fixture, &plans[1], others, Some(&other)).await;
    assert_eq!(found, Vec::<String>::new());
    let gone = std::fs::File::open("/proc/self/status").expect("a file");
    let cleared = fixture
        .plane()
        .clear_namespace(&plans[0], &links, gone.into());
    cleared.await.expect("nothing to do");
    assert_eq!(fixture.pod_rules(&own), 2, "its own are still there");
}

/// Two interfaces cannot both have all packets of a pod.
pub async fn a_second_first_interface_is_refused_and_nothing_is_left<F: Fixture>(fixture: &F) {
    let namespace = fixture.namespace();
    let first = plan(1);
    let links = add(fixture, &first, &namespace).await.expect("added");
    let second = further(2, DefaultRoute::Only);
    let error = add(fixture, &second, &namespace).await;
    let error = error.expect_err("a default route is there");
    let exists = |error: &KernelError| match error {
        KernelError::Refused { reason, .. } => reason.kind() == std::io::ErrorKind::AlreadyExists,
        _ => false,
    };
    assert!(exists(&error), "{error}");
    let found = differences(fixture, &first, links, Some(&namespace)).await;
    assert_eq!(found, Vec::<String>::new());
    let observed = fixture.plane().observe(&[]).await.expect("observed");
    assert_eq!(observed.links.len(), 1);
}

/// The first interface serves again when the other goes.
pub async fn a_default_route_in_front_leaves_the_one_behind<F: Fixture>(fixture: &F) {
    let namespace = fixture.namespace();
    let plans = [plan(1), further(2, DefaultRoute::InFront)];
    let first = add(fixture, &plans[0], &namespace).await.expect("added");
    let front = add(fixture, &plans[1], &namespace).await.expect("added");
    let again = add(fixture, &plans[1], &namespace).await.expect("added");
    assert_eq!(again, front);
    for (plan, links) in plans.iter().zip([first, front]) {
        let found = differences(fixture, plan, links, Some(&namespace)).await;
        assert_eq!(found, Vec::<String>::new(), "{}", plan.pod_link);
    }
    remove(fixture, &plans[1], front).await;
    fixture.plane().reap(&[]).await.expect("reaped");
    let found = differences(fixture, &plans[0], first, Some(&namespace)).await;
    assert_eq!(found, Vec::<String>::new());
}
