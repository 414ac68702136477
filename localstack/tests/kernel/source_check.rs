//! The VPC carries what is assigned, and drops and counts what is not.

use std::net::IpAddr;

use veni_cloudlab::mock::CloudConfig;
use veni_cloudlab::mock::config::{Peer, SecurityRule};
use veni_cloudlab::with_ipv6;
use veni_provider::{AddressSlots, AttachRequest, Family, Grant, Provider};

use crate::bed::{
    PATIENCE, assign, hold, ip_set, lab, listen, primary, provider, reaches, send, silent,
};

#[tokio::test]
async fn a_forged_source_is_counted_packet_by_packet_and_an_assigned_one_passes_uncounted() {
    let (lab, _folder) = lab(CloudConfig::aws().instant()).await;
    let id = primary(&provider(&lab, 0)).await;
    let assigned = assign(&lab, 0, &id, Family::V4).await;
    let forged: IpAddr = "10.0.15.250".parse().unwrap();
    hold(lab.node(0), assigned).await;
    hold(lab.node(0), forged).await;
    let target = lab.node(1).addresses()[0];
    let inbox = listen(lab.node(1), target, 9).await;
    let before = lab.counters().await.unwrap()[&id];

    send(lab.node(0), forged, target, 7).await;
    send(lab.node(0), assigned, target, 1).await;
    // The wire keeps order: whatever comes first has the assigned source.
    let (_, from) = inbox.recv_from(&mut [0; 8]).unwrap();
    assert_eq!(from.ip(), assigned);
    let after = lab.counters().await.unwrap()[&id];
    assert_eq!(after.forged - before.forged, 7);
    assert_eq!(after.refused, before.refused);
    lab.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_released_address_passes_no_more_and_moves_to_another_node() {
    let mut cloud = CloudConfig::aws().instant();
    cloud.subnets.truncate(1);
    let (lab, _folder) = lab(cloud).await;
    let (first, second) = (provider(&lab, 0), provider(&lab, 1));
    let (one, other) = (primary(&first).await, primary(&second).await);
    let address = assign(&lab, 0, &one, Family::V4).await;
    hold(lab.node(0), address).await;
    assert!(
        reaches(lab.node(1), address).await,
        "it answers while assigned"
    );

    let grant = Grant {
        addresses: vec![address],
        prefixes: Vec::new(),
    };
    first.release(&one, &grant).await.unwrap();
    lab.settled().await.unwrap();
    assert!(
        silent(lab.node(1), address).await,
        "it must not answer when released"
    );
    let before = lab.counters().await.unwrap()[&one].forged;
    send(lab.node(0), address, lab.node(1).addresses()[0], 2).await;
    assert_eq!(lab.counters().await.unwrap()[&one].forged - before, 2);

    let elsewhere = assign(&lab, 1, &other, Family::V4).await;
    hold(lab.node(1), elsewhere).await;
    assert!(reaches(lab.node(0), elsewhere).await);
    lab.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_address_of_one_interface_is_forged_on_another_of_the_same_node() {
    let (lab, _folder) = lab(CloudConfig::aws().instant()).await;
    let provider = provider(&lab, 0);
    let slots = AddressSlots::Prefixes {
        family: Family::V4,
        count: 1,
    };
    let request = AttachRequest {
        subnet: None,
        slots: Some(slots),
        token: "one".to_owned(),
    };
    let second = provider.attach_interface(&request).await.unwrap();
    lab.settled().await.unwrap();
    let primary = primary(&provider).await;
    let inside = second.prefixes[0].hosts().nth(3).unwrap();
    let node = lab.node(0);
    hold(node, inside).await;
    let target = lab.node(1).addresses()[0];
    let inbox = listen(lab.node(1), target, 9).await;

    send(node, inside, target, 3).await; // by the main table: out of eth0
    let counters = lab.counters().await.unwrap();
    assert_eq!(counters[&primary].forged, 3);
    assert_eq!(counters[&second.id].forged, 0);

    ip_set(node, "link set eth1 up").await;
    let gateway = second.gateways[0];
    ip_set(
        node,
        &format!("route add default via {gateway} dev eth1 onlink table 77"),
    )
    .await;
    ip_set(
        node,
        &format!("rule add from {inside} lookup 77 priority 77"),
    )
    .await;
    send(node, inside, target, 1).await;
    assert_eq!(inbox.recv_from(&mut [0; 8]).unwrap().1.ip(), inside);
    assert_eq!(lab.counters().await.unwrap()[&second.id].forged, 0);
    lab.shutdown().await.unwrap();
}

#[tokio::test]
async fn ipv6_passes_the_same_check() {
    let (lab, _folder) = lab(with_ipv6(CloudConfig::aws().instant())).await;
    let id = primary(&provider(&lab, 0)).await;
    let assigned = assign(&lab, 0, &id, Family::V6).await;
    let forged: IpAddr = "2001:db8:10::bad".parse().unwrap();
    hold(lab.node(0), assigned).await;
    hold(lab.node(0), forged).await;
    let peer = lab.node(1).addresses();
    let target = *peer.iter().find(|one| one.is_ipv6()).unwrap();
    assert!(reaches(lab.node(0), target).await);
    assert!(reaches(lab.node(1), assigned).await);
    let inbox = listen(lab.node(1), target, 9).await;
    let before = lab.counters().await.unwrap()[&id].forged;
    send(lab.node(0), forged, target, 4).await;
    send(lab.node(0), assigned, target, 1).await;
    assert_eq!(inbox.recv_from(&mut [0; 8]).unwrap().1.ip(), assigned);
    assert_eq!(lab.counters().await.unwrap()[&id].forged - before, 4);
    lab.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_security_group_lets_in_what_it_names_and_refuses_and_counts_the_rest() {
    let mut cloud = CloudConfig::aws().instant();
    let network = cloud.vpc_cidrs[0];
    let datagrams_to = |port| SecurityRule {
        protocol: Some(17),
        ports: Some((port, port)),
        peer: Peer::Cidr(network),
    };
    cloud.security_groups[0].ingress = vec![datagrams_to(9)];
    let (lab, _folder) = lab(cloud).await;
    let id = primary(&provider(&lab, 1)).await;
    let (from, to) = (lab.node(0).addresses()[0], lab.node(1).addresses()[0]);
    let inbox = listen(lab.node(1), to, 9).await;
    send(lab.node(0), from, to, 1).await;
    inbox.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(inbox.recv_from(&mut [0; 8]).unwrap().1.ip(), from);
    assert_eq!(lab.counters().await.unwrap()[&id].refused, 0);
    assert!(silent(lab.node(0), to).await, "ping is not in the group");
    assert!(lab.counters().await.unwrap()[&id].refused > 0);
    lab.shutdown().await.unwrap();
}
