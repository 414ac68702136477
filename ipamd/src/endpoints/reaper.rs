//! Deletes the links of dying endpoints, many in one request, and forgets an
//! endpoint when its link is gone and its addresses have cooled.
//!
//! One by one, links cost the kernel about 20 ms each under its network lock;
//! as a group, next to nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use veni_dataplane::DataPlane;

use super::egress::EgressAddresses;
use super::host_names::HostNames;
use super::records::Records;
use crate::clock::boot_millis;
use crate::crash;
use crate::journal::endpoint::Record;

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

/// Where dying endpoints are handed to the reaper.
#[derive(Clone)]
pub(super) struct ReaperQueue(mpsc::UnboundedSender<Record>);

impl ReaperQueue {
    /// Hands over an endpoint whose link, if it has one, is in the dying group.
    pub(super) fn hand_over(&self, record: Record) {
        // The reaper lives as long as anybody can delete.
        drop(self.0.send(record));
    }
}

/// The reaper's task.
pub(crate) struct Reaper {
    kernel: Arc<dyn DataPlane>,
    records: Arc<Records>,
    names: Arc<HostNames>,
    egress: Arc<EgressAddresses>,
    cooldown: Duration,
    queue: mpsc::UnboundedReceiver<Record>,
    dying: BTreeMap<String, Dying>,
    /// When links are deleted next: set by the first that comes, not put off by
    /// those that follow.
    reap_at: Option<Instant>,
}

impl Reaper {
    /// A reaper that frees names and node-local addresses here, the latter after
    /// `cooldown`; and its queue.
    pub(super) fn new(
        kernel: Arc<dyn DataPlane>,
        records: Arc<Records>,
        (names, egress): (Arc<HostNames>, Arc<EgressAddresses>),
        cooldown: Duration,
    ) -> (ReaperQueue, Self) {
        let (sender, queue) = mpsc::unbounded_channel();
        let reaper = Self {
            kernel,
            records,
            names,
            egress,
            cooldown,
            queue,
            dying: BTreeMap::new(),
            reap_at: None,
        };
        (ReaperQueue(sender), reaper)
    }

    /// Runs until `shutdown`, and then once more for what has been deleted last.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        // A daemon before this one may have died between an endpoint's last step and this: an
        // ifb device of a pod whose link was gone already is in nobody's journal.
        self.reap_at = Some(Instant::now());
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
        if self.reap_at.is_some() {
            self.reap().await;
        }
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
        let now = boot_millis();
        // An entry of an older build does not tell: what is left is all of it.
        let since = now.saturating_sub(record.released_boot_ms.unwrap_or(now));
        let left = self.cooldown.saturating_sub(Duration::from_millis(since));
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
        let left = match self.kernel.reap(&indexes).await {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(%error, links = indexes.len(), "failed to delete dying links");
                self.reap_at = Some(Instant::now() + PAUSE);
                return;
            }
        };
        crash::point("reap.deleted").await;
        for dying in self.dying.values_mut() {
            let index = dying.record.links.map(|links| links.host_index);
            if !dying.link_gone && index.is_none_or(|index| !left.contains(&index)) {
                dying.link_gone = true;
                self.names.free(&dying.record.plan.host_link);
            }
        }
        if self.dying.values().any(|dying| !dying.link_gone) {
            self.reap_at = Some(Instant::now() + INTERVAL);
        }
    }

    fn forget(&mut self) {
        let now = Instant::now();
        self.dying.retain(|id, dying| {
            if !dying.link_gone || dying.cool_at > now {
                return true;
            }
            self.records.forget(id);
            self.egress.free(&dying.record);
            crash::point_in_passing("reap.forgotten");
            false
        });
    }
}

#[cfg(test)]
mod tests;
