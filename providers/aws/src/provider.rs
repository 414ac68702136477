//! The provider: what it is made of, and the trait's calls.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::JoinHandle;
use veni_provider::{
    AddressSlots, AttachRequest, Capabilities, Grant, Interface, InterfaceId, Inventory, LocalView,
    Node, Provider, ProviderError,
};

use crate::actions::Action;
use crate::ec2::Ec2;
use crate::failure::Refusal;
use crate::identity::Instance;
use crate::imds::Metadata;
use crate::instance_types::TypeFacts;
use crate::memory::Memory;
use crate::network::Network;
use crate::ownership::Claims;
use crate::settings::AwsSettings;

/// What the calls and the maintenance share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) ec2: Ec2,
    pub(crate) settings: AwsSettings,
    pub(crate) instance: Instance,
    pub(crate) facts: TypeFacts,
    pub(crate) capabilities: Capabilities,
    pub(crate) network: Network,
    pub(crate) metadata: Metadata,
    /// Instance metadata is this instance's.
    pub(crate) at_home: bool,
    pub(crate) memory: Memory,
}

impl Core {
    /// Refuses a change where EC2 is not to be asked for any.
    pub(crate) fn ensure_may_change(&self, action: Action) -> Result<(), ProviderError> {
        match self.settings.changes() {
            true => Ok(()),
            false => Err(Refusal::no_change(action).error()),
        }
    }

    /// What decides whether an interface is ours to use, and pods'.
    pub(crate) fn claims(&self) -> Claims<'_> {
        Claims {
            instance: &self.instance.id,
            settings: &self.settings,
        }
    }
}

/// EC2, as seen from this node.
#[derive(Debug)]
pub struct AwsProvider {
    pub(crate) core: Arc<Core>,
    /// Cleans up beside the calls; ends with the provider.
    pub(crate) maintenance: JoinHandle<()>,
}

impl Drop for AwsProvider {
    fn drop(&mut self) {
        self.maintenance.abort();
    }
}

impl AwsProvider {
    /// Finishes at once what is otherwise finished in the background: deletes
    /// interfaces that were left behind half made or half gone, and sets right
    /// what is wrong with those that work. Costs no call when there is nothing
    /// to do, or nothing may be changed.
    pub async fn tidy(&self) {
        if self.core.settings.changes() {
            self.core.clear_debris().await;
            self.core.repair().await;
        }
    }

    /// Deletes interfaces that dead nodes of the cluster left behind.
    ///
    /// # Errors
    /// Any class: they could not be looked for. `Unsupported` where nothing may be
    /// changed.
    pub async fn clean_leaks(&self) -> Result<(), ProviderError> {
        self.core
            .ensure_may_change(Action::DeleteNetworkInterface)?;
        self.core.clean_leaks().await
    }
}

#[async_trait]
impl Provider for AwsProvider {
    fn name(&self) -> &'static str {
        "aws"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.core.capabilities
    }

    async fn node(&self) -> Result<Node, ProviderError> {
        let core = &self.core;
        Ok(Node {
            instance_id: core.instance.id.clone(),
            instance_type: core.instance.instance_type.clone(),
            zone: core.instance.zone.clone(),
            limits: core.facts.limits,
            network_cidrs: core.network.cidrs(&core.ec2, &core.instance).await?,
        })
    }

    async fn inventory(&self) -> Result<Inventory, ProviderError> {
        self.core.inventory().await
    }

    async fn local_view(&self) -> Option<LocalView> {
        self.core.local_view().await
    }

    async fn attach_interface(&self, request: &AttachRequest) -> Result<Interface, ProviderError> {
        self.core.attach(request).await
    }

    async fn detach_interface(&self, interface: &InterfaceId) -> Result<(), ProviderError> {
        self.core.detach(interface).await
    }

    async fn assign(
        &self,
        interface: &InterfaceId,
        slots: AddressSlots,
    ) -> Result<Grant, ProviderError> {
        self.core.assign(interface, slots).await
    }

    async fn release(&self, interface: &InterfaceId, grant: &Grant) -> Result<(), ProviderError> {
        self.core.release(interface, grant).await
    }
}
