//! Requests to a cloud's API, of which one cloud call may need several: by the
//! AWS plugin's names, and the budgets that they wait for, which it lacks.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{LATENCY_BUCKETS, PlainCounter};

/// Milliseconds of one request.
const MILLISECONDS: [f64; 11] = [
    10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 30_000.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FunctionLabel {
    r#fn: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    api: &'static str,
    error: &'static str,
    status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    api: &'static str,
    error: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabel {
    action: &'static str,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct RequestSeen<'a> {
    /// The API's own name of it.
    pub action: &'static str,
    /// The API's own error code.
    pub outcome: Result<(), &'a str>,
    /// HTTP's status, where there was an answer.
    pub status: Option<u16>,
    /// How long it waited for its budget.
    pub waited: Duration,
    /// How long the cloud took.
    pub took: Duration,
}

/// The handles.
#[derive(Debug, Clone)]
pub struct Requests {
    all: Family<FunctionLabel, PlainCounter>,
    failed: Family<FunctionLabel, PlainCounter>,
    codes: Family<CodeLabels, PlainCounter>,
    took: Family<OutcomeLabels, Histogram>,
    waited: Family<ActionLabel, Histogram>,
    budget: Family<ActionLabel, Gauge<f64, AtomicU64>>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            all: Family::default(),
            failed: Family::default(),
            codes: Family::default(),
            took: Family::new_with_constructor(|| Histogram::new(MILLISECONDS)),
            waited: Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS)),
            budget: Family::default(),
        }
    }
}

impl Requests {
    /// Those that the AWS plugin has, with its labels.
    pub(super) fn register_aws(&self, aws: &mut Registry) {
        aws.register("ec2api_req_count", "Requests to EC2", self.all.clone());
        aws.register(
            "ec2api_error_count",
            "Requests to EC2 that failed",
            self.failed.clone(),
        );
        aws.register(
            "aws_api_error_count",
            "Requests to EC2 that failed, by its error code",
            self.codes.clone(),
        );
        aws.register(
            "aws_api_latency_ms",
            "Milliseconds that requests to EC2 took",
            self.took.clone(),
        );
    }

    /// Those that it lacks.
    pub(super) fn register_own(&self, own: &mut Registry) {
        own.register(
            "cloud_request_wait_seconds",
            "Time that requests to the cloud's API wait for their budget",
            self.waited.clone(),
        );
        own.register(
            "cloud_request_budget_per_second",
            "Requests per second that the provider lets pass",
            self.budget.clone(),
        );
    }

    /// Counts these actions from now on: the provider's own names of what it may call.
    pub fn begin_at_zero(&self, actions: impl IntoIterator<Item = &'static str>) {
        for action in actions {
            let function = FunctionLabel { r#fn: action };
            drop(self.all.get_or_create(&function));
            drop(self.failed.get_or_create(&function));
        }
    }

    /// A request has ended.
    pub fn ended(&self, seen: &RequestSeen<'_>) {
        let function = FunctionLabel { r#fn: seen.action };
        self.all.get_or_create(&function).0.inc();
        if let Err(code) = seen.outcome {
            self.failed.get_or_create(&function).0.inc();
            let labels = CodeLabels {
                api: seen.action,
                error: code.to_owned(),
            };
            self.codes.get_or_create(&labels).0.inc();
        }
        let failed = seen.outcome.is_err();
        let labels = OutcomeLabels {
            api: seen.action,
            error: if failed { "true" } else { "false" },
            status: seen
                .status
                .map_or_else(String::new, |status| status.to_string()),
        };
        let millis = seen.took.as_secs_f64() * 1000.0;
        self.took.get_or_create(&labels).observe(millis);
        let action = ActionLabel {
            action: seen.action,
        };
        let waited = self.waited.get_or_create(&action);
        waited.observe(seen.waited.as_secs_f64());
    }

    /// So many requests per second of an action are let pass now.
    pub fn budget(&self, action: &'static str, per_second: f64) {
        let label = ActionLabel { action };
        self.budget.get_or_create(&label).set(per_second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn requests_are_counted_by_the_names_that_operators_query() {
        let metrics = Metrics::default();
        let seen = RequestSeen {
            action: "AssignPrivateIpAddresses",
            outcome: Ok(()),
            status: Some(200),
            waited: Duration::from_millis(100),
            took: Duration::from_millis(30),
        };
        metrics.requests().ended(&seen);
        metrics.requests().ended(&RequestSeen {
            outcome: Err("RequestLimitExceeded"),
            status: Some(503),
            ..seen
        });
        metrics.requests().budget(seen.action, 2.5);
        let text = metrics.text().expect("is text");
        for line in [
            r#"awscni_ec2api_req_count{fn="AssignPrivateIpAddresses"} 2"#,
            r#"awscni_ec2api_error_count{fn="AssignPrivateIpAddresses"} 1"#,
            r#"awscni_aws_api_error_count{api="AssignPrivateIpAddresses",error="RequestLimitExceeded"} 1"#,
            r#"awscni_aws_api_latency_ms_sum{api="AssignPrivateIpAddresses",error="false",status="200"} 30.0"#,
            r#"awscni_aws_api_latency_ms_count{api="AssignPrivateIpAddresses",error="true",status="503"} 1"#,
            r#"veni_cloud_request_wait_seconds_count{action="AssignPrivateIpAddresses"} 2"#,
            r#"veni_cloud_request_budget_per_second{action="AssignPrivateIpAddresses"} 2.5"#,
        ] {
            assert!(text.lines().any(|have| have == line), "{line} in\n{text}");
        }
    }
}
