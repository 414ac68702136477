//! A node's kube-proxy: the real one, as a process of its own, that follows an
//! [`ApiServer`](crate::api_server::ApiServer).

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};
use veni_cloudlab::{command_in, enter};

use crate::api_server::ApiServer;
use crate::{Bed, binaries, eventually};

/// Where a system has its programs of netfilter.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];
/// Where it tells its metrics, on the node's loopback address.
const METRICS_PORT: u16 = 10249;
/// The time of the last change of its rules, by family.
const SYNCED: &str = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";
/// Lines at the end of its log that a failure shows.
const SHOWN: usize = 25;

/// How a kube-proxy makes its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyMode {
    /// By nftables, in tables of its own.
    Nftables,
    /// By iptables, which writes nftables' tables `nat` and `filter`.
    Iptables,
    /// By iptables, which writes the kernel's old tables.
    IptablesLegacy,
}

/// A node's kube-proxy. Killed when the value is dropped.
#[derive(Debug)]
pub struct KubeProxy {
    namespace: PathBuf,
    folder: PathBuf,
    mode: ProxyMode,
    node: String,
    pods: Option<String>,
    child: Option<Child>,
}

impl KubeProxy {
    /// That of a node, which does not run yet.
    ///
    /// # Panics
    /// When its files cannot be written, or programs are missing.
    pub fn new(bed: &Bed, node: usize, mode: ProxyMode, api: &ApiServer) -> Self {
        let folder = bed.folder().join(format!("kube-proxy-{node}"));
        let tools = folder.join("tools");
        fs::create_dir_all(&tools).expect("a folder for kube-proxy");
        // Which of both a system's `iptables` is, is the system's choice.
        let backend = match mode {
            ProxyMode::IptablesLegacy => "xtables-legacy-multi",
            ProxyMode::Nftables | ProxyMode::Iptables => "xtables-nft-multi",
        };
        let backend = in_system(backend);
        for family in ["iptables", "ip6tables"] {
            for action in ["", "-save", "-restore"] {
                let link = tools.join(format!("{family}{action}"));
                symlink(&backend, link).expect("a link to iptables");
            }
        }
        let config = api.kubeconfig();
        fs::write(folder.join("kubeconfig"), config.to_string()).expect("a kubeconfig");
        Self {
            namespace: bed.node(node).to_owned(),
            folder,
            mode,
            node: bed.lab().node(node).name().to_owned(),
            pods: None,
            child: None,
        }
    }

    /// Tells it the range that pods' addresses are from (`--cluster-cidr`).
    #[must_use]
    pub fn of_pods_in(mut self, range: Option<&str>) -> Self {
        self.pods = range.map(str::to_owned);
        self
    }

    /// Starts it and waits until it has brought the rules to what the API server says.
    ///
    /// # Panics
    /// When it runs already, ends, or makes no rules.
    pub async fn start(&mut self) {
        assert!(self.child.is_none(), "kube-proxy runs already");
        let mode = match self.mode {
            ProxyMode::Nftables => "nftables",
            ProxyMode::Iptables | ProxyMode::IptablesLegacy => "iptables",
        };
        let mut command = self.command();
        command
            .arg("--kubeconfig")
            .arg(self.folder.join("kubeconfig"))
            .args(["--hostname-override", &self.node])
            .args(["--proxy-mode", mode])
            .args(self.pods.iter().flat_map(|range| ["--cluster-cidr", range]))
            // The machine's settings of connection tracking stay as they are.
            .args([
                "--conntrack-max-per-core=0",
                "--conntrack-min=0",
                "--conntrack-tcp-timeout-established=0",
                "--conntrack-tcp-timeout-close-wait=0",
            ]);
        self.child = Some(command.spawn().expect("kube-proxy can be executed"));
        eventually("kube-proxy's first rules", async || {
            self.lives();
            let metrics = self.metrics().await.map_err(|error| error.to_string())?;
            let mut lines = metrics.lines().filter(|line| line.starts_with(SYNCED));
            match lines.any(|line| !line.ends_with(" 0")) {
                true => Ok(()),
                false => Err(self.log_tail()),
            }
        })
        .await;
    }

    fn lives(&mut self) {
        let child = self.child.as_mut().expect("it was started");
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            panic!("kube-proxy ended with {status}:\n{}", self.log_tail());
        }
    }

    async fn metrics(&self) -> io::Result<String> {
        let asked = enter(&self.namespace, || {
            let mut stream = TcpStream::connect(("127.0.0.1", METRICS_PORT))?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        });
        asked.await
    }

    /// Waits until its rules lead a service to an address.
    ///
    /// # Panics
    /// When they do not, or it ends.
    pub async fn serves(&mut self, service: &str, address: IpAddr) {
        let address = address.to_string();
        // As names of chains have it.
        let in_names = address.replace(':', ".");
        let leads = |line: &str| {
            line.contains(service) && (line.contains(&address) || line.contains(&in_names))
        };
        eventually("kube-proxy's rules", async || {
            self.lives();
            let rules = self.rules().await;
            let mut lines = rules.lines();
            // Chains of nftables and comments of iptables alike name both.
            match lines.any(leads) {
                true => Ok(()),
                false => Err(format!(
                    "{service} does not lead to {address} in\n{rules}\n{}",
                    self.log_tail()
                )),
            }
        })
        .await;
    }

    /// Ends it at once. Its rules stay.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("kube-proxy runs");
        child.kill().await.expect("it can be ended");
    }

    /// Has it remove all its rules, as an administrator does. It must not run.
    ///
    /// # Panics
    /// When it fails or leaves some.
    pub async fn remove_rules(&self) {
        assert!(self.child.is_none(), "kube-proxy runs");
        let status = self.command().arg("--cleanup").status().await;
        let status = status.expect("kube-proxy can be executed");
        assert!(status.success(), "{}", self.log_tail());
        let rules = self.rules().await;
        assert!(!rules.contains("KUBE-SVC") && !rules.contains("kube-proxy"));
    }

    /// All rules of services, as the program of its mode lists them.
    ///
    /// # Panics
    /// When that fails.
    pub async fn rules(&self) -> String {
        let (program, arguments) = match self.mode {
            ProxyMode::Nftables => ("nft", ["list", "ruleset"]),
            ProxyMode::Iptables | ProxyMode::IptablesLegacy => ("iptables-save", ["-t", "nat"]),
        };
        let mut command = command_in(&self.namespace, program);
        let output = self.with_tools(&mut command).args(arguments).output().await;
        let output = output.expect("rules can be listed");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("kube-proxy.log")
    }

    fn command(&self) -> Command {
        let mut open = fs::OpenOptions::new();
        let log = open.create(true).append(true).open(self.log());
        let log = log.expect("kube-proxy's log can be written");
        let mut command = command_in(&self.namespace, binaries::kubernetes("kube-proxy"));
        self.with_tools(&mut command)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .kill_on_drop(true);
        command
    }

    fn with_tools<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let tools = self.folder.join("tools");
        let folders = SYSTEM_FOLDERS.join(":");
        command.env("PATH", format!("{}:{path}:{folders}", tools.display()))
    }
}

fn in_system(program: &str) -> PathBuf {
    let mut places = SYSTEM_FOLDERS
        .iter()
        .map(|one| Path::new(one).join(program));
    let found = places.find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{program} is missing: install the package iptables"))
}
