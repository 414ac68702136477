//! The demo's chapters: each does something, shows it, and checks it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::time::sleep;
use veni_terminal::{print, println};

use super::super::control::{Control, Description, NodeDescription};
use super::super::remains::{Machine, Remains, Watch};
use super::super::statistics::Statistics;
use super::super::{burst, matrix, pods};
use crate::status::{Report, owner};
use crate::table::render;

/// Pods of the burst for which no warm address is left.
const BEYOND: u32 = 60;
/// How long the cloud and the pool may take to settle.
pub(super) const SETTLE: Duration = Duration::from_secs(30);
/// Time without an event after which the pool is at rest.
const QUIET: Duration = Duration::from_millis(200);

pub(super) fn welcome() {
    println!("Veni gives pods addresses of the cloud network itself. Here is all of it at work:");
    println!("a cloud network, two nodes with ipamd, and pods by the CNI plugin, on this machine.");
}

/// The reader of the demo has gone, so it ends at its next chapter.
#[derive(Debug)]
pub(super) struct ReaderIsGone;

impl fmt::Display for ReaderIsGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads any more")
    }
}

impl std::error::Error for ReaderIsGone {}

/// Begins a chapter, if somebody still reads.
fn chapter(number: u32, title: &str, began: Instant) -> Result<(), ReaderIsGone> {
    headline(number, title, began);
    if veni_terminal::reader_is_gone() {
        return Err(ReaderIsGone);
    }
    Ok(())
}

fn headline(number: u32, title: &str, began: Instant) {
    let title = format!("{number}. {title}");
    println!(
        "\n── {title} {} {:.1} s ──",
        "─".repeat(64_usize.saturating_sub(title.chars().count())),
        began.elapsed().as_secs_f64()
    );
}

/// The story up to the end of the pods. Leaves in `watch` a look at the lab when it was
/// largest, to compare with what is left in the end.
pub(super) async fn tell(
    control: &Control,
    began: Instant,
    before: &Machine,
    watch: &mut Option<Watch>,
) -> anyhow::Result<()> {
    chapter(1, "A cloud with two nodes", began)?;
    network(control).await?;
    chapter(2, "Pods by the CNI plugin", began)?;
    first_pods(control).await?;
    chapter(3, "Who reaches whom", began)?;
    reachability(control).await?;
    chapter(
        4,
        &format!("A burst of {BEYOND} pods beyond the warm pool"),
        began,
    )?;
    go_beyond(control).await?;
    chapter(5, "kill -9", began)?;
    super::kill::tell(control).await?;
    *watch = Some(Watch::start(&control.describe().await?, before)?);
    chapter(6, "Every pod is deleted", began)?;
    delete_all(control).await
}

async fn network(control: &Control) -> anyhow::Result<()> {
    let lab = control.describe().await?;
    println!(
        "The VPC, a host in the internet and the nodes are network namespaces. The cloud is a"
    );
    println!(
        "mock with EC2's rules, limits and latencies; it plugs interfaces into the nodes. The"
    );
    println!("VPC drops every packet whose source address the cloud has not assigned to the");
    println!("interface it comes from, so a wrong route shows here as it would in a cloud.\n");
    let mut rows = Vec::new();
    for node in &lab.nodes {
        let pool = settled(node).await?.pool;
        rows.push(vec![
            node.name.clone(),
            node.instance_id.clone(),
            pool.instance_type,
            addresses(&node.addresses),
            node.daemon.map(|pid| pid.to_string()).unwrap_or_default(),
            pool.free.to_string(),
            pool.targets.join(" "),
        ]);
    }
    print!(
        "{}",
        render(
            &[
                "node", "instance", "type", "address", "ipamd", ">warm", "targets"
            ],
            rows
        )
    );
    Ok(())
}

fn addresses(all: &[std::net::IpAddr]) -> String {
    all.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Waits until a node's pool is warm and nothing has been under way for a while.
pub(super) async fn settled(node: &NodeDescription) -> anyhow::Result<Report> {
    let deadline = Instant::now() + SETTLE;
    let mut quiet_since = None;
    loop {
        let report = Report::fetch(&node.operator_socket()).await?;
        let Report { pool, plan, .. } = &report;
        let quiet = plan.actions.is_empty()
            && pool.free > 0
            && pool.waiting == 0
            && pool.cloud_error.is_empty();
        let now = Instant::now();
        let since = *quiet_since.get_or_insert(now);
        if !quiet {
            quiet_since = None;
        } else if now - since >= QUIET {
            return Ok(report);
        }
        if now >= deadline {
            bail!("{} does not settle:\n{}", node.name, report.as_text(true));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn first_pods(control: &Control) -> anyhow::Result<()> {
    let lab = control.describe().await?;
    println!(
        "Each pod's address is the cloud's own, out of the warm pool: no cloud call is waited for.\n"
    );
    for node in &lab.nodes {
        for letter in ["a", "b", "c"] {
            let names = vec![format!("{letter}{}", node.number)];
            let ports = match letter {
                "a" => &[super::host_port::PORT][..],
                _ => &[],
            };
            let added = pods::add_with_ports(control, &lab, &node.name, names, ports).await?;
            for (_, outcome) in added {
                outcome?;
            }
        }
    }
    let lab = control.describe().await?;
    print!("{}", pod_table(&lab).await?);
    let all = lab.pods.iter().filter_map(|pod| pod.attached.as_ref());
    let unique: BTreeSet<_> = all.flat_map(|got| &got.addresses).collect();
    ensure!(
        unique.len() == lab.pods.len(),
        "an address was given out twice"
    );
    Ok(())
}

/// Pods with the cloud interface that carries them.
async fn pod_table(lab: &Description) -> anyhow::Result<String> {
    let mut carriers = BTreeMap::new();
    for node in &lab.nodes {
        let report = Report::fetch(&node.operator_socket()).await?;
        for endpoint in &report.endpoints.endpoints {
            let mut interfaces = report.pool.interfaces.iter();
            let link = interfaces.find(|one| one.id == endpoint.cloud_interface);
            let link = link.map(|one| one.link.clone()).unwrap_or_default();
            carriers.insert(
                owner(endpoint),
                format!("{} ({link})", endpoint.cloud_interface),
            );
        }
    }
    let mut rows = Vec::new();
    for pod in &lab.pods {
        let attached = pod
            .attached
            .as_ref()
            .with_context(|| format!("pod {} has no network", pod.name))?;
        let owner = format!(
            "{}/{}",
            super::super::plugin::KUBERNETES_NAMESPACE,
            pod.name
        );
        rows.push(vec![
            pod.name.clone(),
            pod.node.clone(),
            addresses(&attached.addresses),
            carriers.get(&owner).cloned().unwrap_or_default(),
            attached.host_interface.clone(),
            format!("{:.1} ms", attached.milliseconds),
        ]);
    }
    Ok(render(
        &[
            "pod",
            "node",
            "address",
            "cloud interface",
            "link on the node",
            ">add took",
        ],
        rows,
    ))
}

async fn reachability(control: &Control) -> anyhow::Result<()> {
    println!(
        "Pings from everything to everything. The host in the internet has to see the address"
    );
    println!("of the node, not the pod's: the cloud's gateway translates no other.\n");
    for matrix in matrix::measure(&control.describe().await?).await? {
        print!("{}", matrix.as_text());
        ensure!(
            matrix.problems().is_empty(),
            "not everything reaches everything"
        );
    }
    super::host_port::tell(&control.describe().await?).await
}

async fn go_beyond(control: &Control) -> anyhow::Result<()> {
    let lab = control.describe().await?;
    let node = lab.nodes.first().context("no node")?;
    let warm = settled(node).await?.pool.free;
    let count = warm + BEYOND;
    println!(
        "{} has {warm} warm addresses; {count} pods start on it at the same instant. Those for",
        node.name
    );
    println!(
        "which none is left wait in order while the pool assigns addresses and attaches interfaces.\n"
    );
    let burst = burst::burst(control, &node.name, count).await?;
    print!("{}", burst.as_text());
    ensure!(
        burst.failures.is_empty(),
        "{} pods of the burst got no network",
        burst.failures.len()
    );

    let report = settled(node).await?;
    let mut carried: BTreeMap<&str, usize> = BTreeMap::new();
    for endpoint in &report.endpoints.endpoints {
        *carried.entry(&endpoint.cloud_interface).or_default() += 1;
    }
    let shown: Vec<String> = report
        .pool
        .interfaces
        .iter()
        .map(|one| {
            format!(
                "{} {}",
                one.link,
                carried.get(one.id.as_str()).copied().unwrap_or_default()
            )
        })
        .collect();
    println!("pods by interface: {}", shown.join(", "));
    ensure!(
        carried.len() > 1,
        "all pods are on one interface: no policy route was tried"
    );
    let lab = control.describe().await?;
    for matrix in matrix::measure(&lab).await? {
        print!("{}", matrix.as_text());
        ensure!(
            matrix.problems().is_empty(),
            "not everything reaches everything"
        );
    }
    let forged: u64 = lab.nodes.iter().map(|node| node.dropped.forged).sum();
    println!("packets that left by a wrong interface and were dropped by the VPC: {forged}");
    ensure!(forged == 0, "{forged} packets left by a wrong interface");
    Ok(())
}

async fn delete_all(control: &Control) -> anyhow::Result<()> {
    let lab = control.describe().await?;
    let names: Vec<String> = lab.pods.iter().map(|pod| pod.name.clone()).collect();
    let began = Instant::now();
    let mut times = Vec::new();
    for (_, outcome) in pods::delete(control, &lab, &names).await? {
        times.push(outcome?);
    }
    println!(
        "{} pods deleted at the same instant in {:.2} s; DEL took {}",
        times.len(),
        began.elapsed().as_secs_f64(),
        Statistics::new(times)
    );
    for node in &lab.nodes {
        let deadline = Instant::now() + SETTLE;
        loop {
            let report = Report::fetch(&node.operator_socket()).await?;
            let left = report.endpoints.endpoints.len();
            if left == 0 {
                let pool = report.pool;
                println!(
                    "{}: no endpoint; pool: {} free, {} assigned, {} cooling",
                    node.name, pool.free, pool.assigned, pool.cooling
                );
                ensure!(
                    pool.assigned == 0,
                    "{} addresses are assigned to nobody",
                    pool.assigned
                );
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "{} endpoints are left on {}",
                left,
                node.name
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// What is left, and how long all of it took.
pub(super) fn ending(remains: &Remains, began: Instant) {
    headline(7, "The lab is taken down", began);
    print!("{}", remains.as_text());
    if remains.nothing() {
        println!(
            "\nnothing is left; all of it took {:.0} s",
            began.elapsed().as_secs_f64()
        );
        let veni = std::env::args().next().unwrap_or_else(|| "veni".to_owned());
        println!("next: {veni} lab up, for a lab that stays; {veni} lab --help tells what else");
    }
}
