//! Multus as the nodes' network, which asks Veni for pods' first interface and for further ones.

use std::net::IpAddr;

use serde_json::{Value, json};
use veni_testbed::binaries;
use veni_testbed::cluster::{Cluster, ClusterConfig, Machine};
use veni_testbed::kernel;
use veni_testbed::traffic::reaches;

use crate::objects::{Pod, assert_addresses, deployment, gone, idle, running};
use crate::veni;

/// Where Multus tells what a pod has.
const STATUS: &str = "k8s.v1.cni.cncf.io/network-status";
/// Where a pod asks for further interfaces.
const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_get_interfaces_beside_their_first_by_multus() {
    let cluster = Cluster::start(ClusterConfig::new(2)).await;
    for node in cluster.nodes() {
        install(&cluster, node);
    }
    define_network(&cluster).await;
    veni::install(&cluster, &[]).await;
    let mut double = deployment("double", 2, None, idle());
    double["spec"]["template"]["metadata"]["annotations"] = json!({ NETWORKS: "vpc" });
    let single = deployment("single", 1, None, idle());
    cluster.apply(&json!([double, single])).await;

    let pods = running(&cluster, "double", 2).await;
    assert_ne!(pods[0].node, pods[1].node);
    let mut further = Vec::new();
    for pod in &pods {
        let told = told(&cluster, pod).await;
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], ("eth0".to_owned(), pod.address));
        assert_eq!(told[1].0, "net1");
        let namespace = pod.namespace(&cluster).await;
        let there = kernel::addresses(&namespace).await;
        assert!(told.iter().all(|one| there.contains(one)), "{there:?}");
        further.push(Pod {
            address: told[1].1,
            ..pod.clone()
        });
    }
    assert_addresses(&cluster, &[&pods[..], &further[..]].concat());
    for (from, to) in [(0, 1), (1, 0)] {
        let namespace = pods[from].namespace(&cluster).await;
        for address in [pods[to].address, further[to].address] {
            assert!(reaches(&namespace, address).await, "{address} of {pods:?}");
        }
    }
    let forged = cluster.forged().await;
    assert_eq!(forged, 0, "packets of another interface's source");
    let alone = running(&cluster, "single", 1).await.remove(0);
    let told = told(&cluster, &alone).await;
    assert_eq!(told, [("eth0".to_owned(), alone.address)]);

    cluster
        .must(&["delete", "deployment", "double", "single"])
        .await;
    gone(&cluster, "double").await;
    gone(&cluster, "single").await;
    for node in cluster.nodes() {
        veni::nothing_of_pods(node).await;
        veni::sound(&cluster, node).await;
    }
}

/// Puts Multus in front of Veni on a node, before Veni is there.
fn install(cluster: &Cluster, node: &Machine) {
    let plugin = binaries::fetched("multus", "bin/multus");
    std::fs::copy(plugin, node.file("/opt/cni/bin/multus")).expect("the plugin can be installed");
    let of_veni = "/etc/cni/net.d/10-veni.conflist";
    let configuration = json!({
        "cniVersion": "1.0.0", "name": "multus", "type": "multus",
        "kubeconfig": cluster.kubeconfig(),
        "clusterNetwork": of_veni, "readinessindicatorfile": of_veni,
        "capabilities": { "portMappings": true },
    });
    // The runtime finds the whole file or none.
    let [unfinished, file] =
        [".multus", "00-multus.conf"].map(|name| node.file(&format!("/etc/cni/net.d/{name}")));
    std::fs::write(&unfinished, configuration.to_string()).expect("it can be written");
    std::fs::rename(&unfinished, file).expect("it can be renamed");
}

/// Makes the kind of Multus' networks, and one that Veni serves.
async fn define_network(cluster: &Cluster) {
    let schema = json!({
        "type": "object",
        "properties": { "spec": {
            "type": "object", "properties": { "config": { "type": "string" } },
        } },
    });
    let name = "network-attachment-definitions.k8s.cni.cncf.io";
    cluster
        .apply(&json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": name },
            "spec": {
                "group": "k8s.cni.cncf.io", "scope": "Namespaced",
                "names": {
                    "plural": "network-attachment-definitions",
                    "singular": "network-attachment-definition",
                    "kind": "NetworkAttachmentDefinition",
                },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": schema },
                }],
            },
        }))
        .await;
    let kind = format!("crd/{name}");
    let established = ["wait", "--for=condition=Established", "--timeout=900s"];
    cluster.must(&[&established[..], &[&kind]].concat()).await;
    let config = json!({ "cniVersion": "0.3.1", "name": "vpc", "type": "veni-cni" });
    cluster
        .apply(&json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": { "name": "vpc" }, "spec": { "config": config.to_string() },
        }))
        .await;
}

/// A pod's interfaces and their addresses, as Multus tells them.
async fn told(cluster: &Cluster, pod: &Pod) -> Vec<(String, IpAddr)> {
    let object = cluster
        .must(&["get", "pod", &pod.name, "--output=json"])
        .await;
    let object: Value = serde_json::from_str(&object).expect("is JSON");
    let text = object["metadata"]["annotations"][STATUS].as_str();
    let text = text.unwrap_or_else(|| panic!("Multus tells nothing of {pod:?}"));
    let told: Value = serde_json::from_str(text).expect("is JSON");
    let mut all = Vec::new();
    for one in told.as_array().expect("is a list") {
        let name = one["interface"].as_str().expect("a name").to_owned();
        let address = one["ips"][0].as_str().expect("an address");
        all.push((name, address.parse().expect("an address")));
    }
    all
}
