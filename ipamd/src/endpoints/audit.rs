//! The slow audit: endpoints whose pod is gone are released, host routes that
//! somebody removed are made again, and what the kernel once refused to undo is
//! undone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::timeout;
use veni_dataplane::{EndpointLinks, KernelError, LinkKey, Observed, ObservedLink, PodAddress};

use super::record::{Record, RecordState};
use super::{Endpoints, end_process};
use crate::events::EventKind;

/// An ADD that was told that no address can come waits no longer for an audit.
const LONGEST_AUDIT: Duration = Duration::from_secs(5);

/// Audits that ADDs without hope ask for: all that asked before one began share it.
#[derive(Debug, Default)]
pub(super) struct SharedAudit {
    asked: AtomicU64,
    /// How many had asked when the last one began that has come to its end.
    answered: AsyncMutex<u64>,
}

impl Endpoints {
    /// Compares endpoints with the kernel for an ADD that has just been told that no
    /// address can come: sandboxes that died without a DEL may hold all of them.
    pub(super) async fn release_dead(self: &Arc<Self>) {
        let shared = &self.shared_audit;
        let number = shared.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut answered = shared.answered.lock().await;
        if number <= *answered {
            return;
        }
        let asked = shared.asked.load(Ordering::SeqCst);
        let endpoints = Arc::clone(self);
        let audit = self.tasks.spawn(async move { endpoints.audit().await });
        // It may wait for the turn of an attachment whose ADD waits for this.
        match timeout(LONGEST_AUDIT, audit).await {
            Ok(Ok(Ok(()))) => *answered = asked,
            Ok(Ok(Err(error))) => {
                tracing::warn!(%error, "failed to compare endpoints with the kernel before an ADD fails");
            }
            Ok(Err(error)) => end_process(&error),
            Err(_) => tracing::warn!("endpoints are still being compared when an ADD fails"),
        }
    }

    /// Compares all endpoints with the kernel.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub async fn audit(self: &Arc<Self>) -> Result<(), KernelError> {
        self.tools.journal.remove_remaining();
        // Only what was there before the look can be missed in it.
        let (ready, stuck): (Vec<Record>, Vec<Record>) = self
            .list()
            .into_iter()
            .partition(|record| record.state == RecordState::Ready);
        let known: Vec<LinkKey> = ready.iter().chain(&stuck).map(Record::link_key).collect();
        let observed = self.tools.kernel.observe(&known).await?;
        for record in ready {
            match record.link_in(&observed).filter(|link| !link.dying) {
                None => {
                    self.disown(&record, &observed);
                    self.release_vanished(&record).await;
                }
                Some(link) => {
                    if let Some(missing) = missing(&record, link, &observed) {
                        self.repair_host_side(&record, &missing).await;
                    }
                }
            }
        }
        for record in stuck {
            self.undo_stuck(record, &observed).await;
        }
        Ok(())
    }

    /// Makes routes to pods again that somebody removed, and says whether there were
    /// any. Pods that are gone are left to the slow audit: their DEL is on its way.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub(crate) async fn repair_routes(self: &Arc<Self>) -> Result<bool, KernelError> {
        let mut records = self.list();
        records.retain(|record| record.state == RecordState::Ready);
        let observed = self.tools.kernel.observe(&[]).await?;
        let mut repaired = false;
        for record in records {
            if let Some(link) = record.link_in(&observed).filter(|link| !link.dying)
                && let Some(missing) = missing(&record, link, &observed)
            {
                repaired |= self.repair_host_side(&record, &missing).await;
            }
        }
        Ok(repaired)
    }

    /// An endpoint that is neither made nor gone, and that nobody is at work on
    /// when its turn comes: the kernel refused when it was undone or deleted.
    async fn undo_stuck(self: &Arc<Self>, record: Record, observed: &Observed) {
        let link = record.link_in(observed);
        if let (None, Some(link), Some(known)) =
            (record.links, link, self.lock_records().get_mut(&record.key))
            && known.id == record.id
            && known.links.is_none()
        {
            known.links = Some(EndpointLinks {
                host_index: link.index,
                pod_index: 0,
                namespace_cookie: 0,
            });
        }
        let id = record.id.clone();
        let stuck = move |other: &Record| other.id == id && other.state != RecordState::Ready;
        let why = "it was neither made nor gone";
        match self.delete_if(&record.key, stuck, why).await {
            Ok(true) => self.repaired(format!("{}: {why}", record.label())),
            Ok(false) => {}
            Err(failure) => {
                tracing::warn!(attachment = %record.key, error = failure.message, "failed to undo an endpoint, again");
            }
        }
    }

    /// An index that another link has by now must not lead to that link's deletion.
    fn disown(&self, record: &Record, observed: &Observed) {
        let index = record.links.map(|links| links.host_index);
        let of_another = record.link_in(observed).is_none()
            && observed.links.iter().any(|link| Some(link.index) == index);
        if of_another
            && let Some(known) = self.lock_records().get_mut(&record.key)
            && known.id == record.id
        {
            known.links = None;
        }
    }

    async fn release_vanished(self: &Arc<Self>, record: &Record) {
        let id = record.id.clone();
        let same = move |other: &Record| other.id == id;
        let deleted = self
            .delete_if(&record.key, same, "its namespace is gone")
            .await;
        match deleted {
            Ok(true) => self.repaired(format!("{}: its namespace is gone", record.label())),
            Ok(false) => {}
            Err(failure) => {
                tracing::warn!(attachment = %record.key, error = failure.message, "failed to release a vanished endpoint");
            }
        }
    }

    /// Whether it was repaired.
    async fn repair_host_side(&self, record: &Record, missing: &str) -> bool {
        let mut repaired = false;
        let gate = self.gate(&record.key);
        let turn = gate.turn.lock().await;
        let current = self.lock_records().get(&record.key).cloned();
        let unchanged =
            |current: Record| current.id == record.id && current.state == RecordState::Ready;
        if current.is_some_and(unchanged) {
            match self.tools.kernel.add_endpoint(&record.plan, None).await {
                Ok(_) => {
                    self.repaired(format!("{}: {missing}", record.label()));
                    repaired = true;
                }
                Err(error) => {
                    tracing::warn!(attachment = %record.key, %error, "failed to repair an endpoint's host routes");
                }
            }
        }
        drop(turn);
        self.leave(&record.key, gate);
        repaired
    }

    fn repaired(&self, what: String) {
        tracing::info!(what, "repaired");
        self.tools.metrics.repaired();
        self.tools.events.emit(EventKind::Repair, what);
    }
}

/// What an endpoint whose link lives lacks on the host, in words.
fn missing(record: &Record, link: &ObservedLink, observed: &Observed) -> Option<String> {
    let leads_to_it = |pod: &PodAddress| observed.leads(pod.address, link.index);
    if !record.plan.routed().iter().all(leads_to_it) {
        return Some("host routes were missing".to_owned());
    }
    (link.mac != record.plan.host_mac).then(|| {
        let name = &record.plan.host_link;
        format!("the MAC of {name} had been changed, which the pod sends to")
    })
}
