//! What judges pods' packets: the programs of `veni-bpf`, told of every endpoint, with what
//! the policies of its pod allow.
//!
//! [`Ebpf`] is told of endpoints by the data plane, and of the cluster's objects by [`folder`].
//! The programs and their maps are the kernel's: they stay in force while no daemon runs, and
//! the next one takes them over.

mod folder;
mod local;

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};
use tokio_util::sync::CancellationToken;
use veni_bpf::{Endpoint, Enforcer, NodeRules, Settings};
use veni_dataplane::{EndpointLinks, EndpointPlan, Enforcement, EnforcementError, PodAddress};
use veni_policy::objects::{Object, Reference};
use veni_policy::{Direction, Needed};

pub(crate) use self::folder::PolicyFolder;
use self::local::Local;
use crate::config::{EnforcementSettings, PolicyMode};
use crate::events::{EventKind, Events};
use crate::node_metrics::Drops;

/// Between two looks for flows that are over.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// One thing that a source of policies has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// An object that is new, or differs from what was told before.
    Apply(Object),
    /// An object that is gone.
    Delete(Reference),
}

/// The programs, and what the pods of this node are allowed. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Ebpf {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    enforcer: Enforcer,
    mode: PolicyMode,
    local: Mutex<Local>,
}

impl Ebpf {
    /// Puts the programs into force, or takes over those that are.
    ///
    /// # Errors
    /// The kernel takes no such programs, something of the host is missing, or another
    /// program has the number of a block.
    pub(crate) fn start(
        settings: &EnforcementSettings,
        folder: &Path,
    ) -> Result<Self, veni_bpf::Error> {
        let enforcer = Enforcer::start(&programs(folder))?;
        Ok(Self {
            parts: Arc::new(Parts {
                enforcer,
                mode: settings.policies,
                local: Mutex::default(),
            }),
        })
    }

    /// Tells the programs the node's own addresses, and what holds before policies are known.
    /// Until then it is what an earlier daemon has told.
    ///
    /// # Errors
    /// The kernel refused.
    pub(crate) fn know_node(&self, addresses: &[IpAddr]) -> Result<(), veni_bpf::Error> {
        self.parts.enforcer.set_node(&NodeRules {
            addresses: addresses.to_vec(),
            strict: self.parts.mode == PolicyMode::Strict,
            // Nobody reads them yet, and packets would pay for them.
            records_per_second: 0,
            ..NodeRules::default()
        })
    }

    /// Takes in what a source has to tell, which knows all policies, all namespaces, and all pods
    /// of the namespaces `told`. Blocks for as long as the kernel takes.
    ///
    /// # Errors
    /// What the kernel refused, by pod; the others are in force. The next call tries them again.
    pub(crate) fn take_in(&self, changes: Vec<Change>, told: &Needed) -> Result<(), String> {
        let mut local = self.local();
        let mut refused = Vec::new();
        for (index, policy) in local.take_in(changes, told, self.parts.mode) {
            if let Err(error) = self.parts.enforcer.set_policy(index, &policy) {
                local.try_again(index);
                let pod = local.pod(index).map(ToString::to_string);
                let pod = pod.unwrap_or_default();
                refused.push(format!("{pod}: {}", in_words(error)));
            }
        }
        match refused.is_empty() {
            true => Ok(()),
            false => Err(refused.join("; ")),
        }
    }

    /// What was dropped since the programs were put into force, by direction and reason; nothing
    /// where the maps cannot be read.
    pub(crate) fn drops(&self) -> Vec<Drops> {
        let counters = self.parts.enforcer.counters().inspect_err(|error| {
            tracing::debug!(%error, "failed to read what was dropped");
        });
        let drops = counters.unwrap_or_default().drops.into_iter();
        let drops = drops.map(|(direction, reason, packets)| Drops {
            direction: match direction {
                Direction::Ingress => "ingress",
                Direction::Egress => "egress",
            },
            reason: reason.name(),
            packets,
        });
        drops.collect()
    }

    /// Of which namespaces a source has to know the pods.
    #[cfg(feature = "kube")]
    pub(crate) fn needed(&self) -> Needed {
        self.local().needed()
    }

    fn local(&self) -> MutexGuard<'_, Local> {
        // What is known of one pod is whole whoever died while another was admitted.
        self.parts
            .local
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets flows that are over be forgotten, until `stop`.
    pub(crate) async fn sweep(self, events: Events, stop: CancellationToken) {
        let mut refused = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
            }
            let parts = Arc::clone(&self.parts);
            let swept = tokio::task::spawn_blocking(move || parts.enforcer.sweep());
            let error = match swept.await {
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Ok(Err(error)) => Some(in_words(error)),
                Ok(Ok(_)) | Err(_) => None,
            };
            if error != refused {
                if let Some(error) = &error {
                    tracing::warn!(%error, "flows that are over are not forgotten");
                    let message = format!("flows that are over are not forgotten: {error}");
                    events.emit(EventKind::Host, message);
                }
                refused = error;
            }
        }
    }
}

impl Enforcement for Ebpf {
    fn admit(&self, plan: &EndpointPlan, links: &EndpointLinks) -> Result<(), EnforcementError> {
        if plan.pod_mac == [0; 6] {
            // Of a pod whose record was lost nobody knows what it may send. What it was
            // admitted with stays in force.
            return Ok(());
        }
        let index = links.host_index;
        // Held to the end: a change of policies must not be overtaken by what was before it.
        let mut local = self.local();
        let policy = local.admit(index, plan.pod.as_deref(), self.parts.mode);
        let endpoint = Endpoint {
            host_index: index,
            addresses: plan.routed().iter().map(|pod| pod.address).collect(),
            pod_mac: plan.pod_mac,
            generation: generation(plan, links),
            metadata: true,
            further_sources: Vec::new(),
            mark: None,
            policy_known: policy.is_some(),
            audit: false,
            redirect: ifb(plan, index).map_err(EnforcementError)?,
        };
        let enforcer = &self.parts.enforcer;
        let admitted = enforcer.admit(&endpoint).and_then(|()| match &policy {
            Some(policy) => enforcer.set_policy(index, policy),
            None => Ok(()),
        });
        admitted.map_err(refused)
    }

    fn dismiss(
        &self,
        _addresses: &[PodAddress],
        host_index: Option<u32>,
    ) -> Result<(), EnforcementError> {
        let Some(index) = host_index else {
            return Ok(());
        };
        let mut local = self.local();
        self.parts.enforcer.dismiss(index).map_err(refused)?;
        local.dismiss(index);
        Ok(())
    }

    fn redirects(&self) -> bool {
        true
    }

    fn guard_exit(&self, interface_index: u32) -> Result<(), EnforcementError> {
        let attached = self.parts.enforcer.attach_uplink(interface_index);
        attached.map_err(refused)
    }
}

/// Takes the programs out of force, where an earlier daemon has put them there.
///
/// # Errors
/// Something could not be removed; calling it again goes on.
pub fn take_away(folder: &Path) -> Result<(), veni_bpf::Error> {
    let programs = programs(folder);
    match veni_bpf::is_in_force(&programs)? {
        true => veni_bpf::remove(&programs),
        false => Ok(()),
    }
}

fn programs(folder: &Path) -> Settings {
    Settings {
        pin_dir: folder.to_owned(),
        ..Settings::default()
    }
}

/// Another for each endpoint of a boot, and the same after a restart of the daemon: the
/// kernel does not use a link's index again, and MACs are drawn by lot.
fn generation(plan: &EndpointPlan, links: &EndpointLinks) -> u64 {
    let [_, _, a, b, c, d] = plan.pod_mac;
    u64::from(links.host_index) << 32 | u64::from(u32::from_be_bytes([a, b, c, d]))
}

/// The ifb device that what a pod sends passes, where that is limited.
fn ifb(plan: &EndpointPlan, host_index: u32) -> Result<Option<u32>, String> {
    if plan.bandwidth.from_pod.is_none() {
        return Ok(None);
    }
    let name = veni_dataplane::ifb_name(host_index);
    let any = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None);
    let index = any.and_then(|socket| rustix::net::netdevice::name_to_index(&socket, &name));
    match index {
        Ok(index) => Ok(Some(index)),
        Err(error) => Err(format!(
            "failed to find the ifb device {name} of its limit: {error}"
        )),
    }
}

fn refused(error: veni_bpf::Error) -> EnforcementError {
    EnforcementError(in_words(error))
}

/// An error with what the kernel said.
fn in_words(error: veni_bpf::Error) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
