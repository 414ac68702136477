//! Programs judge what pods send and receive: network policies decide between pods, on one node
//! and across nodes, also while no daemon runs.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use veni_testbed::cloudlab::enter;
use veni_testbed::traffic::{Stream, is_silent, reaches};
use veni_testbed::{Added, Bed, BedConfig, TestPod, eventually};

use super::alerts::get;

/// Two nodes on which policies are read from a folder each; no daemon runs yet.
struct Policed {
    bed: Bed,
}

impl Policed {
    async fn start(mode: &str) -> Self {
        let bed = Bed::start_without_daemons(BedConfig::new(2)).await;
        let policed = Self { bed };
        for node in 0..2 {
            fs::create_dir_all(policed.folder(node)).expect("a folder");
            policed.start_daemon(node, mode).await;
        }
        policed
    }

    fn folder(&self, node: usize) -> PathBuf {
        self.bed.folder().join(format!("policies-{node}"))
    }

    /// Pins of one node, which no other test has.
    fn pins(&self, node: usize) -> PathBuf {
        let bed = self.bed.folder().file_name().expect("a name");
        // The file system for pins takes no dots.
        let bed = bed.to_string_lossy().replace('.', "");
        PathBuf::from(format!("/sys/fs/bpf/{bed}-{node}/veni"))
    }

    async fn start_daemon(&self, node: usize, mode: &str) {
        let (folder, pins) = (self.folder(node), self.pins(node));
        fs::create_dir_all(pins.parent().expect("a folder")).expect("a folder for pins");
        let settings = [
            ("VENI_ENFORCEMENT", "ebpf"),
            ("NETWORK_POLICY_ENFORCING_MODE", mode),
            ("VENI_POLICY_FOLDER", folder.to_str().expect("text")),
            ("VENI_BPF_FOLDER", pins.to_str().expect("text")),
        ];
        self.bed.daemon(node).start_with(&settings).await;
        self.bed.daemon(node).ready().await;
    }

    /// Writes a file on both nodes.
    fn write(&self, name: &str, object: &Value) {
        for node in 0..2 {
            let folder = self.folder(node);
            // By a rename, so that no daemon reads half of it.
            let unfinished = folder.join(format!(".{name}"));
            fs::write(&unfinished, object.to_string()).expect("a file");
            fs::rename(&unfinished, folder.join(format!("{name}.json"))).expect("a file");
        }
    }

    fn remove(&self, name: &str) {
        for node in 0..2 {
            fs::remove_file(self.folder(node).join(format!("{name}.json"))).expect("removed");
        }
    }

    /// Tells of a pod, as the cluster would.
    fn tell(&self, name: &str, address: Option<std::net::IpAddr>) {
        let addresses: Vec<Value> = address.iter().map(|one| json!({ "ip": one })).collect();
        self.write(
            &format!("pod-{name}"),
            &json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": { "namespace": "test", "name": name, "labels": { "app": name } },
                "status": { "phase": "Running", "podIPs": addresses },
            }),
        );
    }

    async fn running(&self, node: usize, name: &str) -> (TestPod, Added) {
        let (pod, added) = self.bed.running(node, name).await;
        self.tell(name, Some(added.address()));
        (pod, added)
    }

    async fn end(self) {
        let pins: Vec<PathBuf> = (0..2).map(|node| self.pins(node)).collect();
        self.bed.end().await;
        for pins in pins {
            let _ = fs::remove_dir_all(pins.parent().expect("a folder"));
        }
    }
}

/// Only the pod `friend` may open flows to pods with this label.
fn only_friend(app: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "namespace": "test", "name": "only-friend" },
        "spec": {
            "podSelector": { "matchLabels": { "app": app } },
            "policyTypes": ["Ingress"],
            "ingress": [{ "from": [{ "podSelector": { "matchLabels": { "app": "friend" } } }] }],
        },
    })
}

async fn becomes_silent(from: &TestPod, to: &Added) {
    let to = to.address();
    eventually(&format!("{to} is closed"), async || {
        match is_silent(from.path(), to).await {
            true => Ok(()),
            false => Err(format!("{to} answers {}", from.name())),
        }
    })
    .await;
}

#[tokio::test]
async fn a_policy_closes_a_pod_to_all_but_its_friends_also_while_no_daemon_runs() {
    let policed = Policed::start("standard").await;
    let bed = &policed.bed;
    let (server, to) = policed.running(0, "server").await;
    let (friend, from_friend) = policed.running(0, "friend").await;
    let (stranger, _) = policed.running(0, "stranger").await;
    let (far, _) = policed.running(1, "far").await;
    for pod in [&friend, &stranger, &far] {
        assert!(reaches(pod.path(), to.address()).await, "{}", pod.name());
    }
    // A flow that goes on throughout loses nothing, whatever else is closed.
    let stream = Stream::start(friend.path(), to.address()).await;
    policed.write("policy", &only_friend("server"));
    becomes_silent(&stranger, &to).await;
    becomes_silent(&far, &to).await;
    assert!(
        reaches(server.path(), from_friend.address()).await,
        "answers to what the pod asks itself pass"
    );
    eventually("the dropped packets are counted", async || {
        let metrics = enter(bed.node(0), || get("127.0.0.1:61678", "/metrics")).await;
        let metrics = metrics.map_err(|error| error.to_string())?;
        let name = "veni_enforcement_dropped_packets_total";
        let dropped = format!(r#"{name}{{direction="ingress",reason="policy_ingress"}} "#);
        let count = metrics.lines().find_map(|line| line.strip_prefix(&dropped));
        match count {
            None | Some("0") => Err(metrics),
            Some(_) => Ok(()),
        }
    })
    .await;
    bed.daemon(0).kill().await;
    assert!(is_silent(stranger.path(), to.address()).await, "no daemon");
    policed.start_daemon(0, "standard").await;
    assert!(
        is_silent(stranger.path(), to.address()).await,
        "the next daemon"
    );
    bed.daemon(0).terminate().await;
    assert!(
        is_silent(stranger.path(), to.address()).await,
        "it has stopped"
    );
    policed.start_daemon(0, "standard").await;
    stream.lost_nothing().await;
    bed.sound(&[&server, &friend, &stranger, &far]).await;
    policed.remove("policy");
    for pod in [&stranger, &far] {
        assert!(reaches(pod.path(), to.address()).await, "{}", pod.name());
    }
    for pod in [&server, &friend, &stranger, &far] {
        bed.del(pod).await.expect("DEL");
    }
    bed.nothing_of_pods(0).await;
    policed.end().await;
}

#[tokio::test]
async fn a_pod_is_closed_by_its_policy_from_the_end_of_its_add() {
    let policed = Policed::start("standard").await;
    let (stranger, _) = policed.running(0, "stranger").await;
    let (known, to_known) = policed.running(0, "known").await;
    policed.tell("late", None);
    policed.write("policy", &only_friend("known"));
    becomes_silent(&stranger, &to_known).await;
    // One more file, and that it is read shows by the pod beside.
    policed.write("policy", &only_friend("late"));
    assert!(reaches(stranger.path(), to_known.address()).await);
    let (late, to) = policed.bed.running(0, "late").await;
    assert!(is_silent(stranger.path(), to.address()).await);
    policed.bed.sound(&[&stranger, &known, &late]).await;
    policed.end().await;
}

#[tokio::test]
async fn in_the_strict_mode_a_pod_is_closed_until_a_policy_opens_it() {
    let policed = Policed::start("strict").await;
    let (friend, _) = policed.running(0, "friend").await;
    let (_server, to) = policed.running(0, "server").await;
    assert!(is_silent(friend.path(), to.address()).await);
    policed.write("policy", &only_friend("server"));
    policed.write(
        "out",
        &json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": { "namespace": "test", "name": "out" },
            "spec": {
                "podSelector": { "matchLabels": { "app": "friend" } },
                "policyTypes": ["Egress"],
                "egress": [{}],
            },
        }),
    );
    assert!(reaches(friend.path(), to.address()).await);
    policed.end().await;
}

/// How many links of a node join blocks, as `tc` sees them.
async fn joined(bed: &Bed, node: usize) -> usize {
    let mut tc = bed.exec(node, "tc");
    let output = tc
        .args(["-j", "qdisc", "show"])
        .output()
        .await
        .expect("tc runs");
    assert!(output.status.success(), "{output:?}");
    let qdiscs: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let joined = qdiscs.iter().filter(|one| !one["ingress_block"].is_null());
    joined.count()
}

#[tokio::test]
async fn without_the_setting_the_next_daemon_takes_the_programs_away() {
    let policed = Policed::start("standard").await;
    let bed = &policed.bed;
    let (stranger, _) = policed.running(0, "stranger").await;
    let (_server, to) = policed.running(0, "server").await;
    policed.write("policy", &only_friend("server"));
    becomes_silent(&stranger, &to).await;
    assert_eq!(
        joined(bed, 0).await,
        3,
        "two pods, and the link that holds the blocks"
    );
    assert!(policed.pins(0).exists());
    bed.daemon(0).kill().await;
    let pins = policed.pins(0);
    let off = [("VENI_BPF_FOLDER", pins.to_str().expect("text"))];
    bed.daemon(0).start_with(&off).await;
    bed.daemon(0).ready().await;
    assert_eq!(joined(bed, 0).await, 0);
    assert!(!pins.exists());
    assert!(reaches(stranger.path(), to.address()).await);
    policed.end().await;
}
