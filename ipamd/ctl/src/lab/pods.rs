//! Pods of a lab. The lab's process makes their namespaces, and this process calls the
//! plugin for their network, as a runtime would.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use futures::future::join_all;
use veni_terminal::{print, println};

use super::control::{Attached, Control, Description, HostPort, PodDescription, Request};
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
        /// A TCP port of the node that leads to one of the pod's, as in 8080:80
        #[arg(long = "host-port", value_name = "PORT:PORT", value_parser = host_port)]
        host_ports: Vec<HostPort>,
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
        PodCommand::Add {
            pod,
            node,
            host_ports,
        } => {
            let lab = control.describe().await?;
            let names = vec![pod.clone()];
            let added = add_with_ports(control, &lab, &node, names, &host_ports).await?;
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

/// Reads `8080:80`.
fn host_port(text: &str) -> Result<HostPort, String> {
    let port = |text: &str| text.parse().ok().filter(|port| *port != 0);
    let ports = text.split_once(':');
    let read = ports.and_then(|(host, pod)| {
        Some(HostPort {
            host_port: port(host)?,
            pod_port: port(pod)?,
        })
    });
    read.ok_or_else(|| "expected a port of the node and one of the pod, as in 8080:80".to_owned())
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
    add_with_ports(control, lab, node, names, &[]).await
}

/// As [`add`], with ports of the node that lead to them.
pub(crate) async fn add_with_ports(
    control: &Control,
    lab: &Description,
    node: &str,
    names: Vec<String>,
    host_ports: &[HostPort],
) -> anyhow::Result<Added> {
    lab.plugin()?;
    let mut pods = control.create_pods(&lab.node(node)?.name, names).await?;
    for pod in &mut pods {
        pod.host_ports = host_ports.to_vec();
    }
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

/// Deletes pods, all plugins at the same instant. Returns each name with the time of its
/// DEL. A pod whose DEL failed stays.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_in_pairs() {
        let read = host_port("8080:80").expect("a pair");
        assert_eq!((read.host_port, read.pod_port), (8080, 80));
        for wrong in ["8080", "8080:", "0:80", "80:0", "80:70000", "a:b", ""] {
            assert!(host_port(wrong).is_err(), "{wrong}");
        }
    }
}
