//! Programs of a node and of the control plane end while pods are made.

use serde_json::Value;
use veni_testbed::cluster::{Cluster, ClusterConfig, eventually};
use veni_testbed::kernel;

use crate::objects::{assert_addresses, deployment, gone, idle, running};
use crate::veni;

/// With the daemon's own pod, as many as the kubelet runs.
const PODS: usize = 109;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_filled_with_pods_and_emptied_while_its_programs_are_killed() {
    let cluster = Cluster::start(ClusterConfig::new(1)).await;
    veni::install(&cluster, &[("ENABLE_PREFIX_DELEGATION", "true")]).await;
    let node = cluster.node(0);
    cluster.apply(&deployment("many", PODS, None, idle())).await;
    for program in ["ipamd", "kubelet", "containerd"] {
        some_pods(&cluster, 10).await;
        match program {
            "ipamd" => node.signal(&node.processes("ipamd").await[0], "KILL").await,
            program => node.kill(program).await,
        }
    }
    let pods = running(&cluster, "many", PODS).await;
    assert_addresses(&cluster, &pods);
    assert_eq!(
        kernel::routes(node.namespace(), kernel::POD_TABLE)
            .await
            .len(),
        PODS
    );
    cluster
        .must(&["scale", "deployment", "many", "--replicas=0"])
        .await;
    gone(&cluster, "many").await;
    veni::nothing_of_pods(node).await;
    veni::sound(&cluster, node).await;
}

/// Waits until so many pods have their network.
async fn some_pods(cluster: &Cluster, count: usize) {
    let node = cluster.node(0).namespace();
    let before = kernel::routes(node, kernel::POD_TABLE).await.len();
    let expected = (before + count).min(PODS);
    eventually("further pods with a network", async || {
        let now = kernel::routes(node, kernel::POD_TABLE).await.len();
        match now >= expected {
            true => Ok(()),
            false => Err(format!("{now} pods, {before} of them before")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_get_their_network_while_the_api_server_is_away() {
    let mut cluster = Cluster::start(ClusterConfig::new(1)).await;
    veni::install_unprobed(&cluster, &[("ENABLE_PREFIX_DELEGATION", "true")]).await;
    let node = cluster.node(0);
    let namespace = node.namespace().to_owned();
    // All ADDs wait for the daemon.
    let daemon = node.processes("ipamd").await.remove(0);
    node.signal(&daemon, "STOP").await;
    cluster.apply(&deployment("away", 20, None, idle())).await;
    eventually("20 pods of the kubelet, and ADDs under way", async || {
        let known = cluster
            .kubectl(&["get", "--raw", "/api/v1/nodes/node1/proxy/pods"])
            .await?;
        let pods: Value = serde_json::from_str(&known).map_err(|error| error.to_string())?;
        let pods = pods["items"].as_array().into_iter().flatten();
        let known = pods
            .filter(|pod| pod["metadata"]["labels"]["app"] == "away")
            .count();
        match (known, node.processes("veni-cni").await.len()) {
            (20, 1..) => Ok(()),
            (known, adds) => Err(format!("{known} pods, {adds} ADDs")),
        }
    })
    .await;
    cluster.kill_api_server().await;
    cluster.node(0).signal(&daemon, "CONT").await;
    eventually(
        "a network of 20 pods without the API server",
        async || match kernel::routes(&namespace, kernel::POD_TABLE).await.len() {
            20 => Ok(()),
            others => Err(format!(
                "{others} have one\n{}",
                cluster.node(0).log_tail("kubelet")
            )),
        },
    )
    .await;
    cluster.start_api_server().await;
    let pods = running(&cluster, "away", 20).await;
    assert_addresses(&cluster, &pods);
    veni::sound(&cluster, cluster.node(0)).await;
}
