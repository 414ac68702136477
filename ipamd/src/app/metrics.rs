//! All of the daemon's metrics: each subsystem's handles, and the registry that exposes
//! them. A subsystem gets its own handles and no others.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::cloud_metrics::{CallMetrics, RequestMetrics};
use crate::cluster::api_metrics::ApiMetrics;
use crate::endpoints::EndpointMetrics;
use crate::metrics::exposition;
use crate::metrics::ipamd_errors::IpamdErrors;
use crate::node_metrics::NodeMetrics;
use crate::pool::PoolMetrics;
use crate::repairs::RepairMetrics;
use crate::start::metrics::StartMetrics;

/// One daemon's metrics. Clones count into the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) registry: Arc<Registry>,
    pub(super) pool: PoolMetrics,
    pub(super) endpoints: EndpointMetrics,
    pub(super) calls: CallMetrics,
    #[cfg_attr(
        not(feature = "aws"),
        allow(dead_code, reason = "only a real cloud's provider tells of requests")
    )]
    pub(super) requests: RequestMetrics,
    pub(super) repairs: RepairMetrics,
    pub(super) start: StartMetrics,
    pub(super) node: NodeMetrics,
    #[cfg_attr(
        not(feature = "kube"),
        allow(dead_code, reason = "for the cluster's API")
    )]
    pub(super) api: ApiMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let failures = IpamdErrors::default();
        let pool = PoolMetrics::new(failures.clone());
        let calls = CallMetrics::new(failures.clone());
        let (endpoints, requests) = (EndpointMetrics::default(), RequestMetrics::default());
        let (repairs, start) = (RepairMetrics::default(), StartMetrics::default());
        let (node, api) = (NodeMetrics::default(), ApiMetrics::default());
        let mut registry = Registry::default();
        pool.register(&mut registry);
        endpoints.register(&mut registry);
        requests.register(&mut registry);
        calls.register(&mut registry);
        repairs.register(&mut registry);
        failures.register(&mut registry);
        start.register(&mut registry);
        node.register(&mut registry);
        api.register(&mut registry);
        Self {
            registry: Arc::new(registry),
            pool,
            endpoints,
            calls,
            requests,
            repairs,
            start,
            node,
            api,
        }
    }
}

impl Metrics {
    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        exposition::text(&self.registry)
    }

    /// How many differences were repaired, for tests of recovery.
    pub fn repairs(&self) -> u64 {
        self.repairs.count()
    }
}

#[cfg(test)]
mod tests;
