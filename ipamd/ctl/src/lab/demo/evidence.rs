//! What a node has according to three witnesses: the cloud, the daemon and the kernel.
//! Two such looks can be compared.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde_json::Value;
use veni_api::client::connect_operator;
use veni_api::v1::EndpointsRequest;
use veni_cloudlab::command_in;
use veni_cloudlab::mock::AdminClient;

use super::super::control::{CloudDescription, Description, NodeDescription};
use crate::status::owner;

/// One look.
#[derive(Debug, PartialEq)]
pub(super) struct Evidence {
    /// Interface by interface, what the cloud has assigned to the node.
    pub(super) cloud: BTreeMap<String, Value>,
    /// Pod by pod, addresses and link as the daemon tells.
    pub(super) endpoints: BTreeMap<String, String>,
    /// Links, routes and rules of the node as the kernel tells, one by one.
    pub(super) kernel: BTreeMap<String, Vec<String>>,
}

impl Evidence {
    pub(super) async fn take(lab: &Description, node: &NodeDescription) -> anyhow::Result<Self> {
        let CloudDescription::Mock { socket, .. } = &lab.cloud else {
            bail!("the demo's cloud is the mock cloud");
        };
        let dump = AdminClient::new(socket).dump().await?;
        let held = dump
            .node(&node.instance_id)
            .context("the cloud does not know the node")?;
        let mut cloud = BTreeMap::new();
        for one in &held.interfaces {
            cloud.insert(
                one.interface.id.to_string(),
                serde_json::to_value(&one.interface)?,
            );
        }
        let mut client = connect_operator(&node.operator_socket()).await?;
        let all = client
            .endpoints(EndpointsRequest {})
            .await?
            .into_inner()
            .endpoints;
        let endpoints = all.iter().map(|one| {
            (
                owner(one),
                format!("{} by {}", one.addresses.join(" "), one.host_interface),
            )
        });
        let mut kernel = BTreeMap::new();
        for (what, arguments) in [
            ("links", &["-j", "link", "show"][..]),
            ("routes", &["-j", "route", "show", "table", "all"]),
            ("rules", &["-j", "rule", "show"]),
        ] {
            kernel.insert(what.to_owned(), ip(node, arguments).await?);
        }
        Ok(Self {
            cloud,
            endpoints: endpoints.collect(),
            kernel,
        })
    }

    /// How many objects of each kind there are.
    pub(super) fn count(&self, kernel: &str) -> usize {
        self.kernel.get(kernel).map_or(0, Vec::len)
    }

    /// Addresses and prefixes that the cloud has assigned, without own ones.
    pub(super) fn assigned(&self) -> usize {
        let list = |one: &Value, name: &str| one[name].as_array().map_or(0, Vec::len);
        self.cloud
            .values()
            .map(|one| list(one, "addresses") + list(one, "prefixes"))
            .sum()
    }

    /// What differs, in words.
    pub(super) fn differences(&self, later: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.cloud != later.cloud {
            found.push(format!(
                "the cloud had {:?}, has {:?}",
                self.cloud, later.cloud
            ));
        }
        for (pod, was) in &self.endpoints {
            match later.endpoints.get(pod) {
                Some(is) if is == was => {}
                Some(is) => found.push(format!("pod {pod} had {was}, has {is}")),
                None => found.push(format!("pod {pod} with {was} is lost")),
            }
        }
        let new = later
            .endpoints
            .keys()
            .filter(|pod| !self.endpoints.contains_key(*pod));
        found.extend(new.map(|pod| format!("pod {pod} was not there before")));
        for (what, was) in &self.kernel {
            let is = later.kernel.get(what).cloned().unwrap_or_default();
            found.extend(
                was.iter()
                    .filter(|one| !is.contains(one))
                    .map(|one| format!("lost of the {what}: {one}")),
            );
            found.extend(
                is.iter()
                    .filter(|one| !was.contains(one))
                    .map(|one| format!("new in the {what}: {one}")),
            );
        }
        found
    }
}

/// What `ip` lists on a node, object by object, without counters and ages, which change by
/// themselves.
async fn ip(node: &NodeDescription, arguments: &[&str]) -> anyhow::Result<Vec<String>> {
    let output = command_in(&node.namespace, "ip")
        .args(arguments)
        .output()
        .await?;
    if !output.status.success() {
        bail!(
            "ip failed on {}: {}",
            node.name,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let mut all: Vec<Value> =
        serde_json::from_slice(&output.stdout).context("ip printed no JSON")?;
    for one in &mut all {
        if let Some(fields) = one.as_object_mut() {
            fields.remove("expires");
        }
    }
    Ok(all.iter().map(Value::to_string).collect())
}
