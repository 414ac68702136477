//! Custom networking: from where the node is to the subnet and the security
//! groups of its pods' interfaces.

use std::sync::Arc;

use veni_provider::SubnetId;
use veni_provider_aws::{AwsSettings, CustomNetwork, CustomNetworkLookup, Placement, placement};

use super::{FIRST_PAUSE, LONGEST_PAUSE, Start};
use crate::cluster::custom_network::EniConfigInForce;
use crate::cluster::{EniConfig, EniConfigError, Place, region_of};
use crate::config::Config;
use crate::journal::CloudMemory;
use crate::retry::Pauses;

/// Puts the node's ENIConfig into force where there is custom networking. Waits for
/// instance metadata where the node's place is not remembered; and where no file has the
/// ENIConfigs, for a cluster's API that has one for the node, unless one was followed before.
///
/// # Errors
/// The files have no ENIConfig for this node, or a wrong one.
pub(in crate::app) async fn find(
    start: &Start<'_>,
    settings: &AwsSettings,
) -> Result<(), EniConfigError> {
    let Some(wanted) = &start.config.custom_network else {
        return Ok(());
    };
    let observers = start.observers;
    if let (None, Some(followed)) = (&wanted.configs, &start.followed) {
        // What the API tells later takes its place.
        observers.eni_config.resume(followed.clone());
        return Ok(());
    }
    let place = place(start.config, settings, start.remembered).await;
    let mut view = observers.cluster.watch();
    loop {
        let now = view.borrow_and_update().clone();
        match now.eni_config(wanted, &place) {
            Ok((choice, found)) => {
                observers.eni_config.set(&choice, &found);
                return Ok(());
            }
            Err(error) if wanted.configs.is_some() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "not ready: no ENIConfig for this node");
                let text = format!("waiting for the ENIConfig of this node: {error}");
                observers.progress.waits_for(text);
            }
        }
        let another =
            view.wait_for(|view| view.node != now.node || view.eni_configs != now.eni_configs);
        // The view lives as long as its observers.
        drop(another.await);
    }
}

/// What the provider asks for each new interface.
pub(in crate::app) fn lookup(in_force: &EniConfigInForce) -> CustomNetworkLookup {
    let in_force = in_force.clone();
    Arc::new(move || in_force.get().map(custom_network))
}

fn custom_network(config: EniConfig) -> CustomNetwork {
    CustomNetwork {
        subnet: SubnetId::new(config.subnet),
        security_groups: config.security_groups,
    }
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
    let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        match placement(settings).await {
            Ok(told) => return told,
            Err(error) => {
                tracing::error!(%error, "not ready: failed to find out where this node is");
            }
        }
        tokio::time::sleep(pauses.after_failure()).await;
    }
}

#[cfg(test)]
mod tests;
