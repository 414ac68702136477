//! Connects to Amazon EC2: the provider is made from the daemon's settings and from
//! what the daemon before knew of the node.

mod custom_network;

use std::sync::Arc;

use async_trait::async_trait;
use veni_provider::{ErrorClass, Limits, Provider};
use veni_provider_aws::{
    Action, ActionCall, ActionObserver, AwsSettings, Remembered, TypeFacts, TypeLookup, Undeleted,
};

use super::super::patience::{FIRST_PAUSE, LONGEST_PAUSE, until_found};
use super::AwsChoice;
use crate::app::adapter::{Adapter, Start};
use crate::cloud_metrics::{Leftover, RequestMetrics, RequestSeen};
use crate::cloud_rules::{AWS, CloudRules};
use crate::config::{Config, ProviderChoice};
use crate::host::HostChecks;
use crate::host::aws_plugin::AWS_PLUGIN;
use crate::journal::CloudMemory;
use crate::progress::Progress;

/// Amazon EC2, as the settings choose it.
struct Aws(AwsChoice);

/// The adapter of this choice; `None` for the choice of another provider.
pub(super) fn adapter(choice: &ProviderChoice) -> Option<Box<dyn Adapter>> {
    let choice = choice.settings::<AwsChoice>()?;
    Some(Box::new(Aws(choice.clone())))
}

#[async_trait]
impl Adapter for Aws {
    fn rules(&self) -> &'static CloudRules {
        &AWS
    }

    fn host_checks(&self) -> HostChecks {
        HostChecks::Host {
            other_plugin: &AWS_PLUGIN,
        }
    }

    async fn connect(&self, start: &Start<'_>) -> anyhow::Result<Arc<dyn Provider>> {
        let observers = start.observers;
        let mut settings = settings(start.config, &self.0, &observers.metrics.requests);
        if start.config.custom_network.is_some() {
            let waits_for = "waiting for AWS to tell where this node is, for its ENIConfig";
            observers.progress.waits_for(waits_for);
        }
        custom_network::find(start, &settings).await?;
        settings.custom_network = custom_network::lookup(&observers.eni_config);
        Ok(connect(settings, start.remembered, &observers.progress).await)
    }
}

/// Puts every request to EC2 into metrics.
struct RequestMeter(RequestMetrics);

impl RequestMeter {
    fn new(metrics: RequestMetrics) -> Self {
        metrics.begin_at_zero(Action::ALL.map(Action::label));
        Self(metrics)
    }
}

impl ActionObserver for RequestMeter {
    fn action(&self, call: &ActionCall<'_>) {
        self.0.ended(&RequestSeen {
            action: call.action.label(),
            outcome: call.outcome,
            status: call.status,
            waited: call.waited,
            took: call.took,
        });
    }

    fn budget(&self, action: Action, per_second: f64) {
        self.0.budget(action.label(), per_second);
    }

    fn not_deleted(&self, which: Undeleted, class: &ErrorClass) {
        let which = match which {
            Undeleted::Unattached => Leftover::Unattached,
            Undeleted::Detached => Leftover::Detached,
            Undeleted::LeftBehind => Leftover::LeftBehind,
        };
        self.0.left_over(which, class);
    }
}

/// What the daemon's settings tell the provider.
pub fn settings(config: &Config, choice: &AwsChoice, metrics: &RequestMetrics) -> AwsSettings {
    let table: TypeLookup = Arc::new(|name: &str| {
        let known = veni_pool::instance_types::find(name)?;
        Some(TypeFacts {
            limits: Limits {
                interfaces: known.interfaces,
                ipv4_per_interface: known.ipv4_per_interface,
                ipv6_per_interface: known.ipv6_per_interface,
                vcpus: known.vcpus,
            },
            prefixes: known.supports_prefixes(),
        })
    });
    AwsSettings {
        cluster_name: choice.cluster_name.clone(),
        additional_tags: choice.additional_tags.clone(),
        manage_untagged: choice.manage_untagged,
        subnet_discovery: choice.subnet_discovery,
        // Interfaces are for IPv4: pods get IPv6 by prefixes of the primary one, and
        // the role of such a node as a rule may not delete interfaces.
        leak_cleanup: choice.leak_cleanup && config.network.ipv4,
        may_change: config.targets.provisioning,
        leaks_every: choice.leak_interval,
        metadata_only: choice.metadata_only,
        ec2_endpoint: choice.ec2_endpoint.clone(),
        call_timeout: config.timing.cloud_deadline.min(choice.http_timeout),
        // A change takes up to three calls. While one waits unsent for its turn the
        // deadline must not strike, or nobody would know whether it was made.
        budget_patience: config.timing.cloud_deadline / 3,
        instance_types: Some(table),
        observer: Arc::new(RequestMeter::new(metrics.clone())),
        ..AwsSettings::default()
    }
}

/// A node that is remembered is served at once, and found again beside. A new
/// one has to be found first: instance metadata tells who it is, and while that
/// does not answer, it is said and tried again.
async fn connect(
    settings: AwsSettings,
    remembered: Option<&CloudMemory>,
    progress: &Progress,
) -> Arc<dyn Provider> {
    if let Some(memory) = remembered {
        return veni_provider_aws::resume(settings, known_of(memory));
    }
    let connect = || veni_provider_aws::connect(settings.clone());
    until_found("AWS", progress, connect).await
}

fn known_of(memory: &CloudMemory) -> Remembered {
    let could = memory.capabilities.as_ref();
    Remembered {
        instance_id: memory.node.instance_id.clone(),
        instance_type: memory.node.instance_type.clone(),
        facts: TypeFacts {
            limits: memory.node.limits,
            prefixes: could.is_some_and(|could| could.ipv4_prefixes),
        },
    }
}

#[cfg(test)]
mod tests;
