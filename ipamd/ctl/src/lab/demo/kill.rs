//! The chapter in which a daemon is killed: its pods must not notice, and
//! nothing may be lost.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use veni_cloudlab::{PingStream, ping_until};

use super::super::control::{Control, Description, NodeDescription, Request};
use super::super::{pods, readiness};
use super::evidence::Evidence;
use super::story::{SETTLE, settled};
use crate::table::render;

/// Between two pings while the daemon is killed.
const PING_EVERY: Duration = Duration::from_millis(5);

pub(super) async fn tell(control: &Control) -> anyhow::Result<()> {
    let lab = control.describe().await?;
    let node = lab.nodes.first().context("no node")?;
    println!(
        "The ipamd of {} is killed while its pods talk to pods of the other node.\n",
        node.name
    );
    settled(node).await?;
    let before = Evidence::take(&lab, node).await?;
    let stop = CancellationToken::new();
    let streams = talk(&lab, node, &stop)?;
    sleep(Duration::from_millis(300)).await;

    let old = node.daemon.context("no ipamd is running")?;
    let killed = Instant::now();
    control
        .tell(&Request::Kill {
            node: node.name.clone(),
            stay_dead: false,
        })
        .await?;
    readiness::wait(&node.operator_socket(), SETTLE).await?;
    let recovery = killed.elapsed();
    sleep(Duration::from_millis(500)).await;
    stop.cancel();
    let mut sum = PingStream::default();
    for stream in streams {
        let stream = stream.await??;
        sum.sent += stream.sent;
        sum.answered += stream.answered;
    }
    let lab = control.describe().await?;
    let node = lab.node(&node.name)?;
    let new = node.daemon.context("no ipamd is running")?;
    ensure!(new != old, "the daemon was not killed");
    println!(
        "process {old} is dead; process {new} was ready {:.0} ms after the kill",
        recovery.as_secs_f64() * 1e3
    );
    println!(
        "pings between pods meanwhile: {} sent, {} answered",
        sum.sent, sum.answered
    );
    ensure!(
        sum.sent == sum.answered,
        "{} pings were lost",
        sum.sent - sum.answered
    );
    settled(node).await?;
    compare(&before, &Evidence::take(&lab, node).await?)?;
    for (_, outcome) in pods::add(control, &lab, &node.name, vec!["after".to_owned()]).await? {
        println!("the next pod's ADD took {:.1} ms", outcome?.milliseconds);
    }
    Ok(())
}

type Stream = tokio::task::JoinHandle<std::io::Result<PingStream>>;

/// Pings from some pods of a node, on different interfaces, to a pod of another.
fn talk(
    lab: &Description,
    node: &NodeDescription,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<Stream>> {
    let far = lab
        .pods
        .iter()
        .find(|pod| pod.node != node.name)
        .context("no pod on another node")?;
    let target = far
        .attached
        .as_ref()
        .and_then(|got| got.addresses.first())
        .copied()
        .context("no address")?;
    let near: Vec<_> = lab
        .pods
        .iter()
        .filter(|pod| pod.node == node.name)
        .collect();
    let some = near.iter().step_by((near.len() / 4).max(1));
    Ok(some
        .map(|pod| {
            let (namespace, stop) = (pod.namespace.clone(), stop.clone());
            tokio::spawn(async move {
                ping_until(&namespace, target, PING_EVERY, Duration::from_secs(2), stop).await
            })
        })
        .collect())
}

fn compare(before: &Evidence, after: &Evidence) -> anyhow::Result<()> {
    let row = |what: &str, count: fn(&Evidence) -> usize| {
        vec![
            what.to_owned(),
            count(before).to_string(),
            count(after).to_string(),
        ]
    };
    let rows = vec![
        row("cloud: interfaces", |one| one.cloud.len()),
        row("cloud: assigned addresses", Evidence::assigned),
        row("ipamd: endpoints", |one| one.endpoints.len()),
        row("kernel: links", |one| one.count("links")),
        row("kernel: routes", |one| one.count("routes")),
        row("kernel: rules", |one| one.count("rules")),
    ];
    print!("{}", render(&["the node's", ">before", ">after"], rows));
    let differences = before.differences(after);
    for one in differences.iter().take(10) {
        println!("differs: {one}");
    }
    ensure!(
        differences.is_empty(),
        "{} things differ after the kill",
        differences.len()
    );
    println!("compared one by one: nothing lost, nothing new, nothing changed");
    Ok(())
}
