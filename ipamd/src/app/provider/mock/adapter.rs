//! Connects to the mock cloud.

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use veni_provider::{Mac, Provider};
use veni_provider_mock::{MockSettings, Profile};

use super::MockChoice;
use crate::app::adapter::{Adapter, Start};
use crate::cloud_rules::{AWS, AZURE, CloudRules};
use crate::config::{CloudProfile, ProviderChoice};
use crate::host::HostChecks;

/// The mock cloud, as the settings choose it.
struct Mock {
    settings: MockSettings,
    /// The link that stands for the primary interface, in a cloud of its own.
    primary_link: Option<String>,
}

/// The adapter of this choice; `None` for the choice of another provider.
pub(super) fn adapter(choice: &ProviderChoice) -> Option<Box<dyn Adapter>> {
    let choice = choice.settings::<MockChoice>()?;
    let mut settings = MockSettings::new(&choice.instance_id);
    settings.endpoint.clone_from(&choice.endpoint);
    settings.instance_type.clone_from(&choice.instance_type);
    settings.profile = match choice.profile {
        CloudProfile::Aws => Profile::Aws,
        CloudProfile::Azure => Profile::Azure,
    };
    let own = choice.endpoint.is_none();
    if own {
        let primary = choice.primary_address;
        settings.primary_address = Some(primary.addr());
        settings.subnet_cidrs = vec![primary.trunc()];
        settings.vpc_cidrs = vec![primary.trunc()];
    }
    Some(Box::new(Mock {
        settings,
        primary_link: own.then(|| choice.primary_link.clone()),
    }))
}

#[async_trait]
impl Adapter for Mock {
    fn rules(&self) -> &'static CloudRules {
        match self.settings.profile {
            Profile::Aws => &AWS,
            Profile::Azure => &AZURE,
        }
    }

    fn host_checks(&self) -> HostChecks {
        HostChecks::Nothing
    }

    async fn connect(&self, _: &Start<'_>) -> anyhow::Result<Arc<dyn Provider>> {
        let mut settings = self.settings.clone();
        if let Some(link) = &self.primary_link {
            settings.primary_mac = Some(mac_of(link)?);
        }
        let connected = veni_provider_mock::connect(&settings).await;
        connected.context("failed to make the mock cloud")
    }
}

fn mac_of(link: &str) -> anyhow::Result<Mac> {
    let path = format!("/sys/class/net/{link}/address");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!("VENI_MOCK_PRIMARY_LINK={link}: failed to read {path}; is there such a link?")
    })?;
    Ok(text.trim().parse()?)
}
