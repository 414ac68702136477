//! What the daemon asks of the cluster's API, counted.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::metrics::OWN;

/// What has become of a Kubernetes event that the daemon had to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventOutcome {
    /// The API has it.
    Written,
    /// The same was written a short time ago.
    Repeated,
    /// Too many waited: the API was slow or away.
    Dropped,
    /// The API refused it.
    Refused,
}

impl EventOutcome {
    const ALL: [Self; 4] = [Self::Written, Self::Repeated, Self::Dropped, Self::Refused];

    fn label(self) -> OutcomeLabel {
        let outcome = match self {
            Self::Written => "written",
            Self::Repeated => "repeated",
            Self::Dropped => "dropped",
            Self::Refused => "refused",
        };
        OutcomeLabel { outcome }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    verb: &'static str,
    resource: &'static str,
    code: String,
}

/// The handles. Clones count into the same.
#[derive(Debug, Clone)]
pub(crate) struct ApiMetrics {
    requests: Family<RequestLabel, Counter>,
    events: Family<OutcomeLabel, Counter>,
}

impl Default for ApiMetrics {
    fn default() -> Self {
        let metrics = Self {
            requests: Family::default(),
            events: Family::default(),
        };
        for outcome in EventOutcome::ALL {
            drop(metrics.events.get_or_create(&outcome.label()));
        }
        metrics
    }
}

impl ApiMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix(OWN);
        registry.register(
            "kubernetes_requests",
            "Requests to the cluster's API by verb, resource and HTTP status",
            self.requests.clone(),
        );
        registry.register(
            "kubernetes_events",
            "Kubernetes events that the daemon had to tell, by what became of them",
            self.events.clone(),
        );
    }

    /// A request has ended; `code` is the answer's HTTP status, `None` where none came.
    #[cfg_attr(not(feature = "kube"), allow(dead_code, reason = "nobody asks it"))]
    pub(crate) fn request_ended(
        &self,
        verb: &'static str,
        resource: &'static str,
        code: Option<u16>,
    ) {
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        let label = RequestLabel {
            verb,
            resource,
            code,
        };
        self.requests.get_or_create(&label).inc();
    }

    #[cfg_attr(not(feature = "kube"), expect(dead_code, reason = "nobody tells any"))]
    pub(crate) fn events(&self, outcome: EventOutcome, count: u64) {
        self.events.get_or_create(&outcome.label()).inc_by(count);
    }
}
