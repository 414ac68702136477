//! Makes a lab's cloud misbehave, and well again.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use veni_cloudlab::mock::config::Bucket;
use veni_cloudlab::mock::{AdminClient, CloudConfig, Fault, FaultKind, Latency, Profile, Throttle};
use veni_cloudlab::{Operation, SubnetId};

use super::CloudProfile;
use super::control::Control;

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
        /// Milliseconds per call
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
    /// Take a permission away
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
    /// End all of this
    Clear,
}

/// Which calls.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Only this operation [default: all]
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
    let cloud = AdminClient::new(&lab.cloud);
    let done = match command {
        FaultCommand::Throttle { per_second, burst } => {
            let bucket = Bucket { burst, per_second };
            let throttle = Throttle {
                reads: bucket,
                writes: bucket,
            };
            cloud.set_throttle(Some(throttle)).await?;
            format!("{per_second} calls per second from now on, {burst} at once")
        }
        FaultCommand::Latency {
            milliseconds,
            which,
        } => {
            let latency = Latency::fixed(Duration::from_millis(milliseconds));
            cloud.set_latency(which.operation, latency).await?;
            format!("{} takes {milliseconds} ms from now on", which.name())
        }
        FaultCommand::Fill { leave, subnet } => {
            let filled = subnets(&cloud, subnet).await?;
            for id in &filled {
                cloud.fill_subnet(id, leave).await?;
            }
            format!("free addresses left in {}: at most {leave}", list(&filled))
        }
        FaultCommand::Fragment { subnet } => {
            let fragmented = subnets(&cloud, subnet).await?;
            for id in &fragmented {
                cloud.fragment_subnet(id).await?;
            }
            format!(
                "no free block of 16 addresses is left in {}",
                list(&fragmented)
            )
        }
        FaultCommand::Deny { which } => {
            for one in which.all() {
                cloud.deny(one).await?;
            }
            format!("{} is denied from now on", which.name())
        }
        FaultCommand::LoseAnswers {
            which,
            times,
            chance,
        } => {
            let mut fault = Fault::random(chance, FaultKind::AnswerLost);
            fault.operation = which.operation;
            fault.count = times;
            cloud.inject(fault).await?;
            let often = if chance < 1.0 {
                format!(", each with a chance of {chance}")
            } else {
                String::new()
            };
            let so_many = times.map_or_else(String::new, |times| format!(", {times} times"));
            format!(
                "answers of {} get lost from now on{often}{so_many}",
                which.name()
            )
        }
        FaultCommand::Clear => {
            clear(&cloud, lab.profile).await?;
            "the cloud is well again; a node that it refused asks it again after a pause \
             (`veni status --explain` tells)"
                .to_owned()
        }
    };
    println!("{done}");
    Ok(ExitCode::SUCCESS)
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

async fn subnets(cloud: &AdminClient, only: Option<String>) -> anyhow::Result<Vec<SubnetId>> {
    match only {
        Some(id) => Ok(vec![SubnetId::new(id)]),
        None => Ok(cloud
            .dump()
            .await?
            .subnets
            .into_iter()
            .map(|one| one.id)
            .collect()),
    }
}

fn list(subnets: &[SubnetId]) -> String {
    let names: Vec<String> = subnets.iter().map(ToString::to_string).collect();
    names.join(", ")
}

async fn clear(cloud: &AdminClient, profile: CloudProfile) -> anyhow::Result<()> {
    let usual = CloudConfig::of_profile(match profile {
        CloudProfile::Aws => Profile::Aws,
        CloudProfile::Azure => Profile::Azure,
    });
    cloud.clear_faults().await?;
    cloud.set_throttle(usual.throttle).await?;
    for operation in Operation::ALL {
        cloud.allow(operation).await?;
        cloud
            .set_latency(Some(operation), usual.latency.of(operation))
            .await?;
    }
    for id in subnets(cloud, None).await? {
        cloud.unfill(&id).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
