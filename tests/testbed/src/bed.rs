//! A bed: a test's own cloud, nodes, daemons and pods, and what a test does with them.

#[cfg(feature = "aws")]
mod localstack;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
#[cfg(feature = "aws")]
use veni_cloudlab::Ec2Config;
use veni_cloudlab::mock::CloudConfig;
use veni_cloudlab::{ArmConfig, Lab, LabConfig, Pod, veni_arm};

use crate::audit::{Evidence, Violation, audit};
use crate::daemon::Daemon;
use crate::evidence;
use crate::plugin::{Added, Call, CniError, NETWORK, netconf};
use crate::{binaries, eventually, kernel};

/// Makes labs' and containers' names differ within the process.
static NUMBER: AtomicU32 = AtomicU32::new(1);

/// Which cloud a bed has.
#[derive(Debug, Clone)]
pub enum BedCloud {
    /// The mock cloud.
    Mock(Box<CloudConfig>),
    /// A Resource Manager with rules. Nodes and their sizes are the bed's.
    Arm(Box<veni_arm::Config>),
    /// The EC2 of this process's LocalStack, in a VPC of the bed's own. Nodes and
    /// their types are the bed's.
    #[cfg(feature = "aws")]
    Ec2(Ec2Config),
}

/// The configuration of a bed.
#[derive(Debug, Clone)]
pub struct BedConfig {
    /// The cloud.
    pub cloud: BedCloud,
    /// How many nodes.
    pub nodes: u32,
    /// Their type.
    pub instance_type: String,
    /// The daemons' settings.
    pub environment: Vec<(String, String)>,
}

impl BedConfig {
    /// Nodes with three interfaces of nine addresses each, in a cloud without
    /// latency; daemons that audit every second and cool addresses for one.
    pub fn new(nodes: u32) -> Self {
        let config = Self {
            cloud: BedCloud::Mock(Box::new(CloudConfig::aws().instant())),
            nodes,
            instance_type: "m5.large".to_owned(),
            environment: Vec::new(),
        };
        config
            .set("VENI_AUDIT_INTERVAL", "1")
            .set("IP_COOLDOWN_PERIOD", "1")
    }

    /// Nodes as in [`BedConfig::new`], in a virtual network of a Resource Manager with rules.
    /// Daemons give an excess back after a second.
    pub fn arm(nodes: u32, arm: veni_arm::Config) -> Self {
        let mut config = Self::new(nodes);
        config.cloud = BedCloud::Arm(Box::new(arm));
        config
            .instance_type("Standard_D4s_v5")
            .set("VENI_RELEASE_DELAY", "1")
    }

    /// With another instance type.
    #[must_use]
    pub fn instance_type(mut self, instance_type: &str) -> Self {
        instance_type.clone_into(&mut self.instance_type);
        self
    }

    /// With another cloud.
    #[must_use]
    pub fn cloud(mut self, cloud: CloudConfig) -> Self {
        self.cloud = BedCloud::Mock(Box::new(cloud));
        self
    }

    /// With a setting of the daemons.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A cloud with its nodes and a daemon on each.
#[derive(Debug)]
pub struct Bed {
    lab: Lab,
    daemons: Vec<Daemon>,
    // Declared last, so it is dropped and removed last.
    folder: TempDir,
}

/// A pod, before and after its ADD: a namespace on a node and the name of its container.
#[derive(Debug)]
pub struct TestPod {
    pod: Pod,
    node: usize,
    container: String,
    /// `runtimeConfig` of its calls; null for none.
    runtime_config: Value,
}

impl TestPod {
    /// The same pod, whose runtime passes this `runtimeConfig`.
    #[must_use]
    pub fn asking_for(self, runtime_config: Value) -> Self {
        Self {
            runtime_config,
            ..self
        }
    }

    /// Path of its namespace.
    pub fn path(&self) -> &Path {
        self.pod.namespace().path()
    }

    /// Its container id.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// Index of its node.
    pub fn node(&self) -> usize {
        self.node
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.pod.name()
    }

    /// Ends its namespace, as the end of its last process does.
    ///
    /// # Panics
    /// When the lab cannot forget it.
    pub async fn vanish(self) {
        self.pod.remove().await.expect("the lab forgets the pod");
    }
}

impl Bed {
    /// Brings lab and daemons up; all are ready when this returns.
    ///
    /// # Panics
    /// Outside of a test's own namespaces, or when something does not come up.
    pub async fn start(config: BedConfig) -> Self {
        let bed = Self::start_without_daemons(config).await;
        join_all(bed.daemons.iter().map(Daemon::start)).await;
        bed
    }

    /// Brings the lab up. The test starts the daemons.
    ///
    /// # Panics
    /// As [`Bed::start`].
    pub async fn start_without_daemons(config: BedConfig) -> Self {
        assert!(
            std::env::var_os("VENI_TEST_NAMESPACES").is_some(),
            "this test changes the kernel's network: run it by cargo, whose runner \
             (tests/tools/in-namespaces) gives it namespaces of its own"
        );
        let folder = tempfile::tempdir().expect("a folder for the lab");
        let name = format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let lab = match config.cloud {
            BedCloud::Mock(cloud) => {
                LabConfig::new(&name, *cloud, config.nodes, &config.instance_type)
            }
            BedCloud::Arm(arm) => {
                let arm = ArmConfig::new(*arm, config.nodes, &config.instance_type);
                LabConfig::arm(&name, arm)
            }
            #[cfg(feature = "aws")]
            BedCloud::Ec2(mut ec2) => {
                let types = (0..config.nodes).map(|_| config.instance_type.clone());
                ec2.instance_types = types.collect();
                LabConfig::ec2(&name, ec2)
            }
        };
        let lab = Lab::start(lab.folder(folder.path().join("lab"))).await;
        let lab = lab.unwrap_or_else(|error| panic!("the lab does not start: {error}: {error:?}"));
        let daemon = |node: &veni_cloudlab::Node| {
            let mut environment = lab.environment(node);
            environment.extend(config.environment.iter().cloned());
            Daemon::new(
                node.namespace().path(),
                node.folder(),
                node.run_dir(),
                environment,
            )
        };
        let daemons = lab.nodes().iter().map(daemon).collect();
        Self {
            lab,
            daemons,
            folder,
        }
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A folder of the test's own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The daemon of a node.
    pub fn daemon(&self, node: usize) -> &Daemon {
        &self.daemons[node]
    }

    /// Path of a node's namespace.
    pub fn node(&self, node: usize) -> &Path {
        self.lab.node(node).namespace().path()
    }

    /// A node's own IPv4 address.
    pub fn node_address(&self, node: usize) -> std::net::IpAddr {
        self.lab.node(node).addresses()[0]
    }

    /// Makes a pod's namespace; it has no network yet.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub async fn pod(&self, node: usize, name: &str) -> TestPod {
        let pod = self.lab.pod(self.lab.node(node), name).await;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        TestPod {
            pod: pod.expect("a namespace for the pod"),
            node,
            container: format!("{name}-{number}"),
            runtime_config: Value::Null,
        }
    }

    /// Makes a pod and gives it its network.
    ///
    /// # Panics
    /// When ADD fails.
    pub async fn running(&self, node: usize, name: &str) -> (TestPod, Added) {
        let pod = self.pod(node, name).await;
        let added = self.add(&pod).await;
        let added = added.unwrap_or_else(|error| {
            panic!("ADD of {name}: {error}:\n{}", self.daemons[node].log_tail())
        });
        (pod, added)
    }

    /// A call of the plugin about a pod.
    pub fn call(&self, command: &'static str, pod: &TestPod) -> Call {
        let mut config = self.netconf(pod.node);
        if !pod.runtime_config.is_null() {
            config["runtimeConfig"] = pod.runtime_config.clone();
        }
        Call {
            command,
            container: pod.container.clone(),
            interface: "eth0".to_owned(),
            netns: pod.path().display().to_string(),
            pod: pod.name().to_owned(),
            config,
        }
    }

    /// The network configuration of a node.
    pub fn netconf(&self, node: usize) -> Value {
        netconf(NETWORK, self.daemons[node].run_dir(), "1.1.0")
    }

    /// A program to be started on a node.
    pub fn exec(
        &self,
        node: usize,
        program: impl AsRef<std::ffi::OsStr>,
    ) -> tokio::process::Command {
        self.lab.node(node).exec(program)
    }

    /// Runs a call on a node.
    ///
    /// # Errors
    /// What the plugin answered.
    pub async fn run(&self, node: usize, call: &Call) -> Result<Value, CniError> {
        call.run(self.daemons[node].exec(binaries::plugin())).await
    }

    /// Calls the plugin with ADD for a pod.
    ///
    /// # Errors
    /// What the plugin answered.
    pub async fn add(&self, pod: &TestPod) -> Result<Added, CniError> {
        self.run(pod.node, &self.call("ADD", pod))
            .await
            .map(Added::read)
    }

    /// Calls the plugin with DEL for a pod.
    ///
    /// # Errors
    /// What the plugin answered.
    pub async fn del(&self, pod: &TestPod) -> Result<(), CniError> {
        self.run(pod.node, &self.call("DEL", pod)).await.map(drop)
    }

    /// CHECK with the result of its ADD.
    ///
    /// # Errors
    /// What the plugin answered.
    pub async fn check(&self, pod: &TestPod, added: &Added) -> Result<(), CniError> {
        let mut call = self.call("CHECK", pod);
        call.config["prevResult"] = added.answer.clone();
        self.run(pod.node, &call).await.map(drop)
    }

    /// GC of the network with these pods left.
    ///
    /// # Errors
    /// What the plugin answered.
    pub async fn gc(&self, node: usize, valid: &[&TestPod]) -> Result<(), CniError> {
        let valid: Vec<Value> = valid
            .iter()
            .map(|pod| json!({ "containerID": pod.container, "ifname": "eth0" }))
            .collect();
        let mut call = self.bare("GC", node);
        call.config["cni.dev/valid-attachments"] = Value::from(valid);
        self.run(node, &call).await.map(drop)
    }

    /// A call that is about no pod.
    pub fn bare(&self, command: &'static str, node: usize) -> Call {
        Call {
            command,
            container: String::new(),
            interface: String::new(),
            netns: String::new(),
            pod: String::new(),
            config: self.netconf(node),
        }
    }

    /// Gathers all facts. `pods` must name all existing pods: what belongs to none of them
    /// counts as nobody's.
    ///
    /// # Errors
    /// A daemon does not answer.
    pub async fn evidence(&self, pods: &[&TestPod]) -> Result<Evidence, String> {
        let mut nodes = Vec::new();
        for index in 0..self.daemons.len() {
            let told = evidence::told(self, index).await?;
            nodes.push(evidence::of_node(self, index, pods, told).await?);
        }
        Ok(Evidence { nodes })
    }

    /// The violations after a change of the first node that its daemon must not repair. The
    /// daemon is stopped from before the change until after `undo`.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn violations_unseen(
        &self,
        pods: &[&TestPod],
        plant: impl AsyncFnOnce(),
        undo: impl AsyncFnOnce(),
    ) -> Result<Vec<Violation>, String> {
        // Ask before the pause: a stopped daemon does not answer.
        let told = evidence::told(self, 0).await?;
        let daemon = self.daemon(0);
        daemon.pause().await;
        plant().await;
        let node = evidence::of_node(self, 0, pods, told).await;
        // Undo first, or the daemon would repair the defect and report it.
        undo().await;
        daemon.resume().await;
        Ok(audit(&Evidence { nodes: vec![node?] }))
    }

    /// The violations now.
    ///
    /// # Errors
    /// A daemon does not answer.
    pub async fn violations(&self, pods: &[&TestPod]) -> Result<Vec<Violation>, String> {
        Ok(audit(&self.evidence(pods).await?))
    }

    /// Waits until nothing is wrong and nothing is under way.
    ///
    /// # Panics
    /// When something stays wrong.
    pub async fn sound(&self, pods: &[&TestPod]) {
        eventually("a sound state", async || {
            // Facts are gathered one after the other, so a change meanwhile can look like a
            // violation. Only one that stays counts.
            let found = self.violations(pods).await?;
            if found.is_empty() {
                return Ok(());
            }
            let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
            let logs: Vec<String> = self.daemons.iter().map(Daemon::log_tail).collect();
            Err(format!("{}\n{}", lines.join("\n"), logs.join("\n--\n")))
        })
        .await;
    }

    /// Waits until a node has nothing of pods in its kernel.
    ///
    /// # Panics
    /// When something stays.
    pub async fn nothing_of_pods(&self, node: usize) {
        eventually("a node without pods", async || {
            let left = kernel::of_pods(self.node(node)).await;
            if left.is_empty() {
                Ok(())
            } else {
                Err(left.join(", "))
            }
        })
        .await;
    }

    /// Waits until a pod's namespace has no link but loopback.
    ///
    /// # Panics
    /// When one stays.
    pub async fn nothing_in(&self, pod: &TestPod) {
        eventually("an empty pod", async || {
            let links = kernel::links(pod.path()).await;
            if links.len() == 1 {
                Ok(())
            } else {
                Err(format!("{links:?}"))
            }
        })
        .await;
    }

    /// Path of the entry of a pod in its node's journal.
    ///
    /// # Panics
    /// When there is none.
    pub fn journal_entry(&self, pod: &TestPod) -> PathBuf {
        let folder = self.daemons[pod.node].run_dir().join("journal/endpoints");
        let files = std::fs::read_dir(folder).expect("the journal can be listed");
        let mut paths = files.flatten().map(|file| file.path());
        let name = format!("\"{}\"", pod.container);
        let found =
            paths.find(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(&name)));
        found.unwrap_or_else(|| panic!("{} has no entry in the journal", pod.container))
    }

    /// Ends the daemons and the lab in order. A drop kills them instead.
    ///
    /// # Panics
    /// When something cannot be removed.
    pub async fn end(self) {
        for daemon in &self.daemons {
            if daemon.pid().await.is_some() {
                daemon.kill().await;
            }
        }
        drop(self.daemons);
        self.lab.shutdown().await.expect("the lab can be removed");
    }
}
