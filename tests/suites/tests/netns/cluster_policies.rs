//! A cluster's NetworkPolicies decide between its pods: as its API tells of them, while it does
//! not answer, and with no more pods watched than policies select.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use veni_testbed::api_server::{ApiServer, Kind};
use veni_testbed::traffic::{is_silent, reaches};
use veni_testbed::{Added, Bed, BedConfig, TestPod, eventually};

/// The name of the node's object.
const NODE: &str = "ip-10-0-0-4";

/// A node whose policies are the cluster's, with the API on the node's own loopback.
struct Policed {
    bed: Bed,
    api: ApiServer,
    pins: PathBuf,
}

impl Policed {
    async fn start() -> Self {
        let bed = Bed::start_without_daemons(BedConfig::new(1).set("MY_NODE_NAME", NODE)).await;
        let api = ApiServer::start(bed.node(0)).await;
        let kubeconfig = api.kubeconfig().to_string();
        fs::write(bed.folder().join("kubeconfig"), kubeconfig).expect("a file");
        let name = bed.folder().file_name().expect("a name").to_string_lossy();
        // The file system for pins takes no dots.
        let pins = PathBuf::from(format!("/sys/fs/bpf/{}-api/veni", name.replace('.', "")));
        fs::create_dir_all(pins.parent().expect("a folder")).expect("a folder for pins");
        api.put(
            Kind::Node,
            json!({ "metadata": { "name": NODE }, "spec": {} }),
        );
        for name in ["test", "other"] {
            let labels = json!({ "kubernetes.io/metadata.name": name });
            api.put(
                Kind::Namespace,
                json!({ "metadata": { "name": name, "labels": labels } }),
            );
        }
        let policed = Self { bed, api, pins };
        policed.start_daemon().await;
        policed
    }

    async fn start_daemon(&self) {
        let kubeconfig = self.bed.folder().join("kubeconfig").display().to_string();
        let settings = [
            ("KUBECONFIG", kubeconfig.as_str()),
            ("VENI_ENFORCEMENT", "ebpf"),
            ("NETWORK_POLICY_ENFORCING_MODE", "standard"),
            ("VENI_BPF_FOLDER", self.pins.to_str().expect("text")),
        ];
        self.bed.daemon(0).start_with(&settings).await;
        self.bed.daemon(0).ready().await;
    }

    async fn running(&self, name: &str) -> (TestPod, Added) {
        let (pod, added) = self.bed.running(0, name).await;
        let address = json!({ "ip": added.address() });
        self.api.put(
            Kind::Pod,
            json!({
                "metadata": { "namespace": "test", "name": name, "labels": { "app": name } },
                "spec": { "nodeName": NODE, "containers": [] },
                "status": { "phase": "Running", "podIP": added.address(), "podIPs": [address] },
            }),
        );
        (pod, added)
    }

    /// Only `friend` may open flows to `server`.
    fn close(&self) {
        let friend = json!({ "podSelector": { "matchLabels": { "app": "friend" } } });
        self.api.put(
            Kind::NetworkPolicy,
            json!({
                "metadata": { "namespace": "test", "name": "only-friend" },
                "spec": {
                    "podSelector": { "matchLabels": { "app": "server" } },
                    "policyTypes": ["Ingress"],
                    "ingress": [{ "from": [friend] }],
                },
            }),
        );
    }

    /// Which lists and watches of pods of one namespace it was asked for.
    fn namespaces_asked(&self) -> Vec<String> {
        let mut asked = self.api.asked();
        asked.retain(|one| one.contains("/namespaces/") && one.ends_with("/pods"));
        asked.sort();
        asked.dedup();
        asked
    }

    async fn end(self) {
        self.bed.end().await;
        let _ = fs::remove_dir_all(self.pins.parent().expect("a folder"));
    }
}

async fn becomes(what: &str, is: impl AsyncFn() -> bool) {
    eventually(what, async || match is().await {
        true => Ok(()),
        false => Err(Value::Null),
    })
    .await;
}

#[tokio::test]
async fn the_cluster_s_policies_decide_also_while_its_api_is_away() {
    let policed = Policed::start().await;
    let (bed, api) = (&policed.bed, &policed.api);
    let (_server, to) = policed.running("server").await;
    let (friend, _) = policed.running("friend").await;
    let (stranger, _) = policed.running("stranger").await;
    let to = to.address();
    assert!(reaches(stranger.path(), to).await);
    assert_eq!(policed.namespaces_asked(), Vec::<String>::new());
    policed.close();
    let closed = async || is_silent(stranger.path(), to).await;
    becomes("the server is closed to a stranger", closed).await;
    assert!(reaches(friend.path(), to).await);
    let asked = policed.namespaces_asked();
    assert_eq!(asked, ["GET /api/v1/namespaces/test/pods"], "and no others");
    // A daemon that starts without the API keeps what was in force.
    api.away(true);
    bed.daemon(0).kill().await;
    policed.start_daemon().await;
    assert!(is_silent(stranger.path(), to).await, "the API is away");
    assert!(reaches(friend.path(), to).await);
    api.away(false);
    api.delete(Kind::NetworkPolicy, "only-friend");
    assert!(
        reaches(stranger.path(), to).await,
        "and when it is back, it decides"
    );
    policed.end().await;
}
