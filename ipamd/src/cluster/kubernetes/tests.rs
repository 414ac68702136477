//! What is written at an API in memory while the clock is paused.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use veni_pool::reasons::{Hopeless, Obstacle};

use super::event_queue::Told;
use super::health::Health;
use super::node_writer::NodeWriter;
use super::pods::KnownPods;
use super::testing::{Asked, MemoryApi};
use super::writers::{Served, Writers};
use crate::cluster::api_metrics::ApiMetrics;
use crate::cluster::{Cluster, ClusterNews, ClusterWarnings, NodeObject, ObjectName, Taint};
use crate::config::KubernetesSettings;
use crate::endpoints::fixtures::endpoints;
use crate::events::Events;
use crate::pool::{Command, LevelCounts, PlanReport, Pool, PoolReport};
use crate::serve::fixtures::pool_report;

mod pods;
mod summary;

const NODE: &str = "n1";
const STATUS: &str = "/api/v1/nodes/n1/status";
const SUMMARY: &str = "/apis/veni.dev/v1alpha1/nodenetworks/n1";

/// A node whose pool says what a test wants it to say.
struct Bed {
    api: MemoryApi,
    cluster: Cluster,
    pool: watch::Sender<(PoolReport, PlanReport)>,
    warnings: ClusterWarnings,
    events: Events,
    writers: Writers,
    served: Served,
}

impl Bed {
    fn new(taints_without_addresses: bool) -> Self {
        let (api, cluster, news) = (
            MemoryApi::default(),
            Cluster::default(),
            ClusterNews::default(),
        );
        cluster.update(|view| view.node.uid = "u-1".to_owned());
        let (pool, mut commands) = Pool::channel();
        let free = PoolReport {
            counts: LevelCounts {
                free: 2,
                ..LevelCounts::default()
            },
            ..pool_report()
        };
        let said = watch::Sender::new((free, PlanReport::default()));
        let says = said.subscribe();
        tokio::spawn(async move {
            while let Some(command) = commands.recv().await {
                let (report, plan) = says.borrow().clone();
                match command {
                    Command::Report { reply } => drop(reply.send(report)),
                    Command::Plan { reply } => drop(reply.send(plan)),
                    _ => {}
                }
            }
        });
        let health = Health::new(news.clone());
        health.usable(&"https://api");
        let events = Events::default();
        let known = KnownPods {
            listed: true,
            own_uid: Some("u-own".to_owned()),
            ..KnownPods::default()
        };
        let writers = Writers {
            client: api.client(),
            settings: KubernetesSettings {
                endpoint: None,
                kubeconfig: None,
                pod_name: None,
                annotate_pods: true,
                startup_taint: Some("veni.dev/not-ready".to_owned()),
                taint_without_addresses: taints_without_addresses,
            },
            node: NODE.to_owned(),
            own: Some(ObjectName {
                namespace: "kube-system".to_owned(),
                name: "veni-x".to_owned(),
            }),
            cluster: cluster.clone(),
            known: watch::Sender::new(known).subscribe(),
            health,
            metrics: ApiMetrics::default(),
        };
        let served = Served {
            serving: watch::Sender::new(true).subscribe(),
            pool: pool.clone(),
            endpoints: endpoints(pool),
            events: events.clone(),
            host: None,
        };
        Self {
            api,
            cluster,
            pool: said,
            warnings: news.warnings,
            events,
            writers,
            served,
        }
    }

    /// Writes what is seen of the node from now on.
    fn write_node(&self) -> mpsc::Receiver<Told> {
        let (troubles, told) = mpsc::channel(16);
        let writer = NodeWriter::new(&self.writers, self.served.clone(), troubles);
        tokio::spawn(writer.run());
        told
    }

    /// No pod can get an address, for these reasons.
    fn nothing_can_come(&self, obstacles: Vec<Obstacle>) {
        self.pool.send_modify(|(report, plan)| {
            report.counts.free = 0;
            plan.one_more = Some(Hopeless {
                unserved: 1,
                obstacles,
            });
        });
    }

    fn something_can_come(&self) {
        self.pool.send_modify(|(report, plan)| {
            report.counts.free = 1;
            plan.one_more = None;
        });
    }

    fn tainted(&self, keys: &[&str]) {
        let taints: Vec<Value> = keys
            .iter()
            .map(|key| json!({ "key": key, "effect": "NoSchedule" }))
            .collect();
        self.api.set_node(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": NODE, "resourceVersion": "7" },
            "spec": { "taints": taints },
        }));
        let taint = |key: &&str| Taint {
            key: (*key).to_owned(),
            ..Taint::default()
        };
        let taints: Vec<Taint> = keys.iter().map(taint).collect();
        self.cluster.update(|view| {
            view.node = NodeObject {
                taints,
                ..view.node.clone()
            };
        });
    }

    /// What was written at a path since the last look.
    async fn written(&self, path: &str, after: Duration) -> Vec<Value> {
        tokio::time::sleep(after).await;
        let asked = self.api.take().into_iter();
        let there = asked.filter(|one| one.path == path);
        there.map(|Asked { body, .. }| body).collect()
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn condition(patch: &Value) -> [&str; 3] {
    let condition = &patch["status"]["conditions"][0];
    ["type", "status", "reason"].map(|key| condition[key].as_str().expect("text"))
}

fn full() -> Vec<Obstacle> {
    vec![Obstacle::NoPlaceForInterface { interfaces: 3 }]
}

#[tokio::test(start_paused = true)]
async fn the_condition_is_written_when_it_changes_and_as_a_slow_heartbeat() {
    let bed = Bed::new(false);
    let _told = bed.write_node();
    let first = bed.written(STATUS, SECOND).await;
    let available = ["NetworkAddressesAvailable", "True", "AddressesAvailable"];
    assert_eq!(first.iter().map(condition).collect::<Vec<_>>(), [available]);
    assert_eq!(bed.written(STATUS, 4 * MINUTE).await.len(), 0);
    bed.nothing_can_come(full());
    let changed = bed.written(STATUS, 10 * SECOND).await;
    let lost = ["NetworkAddressesAvailable", "False", "NodeIsFull"];
    assert_eq!(changed.iter().map(condition).collect::<Vec<_>>(), [lost]);
    let beats = bed.written(STATUS, 11 * MINUTE).await;
    assert_eq!(
        beats.iter().map(condition).collect::<Vec<_>>(),
        [lost, lost]
    );
    let since = |patch: &Value| patch["status"]["conditions"][0]["lastTransitionTime"].clone();
    assert_eq!(
        since(&beats[1]),
        since(&changed[0]),
        "it has not changed since"
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_moves_no_transition_and_is_made_good() {
    let bed = Bed::new(false);
    let _told = bed.write_node();
    let since = |patches: &[Value]| {
        let conditions = patches
            .iter()
            .map(|patch| &patch["status"]["conditions"][0]);
        let since: Vec<Value> = conditions
            .map(|condition| condition["lastTransitionTime"].clone())
            .collect();
        since
    };
    let first = since(&bed.written(STATUS, SECOND).await);
    assert_eq!(first.len(), 1);
    // Conditions have the time of day, which goes on while the tests' clock is paused.
    std::thread::sleep(Duration::from_millis(5));
    bed.api.refuse("/status", Some(500));
    assert_eq!(bed.written(STATUS, 6 * MINUTE).await.len(), 0);
    bed.api.refuse("/status", None);
    assert_eq!(since(&bed.written(STATUS, MINUTE).await), first);
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_changes_while_writes_fail_is_written_once_they_work() {
    let bed = Bed::new(false);
    bed.api.refuse("/status", Some(403));
    let _told = bed.write_node();
    bed.written(STATUS, SECOND).await;
    bed.nothing_can_come(full());
    bed.api.refuse("/status", None);
    assert_eq!(bed.written(STATUS, 4 * MINUTE).await.len(), 0, "too early");
    let written = bed.written(STATUS, 2 * MINUTE).await;
    let reasons: Vec<&str> = written.iter().map(|one| condition(one)[2]).collect();
    assert_eq!(reasons, ["NodeIsFull"]);
}

#[tokio::test(start_paused = true)]
async fn the_startup_taint_goes_once_pods_are_served_and_other_taints_stay() {
    let bed = Bed::new(false);
    bed.tainted(&["other", "veni.dev/not-ready"]);
    let _told = bed.write_node();
    let patches = bed.written("/api/v1/nodes/n1", SECOND).await;
    assert_eq!(patches.len(), 1, "{patches:?}");
    let expected = json!({
        "metadata": { "resourceVersion": "7" },
        "spec": { "taints": [{ "key": "other", "effect": "NoSchedule" }] },
    });
    assert_eq!(patches[0], expected);
    bed.tainted(&["other"]);
    let more = bed.written("/api/v1/nodes/n1", 2 * MINUTE).await;
    assert_eq!(more, Vec::<Value>::new());
}

/// The keys of a patch's taints.
fn keys(patch: &Value) -> Vec<&str> {
    let taints = patch["spec"]["taints"].as_array().expect("taints").iter();
    taints
        .map(|one| one["key"].as_str().expect("a key"))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_node_to_which_no_address_can_come_for_a_minute_is_tainted_until_one_can() {
    let bed = Bed::new(true);
    bed.tainted(&[]);
    let _told = bed.write_node();
    bed.nothing_can_come(full());
    let early = bed.written("/api/v1/nodes/n1", 55 * SECOND).await;
    assert_eq!(early, Vec::<Value>::new());
    let patches = bed.written("/api/v1/nodes/n1", 15 * SECOND).await;
    assert_eq!(keys(&patches[0]), ["veni.dev/no-addresses"]);
    bed.tainted(&["veni.dev/no-addresses"]);
    bed.something_can_come();
    let patches = bed.written("/api/v1/nodes/n1", 10 * SECOND).await;
    assert_eq!(keys(&patches[0]), Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_begins_tainted_stays_so_until_an_address_can_come() {
    let bed = Bed::new(true);
    bed.tainted(&["veni.dev/no-addresses"]);
    bed.nothing_can_come(full());
    let _told = bed.write_node();
    let patches = bed.written("/api/v1/nodes/n1", 5 * MINUTE).await;
    assert_eq!(patches, Vec::<Value>::new());
    bed.something_can_come();
    let patches = bed.written("/api/v1/nodes/n1", 10 * SECOND).await;
    assert_eq!(keys(&patches[0]), Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn taints_that_are_right_at_the_api_are_not_asked_for_at_each_look() {
    let bed = Bed::new(false);
    bed.tainted(&["veni.dev/not-ready"]);
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE } });
    bed.api.set_node(node);
    let _told = bed.write_node();
    let patches = bed.written("/api/v1/nodes/n1", 5 * MINUTE).await;
    assert_eq!(patches, Vec::<Value>::new());
    assert!((2..=6).contains(&bed.api.reads()), "{}", bed.api.reads());
}

#[tokio::test(start_paused = true)]
async fn a_full_subnet_taints_no_node_and_neither_does_a_node_where_nobody_asked_for_it() {
    let exhausted = || {
        vec![Obstacle::Exhausted {
            subnet: veni_nouns::SubnetId::new("subnet-1"),
            lacks: veni_nouns::SlotKind::Address,
            wait_ms: 1,
        }]
    };
    for (asked_for, obstacles) in [(true, exhausted()), (false, full())] {
        let bed = Bed::new(asked_for);
        bed.tainted(&[]);
        let _told = bed.write_node();
        bed.nothing_can_come(obstacles);
        let patches = bed.written("/api/v1/nodes/n1", 5 * MINUTE).await;
        assert_eq!(patches, Vec::<Value>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_is_named_and_taken_up_when_it_is_granted() {
    let bed = Bed::new(false);
    bed.api.refuse("/status", Some(403));
    let _told = bed.write_node();
    assert_eq!(bed.written(STATUS, 11 * MINUTE).await.len(), 0);
    let said = bed.warnings.get().join("; ");
    assert!(
        said.contains("for a write of the node's condition"),
        "{said}"
    );
    bed.api.refuse("/status", None);
    assert_eq!(bed.written(STATUS, 6 * MINUTE).await.len(), 1);
    assert_eq!(bed.warnings.get().join("; "), "");
}

#[tokio::test(start_paused = true)]
async fn an_api_that_does_not_answer_keeps_nobody_from_looking_at_the_pool() {
    let bed = Bed::new(false);
    bed.api.be_silent(true);
    let mut told = bed.write_node();
    bed.nothing_can_come(full());
    tokio::time::sleep(2 * MINUTE).await;
    assert!(told.try_recv().is_ok(), "the trouble is told");
    bed.api.be_silent(false);
    let conditions = bed.written(STATUS, 2 * MINUTE).await;
    let reasons: Vec<&str> = conditions.iter().map(|one| condition(one)[2]).collect();
    assert_eq!(reasons, ["NodeIsFull"]);
}
