//! When pods are made, bound, have their address, are ready and are gone, by one watch of the API.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use veni_testbed::cluster::{Cluster, PATIENCE};

use crate::objects::{idle, pod_of};
use crate::veni::is_ready;

/// A pod that no scheduler places. The watch has begun when it is seen.
const SENTINEL: &str = "sentinel";

/// What has been seen of a pod first, and when.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) made: Option<Instant>,
    pub(super) bound: Option<Instant>,
    pub(super) addressed: Option<Instant>,
    pub(super) ready: Option<Instant>,
    pub(super) gone: Option<Instant>,
}

/// A watch of the pods of an app. It ends with the value.
#[derive(Debug)]
pub(super) struct Watch {
    _kubectl: Child,
    told: UnboundedReceiver<(Instant, Value)>,
    pods: BTreeMap<String, Seen>,
}

impl Watch {
    /// Begins one.
    pub(super) async fn start(cluster: &Cluster, app: &str) -> Self {
        let mut kubectl = cluster
            .kubectl_command()
            .args(["get", "pods", "--watch", "--output-watch-events"])
            .args(["--output=json", &format!("--selector=app={app}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl can be executed");
        let stdout = kubectl.stdout.take().expect("it has an output");
        let (sender, told) = unbounded_channel();
        tokio::spawn(read(stdout, sender));
        let mut watch = Self {
            _kubectl: kubectl,
            told,
            pods: BTreeMap::new(),
        };
        let mut spec = pod_of(idle());
        spec["schedulerName"] = json!("nobody");
        let metadata = json!({ "name": SENTINEL, "labels": { "app": app } });
        cluster
            .apply(&json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec,
            }))
            .await;
        watch.until("the watch", |pods| !pods.is_empty()).await;
        cluster.must(&["delete", "pod", SENTINEL]).await;
        let gone = |pods: &BTreeMap<String, Seen>| pods[SENTINEL].gone.is_some();
        watch.until("the sentinel's end", gone).await;
        watch.pods.clear();
        watch
    }

    /// Waits until what has been seen of the pods suffices.
    pub(super) async fn until(
        &mut self,
        what: &str,
        suffices: impl Fn(&BTreeMap<String, Seen>) -> bool,
    ) {
        let waited = timeout(PATIENCE, async {
            while !suffices(&self.pods) {
                let (at, event) = self.told.recv().await.expect("kubectl watches");
                self.note(at, &event);
            }
        });
        let waited = waited.await;
        waited.unwrap_or_else(|_| panic!("waiting for {what}: {:?}", self.pods));
    }

    /// Waits until so many pods have this behind them.
    pub(super) async fn all(
        &mut self,
        count: usize,
        what: &str,
        of: impl Fn(&Seen) -> Option<Instant>,
    ) {
        let reached = |pods: &BTreeMap<String, Seen>| {
            pods.values().filter(|pod| of(pod).is_some()).count() >= count
        };
        self.until(what, reached).await;
    }

    fn note(&mut self, at: Instant, event: &Value) {
        let pod = &event["object"];
        let name = pod["metadata"]["name"].as_str().expect("a name");
        let seen = self.pods.entry(name.to_owned()).or_default();
        seen.made.get_or_insert(at);
        if pod["spec"]["nodeName"].is_string() {
            seen.bound.get_or_insert(at);
        }
        if pod["status"]["podIP"].is_string() {
            seen.addressed.get_or_insert(at);
        }
        if is_ready(pod) {
            seen.ready.get_or_insert(at);
        }
        if event["type"] == "DELETED" {
            seen.gone.get_or_insert(at);
        }
    }

    /// From the first time of one kind to the last of another.
    pub(super) fn span(
        &self,
        from: impl Fn(&Seen) -> Option<Instant>,
        to: impl Fn(&Seen) -> Option<Instant>,
    ) -> Duration {
        let first = self.pods.values().filter_map(from).min();
        let last = self.pods.values().filter_map(to).max();
        last.expect("seen") - first.expect("seen")
    }

    /// Forgets the pods.
    pub(super) fn clear(&mut self) {
        self.pods.clear();
    }
}

/// Reads objects, one a line.
async fn read(stdout: ChildStdout, sender: UnboundedSender<(Instant, Value)>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let event = serde_json::from_str(&line).expect("kubectl prints JSON");
        if sender.send((Instant::now(), event)).is_err() {
            return;
        }
    }
}
