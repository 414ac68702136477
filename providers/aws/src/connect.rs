//! From settings to a provider: the SDK's clients, who the node is, what its
//! type allows.

use std::sync::Arc;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use veni_provider::{Capabilities, ErrorClass, Provider, ProviderError, SourceRouting};

use crate::actions::Action;
use crate::budgets::Budgets;
use crate::denials::Denials;
use crate::ec2::Ec2;
use crate::identity;
use crate::imds::Metadata;
use crate::instance_types::{self, TypeFacts};
use crate::maintenance;
use crate::memory::Memory;
use crate::network::Network;
use crate::optional::Optional;
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
    /// Finds out who the node is and starts the maintenance. On the node itself
    /// that takes instance metadata and no call to EC2, but for a type that the
    /// table lacks. Nothing is repeated: a caller that starts before the
    /// network or the node's role is there calls again.
    ///
    /// # Errors
    /// `Transient` when instance metadata or EC2 does not answer, `Denied`
    /// without credentials or permission, `Fatal` when there is no such
    /// instance, no region, or nothing is known of its type.
    pub async fn connect(settings: AwsSettings) -> Result<Self, ProviderError> {
        let metadata = Metadata::new(settings.metadata_endpoint.as_deref())?;
        // Who tells the instance need not be on it.
        let named = settings.instance.instance_id.as_deref();
        let named = named.filter(|_| !settings.metadata_only);
        let at_home = named.is_none();
        // Before the region, which also comes from there.
        let told = match named {
            None => Some(identity::by_metadata(&settings.instance, &metadata).await?),
            Some(_) => None,
        };
        let config = sdk_config(&settings, at_home.then_some(&metadata)).await?;
        let ec2 = clients(&config, &settings);
        let instance = match (told, named) {
            (Some(told), _) => told,
            (None, id) => {
                identity::by_ec2(&settings.instance, id.unwrap_or_default(), &ec2).await?
            }
        };
        let table = settings.instance_types.as_ref();
        let kind = &instance.instance_type;
        let facts = match settings.metadata_only {
            true => instance_types::in_table(table, kind)?,
            false => instance_types::facts(&ec2, table, kind).await?,
        };
        let network = Network::new(
            settings.network_cidrs.clone(),
            at_home.then(|| metadata.clone()),
            !settings.metadata_only,
        );
        let (tidy, leaks) = (settings.tidy_every, settings.leaks_every);
        let core = Arc::new(Core {
            capabilities: capabilities(&settings, facts),
            ec2,
            settings,
            instance,
            facts,
            network,
            metadata,
            at_home,
            memory: Memory::default(),
        });
        let maintenance = tokio::spawn(maintenance::run(Arc::downgrade(&core), tidy, leaks));
        Ok(Self { core, maintenance })
    }
}

/// Region, credentials and endpoints; the region by instance metadata, if there
/// is one to ask, where nothing else tells it.
async fn sdk_config(
    settings: &AwsSettings,
    metadata: Option<&Metadata>,
) -> Result<SdkConfig, ProviderError> {
    let config = match settings.sdk_config.clone() {
        Some(config) => config,
        None => aws_config::load_defaults(BehaviorVersion::latest()).await,
    };
    if config.region().is_some() || settings.metadata_only {
        return Ok(config);
    }
    if let Some(metadata) = metadata
        && let Some(region) = identity::region(metadata).await?
    {
        return Ok(config.into_builder().region(Region::new(region)).build());
    }
    let reason = "no region is known: set AWS_REGION, or let instance metadata answer";
    Err(ProviderError::new(ErrorClass::Fatal, "connect", reason))
}

fn clients(config: &SdkConfig, settings: &AwsSettings) -> Ec2 {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(settings.call_timeout.min(std::time::Duration::from_secs(3)))
        .operation_timeout(settings.call_timeout)
        .build();
    let mut ec2 = aws_sdk_ec2::config::Builder::from(config)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts.clone());
    if let Some(endpoint) = &settings.ec2_endpoint {
        ec2 = ec2.endpoint_url(endpoint);
    }
    let sts = aws_sdk_sts::config::Builder::from(config)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .build();
    let budgets = Budgets::new();
    for action in Action::ALL {
        settings.observer.budget(action, budgets.per_second(action));
    }
    Ec2 {
        client: aws_sdk_ec2::Client::from_conf(ec2.build()),
        denials: Denials::new(aws_sdk_sts::Client::from_conf(sts)),
        observer: Arc::clone(&settings.observer),
        budgets,
        optional: Optional::default(),
        patience: settings.budget_patience,
        changes: settings.changes(),
    }
}

/// What EC2 can do for a node of such a type.
pub(crate) fn capabilities(settings: &AwsSettings, facts: TypeFacts) -> Capabilities {
    let ipv6 = facts.limits.ipv6_per_interface > 0;
    Capabilities {
        attach_while_running: !settings.metadata_only,
        ipv4_prefixes: facts.prefixes,
        ipv6_prefixes: facts.prefixes && ipv6,
        // On the primary interface they are the node's own.
        ipv6_addresses: false,
        source_routing: SourceRouting::BySource,
        release: !settings.metadata_only,
        batch: BATCH,
        lists_own_alone: false,
        settle_time: settings.settle_time,
    }
}
