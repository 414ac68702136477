//! Plugins that are killed at random instants, as a runtime kills them when its
//! own deadline passes.

use std::time::Duration;

use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use veni_testbed::{Bed, BedConfig, TestPod, binaries};

const PODS: usize = 40;
/// Longer than a call takes, so that some are not interrupted at all.
const LATEST_MICROS: u64 = 25_000;

/// Runs a command for a pod and kills the plugin after a delay, unless it ends before.
async fn interrupted(bed: &Bed, command: &'static str, pod: &TestPod, delay: Duration) {
    let call = bed.call(command, pod);
    let mut child = call.start(bed.exec(0, binaries::plugin())).await;
    if tokio::time::timeout(delay, child.wait()).await.is_err() {
        child.kill().await.expect("the plugin can be killed");
    }
}

#[tokio::test]
async fn plugins_killed_at_random_instants_leave_no_leak_and_no_half_built_pod() {
    let bed = Bed::start(BedConfig::new(1).instance_type("m5.xlarge")).await;
    let mut random = StdRng::seed_from_u64(20);
    let mut delays = || Duration::from_micros(random.random_range(0..LATEST_MICROS));
    let mut pods = Vec::new();
    for number in 0..PODS {
        pods.push((bed.pod(0, &format!("p{number}")).await, delays(), delays()));
    }
    let all: Vec<&TestPod> = pods.iter().map(|(pod, ..)| pod).collect();
    // Half of them are asked for again, half are given up, as runtimes do.
    futures::stream::iter(pods.iter().enumerate())
        .for_each_concurrent(4, async |(number, (pod, delay, _))| {
            interrupted(&bed, "ADD", pod, *delay).await;
            let done = if number % 2 == 0 {
                bed.add(pod).await.map(drop)
            } else {
                bed.del(pod).await
            };
            done.unwrap_or_else(|error| panic!("what followed a killed ADD: {error}"));
        })
        .await;
    bed.sound(&all).await;
    let evidence = bed.evidence(&all).await.expect("evidence");
    assert_eq!(evidence.nodes[0].endpoints.len(), PODS / 2);
    futures::stream::iter(&pods)
        .for_each_concurrent(4, async |(pod, _, delay)| {
            interrupted(&bed, "DEL", pod, *delay).await;
            bed.del(pod)
                .await
                .unwrap_or_else(|error| panic!("what followed a killed DEL: {error}"));
        })
        .await;
    bed.nothing_of_pods(0).await;
    bed.sound(&all).await;
    bed.end().await;
}
