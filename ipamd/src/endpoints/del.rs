//! DEL and GC: what an ADD has made goes away, once and for all.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;
use veni_api::failure::CniFailure;

use super::record::{Record, RecordState};
use super::{Endpoints, end_process, kernel_failure};
use crate::attachment::AttachmentKey;
use crate::crash;
use crate::events::{EventKind, unix_millis};
use crate::journal::Shelf;
use crate::metrics::Phase;

/// How an attachment is deleted.
struct How {
    /// For the log.
    why: &'static str,
    /// An ADD that waits is ended, not awaited.
    hurries: bool,
    /// The pod's, where it still exists.
    namespace: Option<OwnedFd>,
}

impl Endpoints {
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
            hurries: true,
            namespace,
        };
        self.delete_as(key, |_| true, how).await
    }

    /// As [`Endpoints::delete`], but only when the endpoint that is there in
    /// turn still meets a condition; an ADD that waits is left alone, for it is
    /// another endpoint.
    pub(super) async fn delete_if(
        self: &Arc<Self>,
        key: &AttachmentKey,
        condition: impl Fn(&Record) -> bool + Send + 'static,
        why: &'static str,
    ) -> Result<bool, CniFailure> {
        let how = How {
            why,
            hurries: false,
            namespace: None,
        };
        self.delete_as(key, condition, how).await
    }

    async fn delete_as(
        self: &Arc<Self>,
        key: &AttachmentKey,
        condition: impl Fn(&Record) -> bool + Send + 'static,
        how: How,
    ) -> Result<bool, CniFailure> {
        let endpoints = Arc::clone(self);
        let key = key.clone();
        let task = self
            .tasks
            .spawn(async move { endpoints.delete_serialised(&key, condition, how).await });
        task.await.unwrap_or_else(|error| end_process(&error))
    }

    /// Works a DEL off that came while the daemon was down, at `time_ms`. An
    /// ADD that came later is another endpoint and stays.
    ///
    /// # Errors
    /// As [`Endpoints::delete`].
    pub async fn delete_noted(
        self: &Arc<Self>,
        key: &AttachmentKey,
        time_ms: u64,
    ) -> Result<bool, CniFailure> {
        self.delete_if(
            key,
            move |record| record.created_ms <= time_ms,
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
        let called_ms = unix_millis();
        let stale = |record: &&Record| {
            let key = &record.key;
            key.network == network
                && !valid.contains(&(key.container_id.clone(), key.interface_name.clone()))
        };
        let all = self.list();
        let stale: Vec<AttachmentKey> = all.iter().filter(stale).map(|r| r.key.clone()).collect();
        let mut released = 0;
        let mut failure = None;
        for key in stale {
            let older = move |record: &Record| record.created_ms < called_ms;
            match self.delete_if(&key, older, "garbage collected").await {
                Ok(existed) => released += u32::from(existed),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(released), Err)
    }

    async fn delete_serialised(
        &self,
        key: &AttachmentKey,
        condition: impl Fn(&Record) -> bool,
        how: How,
    ) -> Result<bool, CniFailure> {
        let begun = Instant::now();
        let gate = self.gate(key);
        let deleting = u32::from(how.hurries);
        gate.deleting.fetch_add(deleting, Ordering::SeqCst);
        if how.hurries {
            self.tools.metrics.del_started();
            if let Some(waiting) = gate.lock_waiting().take() {
                waiting.cancel();
            }
        }
        let turn = gate.turn.lock().await;
        gate.deleting.fetch_sub(deleting, Ordering::SeqCst);
        let record = self.lock_records().get(key).cloned();
        let record = record.filter(|record| condition(record));
        let result = match record {
            Some(record) => self.take_away(record, how.namespace).await.map(Some),
            None => Ok(None),
        };
        drop(turn);
        self.leave(key, gate);
        self.tools.metrics.del_took(Phase::Total, begun.elapsed());
        match &result {
            Ok(Some(record)) => self.tell_deleted(record, how.why, begun),
            Ok(None) => {}
            Err(failure) => {
                tracing::warn!(attachment = %key, error = failure.message, "pod not deleted");
            }
        }
        result.map(|record| record.is_some())
    }

    /// The caller holds the attachment's turn.
    pub(super) async fn take_away(
        &self,
        mut record: Record,
        namespace: Option<OwnedFd>,
    ) -> Result<Record, CniFailure> {
        let key = record.key.clone();
        record.state = RecordState::Dying;
        record.released_ms = Some(unix_millis());
        let started = Instant::now();
        let written = self
            .tools
            .journal
            .write(Shelf::Endpoints, &record.id, &record);
        if let Err(error) = written {
            // The pod ends all the same. A daemon that starts before there is room
            // again finds an entry whose link is gone, and finishes it.
            tracing::warn!(attachment = %key, %error, "a del goes on without its record");
        }
        self.tools
            .metrics
            .del_took(Phase::Journal, started.elapsed());
        crash::point("del.journalled");
        // Should the kernel refuse now, it is what it is in the journal.
        self.lock_records().insert(key.clone(), record.clone());
        let started = Instant::now();
        let index = record.links.map(|links| links.host_index);
        self.tools
            .kernel
            .remove_endpoint(&record.plan.routed(), index)
            .await
            .map_err(|error| kernel_failure("remove the network of", &key, &error))?;
        self.clear_namespace(&record, namespace).await;
        self.tools
            .metrics
            .del_took(Phase::Kernel, started.elapsed());
        crash::point("del.unwired");
        self.lock_records().remove(&key);
        if record.links.is_none() {
            // There is no link whose end would free the name.
            self.lock_names().remove(&record.plan.host_link);
        }
        self.tools.pool.give_back(&key, record.addresses(), true);
        crash::point("del.released");
        self.bury(record.clone());
        Ok(record)
    }

    /// Takes the attachment's rules out of a pod that lives on. Should the kernel refuse,
    /// or the namespace not be at hand, they stay and lead into an empty table.
    async fn clear_namespace(&self, record: &Record, namespace: Option<OwnedFd>) {
        let (Some(links), Some(namespace)) = (record.links, namespace) else {
            return;
        };
        if record.plan.own_table(links.pod_index).is_none() {
            return;
        }
        let kernel = &self.tools.kernel;
        let cleared = kernel
            .clear_namespace(&record.plan, &links, namespace)
            .await;
        if let Err(error) = cleared {
            tracing::warn!(attachment = %record.key, %error, "rules of a deleted interface stay in its pod");
        }
    }

    /// Hands a dying endpoint to the reaper.
    pub(super) fn bury(&self, record: Record) {
        // The reaper lives as long as anybody can delete.
        drop(self.dying.send(record));
    }

    fn tell_deleted(&self, record: &Record, why: &'static str, begun: Instant) {
        let addresses = record.response().addresses.join(", ");
        tracing::info!(
            attachment = %record.key,
            pod.namespace = record.pod.namespace,
            pod.name = record.pod.name,
            ip = addresses,
            link = record.plan.host_link,
            why,
            micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            "pod deleted"
        );
        let message = format!("{} gave back {addresses}", record.label());
        self.tools.events.emit(EventKind::Del, message);
    }
}
