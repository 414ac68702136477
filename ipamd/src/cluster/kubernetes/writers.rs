//! What the daemon writes at the API once pods are served: the node's condition, taints and
//! summary, events, and pods' annotations.
//!
//! None of it is on the way of an ADD: all of it follows reports and the stream of events, and
//! what cannot be written is written later, or dropped and counted.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{broadcast, mpsc, watch};

use super::annotations::Annotator;
use super::health::{Asked, Health};
use super::node_writer::NodeWriter;
use super::pause;
use super::pod_events::EventWriter;
use super::pods::KnownPods;
use crate::cluster::api_metrics::ApiMetrics;
use crate::cluster::{Cluster, ObjectName};
use crate::config::KubernetesSettings;
use crate::endpoints::Endpoints;
use crate::events::{Event, Events};
use crate::host::HostWatch;
use crate::pool::Pool;

/// Who writes, for the API's record of who owns which field.
pub(super) const MANAGER: &str = "veni";

/// So long may a write take.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the API refuses for want of a right, or of a definition, is tried again after this:
/// somebody may have granted it.
pub(super) const REFUSED: Duration = Duration::from_secs(300);

/// Events about the node that may wait; more are dropped.
const TROUBLES: usize = 16;

/// What serves pods, and what is told of it.
#[derive(Clone)]
pub(crate) struct Served {
    /// Whether pods are served.
    pub(crate) serving: watch::Receiver<bool>,
    pub(crate) pool: Pool,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) events: Events,
    /// What `veni status` warns of; nothing where nobody watches the host.
    pub(crate) host: Option<HostWatch>,
}

/// What happens to pods, for those who write of it.
pub(super) struct OfPods {
    for_events: broadcast::Receiver<Event>,
    for_annotations: broadcast::Receiver<Event>,
}

impl OfPods {
    /// All that happens from now on.
    pub(super) fn of(served: &Served) -> Self {
        Self {
            for_events: served.events.subscribe(),
            for_annotations: served.events.subscribe(),
        }
    }
}

/// All that write.
pub(super) struct Writers {
    pub(super) client: Client,
    pub(super) settings: KubernetesSettings,
    /// Name of the node's object.
    pub(super) node: String,
    /// The daemon's own pod.
    pub(super) own: Option<ObjectName>,
    pub(super) cluster: Cluster,
    pub(super) known: watch::Receiver<KnownPods>,
    pub(super) health: Health,
    pub(super) metrics: ApiMetrics,
}

impl Writers {
    pub(super) async fn run(self, mut served: Served, of_pods: OfPods) {
        // The sender is gone when the daemon ends, and then so is this.
        drop(served.serving.wait_for(|serving| *serving).await);
        let (troubles, told) = mpsc::channel(TROUBLES);
        let events = EventWriter::new(&self);
        let annotations = async {
            if self.settings.annotate_pods {
                let annotator = Annotator::new(self.client.clone(), self.health.clone());
                let known = self.known.clone();
                annotator
                    .run(&served.endpoints, known, of_pods.for_annotations)
                    .await;
            }
        };
        let node = NodeWriter::new(&self, served.clone(), troubles);
        tokio::join!(
            node.run(),
            events.run(of_pods.for_events, told),
            annotations
        );
    }
}

/// How a write ended.
#[derive(Debug)]
pub(super) enum Written<T> {
    Done(T),
    /// The API refused it as such: the same again would fare alike.
    Refused(kube::Error),
    /// It is worth another try, after a pause.
    TryAgain(Duration),
}

/// Waits for a write, but not for ever, and tells operators whether writes of its kind work.
pub(super) async fn written<T>(
    health: &Health,
    asked: Asked,
    write: impl Future<Output = kube::Result<T>>,
) -> Written<T> {
    let failures = match tokio::time::timeout(DEADLINE, write).await {
        Ok(Ok(value)) => {
            health.answered(asked);
            return Written::Done(value);
        }
        Ok(Err(error)) if super::is_refused(&error) => {
            match super::is_not_permitted(&error) {
                true => drop(health.failed(asked, &error)),
                false => health.answered(asked),
            }
            return Written::Refused(error);
        }
        Ok(Err(error)) => health.failed(asked, &error),
        Err(late) => health.failed(asked, &late),
    };
    Written::TryAgain(pause(failures))
}
