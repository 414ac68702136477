//! Deletes the links of dying endpoints, many in one request, and forgets an
//! endpoint when its link is gone and its addresses have cooled.
//!
//! One by one, links cost the kernel about 20 ms each under its network lock;
//! as a group, next to nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Endpoints;
use super::record::Record;
use crate::crash;
use crate::events::unix_millis;
use crate::journal::Shelf;

/// Between two requests to the kernel.
const INTERVAL: Duration = Duration::from_millis(100);

/// After the kernel has refused.
const PAUSE: Duration = Duration::from_secs(2);

/// An endpoint whose link is gone, or will be.
struct Dying {
    record: Record,
    link_gone: bool,
    cool_at: Instant,
}

/// The reaper's task.
pub(crate) struct Reaper {
    endpoints: Arc<Endpoints>,
    queue: mpsc::UnboundedReceiver<Record>,
    dying: HashMap<String, Dying>,
    /// When links are deleted next: set by the first that comes, not put off by
    /// those that follow.
    reap_at: Option<Instant>,
}

impl Reaper {
    pub(super) fn new(endpoints: Arc<Endpoints>, queue: mpsc::UnboundedReceiver<Record>) -> Self {
        Self {
            endpoints,
            queue,
            dying: HashMap::new(),
            reap_at: None,
        }
    }

    /// Runs until `shutdown`, and then once more for what has been deleted last.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let next = self.next_look();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(record) = self.queue.recv() => self.admit(record),
                () = async {
                    match next {
                        Some(next) => tokio::time::sleep_until(next).await,
                        None => std::future::pending().await,
                    }
                } => {
                    if self.reap_at.is_some_and(|at| at <= Instant::now()) {
                        self.reap().await;
                    }
                    self.forget();
                }
            }
        }
        while let Ok(record) = self.queue.try_recv() {
            self.admit(record);
        }
        self.reap().await;
        self.forget();
    }

    /// When links are to be deleted, or when the next address has cooled.
    fn next_look(&self) -> Option<Instant> {
        let unlinked = self.dying.values().filter(|dying| dying.link_gone);
        unlinked
            .map(|dying| dying.cool_at)
            .chain(self.reap_at)
            .min()
    }

    fn admit(&mut self, record: Record) {
        let since = unix_millis().saturating_sub(record.released_ms.unwrap_or_default());
        let cooldown = self.endpoints.settings.cooldown;
        let left = cooldown.saturating_sub(Duration::from_millis(since));
        if record.links.is_some() {
            self.reap_at.get_or_insert(Instant::now() + INTERVAL);
        }
        self.dying.insert(
            record.id.clone(),
            Dying {
                link_gone: record.links.is_none(),
                cool_at: Instant::now() + left,
                record,
            },
        );
    }

    async fn reap(&mut self) {
        self.reap_at = None;
        let indexes: Vec<u32> = self
            .dying
            .values()
            .filter(|dying| !dying.link_gone)
            .filter_map(|dying| dying.record.links)
            .map(|links| links.host_index)
            .collect();
        if indexes.is_empty() {
            return;
        }
        let left = match self.endpoints.tools.kernel.reap(&indexes).await {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(%error, links = indexes.len(), "failed to delete dying links");
                self.reap_at = Some(Instant::now() + PAUSE);
                return;
            }
        };
        crash::point("reap.deleted");
        for dying in self.dying.values_mut() {
            let index = dying.record.links.map(|links| links.host_index);
            if !dying.link_gone && index.is_none_or(|index| !left.contains(&index)) {
                dying.link_gone = true;
                let name = &dying.record.plan.host_link;
                self.endpoints.lock_names().remove(name);
            }
        }
        if self.dying.values().any(|dying| !dying.link_gone) {
            self.reap_at = Some(Instant::now() + INTERVAL);
        }
    }

    fn forget(&mut self) {
        let now = Instant::now();
        let journal = &self.endpoints.tools.journal;
        self.dying.retain(|id, dying| {
            if !dying.link_gone || dying.cool_at > now {
                return true;
            }
            journal.remove(Shelf::Endpoints, id);
            self.endpoints.free_node_local(&dying.record);
            crash::point("reap.forgotten");
            false
        });
    }
}
