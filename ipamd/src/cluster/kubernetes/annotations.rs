//! Pods' addresses in an annotation of theirs, as the AWS plugin writes them: other programs
//! read them there seconds before the kubelet tells of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures::future::{BoxFuture, OptionFuture};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::health::{Asked, Health};
use super::pods::KnownPods;
use super::writers::{MANAGER, Written, written};
use crate::attachment::PodName;
use crate::cluster::ObjectName;
use crate::endpoints::Endpoints;
use crate::events::{Event, PodNews};
use crate::journal::endpoint::{Record, RecordState};

/// The annotation.
pub(super) const ANNOTATION: &str = "vpc.amazonaws.com/pod-ips";

/// Pods that may wait for a write; what more come are those of the next comparison.
const WAITING: usize = 1000;

/// What each pod's annotation shall be, by namespace, name and uid.
#[derive(Debug, Default)]
struct Wishes {
    all: BTreeMap<PodKey, String>,
    /// Those that differ from what was written, in no order.
    waiting: BTreeSet<PodKey>,
}

type PodKey = (String, String, String);

fn key(pod: &PodName) -> PodKey {
    (pod.namespace.clone(), pod.name.clone(), pod.uid.clone())
}

fn text(addresses: &[IpAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(",")
}

impl Wishes {
    fn take(&mut self, pod: &PodName, news: &PodNews) {
        let key = key(pod);
        match news {
            PodNews::Failed { .. } => {}
            PodNews::Added(addresses) => {
                self.all.insert(key.clone(), text(addresses));
                self.wait(key);
            }
            // The pod may have got another sandbox before the last one was taken away.
            PodNews::Deleted(addresses) => {
                if self.all.get(&key).is_none_or(|now| *now == text(addresses)) {
                    self.all.insert(key.clone(), String::new());
                    self.wait(key);
                }
            }
        }
    }

    fn wait(&mut self, key: PodKey) {
        if self.waiting.len() < WAITING {
            self.waiting.insert(key);
        }
    }

    /// Begins with the pods that there are. Of those that the API shows as they shall be,
    /// nothing is written.
    fn compare(&mut self, records: &[Record], annotated: &BTreeMap<ObjectName, String>) {
        let ready = records.iter().filter(|record| {
            let first = record.key.is_first_interface() && !record.pod.name.is_empty();
            first && record.state == RecordState::Ready
        });
        for record in ready {
            let (key, wanted) = (key(&record.pod), text(&record.addresses()));
            let name = ObjectName {
                namespace: key.0.clone(),
                name: key.1.clone(),
            };
            let is_right = annotated.get(&name) == Some(&wanted);
            self.all.insert(key.clone(), wanted);
            if !is_right {
                self.wait(key);
            }
        }
    }

    fn next(&mut self) -> Option<(PodKey, String)> {
        let key = self.waiting.pop_first()?;
        let wanted = self.all.get(&key).cloned().unwrap_or_default();
        Some((key, wanted))
    }

    /// A pod's annotation is as it was wanted: an empty one is the last.
    fn done(&mut self, key: &PodKey, written: &str) {
        if written.is_empty() && self.all.get(key).is_some_and(String::is_empty) {
            self.all.remove(key);
        }
    }
}

/// Writes annotations.
pub(super) struct Annotator {
    client: Client,
    health: Health,
    wishes: Wishes,
}

impl Annotator {
    pub(super) fn new(client: Client, health: Health) -> Self {
        Self {
            client,
            health,
            wishes: Wishes::default(),
        }
    }

    /// Writes what happens, until nobody tells of anything any more. What comes while a write is
    /// under way waits.
    pub(super) async fn run(
        mut self,
        endpoints: &Endpoints,
        mut known: watch::Receiver<KnownPods>,
        mut pods: broadcast::Receiver<Event>,
    ) {
        // Of pods that were there before, most are annotated already.
        let Ok(known) = known
            .wait_for(|known| known.listed)
            .await
            .map(|now| now.clone())
        else {
            return;
        };
        self.wishes.compare(&endpoints.list(), &known.annotated);
        let mut next = Instant::now();
        let mut write: Option<BoxFuture<'static, (PodKey, String, Written<Pod>)>> = None;
        loop {
            let idle = write.is_none() && !self.wishes.waiting.is_empty();
            tokio::select! {
                biased;
                told = pods.recv() => match told {
                    Ok(Event { pod: Some((pod, news)), .. }) => self.wishes.take(&pod, &news),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => {
                        self.wishes.compare(&endpoints.list(), &BTreeMap::new());
                    }
                    Err(RecvError::Closed) => return,
                },
                Some(ended) = OptionFuture::from(write.as_mut()) => {
                    write = None;
                    let (key, wanted, written) = ended;
                    match written {
                        Written::Done(_) => self.wishes.done(&key, &wanted),
                        // The pod is gone, or another one has its name.
                        Written::Refused(_) => drop(self.wishes.all.remove(&key)),
                        Written::TryAgain(pause) => {
                            self.wishes.waiting.insert(key);
                            next = Instant::now() + pause;
                        }
                    }
                }
                () = tokio::time::sleep_until(next), if idle => {
                    let due = self.wishes.next();
                    write = due.map(|(key, wanted)| self.write(key, wanted));
                }
            }
        }
    }

    fn write(
        &self,
        key: PodKey,
        wanted: String,
    ) -> BoxFuture<'static, (PodKey, String, Written<Pod>)> {
        let (namespace, name, uid) = &key;
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let mut patch = json!({ "metadata": { "annotations": { ANNOTATION: wanted } } });
        if !uid.is_empty() {
            // The API refuses the patch of another pod of the same name.
            patch["metadata"]["uid"] = uid.clone().into();
        }
        let (name, health) = (name.clone(), self.health.clone());
        Box::pin(async move {
            let params = PatchParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let patch = Patch::Merge(&patch);
            let write = api.patch(&name, &params, &patch);
            let written = written(&health, Asked::Annotations, write).await;
            (key, wanted, written)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::fixtures::record;

    fn pod() -> PodName {
        PodName {
            namespace: "shop".to_owned(),
            name: "web-0".to_owned(),
            uid: "u-1".to_owned(),
        }
    }

    fn addresses(last: u8) -> Vec<IpAddr> {
        vec![[10, 0, 0, last].into()]
    }

    #[test]
    fn an_annotation_is_emptied_only_by_the_end_of_the_network_that_it_tells_of() {
        let mut wishes = Wishes::default();
        wishes.take(&pod(), &PodNews::Added(addresses(5)));
        wishes.take(&pod(), &PodNews::Added(addresses(6)));
        wishes.take(&pod(), &PodNews::Deleted(addresses(5)));
        let (key, wanted) = wishes.next().expect("one waits");
        assert_eq!(wanted, "10.0.0.6");
        wishes.done(&key, &wanted);
        wishes.take(&pod(), &PodNews::Deleted(addresses(6)));
        let (key, wanted) = wishes.next().expect("one waits");
        assert_eq!(wanted, "");
        wishes.done(&key, &wanted);
        assert!(wishes.all.is_empty() && wishes.next().is_none());
    }

    #[test]
    fn of_pods_that_were_there_before_only_wrong_annotations_are_written() {
        let name = ObjectName {
            namespace: "shop".to_owned(),
            name: "web-0".to_owned(),
        };
        for (annotated, waits) in [("10.0.0.5", false), ("10.0.0.9", true)] {
            let mut wishes = Wishes::default();
            let annotated = BTreeMap::from([(name.clone(), annotated.to_owned())]);
            wishes.compare(&[record()], &annotated);
            assert_eq!(wishes.next().is_some(), waits);
        }
    }

    #[test]
    fn both_families_are_told_in_one_annotation() {
        let both = [[10, 0, 0, 5].into(), "fd00::5".parse().expect("an address")];
        assert_eq!(text(&both), "10.0.0.5,fd00::5");
    }
}
