//! What the log, the events and the metrics say of ADDs, DELs and repairs.

use tokio::time::Instant;
use veni_api::failure::{CniFailure, code};

use super::metrics::{AddOutcome, EndpointMetrics};
use super::order::micros;
use crate::attachment::{AttachmentKey, PodName};
use crate::events::{EventKind, Events, PodNews};
use crate::journal::endpoint::Record;

/// An ADD that was asked for.
pub(super) struct Asked {
    pub(super) key: AttachmentKey,
    pub(super) pod: PodName,
    /// When it came.
    pub(super) begun: Instant,
}

/// Tells what became of an ADD.
pub(super) fn tell_added(
    events: &Events,
    metrics: &EndpointMetrics,
    asked: &Asked,
    result: &Result<Record, CniFailure>,
) {
    match result {
        Ok(record) => {
            let addresses = record.addresses_text();
            tracing::info!(
                attachment = %asked.key,
                pod.namespace = record.pod.namespace,
                pod.name = record.pod.name,
                ip = addresses,
                interface = record.cloud_interface,
                link = record.plan.host_link,
                micros = record.add_micros,
                waited_micros = record.waited_micros,
                "pod added"
            );
            metrics.add_ended(AddOutcome::Ok);
            let message = format!("{} has {addresses}", record.label());
            let pod = of_pod(&asked.key, &record.pod, PodNews::Added(record.addresses()));
            events.emit_of_pod(EventKind::Add, message, pod);
        }
        Err(failure) => {
            tracing::warn!(
                attachment = %asked.key,
                pod.namespace = asked.pod.namespace,
                pod.name = asked.pod.name,
                code = failure.code,
                error = failure.message,
                details = failure.details,
                micros = micros(asked.begun.elapsed()),
                "pod not added"
            );
            let lacks_address = matches!(failure.code, code::NO_ADDRESS | code::TRY_AGAIN_LATER);
            metrics.add_ended(match failure.code {
                _ if lacks_address => AddOutcome::NoAddress,
                code::UNKNOWN_CONTAINER => AddOutcome::NamespaceGone,
                _ => AddOutcome::Failed,
            });
            let news = PodNews::Failed {
                lacks_address,
                why: format!("{}; {}", failure.message, failure.details),
            };
            let pod = of_pod(&asked.key, &asked.pod, news);
            events.emit_of_pod(EventKind::Add, failure.message.clone(), pod);
        }
    }
}

/// Tells that an endpoint is gone, and why.
pub(super) fn tell_deleted(events: &Events, record: &Record, why: &'static str, begun: Instant) {
    let addresses = record.addresses_text();
    tracing::info!(
        attachment = %record.key,
        pod.namespace = record.pod.namespace,
        pod.name = record.pod.name,
        ip = addresses,
        link = record.plan.host_link,
        why,
        micros = micros(begun.elapsed()),
        "pod deleted"
    );
    let message = format!("{} gave back {addresses}", record.label());
    let pod = of_pod(
        &record.key,
        &record.pod,
        PodNews::Deleted(record.addresses()),
    );
    events.emit_of_pod(EventKind::Del, message, pod);
}

/// Kubernetes knows of a pod's first interface alone.
fn of_pod(key: &AttachmentKey, pod: &PodName, news: PodNews) -> Option<(PodName, PodNews)> {
    let known = key.is_first_interface() && !pod.name.is_empty();
    known.then(|| (pod.clone(), news))
}
