//! The node of a run: namespaces of the program's own, a cloud network behind `eth0`, and
//! interfaces that it plugs in when the mock cloud has attached them.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use veni_api::v1::PoolResponse;

use crate::command::{ip, ip_in, run};
use crate::starter::Starter;

/// Environment variable that tells the program that it runs in its own namespaces.
const INSIDE: &str = "VENI_BENCH_INSIDE";
/// Folder of all files of a run; a tmpfs, as `/run` is on a node.
const FOLDER: &str = "/run/veni-bench";
/// The node's address and the length of its subnet.
pub(crate) const ADDRESS: &str = "10.0.0.4/18";
/// The cloud network's end of the node's links.
pub(crate) const GATEWAY: &str = "10.0.0.1";

/// Whether this is the process inside the namespaces.
pub(crate) fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Starts this program anew in namespaces that end with it, also when it is
/// killed. Returns only when that fails.
pub(crate) fn enter() -> anyhow::Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("the plugins make links and namespaces: run this as root");
    }
    let program = std::env::current_exe().context("failed to find this program")?;
    let error = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child"])
        .args(["--mount-proc", "--propagation", "private"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        // Beds of the tests ask for it before they change the kernel.
        .env("VENI_TEST_NAMESPACES", "1")
        .exec();
    Err(error).context("failed to run unshare")
}

/// The node.
#[derive(Debug)]
pub(crate) struct Node {
    /// Folder of this run.
    pub(crate) folder: PathBuf,
    /// The cloud network's namespace.
    pub(crate) network: PathBuf,
}

impl Node {
    /// Makes the node and the network that it is plugged into.
    pub(crate) fn try_new(starter: &Starter) -> anyhow::Result<Self> {
        run(&["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"])?;
        // Mount sysfs again: it shows the network namespace in which it was mounted.
        run(&["mount", "-t", "sysfs", "sysfs", "/sys"])?;
        let folder = PathBuf::from(FOLDER);
        let networks = folder.join("network");
        fs::create_dir_all(&networks)?;
        starter.namespaces(&networks, 1)?;
        let node = Self {
            network: networks.join("0"),
            folder,
        };
        ip("link set lo up")?;
        ip_in(&node.network, "link set lo up")?;
        node.loosen_network()?;
        node.plug("eth0", None, 0)?;
        ip(&format!("address add {ADDRESS} dev eth0"))?;
        ip("link set eth0 up")?;
        ip(&format!("route add default via {GATEWAY}"))?;
        let own = ADDRESS.split('/').next().unwrap_or_default();
        ip_in(&node.network, &format!("route add {own} dev node0"))?;
        ip_in(&node.network, &format!("route add 10.0.0.0/18 via {own}"))?;
        // A rule leads to the floor's pods, as one does to Veni's.
        ip("rule add priority 512 lookup 7680")?;
        Ok(node)
    }

    /// Lets the network take packets of any pod on any of the node's links.
    fn loosen_network(&self) -> anyhow::Result<()> {
        let settings = "for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$file; done";
        let network = format!("--net={}", self.network.display());
        run(&["nsenter", &network, "sh", "-c", settings]).map(drop)
    }

    /// Plugs a link into node and network.
    fn plug(&self, name: &str, mac: Option<&str>, number: u32) -> anyhow::Result<()> {
        let mac = mac.map(|mac| format!("address {mac}")).unwrap_or_default();
        let network = self.network.display();
        ip(&format!(
            "link add {name} {mac} type veth peer name node{number} netns {network}"
        ))?;
        let up = format!("link set node{number} up");
        ip_in(&self.network, &up)?;
        let address = format!("address add {GATEWAY}/32 dev node{number}");
        ip_in(&self.network, &address)
    }

    /// Plugs in the interfaces that the mock cloud has attached and that have no link yet, as
    /// a hypervisor would.
    pub(crate) fn plug_attached(&self, pool: &PoolResponse) -> anyhow::Result<()> {
        for interface in &pool.interfaces {
            let name = format!("eth{}", interface.device_index);
            let there = Path::new("/sys/class/net").join(&name).exists();
            if !interface.primary && !there {
                self.plug(&name, Some(&interface.mac), interface.device_index)?;
            }
        }
        Ok(())
    }

    /// Makes network namespaces for pods.
    pub(crate) fn pod_namespaces(
        &self,
        starter: &Starter,
        owner: &str,
        count: usize,
    ) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join("pods").join(owner);
        fs::create_dir_all(&folder)?;
        starter.namespaces(&folder, count)?;
        Ok(folder)
    }
}
