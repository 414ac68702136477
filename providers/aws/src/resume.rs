//! A provider that is there at once, by what an earlier one knew of the node in
//! this boot. It finds the node again with the first call that needs it, and
//! with each further one until that succeeds: neither EC2 nor instance metadata
//! has to answer for a daemon to start again.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use veni_provider::{
    AddressSlots, AttachRequest, Capabilities, ErrorClass, Grant, Interface, InterfaceId,
    Inventory, LocalView, Node, Provider, ProviderError,
};

use crate::connect::capabilities;
use crate::instance_types::{TypeFacts, TypeLookup};
use crate::provider::AwsProvider;
use crate::settings::AwsSettings;

/// What does not change about a node while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Its instance id.
    pub instance_id: String,
    /// Its instance type.
    pub instance_type: String,
    /// What that type allows; the table of types goes before it.
    pub facts: TypeFacts,
}

/// A provider for the node that is remembered. Costs no call now.
pub fn resume(settings: AwsSettings, remembered: Remembered) -> Arc<dyn Provider> {
    let table = table_over(settings.instance_types.clone(), &remembered);
    let facts = table(&remembered.instance_type).unwrap_or(remembered.facts);
    Arc::new(Resumed {
        capabilities: capabilities(&settings, facts),
        settings: AwsSettings {
            instance_types: Some(table),
            ..settings
        },
        remembered,
        connected: OnceCell::new(),
    })
}

/// The table, and what is remembered where it knows nothing.
fn table_over(table: Option<TypeLookup>, remembered: &Remembered) -> TypeLookup {
    let (name, facts) = (remembered.instance_type.clone(), remembered.facts);
    Arc::new(move |asked: &str| {
        let known = table.as_ref().and_then(|table| table(asked));
        known.or_else(|| (asked == name).then_some(facts))
    })
}

#[derive(Debug)]
struct Resumed {
    settings: AwsSettings,
    remembered: Remembered,
    capabilities: Capabilities,
    connected: OnceCell<AwsProvider>,
}

impl Resumed {
    async fn connected(&self) -> Result<&AwsProvider, ProviderError> {
        self.connected.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<AwsProvider, ProviderError> {
        let provider = AwsProvider::connect(self.settings.clone()).await?;
        let (found, known) = (&provider.core.instance.id, &self.remembered.instance_id);
        if found == known {
            return Ok(provider);
        }
        let reason = format!(
            "this instance is {found}, and the journal was written on {known}: remove the \
             daemon's run folder, which must not be copied between machines"
        );
        Err(ProviderError::new(ErrorClass::Fatal, "connect", reason))
    }
}

#[async_trait]
impl Provider for Resumed {
    fn name(&self) -> &'static str {
        "aws"
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
}
