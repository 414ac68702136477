//! The endpoints of this node: one per attachment, each made and taken away by
//! one task at a time.
//!
//! ADD and DEL run in tasks of their own, which complete or undo what they
//! began whatever becomes of the caller. Operations on one attachment are
//! serialised; a DEL ends the waiting of an ADD that is still in flight.

mod attachments;
mod audit;
#[cfg(test)]
mod bed;
mod check;
mod egress;
mod failures;
#[cfg(test)]
pub(crate) mod fixtures;
mod host_names;
mod host_ports;
mod limits;
mod maker;
mod metrics;
mod news;
mod node_local;
mod note_time;
mod order;
mod pod_routes;
mod reaper;
mod records;
mod settings;
mod shared_audit;
mod turns;
mod waiting;

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio_util::task::TaskTracker;
use veni_api::failure::CniFailure;
use veni_dataplane::KernelError;

use crate::attachment::AttachmentKey;
use crate::clock::boot_millis;
use crate::events::EventKind;
use crate::journal::JournalError;
use crate::journal::endpoint::{Record, RecordState};

use attachments::{Attachments, How, WaitingAdd};
use audit::Finding;
use egress::EgressAddresses;
use host_names::HostNames;
use maker::Maker;
pub(crate) use metrics::EndpointMetrics;
pub use note_time::NoteTime;
pub use order::AddOrder;
pub(crate) use pod_routes::{PodRoute, gateways, pod_routes};
pub(crate) use reaper::Reaper;
use records::Records;
pub use settings::{EndpointSettings, Tools};
use shared_audit::SharedAudit;

/// All endpoints of the node.
pub struct Endpoints {
    tools: Tools,
    records: Arc<Records>,
    attachments: Arc<Attachments>,
    tasks: TaskTracker,
    shared_audit: SharedAudit,
}

impl Endpoints {
    /// Endpoints without any; what a daemon before has left is restored by
    /// [`Endpoints::restore`]. The reaper must be run.
    pub(crate) fn new(settings: EndpointSettings, tools: Tools) -> (Arc<Self>, Reaper) {
        let records = Arc::new(Records::new(tools.journal.clone()));
        let names = Arc::new(HostNames::new(settings.veth_prefix.clone()));
        let egress = Arc::new(EgressAddresses::new(settings.egress));
        let (dying, reaper) = Reaper::new(
            Arc::clone(&tools.kernel),
            Arc::clone(&records),
            (Arc::clone(&names), Arc::clone(&egress)),
            settings.cooldown,
        );
        let (add_wait, tasks) = (settings.add_wait, TaskTracker::new());
        let taken = (names, egress);
        let maker = Maker::new(settings, &tools, Arc::clone(&records), taken, dying);
        let attachments = Attachments::new(
            tools.clone(),
            Arc::clone(&records),
            maker,
            add_wait,
            tasks.clone(),
        );
        let endpoints = Arc::new(Self {
            tools,
            records,
            attachments,
            tasks,
            shared_audit: SharedAudit::default(),
        });
        (endpoints, reaper)
    }

    /// Takes in what recovery has found: living endpoints, and dying ones
    /// whose link or cooldown is not over.
    pub(crate) fn restore(&self, records: Vec<Record>) {
        for record in records {
            self.attachments.restore(record);
        }
    }

    /// All endpoints in order of their creation.
    pub fn list(&self) -> Vec<Record> {
        self.records.list()
    }

    /// Names of pods by attachment, for reports.
    pub fn labels(&self) -> HashMap<AttachmentKey, String> {
        self.records.labels()
    }

    /// Compares one endpoint with the kernel; no difference is an empty list.
    ///
    /// # Errors
    /// The attachment is not known, or the kernel cannot be asked.
    pub async fn check(
        &self,
        key: &AttachmentKey,
        expected: &[String],
        namespace: Option<OwnedFd>,
    ) -> Result<Vec<String>, CniFailure> {
        let record = self.records.get(key);
        let known = (key, record.as_ref());
        check::differences(&*self.tools.kernel, known, expected, namespace).await
    }

    /// Waits until no ADD or DEL is under way; none may be begun any more.
    pub(crate) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Gives an attachment its network, or returns what it has already. The
    /// work goes on when this future is dropped; only waiting for an address
    /// ends with it.
    ///
    /// # Errors
    /// No address can be had, a port of the node leads to another pod, the kernel refused,
    /// the journal cannot be written; nothing of the attachment is left then.
    pub async fn add(self: &Arc<Self>, order: AddOrder) -> Result<Record, CniFailure> {
        let endpoints = Arc::clone(self);
        let release_dead = async move { endpoints.release_dead().await };
        self.attachments.add(order, release_dead).await
    }

    /// Takes an attachment's network away and tells whether there was one. An
    /// ADD that waits for an address is ended, one that builds is awaited.
    ///
    /// # Errors
    /// The kernel refused; repeating it goes on where it stopped.
    pub async fn delete(self: &Arc<Self>, key: &AttachmentKey) -> Result<bool, CniFailure> {
        self.delete_from(key, None).await
    }

    /// As [`Endpoints::delete`]; in the pod's namespace, where there still is one, nothing
    /// of the attachment is left either.
    ///
    /// # Errors
    /// As [`Endpoints::delete`].
    pub async fn delete_from(
        self: &Arc<Self>,
        key: &AttachmentKey,
        namespace: Option<OwnedFd>,
    ) -> Result<bool, CniFailure> {
        let how = How {
            why: "deleted",
            add: WaitingAdd::GivesUp,
            namespace,
        };
        self.attachments.delete(key, |_| true, how).await
    }

    /// Works a DEL off that came while the daemon was down. An ADD that came later is
    /// another endpoint and stays.
    ///
    /// # Errors
    /// As [`Endpoints::delete`].
    pub async fn delete_noted(
        self: &Arc<Self>,
        key: &AttachmentKey,
        when: NoteTime,
    ) -> Result<bool, CniFailure> {
        self.delete_if(
            key,
            move |record| when.is_after(record),
            "deleted by a note that was left while the daemon was down",
        )
        .await
    }

    /// Releases all attachments of a network that are not in `valid` and are
    /// not younger than this call. Returns how many.
    ///
    /// # Errors
    /// The first failure; the others are released all the same.
    pub async fn collect_garbage(
        self: &Arc<Self>,
        network: &str,
        valid: &HashSet<(String, String)>,
    ) -> Result<u32, CniFailure> {
        let called = boot_millis();
        let stale = |key: &AttachmentKey| {
            key.network == network
                && !valid.contains(&(key.container_id.clone(), key.interface_name.clone()))
        };
        let keys = self.list().into_iter().map(|record| record.key);
        let mut released = 0;
        let mut failure = None;
        for key in keys.filter(stale) {
            let older = move |record: &Record| record.created_boot_ms < called;
            match self.delete_if(&key, older, "garbage collected").await {
                Ok(existed) => released += u32::from(existed),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(released), Err)
    }

    /// As [`Endpoints::delete`], but only when the endpoint that is there in
    /// turn still meets a condition; an ADD that waits is left alone, for it is
    /// another endpoint.
    async fn delete_if(
        self: &Arc<Self>,
        key: &AttachmentKey,
        condition: impl Fn(&Record) -> bool + Send + 'static,
        why: &'static str,
    ) -> Result<bool, CniFailure> {
        let how = How {
            why,
            add: WaitingAdd::GoesOn,
            namespace: None,
        };
        self.attachments.delete(key, condition, how).await
    }

    /// Compares endpoints with the kernel for an ADD that lacks an address or a port of the
    /// node: sandboxes that died without a DEL may hold it.
    async fn release_dead(self: &Arc<Self>) {
        let endpoints = Arc::clone(self);
        let audit = || self.tasks.spawn(async move { endpoints.audit().await });
        self.shared_audit.run(audit).await;
    }

    /// The slow audit: compares all endpoints with the kernel. Endpoints whose pod is gone
    /// are released, host routes and ports that somebody removed are made again, and what the kernel
    /// once refused to undo is undone.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub async fn audit(self: &Arc<Self>) -> Result<(), KernelError> {
        self.records.remove_remaining();
        // Only what was there before the look can be missed in it.
        let (ready, stuck): (Vec<Record>, Vec<Record>) = self
            .list()
            .into_iter()
            .partition(|record| record.state == RecordState::Ready);
        // Whoever is at work on one that is not ready is waited for, so these come last.
        let records: Vec<Record> = ready.into_iter().chain(stuck).collect();
        let observed = self
            .tools
            .kernel
            .observe(&audit::link_keys(&records))
            .await?;
        for record in records {
            match audit::finding(&record, &observed) {
                None => drop(self.repair_limits_of(&record).await),
                Some(Finding::HostSide(missing)) => {
                    self.repair_host_side(&record, &missing).await;
                }
                Some(Finding::Vanished { index_of_another }) => {
                    if index_of_another {
                        self.records.disown_link(&record);
                    }
                    self.release_vanished(&record).await;
                }
                Some(Finding::Stuck { unknown_link }) => {
                    if let Some(index) = unknown_link {
                        self.records.adopt_link(&record, index);
                    }
                    self.undo_stuck(&record).await;
                }
            }
        }
        // Those of endpoints that were released above are gone, and not told a second time.
        self.remove_stray_ifbs(&observed.stray_ifbs).await;
        Ok(())
    }

    /// Makes routes to pods and ports of the node again that somebody removed, and says
    /// whether there were any. Pods that are gone are left to the slow audit: their DEL is on its way.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub(crate) async fn repair_routes(self: &Arc<Self>) -> Result<bool, KernelError> {
        let records = self.list();
        let observed = self.tools.kernel.observe(&[]).await?;
        let mut repaired = false;
        for record in records {
            if let Some(Finding::HostSide(missing)) = audit::finding(&record, &observed) {
                repaired |= self.repair_host_side(&record, &missing).await;
            }
        }
        Ok(repaired)
    }

    /// Writes the journal's entries of living endpoints again that somebody has removed.
    ///
    /// # Errors
    /// The journal cannot be read or written; the others are written all the same.
    pub(crate) fn write_lacking_entries(&self) -> Result<(), JournalError> {
        let (written, outcome) = self.records.write_lacking()?;
        for record in written {
            self.repaired(format!("{}: its journal entry was missing", record.label()));
        }
        outcome
    }

    async fn release_vanished(self: &Arc<Self>, record: &Record) {
        let (id, why) = (record.id.clone(), "its namespace is gone");
        let same = move |other: &Record| other.id == id;
        match self.delete_if(&record.key, same, why).await {
            Ok(true) => self.repaired(format!("{}: {why}", record.label())),
            Ok(false) => {}
            Err(failure) => {
                tracing::warn!(attachment = %record.key, error = failure.message, "failed to release a vanished endpoint");
            }
        }
    }

    /// Nobody is at work on the endpoint when its turn comes.
    async fn undo_stuck(self: &Arc<Self>, record: &Record) {
        let (id, why) = (record.id.clone(), "it was neither made nor gone");
        let stuck = move |other: &Record| other.id == id && other.state != RecordState::Ready;
        match self.delete_if(&record.key, stuck, why).await {
            Ok(true) => self.repaired(format!("{}: {why}", record.label())),
            Ok(false) => {}
            Err(failure) => {
                tracing::warn!(attachment = %record.key, error = failure.message, "failed to undo an endpoint, again");
            }
        }
    }

    /// Whether it was repaired.
    async fn repair_host_side(&self, record: &Record, missing: &str) -> bool {
        match self.attachments.complete_host_side(record).await {
            Ok(true) => {
                self.repaired(format!("{}: {missing}", record.label()));
                true
            }
            Ok(false) => false,
            Err(error) => {
                tracing::warn!(attachment = %record.key, %error, "failed to repair an endpoint's host side");
                false
            }
        }
    }

    fn repaired(&self, what: String) {
        tracing::info!(what, "repaired");
        self.tools.repairs.repaired();
        self.tools.events.emit(EventKind::Repair, what);
    }
}
