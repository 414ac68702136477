//! Where this node is, by instance metadata alone: for what has to be decided
//! before there is a provider.

use veni_provider::ProviderError;

use crate::identity;
use crate::imds::Metadata;
use crate::settings::AwsSettings;

/// Where a node is, and of which type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The availability zone (`us-east-1a`).
    pub zone: String,
    /// EC2's instance type (`m5.large`).
    pub instance_type: String,
}

/// Asks instance metadata, as far as the settings do not tell.
///
/// # Errors
/// `Transient` when instance metadata does not answer, `Fatal` when its address
/// is none.
pub async fn placement(settings: &AwsSettings) -> Result<Placement, ProviderError> {
    let metadata = Metadata::new(settings.metadata_endpoint.as_deref())?;
    let known = &settings.instance;
    let told = async |known: &Option<String>, path: &str| match known {
        Some(known) => Ok(known.clone()),
        None => metadata.required(path).await,
    };
    Ok(Placement {
        zone: told(&known.zone, identity::ZONE).await?,
        instance_type: told(&known.instance_type, identity::INSTANCE_TYPE).await?,
    })
}
