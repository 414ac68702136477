//! Kubernetes events: about pods whose ADD failed, and about what keeps the node from
//! addresses, on the daemon's own pod or else on the node.
//!
//! They wait in a short queue. The same about the same object is written at most once in a
//! while, and what does not fit is dropped and counted.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event as KubernetesEvent, EventType, Recorder, Reporter};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;

use super::availability::Trouble;
use super::health::{Asked, Health};
use super::pods::KnownPods;
use super::summary::shortened;
use super::writers::{Writers, Written, written};
use crate::attachment::PodName;
use crate::cluster::ObjectName;
use crate::cluster::api_metrics::{ApiMetrics, EventOutcome};
use crate::events::{Event, PodNews};

/// Events that may wait.
const QUEUE: usize = 100;
/// Between two writes.
const PACE: Duration = Duration::from_millis(200);
/// Until the same is written about the same pod again; a runtime tries an ADD again every few
/// seconds.
const AGAIN_OF_POD: Duration = Duration::from_secs(60);
/// Likewise about the node.
const AGAIN_OF_NODE: Duration = Duration::from_secs(600);
/// Bytes that the API takes of a note.
const LONGEST_NOTE: usize = 1024;

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum About {
    /// By namespace, name and uid.
    Pod(String, String, String),
    /// What the daemon does on its node.
    Node,
}

/// An event that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    about: About,
    reason: &'static str,
    warning: bool,
    note: String,
}

impl Told {
    /// Something keeps the node from addresses.
    pub(super) fn trouble(trouble: &Trouble) -> Self {
        Self {
            about: About::Node,
            reason: trouble.reason.name(),
            warning: true,
            note: trouble.note.clone(),
        }
    }

    /// Nothing does any more.
    pub(super) fn recovery(note: &str) -> Self {
        Self {
            about: About::Node,
            reason: "AddressesAvailable",
            warning: false,
            note: note.to_owned(),
        }
    }

    fn of_pod(pod: PodName, news: &PodNews) -> Option<Self> {
        let PodNews::Failed { lacks_address, why } = news else {
            return None;
        };
        Some(Self {
            about: About::Pod(pod.namespace, pod.name, pod.uid),
            reason: match lacks_address {
                true => "NoAddress",
                false => "NetworkSetupFailed",
            },
            warning: true,
            note: why.clone(),
        })
    }

    fn again(&self) -> Duration {
        match self.about {
            About::Pod(..) => AGAIN_OF_POD,
            About::Node => AGAIN_OF_NODE,
        }
    }

    fn key(&self) -> Key {
        (self.about.clone(), self.reason)
    }
}

type Key = (About, &'static str);

/// The events that wait, and those that were written a short time ago.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Told>,
    /// Until when the same is not written again.
    written: HashMap<Key, Instant>,
}

impl Queue {
    /// Takes an event in, or tells why not.
    fn push(&mut self, told: Told, now: Instant) -> Result<(), EventOutcome> {
        let key = told.key();
        if let Some(same) = self.waiting.iter_mut().find(|other| other.key() == key) {
            // The last word counts.
            same.note = told.note;
            return Err(EventOutcome::Repeated);
        }
        self.written.retain(|_, until| *until > now);
        if self.written.contains_key(&key) {
            return Err(EventOutcome::Repeated);
        }
        if self.waiting.len() >= QUEUE {
            return Err(EventOutcome::Dropped);
        }
        self.waiting.push_back(told);
        Ok(())
    }

    fn done(&mut self, told: &Told, now: Instant) {
        if told.reason == "AddressesAvailable" {
            // What comes next is a trouble of its own.
            self.written.retain(|(about, _), _| *about != About::Node);
        }
        self.written.insert(told.key(), now + told.again());
    }
}

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
                self.queue.waiting.push_front(told);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pod: &str, note: &str) -> Told {
        let pod = PodName {
            namespace: "shop".to_owned(),
            name: pod.to_owned(),
            uid: "u".to_owned(),
        };
        let failed = PodNews::Failed {
            lacks_address: true,
            why: note.to_owned(),
        };
        Told::of_pod(pod, &failed).expect("a failure is told")
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_is_written_once_in_a_while_and_the_last_word_counts() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        assert_eq!(queue.push(told("a", "first"), now), Ok(()));
        let again = queue.push(told("a", "second"), now);
        assert_eq!(again, Err(EventOutcome::Repeated));
        let next = queue.waiting.pop_front().expect("one waits");
        assert_eq!(next.note, "second");
        queue.done(&next, now);
        let soon = queue.push(told("a", "third"), now + AGAIN_OF_POD / 2);
        assert_eq!(soon, Err(EventOutcome::Repeated));
        assert_eq!(queue.push(told("b", "another pod"), now), Ok(()));
        let later = now + AGAIN_OF_POD;
        assert_eq!(queue.push(told("a", "fourth"), later), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_is_dropped() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for number in 0..QUEUE {
            assert_eq!(queue.push(told(&number.to_string(), ""), now), Ok(()));
        }
        let more = queue.push(told("more", ""), now);
        assert_eq!(more, Err(EventOutcome::Dropped));
    }

    #[test]
    fn a_pod_that_has_its_network_is_no_event() {
        let news = PodNews::Added(Vec::new());
        assert_eq!(Told::of_pod(PodName::default(), &news), None);
    }
}
