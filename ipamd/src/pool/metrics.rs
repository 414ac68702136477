//! The pool's metrics: what it has, what it has found to be different in the cloud, and how
//! often it had nothing for an ADD.

use std::fmt::Write as _;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::difference::Concerned;
use super::report::{LevelCounts, LevelLimits, UnderWay};
use crate::metrics::ipamd_errors::{Failure, IpamdErrors};
use crate::metrics::{AWS, OWN, PlainCounter};

/// What the gauges show.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauges {
    pub(crate) levels: LevelCounts,
    /// ADDs that wait for an address.
    pub(crate) waiting: u32,
    /// What the pool may grow to.
    pub(crate) limits: LevelLimits,
    /// Calls to the cloud that are under way.
    pub(crate) under_way: UnderWay,
    /// Addresses of the pool that links of the node itself carry: in use by pods, and not.
    pub(crate) carried: (usize, usize),
}

/// The handles. Clones count into the same.
#[derive(Debug, Clone)]
pub(crate) struct PoolMetrics {
    assigned: Gauge,
    total: Gauge,
    interfaces: Gauge,
    max_interfaces: Gauge,
    max_addresses: Gauge,
    prefixes: Gauge,
    no_address: PlainCounter,
    failures: IpamdErrors,
    under_way: Family<FunctionLabel, Gauge>,
    reconciled: Family<FunctionLabel, PlainCounter>,
    force_removed_interfaces: PlainCounter,
    force_removed_addresses: PlainCounter,
    by_state: Family<StateLabel, Gauge>,
    node_addresses: Family<CarriedLabel, Gauge>,
    waiting: Gauge,
    lost: Counter,
}

impl PoolMetrics {
    /// Counts interfaces that cannot be set up among the daemon's failures.
    pub(crate) fn new(failures: IpamdErrors) -> Self {
        let metrics = Self {
            assigned: Gauge::default(),
            total: Gauge::default(),
            interfaces: Gauge::default(),
            max_interfaces: Gauge::default(),
            max_addresses: Gauge::default(),
            prefixes: Gauge::default(),
            no_address: PlainCounter::default(),
            failures,
            under_way: Family::default(),
            reconciled: Family::default(),
            force_removed_interfaces: PlainCounter::default(),
            force_removed_addresses: PlainCounter::default(),
            by_state: Family::default(),
            node_addresses: Family::default(),
            waiting: Gauge::default(),
            lost: Counter::default(),
        };
        // What has labels exists for each of their values from the start.
        metrics.set(&Gauges::default());
        for function in FunctionLabel::RECONCILES {
            drop(metrics.reconciled.get_or_create(&function));
        }
        metrics
    }

    /// Has them exposed.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let aws = registry.sub_registry_with_prefix(AWS);
        aws.register(
            "assigned_ip_addresses",
            "Addresses in use by pods",
            self.assigned.clone(),
        );
        aws.register(
            "total_ip_addresses",
            "Addresses of the pool",
            self.total.clone(),
        );
        aws.register(
            "eni_allocated",
            "Interfaces of the node that Veni manages",
            self.interfaces.clone(),
        );
        aws.register(
            "eni_max",
            "Interfaces that the node may have, without those that Veni does not manage",
            self.max_interfaces.clone(),
        );
        aws.register(
            "ip_max",
            "Addresses that pods may have on those interfaces",
            self.max_addresses.clone(),
        );
        aws.register(
            "total_ipv4_prefixes",
            "Delegated prefixes",
            self.prefixes.clone(),
        );
        aws.register(
            "no_available_ip_addresses",
            "ADDs that found no free address: those that then waited, and those that failed at once",
            self.no_address.clone(),
        );
        self.register_changes(aws);
        let own = registry.sub_registry_with_prefix(OWN);
        own.register(
            "pool_addresses",
            "Addresses of the pool by state",
            self.by_state.clone(),
        );
        own.register(
            "node_addresses",
            "Addresses of the pool that links of the node itself carry, in use by a pod or unused",
            self.node_addresses.clone(),
        );
        own.register(
            "waiting_adds",
            "ADDs that wait for an address",
            self.waiting.clone(),
        );
        own.register(
            "lost_addresses",
            "Addresses in use by pods that the cloud took away",
            self.lost.clone(),
        );
    }

    /// What changes in the cloud, or was found to be different there.
    fn register_changes(&self, aws: &mut Registry) {
        aws.register(
            "ipamd_action_inprogress",
            "Calls to the cloud that are under way",
            self.under_way.clone(),
        );
        aws.register(
            "reconcile_count",
            "Interfaces and ranges that the cloud has and the pool did not know, or the reverse",
            self.reconciled.clone(),
        );
        aws.register(
            "force_removed_enis",
            "Interfaces with pods on them that the cloud took away",
            self.force_removed_interfaces.clone(),
        );
        aws.register(
            "force_removed_ips",
            "Addresses in use by pods that the cloud took away",
            self.force_removed_addresses.clone(),
        );
    }

    /// Sets all gauges.
    pub(crate) fn set(&self, gauges: &Gauges) {
        let Gauges { levels, .. } = gauges;
        self.assigned.set(levels.assigned.into());
        self.total.set(levels.total.into());
        self.interfaces.set(levels.interfaces.into());
        self.prefixes.set(levels.prefixes.into());
        self.max_interfaces.set(gauges.limits.interfaces.into());
        self.max_addresses.set(gauges.limits.addresses.into());
        self.waiting.set(gauges.waiting.into());
        self.set_under_way(gauges.under_way);
        for (state, count) in [
            (State::Free, levels.free),
            (State::Assigned, levels.assigned),
            (State::Cooling, levels.cooling),
        ] {
            let gauge = self.by_state.get_or_create(&StateLabel { state });
            gauge.set(count.into());
        }
        let (in_use, unused) = gauges.carried;
        for (state, count) in [(Carried::InUse, in_use), (Carried::Unused, unused)] {
            let gauge = self.node_addresses.get_or_create(&CarriedLabel { state });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    fn set_under_way(&self, under_way: UnderWay) {
        for (r#fn, count) in [
            ("increaseDatastorePool", under_way.growing),
            ("decreaseDatastorePool", under_way.shrinking),
            ("nodeIPPoolReconcile", under_way.inventories),
        ] {
            let gauge = self.under_way.get_or_create(&FunctionLabel { r#fn });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// The cloud has something that the pool did not know.
    pub(super) fn found(&self, concerned: Concerned) {
        let function = FunctionLabel::found(concerned);
        self.reconciled.get_or_create(&function).inc();
    }

    /// The cloud does not have what the pool knew, and no pod has it.
    pub(super) fn dropped(&self, concerned: Concerned) {
        let function = FunctionLabel::dropped(concerned);
        self.reconciled.get_or_create(&function).inc();
    }

    /// An interface could not be brought into service.
    pub(crate) fn set_up_failed(&self) {
        self.failures.count(Failure::SetUp);
    }

    /// The cloud took interfaces away that pods are on.
    pub(crate) fn interfaces_lost(&self, count: usize) {
        for _ in 0..count {
            self.force_removed_interfaces.inc();
        }
    }

    /// An ADD found the pool empty.
    pub(crate) fn add_waits(&self) {
        self.no_address.inc();
    }

    /// The cloud took an address away that a pod has.
    pub(crate) fn address_lost(&self) {
        self.lost.inc();
        self.force_removed_addresses.inc();
    }
}

/// The AWS plugin's name of what it does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FunctionLabel {
    r#fn: &'static str,
}

impl FunctionLabel {
    const RECONCILES: [Self; 4] = [
        Self::found(Concerned::Interface),
        Self::dropped(Concerned::Interface),
        Self::found(Concerned::Range),
        Self::dropped(Concerned::Range),
    ];

    const fn found(concerned: Concerned) -> Self {
        let r#fn = match concerned {
            Concerned::Interface => "eniReconcileAdd",
            Concerned::Range => "eniDataStorePoolReconcileAdd",
        };
        Self { r#fn }
    }

    const fn dropped(concerned: Concerned) -> Self {
        let r#fn = match concerned {
            Concerned::Interface => "eniReconcileDel",
            Concerned::Range => "eniIPPoolReconcileDel",
        };
        Self { r#fn }
    }
}

/// How an address of the pool is; the names are the label's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Free,
    Assigned,
    Cooling,
}

impl EncodeLabelValue for State {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(match self {
            Self::Free => "free",
            Self::Assigned => "assigned",
            Self::Cooling => "cooling",
        })
    }
}

/// How an address of the pool is that a link of the node itself carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Carried {
    InUse,
    Unused,
}

impl EncodeLabelValue for Carried {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(match self {
            Self::InUse => "in_use",
            Self::Unused => "unused",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CarriedLabel {
    state: Carried,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::exposition;

    #[test]
    fn every_state_has_a_gauge_from_the_start_and_follows_the_levels() {
        let metrics = PoolMetrics::new(IpamdErrors::default());
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let has = |line: &str| {
            let text = exposition::text(&registry).expect("is text");
            text.lines().any(|one| one == line)
        };
        assert!(has(r#"veni_pool_addresses{state="cooling"} 0"#));
        assert!(has(r#"veni_node_addresses{state="unused"} 0"#));
        metrics.set(&Gauges {
            levels: LevelCounts {
                cooling: 3,
                ..LevelCounts::default()
            },
            carried: (0, 2),
            ..Gauges::default()
        });
        assert!(has(r#"veni_pool_addresses{state="cooling"} 3"#));
        assert!(has(r#"veni_node_addresses{state="unused"} 2"#));
        metrics.add_waits();
        assert!(has("awscni_no_available_ip_addresses 1"));
    }
}
