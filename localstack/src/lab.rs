//! A lab: the mock cloud, its VPC, the internet host and the nodes, and the
//! task that plugs and pulls as the cloud changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::{join_all, try_join_all};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use veni_provider::InterfaceId;
use veni_provider_mock::config::SecurityGroup;
use veni_provider_mock::{Change, MockCloud, NodeConfig};

use crate::command::ip_batch;
use crate::config::LabConfig;
use crate::error::LabError;
use crate::feed;
use crate::folder::{LabFolder, PROCESSES};
use crate::internet::Internet;
use crate::namespace::Namespace;
use crate::node::{Node, Pod};
use crate::ports;
use crate::processes::Processes;
use crate::source_check::Dropped;
use crate::vpc::Vpc;
use crate::wiring::Wiring;

/// Name of the mock cloud's socket in the lab's folder.
const CLOUD_SOCKET: &str = "cloud.sock";

/// A running lab. Dropped without [`Lab::shutdown`] it goes as well, a little later.
#[derive(Debug)]
pub struct Lab {
    name: String,
    folder: LabFolder,
    cloud: MockCloud,
    nodes: Vec<Node>,
    internet: Internet,
    vpc: PathBuf,
    processes: Arc<Processes>,
    wires: mpsc::Sender<oneshot::Sender<Result<Wiring, String>>>,
    // Ends the tasks when the lab is dropped.
    stop: DropGuard,
    rewiring: JoinHandle<Vpc>,
    serving: JoinHandle<()>,
}

impl Lab {
    /// Brings a lab up: its cloud is served on [`Lab::cloud_socket`], every
    /// node's primary interface is plugged in and configured.
    ///
    /// # Errors
    /// `NotRoot`, `Running`, `ForeignFolder` before anything is made; whatever
    /// the kernel or the cloud refuse afterwards. Nothing is left then.
    pub async fn start(config: LabConfig) -> Result<Self, LabError> {
        if !rustix::process::geteuid().is_root() {
            return Err(LabError::NotRoot);
        }
        let folder = LabFolder::claim(&config.folder)?;
        match Self::start_in(&folder, config).await {
            Ok(build) => Ok(build(folder)),
            Err(error) => {
                // The first error is the one that tells.
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
        let cloud = feed::cloud(config.cloud.clone(), &config.nodes)?;
        let changes = cloud.subscribe();
        let mut vpc = Vpc::create(&config.name, &config.cloud.vpc_cidrs).await?;
        processes.add(vpc.namespace().holder(), "holder of the VPC")?;
        let vpc_path = vpc.namespace().path().to_owned();
        let internet = Internet::create(&config.name, &vpc_path, &config.cloud.internet).await?;
        processes.add(internet.namespace().holder(), "holder of the internet host")?;
        let mut nodes = try_join_all(
            (1..)
                .zip(&config.nodes)
                .map(|(number, node)| make_node(number, node, &path)),
        )
        .await?;
        for node in &nodes {
            processes.add(
                node.namespace.holder(),
                &format!("holder of {}", node.name()),
            )?;
        }
        let plugs = Plugs {
            groups: config.cloud.security_groups.clone(),
            holders: nodes
                .iter()
                .map(|node| (node.number, node.namespace.holder()))
                .collect(),
            instances: nodes
                .iter()
                .map(|node| (node.instance_id.clone(), node.number))
                .collect(),
        };
        vpc.rewire(plugs.wiring(&cloud), &plugs.holders).await?;
        for node in &mut nodes {
            boot(node, vpc.wiring()).await?;
        }
        let stop = CancellationToken::new();
        let serving = feed::serve(&cloud, &path.join(CLOUD_SOCKET), stop.clone())?;
        let (wires, requests) = mpsc::channel(16);
        let rewiring = tokio::spawn(rewire(
            vpc,
            cloud.clone(),
            plugs,
            changes,
            requests,
            stop.clone(),
        ));
        Ok(move |folder| Self {
            name: config.name,
            folder,
            cloud,
            nodes,
            internet,
            vpc: vpc_path,
            processes,
            wires,
            stop: stop.drop_guard(),
            rewiring,
            serving,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The control plane.
    pub fn cloud(&self) -> &MockCloud {
        &self.cloud
    }

    /// Socket on which the control plane is served.
    pub fn cloud_socket(&self) -> PathBuf {
        self.folder.path().join(CLOUD_SOCKET)
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

    /// Namespace of the host outside of the VPC; a responder there tells who calls.
    pub fn internet(&self) -> &Namespace {
        self.internet.namespace()
    }

    /// Register of processes that are ended when a killed lab is cleaned up.
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

    /// Waits until the wires are as the cloud says at the time of the call, and
    /// returns what is plugged in.
    ///
    /// # Errors
    /// `Tool` with the kernel's reason when it refused a change.
    pub async fn settled(&self) -> Result<Wiring, LabError> {
        let failed = |reason: String| LabError::Tool {
            operation: "bring the VPC's wires to what the cloud says".to_owned(),
            reason,
        };
        let (reply, answer) = oneshot::channel();
        let gone = || failed("the task that does it has ended".to_owned());
        self.wires.send(reply).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(failed)
    }

    /// Packets that the VPC has dropped since each interface was plugged in.
    ///
    /// # Errors
    /// When `nft` fails.
    pub async fn counters(&self) -> Result<BTreeMap<InterfaceId, Dropped>, LabError> {
        let wiring = self.settled().await?;
        let mut by_port = Vpc::counters(&self.vpc).await?;
        Ok(wiring
            .0
            .iter()
            .map(|(port, one)| (one.id.clone(), by_port.remove(port).unwrap_or_default()))
            .collect())
    }

    /// Takes everything down: the cloud's server, the namespaces, the folder.
    /// Programs that were started in the namespaces must have ended before.
    ///
    /// # Errors
    /// `Io` when the folder cannot be removed; everything else is gone then.
    pub async fn shutdown(self) -> Result<(), LabError> {
        drop(self.stop);
        let _served = self.serving.await;
        if let Ok(vpc) = self.rewiring.await {
            vpc.remove().await;
        }
        self.internet.remove().await;
        join_all(self.nodes.into_iter().map(|node| node.namespace.remove())).await;
        self.folder.remove()
    }
}

async fn make_node(number: u32, node: &NodeConfig, path: &Path) -> Result<Node, LabError> {
    let name = format!("node{number}");
    let folder = path.join(&name);
    std::fs::create_dir_all(folder.join("run")).map_err(LabError::io(format!(
        "make the folder {}",
        folder.display()
    )))?;
    Ok(Node {
        number,
        instance_id: node.instance_id.clone(),
        addresses: Vec::new(),
        folder,
        namespace: Namespace::create(name).await?,
    })
}

/// Does what a machine's boot does to its first interface.
async fn boot(node: &mut Node, wiring: &Wiring) -> Result<(), LabError> {
    let mut all = wiring.0.values();
    let Some(primary) = all.find(|one| one.node == node.number && one.device_index == 0) else {
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

/// Where interfaces are plugged in.
struct Plugs {
    /// Process that holds a node's namespace, by the node's number.
    holders: BTreeMap<u32, u32>,
    /// Number of a node, by instance id.
    instances: BTreeMap<String, u32>,
    /// Security groups of the cloud.
    groups: Vec<SecurityGroup>,
}

impl Plugs {
    fn wiring(&self, cloud: &MockCloud) -> Wiring {
        feed::wiring(&cloud.dump(), &self.groups, &self.instances)
    }
}

/// Follows the cloud until told to stop; never cancelled in the middle of a change.
async fn rewire(
    mut vpc: Vpc,
    cloud: MockCloud,
    plugs: Plugs,
    mut changes: broadcast::Receiver<Change>,
    mut requests: mpsc::Receiver<oneshot::Sender<Result<Wiring, String>>>,
    stop: CancellationToken,
) -> Vpc {
    loop {
        let reply = tokio::select! {
            biased;
            () = stop.cancelled() => return vpc,
            Some(reply) = requests.recv() => Some(reply),
            change = changes.recv() => match change {
                // What was missed is in the cloud's state all the same.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => None,
                Err(broadcast::error::RecvError::Closed) => return vpc,
            },
        };
        let next = plugs.wiring(&cloud);
        let outcome = vpc.rewire(next, &plugs.holders).await;
        match &outcome {
            Ok(done) => {
                for step in done {
                    tracing::info!(%step, "rewired");
                }
            }
            Err(error) => {
                let error = error as &dyn std::error::Error;
                tracing::error!(error, "failed to bring the wires to what the cloud says");
            }
        }
        if let Some(reply) = reply {
            let answer = outcome
                .map(|_| vpc.wiring().clone())
                .map_err(|error| error.to_string());
            // The caller may have gone.
            let _unheard = reply.send(answer);
        }
    }
}
