//! Faults of LocalStack's EC2, as rules of its hook that strike only the lab's nodes.
//! localstack/ec2/README.md says what else the hook can do.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use veni_cloudlab::metadata::access_key_id;
use veni_cloudlab::{Control, Fill, Operation};

use super::{CLEARED, FaultCommand, Which, how_often};

/// Names of the rules made here begin with this. Each names the keys of the lab's
/// nodes, so a lab never removes what another one has made.
const OURS: &str = "veni lab fault";

/// Carries the command out. Returns what was done, in words.
pub(super) async fn run(
    address: SocketAddr,
    subnets: &[String],
    nodes: impl Iterator<Item = &str>,
    command: FaultCommand,
) -> anyhow::Result<String> {
    let cloud = Cloud {
        control: Control::new(address),
        keys: nodes.map(access_key_id).collect(),
        subnets,
    };
    cloud.run(command).await
}

/// The faults in force, a line each.
pub(super) async fn in_force(
    address: SocketAddr,
    vpc: &str,
    subnets: &[String],
    nodes: impl Iterator<Item = &str>,
) -> anyhow::Result<Vec<String>> {
    let cloud = Cloud {
        control: Control::new(address),
        keys: nodes.map(access_key_id).collect(),
        subnets,
    };
    let mut lines: Vec<String> = cloud.rules().await?.iter().map(line).collect();
    let state = cloud.control.state_of(vpc).await?;
    let all = state["regions"].as_array().into_iter().flatten();
    for subnet in all.flat_map(|one| one["subnets"].as_array().into_iter().flatten()) {
        let filled = subnet["Filled"].as_array().map_or(0, Vec::len);
        let id = subnet["SubnetId"].as_str().unwrap_or_default();
        if filled > 0 && subnets.iter().any(|one| one == id) {
            let free = &subnet["AvailableIpAddressCount"];
            lines.push(format!("{id} is filled: {free} addresses are free"));
        }
    }
    Ok(lines)
}

/// `throttle, 0.5 calls per second pass, 1 at once; 12 calls so far`.
fn line(rule: &Value) -> String {
    let mut parts = vec![name_of(rule).unwrap_or_default().to_owned()];
    if rule["throttle"].is_object() {
        let (rate, burst) = (
            &rule["throttle"]["per_second"],
            &rule["throttle"]["capacity"],
        );
        parts.push(format!("{rate} calls per second pass, {burst} at once"));
    }
    if let Some(seconds) = rule["latency_seconds"].as_f64() {
        parts.push(format!("{} ms longer", seconds * 1000.0));
    }
    if let Some(chance) = rule["probability"].as_f64().filter(|chance| *chance < 1.0) {
        parts.push(format!("each with a chance of {chance}"));
    }
    if let Some(count) = rule["count"].as_u64() {
        parts.push(format!("{count} times"));
    }
    format!("{}; {} so far", parts.join(", "), rule["hits"])
}

/// The name of a rule that was made here, without what all such begin with.
fn name_of(rule: &Value) -> Option<&str> {
    rule["name"]
        .as_str()?
        .strip_prefix(OURS)?
        .strip_prefix(": ")
}

struct Cloud<'a> {
    control: Control,
    /// Access keys of the nodes.
    keys: Vec<String>,
    subnets: &'a [String],
}

impl Cloud<'_> {
    async fn run(&self, command: FaultCommand) -> anyhow::Result<String> {
        match command {
            FaultCommand::Throttle { per_second, burst } => {
                let bucket = json!({ "capacity": burst, "per_second": per_second });
                let rule = json!({ "throttle": bucket });
                self.replace("throttle", &["*"], rule).await?;
                Ok(format!(
                    "{per_second} calls per second from now on, {burst} at once"
                ))
            }
            FaultCommand::Latency {
                milliseconds,
                which,
            } => {
                let seconds = std::time::Duration::from_millis(milliseconds).as_secs_f64();
                let rule = json!({ "latency_seconds": seconds });
                let name = format!("latency of {}", which.name());
                self.replace(&name, calls(&which), rule).await?;
                Ok(format!(
                    "{} takes {milliseconds} ms longer from now on",
                    which.name()
                ))
            }
            FaultCommand::Fill { leave, subnet } => {
                let filled = self.fill(subnet, &Fill::Leave(leave)).await?;
                Ok(format!("free addresses left in {filled}: at most {leave}"))
            }
            FaultCommand::Fragment { subnet } => {
                let fragmented = self.fill(subnet, &Fill::Fragment).await?;
                Ok(format!(
                    "no free block of 16 addresses is left in {fragmented}"
                ))
            }
            FaultCommand::Deny { which } => {
                let name = format!("deny {}", which.name());
                let rule = json!({ "deny": true });
                self.replace(&name, calls(&which), rule).await?;
                Ok(format!("{} is denied from now on", which.name()))
            }
            FaultCommand::LoseAnswers {
                which,
                times,
                chance,
            } => {
                let mut rule = json!({ "lose_answer": true, "probability": chance });
                if let Some(times) = times {
                    rule["count"] = json!(times);
                }
                let name = format!("lose answers of {}", which.name());
                self.replace(&name, calls(&which), rule).await?;
                let often = how_often(times, chance);
                Ok(format!(
                    "answers of {} get lost from now on{often}",
                    which.name()
                ))
            }
            FaultCommand::Clear => {
                for rule in self.rules().await? {
                    self.remove(&rule).await?;
                }
                self.fill(None, &Fill::Clear).await?;
                Ok(CLEARED.to_owned())
            }
        }
    }

    /// Adds a rule, in place of an earlier one with the same name.
    async fn replace(&self, name: &str, calls: &[&str], mut rule: Value) -> anyhow::Result<()> {
        for other in self.rules().await? {
            if name_of(&other) == Some(name) {
                self.remove(&other).await?;
            }
        }
        rule["name"] = json!(format!("{OURS}: {name}"));
        rule["operations"] = json!(calls);
        rule["access_key"] = json!(self.keys);
        self.control.add_fault(&rule).await?;
        Ok(())
    }

    async fn remove(&self, rule: &Value) -> anyhow::Result<()> {
        let number = rule["id"].as_u64().context("a rule without a number")?;
        Ok(self.control.remove_fault(number).await?)
    }

    /// Rules of this lab that were made here.
    async fn rules(&self) -> anyhow::Result<Vec<Value>> {
        let mut all = self.control.faults().await?;
        all.retain(|rule| name_of(rule).is_some() && rule["access_key"] == json!(self.keys));
        Ok(all)
    }

    /// Fills one subnet or all. Returns their names.
    async fn fill(&self, only: Option<String>, with: &Fill) -> anyhow::Result<String> {
        let wanted = match only {
            Some(one) if !self.subnets.contains(&one) => bail!(
                "there is no subnet {one}: this lab has {}",
                self.subnets.join(", ")
            ),
            Some(one) => vec![one],
            None => self.subnets.to_vec(),
        };
        for subnet in &wanted {
            self.control.fill(subnet, with).await?;
        }
        Ok(wanted.join(", "))
    }
}

/// The calls of EC2 that make up an operation of the provider.
fn calls(which: &Which) -> &'static [&'static str] {
    match which.operation {
        None => &["*"],
        Some(Operation::Node) => &["DescribeInstances", "DescribeInstanceTypes"],
        Some(Operation::Inventory) => &["DescribeNetworkInterfaces", "DescribeSubnets"],
        Some(Operation::AttachInterface) => &[
            "CreateNetworkInterface",
            "AttachNetworkInterface",
            "ModifyNetworkInterfaceAttribute",
        ],
        Some(Operation::DetachInterface) => &["DetachNetworkInterface", "DeleteNetworkInterface"],
        Some(Operation::Assign) => &["AssignPrivateIpAddresses", "AssignIpv6Addresses"],
        Some(Operation::Release) => &["UnassignPrivateIpAddresses", "UnassignIpv6Addresses"],
    }
}
