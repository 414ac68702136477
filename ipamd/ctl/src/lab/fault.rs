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
        /// Changes per second
        #[arg(long, default_value_t = 0.5)]
        per_second: f64,
        /// Changes that pass at once
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
        #[arg(long, default_value_t = 1.0)]
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
            for id in subnets(&cloud, subnet).await? {
                cloud.fill_subnet(&id, leave).await?;
            }
            format!("{leave} addresses are left in each subnet")
        }
        FaultCommand::Fragment { subnet } => {
            for id in subnets(&cloud, subnet).await? {
                cloud.fragment_subnet(&id).await?;
            }
            "no free block of 16 addresses is left".to_owned()
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
            format!("answers of {} get lost from now on", which.name())
        }
        FaultCommand::Clear => {
            clear(&cloud, lab.profile).await?;
            "the cloud is well again".to_owned()
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
}
