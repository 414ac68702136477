//! How many differences were repaired, and how often the node's own set-up was compared.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::{AWS, OWN};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl ResultLabel {
    const SUCCESS: Self = Self { result: "success" };
    const ERROR: Self = Self { result: "error" };
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackendLabel {
    backend: &'static str,
}

/// The handles. Clones count into the same.
#[derive(Debug, Clone)]
pub(crate) struct RepairMetrics {
    repairs: Counter,
    node: Family<ResultLabel, Counter>,
    backend: Family<BackendLabel, Gauge>,
}

impl Default for RepairMetrics {
    fn default() -> Self {
        let metrics = Self {
            repairs: Counter::default(),
            node: Family::default(),
            backend: Family::default(),
        };
        for result in [ResultLabel::SUCCESS, ResultLabel::ERROR] {
            drop(metrics.node.get_or_create(&result));
        }
        // Veni has one, and the AWS plugin's dashboards ask which.
        for (backend, used) in [("nftables", 1), ("iptables", 0)] {
            let label = BackendLabel { backend };
            metrics.backend.get_or_create(&label).set(used);
        }
        metrics
    }
}

impl RepairMetrics {
    /// Has them exposed.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let aws = registry.sub_registry_with_prefix(AWS);
        aws.register(
            "connmark_backend",
            "1 for what sets the connection mark, 0 for what does not",
            self.backend.clone(),
        );
        aws.register(
            "connmark_reconcile",
            "Comparisons of the node's rules, settings and nftables table with what they should be",
            self.node.clone(),
        );
        let own = registry.sub_registry_with_prefix(OWN);
        own.register(
            "repairs",
            "Differences between journal, kernel and cloud that were repaired",
            self.repairs.clone(),
        );
    }

    /// A difference was repaired.
    pub(crate) fn repaired(&self) {
        self.repairs.inc();
    }

    /// The node's own set-up has been compared with the kernel, or could not be.
    pub(crate) fn node_compared(&self, succeeded: bool) {
        let result = match succeeded {
            true => ResultLabel::SUCCESS,
            false => ResultLabel::ERROR,
        };
        self.node.get_or_create(&result).inc();
    }

    /// How many there have been.
    pub(crate) fn count(&self) -> u64 {
        self.repairs.inner().load(Ordering::Relaxed)
    }
}
