//! The provider that the settings choose: the only place that names concrete
//! ones.

use std::sync::Arc;

#[cfg(feature = "mock")]
use anyhow::Context;
use veni_provider::Provider;

use super::Observers;
#[cfg(feature = "aws")]
use super::aws;
use crate::config::{CloudProfile, Config, ProviderChoice};
use crate::pool::CloudMemory;

/// The provider that the settings choose, for the node that the daemon before
/// knew in this boot, if there was one.
#[cfg_attr(
    not(feature = "aws"),
    expect(
        unused_variables,
        reason = "only a provider that looks for its node needs them"
    )
)]
pub(super) async fn connect(
    config: &Config,
    remembered: Option<&CloudMemory>,
    observers: &Observers,
) -> anyhow::Result<(Arc<dyn Provider>, CloudProfile)> {
    match &config.provider {
        #[cfg(feature = "aws")]
        ProviderChoice::Aws(choice) => {
            let mut settings = aws::settings(config, choice, &observers.metrics);
            if config.custom_network.is_some() {
                let waits_for = "waiting for AWS to tell where this node is, for its ENIConfig";
                observers.progress.waits_for(waits_for);
            }
            settings.custom_network =
                aws::custom_network::find(config, &settings, remembered).await?;
            let provider = aws::connect(settings, remembered, &observers.progress).await;
            Ok((provider, CloudProfile::Aws))
        }
        // The settings refuse what a build does not have.
        #[cfg(not(feature = "aws"))]
        ProviderChoice::Aws(_) => anyhow::bail!("this build has no provider for AWS"),
        #[cfg(feature = "mock")]
        ProviderChoice::Mock {
            endpoint,
            instance_id,
            instance_type,
            primary_link,
            primary_address,
            profile,
        } => {
            use veni_provider_mock::{MockSettings, Profile};
            let mut settings = MockSettings::new(instance_id);
            settings.endpoint.clone_from(endpoint);
            settings.instance_type.clone_from(instance_type);
            settings.profile = match profile {
                CloudProfile::Aws => Profile::Aws,
                CloudProfile::Azure => Profile::Azure,
            };
            if endpoint.is_none() {
                settings.primary_mac = Some(mac_of(primary_link)?);
                settings.primary_address = Some(primary_address.addr());
                settings.subnet_cidrs = vec![primary_address.trunc()];
                settings.vpc_cidrs = vec![primary_address.trunc()];
            }
            let provider = veni_provider_mock::connect(&settings)
                .await
                .context("failed to make the mock cloud")?;
            Ok((provider, *profile))
        }
    }
}

#[cfg(feature = "mock")]
fn mac_of(link: &str) -> anyhow::Result<veni_provider::Mac> {
    let path = format!("/sys/class/net/{link}/address");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!("VENI_MOCK_PRIMARY_LINK={link}: failed to read {path}; is there such a link?")
    })?;
    Ok(text.trim().parse()?)
}
