//! The endpoints' metrics: ADDs and DELs, what became of them and how long their parts
//! took.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::metrics::{AWS, OWN, PlainCounter, latency};

/// A part of an operation that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for an address.
    Acquire,
    /// Writing the journal.
    Journal,
    /// The kernel's part.
    Kernel,
    /// All of it.
    Total,
}

impl Phase {
    /// Those of an ADD: all.
    const OF_ADD: [Self; 4] = [Self::Acquire, Self::Journal, Self::Kernel, Self::Total];
    /// Those of a DEL, which waits for no address.
    const OF_DEL: [Self; 3] = [Self::Journal, Self::Kernel, Self::Total];

    fn label(self) -> PhaseLabel {
        let phase = match self {
            Self::Acquire => "acquire",
            Self::Journal => "journal",
            Self::Kernel => "kernel",
            Self::Total => "total",
        };
        PhaseLabel { phase }
    }
}

/// What became of an ADD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddOutcome {
    /// The pod has its network.
    Ok,
    /// There was no address for it, at once or in time.
    NoAddress,
    /// The pod's namespace was gone.
    NamespaceGone,
    /// Anything else.
    Failed,
}

impl AddOutcome {
    const ALL: [Self; 4] = [Self::Ok, Self::NoAddress, Self::NamespaceGone, Self::Failed];

    fn label(self) -> OutcomeLabel {
        let outcome = match self {
            Self::Ok => "ok",
            Self::NoAddress => "no_address",
            Self::NamespaceGone => "namespace_gone",
            Self::Failed => "failed",
        };
        OutcomeLabel { outcome }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Why a pod's network was taken away, by the AWS plugin's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl ReasonLabel {
    /// A runtime has asked for it.
    const POD_DELETED: Self = Self {
        reason: "PodDeleted",
    };
    /// An ADD could not be completed, and what it had begun was undone.
    const SETUP_FAILED: Self = Self {
        reason: "SetupNSFailed",
    };
}

/// The handles. Clones count into the same.
#[derive(Debug, Clone)]
pub(crate) struct EndpointMetrics {
    adds: PlainCounter,
    dels: Family<ReasonLabel, PlainCounter>,
    add_seconds: Family<PhaseLabel, Histogram>,
    del_seconds: Family<PhaseLabel, Histogram>,
    add_results: Family<OutcomeLabel, Counter>,
}

impl Default for EndpointMetrics {
    fn default() -> Self {
        let metrics = Self {
            adds: PlainCounter::default(),
            dels: Family::default(),
            add_seconds: Family::new_with_constructor(latency),
            del_seconds: Family::new_with_constructor(latency),
            add_results: Family::default(),
        };
        // What has labels exists for each of their values from the start: `increase()`
        // does not see a counter that begins at one.
        for phase in Phase::OF_ADD {
            drop(metrics.add_seconds.get_or_create(&phase.label()));
        }
        for phase in Phase::OF_DEL {
            drop(metrics.del_seconds.get_or_create(&phase.label()));
        }
        for reason in [ReasonLabel::POD_DELETED, ReasonLabel::SETUP_FAILED] {
            drop(metrics.dels.get_or_create(&reason));
        }
        for outcome in AddOutcome::ALL {
            drop(metrics.add_results.get_or_create(&outcome.label()));
        }
        metrics
    }
}

impl EndpointMetrics {
    /// Has them exposed.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let aws = registry.sub_registry_with_prefix(AWS);
        aws.register(
            "add_ip_req_count",
            "ADDs that reached the daemon",
            self.adds.clone(),
        );
        aws.register(
            "del_ip_req_count",
            "DELs that reached the daemon, and ADDs that it undid because the pod's network could \
             not be made",
            self.dels.clone(),
        );
        let own = registry.sub_registry_with_prefix(OWN);
        own.register(
            "add_seconds",
            "Seconds that ADDs took that succeeded, by phase",
            self.add_seconds.clone(),
        );
        own.register(
            "del_seconds",
            "Seconds that DELs took, by phase",
            self.del_seconds.clone(),
        );
        own.register(
            "add_results",
            "ADDs by what became of them",
            self.add_results.clone(),
        );
    }

    /// An ADD has come.
    pub(crate) fn add_started(&self) {
        self.adds.inc();
    }

    /// An ADD has ended.
    pub(crate) fn add_ended(&self, outcome: AddOutcome) {
        self.add_results.get_or_create(&outcome.label()).inc();
    }

    /// What an ADD had begun was undone.
    pub(crate) fn add_undone(&self) {
        self.dels.get_or_create(&ReasonLabel::SETUP_FAILED).inc();
    }

    /// A DEL has come.
    pub(crate) fn del_started(&self) {
        self.dels.get_or_create(&ReasonLabel::POD_DELETED).inc();
    }

    /// A phase of an ADD took this long.
    pub(crate) fn add_took(&self, phase: Phase, took: Duration) {
        observe(&self.add_seconds, phase, took);
    }

    /// A phase of a DEL took this long.
    pub(crate) fn del_took(&self, phase: Phase, took: Duration) {
        observe(&self.del_seconds, phase, took);
    }
}

fn observe(family: &Family<PhaseLabel, Histogram>, phase: Phase, took: Duration) {
    family
        .get_or_create(&phase.label())
        .observe(took.as_secs_f64());
}
