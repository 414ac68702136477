//! How others ask the owner task: commands, and what comes back.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use veni_dataplane::NodeAddress;
use veni_pool::Targets;
use veni_provider::Inventory;

use super::beliefs::Beliefs;
use super::choice::Lease;
use super::leases::Holder;
use super::report::{PlanReport, PoolReport};
use super::settings::PoolSettings;
use crate::attachment::AttachmentKey;

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

/// Whether an address that comes back has been used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wear {
    /// A pod may have sent from it, and others to it: it cools.
    Used,
    /// No packet has ever left from it: it is free at once.
    Unused,
}

/// What may change while the pool runs of how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) targets: Targets,
    /// Most pods of the node.
    pub(crate) max_pods: u32,
    /// Interfaces stay, and come only for pods that wait: the node is cordoned.
    pub(crate) interfaces_stay: bool,
}

impl From<&PoolSettings> for Wishes {
    fn from(settings: &PoolSettings) -> Self {
        Self {
            targets: settings.targets,
            max_pods: settings.max_pods,
            interfaces_stay: false,
        }
    }
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
    Return {
        key: AttachmentKey,
        addresses: Vec<IpAddr>,
        wear: Wear,
    },
    /// The network's own ranges.
    Network {
        reply: oneshot::Sender<Vec<IpNet>>,
    },
    /// All that links of the node itself carry.
    NodeAddresses(Vec<NodeAddress>),
    /// The pods that are expected on this node, by `namespace/name`.
    Expected(BTreeSet<String>),
    /// How much the pool holds from now on.
    Wishes(Wishes),
    /// New interfaces get another subnet or other security groups than before.
    PodsNetworkChanged,
    /// Somebody may have removed interfaces' rules. Who asks may wait until all were
    /// compared.
    Recheck {
        done: Option<oneshot::Sender<()>>,
    },
    /// What the pool believes, beside an inventory that was asked for at its time.
    Beliefs {
        inventory: Option<Box<(Instant, Inventory)>>,
        reply: oneshot::Sender<Beliefs>,
    },
    /// The inventory is refreshed at once. Who asks is told when it has come.
    Refresh {
        done: oneshot::Sender<()>,
    },
    /// No address for anybody any more: the daemon stops.
    Close,
    Report {
        reply: oneshot::Sender<PoolReport>,
    },
    Plan {
        reply: oneshot::Sender<PlanReport>,
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
    pub(super) fn new(key: AttachmentKey, lease: Lease, pool: Pool) -> Self {
        let lease = Some(lease);
        Self { key, lease, pool }
    }

    fn keep(mut self) -> Option<Lease> {
        self.lease.take()
    }
}

impl Drop for GivenLease {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.pool
                .return_addresses(&self.key, lease.addresses, Wear::Unused);
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

    /// Returns addresses to the pool.
    pub fn return_addresses(&self, key: &AttachmentKey, addresses: Vec<IpAddr>, wear: Wear) {
        // The owner task ends after everybody who could hold an address.
        drop(self.commands.send(Command::Return {
            key: key.clone(),
            addresses,
            wear,
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

    /// Tells which pods, by `namespace/name`, are bound to this node and have no address as
    /// far as the caller knows. Replaces those that were told before.
    pub(crate) fn expects(&self, pods: impl Iterator<Item = String>) {
        drop(self.commands.send(Command::Expected(pods.collect())));
    }

    /// Tells how much the pool holds from now on.
    pub(crate) fn wishes(&self, wishes: Wishes) {
        drop(self.commands.send(Command::Wishes(wishes)));
    }

    /// Tells that new interfaces get another subnet or other security groups than before:
    /// the inventory says which subnets serve now.
    pub(crate) fn pods_network_changed(&self) {
        drop(self.commands.send(Command::PodsNetworkChanged));
    }

    /// Has all interfaces' rules compared with the kernel, and made again where
    /// they are missing.
    pub(crate) fn recheck(&self) {
        drop(self.commands.send(Command::Recheck { done: None }));
    }

    /// The same; waits until each interface was compared once. One that cannot be brought
    /// into service counts as well.
    pub(crate) async fn recheck_and_wait(&self) {
        let (done, answer) = oneshot::channel();
        let done = Some(done);
        if self.commands.send(Command::Recheck { done }).is_ok() {
            // It fails when the owner task ends; nobody needs the comparison then.
            drop(answer.await);
        }
    }

    /// Has the inventory refreshed now, and waits until one that was asked for after this call
    /// has come or has failed.
    pub(crate) async fn refresh(&self) {
        let (done, answer) = oneshot::channel();
        if self.commands.send(Command::Refresh { done }).is_ok() {
            drop(answer.await);
        }
    }

    /// What the pool believes, beside an inventory that was asked for at its time.
    pub(crate) async fn beliefs(&self, inventory: Option<(Instant, Inventory)>) -> Option<Beliefs> {
        let (reply, answer) = oneshot::channel();
        let inventory = inventory.map(Box::new);
        let command = Command::Beliefs { inventory, reply };
        self.commands.send(command).ok()?;
        answer.await.ok()
    }

    /// Fails who waits and who comes: the daemon stops.
    pub(crate) fn close(&self) {
        drop(self.commands.send(Command::Close));
    }

    /// The pool for operators.
    pub async fn report(&self) -> Option<PoolReport> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Report { reply }).ok()?;
        answer.await.ok()
    }

    /// The last plan and what is under way, for operators.
    pub async fn plan(&self) -> Option<PlanReport> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Plan { reply }).ok()?;
        answer.await.ok()
    }
}
