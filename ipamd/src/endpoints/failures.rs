//! What follows when the kernel or the journal refuses, and from a defect.

use std::io;

use veni_api::failure::{CniFailure, code};
use veni_dataplane::KernelError;

use crate::attachment::AttachmentKey;
use crate::journal::JournalError;

pub(super) fn kernel_failure(
    operation: &str,
    key: &AttachmentKey,
    error: &KernelError,
) -> CniFailure {
    let code = match error {
        KernelError::NamespaceGone => code::UNKNOWN_CONTAINER,
        _ => code::KERNEL_REFUSED,
    };
    let details = match error {
        KernelError::NoSuchSet(_) => {
            "the pod asks for ports of the node (hostPort), which are led to it by nftables; the \
             daemon makes what is missing within seconds, or says in veni status why it cannot"
        }
        KernelError::Refused { reason, .. } if reason.kind() == io::ErrorKind::AlreadyExists => {
            "nothing of it was left behind; an interface beside another one of its pod needs \
             isDefaultGateway of the network configuration to be false, or another name than eth0"
        }
        _ => "nothing of it was left behind; see the daemon's log on this node",
    };
    CniFailure::new(
        code,
        format!("failed to {operation} {key}: {error}"),
        details,
    )
}

pub(super) fn journal_failure(key: &AttachmentKey, error: &JournalError) -> CniFailure {
    CniFailure::new(
        code::IO_FAILURE,
        format!("attachment {key}: {error}"),
        "nothing of it was left behind: the daemon adds no pod that it cannot write down; make \
         room in its run folder (df -h, df -i), or mount it writable",
    )
}

/// A task that panicked is a defect. The process ends, and starts again from
/// journal, kernel and cloud.
pub(super) fn end_process(error: &tokio::task::JoinError) -> ! {
    tracing::error!(%error, "a defect: the daemon ends, to start again from its journal");
    std::process::abort()
}
