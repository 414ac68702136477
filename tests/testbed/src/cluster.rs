//! A real Kubernetes cluster: its nodes are machines of a lab, whose VPC checks sources, and
//! its control plane runs on a further machine of the same VPC. Nothing of it outlives the value.

mod control_plane;
mod image;
mod machine;

use std::ffi::OsStr;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use veni_cloudlab::mock::{CloudConfig, NodeConfig};
use veni_cloudlab::{Lab, LabConfig, PlaneConfig};

use crate::binaries;
use crate::kube_proxy::ProxyMode;
use crate::waiting::within;
use control_plane::ControlPlane;
pub use image::{IMAGE, build_image, image};
use machine::Equipment;
pub use machine::Machine;

/// The image of pods: busybox.
pub const POD_IMAGE: &str = "localhost/veni/pod:1";
/// The deadline of what a cluster does: a hundred pods start within 20 seconds on a quiet
/// machine, and within minutes on a busy one.
pub const PATIENCE: Duration = Duration::from_secs(900);
/// Pause between two looks: each starts a program.
const PAUSE: Duration = Duration::from_millis(200);
/// Lines at the end of a log that a failure shows.
const SHOWN: usize = 30;

/// Makes clusters' names differ within the process.
static NUMBER: AtomicU32 = AtomicU32::new(1);

/// The configuration of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// How many nodes.
    pub nodes: u32,
    /// Their type, which says how many addresses they can have.
    pub instance_type: String,
    /// How many pods a kubelet runs at most.
    pub pods: u32,
    /// Archives of further images that the nodes have.
    pub images: Vec<PathBuf>,
    /// How services' rules are made.
    pub proxy: ProxyMode,
    /// The cloud.
    pub cloud: CloudConfig,
}

impl ClusterConfig {
    /// Nodes with three interfaces of nine addresses or prefixes each.
    pub fn new(nodes: u32) -> Self {
        Self {
            nodes,
            instance_type: "m5.large".to_owned(),
            pods: 110,
            images: Vec::new(),
            proxy: ProxyMode::Nftables,
            cloud: CloudConfig::aws().instant(),
        }
    }
}

/// A running cluster. A drop kills it.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they are to end.
    machines: Vec<Machine>,
    control_plane: ControlPlane,
    lab: Lab,
    _folder: TempDir,
}

impl Cluster {
    /// Brings a cluster up. Its nodes are registered, and not ready: they have no network yet.
    ///
    /// # Panics
    /// Outside of a test's own namespaces, or when something does not come up.
    pub async fn start(config: ClusterConfig) -> Self {
        let own = std::env::var("VENI_TEST_CGROUP").unwrap_or_else(|_| {
            panic!(
                "this test starts a cluster: run it by cargo, whose runner \
                 (tests/tools/in-namespaces) gives it namespaces and a cgroup of its own"
            )
        });
        let mut images = vec![binaries::fetched("pod-image", "pod.tar"), image().await];
        images.extend_from_slice(&config.images);
        let folder = tempfile::tempdir().expect("a folder for the cluster");
        let name = format!("cluster{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let lab = lab(&name, &config, folder.path().join("lab")).await;
        let [nodes @ .., control] = lab.nodes() else {
            unreachable!("the lab has a machine for the control plane");
        };
        let names: Vec<&str> = nodes.iter().map(veni_cloudlab::Node::name).collect();
        let control_plane = ControlPlane::start(
            control.namespace().path(),
            &folder.path().join("control"),
            control.addresses()[0],
            &names,
        )
        .await;
        Machine::configure(control_plane.configuration(), config.pods);
        let equipment = Equipment {
            configuration: control_plane.configuration(),
            cloud: lab.cloud_socket(),
            images,
            proxy: match config.proxy {
                ProxyMode::Nftables => "nftables",
                ProxyMode::Iptables | ProxyMode::IptablesLegacy => "iptables",
            },
            cgroup: format!("{own}/{name}"),
        };
        let machines: Vec<Machine> = nodes
            .iter()
            .map(|node| Machine::start(node, &equipment))
            .collect();
        let cluster = Self {
            machines,
            control_plane,
            lab,
            _folder: folder,
        };
        for machine in &cluster.machines {
            cluster.registered(machine).await;
        }
        cluster
    }

    async fn registered(&self, machine: &Machine) {
        eventually(&format!("{} in the cluster", machine.name()), async || {
            self.kubectl(&["get", "node", machine.name()])
                .await
                .map_err(|error| {
                    let logs = ["node", "kubelet"].map(|program| machine.log_tail(program));
                    format!("{error}\n{}", logs.join("\n"))
                })
        })
        .await;
        // Pods are refused before their service account is there.
        let account = ["get", "serviceaccount", "default"];
        eventually("the default service account", async || {
            self.kubectl(&account).await
        })
        .await;
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A node, from 0.
    pub fn node(&self, index: usize) -> &Machine {
        &self.machines[index]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Machine] {
        &self.machines
    }

    /// The node with a name.
    ///
    /// # Panics
    /// When there is none.
    pub fn node_named(&self, name: &str) -> &Machine {
        let mut all = self.machines.iter();
        let found = all.find(|machine| machine.name() == name);
        found.unwrap_or_else(|| panic!("there is no node {name}"))
    }

    /// Runs kubectl as the administrator and returns what it printed.
    ///
    /// # Errors
    /// What it complained about.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.kubectl_with(arguments, "").await
    }

    /// The same with an input.
    ///
    /// # Errors
    /// What it complained about.
    ///
    /// # Panics
    /// When it cannot be executed.
    pub async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = self.control_plane.kubectl();
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl can be executed");
        let mut stdin = child.stdin.take().expect("it has an input");
        // Ignored: a program that reads nothing tells on its standard error why.
        let _unread = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child
            .wait_with_output()
            .await
            .expect("it can be waited for");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => {
                let error = String::from_utf8_lossy(&output.stderr);
                Err(format!("kubectl {}: {}{said}", arguments.join(" "), error))
            }
        }
    }

    /// The administrator's kubeconfig, which nodes see under the same path.
    pub fn kubeconfig(&self) -> PathBuf {
        self.control_plane.configuration().join("admin.kubeconfig")
    }

    /// A program beside the control plane.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.control_plane.command(program)
    }

    /// kubectl by the administrator, for a call that goes on.
    pub fn kubectl_command(&self) -> Command {
        self.control_plane.kubectl()
    }

    /// A call of kubectl that finds plugins in a folder.
    pub fn kubectl_with_plugins(&self, plugins: &Path) -> Command {
        self.control_plane.kubectl_with_plugins(plugins)
    }

    /// Makes or changes objects: one, or a list of them.
    ///
    /// # Panics
    /// When the API server refuses.
    pub async fn apply(&self, objects: &Value) {
        let text = match objects {
            Value::Array(all) => {
                serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": all }).to_string()
            }
            one => one.to_string(),
        };
        self.apply_text(&text).await;
    }

    /// Makes or changes the objects of a text.
    ///
    /// # Panics
    /// When the API server refuses.
    pub async fn apply_text(&self, text: &str) {
        let applied = self.kubectl_with(&["apply", "-f", "-"], text).await;
        applied.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Runs kubectl for something that must succeed.
    ///
    /// # Panics
    /// When it fails.
    pub async fn must(&self, arguments: &[&str]) -> String {
        let said = self.kubectl(arguments).await;
        said.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Objects of a kind: `["pods", "-l", "app=web"]`.
    ///
    /// # Errors
    /// What kubectl complained about.
    pub async fn list(&self, what: &[&str]) -> Result<Vec<Value>, String> {
        let arguments = [&["get", "-o", "json"], what].concat();
        let said = self.kubectl(&arguments).await?;
        let list: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Runs a shell's command in a pod and returns what it printed.
    ///
    /// # Errors
    /// What it complained about.
    pub async fn exec(&self, pod: &str, command: &str) -> Result<String, String> {
        self.kubectl(&["exec", pod, "--", "sh", "-c", command])
            .await
    }

    /// Kills the API server.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill_api_server(&mut self) {
        self.control_plane.kill_api_server().await;
    }

    /// Starts the API server again and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start_api_server(&mut self) {
        self.control_plane.start_api_server().await;
    }

    /// What the daemons have asked the API server: one JSON object for each request.
    pub fn audit_log(&self) -> Vec<Value> {
        let log = self.control_plane.audit_log();
        let lines = log.lines();
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Packets that the VPC has dropped because their source is not assigned to the interface
    /// that they came from.
    ///
    /// # Panics
    /// When they cannot be counted.
    pub async fn forged(&self) -> u64 {
        let counters = self.lab.counters().await.expect("the VPC counts");
        counters
            .values()
            .map(|one| one.forged + one.untranslatable)
            .sum()
    }
}

/// A lab with a machine per node and one for the control plane, which is the last. The nodes'
/// ids in the cloud are their host names.
async fn lab(name: &str, config: &ClusterConfig, folder: PathBuf) -> Lab {
    let subnets: Vec<String> = config
        .cloud
        .subnets
        .iter()
        .map(|one| one.id.to_string())
        .collect();
    let nodes = (1..=config.nodes + 1)
        .zip(subnets.iter().cycle())
        .map(|(number, subnet)| {
            NodeConfig::new(&format!("node{number}"), &config.instance_type, subnet)
        })
        .collect();
    let plane = PlaneConfig::Mock {
        cloud: Box::new(config.cloud.clone()),
        nodes,
    };
    let config = LabConfig {
        name: name.to_owned(),
        folder,
        plane,
    };
    let lab = Lab::start(config).await;
    lab.unwrap_or_else(|error| panic!("the lab does not start: {error}: {error:?}"))
}

/// Looks again and again until `look` succeeds, and returns what it found.
///
/// # Panics
/// When [`PATIENCE`] is over, with the last reason.
pub async fn eventually<T, E: Display>(what: &str, look: impl AsyncFnMut() -> Result<T, E>) -> T {
    within(PATIENCE, PAUSE, what, look).await
}

/// The address of a pod.
pub fn address_of(pod: &Value) -> Option<IpAddr> {
    pod["status"]["podIP"].as_str()?.parse().ok()
}
