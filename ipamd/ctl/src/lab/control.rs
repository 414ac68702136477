//! The protocol of a lab's process: one line of JSON each way on a unix socket in the
//! lab's folder. Also its client.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Once;

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use veni_cloudlab::Dropped;
use veni_terminal::eprintln;

/// Name of the socket in the lab's folder.
pub(crate) const SOCKET: &str = "control.sock";

/// Makes a command say only once that the cloud is silent: it asks for the lab several
/// times.
static SILENCE_TOLD: Once = Once::new();

/// A request to the lab's process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Everything about the lab.
    Describe,
    /// Make the namespaces of pods on a node.
    CreatePods { node: String, names: Vec<String> },
    /// Remember the plugin's answer for a pod.
    Record { pod: String, attached: Attached },
    /// Remove the namespaces of pods.
    RemovePods { names: Vec<String> },
    /// SIGKILL a node's daemon.
    Kill { node: String, stay_dead: bool },
    /// Start a node's daemon, after stopping it if it runs.
    Restart { node: String },
    /// Take the lab down. The answer comes when it is down.
    Stop,
}

/// Its answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Lab(Box<Description>),
    Pods(Vec<PodDescription>),
    Done,
    Failed(String),
}

/// A lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    /// Process that owns it.
    pub(crate) pid: u32,
    pub(crate) cloud: CloudDescription,
    /// Why the cloud did not say what must be plugged in, if it did not. The wires are then
    /// as they last were.
    pub(crate) cloud_silence: Option<String>,
    pub(crate) instance_type: String,
    /// Namespace of the VPC.
    pub(crate) vpc: PathBuf,
    /// Namespace of the internet host.
    pub(crate) internet: PathBuf,
    /// Addresses of the internet host.
    pub(crate) internet_addresses: Vec<IpAddr>,
    /// The plugin.
    pub(crate) plugin: Option<PathBuf>,
    pub(crate) nodes: Vec<NodeDescription>,
    pub(crate) pods: Vec<PodDescription>,
}

/// A lab's control plane, and the address at which it answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum CloudDescription {
    /// The mock cloud.
    Mock {
        /// Its socket.
        socket: PathBuf,
        profile: super::CloudProfile,
    },
    /// LocalStack's EC2.
    Localstack {
        /// Where it answers.
        address: SocketAddr,
        /// Whether it ends with the lab.
        own: bool,
        vpc: String,
        subnets: Vec<String>,
    },
}

/// A node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NodeDescription {
    pub(crate) name: String,
    pub(crate) number: u32,
    pub(crate) instance_id: String,
    pub(crate) namespace: PathBuf,
    pub(crate) run_dir: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) addresses: Vec<IpAddr>,
    /// Process of its daemon while it runs.
    pub(crate) daemon: Option<u32>,
    /// What the VPC has dropped, all its interfaces together.
    pub(crate) dropped: Dropped,
}

impl NodeDescription {
    /// Operators' socket of its daemon.
    pub(crate) fn operator_socket(&self) -> PathBuf {
        self.run_dir.join(veni_api::OPERATOR_SOCKET)
    }
}

/// A pod.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PodDescription {
    pub(crate) name: String,
    /// Name of its node.
    pub(crate) node: String,
    pub(crate) namespace: PathBuf,
    /// Process that holds the namespace.
    pub(crate) holder: u32,
    pub(crate) container_id: String,
    /// Ports of the node that lead to it.
    #[serde(default)]
    pub(crate) host_ports: Vec<HostPort>,
    /// What the plugin answered, once it has.
    pub(crate) attached: Option<Attached>,
}

/// A TCP port of the node that leads to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostPort {
    pub(crate) host_port: u16,
    pub(crate) pod_port: u16,
}

/// What a pod has got.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attached {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) host_interface: String,
    /// From the start of the plugin's process to its end, milliseconds.
    pub(crate) milliseconds: f64,
}

impl Description {
    /// A node by name, number or instance id.
    pub(crate) fn node(&self, name: &str) -> anyhow::Result<&NodeDescription> {
        let mut all = self.nodes.iter();
        all.find(|node| {
            node.name == name || node.instance_id == name || node.number.to_string() == name
        })
        .ok_or_else(|| {
            let known: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
            anyhow!("there is no node {name}: this lab has {}", known.join(", "))
        })
    }

    /// A pod by name.
    pub(crate) fn pod(&self, name: &str) -> anyhow::Result<&PodDescription> {
        let mut all = self.pods.iter();
        all.find(|pod| pod.name == name)
            .ok_or_else(|| anyhow!("there is no pod {name}: see `veni lab pod list`"))
    }

    /// Path of the plugin; the error says what to do if the lab has none.
    pub(crate) fn plugin(&self) -> anyhow::Result<&Path> {
        self.plugin
            .as_deref()
            .ok_or_else(|| anyhow!("this lab was started without daemons: it cannot have pods"))
    }
}

/// A client of a lab's process.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    name: String,
    socket: PathBuf,
}

impl Control {
    pub(crate) fn new(name: &str, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            socket: folder.join(SOCKET),
        }
    }

    /// Everything about the lab. If the cloud does not answer, says so once on standard
    /// error.
    pub(crate) async fn describe(&self) -> anyhow::Result<Description> {
        match self.ask(&Request::Describe).await? {
            Answer::Lab(lab) => {
                if let Some(reason) = &lab.cloud_silence {
                    SILENCE_TOLD.call_once(|| {
                        eprintln!("LocalStack does not answer ({reason}): the VPC stays as it was");
                    });
                }
                Ok(*lab)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Makes namespaces of pods.
    pub(crate) async fn create_pods(
        &self,
        node: &str,
        names: Vec<String>,
    ) -> anyhow::Result<Vec<PodDescription>> {
        let node = node.to_owned();
        match self.ask(&Request::CreatePods { node, names }).await? {
            Answer::Pods(pods) => Ok(pods),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a request whose answer has no content.
    pub(crate) async fn tell(&self, request: &Request) -> anyhow::Result<()> {
        match self.ask(request).await? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&self, request: &Request) -> anyhow::Result<Answer> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| {
            let nothing = format!(
                "no lab named {} is running: start it with `veni lab up` (see `--name`)",
                self.name
            );
            match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => anyhow!(nothing),
                _ => anyhow!(error).context(nothing),
            }
        })?;
        let (reader, mut writer) = stream.into_split();
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        writer.write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        BufReader::new(reader).read_line(&mut answer).await?;
        if answer.is_empty() {
            bail!("the lab's process went away before it answered");
        }
        let answer = serde_json::from_str(&answer).with_context(|| {
            format!("the lab's process is of another version: it said {answer}")
        })?;
        match answer {
            Answer::Failed(reason) => bail!("{reason}"),
            other => Ok(other),
        }
    }
}

fn unexpected(answer: &Answer) -> anyhow::Error {
    anyhow!("the lab's process answered something else than was asked: {answer:?}")
}
