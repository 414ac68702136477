//! Kubernetes events: about pods whose ADD failed, and about what keeps the node from
//! addresses, on the daemon's own pod or else on the node.

use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event as KubernetesEvent, EventType, Recorder, Reporter};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;

use super::event_queue::{About, Queue, Told};
use super::health::{Asked, Health};
use super::pods::KnownPods;
use super::summary::shortened;
use super::writers::{Writers, Written, written};
use crate::cluster::ObjectName;
use crate::cluster::api_metrics::{ApiMetrics, EventOutcome};
use crate::events::Event;

/// Between two writes.
const PACE: Duration = Duration::from_millis(200);
/// Bytes that the API takes of a note.
const LONGEST_NOTE: usize = 1024;

/// Writes events.
pub(super) struct EventWriter {
    recorder: Recorder,
    node: String,
    own: Option<ObjectName>,
    known: watch::Receiver<KnownPods>,
    health: Health,
    metrics: ApiMetrics,
    queue: Queue,
    next: Instant,
}

impl EventWriter {
    pub(super) fn new(with: &Writers) -> Self {
        let reporter = Reporter {
            controller: "veni.dev/ipamd".to_owned(),
            instance: Some(
                with.own
                    .as_ref()
                    .map_or(&with.node, |own| &own.name)
                    .clone(),
            ),
        };
        Self {
            recorder: Recorder::new(with.client.clone(), reporter),
            node: with.node.clone(),
            own: with.own.clone(),
            known: with.known.clone(),
            health: with.health.clone(),
            metrics: with.metrics.clone(),
            queue: Queue::default(),
            next: Instant::now(),
        }
    }

    /// Writes what happens, until nobody tells of anything any more. What comes while a write is
    /// under way waits in the queue.
    pub(super) async fn run(
        mut self,
        mut pods: broadcast::Receiver<Event>,
        mut node: mpsc::Receiver<Told>,
    ) {
        let mut write: Option<BoxFuture<'static, (Told, Written<()>)>> = None;
        loop {
            let idle = write.is_none() && !self.queue.waiting.is_empty();
            tokio::select! {
                biased;
                told = pods.recv() => match told {
                    Ok(Event { pod: Some((pod, news)), .. }) => {
                        self.push(Told::of_pod(pod, &news));
                    }
                    Ok(_) => {}
                    // Only who is not polled for long misses any; how many of them were about
                    // failures nobody knows.
                    Err(RecvError::Lagged(_)) => self.metrics.events(EventOutcome::Dropped, 1),
                    Err(RecvError::Closed) => return,
                },
                Some(told) = node.recv() => self.push(Some(told)),
                Some((told, written)) = OptionFuture::from(write.as_mut()) => {
                    write = None;
                    self.ended(told, written);
                }
                () = tokio::time::sleep_until(self.next), if idle => {
                    write = self.queue.waiting.pop_front().map(|told| self.write(told));
                }
            }
        }
    }

    fn push(&mut self, told: Option<Told>) {
        let Some(told) = told else { return };
        if let Err(outcome) = self.queue.push(told, Instant::now()) {
            self.metrics.events(outcome, 1);
        }
    }

    fn write(&self, told: Told) -> BoxFuture<'static, (Told, Written<()>)> {
        let (recorder, health) = (self.recorder.clone(), self.health.clone());
        let reference = self.reference(&told.about);
        Box::pin(async move {
            let event = KubernetesEvent {
                type_: match told.warning {
                    true => EventType::Warning,
                    false => EventType::Normal,
                },
                reason: told.reason.to_owned(),
                note: Some(shortened(&told.note, LONGEST_NOTE)),
                action: match told.about {
                    About::Pod(..) => "AddPodNetwork",
                    About::Node => "ManageAddresses",
                }
                .to_owned(),
                secondary: None,
            };
            let write = recorder.publish(&event, &reference);
            let written = written(&health, Asked::Events, write).await;
            (told, written)
        })
    }

    fn ended(&mut self, told: Told, written: Written<()>) {
        let now = Instant::now();
        self.next = now + PACE;
        match written {
            Written::Done(()) => {
                self.metrics.events(EventOutcome::Written, 1);
                self.queue.done(&told, now);
            }
            // The pod's namespace ends, or the daemon lacks the right.
            Written::Refused(_) => {
                self.metrics.events(EventOutcome::Refused, 1);
                self.queue.done(&told, now);
            }
            Written::TryAgain(pause) => {
                self.next = now + pause;
                if let Err(outcome) = self.queue.again(told) {
                    self.metrics.events(outcome, 1);
                }
            }
        }
    }

    /// The daemon's own pod counts as soon as the API has told its uid, by which `kubectl
    /// describe` finds events.
    fn reference(&self, about: &About) -> ObjectReference {
        let of_pod = |namespace: &str, name: &str, uid: &str| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            uid: (!uid.is_empty()).then(|| uid.to_owned()),
            ..ObjectReference::default()
        };
        let own = (self.own.as_ref(), self.known.borrow().own_uid.clone());
        match (about, own) {
            (About::Pod(namespace, name, uid), _) => of_pod(namespace, name, uid),
            (About::Node, (Some(own), Some(uid))) => of_pod(&own.namespace, &own.name, &uid),
            // As the kubelet names its node in events.
            (About::Node, _) => ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(self.node.clone()),
                uid: Some(self.node.clone()),
                ..ObjectReference::default()
            },
        }
    }
}
