//! When the process began, and how long starts take, as the AWS plugin tells it.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::clock;
use crate::metrics::{AWS, OWN, latency};

/// A start that fails ends the process, which nobody can ask for metrics then, so only
/// starts that succeed are seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StartLabels {
    success: &'static str,
    with_api_server: &'static str,
    failure_reason: &'static str,
}

impl StartLabels {
    /// The start needs no Kubernetes API.
    const SUCCESS: Self = Self {
        success: "true",
        with_api_server: "false",
        failure_reason: "",
    };
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SuccessLabel {
    success: &'static str,
}

impl SuccessLabel {
    const SUCCESS: Self = Self { success: "true" };
}

/// The handles. Clones count into the same.
#[derive(Debug, Clone)]
pub(crate) struct StartMetrics {
    began: Instant,
    /// Seconds since 1970.
    began_at: Gauge,
    start: Family<StartLabels, Histogram>,
    node: Family<SuccessLabel, Histogram>,
}

impl Default for StartMetrics {
    /// A start begins now.
    fn default() -> Self {
        let metrics = Self {
            began: Instant::now(),
            began_at: Gauge::default(),
            start: Family::new_with_constructor(latency),
            node: Family::new_with_constructor(latency),
        };
        let seconds = clock::unix_millis() / 1000;
        metrics
            .began_at
            .set(i64::try_from(seconds).unwrap_or(i64::MAX));
        drop(metrics.start.get_or_create(&StartLabels::SUCCESS));
        drop(metrics.node.get_or_create(&SuccessLabel::SUCCESS));
        metrics
    }
}

impl StartMetrics {
    /// Has them exposed.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let aws = registry.sub_registry_with_prefix(AWS);
        aws.register(
            "ipamd_startup_duration_seconds",
            "Seconds from the process's start until pods were served",
            self.start.clone(),
        );
        aws.register(
            "ipamd_node_initialization_duration_seconds",
            "Seconds of that from the first inventory on: kernel, journal and pool",
            self.node.clone(),
        );
        let own = registry.sub_registry_with_prefix(OWN);
        own.register(
            "process_start_time_seconds",
            "When the daemon's process began, in seconds since 1970",
            self.began_at.clone(),
        );
    }

    /// Kernel, journal and pool agree; this began at `since`.
    pub(crate) fn node_initialised(&self, since: Instant) {
        let node = self.node.get_or_create(&SuccessLabel::SUCCESS);
        node.observe(since.elapsed().as_secs_f64());
    }

    /// Pods are served from now on.
    pub(crate) fn ready(&self) {
        let start = self.start.get_or_create(&StartLabels::SUCCESS);
        start.observe(self.began.elapsed().as_secs_f64());
    }
}
