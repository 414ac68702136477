//! `kubectl veni`: this tool as a plugin of kubectl, for all nodes of a cluster. kubectl
//! finds it by its name, `kubectl-veni`.
//!
//! Everything goes through kubectl itself, so the caller's configuration, log-in and rights
//! count. What a node's daemon is asked runs in its pod, by the `veni` of its own version.

mod bundle;
mod client;
mod nodes;
mod redaction;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use bundle::BundleArguments;
use client::{ClusterArguments, Kubectl};

/// The names under which kubectl and its completions call plugins.
const NAMES: [&str; 2] = ["kubectl-veni", "kubectl_veni"];

/// Veni's nodes of a cluster.
///
/// Without a command: one line for each node, out of the summaries that the daemons write.
#[derive(Debug, Parser)]
#[command(name = "kubectl-veni", bin_name = "kubectl veni", version)]
struct Arguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show one line for each node, as without a command
    Nodes,
    /// Show a node's pool, interfaces and endpoints: `veni status` there
    Status(NodeArguments),
    /// Compare a node's journal, kernel and cloud: `veni check` there
    Check(NodeArguments),
    /// Show what has happened on a node lately: `veni events` there
    Events(NodeArguments),
    /// Show a node's settings: `veni config` there
    Config(NodeArguments),
    /// Show a pod's endpoints, or those of a node: `veni endpoints` there
    Endpoints(EndpointsArguments),
    /// Write an archive for whoever helps: states, settings, events and logs of nodes, no secrets
    Bundle(BundleArguments),
}

/// A node, and what its `veni` is told.
#[derive(Debug, Args)]
struct NodeArguments {
    /// Name of the node
    node: String,
    /// Options of the command there, such as `--json`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Whose endpoints are shown.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whose").required(true))]
struct EndpointsArguments {
    /// Those of a pod, wherever it runs
    #[arg(long, group = "whose", value_name = "NAME")]
    pod: Option<String>,
    /// The pod's namespace; the context's if not given
    #[arg(long, short, conflicts_with = "node", value_name = "NAME")]
    namespace: Option<String>,
    /// Those of a node, by its name
    #[arg(group = "whose")]
    node: Option<String>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Whether the program was called as kubectl's plugin.
pub(crate) fn is_plugin(program: Option<&OsStr>) -> bool {
    let stem = program.and_then(|path| Path::new(path).file_stem());
    stem.and_then(OsStr::to_str)
        .is_some_and(|name| NAMES.contains(&name))
}

/// Runs as the plugin. The exit status of a command on a node is its own.
///
/// # Errors
/// kubectl cannot be executed or refuses, or the archive cannot be written.
pub(crate) async fn run() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let kubectl = Kubectl::new(arguments.cluster);
    match arguments.command.unwrap_or(Command::Nodes) {
        Command::Nodes => nodes::run(&kubectl).await,
        Command::Status(asked) => on_node(&kubectl, "status", &asked).await,
        Command::Check(asked) => on_node(&kubectl, "check", &asked).await,
        Command::Events(asked) => on_node(&kubectl, "events", &asked).await,
        Command::Config(asked) => on_node(&kubectl, "config", &asked).await,
        Command::Endpoints(asked) => endpoints(&kubectl, asked).await,
        Command::Bundle(asked) => bundle::run(&kubectl, &asked).await,
    }
}

async fn on_node(
    kubectl: &Kubectl,
    command: &str,
    asked: &NodeArguments,
) -> anyhow::Result<ExitCode> {
    let daemon = kubectl.daemon_on(&asked.node).await?;
    let mut line = vec![command];
    line.extend(asked.options.iter().map(String::as_str));
    kubectl.hand_over(&daemon, &line).await
}

async fn endpoints(kubectl: &Kubectl, asked: EndpointsArguments) -> anyhow::Result<ExitCode> {
    let mut line = vec!["endpoints".to_owned()];
    if asked.json {
        line.push("--json".to_owned());
    }
    let node = match (asked.pod, asked.node) {
        (Some(pod), _) => {
            let found = kubectl.pod(&pod, asked.namespace.as_deref()).await?;
            let whole = format!("{}/{pod}", found.namespace);
            line.extend(["--pod".to_owned(), whole]);
            found.node
        }
        // clap has seen to it that one of the two is there.
        (None, node) => node.unwrap_or_default(),
    };
    let daemon = kubectl.daemon_on(&node).await?;
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    kubectl.hand_over(&daemon, &line).await
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_plugin_is_known_by_its_name_alone() {
        for name in [
            "kubectl-veni",
            "/usr/local/bin/kubectl-veni",
            "kubectl_veni",
        ] {
            assert!(is_plugin(Some(OsStr::new(name))), "{name}");
        }
        for name in ["veni", "/usr/bin/veni", "kubectl", "kubectl-veni-x", ""] {
            assert!(!is_plugin(Some(OsStr::new(name))), "{name}");
        }
        assert!(!is_plugin(None));
    }

    #[test]
    fn what_follows_a_node_is_for_the_command_there() {
        let arguments = parsed("kubectl-veni status n1 --explain --json").expect("is right");
        let Some(Command::Status(asked)) = arguments.command else {
            panic!("{arguments:?}");
        };
        assert_eq!(asked.node, "n1");
        assert_eq!(asked.options, ["--explain", "--json"]);
    }

    #[test]
    fn endpoints_are_a_pod_s_or_a_node_s() {
        for line in [
            "endpoints --pod a",
            "endpoints --pod a -n shop",
            "endpoints n1",
        ] {
            parsed(&format!("kubectl-veni {line}")).expect(line);
        }
        for line in ["endpoints", "endpoints --pod a n1", "endpoints n1 -n shop"] {
            parsed(&format!("kubectl-veni {line}")).expect_err(line);
        }
    }

    #[test]
    fn no_command_is_the_table_of_nodes() {
        let arguments = parsed("kubectl-veni --context blue").expect("is right");
        assert!(arguments.command.is_none());
        Arguments::command().debug_assert();
    }
}
