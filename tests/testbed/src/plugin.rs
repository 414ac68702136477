//! Calls the real plugin as a container runtime does.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::binaries;

/// The network's name, unless a test has another.
pub const NETWORK: &str = "veni";

/// An error as the plugin printed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniError {
    /// Code of the specification, or one of Veni's own, which begin at 100.
    pub code: u64,
    /// `msg` of the error.
    pub message: String,
    /// `details` of the error; empty without any.
    pub details: String,
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}: {}: {}", self.code, self.message, self.details)
    }
}

/// The result of an ADD.
#[derive(Debug, Clone, PartialEq)]
pub struct Added {
    /// The pod's addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Name of the host's end of its veth pair.
    pub host_link: String,
    /// The whole answer.
    pub answer: Value,
}

impl Added {
    /// Parses a result.
    ///
    /// # Panics
    /// When it is none.
    pub fn read(answer: Value) -> Self {
        let list = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let address = |ip: &Value| {
            let cidr: ipnet::IpNet = text(&ip["address"])
                .parse()
                .expect("an address in CIDR form");
            cidr.addr()
        };
        // Results before 0.3.0 have one address per family and name no interfaces.
        let by_family = ["ip4", "ip6"].into_iter().filter_map(|family| {
            let cidr: ipnet::IpNet = answer[family]["ip"].as_str()?.parse().ok()?;
            Some(cidr.addr())
        });
        let host = list("interfaces")
            .into_iter()
            .find(|one| text(&one["sandbox"]).is_empty());
        Self {
            addresses: list("ips").iter().map(address).chain(by_family).collect(),
            host_link: host.map(|one| text(&one["name"])).unwrap_or_default(),
            answer,
        }
    }

    /// Its address, the first where there are two.
    ///
    /// # Panics
    /// When there is none.
    pub fn address(&self) -> IpAddr {
        *self
            .addresses
            .first()
            .expect("an ADD answers with an address")
    }
}

/// The network configuration that a node's runtime has.
pub fn netconf(network: &str, run_dir: &Path, version: &str) -> Value {
    json!({ "cniVersion": version, "name": network, "type": "veni-cni", "runDir": run_dir })
}

/// One call that is about to be made.
#[derive(Debug, Clone)]
pub struct Call {
    /// `ADD`, `DEL` and so on.
    pub command: &'static str,
    /// Container id.
    pub container: String,
    /// Name of the interface in the pod.
    pub interface: String,
    /// Namespace; empty at a DEL without one.
    pub netns: String,
    /// Name of the Kubernetes pod; empty for none.
    pub pod: String,
    /// Standard input.
    pub config: Value,
}

impl Call {
    /// Starts the plugin. `node` is a command that runs a program on the node.
    ///
    /// # Panics
    /// When it cannot be executed.
    pub async fn start(&self, node: Command) -> Child {
        self.start_with_path(node, binaries::folder()).await
    }

    async fn start_with_path(&self, mut node: Command, plugins: &Path) -> Child {
        let mut child = node
            .env("CNI_COMMAND", self.command)
            .env("CNI_CONTAINERID", &self.container)
            .env("CNI_NETNS", &self.netns)
            .env("CNI_IFNAME", &self.interface)
            .env("CNI_PATH", plugins)
            .env("CNI_ARGS", self.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("veni-cni can be executed");
        let mut input = child.stdin.take().expect("its standard input is a pipe");
        // Ignored: a plugin that ends without reading says why in its answer.
        let _unread = input.write_all(self.config.to_string().as_bytes()).await;
        child
    }

    /// In the order in which containerd happens to pass them.
    fn arguments(&self) -> String {
        if self.pod.is_empty() {
            return "IgnoreUnknown=1".to_owned();
        }
        format!(
            "IgnoreUnknown=1;K8S_POD_NAME={};K8S_POD_NAMESPACE=test;K8S_POD_INFRA_CONTAINER_ID={}",
            self.pod, self.container
        )
    }

    /// Runs the plugin to its end.
    ///
    /// # Errors
    /// What it answered.
    pub async fn run(&self, node: Command) -> Result<Value, CniError> {
        self.run_with_path(node, binaries::folder()).await
    }

    /// As [`Call::run`], for a plugin that finds others in a folder.
    ///
    /// # Errors
    /// What it answered.
    pub async fn run_with_path(&self, node: Command, plugins: &Path) -> Result<Value, CniError> {
        let child = self.start_with_path(node, plugins).await;
        let output = child
            .wait_with_output()
            .await
            .expect("its end can be waited for");
        read(&output)
    }
}

/// Parses the output of a finished plugin.
///
/// # Errors
/// Its error.
///
/// # Panics
/// When it printed neither a result nor an error of the specification.
pub fn read(output: &std::process::Output) -> Result<Value, CniError> {
    let text = String::from_utf8_lossy(&output.stdout);
    let answer: Value = match text.trim() {
        "" => Value::Null,
        text => serde_json::from_str(text)
            .unwrap_or_else(|error| panic!("'{text}' is no JSON: {error}")),
    };
    if output.status.success() {
        return Ok(answer);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let part = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    match answer["code"].as_u64() {
        Some(code) => Err(CniError {
            code,
            message: part("msg"),
            details: part("details"),
        }),
        None => panic!(
            "the plugin ended with {} and said '{text}' '{stderr}'",
            output.status
        ),
    }
}
