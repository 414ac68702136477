//! Pods of a lab: their namespaces by the lab's process, their network by the plugin.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use futures::future::join_all;
use veni_terminal::{print, println};

use super::control::{Attached, Control, Description, PodDescription, Request};
use super::{plugin, up};
use crate::table::render;

/// What to do with pods.
#[derive(Debug, Subcommand)]
pub(crate) enum PodCommand {
    /// Make a pod: its namespace, and its network by the plugin
    Add {
        /// Its name
        #[arg(value_parser = super::lab_name)]
        pod: String,
        /// The node: name or number
        #[arg(long, default_value = "1")]
        node: String,
    },
    /// Delete pods
    Del {
        /// Their names
        #[arg(required = true)]
        pods: Vec<String>,
    },
    /// Run a program in a pod
    Exec {
        /// Its name
        pod: String,
        /// Program and arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// List all pods
    List,
}

pub(crate) async fn run(control: &Control, command: PodCommand) -> anyhow::Result<ExitCode> {
    match command {
        PodCommand::Add { pod, node } => {
            let lab = control.describe().await?;
            let added = add(control, &lab, &node, vec![pod.clone()]).await?;
            for (_, outcome) in added {
                outcome?;
            }
            print!("{}", table(&only(control.describe().await?, &pod)));
        }
        PodCommand::Del { mut pods } => {
            pods.sort_unstable();
            pods.dedup();
            let lab = control.describe().await?;
            for (name, outcome) in delete(control, &lab, &pods).await? {
                println!("pod {name} is deleted, DEL took {:.1} ms", outcome?);
            }
        }
        PodCommand::Exec { pod, command } => {
            let lab = control.describe().await?;
            return up::run_in(&lab.pod(&pod)?.namespace, &command).await;
        }
        PodCommand::List => print!("{}", table(&control.describe().await?)),
    }
    Ok(ExitCode::SUCCESS)
}

fn only(mut lab: Description, pod: &str) -> Description {
    lab.pods.retain(|one| one.name == pod);
    lab
}

/// A table of the lab's pods.
pub(crate) fn table(lab: &Description) -> String {
    if lab.pods.is_empty() {
        return "none\n".to_owned();
    }
    let rows = lab.pods.iter().map(|pod| {
        let start = vec![pod.name.clone(), pod.node.clone()];
        let rest = match &pod.attached {
            Some(attached) => vec![
                attached
                    .addresses
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" "),
                attached.host_interface.clone(),
                format!("{:.1} ms", attached.milliseconds),
            ],
            None => vec!["no network".to_owned()],
        };
        start.into_iter().chain(rest).collect()
    });
    render(&["pod", "node", "address", "host link", ">add took"], rows)
}

/// Pods, and what became of their ADDs.
pub(crate) type Added = Vec<(PodDescription, anyhow::Result<Attached>)>;

/// Makes pods on a node, all plugins at the same instant. A pod that got no
/// network is removed again.
pub(crate) async fn add(
    control: &Control,
    lab: &Description,
    node: &str,
    names: Vec<String>,
) -> anyhow::Result<Added> {
    lab.plugin()?;
    let pods = control.create_pods(&lab.node(node)?.name, names).await?;
    attach(control, lab, node, pods).await
}

/// Calls the plugin for pods whose namespaces exist, for all at the same
/// instant. A pod that got no network is removed again.
pub(crate) async fn attach(
    control: &Control,
    lab: &Description,
    node: &str,
    pods: Vec<PodDescription>,
) -> anyhow::Result<Added> {
    let program = lab.plugin()?;
    let node = lab.node(node)?;
    let outcomes = join_all(pods.iter().map(|pod| plugin::add(program, node, pod))).await;
    let mut failed = Vec::new();
    for (pod, outcome) in pods.iter().zip(&outcomes) {
        match outcome {
            Ok(attached) => {
                let (pod, attached) = (pod.name.clone(), attached.clone());
                control.tell(&Request::Record { pod, attached }).await?;
            }
            Err(_) => failed.push(pod),
        }
    }
    // A runtime calls DEL after an ADD that failed.
    for gone in join_all(failed.iter().map(|pod| plugin::del(program, node, pod))).await {
        gone.context("DEL after a failed ADD")?;
    }
    if !failed.is_empty() {
        let names = failed.iter().map(|pod| pod.name.clone()).collect();
        control.tell(&Request::RemovePods { names }).await?;
    }
    Ok(pods.into_iter().zip(outcomes).collect())
}

/// Deletes pods, all plugins at the same instant: name and how long DEL took.
/// One whose DEL failed stays.
pub(crate) async fn delete(
    control: &Control,
    lab: &Description,
    names: &[String],
) -> anyhow::Result<Vec<(String, anyhow::Result<f64>)>> {
    let program = lab.plugin()?;
    let pods = names
        .iter()
        .map(|name| lab.pod(name))
        .collect::<Result<Vec<_>, _>>()?;
    let nodes = pods
        .iter()
        .map(|pod| lab.node(&pod.node))
        .collect::<Result<Vec<_>, _>>()?;
    let calls = pods
        .iter()
        .zip(nodes)
        .map(|(pod, node)| plugin::del(program, node, pod));
    let outcomes = join_all(calls).await;
    let outcomes: Vec<_> = names.iter().cloned().zip(outcomes).collect();
    let gone = outcomes.iter().filter(|(_, outcome)| outcome.is_ok());
    let names = gone.map(|(name, _)| name.clone()).collect();
    control.tell(&Request::RemovePods { names }).await?;
    Ok(outcomes)
}
