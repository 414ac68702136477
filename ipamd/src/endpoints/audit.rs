//! The slow audit: endpoints whose pod is gone are released, host routes that
//! somebody removed are made again, and what the kernel once refused to undo is
//! undone.

use std::collections::HashSet;
use std::sync::Arc;

use veni_dataplane::{EndpointLinks, KernelError, ObservedLink};

use super::Endpoints;
use super::record::{Record, RecordState};
use crate::events::EventKind;

impl Endpoints {
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
        let observed = self.tools.kernel.observe().await?;
        let living: HashSet<u32> = observed
            .links
            .iter()
            .filter(|link| !link.dying)
            .map(|link| link.index)
            .collect();
        let routed: HashSet<(std::net::IpAddr, u32)> = observed
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.address, endpoint.link_index))
            .collect();
        for record in ready {
            let Some(links) = record.links else { continue };
            if !living.contains(&links.host_index) {
                self.release_vanished(&record).await;
                continue;
            }
            let complete = record
                .plan
                .routed()
                .iter()
                .all(|pod| routed.contains(&(pod.address, links.host_index)));
            if !complete {
                self.repair_host_side(&record).await;
            }
        }
        for record in stuck {
            self.undo_stuck(record, &observed.links).await;
        }
        Ok(())
    }

    /// An endpoint that is neither made nor gone, and that nobody is at work on
    /// when its turn comes: the kernel refused when it was undone or deleted.
    async fn undo_stuck(self: &Arc<Self>, record: Record, links: &[ObservedLink]) {
        let link = links
            .iter()
            .find(|link| link.name == record.plan.host_link && link.mac == record.plan.host_mac);
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

    async fn repair_host_side(&self, record: &Record) {
        let gate = self.gate(&record.key);
        let turn = gate.turn.lock().await;
        let current = self.lock_records().get(&record.key).cloned();
        let unchanged =
            |current: Record| current.id == record.id && current.state == RecordState::Ready;
        if current.is_some_and(unchanged) {
            match self.tools.kernel.add_endpoint(&record.plan, None).await {
                Ok(_) => self.repaired(format!("{}: host routes were missing", record.label())),
                Err(error) => {
                    tracing::warn!(attachment = %record.key, %error, "failed to repair an endpoint's host routes");
                }
            }
        }
        drop(turn);
        self.leave(&record.key, gate);
    }

    fn repaired(&self, what: String) {
        tracing::info!(what, "repaired");
        self.tools.metrics.repaired();
        self.tools.events.emit(EventKind::Repair, what);
    }
}
