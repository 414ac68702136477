//! Ports of the node that lead to pods.

use super::node::node;
use super::{Fixture, SECOND_MAC, add, differences, plan, remove};
use crate::DataPlane;
use crate::host_ports::{HostPort, PortMapping, PortProtocol};
use crate::plan::{EndpointPlan, KernelError};

/// A plan with ports of the node, one of them of one address.
fn with_ports(number: u8) -> EndpointPlan {
    let mapping = |host_port, host: &str| PortMapping {
        protocol: PortProtocol::Tcp,
        host_port,
        pod_port: 80,
        host_address: host.parse().ok(),
    };
    let mut plan = plan(number);
    plan.port_mappings = vec![mapping(8080, ""), mapping(8081, "10.0.0.5")];
    plan
}

async fn prepare<F: Fixture>(fixture: &F) {
    fixture.plug("eth1", SECOND_MAC);
    fixture
        .plane()
        .prepare_node(&node())
        .await
        .expect("prepared");
}

async fn observed<F: Fixture>(fixture: &F) -> Vec<HostPort> {
    let observed = fixture.plane().observe(&[]).await.expect("observed");
    observed.host_ports
}

/// They come and go with their endpoint, and preparing the node again leaves them.
pub async fn ports_of_the_node_come_and_go_with_their_endpoint<F: Fixture>(fixture: &F) {
    prepare(fixture).await;
    let (plan, namespace) = (with_ports(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    assert_eq!(plan.host_ports().len(), 3, "one for each family, and one");
    assert_eq!(observed(fixture).await, plan.host_ports());
    let found = differences(fixture, &plan, links, Some(&namespace)).await;
    assert_eq!(found, Vec::<String>::new());
    fixture
        .plane()
        .prepare_node(&node())
        .await
        .expect("prepared");
    assert_eq!(observed(fixture).await, plan.host_ports());
    remove(fixture, &plan, links).await;
    assert_eq!(observed(fixture).await, []);
}

/// Somebody has deleted an element.
pub async fn a_missing_port_of_the_node_is_told_and_repaired<F: Fixture>(fixture: &F) {
    prepare(fixture).await;
    let (plan, namespace) = (with_ports(1), fixture.namespace());
    let links = add(fixture, &plan, &namespace).await.expect("added");
    for port in plan.host_ports() {
        fixture.delete_host_port(&port);
        assert!(!observed(fixture).await.contains(&port));
        let found = differences(fixture, &plan, links, None).await;
        let number = port.port.to_string();
        assert!(found.iter().any(|text| text.contains(&number)), "{found:?}");
        let repaired = fixture.plane().add_endpoint(&plan, None).await;
        repaired.expect("repaired");
        assert_eq!(observed(fixture).await, plan.host_ports());
    }
}

/// A daemon that was killed may have left it.
pub async fn a_port_of_the_node_that_was_left_over_is_replaced<F: Fixture>(fixture: &F) {
    prepare(fixture).await;
    let (old, new) = (with_ports(1), with_ports(2));
    let left = add(fixture, &old, &fixture.namespace())
        .await
        .expect("added");
    let namespace = fixture.namespace();
    add(fixture, &new, &namespace).await.expect("added");
    assert_eq!(observed(fixture).await, new.host_ports());
    remove(fixture, &old, left).await;
    assert_eq!(
        observed(fixture).await,
        new.host_ports(),
        "they lead elsewhere by now"
    );
}

/// Until the node is prepared again, there is no place for them.
pub async fn without_their_table_an_endpoint_with_ports_is_refused<F: Fixture>(fixture: &F) {
    let (plan, namespace) = (with_ports(1), fixture.namespace());
    let error = add(fixture, &plan, &namespace).await.expect_err("refused");
    assert!(matches!(error, KernelError::NoSuchSet(_)), "{error}");
    assert!(super::is_empty(fixture).await);
    let without = super::plan(2);
    let links = add(fixture, &without, &namespace).await.expect("added");
    remove(fixture, &without, links).await;
    prepare(fixture).await;
    add(fixture, &plan, &fixture.namespace())
        .await
        .expect("added");
}
