//! `--bandwidth`: what gets through to a pod and from it under limits, from the first byte on.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use veni_terminal::println;
use veni_testbed::throughput::{Protocol, measure};
use veni_testbed::{Added, Bed, BedConfig, TestPod};

/// Limits, bits a second.
const RATES: [u64; 3] = [10_000_000, 100_000_000, 1_000_000_000];
/// How long each stream is measured; a quick run measures a fifth of it.
const DURATION: Duration = Duration::from_secs(10);

/// Measures each limit in both directions, by TCP and by UDP, and prints a line for each:
/// payload, and how far it is from the limit.
pub(crate) fn run(quick: bool) -> anyhow::Result<()> {
    let duration = if quick { DURATION / 5 } else { DURATION };
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    runtime.block_on(async {
        println!("limit Mbit/s  direction  protocol  payload Mbit/s  deviation");
        let bed = Bed::start(BedConfig::new(1)).await;
        let free = bed.running(0, "free").await;
        for rate in RATES {
            let pod = bed.pod(0, &format!("limited-{rate}")).await;
            let pod = pod.asking_for(json!({"bandwidth": {
                "ingressRate": rate, "egressRate": rate,
            }}));
            let added = bed.add(&pod).await;
            let added = added.map_err(|error| anyhow::anyhow!("ADD: {error}"))?;
            limit(rate, &(pod, added), &free, duration).await;
        }
        bed.end().await;
        Ok(())
    })
}

async fn limit(rate: u64, limited: &(TestPod, Added), free: &(TestPod, Added), duration: Duration) {
    // A third more than what gets through.
    let offered = rate / 3 * 4;
    for (direction, from, to) in [("to pod", free, limited), ("from pod", limited, free)] {
        for (name, protocol) in [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp(offered))] {
            let target = (to.0.path(), SocketAddr::new(to.1.address(), 0));
            let measured = measure(from.0.path(), target, protocol, duration).await;
            let deviation = (measured / rate as f64 - 1.0) * 100.0;
            let (limit, payload) = (rate / 1_000_000, measured / 1e6);
            println!(
                "{limit:>12}  {direction:<9}  {name:<8}  {payload:>14.2}  {deviation:>+8.1} %"
            );
        }
    }
}
