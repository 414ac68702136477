//! ADD and DEL of one attachment, one at a time.
//!
//! Each runs in a task of its own, which completes or undoes what it began whatever becomes
//! of the caller. A DEL ends the waiting of an ADD that is still in flight.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use veni_api::failure::CniFailure;
use veni_dataplane::{KernelError, Repair};

use super::failures::end_process;
use super::maker::Maker;
use super::metrics::Phase;
use super::order::{AddOrder, Leased};
use super::records::Records;
use super::settings::Tools;
use super::turns::{Turn, Turns};
use super::waiting::{self, Claim};
use super::{check, news};
use crate::attachment::AttachmentKey;
use crate::crash;
use crate::journal::endpoint::{Record, RecordState};

/// How an attachment is deleted.
pub(super) struct How {
    /// For the log.
    pub(super) why: &'static str,
    /// What becomes of an ADD that waits for an address.
    pub(super) add: WaitingAdd,
    /// The pod's, where it still exists.
    pub(super) namespace: Option<OwnedFd>,
}

/// What becomes of an ADD that waits for an address while its attachment is deleted.
pub(super) enum WaitingAdd {
    /// It is of what is deleted: its runtime has changed its mind.
    GivesUp,
    /// It makes another endpoint than the one that is deleted, and is awaited.
    GoesOn,
}

/// Whose turn it is at each attachment, and what is done in it.
pub(super) struct Attachments {
    tools: Tools,
    records: Arc<Records>,
    maker: Maker,
    /// Longest wait for an address.
    add_wait: Duration,
    turns: Turns,
    tasks: TaskTracker,
}

impl Attachments {
    /// Operations that run in `tasks`.
    pub(super) fn new(
        tools: Tools,
        records: Arc<Records>,
        maker: Maker,
        add_wait: Duration,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        Arc::new(Self {
            tools,
            records,
            maker,
            add_wait,
            turns: Turns::default(),
            tasks,
        })
    }

    /// Takes in an endpoint that recovery has found.
    pub(super) fn restore(&self, record: Record) {
        self.maker.restore(record);
    }

    /// Gives an attachment its network, or returns what it has already. The
    /// work goes on when this future is dropped; only waiting for an address
    /// ends with it. `release_dead` as for [`waiting::wait`].
    ///
    /// # Errors
    /// No address can be had, a port of the node leads to another pod, the kernel refused,
    /// the journal cannot be written; nothing of the attachment is left then.
    pub(super) async fn add(
        self: &Arc<Self>,
        order: AddOrder,
        release_dead: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Record, CniFailure> {
        self.tools.metrics.add_started();
        let caller = CancellationToken::new();
        // Dropped with this future, which is how a caller that goes away shows.
        let _gone = caller.clone().drop_guard();
        let all = Arc::clone(self);
        let task = self.tasks.spawn(async move {
            let (begun, key) = (Instant::now(), order.key.clone());
            let pod = order.pod.clone();
            let turn = all.turns.take(&key).await;
            let result = all.add_in(&turn, order, &caller, begun, release_dead).await;
            // The next task of this attachment need not wait for the log.
            drop(turn);
            let asked = news::Asked { key, pod, begun };
            news::tell_added(&all.tools.events, &all.tools.metrics, &asked, &result);
            result
        });
        task.await.unwrap_or_else(|error| end_process(&error))
    }

    async fn add_in(
        &self,
        turn: &Turn<'_>,
        order: AddOrder,
        caller: &CancellationToken,
        begun: Instant,
        release_dead: impl Future<Output = ()>,
    ) -> Result<Record, CniFailure> {
        if let Some(record) = self.records.get(&order.key) {
            if check::is_whole_again(&*self.tools.kernel, &record, &order).await? {
                return Ok(record);
            }
            // Another namespace, or a network that was damaged.
            let namespace = order.namespace.try_clone().ok();
            self.maker.remove(record, namespace).await?;
        }
        let pod = order.pod.label().unwrap_or_else(|| order.key.to_string());
        let claim = Claim {
            key: &order.key,
            pod: &pod,
            caller,
            find_free_ports: &|| self.maker.find_free_ports(&order, &pod),
        };
        let (pool, longest) = (&self.tools.pool, self.add_wait);
        let lease = waiting::wait(pool, &claim, turn, longest, release_dead).await?;
        let waited = begun.elapsed();
        self.tools.metrics.add_took(Phase::Acquire, waited);
        crash::point("add.acquired").await;
        let leased = Leased {
            order,
            lease,
            begun,
            waited,
        };
        self.maker.make(leased).await
    }

    /// Takes an attachment's network away and tells whether there was one, but only when
    /// the endpoint that is there in turn meets a condition.
    ///
    /// # Errors
    /// The kernel refused; repeating it goes on where it stopped.
    pub(super) async fn delete(
        self: &Arc<Self>,
        key: &AttachmentKey,
        condition: impl Fn(&Record) -> bool + Send + 'static,
        how: How,
    ) -> Result<bool, CniFailure> {
        let (all, key) = (Arc::clone(self), key.clone());
        let task = self
            .tasks
            .spawn(async move { all.delete_serialised(&key, condition, how).await });
        task.await.unwrap_or_else(|error| end_process(&error))
    }

    async fn delete_serialised(
        &self,
        key: &AttachmentKey,
        condition: impl Fn(&Record) -> bool,
        how: How,
    ) -> Result<bool, CniFailure> {
        let begun = Instant::now();
        let turn = match how.add {
            WaitingAdd::GivesUp => {
                self.tools.metrics.del_started();
                self.turns.take_from_add(key).await
            }
            WaitingAdd::GoesOn => self.turns.take(key).await,
        };
        let record = self.records.get(key).filter(|record| condition(record));
        let result = match record {
            Some(record) => self.maker.remove(record, how.namespace).await.map(Some),
            None => Ok(None),
        };
        drop(turn);
        self.tools.metrics.del_took(Phase::Total, begun.elapsed());
        match &result {
            Ok(Some(record)) => news::tell_deleted(&self.tools.events, record, how.why, begun),
            Ok(None) => {}
            Err(failure) => {
                tracing::warn!(attachment = %key, error = failure.message, "pod not deleted");
            }
        }
        result.map(|record| record.is_some())
    }

    /// Completes the host's side of an endpoint, unless it has changed by its turn; tells
    /// whether it was the same still.
    ///
    /// # Errors
    /// The kernel refused.
    pub(super) async fn complete_host_side(&self, record: &Record) -> Result<bool, KernelError> {
        let _turn = self.turns.take(&record.key).await;
        let unchanged =
            |current: Record| current.id == record.id && current.state == RecordState::Ready;
        if !self.records.get(&record.key).is_some_and(unchanged) {
            return Ok(false);
        }
        let completed = self.tools.kernel.add_endpoint(&record.plan, None).await;
        completed.map(|_| true)
    }

    /// Makes the limits of an endpoint that lacks some, unless it has changed by its turn;
    /// tells what was missing.
    ///
    /// # Errors
    /// The kernel refused.
    pub(super) async fn ensure_limits(&self, record: &Record) -> Result<Vec<Repair>, KernelError> {
        let _turn = self.turns.take(&record.key).await;
        let same =
            |current: &Record| current.id == record.id && current.state == RecordState::Ready;
        let links = self.records.get(&record.key).filter(same);
        let Some(links) = links.and_then(|current| current.links) else {
            return Ok(Vec::new());
        };
        let kernel = &self.tools.kernel;
        kernel.ensure_limits(&record.plan, links.host_index).await
    }
}
