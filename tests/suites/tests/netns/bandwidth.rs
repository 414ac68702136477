//! Limits of pods' bandwidth: what a runtime asks for is what gets through, in both
//! directions, and nobody in the pod can take it away.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use veni_testbed::kernel;
use veni_testbed::throughput::{Protocol, measure};
use veni_testbed::{Added, Bed, BedConfig, TestPod, eventually};

const MBIT: f64 = 1_000_000.0;
/// Headers, the first burst and a busy machine.
const TOLERANCE: f64 = 0.15;
/// Time within which everything must be back.
const WITHIN: Duration = Duration::from_secs(2);

/// As containerd asks for limits.
async fn limited(bed: &Bed, name: &str, ingress: u64, egress: u64) -> (TestPod, Added) {
    limited_with(bed, name, ingress, egress, u32::MAX).await
}

async fn limited_with(
    bed: &Bed,
    name: &str,
    ingress: u64,
    egress: u64,
    burst: u32,
) -> (TestPod, Added) {
    let pod = bed.pod(0, name).await;
    let pod = pod.asking_for(json!({"bandwidth": {
        "IngressRate": ingress, "IngressBurst": burst, "EgressRate": egress, "EgressBurst": burst,
    }}));
    let added = bed.add(&pod).await;
    let added = added.unwrap_or_else(|error| panic!("{error}:\n{}", bed.daemon(0).log_tail()));
    (pod, added)
}

async fn assert_rate(from: &Path, to: (&Path, IpAddr), protocol: Protocol, expected: f64) {
    let (namespace, address) = to;
    let address = SocketAddr::new(address, 0);
    let rate = measure(from, (namespace, address), protocol, Duration::from_secs(2)).await;
    let allowed = (1.0 - TOLERANCE) * expected..(1.0 + TOLERANCE) * expected;
    assert!(
        allowed.contains(&rate),
        "{protocol:?}: {rate} bit/s, expected {expected}"
    );
}

async fn qdiscs(node: &Path, link: &str) -> String {
    let listed = kernel::run(node, "tc", &["qdisc", "show", "dev", link]).await;
    listed.unwrap_or_else(|error| error)
}

async fn index(node: &Path, name: &str) -> u32 {
    let links = kernel::links(node).await;
    let link = links.iter().find(|link| link.name == name);
    link.expect("the link is there").index
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_and_sends_what_its_limits_allow_and_no_more() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (pod, added) = limited(&bed, "limited", 10_000_000, 100_000_000).await;
    let (free, other) = bed.running(0, "free").await;
    bed.check(&pod, &added)
        .await
        .expect("all is as ADD has made it");
    let (to, from) = (
        (pod.path(), added.address()),
        (free.path(), other.address()),
    );
    assert_rate(free.path(), to, Protocol::Tcp, 10.0 * MBIT).await;
    assert_rate(free.path(), to, Protocol::Udp(30_000_000), 10.0 * MBIT).await;
    assert_rate(pod.path(), from, Protocol::Tcp, 100.0 * MBIT).await;
    assert_rate(pod.path(), from, Protocol::Udp(200_000_000), 100.0 * MBIT).await;
    // A burst that is smaller than the segments that TCP hands down.
    let (small, with_burst) = limited_with(&bed, "small", 10_000_000, 10_000_000, 8).await;
    let to_small = (small.path(), with_burst.address());
    assert_rate(free.path(), to_small, Protocol::Tcp, 10.0 * MBIT).await;
    // A pod without limits shows that the check can fail.
    let (second, third) = bed.running(0, "second").await;
    let unlimited = SocketAddr::new(third.address(), 0);
    let target = (second.path(), unlimited);
    let rate = measure(free.path(), target, Protocol::Tcp, Duration::from_secs(1)).await;
    assert!(rate > 200.0 * MBIT, "{rate} bit/s without a limit");
    bed.sound(&[&pod, &small, &free, &second]).await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_every_right_in_its_namespace_keeps_its_limits() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (pod, _) = limited(&bed, "limited", 0, 10_000_000).await;
    let (free, other) = bed.running(0, "free").await;
    for command in [
        "qdisc del dev eth0 root",
        "qdisc replace dev eth0 root pfifo limit 1000",
    ] {
        let words: Vec<&str> = command.split_whitespace().collect();
        // There is nothing to delete.
        drop(kernel::run(pod.path(), "tc", &words).await);
    }
    let target = (free.path(), other.address());
    assert_rate(pod.path(), target, Protocol::Tcp, 10.0 * MBIT).await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_survive_a_restart_and_come_back_when_somebody_deletes_them() {
    let bed = Bed::start(BedConfig::new(1).set("VENI_AUDIT_INTERVAL", "3600")).await;
    let (pod, added) = limited(&bed, "limited", 10_000_000, 20_000_000).await;
    let node = bed.node(0);
    let ifb = format!("veni-{}", index(node, &added.host_link).await);
    let whole = async || {
        let (to, from) = (
            qdiscs(node, &added.host_link).await,
            qdiscs(node, &ifb).await,
        );
        match to.contains("rate 10Mbit") && from.contains("rate 20Mbit") && to.contains("clsact") {
            true => bed
                .check(&pod, &added)
                .await
                .map_err(|error| error.to_string()),
            false => Err(format!("{to}\n{from}\n{}", bed.daemon(0).log_tail())),
        }
    };
    whole().await.expect("made by the ADD");
    bed.daemon(0).kill().await;
    let run = async |command: &str| {
        let words: Vec<&str> = command.split_whitespace().collect();
        let ran = kernel::run(node, words[0], &words[1..]).await;
        ran.unwrap_or_else(|error| panic!("{error}"))
    };
    run(&format!("tc qdisc del dev {} root", added.host_link)).await;
    run(&format!("ip link del {ifb}")).await;
    bed.daemon(0).start().await;
    eventually("the limits after a restart", &whole).await;
    for command in [
        format!("tc qdisc del dev {} root", added.host_link),
        format!("tc qdisc del dev {} clsact", added.host_link),
        format!("ip link del {ifb}"),
    ] {
        run(&command).await;
        let begun = Instant::now();
        eventually(&command, &whole).await;
        assert!(begun.elapsed() < WITHIN, "{command}: {:?}", begun.elapsed());
    }
    bed.del(&pod).await.expect("deleted");
    bed.nothing_of_pods(0).await;
    bed.end().await;
}
