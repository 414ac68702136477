//! What the pool's behaviour depends on.

use std::time::Duration;

use veni_nouns::Family;
use veni_pool::Targets;

/// What the pool's behaviour depends on.
#[derive(Debug, Clone)]
pub(crate) struct PoolSettings {
    pub(crate) targets: Targets,
    /// For IPv6: one prefix is plenty.
    pub(crate) targets_v6: Targets,
    pub(crate) max_pods: u32,
    pub(crate) max_interfaces: Option<u32>,
    pub(crate) cooldown: Duration,
    /// `None` is what suits the provider.
    pub(crate) inventory_interval: Option<Duration>,
    pub(crate) local_view_interval: Duration,
    pub(crate) denied_retry: Duration,
    pub(crate) subnet_retry: Duration,
    /// So far apart are two inventories that must both lack what is dropped.
    pub(crate) doubt_time: Duration,
    pub(crate) interface_mtu: u32,
    pub(crate) families: Vec<Family>,
}
