//! The pool's owner: one task that holds the pool's state, asks the planner
//! after every change, and starts what the plan says. Everybody else sends it
//! commands through a [`Pool`].

mod cloud_file;
mod errors;
mod giving_back;
mod glance;
mod jobs;
mod known;
mod lessons;
mod looking;
mod merge;
mod missing;
mod node_addresses;
mod origin;
mod outcome;
mod pick;
mod planning;
mod presence;
mod report;
mod reserved;
mod snapshot;
mod state;
mod task;
mod tombstones;
mod trouble;
mod wiring;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use veni_api::v1;
use veni_dataplane::NodeAddress;
use veni_provider::{Capabilities, Inventory, Node};

use crate::attachment::AttachmentKey;

pub(crate) use jobs::Worlds;
pub(crate) use known::Known;
pub use looking::{LOOK_AT_REST, LOOK_AT_REST_WITH_GLANCES};
pub(crate) use origin::{AssignedRecord, Recalled};
pub(crate) use report::LevelCounts;
pub use state::Lease;
pub(crate) use state::{DOUBT_TIME_SECONDS, Holder};
pub(crate) use task::{PoolSettings, PoolTask};
pub(crate) use tombstones::Burial;

/// Why an address could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// Waiting does not help; the reason is the planner's or the cloud's own.
    #[error("{0}")]
    Hopeless(String),
    /// The daemon is shutting down.
    #[error("the daemon is shutting down")]
    Closed,
}

/// Which of its attempts an ADD makes to get an address; only the first one counts in
/// the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It has just come.
    First,
    /// Nothing could come, and the endpoints have been compared with the kernel since.
    Repeated,
}

/// What the owner task is asked.
#[derive(Debug)]
pub(crate) enum Command {
    Acquire {
        holder: Holder,
        attempt: Attempt,
        reply: oneshot::Sender<Result<GivenLease, AcquireError>>,
    },
    /// Somebody who waited has gone away.
    Left,
    GiveBack {
        key: AttachmentKey,
        addresses: Vec<IpAddr>,
        cools: bool,
    },
    /// The network's own ranges.
    Network { reply: oneshot::Sender<Vec<IpNet>> },
    /// All that links of the node itself carry.
    NodeAddresses(Vec<NodeAddress>),
    /// Somebody may have removed interfaces' rules.
    Recheck,
    /// No address for anybody any more: the daemon stops.
    Close,
    Report {
        reply: oneshot::Sender<v1::PoolResponse>,
    },
    Plan {
        reply: oneshot::Sender<v1::PlanResponse>,
    },
}

/// A lease on its way to its new owner. Dropped on the way, because the owner
/// has gone, it goes back.
#[derive(Debug)]
pub(crate) struct GivenLease {
    key: AttachmentKey,
    lease: Option<Lease>,
    pool: Pool,
}

impl GivenLease {
    fn keep(mut self) -> Option<Lease> {
        self.lease.take()
    }
}

impl Drop for GivenLease {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.pool.give_back(&self.key, lease.addresses, false);
        }
    }
}

/// A place in the queue. Dropped with the wait it stands for, it tells the owner
/// task, which would otherwise plan for a pod that nobody wants any more.
struct Place<'a> {
    pool: Option<&'a Pool>,
}

impl Place<'_> {
    fn vacate(mut self) {
        self.pool = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool {
            drop(pool.commands.send(Command::Left));
        }
    }
}

/// What the daemon knew of the cloud when it last looked; it serves pods from
/// it after a restart while the cloud is unreachable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CloudMemory {
    pub(crate) node: Node,
    pub(crate) inventory: Inventory,
    /// What the cloud could do for it.
    #[serde(default)]
    pub(crate) capabilities: Option<Capabilities>,
    /// When that was so, milliseconds since the epoch.
    pub(crate) as_of_ms: u64,
}

/// A way to ask the owner task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pool {
    commands: mpsc::UnboundedSender<Command>,
}

impl Pool {
    /// A pool and the end that its owner task listens on.
    pub(crate) fn channel() -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        (Self { commands }, receiver)
    }

    /// Gets one address per family, waiting in order of arrival while the pool
    /// is empty. Dropping the future gives up the place in the queue, and the
    /// addresses if they were given in that very moment. `pod` is who it is for, in
    /// words.
    ///
    /// # Errors
    /// At once when nothing can come, with the reason.
    pub async fn acquire(
        &self,
        key: &AttachmentKey,
        pod: &str,
        attempt: Attempt,
    ) -> Result<Lease, AcquireError> {
        let (reply, answer) = oneshot::channel();
        let holder = Holder {
            key: key.clone(),
            pod: pod.to_owned(),
        };
        let command = Command::Acquire {
            holder,
            attempt,
            reply,
        };
        self.commands
            .send(command)
            .map_err(|_| AcquireError::Closed)?;
        let place = Place { pool: Some(self) };
        let given = answer.await;
        place.vacate();
        let given = given.map_err(|_| AcquireError::Closed)??;
        given.keep().ok_or(AcquireError::Closed)
    }

    /// Gives addresses back. `cools` is false for an address that no packet has
    /// ever left from.
    pub fn give_back(&self, key: &AttachmentKey, addresses: Vec<IpAddr>, cools: bool) {
        // The owner task ends after everybody who could hold an address.
        drop(self.commands.send(Command::GiveBack {
            key: key.clone(),
            addresses,
            cools,
        }));
    }

    /// The network's own ranges, as the cloud last told them.
    pub(crate) async fn network(&self) -> Option<Vec<IpNet>> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Network { reply }).ok()?;
        answer.await.ok()
    }

    /// Tells all that links of the node itself carry: no pod gets one of these.
    pub(crate) fn node_has(&self, addresses: Vec<NodeAddress>) {
        drop(self.commands.send(Command::NodeAddresses(addresses)));
    }

    /// Has all interfaces' rules compared with the kernel, and made again where
    /// they are missing.
    pub(crate) fn recheck(&self) {
        drop(self.commands.send(Command::Recheck));
    }

    /// Fails who waits and who comes: the daemon stops.
    pub(crate) fn close(&self) {
        drop(self.commands.send(Command::Close));
    }

    /// The pool for operators.
    pub async fn report(&self) -> Option<v1::PoolResponse> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Report { reply }).ok()?;
        answer.await.ok()
    }

    /// The last plan and what is under way, for operators.
    pub async fn plan(&self) -> Option<v1::PlanResponse> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Plan { reply }).ok()?;
        answer.await.ok()
    }
}
