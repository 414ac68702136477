//! What every data plane does, as tests that run on each of them.
//!
//! A fixture gives the kernel and what surrounds it. [`conformance_tests`] makes a
//! test of every function here.
//!
//! [`conformance_tests`]: crate::conformance_tests

mod adding;
mod comparing;
mod enforcing;
mod further_interfaces;
mod host_ports;
mod interfaces;
mod limiting;
mod node;
mod removing;
mod watching;

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use crate::plan::{
    DefaultRoute, EndpointLinks, EndpointPlan, InterfacePlan, KernelError, PodAddress,
    SourceRouting,
};
use crate::{Bandwidth, DataPlane, HostPort};

pub use adding::*;
pub use comparing::*;
pub use enforcing::*;
pub use further_interfaces::*;
pub use host_ports::*;
pub use interfaces::*;
pub use limiting::*;
pub use node::*;
pub use removing::*;
pub use watching::*;

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
    /// The enforcement that its endpoints are admitted by.
    fn enforcement(&self) -> &Recorder;
    /// Tells whether the node's link of an index is there and up.
    fn is_up(&self) -> Box<dyn Fn(u32) -> bool + Send>;
    /// Deletes the node's link of an index, as another program might.
    fn delete_link(&self) -> Box<dyn Fn(u32) + Send>;
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
    /// Takes a port of the node away, as an operator might.
    fn delete_host_port(&self, port: &HostPort);
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
    /// Bits a second of the limits that are in force towards a pod and from it, by the
    /// index of its host's end.
    fn rates(&self, host_index: u32) -> (Option<u64>, Option<u64>);
    /// Deletes the qdiscs of a link of the node, as another program might.
    fn delete_qdiscs(&self, index: u32);
    /// Index of a link of the node.
    fn index_of(&self, name: &str) -> Option<u32>;
    /// How many links the node has.
    fn link_count(&self) -> usize;
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
            a_link_of_others_is_never_deleted
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
            a_comparison_of_an_interface_tells_what_differs_and_changes_nothing
            pods_are_compared_at_once_as_each_by_itself
            what_others_change_is_told
            our_own_changes_are_not_told
            changes_in_pods_namespaces_are_not_told
            an_endpoint_is_admitted_before_its_host_end_comes_up
            an_endpoint_is_dismissed_when_its_host_end_is_down
            an_endpoint_that_lives_is_admitted_again_and_never_dismissed
            an_endpoint_that_is_not_admitted_is_refused_and_nothing_is_left
            an_endpoint_that_lives_outlasts_a_refused_admission
            an_add_that_fails_after_its_admission_dismisses_it
            an_add_that_fails_before_its_veth_pair_is_not_told
            a_dismissal_that_fails_is_answered_and_repeated
            the_reaper_dismisses_nothing
            an_interfaces_exit_is_guarded_before_it_is_in_service
            a_comparison_of_an_interface_guards_nothing
            an_endpoint_has_the_limits_of_its_plan_and_no_others
            limits_that_others_took_away_are_told_and_made_again
            a_limit_of_another_rate_is_set_right
            limits_go_with_their_endpoint
            an_ifb_device_without_its_endpoint_is_found_and_removed
            another_link_of_an_ifb_devices_name_is_refused_and_stays
            an_add_that_fails_leaves_no_limits
            our_own_limits_are_not_told
            ports_of_the_node_come_and_go_with_their_endpoint
            a_missing_port_of_the_node_is_told_and_repaired
            a_port_of_the_node_that_was_left_over_is_replaced
            without_their_table_an_endpoint_with_ports_is_refused
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
        pod: None,
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
        bandwidth: Bandwidth::default(),
        port_mappings: Vec::new(),
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
    let (routed, ports) = (plan.routed(), plan.host_ports());
    let removed = fixture
        .plane()
        .remove_endpoint(&routed, &ports, Some(links.host_index));
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

const SECOND_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x11];

fn interface() -> InterfacePlan {
    InterfacePlan {
        mac: SECOND_MAC,
        primary: false,
        table: 0x5611,
        own_addresses: vec!["10.0.0.6".parse().expect("an address")],
        gateways: vec!["10.0.0.1".parse().expect("an address")],
        source_routing: SourceRouting::BySource(vec!["10.0.1.0/28".parse().expect("a prefix")]),
        mtu: Some(1400),
    }
}
