//! What the metrics of all subsystems have in common. The handles stand beside the
//! subsystem that uses them (`*/metrics.rs`); `app/metrics.rs` puts them together.
//!
//! The AWS plugin's names where the meaning is the same, our own for what it lacks.
//! Labels are enums; never a pod or an address.

pub(crate) mod exposition;
pub(crate) mod ipamd_errors;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};

/// What the AWS plugin's names begin with.
pub(crate) const AWS: &str = "awscni";
/// What our own names begin with.
pub(crate) const OWN: &str = "veni";

/// Seconds; an ADD out of the warm pool is near the lower end, one that waits
/// for an attachment near the upper.
const LATENCY_BUCKETS: [f64; 14] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.05, 0.2, 1.0, 3.0, 10.0, 30.0, 90.0,
];

/// A histogram of seconds, from a quarter of a millisecond to a minute and a half.
pub(crate) fn latency() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}

/// A counter whose name is exposed as it is: OpenMetrics would add `_total`,
/// and operators' queries have the AWS plugin's names without. Of a type that
/// OpenMetrics does not know; [`exposition`] gives it back the one that it has.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlainCounter(Counter);

impl PlainCounter {
    pub(crate) fn inc(&self) {
        self.0.inc();
    }
}

impl EncodeMetric for PlainCounter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        encoder.encode_gauge(&self.0.get())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Unknown
    }
}

impl TypedMetric for PlainCounter {
    const TYPE: MetricType = MetricType::Unknown;
}
