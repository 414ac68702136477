//! Nodes made of network namespaces on LocalStack's EC2, with the real daemon, the real
//! plugin and the real kernel. The VPC's source check proves the policy routing: it drops
//! a packet that does not come from the interface to which EC2 has assigned its source.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use veni_testbed::cloudlab::Fill;
use veni_testbed::cloudlab::sdk::types::{Filter, NetworkInterface};
use veni_testbed::traffic::{Stream, is_silent, reaches};
use veni_testbed::{Added, Bed, BedConfig, TestPod, eventually, kernel};

/// Packets that the VPC has dropped as forged, all interfaces together.
pub(crate) async fn forged(bed: &Bed) -> u64 {
    let counters = bed.lab().counters().await.expect("counters");
    counters.values().map(|dropped| dropped.forged).sum()
}

/// Interfaces of a node, as EC2 describes them, by device index.
pub(crate) async fn described(bed: &Bed, node: usize) -> Vec<NetworkInterface> {
    let instance = bed.lab().node(node).instance_id();
    let of_node = Filter::builder()
        .name("attachment.instance-id")
        .values(instance);
    let call = bed.ec2().client().describe_network_interfaces();
    let told = call.filters(of_node.build()).send().await;
    let mut all = told
        .expect("described")
        .network_interfaces
        .unwrap_or_default();
    all.sort_by_key(index);
    all
}

fn index(interface: &NetworkInterface) -> i32 {
    let attachment = interface.attachment();
    attachment
        .and_then(|at| at.device_index())
        .expect("attached")
}

/// Device index of the interface that EC2 describes an address on, alone or in a
/// prefix.
pub(crate) async fn carrier(bed: &Bed, node: usize, address: IpAddr) -> i32 {
    let holds = |interface: &&NetworkInterface| {
        let mut single = interface.private_ip_addresses().iter();
        let mut prefixes = interface.ipv4_prefixes().iter();
        let parsed = |text: Option<&str>| text.and_then(|text| text.parse::<ipnet::IpNet>().ok());
        single.any(|one| one.private_ip_address() == Some(&address.to_string()))
            || prefixes.any(|one| parsed(one.ipv4_prefix()).is_some_and(|p| p.contains(&address)))
    };
    // A Describe may lag.
    eventually("the carrier of an address", async || {
        let all = described(bed, node).await;
        let found = all.iter().find(holds).map(index);
        found.ok_or_else(|| format!("{address} is on no interface of node {node}"))
    })
    .await
}

/// Makes pods on a node until one has an address of a secondary interface. Returns them with
/// that one last.
pub(crate) async fn until_secondary(bed: &Bed, node: usize, name: &str) -> Vec<(TestPod, Added)> {
    let mut pods = Vec::new();
    for number in 1..=20 {
        pods.push(bed.running(node, &format!("{name}{number}")).await);
        let (_, added) = &pods[pods.len() - 1];
        if carrier(bed, node, added.address()).await > 0 {
            return pods;
        }
    }
    panic!("twenty pods found room on the primary interface");
}

pub(crate) fn all(pods: &[Vec<(TestPod, Added)>]) -> Vec<&TestPod> {
    pods.iter().flatten().map(|(pod, _)| pod).collect()
}

/// Asserts that two pods reach each other.
pub(crate) async fn talk(one: (&TestPod, &Added), other: (&TestPod, &Added)) {
    for ((from, _), (to, added)) in [(one, other), (other, one)] {
        let reached = reaches(from.path(), added.address()).await;
        assert!(reached, "{} does not reach {}", from.name(), to.name());
    }
}

/// Takes a bed down. Before, asserts that it has only these pods, that the auditor finds
/// nothing, and that the VPC has dropped no packet as forged.
pub(crate) async fn end_well(bed: Bed, pods: &[&TestPod]) {
    bed.sound(pods).await;
    assert_eq!(forged(&bed).await, 0);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_on_two_nodes_reach_each_other() {
    let bed = Bed::start(BedConfig::localstack(2)).await;
    let (here, added) = bed.running(0, "here").await;
    let (there, other) = bed.running(1, "there").await;
    assert_eq!(carrier(&bed, 0, added.address()).await, 0);
    talk((&here, &added), (&there, &other)).await;
    end_well(bed, &[&here, &there]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_on_secondary_interfaces_reach_each_other_by_them_alone() {
    let config = BedConfig::localstack(2).instance_type("t3.small");
    let bed = Bed::start(config).await;
    let pods = [
        until_secondary(&bed, 0, "here").await,
        until_secondary(&bed, 1, "there").await,
    ];
    let [(here, added), (there, other)] = pods.each_ref().map(|some| &some[some.len() - 1]);
    talk((here, added), (there, other)).await;
    assert!(reaches(here.path(), bed.node_address(1)).await);
    bed.sound(&all(&pods)).await;
    assert_eq!(forged(&bed).await, 0, "every packet left by its interface");

    // Stop the daemon: it would make the rule again at once.
    bed.daemon(0).kill().await;
    let rule = format!("rule del priority 1536 from {}", added.address());
    kernel::ip(bed.node(0), &rule).await;
    assert!(is_silent(here.path(), other.address()).await);
    assert_ne!(forged(&bed).await, 0, "the check sees one that does not");
    bed.daemon(0).start().await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_accepted_from_its_assignment_to_its_release() {
    let bed = Bed::start_without_daemons(BedConfig::localstack(2)).await;
    let (node, peer) = (bed.node(0), bed.node_address(1));
    let address = Ipv4Addr::new(10, 0, 0, 200);
    let primary = described(&bed, 0).await.remove(0);
    let interface = primary.network_interface_id().expect("an id");
    kernel::ip(node, &format!("address add {address}/32 dev lo")).await;
    let by = format!("route replace {peer} via 10.0.0.1 dev eth0 onlink src {address}");
    kernel::ip(node, &by).await;
    assert!(is_silent(node, peer).await);
    let before = forged(&bed).await;
    assert_ne!(before, 0, "the check sees an address that is not assigned");

    let ec2 = bed.ec2().client();
    let call = ec2.assign_private_ip_addresses();
    let call = call.network_interface_id(interface);
    let call = call.private_ip_addresses(address.to_string());
    call.send().await.expect("assigned");
    // After the answer, the VPC must drop not one packet as forged.
    assert!(reaches(node, peer).await);
    assert_eq!(forged(&bed).await, before);

    let call = ec2.unassign_private_ip_addresses();
    let call = call.network_interface_id(interface);
    let call = call.private_ip_addresses(address.to_string());
    call.send().await.expect("unassigned");
    assert!(is_silent(node, peer).await);
    assert!(forged(&bed).await > before);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_grows_over_all_interfaces_of_its_type_and_shrinks_back_to_one() {
    // Three interfaces with three addresses for pods each.
    let config = BedConfig::localstack(2)
        .instance_type("t3.small")
        .set("WARM_IP_TARGET", "1");
    let bed = Bed::start(config).await;
    let (peer, other) = bed.running(1, "peer").await;
    let mut pods = Vec::new();
    for number in 1..=9 {
        pods.push(bed.running(0, &format!("p{number}")).await);
    }
    let interfaces = described(&bed, 0).await;
    assert_eq!(interfaces.len(), 3);
    for (pod, _) in &pods {
        assert!(reaches(pod.path(), other.address()).await, "{}", pod.name());
    }
    let mut everybody: Vec<&TestPod> = pods.iter().map(|(pod, _)| pod).collect();
    everybody.push(&peer);
    bed.sound(&everybody).await;

    let (first, added) = pods.remove(0);
    let stream = Stream::start(peer.path(), added.address()).await;
    for (pod, _) in &pods {
        bed.del(pod).await.expect("DEL");
    }
    eventually("one interface", async || {
        match described(&bed, 0).await.len() {
            1 => Ok(()),
            more => Err(format!("{more} are attached")),
        }
    })
    .await;
    stream.lost_nothing().await;
    bed.lab().settled().await.expect("wires");
    let links = kernel::links(bed.node(0)).await;
    assert!(!links.iter().any(|link| link.name == "eth1"), "{links:?}");
    let mut everybody: Vec<&TestPod> = pods.iter().map(|(pod, _)| pod).collect();
    everybody.extend([&first, &peer]);
    bed.sound(&everybody).await;
    assert_eq!(forged(&bed).await, 0);
    // Nothing was left unattached either.
    let here = Filter::builder().name("vpc-id").values(bed.ec2().vpc());
    let call = bed.ec2().client().describe_network_interfaces();
    let left = call.filters(here.build()).send().await.expect("described");
    let left = left.network_interfaces().iter();
    let left = left.filter(|one| one.attachment().is_none());
    assert_eq!(left.count(), 0);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_live_in_prefixes() {
    let config = BedConfig::localstack(2).set("ENABLE_PREFIX_DELEGATION", "true");
    let bed = Bed::start(config).await;
    let (here, added) = bed.running(0, "here").await;
    let (there, other) = bed.running(1, "there").await;
    for (node, added) in [(0, &added), (1, &other)] {
        let interfaces = described(&bed, node).await;
        let mut prefixes = interfaces.iter().flat_map(|one| one.ipv4_prefixes());
        let within = prefixes.any(|prefix| {
            let range = prefix.ipv4_prefix().map(str::parse::<ipnet::IpNet>);
            range.is_some_and(|range| range.expect("a range").contains(&added.address()))
        });
        assert!(within, "{} is in no prefix", added.address());
    }
    talk((&here, &added), (&there, &other)).await;
    end_well(bed, &[&here, &there]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_both_families_reach_each_other() {
    let config = BedConfig::localstack(2)
        .ec2(|config| config.with_ipv6())
        .set("ENABLE_IPv6", "true");
    let bed = Bed::start(config).await;
    let (here, added) = bed.running(0, "here").await;
    let (there, other) = bed.running(1, "there").await;
    assert_eq!(added.addresses.len(), 2, "{added:?}");
    for address in &other.addresses {
        assert!(reaches(here.path(), *address).await, "{address}");
    }
    end_well(bed, &[&here, &there]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_notice_nothing_of_a_daemon_that_is_killed_and_comes_back() {
    let bed = Bed::start(BedConfig::localstack(2).instance_type("t3.small")).await;
    let pods = [
        until_secondary(&bed, 0, "here").await,
        until_secondary(&bed, 1, "there").await,
    ];
    let [(here, added), (_, other)] = pods.each_ref().map(|some| &some[some.len() - 1]);
    let stream = Stream::start(here.path(), other.address()).await;
    bed.daemon(0).kill().await;
    bed.daemon(0).start().await;
    let (late, _) = bed.running(0, "late").await;
    assert!(reaches(late.path(), other.address()).await);
    stream.lost_nothing().await;
    let mut everybody = all(&pods);
    everybody.push(&late);
    bed.sound(&everybody).await;
    assert!(
        carrier(&bed, 0, added.address()).await > 0,
        "it kept its address"
    );
    assert_eq!(forged(&bed).await, 0);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_live_on_an_interface_in_a_second_subnet_when_the_first_is_full() {
    let config = BedConfig::localstack(2)
        .ec2(|config| config.tagged(1, "kubernetes.io/role/cni", "1"))
        .instance_type("t3.small")
        .set("WARM_IP_TARGET", "1");
    let bed = Bed::start(config).await;
    let first = bed.ec2().subnets()[0].to_string();
    let full = bed.ec2().control().fill(&first, &Fill::Leave(0)).await;
    full.expect("the subnet can be filled");
    let pods = [
        until_secondary(&bed, 0, "here").await,
        until_secondary(&bed, 1, "there").await,
    ];
    let [(here, added), (there, other)] = pods.each_ref().map(|some| &some[some.len() - 1]);
    let second: ipnet::IpNet = "10.0.16.0/20".parse().expect("a range");
    assert!(second.contains(&added.address()), "{}", added.address());
    talk((here, added), (there, other)).await;
    assert!(reaches(here.path(), bed.node_address(1)).await);
    end_well(bed, &all(&pods)).await;
}

/// Whether the server has refused a call of a node as unavailable.
async fn was_refused(bed: &Bed, node: usize) -> bool {
    let key = bed.access_key(node);
    let told = bed.ec2().control().calls(Some(&key)).await;
    let told = told.expect("the server answers");
    let operations = told["operations"].as_object().expect("operations");
    operations
        .values()
        .any(|one| !one["outcomes"]["Unavailable"].is_null())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_strikes_one_node_s_calls_which_are_counted_by_node() {
    let config = BedConfig::localstack(2).set("WARM_IP_TARGET", "1");
    let bed = Bed::start_without_daemons(config).await;
    let error = json!({"code": "Unavailable", "status": 503});
    let fault = json!({"operations": ["mutating"], "error": error});
    let fault = bed.fault(0, fault).await;
    bed.daemon(0).start().await;
    bed.daemon(1).start().await;
    eventually("a refusal", async || {
        if was_refused(&bed, 0).await {
            return Ok(());
        }
        Err(format!("{:?}", bed.calls(0).await))
    })
    .await;
    let well = bed.running(1, "well").await;
    assert!(!was_refused(&bed, 1).await);
    assert!(bed.calls(1).await.contains_key("AssignPrivateIpAddresses"));
    bed.mend(fault).await;
    let late = bed.running(0, "late").await;
    bed.sound(&all(&[vec![well, late]])).await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_takes_its_time_is_plugged_in_when_it_is_attached() {
    let config = BedConfig::localstack(2)
        .instance_type("t3.small")
        .set("WARM_IP_TARGET", "1");
    let bed = Bed::start(config).await;
    let (peer, other) = bed.running(1, "peer").await;
    let knobs = json!({
        "attach_seconds": 1.5, "detach_seconds": 1.5,
        "create_visibility_seconds": 0.3, "describe_lag_seconds": 1.0,
    });
    let ec2 = bed.ec2();
    let turned = ec2.control().turn_knobs_of(ec2.vpc(), &knobs).await;
    turned.expect("the knobs must be there");
    let pods = until_secondary(&bed, 0, "p").await;
    let (last, _) = &pods[pods.len() - 1];
    assert!(reaches(last.path(), other.address()).await);
    for (pod, _) in &pods[1..] {
        bed.del(pod).await.expect("DEL");
    }
    eventually("one interface", async || {
        let links = kernel::links(bed.node(0)).await;
        match links.iter().find(|link| link.name == "eth1") {
            None => Ok(()),
            Some(link) => Err(format!("{link:?}")),
        }
    })
    .await;
    let pods = [pods];
    let mut everybody = all(&pods);
    everybody.push(&peer);
    end_well(bed, &everybody).await;
}
