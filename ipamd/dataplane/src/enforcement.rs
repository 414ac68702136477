//! Where a program that decides over pods' traffic is told of endpoints: each is admitted
//! before its first packet and dismissed after its last. It is told of the interfaces by which
//! their packets leave the node, too.
//!
//! What is enforced, and by which means, is the implementation's own. None is part of
//! this crate but [`Unenforced`].

use std::fmt;

use crate::plan::{EndpointLinks, EndpointPlan, KernelError, PodAddress};

/// What every endpoint passes on its way into service.
///
/// `admit` and `dismiss` run on the thread that makes and removes all pods' networks, in the
/// node's network namespace: while one waits, every ADD and DEL waits.
pub trait Enforcement: fmt::Debug + Send + Sync + 'static {
    /// Takes an endpoint under enforcement. Its veth pair exists and its indexes are known.
    /// The host's end of a new one is still down, so no packet passes before this has
    /// succeeded.
    ///
    /// Called again, and has to change nothing, for an endpoint that lives: after a
    /// restart of the daemon, for a repeated ADD, and when routes are repaired. Then
    /// `links.namespace_cookie` may be 0.
    ///
    /// # Errors
    /// The endpoint cannot be enforced. The ADD fails, and the endpoint is dismissed.
    fn admit(&self, plan: &EndpointPlan, links: &EndpointLinks) -> Result<(), EnforcementError>;

    /// Releases an endpoint. The host's end of its veth pair is down or gone. `addresses`
    /// are those that no other endpoint has by now; `host_index` is absent where the link
    /// was never known, or its index is another link's by now.
    ///
    /// Called again for one that is gone, and for one that was never admitted or only
    /// in part: that is success.
    ///
    /// # Errors
    /// The endpoint is still enforced. The DEL fails, and its repetition calls this again.
    fn dismiss(
        &self,
        addresses: &[PodAddress],
        host_index: Option<u32>,
    ) -> Result<(), EnforcementError>;

    /// Judges what pods send where it leaves the node: by the cloud's interface with this
    /// index. Called before pods' packets are led there, and again, having to change nothing,
    /// whenever the interface is put into service again. When the link goes, that is over.
    ///
    /// # Errors
    /// What leaves there is not judged. The interface does not come into service.
    fn guard_exit(&self, interface_index: u32) -> Result<(), EnforcementError>;

    /// Whether it leads what a pod with a limit sends through the pod's ifb device, which
    /// [`ifb_name`](crate::ifb_name) names and which is there when the endpoint is admitted. The
    /// data plane then puts no qdisc for that on the host's end.
    fn redirects(&self) -> bool {
        false
    }
}

/// Why an endpoint could not be admitted or dismissed, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EnforcementError(pub String);

/// Lets every endpoint pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unenforced;

impl Enforcement for Unenforced {
    fn admit(&self, _: &EndpointPlan, _: &EndpointLinks) -> Result<(), EnforcementError> {
        Ok(())
    }

    fn dismiss(&self, _: &[PodAddress], _: Option<u32>) -> Result<(), EnforcementError> {
        Ok(())
    }

    fn guard_exit(&self, _: u32) -> Result<(), EnforcementError> {
        Ok(())
    }
}

/// Admits an endpoint; the error names its link.
pub(crate) fn admit(
    enforcement: &dyn Enforcement,
    plan: &EndpointPlan,
    links: &EndpointLinks,
) -> Result<(), KernelError> {
    let refused = |reason| KernelError::NotEnforced {
        operation: format!("admit {}", plan.host_link),
        reason,
    };
    enforcement.admit(plan, links).map_err(refused)
}

/// Guards an interface's exit; the error names the interface.
pub(crate) fn guard_exit(
    enforcement: &dyn Enforcement,
    link: &str,
    index: u32,
) -> Result<(), KernelError> {
    let refused = |reason| KernelError::NotEnforced {
        operation: format!("guard the exit {link}"),
        reason,
    };
    enforcement.guard_exit(index).map_err(refused)
}

/// Dismisses an endpoint; the error names its addresses.
pub(crate) fn dismiss(
    enforcement: &dyn Enforcement,
    addresses: &[PodAddress],
    host_index: Option<u32>,
) -> Result<(), KernelError> {
    let refused = |reason| {
        let addresses: Vec<String> = addresses
            .iter()
            .map(|pod| pod.address.to_string())
            .collect();
        KernelError::NotEnforced {
            operation: format!("dismiss the endpoint of {}", addresses.join(", ")),
            reason,
        }
    };
    enforcement.dismiss(addresses, host_index).map_err(refused)
}

/// Dismisses an endpoint whose ADD has failed. Comes when its link is gone.
pub(crate) fn undo(enforcement: &dyn Enforcement, plan: &EndpointPlan, links: &EndpointLinks) {
    if let Err(error) = enforcement.dismiss(&plan.routed(), Some(links.host_index)) {
        let link = &plan.host_link;
        tracing::error!(link, %error, "failed to dismiss a pod that was not added");
    }
}
