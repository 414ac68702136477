//! The chapter in which a daemon is killed. Its pods must not notice it, and nothing may
//! be lost.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use veni_api::v1::CheckNodeRequest;
use veni_cloudlab::{PingStream, command_in, ping_until};
use veni_terminal::{print, println};

use super::super::control::{Control, Description, NodeDescription, Request};
use super::super::{pods, readiness};
use super::evidence::Evidence;
use super::story::{SETTLE, settled};
use crate::check;
use crate::table::render;

/// Pods that are being started when the daemon is killed the second time.
const AMID: u32 = 10;
/// Time between the start of their plugins and the second kill.
const AMID_KILL: Duration = Duration::from_millis(15);
/// Pause between two pings while the daemon is down.
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
    let checked = check::ask(&node.operator_socket(), CheckNodeRequest::default()).await?;
    println!("veni check: {}", check::summary(&checked));
    ensure!(checked.findings.is_empty(), "{:#?}", checked.findings);
    amid_adds(control).await
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

/// Kills the daemon again while it is giving pods their network; those that
/// fail are tried again, as a kubelet does.
async fn amid_adds(control: &Control) -> anyhow::Result<()> {
    let lab = control.describe().await?;
    let node = lab.nodes.first().context("no node")?.clone();
    let names: Vec<String> = (1..=AMID).map(|number| format!("amid-{number}")).collect();
    let mut failed = 0;
    let deadline = Instant::now() + SETTLE;
    println!(
        "\nagain, while {AMID} pods are being started on {}:",
        node.name
    );
    let made = control.create_pods(&node.name, names).await?;
    let request = Request::Kill {
        node: node.name.clone(),
        stay_dead: false,
    };
    let began = Instant::now();
    let (outcomes, killed) = tokio::join!(pods::attach(control, &lab, &node.name, made), async {
        sleep(AMID_KILL).await;
        control.tell(&request).await
    });
    killed?;
    let mut outcomes = outcomes?;
    loop {
        let again = outcomes.iter().filter(|(_, outcome)| outcome.is_err());
        let missing: Vec<String> = again.map(|(pod, _)| pod.name.clone()).collect();
        if missing.is_empty() {
            break;
        }
        failed += missing.len();
        ensure!(
            Instant::now() < deadline,
            "{} get no network",
            missing.join(", ")
        );
        readiness::wait(&node.operator_socket(), SETTLE).await?;
        outcomes = pods::add(control, &lab, &node.name, missing).await?;
    }
    println!(
        "all have their network after {:.2} s; {failed} of their ADDs failed and were repeated, the others waited for the daemon",
        began.elapsed().as_secs_f64()
    );
    agree(control, &node).await
}

/// Whether lab, daemon and kernel name the same pods, each with an address of its own.
async fn agree(control: &Control, node: &NodeDescription) -> anyhow::Result<()> {
    let report = settled(node).await?;
    let lab = control.describe().await?;
    let pods = lab.pods.iter().filter(|pod| pod.node == node.name).count();
    let endpoints = &report.endpoints.endpoints;
    let addresses: BTreeSet<&String> = endpoints.iter().flat_map(|one| &one.addresses).collect();
    let wanted: BTreeSet<String> = endpoints
        .iter()
        .map(|one| one.host_interface.clone())
        .collect();
    let deadline = Instant::now() + SETTLE;
    let links = loop {
        // The links of ADDs that were undone go a moment later.
        let links = pod_links(node).await?;
        if links == wanted || Instant::now() >= deadline {
            break links;
        }
        sleep(Duration::from_millis(50)).await;
    };
    println!(
        "{pods} pods, {} endpoints, {} addresses, {} links of pods: nothing lost, double or left",
        endpoints.len(),
        addresses.len(),
        links.len()
    );
    ensure!(
        endpoints.len() == pods,
        "the daemon has {} endpoints",
        endpoints.len()
    );
    ensure!(
        addresses.len() == pods,
        "there are {} addresses",
        addresses.len()
    );
    ensure!(
        links == wanted,
        "the kernel has other links than the daemon"
    );
    Ok(())
}

/// Names of the node's links that lead to pods: all veth links except those to the VPC.
async fn pod_links(node: &NodeDescription) -> anyhow::Result<BTreeSet<String>> {
    let output = command_in(&node.namespace, "ip")
        .args(["-j", "link", "show", "type", "veth"])
        .output()
        .await?;
    ensure!(output.status.success(), "ip failed on {}", node.name);
    let all: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let names = all.iter().filter_map(|one| one["ifname"].as_str());
    Ok(names
        .filter(|name| !name.starts_with("eth"))
        .map(str::to_owned)
        .collect())
}
