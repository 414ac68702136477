//! Veni comes to a cluster, and leaves it.

use std::time::Instant;

use veni_testbed::cluster::{Cluster, ClusterConfig};
use veni_testbed::traffic::reaches;

use crate::objects::{assert_addresses, deployment, gone, idle, running};
use crate::veni;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_become_ready_by_the_manifests_and_are_left_without_a_plugin() {
    let cluster = Cluster::start(ClusterConfig::new(2)).await;
    assert!(!veni::is_ready(
        &cluster.list(&["nodes"]).await.expect("a list")[0]
    ));
    let begun = Instant::now();
    veni::install(&cluster, &[]).await;
    println!(
        "two nodes were ready {:?} after the manifests were applied",
        begun.elapsed()
    );
    cluster.apply(&deployment("pair", 2, None, idle())).await;
    let pods = running(&cluster, "pair", 2).await;
    assert_addresses(&cluster, &pods);
    assert_ne!(pods[0].node, pods[1].node);
    for (from, to) in [(0, 1), (1, 0)] {
        let namespace = pods[from].namespace(&cluster).await;
        assert!(reaches(&namespace, pods[to].address).await, "{pods:?}");
    }
    assert_eq!(
        cluster.forged().await,
        0,
        "packets with a source that is not their interface's"
    );
    cluster.must(&["delete", "deployment", "pair"]).await;
    gone(&cluster, "pair").await;
    for node in cluster.nodes() {
        veni::nothing_of_pods(node).await;
        veni::sound(&cluster, node).await;
    }
    veni::assert_nothing_refused(&cluster);
    let installed = ["/opt/cni/bin/veni-cni", "/etc/cni/net.d/10-veni.conflist"];
    let present = |path: &&str| cluster.nodes().iter().any(|node| node.file(path).exists());
    assert!(
        installed.iter().all(present),
        "the nodes have {installed:?}"
    );
    veni::uninstall(&cluster).await;
    let left: Vec<&&str> = installed.iter().filter(|path| present(path)).collect();
    assert!(left.is_empty(), "{left:?} is left");
}
