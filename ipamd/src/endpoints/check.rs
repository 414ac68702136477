//! Whether the kernel has what an endpoint's record says: for CHECK, and for an ADD that
//! is repeated.

use std::os::fd::OwnedFd;

use veni_api::failure::{CniFailure, code};
use veni_dataplane::{DataPlane, KernelError};

use super::failures::kernel_failure;
use super::order::AddOrder;
use crate::attachment::AttachmentKey;
use crate::journal::endpoint::{Record, RecordState};

/// Compares an endpoint with the kernel, and its addresses with those that its runtime
/// expects; no difference is an empty list. The pod's side is compared where its namespace
/// is given.
///
/// # Errors
/// The attachment is not known, or the kernel cannot be asked.
pub(super) async fn differences(
    kernel: &dyn DataPlane,
    (key, record): (&AttachmentKey, Option<&Record>),
    expected: &[String],
    namespace: Option<OwnedFd>,
) -> Result<Vec<String>, CniFailure> {
    let linked = record.and_then(|record| Some((record, record.links?)));
    let Some((record, links)) = linked else {
        return Err(CniFailure::new(
            code::UNKNOWN_CONTAINER,
            format!("attachment {key} is not known"),
            "it was never added, or has been deleted: the runtime should add it again",
        ));
    };
    let checked = kernel.check_endpoint(&record.plan, &links, namespace);
    let differences = checked
        .await
        .map_err(|error| kernel_failure("check", key, &error))?;
    let mut texts: Vec<String> = differences.into_iter().map(|d| d.text).collect();
    let own: Vec<String> = record.cidrs().iter().map(ToString::to_string).collect();
    for address in expected.iter().filter(|address| !own.contains(address)) {
        texts.push(format!(
            "the runtime expects address {address}, the attachment has {}",
            own.join(", ")
        ));
    }
    Ok(texts)
}

/// Whether a repeated ADD finds its endpoint as it was made. Routes on the host are made
/// again for it without touching the pod; never is anything made in a namespace that may
/// be another one.
///
/// # Errors
/// The kernel cannot be asked, or refuses what is missing: it would refuse it to a new
/// endpoint as well, and the old one may still serve its pod.
pub(super) async fn is_whole_again(
    kernel: &dyn DataPlane,
    record: &Record,
    order: &AddOrder,
) -> Result<bool, CniFailure> {
    if record.state != RecordState::Ready {
        return Ok(false);
    }
    if is_whole(kernel, record, order).await? {
        return Ok(true);
    }
    match kernel.add_endpoint(&record.plan, None).await {
        Ok(_) => is_whole(kernel, record, order).await,
        // Its link is gone.
        Err(
            KernelError::NamespaceGone | KernelError::NoSuchLink(_) | KernelError::LinkTaken(_),
        ) => Ok(false),
        Err(error) => Err(kernel_failure("repair", &record.key, &error)),
    }
}

/// Whether the kernel has exactly what the record says, in this namespace.
/// A kernel that cannot be asked is no reason to take a healthy pod's network
/// away.
async fn is_whole(
    kernel: &dyn DataPlane,
    record: &Record,
    order: &AddOrder,
) -> Result<bool, CniFailure> {
    let refused = |error: &KernelError| kernel_failure("check", &record.key, error);
    let Some(links) = record.links else {
        return Ok(false);
    };
    let namespace = order.namespace.try_clone().map_err(|reason| {
        refused(&KernelError::Refused {
            operation: "duplicate the namespace's descriptor".to_owned(),
            reason,
        })
    })?;
    let checked = kernel.check_endpoint(&record.plan, &links, Some(namespace));
    let differences = checked.await.map_err(|error| refused(&error))?;
    Ok(differences.is_empty())
}
