//! Custom networking: from where the node is to the subnet and the security
//! groups of its pods' interfaces.

use veni_provider_aws::{AwsSettings, CustomNetwork, Placement, placement};

use super::{FIRST_PAUSE, LONGEST_PAUSE};
use crate::config::Config;
use crate::eni_config::{EniConfigError, EniConfigs, Place, region_of};
use crate::pool::CloudMemory;

/// What the node's ENIConfig says; `None` without custom networking. Waits for
/// instance metadata where the node's place is not remembered.
///
/// # Errors
/// The files are missing or wrong, or have no ENIConfig for this node. The
/// files are looked at first, so that their mistakes show without a cloud.
pub(in crate::app) async fn find(
    config: &Config,
    settings: &AwsSettings,
    remembered: Option<&CloudMemory>,
) -> Result<Option<CustomNetwork>, EniConfigError> {
    let Some(wanted) = &config.custom_network else {
        return Ok(None);
    };
    let configs = EniConfigs::try_new(wanted)?;
    let place = place(config, settings, remembered).await;
    let (choice, found) = configs.of_node(&place)?;
    tracing::info!(
        eni_config = choice.name,
        because = choice.because,
        subnet = found.subnet,
        security_groups = found.security_groups.join(","),
        "custom networking"
    );
    Ok(Some(CustomNetwork {
        subnet: veni_provider::SubnetId::new(found.subnet),
        security_groups: found.security_groups,
    }))
}

async fn place(config: &Config, settings: &AwsSettings, remembered: Option<&CloudMemory>) -> Place {
    let known = remembered.map(|memory| &memory.node);
    let (zone, instance_type) = match known.filter(|node| !node.zone.is_empty()) {
        Some(node) => (node.zone.clone(), node.instance_type.clone()),
        None => {
            let told = ask_until_answered(settings).await;
            (told.zone, told.instance_type)
        }
    };
    Place {
        region: region_of(&zone),
        zone,
        instance_type,
        node_name: config.name().to_owned(),
    }
}

async fn ask_until_answered(settings: &AwsSettings) -> Placement {
    let mut pause = FIRST_PAUSE;
    loop {
        match placement(settings).await {
            Ok(told) => return told,
            Err(error) => {
                tracing::error!(%error, "not ready: failed to find out where this node is");
            }
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests;
