//! Prefix delegation turned on and off under running pods, and a subnet too
//! fragmented for it: with the real daemon, and traffic that goes on meanwhile.

use std::net::IpAddr;

use ipnet::IpNet;
use veni_testbed::cloudlab::Fill;
use veni_testbed::traffic::{Stream, reaches};
use veni_testbed::{Bed, BedConfig, Death, eventually};

use crate::wires::{all, described, end_well, talk, until_secondary};

const DELEGATION: &str = "ENABLE_PREFIX_DELEGATION";

/// What EC2 describes on the interfaces of a node.
struct Held {
    /// Secondary addresses, each by itself.
    addresses: usize,
    prefixes: Vec<IpNet>,
}

async fn held(bed: &Bed, node: usize) -> Held {
    let interfaces = described(bed, node).await;
    let secondary = interfaces.iter().map(|one| {
        let shown = one.private_ip_addresses().iter();
        shown.filter(|one| one.primary() != Some(true)).count()
    });
    let prefixes = interfaces.iter().flat_map(|one| one.ipv4_prefixes());
    let range = |text: &str| text.parse().expect("a range");
    Held {
        addresses: secondary.sum(),
        prefixes: prefixes
            .filter_map(|one| one.ipv4_prefix().map(range))
            .collect(),
    }
}

/// Waits until a node holds so much.
async fn until_held(bed: &Bed, node: usize, what: &str, enough: impl Fn(&Held) -> bool) {
    eventually(what, async || {
        let held = held(bed, node).await;
        let (single, prefixes) = (held.addresses, &held.prefixes);
        let told = format!("{single} single addresses and {prefixes:?} are held");
        enough(&held).then_some(()).ok_or(told)
    })
    .await;
}

async fn is_of_a_prefix(bed: &Bed, node: usize, address: IpAddr) -> bool {
    let prefixes = held(bed, node).await.prefixes;
    prefixes.iter().any(|range| range.contains(&address))
}

/// Ends a daemon in order and starts it with another mode.
async fn restart(bed: &Bed, node: usize, delegation: &str) {
    let daemon = bed.daemon(node);
    assert_eq!(daemon.terminate().await, Death::Exited(0));
    daemon.start_with(&[(DELEGATION, delegation)]).await;
    daemon.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_notice_nothing_when_prefix_delegation_is_turned_on() {
    let config = BedConfig::localstack(2)
        .instance_type("t3.small")
        .set("WARM_IP_TARGET", "1");
    let bed = Bed::start(config).await;
    let (peer, other) = bed.running(1, "peer").await;
    let old = until_secondary(&bed, 0, "old").await;
    let mut streams = Vec::new();
    for (_, added) in [&old[0], &old[old.len() - 1]] {
        streams.push(Stream::start(peer.path(), added.address()).await);
    }
    restart(&bed, 0, "true").await;
    until_held(&bed, 0, "only pods hold single addresses", |held| {
        held.addresses == old.len() && !held.prefixes.is_empty()
    })
    .await;
    let (new, added) = bed.running(0, "new").await;
    assert!(is_of_a_prefix(&bed, 0, added.address()).await, "{added:?}");
    talk((&new, &added), (&peer, &other)).await;
    for (pod, added) in &old {
        bed.check(pod, added).await.expect("it kept its address");
    }
    for stream in streams {
        stream.lost_nothing().await;
    }
    let old = [old];
    let mut everybody = all(&old);
    everybody.extend([&new, &peer]);
    bed.sound(&everybody).await;

    let stream = Stream::start(peer.path(), added.address()).await;
    for (pod, _) in &old[0] {
        bed.del(pod).await.expect("DEL");
    }
    until_held(&bed, 0, "one prefix is left", |held| {
        held.addresses == 0 && held.prefixes.len() == 1
    })
    .await;
    stream.lost_nothing().await;
    end_well(bed, &everybody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_notice_nothing_when_prefix_delegation_is_turned_off() {
    let config = BedConfig::localstack(2)
        .set("WARM_IP_TARGET", "1")
        .set(DELEGATION, "true");
    let bed = Bed::start(config).await;
    let (peer, other) = bed.running(1, "peer").await;
    let (old, kept) = bed.running(0, "old").await;
    assert!(is_of_a_prefix(&bed, 0, kept.address()).await, "{kept:?}");
    let stream = Stream::start(peer.path(), kept.address()).await;
    restart(&bed, 0, "false").await;
    until_held(&bed, 0, "a single address is there", |held| {
        held.addresses > 0
    })
    .await;
    // EC2 shows it a moment before the daemon has the answer.
    bed.sound(&[&old, &peer]).await;
    let (new, added) = bed.running(0, "new").await;
    assert!(!is_of_a_prefix(&bed, 0, added.address()).await, "{added:?}");
    talk((&new, &added), (&peer, &other)).await;
    assert!(is_of_a_prefix(&bed, 0, kept.address()).await, "{kept:?}");
    bed.check(&old, &kept).await.expect("it kept its address");
    stream.lost_nothing().await;
    bed.sound(&[&old, &new, &peer]).await;

    let stream = Stream::start(peer.path(), added.address()).await;
    bed.del(&old).await.expect("DEL");
    until_held(&bed, 0, "no prefix is left", |held| {
        held.prefixes.is_empty()
    })
    .await;
    stream.lost_nothing().await;
    end_well(bed, &[&old, &new, &peer]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_live_on_single_addresses_while_the_subnet_has_no_free_prefix() {
    let config = BedConfig::localstack(2)
        .set("WARM_IP_TARGET", "1")
        .set("VENI_SUBNET_RETRY", "3")
        .set(DELEGATION, "true");
    let bed = Bed::start_without_daemons(config).await;
    let (ec2, subnet) = (bed.ec2(), bed.ec2().subnets()[0].to_string());
    let taken = ec2.control().fill(&subnet, &Fill::Fragment).await;
    taken.expect("the subnet can be fragmented");
    tokio::join!(bed.daemon(0).start(), bed.daemon(1).start());
    let (here, added) = bed.running(0, "here").await;
    let (there, other) = bed.running(1, "there").await;
    for node in [0, 1] {
        let prefixes = held(&bed, node).await.prefixes;
        assert!(prefixes.is_empty(), "no block of 16 is free: {prefixes:?}");
    }
    talk((&here, &added), (&there, &other)).await;
    bed.sound(&[&here, &there]).await;

    let stream = Stream::start(there.path(), added.address()).await;
    let free = ec2.control().fill(&subnet, &Fill::Clear).await;
    free.expect("the subnet can be freed");
    for node in [0, 1] {
        until_held(&bed, node, "a prefix comes", |held| {
            !held.prefixes.is_empty()
        })
        .await;
    }
    // EC2 shows them a moment before the daemons have the answers.
    bed.sound(&[&here, &there]).await;
    let (late, late_added) = bed.running(0, "late").await;
    let (far, far_added) = bed.running(1, "far").await;
    for (node, added) in [(0, &late_added), (1, &far_added)] {
        assert!(
            is_of_a_prefix(&bed, node, added.address()).await,
            "{added:?}"
        );
    }
    assert!(reaches(late.path(), far_added.address()).await);
    assert!(reaches(far.path(), added.address()).await);
    stream.lost_nothing().await;
    end_well(bed, &[&here, &there, &late, &far]).await;
}
