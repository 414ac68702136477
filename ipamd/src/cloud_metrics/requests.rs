//! Requests to a cloud's API, of which one cloud call may need several: by the
//! AWS plugin's names, and the budgets that they wait for, which it lacks.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use veni_provider::ErrorClass;

use crate::metrics::{AWS, OWN, PlainCounter, latency};

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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeftoverLabels {
    r#fn: &'static str,
    error: &'static str,
}

/// Whose an interface was that the cloud did not delete.
#[cfg_attr(
    not(feature = "aws"),
    allow(dead_code, reason = "only a provider with interfaces of its own tells")
)]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Leftover {
    /// One that this node made and could not attach.
    Unattached,
    /// One that this node has detached.
    Detached,
    /// One that a daemon that is gone left behind.
    LeftBehind,
}

impl Leftover {
    const ALL: [Self; 3] = [Self::Unattached, Self::Detached, Self::LeftBehind];

    /// The AWS plugin's name of the place where it counts the same.
    fn labels(self, error: &'static str) -> LeftoverLabels {
        let r#fn = match self {
            Self::Unattached => "AllocENIDeleteErr",
            Self::Detached => "FreeENIDeleteErr",
            Self::LeftBehind => "cleanUpLeakedENIDeleteErr",
        };
        LeftoverLabels { r#fn, error }
    }
}

/// One request.
#[cfg_attr(
    not(feature = "aws"),
    allow(dead_code, reason = "only a real cloud's provider tells of requests")
)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestSeen<'a> {
    /// The API's own name of it.
    pub(crate) action: &'static str,
    /// The API's own error code.
    pub(crate) outcome: Result<(), &'a str>,
    /// HTTP's status, where there was an answer.
    pub(crate) status: Option<u16>,
    /// How long it waited for its budget.
    pub(crate) waited: Duration,
    /// How long the cloud took.
    pub(crate) took: Duration,
}

/// The handles of requests. Clones count into the same.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    all: Family<FunctionLabel, PlainCounter>,
    failed: Family<FunctionLabel, PlainCounter>,
    codes: Family<CodeLabels, PlainCounter>,
    took: Family<OutcomeLabels, Histogram>,
    waited: Family<ActionLabel, Histogram>,
    budget: Family<ActionLabel, Gauge<f64, AtomicU64>>,
    leftovers: Family<LeftoverLabels, PlainCounter>,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        let metrics = Self {
            all: Family::default(),
            failed: Family::default(),
            codes: Family::default(),
            took: Family::new_with_constructor(|| Histogram::new(MILLISECONDS)),
            waited: Family::new_with_constructor(latency),
            budget: Family::default(),
            leftovers: Family::default(),
        };
        for which in Leftover::ALL {
            for error in ErrorClass::LABELS {
                drop(metrics.leftovers.get_or_create(&which.labels(error)));
            }
        }
        metrics
    }
}

#[cfg_attr(
    not(feature = "aws"),
    allow(dead_code, reason = "only a real cloud's provider tells of requests")
)]
impl RequestMetrics {
    /// Has them exposed; those that the AWS plugin has, with its labels.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let aws = registry.sub_registry_with_prefix(AWS);
        aws.register(
            "ec2api_req_count",
            "Requests to EC2, by action",
            self.all.clone(),
        );
        aws.register(
            "ec2api_error_count",
            "Requests to EC2 that failed, by action",
            self.failed.clone(),
        );
        aws.register(
            "aws_api_error_count",
            "Requests to EC2 that failed, by action and EC2's error code or what happened to the connection",
            self.codes.clone(),
        );
        aws.register(
            "aws_api_latency_ms",
            "Milliseconds that EC2 took for requests",
            self.took.clone(),
        );
        aws.register(
            "aws_utils_error_count",
            "Tries to delete an interface that failed, so that it stays in the account for now",
            self.leftovers.clone(),
        );
        let own = registry.sub_registry_with_prefix(OWN);
        own.register(
            "cloud_request_wait_seconds",
            "Seconds that requests to the cloud's API waited for their budget",
            self.waited.clone(),
        );
        own.register(
            "cloud_request_budget_per_second",
            "Requests to the cloud's API per second that are let pass; halved by throttling",
            self.budget.clone(),
        );
    }

    /// Counts these actions from now on: the provider's own names of what it may call.
    pub(crate) fn begin_at_zero(&self, actions: impl IntoIterator<Item = &'static str>) {
        for action in actions {
            let function = FunctionLabel { r#fn: action };
            drop(self.all.get_or_create(&function));
            drop(self.failed.get_or_create(&function));
        }
    }

    /// A request has ended.
    pub(crate) fn ended(&self, seen: &RequestSeen<'_>) {
        let function = FunctionLabel { r#fn: seen.action };
        self.all.get_or_create(&function).inc();
        if let Err(code) = seen.outcome {
            self.failed.get_or_create(&function).inc();
            let labels = CodeLabels {
                api: seen.action,
                error: code.to_owned(),
            };
            self.codes.get_or_create(&labels).inc();
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

    /// The cloud did not delete an interface.
    #[cfg(feature = "aws")]
    pub(crate) fn left_over(&self, which: Leftover, class: &ErrorClass) {
        let labels = which.labels(class.label());
        self.leftovers.get_or_create(&labels).inc();
    }

    /// So many requests per second of an action are let pass now.
    pub(crate) fn budget(&self, action: &'static str, per_second: f64) {
        let label = ActionLabel { action };
        self.budget.get_or_create(&label).set(per_second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::exposition;

    #[test]
    fn requests_are_counted_by_the_names_that_operators_query() {
        let metrics = RequestMetrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let seen = RequestSeen {
            action: "AssignPrivateIpAddresses",
            outcome: Ok(()),
            status: Some(200),
            waited: Duration::from_millis(100),
            took: Duration::from_millis(30),
        };
        metrics.ended(&seen);
        metrics.ended(&RequestSeen {
            outcome: Err("RequestLimitExceeded"),
            status: Some(503),
            ..seen
        });
        metrics.budget(seen.action, 2.5);
        let text = exposition::text(&registry).expect("is text");
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
