//! `veni lab fault`: makes a lab's cloud misbehave, and ends that. Reads the command line;
//! each control plane has a module of its own.

mod localstack;
mod mock;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use veni_cloudlab::Operation;
use veni_terminal::println;

use super::control::{CloudDescription, Control, Description};

/// What goes wrong.
#[derive(Debug, Subcommand)]
pub(crate) enum FaultCommand {
    /// Allow only so many calls per second, for all nodes together
    Throttle {
        /// Calls per second
        #[arg(long, default_value_t = 0.5, value_parser = rate)]
        per_second: f64,
        /// Calls that pass at once
        #[arg(long, default_value_t = 1)]
        burst: u32,
    },
    /// Make calls slow
    Latency {
        /// Milliseconds per call; on LocalStack beside those that it takes anyway
        milliseconds: u64,
        #[command(flatten)]
        which: Which,
    },
    /// Fill subnets up
    Fill {
        /// Addresses that stay free
        #[arg(long, default_value_t = 0)]
        leave: u32,
        /// Only this subnet
        #[arg(long)]
        subnet: Option<String>,
    },
    /// Leave no free block of 16 addresses in subnets
    Fragment {
        /// Only this subnet
        #[arg(long)]
        subnet: Option<String>,
    },
    /// Refuse calls, as when a permission is missing
    Deny {
        #[command(flatten)]
        which: Which,
    },
    /// Make changes, but lose the answers
    LoseAnswers {
        #[command(flatten)]
        which: Which,
        /// Only so many calls
        #[arg(long)]
        times: Option<u32>,
        /// Chance per call, 0 to 1
        #[arg(long, default_value_t = 1.0, value_parser = chance)]
        chance: f64,
    },
    /// End all faults
    Clear,
}

/// Which calls.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Only this operation: node, inventory, attach-interface, detach-interface, assign
    /// or release [default: all]
    #[arg(long, value_parser = operation)]
    operation: Option<Operation>,
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let good = number.filter(|number: &f64| number.is_finite() && *number >= 0.0);
    good.ok_or_else(|| "give a number, 0 or more".to_owned())
}

fn chance(text: &str) -> Result<f64, String> {
    let good = rate(text).ok().filter(|number| *number <= 1.0);
    good.ok_or_else(|| "give a number from 0 to 1".to_owned())
}

fn operation(text: &str) -> Result<Operation, String> {
    let wanted = text.replace('-', "_");
    let mut all = Operation::ALL.into_iter();
    all.find(|one| one.label() == wanted).ok_or_else(|| {
        let known = Operation::ALL.map(Operation::label).join(", ");
        format!("choose one of {known}")
    })
}

pub(crate) async fn run(control: &Control, command: FaultCommand) -> anyhow::Result<ExitCode> {
    let lab = control.describe().await?;
    let done = match &lab.cloud {
        CloudDescription::Mock { socket, profile } => mock::run(socket, *profile, command).await?,
        CloudDescription::Localstack {
            address, subnets, ..
        } => {
            let nodes = lab.nodes.iter().map(|node| node.instance_id.as_str());
            localstack::run(*address, subnets, nodes, command).await?
        }
    };
    println!("{done}");
    Ok(ExitCode::SUCCESS)
}

/// The faults in force, a line each; nothing if there is none.
pub(super) async fn in_force(lab: &Description) -> anyhow::Result<Vec<String>> {
    match &lab.cloud {
        CloudDescription::Mock { socket, profile } => mock::in_force(socket, *profile).await,
        CloudDescription::Localstack {
            address,
            subnets,
            vpc,
            ..
        } => {
            let nodes = lab.nodes.iter().map(|node| node.instance_id.as_str());
            localstack::in_force(*address, vpc, subnets, nodes).await
        }
    }
}

/// `assign, release`, or `every call` of all.
fn names_of(operations: &[Operation]) -> String {
    if Operation::ALL.iter().all(|one| operations.contains(one)) {
        return "every call".to_owned();
    }
    let names: Vec<&str> = operations.iter().map(|one| one.label()).collect();
    names.join(", ")
}

/// `is` of one, `are` of several.
fn verb(operations: &[Operation]) -> &'static str {
    match operations.len() {
        2..6 => "are",
        _ => "is",
    }
}

impl Which {
    fn all(&self) -> Vec<Operation> {
        self.operation
            .map_or_else(|| Operation::ALL.to_vec(), |one| vec![one])
    }

    fn name(&self) -> &'static str {
        self.operation.map_or("every call", Operation::label)
    }
}

/// `, each with a chance of 0.5, 3 times`, as far as it is said.
fn how_often(times: Option<u32>, chance: f64) -> String {
    let often = if chance < 1.0 {
        format!(", each with a chance of {chance}")
    } else {
        String::new()
    };
    let so_many = times.map_or_else(String::new, |times| format!(", {times} times"));
    format!("{often}{so_many}")
}

/// What is said after [`FaultCommand::Clear`].
const CLEARED: &str = "the cloud is well again; a node that it refused asks it again after a pause \
                       (`veni status --explain` tells)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_operation() {
        let help = <Which as clap::Args>::augment_args(clap::Command::new("fault"));
        let help = help.clone().render_help().to_string();
        let words: Vec<&str> = help.split_whitespace().collect();
        let words = words.join(" ");
        for one in Operation::ALL {
            assert!(words.contains(&one.label().replace('_', "-")), "{words}");
        }
    }

    #[test]
    fn operations_are_found_in_both_spellings_and_others_are_refused_with_the_known_ones() {
        assert_eq!(
            operation("attach-interface"),
            Ok(Operation::AttachInterface)
        );
        assert_eq!(
            operation("attach_interface"),
            Ok(Operation::AttachInterface)
        );
        assert!(operation("reboot").is_err_and(|text| text.contains("assign")));
    }

    #[test]
    fn rates_and_chances_that_mean_nothing_are_refused() {
        assert_eq!(rate("0.5"), Ok(0.5));
        assert!(
            ["-1", "NaN", "inf", "x"]
                .into_iter()
                .all(|text| rate(text).is_err())
        );
        assert_eq!(chance("1"), Ok(1.0));
        assert!(
            ["1.1", "-0.1", "NaN"]
                .into_iter()
                .all(|text| chance(text).is_err())
        );
    }
}
