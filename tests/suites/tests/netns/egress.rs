//! Flows of the family that pods have no address of: they leave with the node's own
//! address and are answered, and nobody else learns of the pods' node-local ones.

use std::collections::BTreeSet;
use std::net::IpAddr;

use veni_testbed::cloudlab::mock::CloudConfig;
use veni_testbed::cloudlab::{INTERNET_V6, address_seen_by_internet, with_ipv6};
use veni_testbed::traffic::{is_silent, reaches};
use veni_testbed::{Added, Bed, BedConfig, PATIENCE, TestPod, kernel};

fn ipv6_alone(nodes: u32) -> BedConfig {
    BedConfig::new(nodes)
        .cloud(with_ipv6(CloudConfig::aws().instant()))
        .set("ENABLE_IPv6", "true")
        .set("ENABLE_IPv4", "false")
}

/// The node-local address of a pod, which its result does not show.
async fn node_local(pod: &TestPod, added: &Added) -> IpAddr {
    let all = kernel::addresses(pod.path()).await;
    let mut local = all.iter().filter(|(_, one)| kernel::is_node_local(*one));
    let (link, address) = local.next().expect("a node-local address");
    assert_eq!((link.as_str(), local.next()), ("eth0", None));
    assert!(!added.addresses.contains(address), "the result shows it");
    let answer = added.answer.to_string();
    assert!(!answer.contains(&address.to_string()), "{answer}");
    *address
}

async fn leaves_as(pod: &TestPod, internet: IpAddr, node: IpAddr) {
    let seen = address_seen_by_internet(pod.path(), internet, PATIENCE).await;
    assert_eq!(seen.expect("the internet answers"), node);
}

#[tokio::test]
async fn pods_with_ipv6_alone_reach_the_ipv4_internet_which_sees_their_node() {
    let bed = Bed::start(ipv6_alone(2)).await;
    let internet = bed.lab().cloud().config().internet[0];
    let (one, one_added) = bed.running(0, "one").await;
    let (two, two_added) = bed.running(0, "two").await;
    let (far, far_added) = bed.running(1, "far").await;
    let mut locals = Vec::new();
    for (pod, added) in [(&one, &one_added), (&two, &two_added), (&far, &far_added)] {
        assert!(added.addresses.iter().all(IpAddr::is_ipv6), "{added:?}");
        leaves_as(pod, internet, bed.node_address(pod.node())).await;
        bed.check(pod, added).await.expect("CHECK");
        locals.push(node_local(pod, added).await);
    }
    assert_ne!(
        locals[0], locals[1],
        "two pods of a node have two addresses"
    );
    assert!(reaches(one.path(), two_added.address()).await);
    assert!(
        is_silent(one.path(), locals[1]).await,
        "a pod reaches another by its node-local address"
    );
    assert!(
        reaches(bed.node(0), locals[1]).await,
        "it is the pod's all the same: its own node reaches it"
    );
    bed.sound(&[&one, &two, &far]).await;
    bed.end().await;
}

#[tokio::test]
async fn pods_with_ipv4_alone_reach_the_ipv6_internet_when_told_to_and_not_else() {
    let cloud = || with_ipv6(CloudConfig::aws().instant());
    let bed = Bed::start(BedConfig::new(1).cloud(cloud())).await;
    let (pod, added) = bed.running(0, "without").await;
    let all = kernel::addresses(pod.path()).await;
    assert_eq!(all.len(), added.addresses.len(), "{all:?}");
    bed.daemon(0).terminate().await;
    bed.daemon(0)
        .start_with(&[("ENABLE_V6_EGRESS", "true")])
        .await;
    bed.daemon(0).ready().await;
    let (later, later_added) = bed.running(0, "with").await;
    assert!(later_added.addresses.iter().all(IpAddr::is_ipv4));
    node_local(&later, &later_added).await;
    let mut own = bed.lab().node(0).addresses().iter();
    let node = own.find(|address| address.is_ipv6()).expect("an address");
    leaves_as(&later, INTERNET_V6.into(), *node).await;
    let internet = bed.lab().cloud().config().internet[0];
    leaves_as(&later, internet, bed.node_address(0)).await;
    leaves_as(&pod, internet, bed.node_address(0)).await;
    bed.sound(&[&pod, &later]).await;
    bed.end().await;
}

#[tokio::test]
async fn a_node_without_an_ipv6_address_says_so_and_gives_pods_no_node_local_one() {
    let bed = Bed::start(BedConfig::new(1).set("ENABLE_V6_EGRESS", "true")).await;
    let (pod, added) = bed.running(0, "pod").await;
    let all = kernel::addresses(pod.path()).await;
    assert_eq!(all.len(), added.addresses.len(), "{all:?}");
    let log = bed.daemon(0).log();
    assert!(log.contains("ENABLE_V6_EGRESS"), "{log}");
    bed.sound(&[&pod]).await;
    bed.end().await;
}

#[tokio::test]
async fn node_local_addresses_are_distinct_over_restarts_kills_and_deletions() {
    let bed = Bed::start(ipv6_alone(1).set("IP_COOLDOWN_PERIOD", "3600")).await;
    let internet = bed.lab().cloud().config().internet[0];
    let mut pods: Vec<(TestPod, Added)> = Vec::new();
    let mut seen = BTreeSet::new();
    for round in 0..3 {
        for number in 0..3 {
            let (pod, added) = bed.running(0, &format!("p{round}{number}")).await;
            let local = node_local(&pod, &added).await;
            assert!(seen.insert(local), "{local} was another pod's a moment ago");
            pods.push((pod, added));
        }
        // Its address cools for an hour, also over the daemon's death.
        let (gone, _) = pods.remove(0);
        bed.del(&gone).await.expect("DEL");
        bed.nothing_in(&gone).await;
        if round == 0 {
            bed.daemon(0).kill().await;
        } else {
            bed.daemon(0).terminate().await;
        }
        bed.daemon(0).start().await;
        for (pod, added) in &pods {
            bed.check(pod, added).await.expect("CHECK");
            leaves_as(pod, internet, bed.node_address(0)).await;
        }
    }
    let all: Vec<&TestPod> = pods.iter().map(|(pod, _)| pod).collect();
    bed.sound(&all).await;
    bed.gc(0, &[]).await.expect("GC");
    for pod in &all {
        bed.nothing_in(pod).await;
    }
    bed.nothing_of_pods(0).await;
    bed.end().await;
}
