//! Executes the real CNI plugin as a container runtime does, and times it.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};
use veni_cloudlab::enter;

use super::control::{Attached, NodeDescription, PodDescription};

/// Name of the lab's network.
pub(crate) const NETWORK: &str = "lab";
/// Kubernetes namespace that the lab tells the plugin for all pods.
pub(crate) const KUBERNETES_NAMESPACE: &str = "lab";

/// The network configuration, as a node's runtime would pass it for a pod.
fn netconf(node: &NodeDescription, pod: &PodDescription) -> Value {
    let ports = pod.host_ports.iter().map(|port| {
        json!({ "hostPort": port.host_port, "containerPort": port.pod_port, "protocol": "tcp" })
    });
    json!({
        "cniVersion": "1.0.0",
        "name": NETWORK,
        "type": "veni-cni",
        "runDir": node.run_dir,
        "runtimeConfig": { "portMappings": ports.collect::<Vec<_>>() },
    })
}

/// Calls the plugin to give a pod its network.
pub(crate) async fn add(
    plugin: &Path,
    node: &NodeDescription,
    pod: &PodDescription,
) -> anyhow::Result<Attached> {
    let (answer, milliseconds) = call(plugin, "ADD", node, pod).await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let addresses = answer["ips"]
        .as_array()
        .context("the plugin's result has no addresses")?;
    let parse = |ip: &Value| -> anyhow::Result<IpAddr> {
        let cidr = text(&ip["address"]);
        let address = cidr.split('/').next().unwrap_or_default();
        address
            .parse()
            .with_context(|| format!("'{cidr}' is not an address"))
    };
    let interfaces = answer["interfaces"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let on_host = interfaces
        .iter()
        .find(|one| text(&one["sandbox"]).is_empty());
    Ok(Attached {
        addresses: addresses.iter().map(parse).collect::<Result<_, _>>()?,
        host_interface: on_host.map(|one| text(&one["name"])).unwrap_or_default(),
        milliseconds,
    })
}

/// Calls the plugin to take a pod's network away. Returns how long that took.
pub(crate) async fn del(
    plugin: &Path,
    node: &NodeDescription,
    pod: &PodDescription,
) -> anyhow::Result<f64> {
    Ok(call(plugin, "DEL", node, pod).await?.1)
}

/// Executes the plugin in the node's namespace. Returns its answer, and the milliseconds
/// from the start of its process to the end.
async fn call(
    plugin: &Path,
    command: &'static str,
    node: &NodeDescription,
    pod: &PodDescription,
) -> anyhow::Result<(Value, f64)> {
    let mut process = Command::new(plugin);
    process
        .env_clear()
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", &pod.container_id)
        .env("CNI_NETNS", &pod.namespace)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", plugin.parent().unwrap_or(Path::new("/")))
        .env("CNI_ARGS", arguments(pod))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let config = netconf(node, pod).to_string();
    let (output, milliseconds) = enter(&node.namespace, move || {
        let began = Instant::now();
        let mut child = process.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // Ignored: a plugin that stops reading says why in its answer.
            let _unread = stdin.write_all(config.as_bytes());
        }
        let output = child.wait_with_output()?;
        Ok((output, began.elapsed().as_secs_f64() * 1e3))
    })
    .await
    .with_context(|| format!("failed to execute {}", plugin.display()))?;
    let answer = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        let answer = if answer.trim().is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&answer).map_err(|error| {
                anyhow!("{command} of pod {} answered '{answer}': {error}", pod.name)
            })?
        };
        return Ok((answer, milliseconds));
    }
    let said = serde_json::from_str::<Value>(&answer).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let part = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    let (message, details) = (part("msg"), part("details"));
    let reason = match (message.is_empty(), details.is_empty()) {
        (true, _) => format!("{} {}", output.status, stderr.trim()),
        (false, true) => message,
        (false, false) => format!("{message}: {details}"),
    };
    bail!(
        "{command} of pod {} failed after {milliseconds:.1} ms: {reason}",
        pod.name
    )
}

/// `CNI_ARGS`, as containerd passes them for a pod of Kubernetes.
fn arguments(pod: &PodDescription) -> String {
    format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={KUBERNETES_NAMESPACE};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
        pod.name, pod.container_id, pod.holder
    )
}
