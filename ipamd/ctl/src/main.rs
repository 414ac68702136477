//! `veni`, the operator's tool: reads the command line and hands over. Each
//! command is a module; none knows another.

mod config;
#[cfg(feature = "lab")]
mod lab;
mod max_pods;
mod status;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use veni_terminal::eprintln;

/// Veni gives pods addresses of the cloud network itself; this is its tool for people.
#[derive(Debug, Parser)]
#[command(name = "veni", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the pool, the interfaces and the endpoints of this node
    Status(status::StatusArguments),
    /// Show every setting of this node's daemon: value, source, default and effect
    Config(config::ConfigArguments),
    /// Tell how many pods an instance type can have
    MaxPods(max_pods::MaxPodsArguments),
    /// A cloud with nodes and pods on this machine, made of network namespaces
    #[cfg(feature = "lab")]
    Lab(lab::LabArguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Status(arguments) => status::run(arguments).await.map(|()| ExitCode::SUCCESS),
        Command::Config(arguments) => config::run(arguments).await.map(|()| ExitCode::SUCCESS),
        Command::MaxPods(arguments) => max_pods::run(arguments).await,
        #[cfg(feature = "lab")]
        Command::Lab(arguments) => lab::run(arguments).await,
    };
    let status = outcome.unwrap_or_else(|error| {
        eprintln!("veni: {error:#}");
        ExitCode::FAILURE
    });
    veni_terminal::finish("veni", status)
}
