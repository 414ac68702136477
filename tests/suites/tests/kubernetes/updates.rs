//! The daemon is replaced, and a node is emptied, while pods talk.

use veni_testbed::cluster::{Cluster, ClusterConfig};
use veni_testbed::traffic::Stream;

use crate::objects::{Pod, deployment, idle, running};
use crate::veni;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_and_its_roll_back_lose_no_packet_of_pods() {
    let cluster = Cluster::start(ClusterConfig::new(2)).await;
    veni::install(&cluster, &[]).await;
    // More than a primary interface has addresses for.
    cluster
        .apply(&deployment("talkers", 24, None, idle()))
        .await;
    let pods = running(&cluster, "talkers", 24).await;
    let of = |node: &str| {
        pods.iter()
            .filter(|pod| pod.node == node)
            .cloned()
            .collect::<Vec<Pod>>()
    };
    let (first, second) = (of("node1"), of("node2"));
    let mut streams = Vec::new();
    for (from, to) in first
        .iter()
        .zip(&second)
        .take(4)
        .chain(second.iter().zip(&first).skip(8).take(4))
    {
        streams.push(Stream::start(&from.namespace(&cluster).await, to.address).await);
    }
    let daemon = &["daemonset/veni", "-n", veni::NAMESPACE][..];
    cluster
        .must(&[&["set", "env"], daemon, &["VENI_AUDIT_INTERVAL=5"]].concat())
        .await;
    veni::rolled_out(&cluster).await;
    cluster.must(&[&["rollout", "undo"], daemon].concat()).await;
    veni::rolled_out(&cluster).await;
    for stream in streams {
        stream.lost_nothing().await;
    }
    for node in cluster.nodes() {
        veni::sound(&cluster, node).await;
    }
    assert_eq!(
        cluster.forged().await,
        0,
        "packets with a source that is not their interface's"
    );
    // The node's pods go elsewhere, and leave nothing.
    cluster
        .must(&[
            "drain",
            "node1",
            "--ignore-daemonsets",
            "--force",
            "--timeout=900s",
        ])
        .await;
    veni::nothing_of_pods(cluster.node(0)).await;
    let moved = running(&cluster, "talkers", 24).await;
    assert!(moved.iter().all(|pod| pod.node == "node2"), "{moved:?}");
}
