//! Services of a cluster, whose pods have addresses of secondary interfaces.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde_json::{Value, json};
use veni_testbed::cluster::{Cluster, ClusterConfig, eventually};
use veni_testbed::kube_proxy::ProxyMode;

use crate::objects::{PORT, Pod, ask, deployment, idle, once, running, server};
use crate::veni;

/// A port of each node that leads to all servers.
const NODE_PORT: u16 = 30080;
/// A port of each node that leads to servers on the same node.
const LOCAL_PORT: u16 = 30081;
/// A port of the first node that leads to one server.
const HOST_PORT: u16 = 8080;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_by_nftables_lead_to_pods_on_secondary_interfaces() {
    services_lead_to_pods(ProxyMode::Nftables).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_by_iptables_lead_to_pods_on_secondary_interfaces() {
    services_lead_to_pods(ProxyMode::Iptables).await;
}

async fn services_lead_to_pods(proxy: ProxyMode) {
    let mut config = ClusterConfig::new(2);
    config.proxy = proxy;
    // Three interfaces with three addresses for pods each.
    config.instance_type = "t3.small".to_owned();
    // Hosts outside of the VPC call its node ports.
    let group = &mut config.cloud.security_groups[0];
    group.ingress = group.egress.clone();
    let cluster = Cluster::start(config).await;
    veni::install(&cluster, &[]).await;
    // These take the addresses of the primary interfaces.
    let [first, second] = ["node1", "node2"];
    for (name, node) in [("filler-1", first), ("filler-2", second)] {
        cluster
            .apply(&deployment(name, 3, Some(node), idle()))
            .await;
        running(&cluster, name, 3).await;
    }
    cluster.apply(&deployment("web", 4, None, server())).await;
    let mut ported = server();
    ported["ports"][0]["hostPort"] = json!(HOST_PORT);
    cluster
        .apply(&deployment("ported", 1, Some(first), ported))
        .await;
    cluster
        .apply(&deployment("local", 1, Some(first), server()))
        .await;
    cluster
        .apply(&json!([
            service("web", "web", json!({ "type": "NodePort" }), NODE_PORT),
            service(
                "local",
                "local",
                json!({ "type": "NodePort", "externalTrafficPolicy": "Local" }),
                LOCAL_PORT
            ),
        ]))
        .await;
    let web = running(&cluster, "web", 4).await;
    let local = running(&cluster, "local", 1).await.remove(0);
    let ported = running(&cluster, "ported", 1).await.remove(0);
    for pod in web.iter().chain([&local, &ported]) {
        assert!(
            !on_primary(&cluster, pod),
            "{pod:?} is on a primary interface"
        );
    }
    let outside = cluster.lab().internet().path().to_owned();
    let [node, other] = [0, 1].map(|index| cluster.node(index));

    let cluster_ip = SocketAddr::new(cluster_ip(&cluster, "web").await, PORT);
    let caller = web[0].namespace(&cluster).await;
    // Its own name is among them: a pod that reaches itself by its service.
    all_answer(&caller, cluster_ip, &web).await;
    all_answer(node.namespace(), cluster_ip, &web).await;
    for address in [node.address(), other.address()] {
        all_answer(&outside, SocketAddr::new(address, NODE_PORT), &web).await;
        all_answer(&caller, SocketAddr::new(address, NODE_PORT), &web).await;
    }

    let host = cluster.lab().internet_addresses()[0];
    let answer = ask(&outside, SocketAddr::new(node.address(), LOCAL_PORT)).await;
    assert_eq!((&answer.pod, answer.seen), (&local.name, host));
    let elsewhere = once(&outside, SocketAddr::new(other.address(), LOCAL_PORT)).await;
    assert!(
        elsewhere.is_err(),
        "no server of {second} is behind it: {elsewhere:?}"
    );

    let host_port = SocketAddr::new(node.address(), HOST_PORT);
    for (from, seen) in [
        (outside.as_path(), host),
        (other.namespace(), other.address()),
    ] {
        let answer = ask(from, host_port).await;
        assert_eq!((&answer.pod, answer.seen), (&ported.name, seen));
    }
    let answer = ask(&caller, host_port).await;
    assert_eq!((&answer.pod, answer.seen), (&ported.name, web[0].address));
    assert_eq!(
        cluster.forged().await,
        0,
        "packets with a source that is not their interface's"
    );
}

fn service(name: &str, app: &str, mut spec: Value, node_port: u16) -> Value {
    spec["selector"] = json!({ "app": app });
    spec["ports"] = json!([{ "port": PORT, "targetPort": PORT, "nodePort": node_port }]);
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": spec })
}

async fn cluster_ip(cluster: &Cluster, service: &str) -> IpAddr {
    let path = "jsonpath={.spec.clusterIP}";
    let address = cluster.must(&["get", "service", service, "-o", path]).await;
    address.parse().expect("an address")
}

/// Asks until each of the pods has answered.
async fn all_answer(from: &Path, to: SocketAddr, pods: &[Pod]) {
    let expected: BTreeSet<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
    let mut heard = BTreeSet::new();
    eventually(&format!("answers of all pods behind {to}"), async || {
        for _ in 0..20 {
            heard.insert(once(from, to).await.map_err(|error| error.to_string())?.pod);
        }
        match expected.iter().all(|name| heard.contains(*name)) {
            true => Ok(()),
            false => Err(format!("{heard:?} have answered")),
        }
    })
    .await;
}

/// Whether a pod's address is one of its node's primary interface.
fn on_primary(cluster: &Cluster, pod: &Pod) -> bool {
    let dump = cluster.lab().cloud().dump();
    let node = dump.node(&pod.node).expect("the cloud knows the node");
    let mut interfaces = node.interfaces.iter().map(|one| &one.interface);
    interfaces.any(|one| one.primary && one.addresses.contains(&pod.address))
}
