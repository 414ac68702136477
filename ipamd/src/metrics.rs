//! Prometheus metrics: the AWS plugin's names where the meaning is the same,
//! our own for what it lacks. Labels are enums; never a pod or an address.

pub(crate) mod exposition;
mod labels;
mod requests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use veni_provider::{ApiFamily, ErrorClass, Operation};

use crate::pool::PoolSettings;
pub use labels::{AddOutcome, Phase};
use labels::{
    AddressState, CallLabels, CarriedState, FamilyLabel, OutcomeLabel, PhaseLabel, StateLabel,
};
pub use requests::{RequestSeen, Requests};

/// Seconds; an ADD out of the warm pool is near the lower end, one that waits
/// for an attachment near the upper.
const LATENCY_BUCKETS: [f64; 14] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.05, 0.2, 1.0, 3.0, 10.0, 30.0, 90.0,
];

/// A counter whose name is exposed as it is: OpenMetrics would add `_total`,
/// and operators' queries have the AWS plugin's names without. Of a type that
/// OpenMetrics does not know; [`exposition`] gives it back the one that it has.
#[derive(Debug, Clone, Default)]
struct PlainCounter(Counter);

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

/// The handles. One per process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    assigned: Gauge,
    total: Gauge,
    interfaces: Gauge,
    max_interfaces: Gauge,
    max_addresses: Gauge,
    prefixes: Gauge,
    adds: PlainCounter,
    dels: PlainCounter,
    no_address: PlainCounter,
    pool: Family<StateLabel, Gauge>,
    node_addresses: Family<StateLabel, Gauge>,
    waiting: Gauge,
    add_seconds: Family<PhaseLabel, Histogram>,
    del_seconds: Family<PhaseLabel, Histogram>,
    add_results: Family<OutcomeLabel, Counter>,
    calls: Family<CallLabels, Counter>,
    call_seconds: Family<CallLabels, Histogram>,
    call_wait_seconds: Histogram,
    budget: Family<FamilyLabel, Gauge<f64, AtomicU64>>,
    requests: Requests,
    repairs: Counter,
    lost: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let latency = || Histogram::new(LATENCY_BUCKETS);
        let mut metrics = Self {
            registry: Registry::default(),
            assigned: Gauge::default(),
            total: Gauge::default(),
            interfaces: Gauge::default(),
            max_interfaces: Gauge::default(),
            max_addresses: Gauge::default(),
            prefixes: Gauge::default(),
            adds: PlainCounter::default(),
            dels: PlainCounter::default(),
            no_address: PlainCounter::default(),
            pool: Family::default(),
            node_addresses: Family::default(),
            waiting: Gauge::default(),
            add_seconds: Family::new_with_constructor(latency),
            del_seconds: Family::new_with_constructor(latency),
            add_results: Family::default(),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(latency),
            call_wait_seconds: latency(),
            budget: Family::default(),
            requests: Requests::default(),
            repairs: Counter::default(),
            lost: Counter::default(),
        };
        metrics.begin_at_zero();
        metrics.register();
        metrics
    }
}

impl Metrics {
    /// Makes what has labels exist for each of their values. Calls that failed are
    /// timed from the first one on: each outcome of each is a whole histogram, and
    /// the counter beside it is there.
    fn begin_at_zero(&self) {
        for phase in Phase::OF_ADD {
            drop(self.add_seconds.get_or_create(&phase.into()));
        }
        for phase in Phase::OF_DEL {
            drop(self.del_seconds.get_or_create(&phase.into()));
        }
        for outcome in AddOutcome::ALL {
            drop(self.add_results.get_or_create(&outcome.into()));
        }
        for state in AddressState::ALL {
            drop(self.pool.get_or_create(&state.into()));
        }
        for state in CarriedState::ALL {
            drop(self.node_addresses.get_or_create(&state.into()));
        }
        for labels in CallLabels::all() {
            drop(self.calls.get_or_create(&labels));
        }
        for operation in Operation::ALL {
            let labels = CallLabels::new(operation, Ok(()));
            drop(self.call_seconds.get_or_create(&labels));
        }
    }

    fn register(&mut self) {
        let mut registry = Registry::default();
        let aws = registry.sub_registry_with_prefix("awscni");
        aws.register(
            "assigned_ip_addresses",
            "Addresses in use by pods",
            self.assigned.clone(),
        );
        aws.register(
            "total_ip_addresses",
            "Addresses that pods may have",
            self.total.clone(),
        );
        aws.register(
            "eni_allocated",
            "Interfaces of the node",
            self.interfaces.clone(),
        );
        aws.register(
            "eni_max",
            "Interfaces that the node may have",
            self.max_interfaces.clone(),
        );
        aws.register(
            "ip_max",
            "Addresses that the pool may have",
            self.max_addresses.clone(),
        );
        aws.register(
            "total_ipv4_prefixes",
            "Delegated prefixes",
            self.prefixes.clone(),
        );
        aws.register("add_ip_req_count", "ADD requests", self.adds.clone());
        aws.register("del_ip_req_count", "DEL requests", self.dels.clone());
        aws.register(
            "no_available_ip_addresses",
            "ADDs that found no free address at first",
            self.no_address.clone(),
        );
        self.requests.register_aws(aws);
        let own = registry.sub_registry_with_prefix("veni");
        self.requests.register_own(own);
        own.register("pool_addresses", "Addresses by state", self.pool.clone());
        own.register(
            "node_addresses",
            "Addresses of the pool that links of the node itself carry: in_use by a pod, or unused",
            self.node_addresses.clone(),
        );
        own.register(
            "waiting_adds",
            "ADDs that wait for an address",
            self.waiting.clone(),
        );
        own.register("add_seconds", "ADD by phase", self.add_seconds.clone());
        own.register("del_seconds", "DEL by phase", self.del_seconds.clone());
        own.register("add_results", "ADDs by outcome", self.add_results.clone());
        own.register(
            "cloud_calls",
            "Cloud calls by operation and outcome",
            self.calls.clone(),
        );
        own.register(
            "cloud_call_seconds",
            "Cloud calls by operation and outcome",
            self.call_seconds.clone(),
        );
        own.register(
            "cloud_call_wait_seconds",
            "Time that cloud calls wait for their budget",
            self.call_wait_seconds.clone(),
        );
        own.register(
            "cloud_budget_per_second",
            "Cloud calls per second that the limiter lets pass",
            self.budget.clone(),
        );
        own.register(
            "repairs",
            "Differences between journal, kernel and cloud that were repaired",
            self.repairs.clone(),
        );
        own.register(
            "lost_addresses",
            "Addresses in use by pods that the cloud took away",
            self.lost.clone(),
        );
        self.registry = registry;
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        exposition::text(&self.registry)
    }

    /// Sets the pool's gauges from its levels.
    pub(crate) fn set_pool(
        &self,
        levels: &crate::pool::LevelCounts,
        waiting: u32,
        settings: &PoolSettings,
    ) {
        self.assigned.set(levels.assigned.into());
        self.total.set(levels.total.into());
        self.interfaces.set(levels.interfaces.into());
        self.prefixes.set(levels.prefixes.into());
        self.max_addresses.set(settings.max_pods.into());
        self.waiting.set(waiting.into());
        let states = [
            (AddressState::Free, levels.free),
            (AddressState::Assigned, levels.assigned),
            (AddressState::Cooling, levels.cooling),
        ];
        for (state, count) in states {
            self.pool.get_or_create(&state.into()).set(count.into());
        }
    }

    /// Sets how many of the pool's addresses links of the node itself carry.
    pub(crate) fn set_node_addresses(&self, in_use: usize, unused: usize) {
        let states = [
            (CarriedState::InUse, in_use),
            (CarriedState::Unused, unused),
        ];
        for (state, count) in states {
            let gauge = self.node_addresses.get_or_create(&state.into());
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Sets how many interfaces the node may have.
    pub fn set_max_interfaces(&self, limit: u32) {
        self.max_interfaces.set(limit.into());
    }

    /// An ADD has come.
    pub fn add_started(&self) {
        self.adds.0.inc();
    }

    /// An ADD found the pool empty.
    pub fn add_waits(&self) {
        self.no_address.0.inc();
    }

    /// An ADD has ended.
    pub fn add_ended(&self, outcome: AddOutcome) {
        self.add_results.get_or_create(&outcome.into()).inc();
    }

    /// A DEL has come.
    pub fn del_started(&self) {
        self.dels.0.inc();
    }

    /// A phase of an ADD took this long.
    pub fn add_took(&self, phase: Phase, took: Duration) {
        observe(&self.add_seconds, phase, took);
    }

    /// A phase of a DEL took this long.
    pub fn del_took(&self, phase: Phase, took: Duration) {
        observe(&self.del_seconds, phase, took);
    }

    /// A difference was repaired.
    pub fn repaired(&self) {
        self.repairs.inc();
    }

    /// An address in use was taken away by the cloud.
    pub fn address_lost(&self) {
        self.lost.inc();
    }

    /// A cloud call has ended.
    pub fn cloud_call(
        &self,
        operation: Operation,
        outcome: Result<(), &ErrorClass>,
        waited: Duration,
        took: Duration,
    ) {
        let labels = CallLabels::new(operation, outcome);
        self.calls.get_or_create(&labels).inc();
        self.call_seconds
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
        self.call_wait_seconds.observe(waited.as_secs_f64());
    }

    /// A limiter's budget has changed.
    pub fn cloud_budget(&self, family: ApiFamily, per_second: f64) {
        let family = family.label();
        self.budget
            .get_or_create(&FamilyLabel { family })
            .set(per_second);
    }

    /// Requests to the cloud's API.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// How many differences were repaired, for tests of recovery.
    pub fn repairs(&self) -> u64 {
        self.repairs.inner().load(Ordering::Relaxed)
    }
}

fn observe(family: &Family<PhaseLabel, Histogram>, phase: Phase, took: Duration) {
    family
        .get_or_create(&phase.into())
        .observe(took.as_secs_f64());
}

#[cfg(test)]
mod tests;
