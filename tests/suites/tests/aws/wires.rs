//! Nodes made of network namespaces on LocalStack's EC2: the real daemon, the real
//! plugin, the real kernel. The VPC's source check proves the policy routing: it
//! drops what does not come from the interface that EC2 has assigned its address to.

use std::net::IpAddr;

use veni_testbed::{Bed, BedConfig, TestPod, traffic};

/// Packets that the VPC has dropped as forged, all interfaces together.
async fn forged(bed: &Bed) -> u64 {
    let counters = bed.lab().counters().await.expect("counters");
    counters.values().map(|dropped| dropped.forged).sum()
}

/// Index of the interface that EC2 has assigned an address to.
async fn carrier(bed: &Bed, node: usize, address: IpAddr) -> u32 {
    let instance = bed.lab().node(node).instance_id();
    let all = bed.ec2().interfaces(instance).await.expect("the truth");
    let mut all = all.iter().map(|held| &held.interface);
    let found = all.find(|interface| {
        let mut prefixes = interface.prefixes.iter();
        interface.addresses.contains(&address) || prefixes.any(|one| one.contains(&address))
    });
    found
        .unwrap_or_else(|| panic!("{address} is assigned to no interface"))
        .device_index
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_on_two_nodes_reach_each_other() {
    let bed = Bed::start(BedConfig::localstack(2)).await;
    let (here, added) = bed.running(0, "here").await;
    let (there, other) = bed.running(1, "there").await;
    assert_eq!(carrier(&bed, 0, added.address()).await, 0);
    assert!(traffic::reaches(here.path(), other.address()).await);
    assert!(traffic::reaches(there.path(), added.address()).await);
    let pods: [&TestPod; 2] = [&here, &there];
    bed.sound(&pods).await;
    assert_eq!(forged(&bed).await, 0);
    bed.end().await;
}
