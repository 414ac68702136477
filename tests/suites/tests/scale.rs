//! A thousand pods on one node: what an ADD costs as the node fills, how much memory the
//! daemon takes, and how long one that was killed needs to be ready again. `make scale` prints the figures; no
//! lane runs it, because it takes minutes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use std::time::{Duration, Instant};

use futures::StreamExt;
use veni_testbed::cloudlab::mock::CloudConfig;
use veni_testbed::{Bed, BedConfig, TestPod};

const PODS: usize = 1000;
/// ADDs and DELs at the same time.
const AT_ONCE: usize = 4;
/// ADDs that stand for the first and for the last.
const ENDS: usize = 100;
/// A start reads a thousand entries and dumps the kernel once.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Resident memory of a node's daemon, kilobytes.
async fn memory(bed: &Bed) -> u64 {
    let pid = bed.daemon(0).pid().await.expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words = line.and_then(|line| line.split_whitespace().nth(1));
    words.expect("a number").parse().expect("a number")
}

fn median(of: &[Duration]) -> Duration {
    let mut sorted = of.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}

#[tokio::test]
async fn a_daemon_with_a_thousand_pods_is_soon_ready_again_and_loses_none() {
    let config = BedConfig::new(1)
        .cloud(CloudConfig::aws().instant())
        .instance_type("c5.18xlarge")
        .set("ENABLE_PREFIX_DELEGATION", "true")
        .set("WARM_IP_TARGET", "16")
        .set("MINIMUM_IP_TARGET", "1020")
        .set("MAX_PODS", "1040")
        .set("IP_COOLDOWN_PERIOD", "1");
    let bed = Bed::start(config).await;
    let empty = memory(&bed).await;
    let mut pods: Vec<TestPod> = Vec::new();
    let mut took = Vec::new();
    for number in 0..PODS {
        let pod = bed.pod(0, &format!("p{number}")).await;
        let begun = Instant::now();
        bed.add(&pod).await.expect("ADD");
        took.push(begun.elapsed());
        pods.push(pod);
    }
    let (first, last) = (median(&took[..ENDS]), median(&took[PODS - ENDS..]));
    let full = memory(&bed).await;
    bed.daemon(0).kill().await;
    let begun = Instant::now();
    bed.daemon(0).start().await;
    let ready = begun.elapsed();
    println!(
        "ADD p50: first {ENDS} {first:?}, last {ENDS} {last:?}; ready after kill -9 {ready:?}"
    );
    let restarted = memory(&bed).await;
    println!(
        "memory: without pods {empty} kB, with {PODS} {full} kB, after the restart {restarted} kB"
    );
    assert!(ready < READY_WITHIN, "ready after {ready:?}");
    let all: Vec<&TestPod> = pods.iter().collect();
    bed.sound(&all).await;
    let evidence = bed.evidence(&[]).await.expect("evidence");
    assert_eq!(evidence.nodes[0].endpoints.len(), PODS);
    futures::stream::iter(&pods)
        .for_each_concurrent(AT_ONCE, async |pod| bed.del(pod).await.expect("DEL"))
        .await;
    bed.nothing_of_pods(0).await;
    bed.end().await;
}
