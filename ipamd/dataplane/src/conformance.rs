//! What every data plane does, as tests that run on each of them.
//!
//! A fixture gives the kernel and what surrounds it. [`conformance_tests`] makes a
//! test of every function here.
//!
//! [`conformance_tests`]: crate::conformance_tests

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use crate::plan::{
    DefaultRoute, EndpointLinks, EndpointPlan, InterfacePlan, KernelError, LinkKey, NodeAddress,
    NodePlan, PRIMARY_MARK, PodAddress, SECONDARY_GROUP, SourceNatPorts,
};
use crate::{Changes, DataPlane, Watch};

/// A kernel and its surroundings, new for every test.
#[expect(
    async_fn_in_trait,
    reason = "implemented and called in tests alone, on one thread"
)]
pub trait Fixture {
    /// The data plane under test.
    type Plane: DataPlane;
    /// A pod's namespace.
    type Namespace;

    /// The data plane.
    fn plane(&self) -> &Self::Plane;
    /// A new namespace.
    fn namespace(&self) -> Self::Namespace;
    /// A descriptor of it, as a runtime would pass one.
    fn descriptor(&self, namespace: &Self::Namespace) -> OwnedFd;
    /// Ends a namespace and waits until the node's link of this index went with it.
    async fn end(&self, namespace: Self::Namespace, link_index: u32);
    /// Makes a link that is not ours, in a namespace or on the node.
    fn add_foreign_link(&self, namespace: Option<&Self::Namespace>, name: &str);
    /// Plugs an interface of the cloud in.
    fn plug(&self, name: &str, mac: [u8; 6]);
    /// Group and MTU of a link of the node.
    fn group_and_mtu(&self, name: &str) -> (u32, u32);
    /// Puts a link of the node into a group, as another program might.
    fn set_group(&self, name: &str, group: u32);
    /// Removes a pod's route, as an operator might.
    fn delete_route(&self, address: IpAddr);
    /// Sets the MAC of a link of the node, as a device manager might.
    fn set_mac(&self, index: u32, mac: [u8; 6]);
    /// Removes all rules and routes of an interface's table, as an operator might.
    fn flush_table(&self, table: u32);
    /// Puts an address with its length on a link of the node, as an operator might.
    fn add_address(&self, link: &str, address: &str);
    /// Takes it away again.
    fn remove_address(&self, link: &str, address: &str);
    /// Switches IPv6 on in a pod's namespace, as a pod with the right to it might.
    fn switch_ipv6_on(&self, namespace: &Self::Namespace);
    /// Number of rules for a source in a pod's namespace.
    fn pod_rules(&self, namespace: &Self::Namespace) -> usize;
    /// Deletes all rules for a source in a pod's namespace, as a pod might.
    fn delete_pod_rules(&self, namespace: &Self::Namespace);
}

/// Makes a `#[test]` of every function of the suite. `$run` takes a closure from the
/// fixture to a future, and runs it.
#[macro_export]
macro_rules! conformance_tests {
    ($run:path) => {
        $crate::conformance_tests! { @each $run:
            a_new_endpoint_is_observed_and_checks_out
            a_repeated_add_answers_the_same_and_changes_nothing
            a_removed_endpoint_is_dying_until_it_is_reaped
            removing_what_is_gone_succeeds
            an_endpoint_can_be_added_again_before_it_is_reaped
            the_same_host_link_can_serve_a_new_namespace_before_it_is_reaped
            another_links_name_in_the_pod_is_refused_and_nothing_is_left
            another_links_name_on_the_node_is_refused_and_nothing_is_left
            an_endpoints_host_link_is_never_taken_for_another_namespace
            an_invalid_name_is_refused_and_nothing_is_left
            an_ended_namespace_takes_link_and_routes_along
            a_link_of_others_is_never_condemned
            a_missing_route_is_told_and_repaired_without_a_namespace
            a_missing_endpoint_is_not_repaired_without_a_namespace
            the_check_tells_another_namespace_from_the_pods_own
            a_node_local_address_is_routed_compared_and_removed_as_the_others
            a_pod_without_ipv6_is_compared_and_may_have_it_off_already
            a_pod_has_further_interfaces_beside_its_first_in_any_order
            an_interface_that_goes_leaves_the_others_of_its_pod_alone
            a_further_interface_that_fails_leaves_no_rules
            rules_are_only_cleared_in_the_pods_own_namespace
            a_second_first_interface_is_refused_and_nothing_is_left
            a_default_route_in_front_leaves_the_one_behind
            indexes_of_links_are_not_used_again
            an_interface_is_in_service_until_it_is_removed
            an_interface_that_has_not_appeared_is_no_such_link
            secondary_interfaces_are_kept_in_their_group_until_the_link_goes
            the_primary_interface_is_kept_out_of_the_group_of_secondary_ones
            a_prepared_node_gives_its_primary_interface_the_mtu
            the_nodes_own_addresses_are_listed_with_their_links
            what_comes_to_and_goes_from_the_nodes_links_is_told
            a_node_is_prepared_once_its_primary_interface_is_there
            what_others_removed_of_an_interface_is_answered_as_repaired
            a_known_link_is_observed_by_its_index_and_by_its_name
            a_changed_mac_is_told_and_set_again_without_a_namespace
            what_others_change_is_told
            our_own_changes_are_not_told
            changes_in_pods_namespaces_are_not_told
        }
    };
    (@each $run:path: $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                $run(|fixture| async move { $crate::conformance::$name(&fixture).await });
            }
        )*
    };
}

fn plan(number: u8) -> EndpointPlan {
    let addresses = [format!("10.0.1.{number}"), format!("fd00::1:{number}")];
    EndpointPlan {
        pod_link: "eth0".into(),
        host_link: format!("eni{number}"),
        pod_mac: [0x02, 0, 0, 0, 1, number],
        host_mac: [0x02, 0, 0, 0, 2, number],
        mtu: 1400,
        addresses: addresses
            .iter()
            .map(|address| PodAddress {
                address: address.parse().expect("an address"),
            })
            .collect(),
        node_addresses: Vec::new(),
        egress: None,
        no_ipv6: false,
        default_route: DefaultRoute::Only,
    }
}

async fn add<F: Fixture>(
    fixture: &F,
    plan: &EndpointPlan,
    namespace: &F::Namespace,
) -> Result<EndpointLinks, KernelError> {
    let descriptor = fixture.descriptor(namespace);
    fixture.plane().add_endpoint(plan, Some(descriptor)).await
}

async fn remove<F: Fixture>(fixture: &F, plan: &EndpointPlan, links: EndpointLinks) {
    let routed = plan.routed();
    let removed = fixture
        .plane()
        .remove_endpoint(&routed, Some(links.host_index));
    removed.await.expect("removed");
}

async fn is_empty<F: Fixture>(fixture: &F) -> bool {
    let observed = fixture.plane().observe(&[]).await.expect("observed");
    observed.endpoints.is_empty() && observed.links.is_empty()
}

async fn differences<F: Fixture>(
    fixture: &F,
    plan: &EndpointPlan,
    links: EndpointLinks,
    namespace: Option<&F::Namespace>,
) -> Vec<String> {
    let descriptor = namespace.map(|namespace| fixture.descriptor(namespace));
    let checked = fixture
        .plane()
        .check_endpoint(plan, &links, descriptor)
        .await;
    let differences = checked.expect("checked");
    differences
        .into_iter()
        .map(|difference| difference.text)
        .collect()
}

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
    let without_link = fixture.plane().remove_endpoint(&plan.addresses, None).await;
    without_link.expect("nothing to do");
    let again = fixture.plane().reap(&[links.host_index, 123_456]).await;
    assert_eq!(again.expect("nothing to do"), Vec::<u32>::new());
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
pub async fn a_link_of_others_is_never_condemned<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (plan(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    remove(fixture, &plan, links).await;
    fixture.add_foreign_link(None, "theirs");
    for index in 1..links.host_index {
        let removed = fixture
            .plane()
            .remove_endpoint(&plan.addresses, Some(index));
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

const SECOND_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x11];

fn interface() -> InterfacePlan {
    InterfacePlan {
        mac: SECOND_MAC,
        primary: false,
        table: 0x5611,
        own_addresses: vec!["10.0.0.6".parse().expect("an address")],
        gateways: vec!["10.0.0.1".parse().expect("an address")],
        sources: vec!["10.0.1.0/28".parse().expect("a prefix")],
        mtu: Some(1400),
    }
}

/// An interface's table is observed for as long as it is in service.
pub async fn an_interface_is_in_service_until_it_is_removed<F: Fixture>(fixture: &F) {
    fixture.plug("eth1", SECOND_MAC);
    let plane = fixture.plane();
    for _ in 0..2 {
        let report = plane
            .ensure_interface(&interface())
            .await
            .expect("in service");
        assert_eq!(report.link, "eth1");
        let observed = plane.observe(&[]).await.expect("observed");
        assert_eq!(observed.interface_tables, [0x5611]);
    }
    for _ in 0..2 {
        plane
            .remove_interface(0x5611)
            .await
            .expect("out of service");
        let observed = plane.observe(&[]).await.expect("observed");
        assert!(observed.interface_tables.is_empty(), "{observed:?}");
    }
}

/// Attaching takes the cloud some seconds.
pub async fn an_interface_that_has_not_appeared_is_no_such_link<F: Fixture>(fixture: &F) {
    let error = fixture.plane().ensure_interface(&interface()).await;
    let error = error.expect_err("no link");
    assert!(matches!(error, KernelError::NoSuchLink(_)), "{error}");
    fixture.plug("eth1", SECOND_MAC);
    let report = fixture.plane().ensure_interface(&interface()).await;
    assert_eq!(report.expect("in service").link, "eth1");
}

/// Other programs may put links into groups, too.
pub async fn secondary_interfaces_are_kept_in_their_group_until_the_link_goes<F: Fixture>(
    fixture: &F,
) {
    fixture.plug("eth1", SECOND_MAC);
    let group = || fixture.group_and_mtu("eth1").0;
    assert_eq!(group(), 0);
    for others in [0, 7] {
        fixture.set_group("eth1", others);
        let ensured = fixture.plane().ensure_interface(&interface()).await;
        ensured.expect("in service");
        assert_eq!(group(), SECONDARY_GROUP);
    }
    let removed = fixture.plane().remove_interface(0x5611).await;
    removed.expect("out of service");
    assert_eq!(group(), SECONDARY_GROUP, "the link is there still");
}

/// The same card may have been a secondary one before the machine was moved.
pub async fn the_primary_interface_is_kept_out_of_the_group_of_secondary_ones<F: Fixture>(
    fixture: &F,
) {
    fixture.plug("eth1", SECOND_MAC);
    let mut primary = interface();
    primary.primary = true;
    for (before, after) in [(SECONDARY_GROUP, 0), (7, 7)] {
        fixture.set_group("eth1", before);
        let ensured = fixture.plane().ensure_interface(&primary).await;
        ensured.expect("in service");
        assert_eq!(fixture.group_and_mtu("eth1").0, after);
    }
}

/// As the AWS plugin does; without one, it is the host's own business.
pub async fn a_prepared_node_gives_its_primary_interface_the_mtu<F: Fixture>(fixture: &F) {
    fixture.plug("eth1", SECOND_MAC);
    let mut plan = node();
    for (mtu, expected) in [(None, 1500), (Some(1400), 1400), (None, 1400)] {
        plan.primary_mtu = mtu;
        let report = fixture.plane().prepare_node(&plan).await.expect("prepared");
        assert_eq!(report.warnings, Vec::<String>::new());
        assert_eq!(fixture.group_and_mtu("eth1").1, expected);
    }
}

fn node() -> NodePlan {
    NodePlan {
        primary_mac: SECOND_MAC,
        primary_gateways: Vec::new(),
        primary_mtu: None,
        node_v4: Some("10.0.0.5".parse().expect("an address")),
        node_v6: None,
        untranslated: vec!["10.0.0.0/16".parse().expect("a prefix")],
        source_nat: true,
        source_nat_ports: SourceNatPorts::FullyRandom,
        node_ports: true,
        mark: PRIMARY_MARK,
        external_services: Vec::new(),
        no_tcp_early_demux: false,
        egress: None,
        veth_prefix: "eni".into(),
    }
}

/// Repeatable, and it names the primary interface.
pub async fn a_node_is_prepared_once_its_primary_interface_is_there<F: Fixture>(fixture: &F) {
    let plan = node();
    let error = fixture
        .plane()
        .prepare_node(&plan)
        .await
        .expect_err("no link");
    assert!(matches!(error, KernelError::NoSuchLink(_)), "{error}");
    fixture.plug("eth1", SECOND_MAC);
    for _ in 0..2 {
        let report = fixture.plane().prepare_node(&plan).await.expect("prepared");
        assert_eq!(report.primary_link, "eth1");
        assert_eq!(report.warnings, Vec::<String>::new());
    }
}

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

/// The addresses that the node's links carry, with their links.
async fn on_links<F: Fixture>(fixture: &F) -> Vec<String> {
    let listed = fixture.plane().node_addresses().await.expect("listed");
    let in_words = |one: NodeAddress| format!("{}/{} {}", one.address, one.length, one.link);
    let interfaces = listed.into_iter().filter(|one| one.link == "eth1");
    interfaces
        .filter(|one| one.address.is_ipv4())
        .map(in_words)
        .collect()
}

/// Whoever put them there, and none of pods.
pub async fn the_nodes_own_addresses_are_listed_with_their_links<F: Fixture>(fixture: &F) {
    fixture.plug("eth1", SECOND_MAC);
    let wired = fixture.plane().ensure_interface(&interface()).await;
    wired.expect("in service");
    fixture.add_address("eth1", "10.0.0.9/20");
    let namespace = fixture.namespace();
    add(fixture, &plan(1), &namespace).await.expect("added");
    assert_eq!(
        on_links(fixture).await,
        ["10.0.0.6/32 eth1", "10.0.0.9/20 eth1"]
    );
    let listed = fixture.plane().node_addresses().await.expect("listed");
    let of_pods: Vec<IpAddr> = plan(1).addresses.iter().map(|pod| pod.address).collect();
    assert!(
        listed.iter().all(|one| !of_pods.contains(&one.address)),
        "{listed:?}"
    );
    fixture.remove_address("eth1", "10.0.0.9/20");
    assert_eq!(on_links(fixture).await, ["10.0.0.6/32 eth1"]);
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

/// The verb says what it has made again, and nothing where all was there.
pub async fn what_others_removed_of_an_interface_is_answered_as_repaired<F: Fixture>(fixture: &F) {
    fixture.plug("eth1", SECOND_MAC);
    let ensure = async || {
        let report = fixture.plane().ensure_interface(&interface()).await;
        report.expect("in service").repairs
    };
    ensure().await;
    assert_eq!(ensure().await, []);
    fixture.flush_table(interface().table);
    assert!(!ensure().await.is_empty());
    assert_eq!(ensure().await, []);
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
