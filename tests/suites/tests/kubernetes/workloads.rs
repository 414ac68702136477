//! Kinds of workloads: stateful sets, jobs, static pods, a namespace that is deleted at once.

use std::time::Duration;

use serde_json::json;
use veni_testbed::cluster::{Cluster, ClusterConfig, eventually};

use crate::objects::{assert_addresses, deployment, gone, idle, pod_of, running};
use crate::veni;

/// A second, the time that a job's pods work.
const JOB: &str = "sleep 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workloads_of_all_kinds_get_addresses_and_give_them_back() {
    let cluster = Cluster::start(ClusterConfig::new(2)).await;
    veni::install(
        &cluster,
        &[
            ("ENABLE_PREFIX_DELEGATION", "true"),
            ("IP_COOLDOWN_PERIOD", "1"),
        ],
    )
    .await;
    static_pod(&cluster).await;
    stateful_set(&cluster).await;
    let took = job(&cluster).await;
    println!("the network of a job's 100 pods: {}", veni::summary(&took));
    namespace(&cluster).await;
    for node in cluster.nodes() {
        veni::nothing_of_pods(node).await;
        veni::sound(&cluster, node).await;
    }
    veni::assert_nothing_refused(&cluster);
}

/// A pod that the kubelet makes of a file, without the API server.
async fn static_pod(cluster: &Cluster) {
    let node = cluster.node(0);
    let file = node.file("/etc/kubernetes/manifests/static.json");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "static", "labels": { "app": "static" } }, "spec": pod_of(idle()),
    });
    std::fs::write(&file, pod.to_string()).expect("the manifest can be written");
    let pods = running(cluster, "static", 1).await;
    assert_addresses(cluster, &pods);
    std::fs::remove_file(&file).expect("the manifest can be removed");
    gone(cluster, "static").await;
}

/// A pod of a stateful set comes back under its name, with an address of its own.
async fn stateful_set(cluster: &Cluster) {
    let mut set = deployment("set", 3, None, idle());
    set["kind"] = json!("StatefulSet");
    set["spec"]["serviceName"] = json!("set");
    cluster.apply(&set).await;
    running(cluster, "set", 3).await;
    cluster.must(&["delete", "pod", "set-1"]).await;
    let pods = running(cluster, "set", 3).await;
    assert_addresses(cluster, &pods);
    assert!(pods.iter().any(|pod| pod.name == "set-1"), "{pods:?}");
    cluster.must(&["delete", "statefulset", "set"]).await;
    gone(cluster, "set").await;
}

/// A hundred pods at once that end by themselves. Returns how long their ADDs took.
async fn job(cluster: &Cluster) -> Vec<Duration> {
    let asked = veni::requests(cluster);
    let mut worker = idle();
    worker["command"] = json!(["sh", "-c", JOB]);
    let mut spec = pod_of(worker);
    spec["restartPolicy"] = json!("Never");
    cluster
        .apply(&json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "storm" },
            "spec": {
                "completions": 100, "parallelism": 100, "backoffLimit": 0,
                "template": { "metadata": { "labels": { "app": "storm" } }, "spec": spec },
            },
        }))
        .await;
    cluster
        .must(&[
            "wait",
            "job/storm",
            "--for=condition=Complete",
            "--timeout=900s",
        ])
        .await;
    let took = veni::add_times(cluster, "storm-").await;
    assert_eq!(took.len(), 100, "each pod was added once");
    let asked = veni::requests(cluster) - asked;
    assert!(
        asked < 100,
        "{asked} requests for 100 pods: an ADD asks the API server"
    );
    cluster.must(&["delete", "job", "storm"]).await;
    gone(cluster, "storm").await;
    took
}

/// All pods of a namespace are deleted at once with it.
async fn namespace(cluster: &Cluster) {
    cluster.must(&["create", "namespace", "short"]).await;
    let account = ["get", "serviceaccount", "default", "-n", "short"];
    eventually("the namespace's service account", async || {
        cluster.kubectl(&account).await
    })
    .await;
    let mut many = deployment("many", 40, None, idle());
    many["metadata"]["namespace"] = json!("short");
    cluster.apply(&many).await;
    let rollout = [
        "rollout",
        "status",
        "deployment/many",
        "-n",
        "short",
        "--timeout=900s",
    ];
    cluster.must(&rollout).await;
    cluster
        .must(&["delete", "namespace", "short", "--timeout=900s"])
        .await;
}
