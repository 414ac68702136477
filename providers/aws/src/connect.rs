//! From settings to a provider: the SDK's clients, who the node is, what its
//! type allows.

use std::sync::Arc;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use veni_provider::{Capabilities, ErrorClass, Provider, ProviderError};

use crate::denials::Denials;
use crate::ec2::Ec2;
use crate::identity;
use crate::imds::Metadata;
use crate::instance_types::{self, TypeFacts};
use crate::maintenance;
use crate::memory::Memory;
use crate::network::Network;
use crate::provider::{AwsProvider, Core};
use crate::settings::AwsSettings;

/// EC2 names no number; no type has more slots on an interface than 64.
const BATCH: u32 = 50;

/// A provider for this node.
///
/// # Errors
/// Those of [`AwsProvider::connect`].
pub async fn connect(settings: AwsSettings) -> Result<Arc<dyn Provider>, ProviderError> {
    Ok(Arc::new(AwsProvider::connect(settings).await?))
}

impl AwsProvider {
    /// Finds out who the node is and starts the maintenance. Nothing is
    /// repeated: a caller that starts before the network or the node's role is
    /// there calls again.
    ///
    /// # Errors
    /// `Transient` when instance metadata or EC2 does not answer, `Denied`
    /// without credentials or permission, `Fatal` when there is no such
    /// instance, no region, or nothing is known of its type.
    pub async fn connect(settings: AwsSettings) -> Result<Self, ProviderError> {
        let config = match settings.sdk_config.clone() {
            Some(config) => config,
            None => aws_config::load_defaults(BehaviorVersion::latest()).await,
        };
        if config.region().is_none() && !settings.metadata_only {
            let reason = "no region is known: set AWS_REGION, or let instance metadata answer";
            return Err(ProviderError::new(ErrorClass::Fatal, "connect", reason));
        }
        let ec2 = clients(&config, &settings);
        let metadata = Metadata::new(settings.metadata_endpoint.as_deref())?;
        let table = settings.instance_types.as_ref();
        let (instance, facts) = if settings.metadata_only {
            let instance = identity::by_metadata(&settings.instance, &metadata).await?;
            let facts = instance_types::in_table(table, &instance.instance_type)?;
            (instance, facts)
        } else {
            let instance = identity::instance(&ec2, &settings, &metadata).await?;
            let facts = instance_types::facts(&ec2, table, &instance.instance_type).await?;
            (instance, facts)
        };
        // Who tells the instance need not be on it.
        let at_home = settings.metadata_only || settings.instance.instance_id.is_none();
        let network = Network::new(
            settings.network_cidrs.clone(),
            at_home.then(|| metadata.clone()),
            !settings.metadata_only,
        );
        let core = Arc::new(Core {
            capabilities: capabilities(&settings, facts),
            ec2,
            settings,
            instance,
            facts,
            network,
            metadata,
            memory: Memory::default(),
        });
        let maintenance = tokio::spawn(maintenance::run(Arc::downgrade(&core)));
        Ok(Self { core, maintenance })
    }
}

fn clients(config: &SdkConfig, settings: &AwsSettings) -> Ec2 {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(settings.call_timeout.min(std::time::Duration::from_secs(3)))
        .operation_timeout(settings.call_timeout)
        .build();
    let ec2 = aws_sdk_ec2::config::Builder::from(config)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts.clone())
        .build();
    let sts = aws_sdk_sts::config::Builder::from(config)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .build();
    Ec2 {
        client: aws_sdk_ec2::Client::from_conf(ec2),
        denials: Denials::new(aws_sdk_sts::Client::from_conf(sts)),
        observer: Arc::clone(&settings.observer),
    }
}

fn capabilities(settings: &AwsSettings, facts: TypeFacts) -> Capabilities {
    let ipv6 = facts.limits.ipv6_per_interface > 0;
    Capabilities {
        attach_while_running: !settings.metadata_only,
        ipv4_prefixes: facts.prefixes,
        ipv6_prefixes: facts.prefixes && ipv6,
        ipv6_addresses: ipv6,
        source_routing: true,
        release: !settings.metadata_only,
        batch: BATCH,
        settle_time: settings.settle_time,
    }
}
