//! Pods' addresses in an annotation of theirs, as the AWS plugin writes them: other programs
//! read them there seconds before the kubelet tells of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

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
use super::writers::{MANAGER, REFUSED, Written, written};
use crate::attachment::PodName;
use crate::cluster::ObjectName;
use crate::endpoints::Endpoints;
use crate::events::{Event, PodNews};
use crate::journal::endpoint::{Record, RecordState};

/// The annotation.
pub(super) const ANNOTATION: &str = "vpc.amazonaws.com/pod-ips";

/// Pods without a network whose annotation may still have to be emptied. Of more, it stays as it
/// is: the API is away for long, and nearly all of them are gone.
const MOST_ENDED: usize = 1000;

/// What each pod's annotation shall be, by namespace, name and uid.
#[derive(Debug, Default)]
struct Wishes {
    all: BTreeMap<PodKey, Wish>,
    /// Whose was tried last. The next is one behind it: what fails keeps no other waiting.
    last: Option<PodKey>,
}

#[derive(Debug, Default)]
struct Wish {
    /// Empty once the pod's network is gone.
    wanted: String,
    /// What the API has, as far as that is known.
    written: Option<String>,
    /// What was refused for want of a right is not tried before.
    not_before: Option<Instant>,
}

impl Wish {
    fn waits(&self) -> bool {
        self.written.as_ref() != Some(&self.wanted)
    }
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
            PodNews::Added(addresses) => self.want(key, text(addresses)),
            // The pod may have got another sandbox before the last one was taken away.
            PodNews::Deleted(addresses) => {
                let now = self.all.get(&key).map(|wish| &wish.wanted);
                if now.is_none_or(|now| *now == text(addresses)) {
                    self.end(key);
                }
            }
        }
    }

    fn want(&mut self, key: PodKey, wanted: String) {
        self.all.entry(key).or_default().wanted = wanted;
    }

    fn end(&mut self, key: PodKey) {
        let ended = self.all.values().filter(|wish| wish.wanted.is_empty());
        match ended.count() < MOST_ENDED {
            true => self.want(key, String::new()),
            false => drop(self.all.remove(&key)),
        }
    }

    /// Takes the pods that there are for all that have a network.
    fn compare(&mut self, records: &[Record]) {
        let ready = records.iter().filter(|record| {
            let first = record.key.is_first_interface() && !record.pod.name.is_empty();
            first && record.state == RecordState::Ready
        });
        let ready = ready.map(|record| (key(&record.pod), text(&record.addresses())));
        let ready: BTreeMap<PodKey, String> = ready.collect();
        let had = self.all.iter().filter(|(_, wish)| !wish.wanted.is_empty());
        let gone = had.filter(|(key, _)| !ready.contains_key(key));
        let gone: Vec<PodKey> = gone.map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.end(key);
        }
        for (key, wanted) in ready {
            self.want(key, wanted);
        }
    }

    /// Of pods that the API shows as they shall be, nothing is written.
    fn known(&mut self, annotated: &BTreeMap<ObjectName, String>) {
        for ((namespace, name, _), wish) in &mut self.all {
            let name = ObjectName {
                namespace: namespace.clone(),
                name: name.clone(),
            };
            wish.written = annotated.get(&name).cloned();
        }
    }

    /// When the next write is due; `None` while nothing waits.
    fn due(&self, now: Instant) -> Option<Instant> {
        let waiting = self.all.values().filter(|wish| wish.waits());
        waiting.map(|wish| wish.not_before.unwrap_or(now)).min()
    }

    fn next(&mut self, now: Instant) -> Option<(PodKey, String)> {
        let due = |(_, wish): &(&PodKey, &Wish)| {
            wish.waits() && wish.not_before.is_none_or(|at| at <= now)
        };
        let mut waiting = self.all.iter().filter(due);
        let behind = |key: &PodKey| self.last.as_ref().is_none_or(|last| key > last);
        let next = waiting.clone().find(|(key, _)| behind(key));
        let (key, wish) = next.or_else(|| waiting.next())?;
        let next = (key.clone(), wish.wanted.clone());
        self.last = Some(next.0.clone());
        Some(next)
    }

    /// The API has what was wanted. What is empty is the last of a pod.
    fn done(&mut self, key: &PodKey, written: String) {
        let Some(wish) = self.all.get_mut(key) else {
            return;
        };
        if written.is_empty() && wish.wanted.is_empty() {
            self.all.remove(key);
        } else {
            wish.not_before = None;
            wish.written = Some(written);
        }
    }

    /// The pod is gone, or another one has its name. What has come since is tried by itself.
    fn gone(&mut self, key: &PodKey, tried: &str) {
        if self.all.get(key).is_some_and(|wish| wish.wanted == tried) {
            self.all.remove(key);
        }
    }

    /// Nobody knows whether the API has taken the write.
    fn failed(&mut self, key: &PodKey) {
        if let Some(wish) = self.all.get_mut(key) {
            wish.written = None;
        }
    }

    fn hold(&mut self, key: &PodKey, until: Instant) {
        if let Some(wish) = self.all.get_mut(key) {
            wish.not_before = Some(until);
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
        let known = known.wait_for(|known| known.listed).await;
        let Ok(known) = known.map(|now| now.clone()) else {
            return;
        };
        self.wishes.compare(&endpoints.list());
        self.wishes.known(&known.annotated);
        let mut next = Instant::now();
        let mut write: Option<BoxFuture<'static, (PodKey, String, Written<Pod>)>> = None;
        loop {
            let due = self.wishes.due(next).filter(|_| write.is_none());
            tokio::select! {
                biased;
                told = pods.recv() => match told {
                    Ok(Event { pod: Some((pod, news)), .. }) => self.wishes.take(&pod, &news),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => {
                        self.wishes.compare(&endpoints.list());
                    }
                    Err(RecvError::Closed) => return,
                },
                Some(ended) = OptionFuture::from(write.as_mut()) => {
                    write = None;
                    next = Instant::now() + self.ended(ended);
                }
                () = tokio::time::sleep_until(due.unwrap_or(next).max(next)), if due.is_some() => {
                    let due = self.wishes.next(Instant::now());
                    write = due.map(|(key, wanted)| self.write(key, wanted));
                }
            }
        }
    }

    /// Takes in how a write ended, and tells how long to wait until the next.
    fn ended(&mut self, (key, tried, written): (PodKey, String, Written<Pod>)) -> Duration {
        match written {
            Written::Done(_) => self.wishes.done(&key, tried),
            Written::Refused(error) if super::is_not_permitted(&error) => {
                self.wishes.hold(&key, Instant::now() + REFUSED);
                // Most likely it is so for all pods.
                return super::FIRST_PAUSE;
            }
            Written::Refused(_) => self.wishes.gone(&key, &tried),
            Written::TryAgain(pause) => {
                self.wishes.failed(&key);
                return pause;
            }
        }
        Duration::ZERO
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

    fn next(wishes: &mut Wishes) -> Option<(PodKey, String)> {
        wishes.next(Instant::now())
    }

    #[test]
    fn an_annotation_is_emptied_only_by_the_end_of_the_network_that_it_tells_of() {
        let mut wishes = Wishes::default();
        wishes.take(&pod(), &PodNews::Added(addresses(5)));
        wishes.take(&pod(), &PodNews::Added(addresses(6)));
        wishes.take(&pod(), &PodNews::Deleted(addresses(5)));
        let (key, wanted) = next(&mut wishes).expect("one waits");
        assert_eq!(wanted, "10.0.0.6");
        wishes.done(&key, wanted);
        assert_eq!(next(&mut wishes), None);
        wishes.take(&pod(), &PodNews::Deleted(addresses(6)));
        let (key, wanted) = next(&mut wishes).expect("one waits");
        assert_eq!(wanted, "");
        wishes.done(&key, wanted);
        assert!(wishes.all.is_empty() && next(&mut wishes).is_none());
    }

    #[test]
    fn of_pods_that_were_there_before_only_wrong_annotations_are_written() {
        let name = ObjectName {
            namespace: "shop".to_owned(),
            name: "web-0".to_owned(),
        };
        for (annotated, waits) in [("10.0.0.5", false), ("10.0.0.9", true)] {
            let mut wishes = Wishes::default();
            wishes.compare(&[record()]);
            wishes.known(&BTreeMap::from([(name.clone(), annotated.to_owned())]));
            assert_eq!(next(&mut wishes).is_some(), waits);
        }
    }

    #[test]
    fn what_was_missed_shows_by_the_pods_that_there_are() {
        let mut wishes = Wishes::default();
        wishes.take(&pod(), &PodNews::Added(addresses(9)));
        let (gone, wanted) = next(&mut wishes).expect("one waits");
        wishes.done(&gone, wanted);
        wishes.compare(&[record()]);
        let two = [next(&mut wishes), next(&mut wishes)].map(|one| one.expect("both wait"));
        let there = key(&record().pod);
        let expected = [(there, "10.0.0.5".to_owned()), (gone, String::new())];
        for one in expected {
            assert!(two.contains(&one), "{two:?}");
        }
    }

    #[test]
    fn every_pod_s_annotation_is_written_and_what_is_kept_of_pods_that_ended_is_bounded() {
        let numbered = |number: usize| PodName {
            uid: number.to_string(),
            ..pod()
        };
        let mut wishes = Wishes::default();
        for number in 0..2 * MOST_ENDED {
            wishes.take(&numbered(number), &PodNews::Added(addresses(5)));
        }
        for _ in 0..2 * MOST_ENDED {
            let (key, wanted) = next(&mut wishes).expect("each waits");
            wishes.done(&key, wanted);
        }
        assert_eq!(next(&mut wishes), None);
        for number in 0..2 * MOST_ENDED {
            wishes.take(&numbered(number), &PodNews::Deleted(addresses(5)));
        }
        assert_eq!(wishes.all.len(), MOST_ENDED);
    }

    #[test]
    fn a_pod_that_the_api_does_not_know_is_forgotten_unless_it_was_added_meanwhile() {
        let mut wishes = Wishes::default();
        wishes.take(&pod(), &PodNews::Added(addresses(5)));
        let (key, tried) = next(&mut wishes).expect("one waits");
        wishes.take(&pod(), &PodNews::Added(addresses(6)));
        wishes.gone(&key, &tried);
        let (_, tried) = next(&mut wishes).expect("the newer one waits");
        assert_eq!(tried, "10.0.0.6");
        wishes.gone(&key, &tried);
        assert!(wishes.all.is_empty());
    }

    #[test]
    fn a_write_of_which_nobody_knows_whether_it_came_is_made_good() {
        let mut wishes = Wishes::default();
        wishes.take(&pod(), &PodNews::Added(addresses(5)));
        let (key, wanted) = next(&mut wishes).expect("one waits");
        wishes.done(&key, wanted);
        wishes.take(&pod(), &PodNews::Added(addresses(6)));
        next(&mut wishes).expect("one waits");
        wishes.failed(&key);
        wishes.take(&pod(), &PodNews::Added(addresses(5)));
        assert_eq!(next(&mut wishes), Some((key, "10.0.0.5".to_owned())));
    }

    #[test]
    fn both_families_are_told_in_one_annotation() {
        let both = [[10, 0, 0, 5].into(), "fd00::5".parse().expect("an address")];
        assert_eq!(text(&both), "10.0.0.5,fd00::5");
    }
}
