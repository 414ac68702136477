//! The metrics of talking to the cloud: calls as the daemon makes them, and the requests
//! to the cloud's API that a provider makes for each ([`RequestMetrics`]).

mod requests;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use veni_provider::{ApiFamily, ErrorClass, Operation};

use crate::metrics::ipamd_errors::{Failure, IpamdErrors};
use crate::metrics::{OWN, latency};
#[cfg(feature = "aws")]
pub(crate) use requests::Leftover;
pub use requests::RequestMetrics;
#[cfg_attr(
    not(feature = "aws"),
    allow(
        unused_imports,
        reason = "only a real cloud's provider tells of requests"
    )
)]
pub(crate) use requests::RequestSeen;

impl From<Operation> for Failure {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Node => Self::Node,
            Operation::Inventory => Self::Inventory,
            Operation::AttachInterface => Self::Attach,
            Operation::DetachInterface => Self::Detach,
            Operation::Assign => Self::Assign,
            Operation::Release => Self::Release,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FamilyLabel {
    family: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    operation: &'static str,
    outcome: &'static str,
}

impl CallLabels {
    /// Of a call that succeeded.
    const OK: &'static str = "ok";

    fn new(operation: Operation, outcome: Result<(), &ErrorClass>) -> Self {
        Self {
            operation: operation.label(),
            outcome: outcome.err().map_or(Self::OK, ErrorClass::label),
        }
    }

    /// Every operation with every outcome.
    fn all() -> impl Iterator<Item = Self> {
        Operation::ALL.into_iter().flat_map(|operation| {
            let outcomes = [Self::OK].into_iter().chain(ErrorClass::LABELS);
            outcomes.map(move |outcome| Self {
                operation: operation.label(),
                outcome,
            })
        })
    }
}

/// The handles of calls. Clones count into the same.
#[derive(Debug, Clone)]
pub(crate) struct CallMetrics {
    failures: IpamdErrors,
    calls: Family<CallLabels, Counter>,
    seconds: Family<CallLabels, Histogram>,
    wait_seconds: Histogram,
    budget: Family<FamilyLabel, Gauge<f64, AtomicU64>>,
}

impl CallMetrics {
    /// Counts calls that failed among the daemon's failures, too.
    pub(crate) fn new(failures: IpamdErrors) -> Self {
        let metrics = Self {
            failures,
            calls: Family::default(),
            seconds: Family::new_with_constructor(latency),
            wait_seconds: latency(),
            budget: Family::default(),
        };
        // Calls are counted from zero for each of their labels: `increase()` does not
        // see a counter that begins at one.
        for labels in CallLabels::all() {
            drop(metrics.calls.get_or_create(&labels));
        }
        // Those that failed are timed from the first one on: each outcome of each is a
        // whole histogram, and the counter beside it is there.
        for operation in Operation::ALL {
            let labels = CallLabels::new(operation, Ok(()));
            drop(metrics.seconds.get_or_create(&labels));
        }
        metrics
    }

    /// Has them exposed.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let own = registry.sub_registry_with_prefix(OWN);
        own.register(
            "cloud_calls",
            "What the pool asked the cloud for",
            self.calls.clone(),
        );
        own.register(
            "cloud_call_seconds",
            "Seconds that the cloud took for what the pool asked for",
            self.seconds.clone(),
        );
        own.register(
            "cloud_call_wait_seconds",
            "Seconds that calls waited for their budget",
            self.wait_seconds.clone(),
        );
        own.register(
            "cloud_budget_per_second",
            "Calls per second that the limiter lets pass; halved by throttling",
            self.budget.clone(),
        );
    }

    /// A call has ended: it waited for its budget, and then the cloud took so long.
    pub(crate) fn ended(
        &self,
        operation: Operation,
        outcome: Result<(), &ErrorClass>,
        waited: Duration,
        took: Duration,
    ) {
        let labels = CallLabels::new(operation, outcome);
        if outcome.is_err() {
            self.failures.count(operation.into());
        }
        self.calls.get_or_create(&labels).inc();
        self.seconds
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
        self.wait_seconds.observe(waited.as_secs_f64());
    }

    /// So many calls of a family are let pass per second now.
    pub(crate) fn set_budget(&self, family: ApiFamily, per_second: f64) {
        let family = family.label();
        self.budget
            .get_or_create(&FamilyLabel { family })
            .set(per_second);
    }
}
