//! A provider that is there at once, by what an earlier one knew of the node in this boot.
//! It finds out again who the node is with the first call that needs it, and with each
//! further one until that succeeds: neither the Resource Manager nor instance metadata has
//! to answer for a daemon to start again.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use veni_provider::{
    AddressSlots, AttachRequest, Capabilities, ChangeRequest, ErrorClass, Grant, Interface,
    InterfaceId, Inventory, LocalView, Node, OperationId, Progress, Provider, ProviderError,
};

use crate::connect::capabilities;
use crate::provider::AzureProvider;
use crate::settings::{AzureSettings, Remembered};
use crate::target::same_id;

/// A provider for the node that is remembered. Costs no call now.
pub fn resume(settings: AzureSettings, remembered: Remembered) -> Arc<dyn Provider> {
    Arc::new(Resumed {
        capabilities: capabilities(&settings),
        machine: remembered.machine.clone(),
        settings: AzureSettings {
            remembered: Some(remembered),
            ..settings
        },
        connected: OnceCell::new(),
    })
}

#[derive(Debug)]
struct Resumed {
    settings: AzureSettings,
    /// The machine that is remembered.
    machine: String,
    capabilities: Capabilities,
    connected: OnceCell<AzureProvider>,
}

impl Resumed {
    async fn connected(&self) -> Result<&AzureProvider, ProviderError> {
        self.connected.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<AzureProvider, ProviderError> {
        let provider = AzureProvider::connect(self.settings.clone()).await?;
        let (found, known) = (provider.core.instance.machine.id(), &self.machine);
        if same_id(found, known) {
            return Ok(provider);
        }
        let reason = format!(
            "this machine is {found}, and the journal was written on {known}: remove the \
             daemon's run folder, which must not be copied between machines"
        );
        Err(ProviderError::new(ErrorClass::Fatal, "connect", reason))
    }
}

#[async_trait]
impl Provider for Resumed {
    fn name(&self) -> &'static str {
        "azure"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn node(&self) -> Result<Node, ProviderError> {
        self.connected().await?.node().await
    }

    async fn inventory(&self) -> Result<Inventory, ProviderError> {
        self.connected().await?.inventory().await
    }

    /// Not worth a try to connect.
    async fn local_view(&self) -> Option<LocalView> {
        self.connected.get()?.local_view().await
    }

    async fn attach_interface(&self, request: &AttachRequest) -> Result<Interface, ProviderError> {
        self.connected().await?.attach_interface(request).await
    }

    async fn detach_interface(&self, interface: &InterfaceId) -> Result<(), ProviderError> {
        self.connected().await?.detach_interface(interface).await
    }

    async fn assign(
        &self,
        interface: &InterfaceId,
        slots: AddressSlots,
    ) -> Result<Grant, ProviderError> {
        self.connected().await?.assign(interface, slots).await
    }

    async fn release(&self, interface: &InterfaceId, grant: &Grant) -> Result<(), ProviderError> {
        self.connected().await?.release(interface, grant).await
    }

    async fn begin(&self, change: &ChangeRequest) -> Result<Progress, ProviderError> {
        self.connected().await?.begin(change).await
    }

    /// Without a connection the question fails, and not the change.
    async fn resume(&self, operation: &OperationId) -> Result<Progress, ProviderError> {
        let connected = self.connected().await;
        let connected = connected.map_err(|mut error| {
            if !matches!(error.class, ErrorClass::Throttled { .. }) {
                error.class = ErrorClass::Transient;
            }
            error
        })?;
        connected.resume(operation).await
    }
}
