//! A node of a cluster: a machine of the lab on which containerd, kubelet and kube-proxy run, in
//! mount, process and cgroup namespaces of its own (`tests/tools/kubernetes/node`).

use std::fs::{self, OpenOptions};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use tokio::process::{Child, Command};
use veni_cloudlab::{Node, end_of_log};

use super::{SHOWN, eventually};
use crate::{binaries, kernel};

/// What a node is made of, the same for all nodes of a cluster.
#[derive(Debug)]
pub(super) struct Equipment<'a> {
    /// Folder with each node's kubeconfig.
    pub(super) configuration: &'a Path,
    /// Socket of the mock cloud.
    pub(super) cloud: PathBuf,
    /// Archives of images.
    pub(super) images: Vec<PathBuf>,
    /// Mode of kube-proxy.
    pub(super) proxy: &'a str,
    /// Cgroup of the cluster, below each hierarchy.
    pub(super) cgroup: String,
}

/// A running node. All that runs on it is killed when the value is dropped.
#[derive(Debug)]
pub struct Machine {
    name: String,
    address: IpAddr,
    namespace: PathBuf,
    folder: PathBuf,
    process: Child,
}

impl Machine {
    /// Writes the configuration of all nodes' kubelet and containerd.
    pub(super) fn configure(folder: &Path, pods: u32) {
        let kubelet = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
            "authorization": { "mode": "AlwaysAllow" },
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "staticPodPath": "/etc/kubernetes/manifests",
            "maxPods": pods,
            // The machine's: cgroup version 1, without systemd, with swap and full disks.
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": false,
            "failSwapOn": false,
            "enforceNodeAllocatable": [],
            "evictionHard": {
                "memory.available": "0%", "nodefs.available": "0%",
                "imagefs.available": "0%", "nodefs.inodesFree": "0%",
            },
            "imageGCHighThresholdPercent": 100,
            "makeIPTablesUtilChains": false,
            "resolvConf": "",
            // Bursts of pods must not wait for the kubelet's own limits.
            "kubeAPIQPS": 500, "kubeAPIBurst": 1000, "registryPullQPS": 0, "eventRecordQPS": 0,
            "serializeImagePulls": false,
            // A busy machine needs long for a hundred containers at once, and longer for new tries.
            "runtimeRequestTimeout": "10m",
        });
        let containerd = "version = 3\n\
            [plugins.\"io.containerd.cri.v1.images\".pinned_images]\n\
            sandbox = \"localhost/veni/pod:1\"\n\
            [plugins.\"io.containerd.cri.v1.runtime\"]\n\
            # The score cannot be lowered without CAP_SYS_RESOURCE, which containers often lack.\n\
            restrict_oom_score_adj = true\n\
            disable_apparmor = true\n";
        fs::write(folder.join("kubelet.json"), kubelet.to_string()).expect("it can be written");
        fs::write(folder.join("containerd.toml"), containerd).expect("it can be written");
    }

    /// Starts a node.
    pub(super) fn start(node: &Node, equipment: &Equipment<'_>) -> Self {
        let folders = [
            binaries::fetched("kubernetes", "bin"),
            binaries::fetched("containerd2", "bin"),
            binaries::fetched("containerd", "usr/sbin"),
        ];
        let address = node.addresses()[0];
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/kubernetes/node");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(node.folder().join("node.log"))
            .expect("the node's log can be written");
        let process = node
            .exec(script)
            .env("NODE", node.name())
            .env("ADDRESS", address.to_string())
            .env("FOLDER", node.folder())
            .env("CGROUP", format!("{}/{}", equipment.cgroup, node.name()))
            .env("CLOUD", &equipment.cloud)
            .env("CONFIGURATION", equipment.configuration)
            .env("TOOLS", joined(&folders, ":"))
            .env("LOOPBACK", binaries::reference_plugins().join("loopback"))
            .env("IMAGES", joined(&equipment.images, " "))
            .env("PROXY", equipment.proxy)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the node's script can be executed");
        Self {
            name: node.name().to_owned(),
            address,
            namespace: node.namespace().path().to_owned(),
            folder: node.folder().to_owned(),
            process,
        }
    }

    /// Its name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its own address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Path of its network namespace.
    pub fn namespace(&self) -> &Path {
        &self.namespace
    }

    /// Path by which the test sees a file of the node.
    ///
    /// # Panics
    /// When the node has ended.
    pub fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.first_process()))
    }

    /// The first process of the node's own process namespace.
    fn first_process(&self) -> u32 {
        let outer = self.process.id().expect("the node runs");
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"));
        let children = children.unwrap_or_default();
        let first = children.split_whitespace().next();
        let first = first.and_then(|text| text.parse().ok());
        first.unwrap_or_else(|| panic!("{} has ended: {}", self.name, self.log_tail("node")))
    }

    /// A program to be started on the node, in all its namespaces.
    ///
    /// # Panics
    /// When the node has ended.
    pub fn exec(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.first_process().to_string();
        command.args(["--target", &target, "--all", "--", program]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Kills a program of the node, which comes back: `containerd`, `kubelet` or `kube-proxy`.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill(&self, program: &str) {
        let pid = fs::read_to_string(self.file(&format!("/run/{program}.pid")));
        let pid = pid.expect("the program was started");
        self.signal(pid.trim(), "KILL").await;
    }

    /// Sends a signal to a process by its id on the node: `KILL`, `STOP`, `CONT`.
    ///
    /// # Panics
    /// When there is none.
    pub async fn signal(&self, pid: &str, signal: &str) {
        let sent = self.exec("kill").args(["-s", signal, pid]).status().await;
        assert!(
            sent.expect("kill can be executed").success(),
            "no process {pid}"
        );
    }

    /// Ids, on the node, of the processes that are executed from a program of this name.
    ///
    /// # Panics
    /// When they cannot be listed.
    pub async fn processes(&self, program: &str) -> Vec<String> {
        let output = self.exec("pidof").arg(program).output().await;
        let output = output.expect("pidof can be executed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Path of the network namespace of the pod with an address.
    ///
    /// # Panics
    /// When there is none.
    pub async fn pod_namespace(&self, address: IpAddr) -> PathBuf {
        eventually(&format!("a namespace with {address}"), async || {
            let folder = self.file("/run/netns");
            let all = fs::read_dir(&folder).map_err(|error| error.to_string())?;
            for one in all.flatten() {
                let listed = kernel::run(&one.path(), "ip", &["-j", "address"]).await;
                if listed.is_ok_and(|text| text.contains(&format!("\"{address}\""))) {
                    return Ok(one.path());
                }
            }
            Err(format!("none in {}", folder.display()))
        })
        .await
    }

    /// The end of a program's log: `node`, `containerd`, `kubelet` or `kube-proxy`.
    pub fn log_tail(&self, program: &str) -> String {
        let folder = match program {
            "node" => self.folder.clone(),
            _ => self.folder.join("log"),
        };
        end_of_log(&folder.join(format!("{program}.log")), SHOWN)
    }
}

fn joined(paths: &[PathBuf], between: &str) -> String {
    let texts: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    texts.join(between)
}
