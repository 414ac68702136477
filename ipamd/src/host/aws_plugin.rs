//! The AWS VPC CNI on the same node: two daemons that buy addresses on the same
//! interfaces and write the same rules would take them from each other.
//!
//! Gathering facts and judging them are two steps; the judgement is pure.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::Host;

/// The page that tells how to move a node, by its place in the project.
pub const MIGRATION_PAGE: &str = "docs/migration-aws.md";

/// The section of it for a daemon that was refused.
pub const MIGRATION_SECTION: &str = "Moving a cluster";

/// The other plugin's network configuration.
pub const CONFLIST: &str = "10-aws.conflist";

/// Where its daemon listens; `/var/run` may be a link that leads out of a mount.
const SOCKETS: [&str; 2] = ["/var/run/aws-node/ipamd.sock", "/run/aws-node/ipamd.sock"];

/// Where signs of it would be.
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
    pub fn of(host: &Host, configurations: PathBuf) -> Self {
        Self {
            sockets: SOCKETS.iter().map(|path| host.path(path)).collect(),
            configurations,
        }
    }
}

/// Signs of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signs {
    /// A socket of its daemon that takes connections.
    pub answering: Option<PathBuf>,
    /// Its network configuration.
    pub conflist: Option<PathBuf>,
}

/// What the signs mean.
#[derive(Debug)]
pub enum Judgement {
    /// It is not there.
    Clear,
    /// It has left its configuration behind.
    LeftOver(String),
    /// It runs.
    Running(AwsPluginRuns),
}

/// Refusal to work beside a running AWS plugin.
#[derive(Debug, thiserror::Error)]
#[error(
    "the AWS VPC CNI runs on this node ({signs}): two daemons would take each other's addresses \
     and rules; move the node as {MIGRATION_PAGE}, section \"{MIGRATION_SECTION}\", says"
)]
pub struct AwsPluginRuns {
    signs: String,
}

impl Signs {
    /// Looks for them.
    #[must_use]
    pub fn gather(places: &Places) -> Self {
        let conflist = places.configurations.join(CONFLIST);
        Self {
            answering: places.sockets.iter().find(|path| answers(path)).cloned(),
            conflist: conflist.exists().then_some(conflist),
        }
    }

    /// What they mean.
    #[must_use]
    pub fn judge(&self) -> Judgement {
        match (&self.answering, &self.conflist) {
            (Some(socket), conflist) => {
                let mut signs = format!("{} answers", socket.display());
                if let Some(path) = conflist {
                    signs.push_str(&format!(", and {} is there", path.display()));
                }
                Judgement::Running(AwsPluginRuns { signs })
            }
            (None, Some(path)) => Judgement::LeftOver(format!(
                "{} was left behind by the AWS VPC CNI, which does not run: the runtime takes the \
                 first configuration by name, which is not Veni's; remove it ({MIGRATION_PAGE})",
                path.display()
            )),
            (None, None) => Judgement::Clear,
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

#[cfg(test)]
mod tests;
