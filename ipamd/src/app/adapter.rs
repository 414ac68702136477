//! What a provider's adapter tells the daemon, and what it is given.

use std::sync::Arc;

use async_trait::async_trait;
use veni_provider::Provider;

use super::observers::Observers;
use crate::cloud_rules::CloudRules;
use crate::cluster::EniConfig;
use crate::config::Config;
use crate::host::HostChecks;
use crate::journal::CloudMemory;

/// What the daemon needs to know of a provider before it has one, and how it gets one.
#[async_trait]
pub(super) trait Adapter: Send + Sync {
    /// The rules of its cloud.
    fn rules(&self) -> &'static CloudRules;

    /// What of the host's other software concerns a daemon that uses this provider.
    fn host_checks(&self) -> HostChecks;

    /// Connects to the cloud. Waits for as long as it takes to find the node; a node
    /// that is remembered is served at once.
    ///
    /// # Errors
    /// The settings make no provider.
    async fn connect(&self, start: &Start<'_>) -> anyhow::Result<Arc<dyn Provider>>;
}

/// What a provider is made from.
#[cfg_attr(
    not(any(feature = "aws", feature = "azure")),
    expect(
        dead_code,
        reason = "only a provider that looks for its node needs them"
    )
)]
pub(super) struct Start<'a> {
    /// The daemon's settings.
    pub(super) config: &'a Config,
    /// What the daemon before knew of the node in this boot, if there was one.
    pub(super) remembered: Option<&'a CloudMemory>,
    /// The ENIConfig that the daemon before followed, where the cluster's API told of it.
    pub(super) followed: Option<EniConfig>,
    /// Who is told how the start goes.
    pub(super) observers: &'a Observers,
}
