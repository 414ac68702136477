//! Faults of the mock cloud.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use veni_cloudlab::mock::config::Bucket;
use veni_cloudlab::mock::{
    AdminClient, CloudConfig, Fault, FaultDump, FaultKind, Latency, Profile, Throttle,
};
use veni_cloudlab::{Operation, SubnetId};

use super::super::CloudProfile;
use super::{CLEARED, FaultCommand, how_often, names_of, verb};

/// Carries the command out. Returns what was done, in words.
pub(super) async fn run(
    socket: &Path,
    profile: CloudProfile,
    command: FaultCommand,
) -> anyhow::Result<String> {
    let cloud = AdminClient::new(socket);
    Ok(match command {
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
            let often = how_often(times, chance);
            format!("answers of {} get lost from now on{often}", which.name())
        }
        FaultCommand::Clear => {
            clear(&cloud, profile).await?;
            CLEARED.to_owned()
        }
    })
}

/// The faults in force, a line each.
pub(super) async fn in_force(socket: &Path, profile: CloudProfile) -> anyhow::Result<Vec<String>> {
    let cloud = AdminClient::new(socket);
    let (dump, config, usual) = (cloud.dump().await?, cloud.config().await?, usual(profile));
    let mut lines = Vec::new();
    if !dump.denied.is_empty() {
        lines.push(format!(
            "{} {} denied",
            names_of(&dump.denied),
            verb(&dump.denied)
        ));
    }
    if let Some(throttle) = config
        .throttle
        .filter(|_| config.throttle != usual.throttle)
    {
        let Bucket { burst, per_second } = throttle.writes;
        lines.push(format!(
            "{per_second} calls per second pass, {burst} at once"
        ));
    }
    let mut slow: BTreeMap<Duration, Vec<Operation>> = BTreeMap::new();
    for one in Operation::ALL {
        let latency = config.latency.of(one);
        if latency != usual.latency.of(one) {
            slow.entry(latency.median).or_default().push(one);
        }
    }
    for (latency, operations) in slow {
        let (names, milliseconds) = (names_of(&operations), latency.as_millis());
        lines.push(format!("{milliseconds} ms is what a call takes: {names}"));
    }
    for FaultDump { fault, met } in &dump.faults {
        let which = fault.operation.map_or("every call", Operation::label);
        let what = match &fault.kind {
            FaultKind::AnswerLost => "answers get lost".to_owned(),
            FaultKind::Timeout { .. } => "no answer comes".to_owned(),
            FaultKind::Error { reason, .. } => format!("fails with {reason}"),
            FaultKind::Partial { at_most } => format!("gives at most {at_most}"),
        };
        let often = how_often(fault.count, fault.chance);
        lines.push(format!("{which}: {what}{often}; {met} so far"));
    }
    for subnet in dump.subnets.iter().filter(|one| !one.filled.is_empty()) {
        lines.push(format!(
            "{} is filled: {} addresses and {} blocks of 16 are free",
            subnet.id, subnet.free_ipv4, subnet.free_ipv4_prefixes
        ));
    }
    Ok(lines)
}

fn usual(profile: CloudProfile) -> CloudConfig {
    CloudConfig::of_profile(match profile {
        CloudProfile::Aws => Profile::Aws,
        CloudProfile::Azure => Profile::Azure,
    })
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
    let usual = usual(profile);
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
