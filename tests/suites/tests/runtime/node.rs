//! A bed whose nodes run containerd, and what the tests do with its pods.

use std::net::IpAddr;
use std::path::Path;

use futures::future::join_all;
use veni_testbed::traffic::Stream;
use veni_testbed::{Bed, BedConfig, eventually};

use crate::containerd::{Containerd, Line};
use crate::cri::{LinuxSandboxConfig, PortMapping, Runtime, SandboxConfig, SandboxMetadata};

/// A sandbox with one container in it.
pub(crate) struct SandboxPod {
    pub(crate) name: String,
    pub(crate) node: usize,
    pub(crate) sandbox: String,
    pub(crate) container: String,
    pub(crate) address: IpAddr,
}

/// Nodes with daemon and runtime.
pub(crate) struct Site {
    pub(crate) containerd: Vec<Containerd>,
    pub(crate) bed: Bed,
    // Short: a socket's path ends at 108 bytes.
    folder: tempfile::TempDir,
}

impl Site {
    pub(crate) async fn start(line: Line, config: BedConfig) -> Self {
        let nodes = usize::try_from(config.nodes).expect("a number of nodes");
        let bed = Bed::start(config).await;
        let folder = tempfile::tempdir().expect("a folder for the runtimes");
        let starting = (0..nodes).map(|node| {
            let own = folder.path().join(node.to_string());
            let (namespace, run_dir) = (bed.node(node), bed.daemon(node).run_dir());
            async move { Containerd::start(line, &own, namespace, run_dir).await }
        });
        let containerd = join_all(starting).await;
        Self {
            containerd,
            bed,
            folder,
        }
    }

    pub(crate) fn runtime(&self, node: usize) -> &Runtime {
        &self.containerd[node].runtime
    }

    pub(crate) fn sandbox_config(&self, name: &str, ports: &[(i32, i32)]) -> SandboxConfig {
        let logs = self.folder.path().join("logs");
        std::fs::create_dir_all(&logs).expect("the logs' folder can be made");
        SandboxConfig {
            metadata: Some(SandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: logs.display().to_string(),
            port_mappings: ports
                .iter()
                .map(|(host_port, container_port)| PortMapping {
                    protocol: 0,
                    container_port: *container_port,
                    host_port: *host_port,
                })
                .collect(),
            linux: Some(LinuxSandboxConfig {
                cgroup_parent: cgroup(""),
            }),
            ..SandboxConfig::default()
        }
    }

    /// A pod as a kubelet makes it: a sandbox, and a container that sleeps.
    pub(crate) async fn pod(&self, node: usize, name: &str, ports: &[(i32, i32)]) -> SandboxPod {
        let config = self.sandbox_config(name, ports);
        let runtime = self.runtime(node);
        let sandbox = runtime.run_sandbox(&config).await;
        let sandbox = sandbox.unwrap_or_else(|error| panic!("{error}\n{}", self.logs(node)));
        let container = runtime
            .run_container(&sandbox, &config, &["sleep", "1000"])
            .await;
        let container = container.unwrap_or_else(|error| panic!("{error}\n{}", self.logs(node)));
        let (address, ready) = runtime.sandbox(&sandbox).await.expect("its status");
        assert!(ready, "{name} is not ready");
        SandboxPod {
            name: name.to_owned(),
            node,
            sandbox,
            container,
            address: crate::parse(&address),
        }
    }

    pub(crate) fn assert_assigned_by_cloud(&self, pod: &SandboxPod) {
        assert!(
            crate::assigned(self, pod),
            "{} of {} is not assigned to its node by the cloud",
            pod.address,
            pod.name
        );
    }

    /// A stream of pings from a node.
    pub(crate) async fn stream(&self, node: usize, to: IpAddr) -> Stream {
        Stream::start(self.bed.node(node), to).await
    }

    /// One ping that must be answered.
    pub(crate) async fn assert_pings(&self, from: &SandboxPod, to: IpAddr) {
        let to = to.to_string();
        self.assert_succeeds(from, &["ping", "-c", "1", "-W", "10", &to])
            .await;
    }

    /// Starts a web server in a pod and waits until it listens.
    pub(crate) async fn serve_http(&self, pod: &SandboxPod) {
        self.assert_succeeds(
            pod,
            &["sh", "-c", "echo veni > /index.html; httpd -p 80 -h /"],
        )
        .await;
        self.assert_fetches(pod, pod.address, 80).await;
    }

    /// Fetches a page of a pod's web server from another pod.
    pub(crate) async fn assert_fetches(&self, from: &SandboxPod, host: IpAddr, port: u16) {
        let request = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 10 {host} {port}");
        eventually(&format!("a page of {host}:{port}"), async || {
            let runtime = self.runtime(from.node);
            let executed = runtime.exec(&from.container, &["sh", "-c", &request]).await;
            let executed = executed.map_err(|status| status.to_string())?;
            let page = String::from_utf8_lossy(&executed.stdout).into_owned();
            if page.contains("veni") {
                Ok(())
            } else {
                Err(format!("{executed:?}"))
            }
        })
        .await;
    }

    async fn assert_succeeds(&self, pod: &SandboxPod, command: &[&str]) {
        let executed = self.runtime(pod.node).exec(&pod.container, command).await;
        let executed = executed.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert_eq!(
            executed.exit_code,
            0,
            "{command:?} in {}: {}{}",
            pod.name,
            String::from_utf8_lossy(&executed.stdout),
            String::from_utf8_lossy(&executed.stderr)
        );
    }

    /// Removes the pods as a kubelet does, and asserts that nothing of them is left.
    pub(crate) async fn end(self, pods: Vec<SandboxPod>) {
        for pod in pods {
            let removed = self.runtime(pod.node).remove_sandbox(&pod.sandbox).await;
            removed.unwrap_or_else(|error| panic!("{}: {error}", pod.name));
        }
        for node in 0..self.containerd.len() {
            self.bed.nothing_of_pods(node).await;
        }
        self.bed.sound(&[]).await;
        drop(self.containerd);
        self.bed.end().await;
    }

    pub(crate) fn logs(&self, node: usize) -> String {
        let containerd = self.containerd[node].log();
        let from = containerd.len().saturating_sub(3000);
        format!(
            "{}\n{}",
            containerd.get(from..).unwrap_or_default(),
            self.bed.daemon(node).log_tail()
        )
    }
}

/// A cgroup that the lane's runner removes afterwards.
pub(crate) fn cgroup(name: &str) -> String {
    let parent = std::env::var("VENI_TEST_CGROUP").unwrap_or_else(|_| "/veni-test".to_owned());
    Path::new(&parent).join(name).display().to_string()
}
