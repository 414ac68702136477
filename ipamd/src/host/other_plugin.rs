//! Another CNI plugin's daemon on the same node: two daemons that buy addresses on the
//! same interfaces and write the same rules would take them from each other.
//!
//! Which plugin that is, a cloud's adapter says. Gathering facts and judging them are
//! two steps; the judgement is pure.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::Host;

/// How long a service of the node itself may take to say what it is.
const ANSWER: Duration = Duration::from_secs(1);

/// What a plugin's daemon would show of itself, and how to move a node away from it.
#[derive(Debug, PartialEq, Eq)]
pub struct OtherPlugin {
    /// Its name in sentences.
    pub name: &'static str,
    /// Where its daemon listens, from the host's root.
    pub sockets: &'static [&'static str],
    /// The program that its daemon runs as.
    pub program: &'static str,
    /// Where its daemon serves health, if it does.
    pub health: Option<HealthService>,
    /// The file name of its network configuration.
    pub conflist: &'static str,
    /// The page that tells how to move a node, by its place in the project.
    pub page: &'static str,
    /// The section of it for a daemon that was refused.
    pub section: &'static str,
}

/// A service of gRPC health (`grpc.health.v1`).
#[derive(Debug, PartialEq, Eq)]
pub struct HealthService {
    /// Where it would be, on the node.
    pub address: &'static str,
    /// The service that nobody else would know there.
    pub name: &'static str,
}

impl HealthService {
    /// Whether somebody serves it. Another program at the address does not know the name.
    pub(super) async fn is_served(&self) -> bool {
        let Ok(endpoint) = Endpoint::from_shared(format!("http://{}", self.address)) else {
            return false;
        };
        let asked = async {
            let channel = endpoint.connect().await.ok()?;
            let service = self.name.to_owned();
            let request = HealthCheckRequest { service };
            HealthClient::new(channel).check(request).await.ok()
        };
        matches!(tokio::time::timeout(ANSWER, asked).await, Ok(Some(_)))
    }
}

/// Where signs of a plugin would be on a host.
#[derive(Debug, Clone)]
pub struct Places {
    /// Sockets of its daemon.
    pub sockets: Vec<PathBuf>,
    /// The runtime's folder of network configurations.
    pub configurations: PathBuf,
}

impl Places {
    /// Those of a host; its folder of network configurations may be mounted
    /// elsewhere.
    pub fn of(plugin: &OtherPlugin, host: &Host, configurations: PathBuf) -> Self {
        Self {
            sockets: plugin.sockets.iter().map(|path| host.path(path)).collect(),
            configurations,
        }
    }
}

/// Signs of a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signs {
    /// A socket of its daemon that takes connections.
    pub answering: Option<PathBuf>,
    /// Whether its daemon's program runs.
    pub runs: bool,
    /// Whether its daemon's health is served.
    pub healthy: bool,
    /// Its network configuration.
    pub conflist: Option<PathBuf>,
}

/// What the signs mean.
#[derive(Debug)]
pub enum Judgement {
    /// The plugin is not there.
    Clear,
    /// It does not run and has left its configuration behind.
    LeftOver(String),
    /// It runs.
    Running(OtherPluginRuns),
}

/// Refusal to work beside another plugin's daemon.
#[derive(Debug, thiserror::Error)]
#[error(
    "{name} runs on this node ({signs}): two daemons would take each other's addresses \
     and rules, whoever's configuration the runtime uses; move the node as {page}, section \
     \"{section}\", says",
    name = plugin.name, page = plugin.page, section = plugin.section
)]
pub struct OtherPluginRuns {
    plugin: &'static OtherPlugin,
    signs: String,
}

impl Signs {
    /// Looks for the plugin's signs among the host's files and processes.
    #[must_use]
    pub fn gather(plugin: &OtherPlugin, host: &Host, places: &Places) -> Self {
        let conflist = places.configurations.join(plugin.conflist);
        Self {
            answering: places.sockets.iter().find(|path| answers(path)).cloned(),
            runs: host.runs(plugin.program),
            healthy: false,
            conflist: conflist.exists().then_some(conflist),
        }
    }

    /// Tells what they mean.
    #[must_use]
    pub fn judge(&self, plugin: &'static OtherPlugin) -> Judgement {
        let mut signs = Vec::new();
        if let Some(socket) = &self.answering {
            signs.push(format!("{} answers", socket.display()));
        }
        if let Some(HealthService { address, name }) = &plugin.health
            && self.healthy
        {
            signs.push(format!("{address} answers as {name}"));
        }
        if self.runs {
            signs.push(format!("{} runs", plugin.program));
        }
        match (signs.is_empty(), &self.conflist) {
            (false, conflist) => {
                let there = |path: &PathBuf| format!("{} is there", path.display());
                signs.extend(conflist.as_ref().map(there));
                let signs = signs.join(", and ");
                Judgement::Running(OtherPluginRuns { plugin, signs })
            }
            (true, Some(path)) => Judgement::LeftOver(format!(
                "{} was left behind by {}, which does not run: the runtime takes the \
                 first configuration by name, which is not Veni's; remove it, or have ipamd \
                 rename it (--take-over or VENI_TAKE_OVER=true; {})",
                path.display(),
                plugin.name,
                plugin.page
            )),
            (true, None) => Judgement::Clear,
        }
    }
}

/// Whether somebody listens. Never waits: a listener whose queue is full is one.
fn answers(path: &Path) -> bool {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let connected = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .and_then(|socket| rustix::net::connect(&socket, &SocketAddrUnix::new(path)?));
    matches!(connected, Ok(()) | Err(Errno::AGAIN))
}
