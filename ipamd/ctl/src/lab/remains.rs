//! Checks whether a lab has left anything: processes, namespaces, mounts, files, and
//! changes of the machine's own links, rules, routes and nftables. It looks at the
//! machine (`/proc`, `ip -j`, `nft -j`) and never asks the lab, which could be wrong.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::control::Description;
use crate::table::render;

/// How long to look again before a difference counts: other programs on the machine may
/// show up for a moment.
const PATIENCE: Duration = Duration::from_secs(3);

/// The machine's own state that a lab must leave alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    links: BTreeSet<String>,
    rules: BTreeSet<String>,
    routes: BTreeSet<String>,
    tables: BTreeSet<String>,
    mounts: BTreeSet<String>,
}

/// What makes up one lab.
#[derive(Debug)]
pub(crate) struct Footprint {
    folder: PathBuf,
    /// Process ids with their command lines.
    processes: BTreeSet<(u32, String)>,
    /// Identities of its namespaces, as `/proc/…/ns/net` shows them.
    namespaces: BTreeSet<PathBuf>,
}

/// How much of a lab is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    processes: usize,
    namespaces: usize,
    files: usize,
}

impl Machine {
    pub(crate) async fn look() -> anyhow::Result<Self> {
        Ok(Self {
            links: ip(&["link"], &["ifname"]).await?,
            rules: ip(&["rule"], &["priority", "src", "table"]).await?,
            routes: ip(&["route", "show", "table", "all"], &["dst", "dev", "table"]).await?,
            tables: nft_tables().await?,
            mounts: std::fs::read_to_string("/proc/self/mounts")?
                .lines()
                .map(str::to_owned)
                .collect(),
        })
    }

    fn additions(&self, before: &Self) -> Vec<(&'static str, usize, Vec<String>)> {
        [
            ("links", &self.links, &before.links),
            ("rules", &self.rules, &before.rules),
            ("routes", &self.routes, &before.routes),
            ("nftables tables", &self.tables, &before.tables),
            ("mounts", &self.mounts, &before.mounts),
        ]
        .map(|(what, now, before)| (what, now.len(), now.difference(before).cloned().collect()))
        .to_vec()
    }
}

async fn json(program: &str, arguments: &[&str]) -> anyhow::Result<Value> {
    let output = Command::new(program).args(arguments).output().await;
    let output = output.with_context(|| format!("failed to execute {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    if text.trim().is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    serde_json::from_str(&text).with_context(|| format!("{program} printed no JSON"))
}

async fn ip(arguments: &[&str], fields: &[&str]) -> anyhow::Result<BTreeSet<String>> {
    let mut all = vec!["-j"];
    all.extend(arguments);
    let found = json("ip", &all).await?;
    let found = found.as_array().context("ip printed no list")?;
    let line = |one: &Value| {
        fields
            .iter()
            .map(|field| one[*field].to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    Ok(found.iter().map(line).collect())
}

async fn nft_tables() -> anyhow::Result<BTreeSet<String>> {
    let found = json("nft", &["-j", "list", "tables"]).await?;
    let objects = found["nftables"]
        .as_array()
        .context("nft printed no list")?;
    let tables = objects.iter().filter_map(|one| one.get("table"));
    Ok(tables
        .map(|one| format!("{} {}", one["family"], one["name"]))
        .collect())
}

fn command_line(pid: u32) -> Option<String> {
    let text = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    // Empty for a process that only waits to be reaped.
    (!text.is_empty()).then(|| String::from_utf8_lossy(&text).replace('\0', " "))
}

/// All processes with the network namespace each is in.
fn processes() -> impl Iterator<Item = (u32, PathBuf)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, std::fs::read_link(entry.path().join("ns/net")).ok()?))
    })
}

impl Footprint {
    /// Of a running lab.
    pub(crate) fn of(lab: &Description) -> anyhow::Result<Self> {
        let paths = lab.nodes.iter().map(|node| &node.namespace);
        let paths = paths.chain(lab.pods.iter().map(|pod| &pod.namespace));
        let namespaces = paths
            .chain([&lab.vpc, &lab.internet])
            .map(|path| {
                std::fs::read_link(path)
                    .with_context(|| format!("failed to look at {}", path.display()))
            })
            .collect::<anyhow::Result<BTreeSet<_>>>()?;
        let inside = processes().filter(|(_, namespace)| namespaces.contains(namespace));
        let processes = inside
            .filter_map(|(pid, _)| Some((pid, command_line(pid)?)))
            .collect();
        Ok(Self {
            folder: lab.folder.clone(),
            processes,
            namespaces,
        })
    }

    fn look(&self) -> Found {
        let used: BTreeSet<PathBuf> = processes().map(|(_, namespace)| namespace).collect();
        let alive = |(pid, line): &&(u32, String)| command_line(*pid).as_ref() == Some(line);
        Found {
            processes: self.processes.iter().filter(alive).count(),
            namespaces: self.namespaces.intersection(&used).count(),
            files: files(&self.folder),
        }
    }
}

fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return usize::from(folder.exists());
    };
    let inside = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files(&entry.path()),
        _ => 1,
    });
    inside.sum::<usize>() + 1
}

/// The comparison of a lab while it ran with what is there now.
pub(crate) struct Remains {
    while_it_ran: Found,
    now: Found,
    machine: Vec<(&'static str, usize, Vec<String>)>,
}

/// Looks at a running lab, to compare with later.
pub(crate) struct Watch {
    footprint: Footprint,
    while_it_ran: Found,
    before: Machine,
}

impl Watch {
    /// `before` is the machine before the lab was started.
    pub(crate) fn start(lab: &Description, before: &Machine) -> anyhow::Result<Self> {
        let footprint = Footprint::of(lab)?;
        Ok(Self {
            while_it_ran: footprint.look(),
            footprint,
            before: before.clone(),
        })
    }

    /// After the lab was taken down.
    pub(crate) async fn compare(&self) -> anyhow::Result<Remains> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let remains = Remains {
                while_it_ran: self.while_it_ran,
                now: self.footprint.look(),
                machine: Machine::look().await?.additions(&self.before),
            };
            if remains.nothing() || Instant::now() >= deadline {
                return Ok(remains);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Remains {
    /// Whether nothing is left. The look before must have seen the lab, or seeing nothing
    /// now would prove nothing.
    pub(crate) fn nothing(&self) -> bool {
        let Found {
            processes,
            namespaces,
            files,
        } = self.while_it_ran;
        processes > 0
            && namespaces > 0
            && files > 0
            && self.now
                == Found {
                    processes: 0,
                    namespaces: 0,
                    files: 0,
                }
            && self.machine.iter().all(|(_, _, new)| new.is_empty())
    }

    pub(crate) fn as_text(&self) -> String {
        let row = |what: &str, then: usize, now: usize| {
            vec![what.to_owned(), then.to_string(), now.to_string()]
        };
        let rows = vec![
            row("processes", self.while_it_ran.processes, self.now.processes),
            row(
                "network namespaces",
                self.while_it_ran.namespaces,
                self.now.namespaces,
            ),
            row("files and folders", self.while_it_ran.files, self.now.files),
        ];
        let mut text = render(&["the lab's", ">while it ran", ">left"], rows);
        text.push('\n');
        let rows = self.machine.iter().map(|(what, count, new)| {
            vec![(*what).to_owned(), count.to_string(), new.len().to_string()]
        });
        text.push_str(&render(
            &["the machine's", ">now", ">more than before"],
            rows,
        ));
        for (what, _, new) in &self.machine {
            for one in new {
                text.push_str(&format!("left: {what}: {one}\n"));
            }
        }
        text
    }
}
