//! The provider: what it is made of, and the trait's calls.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ipnet::IpNet;
use tokio::time::{Instant, sleep};
use veni_provider::{
    AddressSlots, AttachRequest, Capabilities, ChangeRequest, ChangeResult, ErrorClass, Family,
    Grant, Interface, InterfaceId, Inventory, Limits, LocalView, Node, OperationId, Progress,
    Provider, ProviderError, SlotKind, SubnetId,
};

use crate::actions::Action;
use crate::client::Client;
use crate::configurations::ChangeId;
use crate::identity::Instance;
use crate::inventory::Good;
use crate::metadata::{Metadata, local_view};
use crate::network::Network;
use crate::operations::{Accepted, Asked, pause};
use crate::plan::{SLOTS, Wanted};
use crate::settings::AzureSettings;
use crate::target::same_id;
use crate::writer::{Outcome, Writer};

/// What the calls share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) client: Client,
    pub(crate) settings: AzureSettings,
    pub(crate) instance: Instance,
    /// The node's NIC.
    pub(crate) nic_id: String,
    /// The NIC's subnet.
    pub(crate) subnet: SubnetId,
    pub(crate) capabilities: Capabilities,
    pub(crate) network: Network,
    pub(crate) metadata: Metadata,
    pub(crate) writer: Writer,
    pub(crate) good: Mutex<Good>,
}

/// Azure, as seen from this node.
#[derive(Debug)]
pub struct AzureProvider {
    pub(crate) core: Arc<Core>,
}

fn error(class: ErrorClass, action: Action, reason: impl Into<String>) -> ProviderError {
    ProviderError::new(class, action.label(), reason)
}

/// A change in the provider's own form.
struct Change {
    id: ChangeId,
    asked: Asked,
    wanted: Wanted,
}

impl Core {
    /// Reads a change.
    ///
    /// # Errors
    /// `Unsupported`, `Invalid` and `NotFound`, where ARM need not be asked.
    fn read(&self, change: &ChangeRequest) -> Result<Change, ProviderError> {
        let id = ChangeId::random();
        let (interface, asked, wanted) = match change {
            ChangeRequest::Attach(_) | ChangeRequest::Detach { .. } => {
                let reason =
                    "Azure attaches NICs to machines that are deallocated, and to no others";
                return Err(error(ErrorClass::Unsupported, Action::PutNic, reason));
            }
            ChangeRequest::Assign { interface, slots } => {
                let asked = Self::asked(*slots)?;
                let block = asked == Asked::Blocks;
                let count = slots.count();
                (interface, asked, Wanted::Assign { id, block, count })
            }
            ChangeRequest::Release { interface, grant } => {
                if !self.settings.release {
                    let reason = "giving back is switched off: VENI_AZURE_RELEASE=false";
                    return Err(error(ErrorClass::Unsupported, Action::PutNic, reason));
                }
                let singles = grant.addresses.iter().map(|address| IpNet::from(*address));
                let ranges = singles.chain(grant.prefixes.iter().copied()).collect();
                (interface, Asked::Release, Wanted::Release { ranges })
            }
        };
        if !self.settings.may_change {
            let reason = "nothing may be written: DISABLE_NETWORK_RESOURCE_PROVISIONING=true";
            return Err(error(ErrorClass::Unsupported, Action::PutNic, reason));
        }
        if !same_id(interface.as_str(), &self.nic_id) {
            let reason = format!("{interface} is no NIC of this node that may be written");
            return Err(error(ErrorClass::NotFound, Action::PutNic, reason));
        }
        Ok(Change { id, asked, wanted })
    }

    fn asked(slots: AddressSlots) -> Result<Asked, ProviderError> {
        match (slots.family(), slots.kind()) {
            (Family::V6, _) => {
                let reason = "a NIC has no IPv6 configurations for pods";
                Err(error(ErrorClass::Unsupported, Action::PutNic, reason))
            }
            (Family::V4, SlotKind::Address) => Ok(Asked::Addresses),
            (Family::V4, SlotKind::Prefix) => Ok(Asked::Blocks),
        }
    }

    /// What became of a change that was submitted.
    async fn told(&self, change: &Change, outcome: Outcome) -> Result<Progress, ProviderError> {
        match outcome {
            Outcome::Begun { poll, hint, ended } => {
                let accepted = Accepted {
                    change: change.id.to_string(),
                    asked: change.asked,
                    poll,
                };
                if !ended {
                    return Ok(accepted.running(hint, self.settings.operation_patience));
                }
                // The write is accepted, whatever becomes of the question what it has
                // brought: `resume` asks again.
                let result = self.result(&accepted, change.id).await;
                Ok(result.unwrap_or_else(|error| {
                    let hint = match error.class {
                        ErrorClass::Throttled { retry_after } => retry_after.or(hint),
                        _ => hint,
                    };
                    accepted.running(hint, self.settings.operation_patience)
                }))
            }
            Outcome::Done => Ok(Progress::Done(ChangeResult::Released)),
            Outcome::Busy(_) => {
                let reason = format!("another change of {} is under way", self.nic_id);
                Err(error(ErrorClass::Transient, Action::PutNic, reason))
            }
            Outcome::Failed(error) => Err(error),
        }
    }

    /// Carries a change out to its end, once no other one is under way.
    async fn complete(&self, change: &ChangeRequest) -> Result<ChangeResult, ProviderError> {
        let change = self.read(change)?;
        let outcome = self.submit_patiently(&change.wanted).await;
        let mut running = match self.told(&change, outcome).await? {
            Progress::Done(result) => return Ok(result),
            Progress::Running(running) => running,
        };
        let deadline = Instant::now() + running.at_most;
        loop {
            sleep(running.ask_again).await;
            let asked = self.progress(&running.operation).await;
            match asked {
                Ok(Progress::Done(result)) => return Ok(result),
                Ok(Progress::Running(next)) => running = next,
                Err(failed) => match failed.class {
                    ErrorClass::Throttled { retry_after } => running.ask_again = pause(retry_after),
                    ErrorClass::Transient => {}
                    ErrorClass::NotFound => {
                        let class = ErrorClass::OutcomeUnknown;
                        return Err(ProviderError { class, ..failed });
                    }
                    _ => return Err(failed),
                },
            }
            if Instant::now() >= deadline {
                let reason = format!("{} never ended", running.operation);
                return Err(error(ErrorClass::OutcomeUnknown, Action::PutNic, reason));
            }
        }
    }
}

#[async_trait]
impl Provider for AzureProvider {
    fn name(&self) -> &'static str {
        "azure"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.core.capabilities
    }

    async fn node(&self) -> Result<Node, ProviderError> {
        let core = &self.core;
        let subnet = core.subnet.as_str();
        let ranges = core.network.ranges(&core.client, subnet).await;
        let network_cidrs = ranges.map_err(|failure| failure.error(None))?.network;
        Ok(Node {
            instance_id: core.instance.machine.id().to_owned(),
            instance_type: core.instance.size.clone(),
            zone: core.instance.zone.clone(),
            limits: Limits {
                interfaces: 1,
                ipv4_per_interface: SLOTS,
                ipv6_per_interface: 0,
                vcpus: 0,
            },
            network_cidrs,
        })
    }

    async fn inventory(&self) -> Result<Inventory, ProviderError> {
        self.core.inventory().await
    }

    async fn local_view(&self) -> Option<LocalView> {
        let network = self.core.metadata.network().await.ok()?;
        Some(local_view(&network))
    }

    async fn attach_interface(&self, request: &AttachRequest) -> Result<Interface, ProviderError> {
        let change = ChangeRequest::Attach(request.clone());
        match self.core.complete(&change).await? {
            ChangeResult::Attached(interface) => Ok(interface),
            other => Err(misfit(&other)),
        }
    }

    /// No NIC but the primary one is ever told as ours.
    async fn detach_interface(&self, interface: &InterfaceId) -> Result<(), ProviderError> {
        if same_id(interface.as_str(), &self.core.nic_id) {
            let reason = format!("{interface} is the node's primary NIC");
            return Err(error(ErrorClass::Invalid, Action::PutNic, reason));
        }
        Ok(())
    }

    async fn assign(
        &self,
        interface: &InterfaceId,
        slots: AddressSlots,
    ) -> Result<Grant, ProviderError> {
        let interface = interface.clone();
        let change = ChangeRequest::Assign { interface, slots };
        match self.core.complete(&change).await? {
            ChangeResult::Assigned(grant) => Ok(grant),
            other => Err(misfit(&other)),
        }
    }

    async fn release(&self, interface: &InterfaceId, grant: &Grant) -> Result<(), ProviderError> {
        let (interface, grant) = (interface.clone(), grant.clone());
        let change = ChangeRequest::Release { interface, grant };
        self.core.complete(&change).await.map(drop)
    }

    async fn begin(&self, change: &ChangeRequest) -> Result<Progress, ProviderError> {
        if let ChangeRequest::Detach { interface } = change {
            self.detach_interface(interface).await?;
            return Ok(Progress::Done(ChangeResult::Detached));
        }
        let change = self.core.read(change)?;
        let outcome = self.core.submit(change.wanted.clone()).await;
        self.core.told(&change, outcome).await
    }

    async fn resume(&self, operation: &OperationId) -> Result<Progress, ProviderError> {
        self.core.progress(operation).await
    }
}

fn misfit(result: &ChangeResult) -> ProviderError {
    let reason = format!("the change brought {result:?}");
    error(ErrorClass::OutcomeUnknown, Action::PutNic, reason)
}
