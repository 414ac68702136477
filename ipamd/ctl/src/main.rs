//! `veni`, the operator's tool. Reads the command line and calls the command's module.
//! No command's module knows another.

mod check;
mod completions;
mod config;
mod daemon;
mod endpoints;
mod events;
mod host;
mod interrupt;
mod kubectl;
#[cfg(feature = "lab")]
mod lab;
mod log_level;
mod max_pods;
mod status;
mod table;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
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
    /// Compare journal, kernel and cloud; name each difference, what it breaks and its cure
    Check(check::CheckArguments),
    /// Show the endpoints of this node
    Endpoints(endpoints::EndpointsArguments),
    /// Show what has happened lately, and follow what happens
    Events(events::EventsArguments),
    /// Show or set how much the daemon logs
    LogLevel(log_level::LogLevelArguments),
    /// Show every setting of this node's daemon: value, source, default and effect
    Config(config::ConfigArguments),
    /// Tell how many pods an instance type can have
    MaxPods(max_pods::MaxPodsArguments),
    /// Keep the node's other software away from pods' links
    Host(host::HostArguments),
    /// A cloud with nodes and pods on this machine, made of network namespaces
    #[cfg(feature = "lab")]
    Lab(lab::LabArguments),
    /// Print what a shell needs to complete this tool's arguments
    Completions(completions::CompletionsArguments),
    /// Write manual pages into a folder
    #[command(hide = true)]
    Man(completions::ManArguments),
}

fn succeeded(outcome: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    outcome.map(|()| ExitCode::SUCCESS)
}

#[tokio::main]
async fn main() -> ExitCode {
    if kubectl::is_plugin(std::env::args_os().next().as_deref()) {
        return ended("kubectl-veni", kubectl::run().await);
    }
    let outcome = match Arguments::parse().command {
        Command::Status(arguments) => succeeded(status::run(arguments).await),
        Command::Check(arguments) => check::run(arguments).await,
        Command::Endpoints(arguments) => succeeded(endpoints::run(arguments).await),
        Command::Events(arguments) => succeeded(events::run(arguments).await),
        Command::LogLevel(arguments) => succeeded(log_level::run(arguments).await),
        Command::Completions(arguments) => {
            completions::completions(&arguments, Arguments::command());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man(arguments) => succeeded(completions::man(&arguments, Arguments::command())),
        Command::Config(arguments) => succeeded(config::run(arguments).await),
        Command::Host(arguments) => succeeded(host::run(arguments)),
        Command::MaxPods(arguments) => max_pods::run(arguments).await,
        #[cfg(feature = "lab")]
        Command::Lab(arguments) => lab::run(arguments).await,
    };
    ended("veni", outcome)
}

fn ended(name: &str, outcome: anyhow::Result<ExitCode>) -> ExitCode {
    let status = outcome.unwrap_or_else(|error| {
        eprintln!("{name}: {error:#}");
        ExitCode::FAILURE
    });
    veni_terminal::finish(name, status)
}
