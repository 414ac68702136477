//! Pods' packets: between pods, nodes and the internet, by each interface and family.

use std::net::IpAddr;
use std::time::Duration;

use veni_testbed::cloudlab::Operation;
use veni_testbed::cloudlab::mock::CloudConfig;
use veni_testbed::cloudlab::mock::config::Latency;
use veni_testbed::cloudlab::mock::dump::InterfaceDump;
use veni_testbed::cloudlab::{INTERNET_V6, address_seen_by_internet, with_ipv6};
use veni_testbed::traffic::{Stream, is_silent, reaches};
use veni_testbed::{Added, Bed, BedConfig, PATIENCE, TestPod, eventually, kernel};

/// The interface that the cloud has assigned an address to.
pub(super) fn interface_of(bed: &Bed, address: IpAddr) -> InterfaceDump {
    let dump = bed.lab().cloud().dump();
    let mut all = dump.nodes.into_iter().flat_map(|node| node.interfaces);
    let held = all.find(|held| {
        let interface = &held.interface;
        interface.addresses.contains(&address)
            || interface
                .prefixes
                .iter()
                .any(|prefix| prefix.contains(&address))
    });
    held.unwrap_or_else(|| panic!("{address} is assigned to no interface"))
}

/// Pods on a node until one has an address of a secondary interface: that one, and the others.
pub(super) async fn on_secondary(bed: &Bed, node: usize) -> ((TestPod, Added), Vec<TestPod>) {
    let mut others = Vec::new();
    for number in 1..=20 {
        let (pod, added) = bed.running(node, &format!("p{number}")).await;
        if !interface_of(bed, added.address()).interface.primary {
            return ((pod, added), others);
        }
        others.push(pod);
    }
    panic!("twenty pods found room on the primary interface");
}

pub(super) async fn talks_to_everybody(bed: &Bed, pod: &TestPod, peers: &[IpAddr]) {
    for peer in peers {
        assert!(
            reaches(pod.path(), *peer).await,
            "{} does not reach {peer}",
            pod.name()
        );
    }
    let internet = bed.lab().cloud().config().internet[0];
    assert!(
        reaches(pod.path(), internet).await,
        "{} does not reach the internet",
        pod.name()
    );
    let seen = address_seen_by_internet(pod.path(), internet, PATIENCE).await;
    let node = bed.node_address(pod.node());
    assert_eq!(
        seen.expect("the internet answers"),
        node,
        "the internet sees the node's address"
    );
}

#[tokio::test]
async fn pods_of_two_nodes_reach_each_other_both_nodes_and_the_internet_which_sees_the_node() {
    let bed = Bed::start(BedConfig::new(2)).await;
    let (one, one_added) = bed.running(0, "one").await;
    let (same, same_added) = bed.running(0, "same").await;
    let (other, other_added) = bed.running(1, "other").await;
    let addresses = [
        one_added.address(),
        same_added.address(),
        other_added.address(),
    ];
    let nodes = [bed.node_address(0), bed.node_address(1)];
    for pod in [&one, &same, &other] {
        talks_to_everybody(&bed, pod, &addresses).await;
        talks_to_everybody(&bed, pod, &nodes).await;
    }
    for node in [0, 1] {
        for pod in addresses {
            assert!(
                reaches(bed.node(node), pod).await,
                "node {node} does not reach {pod}"
            );
        }
    }
    bed.sound(&[&one, &same, &other]).await;
    bed.end().await;
}

#[tokio::test]
async fn a_pod_on_a_secondary_interface_needs_its_rule_and_a_restart_brings_a_lost_one_back() {
    // Only the restart may repair anything.
    let config = BedConfig::new(2)
        .instance_type("t3.small")
        .set("VENI_AUDIT_INTERVAL", "3600");
    let bed = Bed::start(config).await;
    let (peer, peer_added) = bed.running(1, "peer").await;
    let ((pod, added), others) = on_secondary(&bed, 0).await;
    let peers = [
        peer_added.address(),
        bed.node_address(0),
        bed.node_address(1),
    ];
    talks_to_everybody(&bed, &pod, &peers).await;

    let dump = bed.lab().cloud().dump();
    let node = dump
        .node(bed.lab().node(0).instance_id())
        .expect("the node");
    let primary = node.interfaces[0].interface.id.clone();
    let dropped = async || bed.lab().counters().await.expect("counters")[&primary].forged;
    let before = dropped().await;
    assert!(reaches(pod.path(), peers[2]).await);
    assert_eq!(
        dropped().await,
        before,
        "no packet of a pod with its rule is dropped"
    );
    // Stop the daemon: it would make the rule again at once.
    bed.daemon(0).kill().await;
    kernel::ip(
        bed.node(0),
        &format!("rule del priority 1536 from {}", added.address()),
    )
    .await;
    assert!(
        is_silent(pod.path(), peers[2]).await,
        "the other node answers without the rule"
    );
    assert!(
        is_silent(pod.path(), peers[0]).await,
        "the other pod answers without the rule"
    );
    assert!(
        dropped().await > before,
        "the VPC has counted what came by the wrong interface"
    );

    bed.daemon(0).start().await;
    eventually("the rule", async || {
        let rules = kernel::source_rules(bed.node(0)).await;
        let there = rules.iter().any(|rule| {
            rule.source
                .is_some_and(|source| source.contains(&added.address()))
        });
        if there {
            Ok(())
        } else {
            Err(format!("{rules:?}"))
        }
    })
    .await;
    talks_to_everybody(&bed, &pod, &peers).await;
    let mut all: Vec<&TestPod> = others.iter().collect();
    all.extend([&pod, &peer]);
    bed.sound(&all).await;
    bed.end().await;
}

#[tokio::test]
async fn a_pod_with_an_address_of_a_secondary_interface_s_prefix_leaves_by_that_interface() {
    // One slot on each interface: sixteen pods on the first prefix.
    let config = BedConfig::new(2)
        .instance_type("t3.micro")
        .set("MAX_PODS", "30");
    let bed = Bed::start(config.set("ENABLE_PREFIX_DELEGATION", "true")).await;
    let (peer, peer_added) = bed.running(1, "peer").await;
    let ((pod, added), others) = on_secondary(&bed, 0).await;
    let rules = kernel::source_rules(bed.node(0)).await;
    let [rule] = &rules[..] else {
        panic!("one rule for the prefix, not {rules:?}")
    };
    let source = rule.source.expect("a source");
    assert!(
        source.prefix_len() == 28 && source.contains(&added.address()),
        "{rule}"
    );
    talks_to_everybody(
        &bed,
        &pod,
        &[
            peer_added.address(),
            bed.node_address(0),
            bed.node_address(1),
        ],
    )
    .await;
    let mut all: Vec<&TestPod> = others.iter().collect();
    all.extend([&pod, &peer]);
    bed.sound(&all).await;
    bed.end().await;
}

#[tokio::test]
async fn with_both_families_pods_reach_pods_nodes_and_the_internet_by_both() {
    let cloud = with_ipv6(CloudConfig::aws().instant());
    let bed = Bed::start(BedConfig::new(2).cloud(cloud).set("ENABLE_IPv6", "true")).await;
    let (one, one_added) = bed.running(0, "one").await;
    let (other, other_added) = bed.running(1, "other").await;
    for added in [&one_added, &other_added] {
        let families: Vec<bool> = added.addresses.iter().map(IpAddr::is_ipv4).collect();
        assert_eq!(families, [true, false], "an address per family, IPv4 first");
    }
    for peer in other_added
        .addresses
        .iter()
        .chain(bed.lab().node(1).addresses())
    {
        assert!(reaches(one.path(), *peer).await, "{peer} does not answer");
    }
    for peer in bed.lab().node(0).addresses() {
        assert!(
            reaches(one.path(), *peer).await,
            "the own node's {peer} does not answer"
        );
    }
    assert!(reaches(other.path(), one_added.addresses[1]).await);
    assert!(
        reaches(one.path(), INTERNET_V6.into()).await,
        "the internet does not answer by IPv6"
    );
    talks_to_everybody(&bed, &one, &[]).await;
    bed.sound(&[&one, &other]).await;
    bed.end().await;
}

#[tokio::test]
async fn with_ipv6_alone_pods_have_no_ipv4_address_and_reach_each_other() {
    let cloud = with_ipv6(CloudConfig::aws().instant());
    let config = BedConfig::new(2)
        .cloud(cloud)
        .set("ENABLE_IPv6", "true")
        .set("ENABLE_IPv4", "false")
        .set("ENABLE_V4_EGRESS", "false");
    let bed = Bed::start(config).await;
    let (one, one_added) = bed.running(0, "one").await;
    let (other, other_added) = bed.running(1, "other").await;
    assert!(
        one_added.addresses.iter().all(IpAddr::is_ipv6),
        "{:?}",
        one_added.addresses
    );
    let inside = kernel::addresses(one.path()).await;
    assert!(inside.iter().all(|(_, address)| address.is_ipv6()));
    assert!(reaches(one.path(), other_added.address()).await);
    assert!(reaches(other.path(), one_added.address()).await);
    bed.sound(&[&one, &other]).await;
    bed.end().await;
}

#[tokio::test]
async fn in_a_cloud_of_azure_s_kind_pods_of_two_nodes_reach_each_other_and_the_internet() {
    let config = BedConfig::new(2).cloud(CloudConfig::azure().instant());
    let config = config
        .instance_type("Standard_D2s_v5")
        .set("VENI_MOCK_PROFILE", "azure");
    let bed = Bed::start(config).await;
    let (one, one_added) = bed.running(0, "one").await;
    let (other, other_added) = bed.running(1, "other").await;
    talks_to_everybody(&bed, &one, &[other_added.address(), bed.node_address(1)]).await;
    talks_to_everybody(&bed, &other, &[one_added.address(), bed.node_address(0)]).await;
    bed.sound(&[&one, &other]).await;
    bed.end().await;
}

#[tokio::test]
async fn pods_answer_while_inventories_lag_behind_by_most_of_a_minute() {
    let mut cloud = CloudConfig::aws().instant();
    cloud.settle_time = Duration::from_secs(5);
    cloud.consistency_delay = Latency::fixed(Duration::from_secs(45));
    let config = BedConfig::new(2)
        .instance_type("t3.small")
        .cloud(cloud)
        .set("VENI_INVENTORY_INTERVAL", "8");
    let bed = Bed::start(config).await;
    let (peer, _) = bed.running(1, "peer").await;
    let ((pod, added), others) = on_secondary(&bed, 0).await;
    let stream = Stream::start(peer.path(), added.address()).await;
    let instance = bed.lab().node(0).instance_id();
    let looks = || {
        let calls = bed.lab().cloud().dump().calls_by(instance);
        let looks = calls
            .iter()
            .filter(|((call, _), _)| *call == Operation::Inventory);
        looks.map(|(_, count)| count).sum::<u64>()
    };
    // Too young for the first, old enough for the others.
    let enough = looks() + 4;
    eventually("more looks", async || match looks() {
        looks if looks >= enough => Ok(()),
        looks => Err(format!("{looks} looks")),
    })
    .await;
    stream.lost_nothing().await;
    let counters = bed.lab().counters().await.expect("counters");
    let dropped: u64 = counters.values().map(|one| one.forged).sum();
    assert_eq!(dropped, 0, "packets that the VPC dropped");
    let mut all: Vec<&TestPod> = others.iter().collect();
    all.extend([&peer, &pod]);
    bed.sound(&all).await;
    bed.end().await;
}

/// The state of the interface of a link, as a node's operator sees it.
async fn interface_state(bed: &Bed, id: &str) -> String {
    let mut operator = bed.daemon(0).operator().await.expect("the daemon answers");
    let pool = operator.pool(veni_api::v1::PoolRequest {}).await;
    let pool = pool.expect("the pool").into_inner();
    let mut interfaces = pool.interfaces.into_iter();
    let found = interfaces.find(|one| one.id == id);
    found.map(|one| one.state).unwrap_or_default()
}

async fn until_state(bed: &Bed, id: &str, wanted: &str) {
    eventually(wanted, async || match interface_state(bed, id).await {
        state if state == wanted => Ok(()),
        state => Err(state),
    })
    .await;
}

#[tokio::test]
async fn no_pod_gets_an_address_of_an_interface_whose_link_is_missing() {
    let config = BedConfig::new(2)
        .instance_type("t3.small")
        .set("WARM_IP_TARGET", "2");
    let bed = Bed::start(config).await;
    let (peer, _) = bed.running(1, "peer").await;
    let ((pod, added), mut pods) = on_secondary(&bed, 0).await;
    let second = interface_of(&bed, added.address()).interface;
    // With another MAC, the daemon no longer recognises the link.
    let mac = |mac: &str| format!("link set dev eth1 address {mac}");
    kernel::ip(bed.node(0), &mac("02:00:00:00:00:99")).await;
    until_state(&bed, second.id.as_str(), "out of service").await;
    for number in 0..2 {
        let (late, late_added) = bed.running(0, &format!("late{number}")).await;
        let address = late_added.address();
        assert_ne!(interface_of(&bed, address).interface.id, second.id);
        assert!(reaches(peer.path(), address).await, "{address} is silent");
        pods.push(late);
    }
    kernel::ip(bed.node(0), &mac(&second.mac.to_string())).await;
    until_state(&bed, second.id.as_str(), "attached").await;
    assert!(
        reaches(peer.path(), added.address()).await,
        "it serves again"
    );
    let mut all: Vec<&TestPod> = pods.iter().collect();
    all.extend([&peer, &pod]);
    bed.sound(&all).await;
    bed.end().await;
}
