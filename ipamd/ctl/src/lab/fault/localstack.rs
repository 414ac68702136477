//! Faults of LocalStack's EC2, as rules of its hook that strike the lab's nodes
//! alone. What else the hook can do stands in localstack/ec2/README.md.

use std::net::SocketAddr;

use anyhow::bail;
use serde_json::{Value, json};
use veni_cloudlab::metadata::access_key_id;
use veni_cloudlab::{Control, Fill, Operation};

use super::{CLEARED, FaultCommand, Which, how_often};

/// Names of the rules made here begin with this. Each names the keys of the lab's
/// nodes, so a lab never removes what another one has made.
const OURS: &str = "veni lab fault";

/// Does it; what was done.
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
                for (number, _) in self.rules().await? {
                    self.control.remove_fault(number).await?;
                }
                self.fill(None, &Fill::Clear).await?;
                Ok(CLEARED.to_owned())
            }
        }
    }

    /// Adds a rule in the place of the one that had its name.
    async fn replace(&self, name: &str, calls: &[&str], mut rule: Value) -> anyhow::Result<()> {
        let name = format!("{OURS}: {name}");
        for (number, other) in self.rules().await? {
            if other == name {
                self.control.remove_fault(number).await?;
            }
        }
        rule["name"] = json!(name);
        rule["operations"] = json!(calls);
        rule["access_key"] = json!(self.keys);
        self.control.add_fault(&rule).await?;
        Ok(())
    }

    /// Rules of this lab that were made here: number and name.
    async fn rules(&self) -> anyhow::Result<Vec<(u64, String)>> {
        let all = self.control.faults().await?;
        let ours = all.iter().filter_map(|rule| {
            let name = rule["name"]
                .as_str()
                .filter(|name| name.starts_with(OURS))?;
            let mine = rule["access_key"] == json!(self.keys);
            mine.then_some((rule["id"].as_u64()?, name.to_owned()))
        });
        Ok(ours.collect())
    }

    /// Fills a subnet or all; their names.
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

/// The calls of EC2 that an operation is made of.
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
