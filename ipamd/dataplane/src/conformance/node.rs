//! The node: made ready, and the addresses of its links.

use std::net::IpAddr;

use super::{Fixture, SECOND_MAC, add, interface, plan};
use crate::DataPlane;
use crate::plan::{KernelError, NodeAddress, NodePlan, PRIMARY_MARK, SourceNatPorts};

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

pub(super) fn node() -> NodePlan {
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
        closed_to_pods: Vec::new(),
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
