//! A running lab. It owns the control plane, the VPC, the internet host, the nodes, and
//! the task that plugs interfaces in and pulls them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use veni_provider::InterfaceId;
use veni_provider_mock::MockCloud;

use crate::command::ip_batch;
use crate::config::LabConfig;
use crate::error::LabError;
use crate::folder::{LabFolder, PROCESSES};
use crate::internet::Internet;
use crate::namespace::Namespace;
use crate::node::{Node, Pod};
use crate::plane::{CLOUD_SOCKET, ControlPlane};
use crate::ports;
use crate::processes::Processes;
use crate::rewiring::{Question, Wires, rewire};
use crate::source_check::Dropped;
use crate::vpc::Vpc;
use crate::wiring::Wiring;

/// How long the cloud may take to answer before it counts as silent.
const CLOUD_PATIENCE: Duration = Duration::from_secs(30);

/// A running lab. [`Lab::shutdown`] removes it; a drop does so too, a little later and
/// without telling of errors.
#[derive(Debug)]
pub struct Lab {
    name: String,
    folder: LabFolder,
    plane: ControlPlane,
    nodes: Vec<Node>,
    internet: Internet,
    vpc: PathBuf,
    processes: Arc<Processes>,
    wires: mpsc::Sender<Question>,
    // Tells the tasks to end when the lab is dropped.
    stop: DropGuard,
    rewiring: JoinHandle<Vpc>,
}

impl Lab {
    /// Brings a lab up. Afterwards nodes reach its cloud as [`Lab::environment`] says, and
    /// every node's primary interface is plugged in and configured.
    ///
    /// # Errors
    /// `NotRoot`, `Running`, `ForeignFolder` before it makes anything; later, what the
    /// kernel or the cloud refuses. After an error nothing is left.
    pub async fn start(config: LabConfig) -> Result<Self, LabError> {
        if !rustix::process::geteuid().is_root() {
            return Err(LabError::NotRoot);
        }
        let folder = LabFolder::claim(&config.folder)?;
        match Self::start_in(&folder, config).await {
            Ok(build) => Ok(build(folder)),
            Err(error) => {
                // Report the first error; one of the clean-up would hide it.
                let _second = folder.remove();
                Err(error)
            }
        }
    }

    async fn start_in(
        folder: &LabFolder,
        config: LabConfig,
    ) -> Result<impl FnOnce(LabFolder) -> Self + use<>, LabError> {
        let path = folder.path().to_owned();
        let processes = Arc::new(Processes::new(path.join(PROCESSES)));
        let mut plane = ControlPlane::start(config.plane, &path, &processes).await?;
        match Network::build(&config.name, &path, &mut plane, &processes).await {
            Ok(network) => Ok(move |folder| Self {
                name: config.name,
                folder,
                plane,
                nodes: network.nodes,
                internet: network.internet,
                vpc: network.vpc,
                processes,
                wires: network.wires,
                stop: network.stop,
                rewiring: network.rewiring,
            }),
            Err(error) => {
                // Report the first error; one of the clean-up would hide it.
                let _second = plane.clear().await;
                let _third = plane.end().await;
                Err(error)
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The mock cloud of a lab that has one.
    ///
    /// # Panics
    /// When the lab's control plane is another one.
    #[expect(
        clippy::expect_used,
        reason = "who asks has chosen the control plane; a lab without is the asker's mistake"
    )]
    pub fn cloud(&self) -> &MockCloud {
        let mock = self.plane.mock();
        mock.expect("the control plane of this lab is no mock cloud: use Lab::ec2 or Lab::arm")
    }

    /// Socket on which a mock cloud is served.
    pub fn cloud_socket(&self) -> PathBuf {
        self.folder.path().join(CLOUD_SOCKET)
    }

    /// The Resource Manager, on a lab whose control plane it is.
    pub fn arm(&self) -> Option<&crate::ArmCloud> {
        match &self.plane {
            ControlPlane::Arm(cloud) => Some(cloud),
            _ => None,
        }
    }

    /// EC2, on a lab whose control plane it is.
    #[cfg(feature = "aws")]
    pub fn ec2(&self) -> Option<&crate::Ec2Cloud> {
        match &self.plane {
            ControlPlane::Ec2(cloud) => Some(cloud),
            ControlPlane::Mock(_) | ControlPlane::Arm(_) => None,
        }
    }

    /// The settings by which a node's daemon finds its cloud. The daemon must not inherit
    /// other variables that begin with `AWS_` from the caller.
    pub fn environment(&self, node: &Node) -> Vec<(String, String)> {
        self.plane.environment(node, self.folder.path())
    }

    /// Addresses of the internet host.
    pub fn internet_addresses(&self) -> Vec<IpAddr> {
        self.plane.network().internet
    }

    /// The node at an index, from 0.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node with a name (`node1`), number (`1`) or instance id.
    ///
    /// # Errors
    /// `NoSuchNode`.
    pub fn node_named(&self, name: &str) -> Result<&Node, LabError> {
        let mut all = self.nodes.iter();
        all.find(|node| {
            node.name() == name || node.instance_id == name || node.number.to_string() == name
        })
        .ok_or_else(|| LabError::NoSuchNode {
            name: name.to_owned(),
            known: self
                .nodes
                .iter()
                .map(Node::name)
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    /// Namespace of the VPC's router.
    pub fn vpc(&self) -> &Path {
        &self.vpc
    }

    /// Namespace of the host outside of the VPC. A responder there tells each caller the
    /// address it sees.
    pub fn internet(&self) -> &Namespace {
        self.internet.namespace()
    }

    /// Register of processes that the next run ends if this one is killed.
    pub fn processes(&self) -> &Arc<Processes> {
        &self.processes
    }

    /// Makes the namespace of a pod.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn pod(&self, node: &Node, name: &str) -> Result<Pod, LabError> {
        Pod::create(name, node.number, Arc::clone(&self.processes)).await
    }

    /// Waits until the wires are as the cloud says at the time of the call. Returns what is
    /// plugged in.
    ///
    /// # Errors
    /// `Silent` when LocalStack does not answer; `Tool` with the kernel's reason
    /// when it refused a change.
    pub async fn settled(&self) -> Result<Wiring, LabError> {
        let wires = self.wires(CLOUD_PATIENCE).await?;
        match wires.silence {
            None => Ok(wires.wiring),
            Some(reason) => Err(LabError::Silent {
                operation: "what must be plugged in".to_owned(),
                reason,
            }),
        }
    }

    /// What is plugged in: as the cloud says, or, if it does not answer in time, as it last
    /// was.
    ///
    /// # Errors
    /// `Tool` with the kernel's reason when it refused a change.
    pub async fn wires(&self, patience: Duration) -> Result<Wires, LabError> {
        let failed = |reason: String| LabError::Tool {
            operation: "bring the VPC's wires to what the cloud says".to_owned(),
            reason,
        };
        let (question, answer) = Question::new(patience);
        let gone = || failed("the task that does it has ended".to_owned());
        self.wires.send(question).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(failed)
    }

    /// Packets that the VPC has dropped since each interface was plugged in.
    ///
    /// # Errors
    /// When the cloud does not answer, or `nft` fails.
    pub async fn counters(&self) -> Result<BTreeMap<InterfaceId, Dropped>, LabError> {
        self.counters_of(&self.settled().await?).await
    }

    /// The same of interfaces that are plugged in; asks no cloud.
    ///
    /// # Errors
    /// When `nft` fails.
    pub async fn counters_of(
        &self,
        wiring: &Wiring,
    ) -> Result<BTreeMap<InterfaceId, Dropped>, LabError> {
        let mut by_port = Vpc::counters(&self.vpc).await?;
        Ok(wiring
            .0
            .iter()
            .map(|(port, one)| (one.id.clone(), by_port.remove(port).unwrap_or_default()))
            .collect())
    }

    /// Removes everything: what the lab made in the cloud, the cloud's server, the
    /// namespaces, the folder. Programs in the namespaces must have ended before.
    ///
    /// # Errors
    /// `Io` when the folder cannot be removed, `Emulator` when LocalStack refuses a
    /// deletion, `Silent` when it does not answer. Everything else is gone even then.
    pub async fn shutdown(mut self) -> Result<(), LabError> {
        // Before the wires stop following, because LocalStack's answers wait for them.
        let cleared = self.plane.clear().await;
        drop(self.stop);
        if let Ok(vpc) = self.rewiring.await {
            vpc.remove().await;
        }
        let ended = self.plane.end().await;
        self.internet.remove().await;
        join_all(self.nodes.into_iter().map(|node| node.namespace.remove())).await;
        self.folder.remove().and(cleared).and(ended)
    }
}

/// The namespaces and the wires of a lab that is still being built.
struct Network {
    nodes: Vec<Node>,
    internet: Internet,
    vpc: PathBuf,
    wires: mpsc::Sender<Question>,
    stop: DropGuard,
    rewiring: JoinHandle<Vpc>,
}

impl Network {
    async fn build(
        name: &str,
        folder: &Path,
        plane: &mut ControlPlane,
        processes: &Processes,
    ) -> Result<Self, LabError> {
        let network = plane.network();
        let mut vpc = Vpc::create(name, &network.networks).await?;
        // Register each holder as soon as it runs: if this process is killed, the next run
        // ends what the register names.
        processes.add(vpc.namespace().holder(), "holder of the VPC")?;
        let vpc_path = vpc.namespace().path().to_owned();
        let internet = Internet::create(name, &vpc_path, &network.internet).await?;
        processes.add(internet.namespace().holder(), "holder of the internet host")?;
        let mut nodes = try_join_all(
            (1..)
                .zip(&network.instances)
                .map(|(number, instance)| make_node(number, instance, folder)),
        )
        .await?;
        for node in &nodes {
            let what = format!("holder of {}", node.name());
            processes.add(node.namespace.holder(), &what)?;
        }
        let holders: BTreeMap<u32, u32> = nodes
            .iter()
            .map(|node| (node.number, node.namespace.holder()))
            .collect();
        let instances = nodes.iter();
        let instances = instances.map(|node| (node.instance_id.clone(), node.number));
        let mut follower = plane.follow(instances.collect());
        // Plug the primary interfaces in before anything runs on the nodes, as a machine has
        // its first interface when it boots.
        let first = follower.now().await?;
        vpc.rewire(first.wiring, &holders).await?;
        for node in &mut nodes {
            boot(node, vpc.wiring()).await?;
        }
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let (wires, requests) = mpsc::channel(16);
        // EC2's answers wait for the wires, so these must follow before anybody asks.
        let rewiring = tokio::spawn(rewire(vpc, follower, holders, requests, stop.clone()));
        let inside = internet.namespace().path();
        if let Err(error) = plane.open(folder, &vpc_path, inside, stop).await {
            // Wait for the task, so that the caller cleans up behind it and not beside it.
            drop(guard);
            drop(rewiring.await);
            return Err(error);
        }
        Ok(Self {
            nodes,
            internet,
            vpc: vpc_path,
            wires,
            stop: guard,
            rewiring,
        })
    }
}

async fn make_node(number: u32, instance: &str, path: &Path) -> Result<Node, LabError> {
    let name = format!("node{number}");
    let folder = path.join(&name);
    let node = Node {
        number,
        instance_id: instance.to_owned(),
        addresses: Vec::new(),
        folder,
        namespace: Namespace::create(name).await?,
    };
    for folder in [node.run_dir(), node.host_root()] {
        let operation = format!("make the folder {}", folder.display());
        std::fs::create_dir_all(folder).map_err(LabError::io(operation))?;
    }
    Ok(node)
}

/// Does what a machine's boot does to its first interface.
async fn boot(node: &mut Node, wiring: &Wiring) -> Result<(), LabError> {
    let mut all = wiring.0.values();
    let Some(primary) = all.find(|one| one.node == node.number && one.is_primary()) else {
        return Err(LabError::Cloud {
            operation: format!("boot {}", node.name()),
            reason: "it has no primary interface".to_owned(),
        });
    };
    node.addresses.clone_from(&primary.own_addresses);
    let path = node.namespace.path().to_owned();
    let operation = format!("configure the primary interface of {}", node.name());
    ip_batch(path, &operation, ports::boot(primary)).await
}
