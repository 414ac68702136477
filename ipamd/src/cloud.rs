//! The cloud as the daemon calls it: behind budgets, with a deadline, counted.

use std::sync::Arc;
use std::time::Duration;

use veni_provider::limiter::CallObserver;
use veni_provider::{ApiFamily, ErrorClass, Limited, LimiterConfig, Operation, Provider};

use crate::cloud_metrics::CallMetrics;
use crate::config::Config;
use crate::events::Events;

/// Puts every cloud call into metrics and levels.
pub(crate) struct CallMeter {
    pub(crate) metrics: CallMetrics,
    pub(crate) events: Events,
}

impl CallObserver for CallMeter {
    fn call(
        &self,
        operation: Operation,
        outcome: Result<(), &ErrorClass>,
        waited: Duration,
        took: Duration,
    ) {
        self.metrics.ended(operation, outcome, waited, took);
        self.events.count_cloud_call();
    }

    fn budget(&self, family: ApiFamily, per_second: f64) {
        self.metrics.set_budget(family, per_second);
    }
}

/// The provider behind budgets, a deadline and metrics.
pub(crate) fn limited(
    config: &Config,
    provider: Arc<dyn Provider>,
    metrics: &CallMetrics,
    events: &Events,
) -> Arc<dyn Provider> {
    let limits = LimiterConfig {
        deadline: config.timing.cloud_deadline,
        ..LimiterConfig::default()
    };
    let meter = CallMeter {
        metrics: metrics.clone(),
        events: events.clone(),
    };
    Arc::new(Limited::new(provider, &limits, Arc::new(meter)))
}
