//! A daemon that watches its cluster's API: the pool is filled for pods as soon as they are
//! bound to the node, and nothing depends on the API.

use std::net::IpAddr;

use serde_json::{Value, json};
use veni_provider::Provider;
use veni_testbed::api_server::{ApiServer, Kind};
use veni_testbed::{Bed, BedConfig, binaries, eventually};

/// The name of the node's object.
const NODE: &str = "ip-10-0-0-4";

/// A node whose pool holds one address beyond need, its cluster's API on the node's own
/// loopback, and no daemon yet.
async fn cluster() -> (Bed, ApiServer) {
    let config = BedConfig::new(1)
        .set("WARM_IP_TARGET", "1")
        .set("VENI_RELEASE_DELAY", "0")
        .set("MY_NODE_NAME", NODE);
    let bed = Bed::start_without_daemons(config).await;
    let api = ApiServer::start(bed.node(0)).await;
    let kubeconfig = api.kubeconfig();
    std::fs::write(bed.folder().join("kubeconfig"), kubeconfig.to_string()).expect("a file");
    (bed, api)
}

async fn start_daemon(bed: &Bed) {
    let kubeconfig = bed.folder().join("kubeconfig").display().to_string();
    bed.daemon(0)
        .start_with(&[("KUBECONFIG", &kubeconfig)])
        .await;
    bed.daemon(0).ready().await;
}

fn node() -> Value {
    json!({ "metadata": { "name": NODE, "labels": { "pool": "a" } }, "spec": {} })
}

/// A pod as the scheduler has bound it.
fn bound(name: &str, node: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "test" },
        "spec": { "nodeName": node, "containers": [{ "name": "web", "image": "web" }] },
        "status": { "phase": "Pending" },
    })
}

/// How many secondary addresses the cloud has assigned to the node.
async fn assigned(bed: &Bed) -> usize {
    let provider = bed.lab().cloud().provider(bed.lab().node(0).instance_id());
    let inventory = provider.inventory().await.expect("the inventory");
    let addresses = inventory.interfaces.iter();
    addresses.map(|one| one.addresses.len()).sum()
}

async fn becomes(bed: &Bed, count: usize, because: &str) {
    eventually(because, async || match assigned(bed).await {
        found if found == count => Ok(()),
        found => Err(format!(
            "{found} addresses instead of {count}: {}",
            bed.daemon(0).log_tail()
        )),
    })
    .await;
}

/// What `veni status` warns of.
async fn status(bed: &Bed) -> String {
    let mut command = bed.exec(0, binaries::veni());
    command.arg("status");
    command.arg("--run-dir").arg(bed.daemon(0).run_dir());
    let output = command.output().await.expect("veni runs");
    String::from_utf8(output.stdout)
        .expect("text")
        .replace("\n ", " ")
}

#[tokio::test]
async fn addresses_are_ordered_for_pods_as_soon_as_they_are_bound_to_the_node() {
    let (bed, api) = cluster().await;
    api.put(Kind::Node, node());
    start_daemon(&bed).await;
    becomes(&bed, 1, "one warm address").await;
    let names: Vec<String> = (1..=5).map(|number| format!("web-{number}")).collect();
    for name in &names {
        api.put(Kind::Pod, bound(name, NODE));
    }
    // Neither these: another node's, one on the host's network, one that has ended.
    api.put(Kind::Pod, bound("elsewhere", "ip-10-0-0-5"));
    let mut on_the_host = bound("proxy", NODE);
    on_the_host["spec"]["hostNetwork"] = true.into();
    api.put(Kind::Pod, on_the_host);
    let mut ended = bound("job", NODE);
    ended["status"]["phase"] = "Succeeded".into();
    api.put(Kind::Pod, ended);
    becomes(&bed, 6, "an address for each pod, and the warm one").await;
    // Whoever has its address is not expected any more, whatever the API says.
    let (first, _) = bed.running(0, &names[0]).await;
    let (second, added) = bed.running(0, &names[1]).await;
    let mut running = bound(&names[1], NODE);
    let address: IpAddr = added.address();
    running["status"] = json!({ "phase": "Running", "podIP": address.to_string() });
    api.put(Kind::Pod, running);
    for name in &names[2..] {
        api.delete(Kind::Pod, name);
    }
    becomes(&bed, 3, "two pods and the warm address").await;
    bed.sound(&[&first, &second]).await;
    bed.end().await;
}

#[tokio::test]
async fn without_its_api_a_node_serves_pods_and_says_what_it_misses() {
    let (bed, api) = cluster().await;
    api.away(true);
    api.put(Kind::Pod, bound("web-1", NODE));
    start_daemon(&bed).await;
    let (pod, _) = bed.running(0, "early").await;
    let missed = "is asked again for the node's object and the pods bound to the node";
    eventually("the warning", async || match status(&bed).await {
        text if text.contains(missed) => Ok(()),
        text => Err(text),
    })
    .await;
    becomes(&bed, 2, "a pod and the warm address").await;
    api.away(false);
    becomes(&bed, 3, "an address for the pod that was bound meanwhile").await;
    let none = "the cluster has no node of the name ip-10-0-0-4: set MY_NODE_NAME";
    eventually("another warning", async || match status(&bed).await {
        text if text.contains(none) && !text.contains(missed) => Ok(()),
        text => Err(text),
    })
    .await;
    api.put(Kind::Node, node());
    eventually("no warning", async || match status(&bed).await {
        text if text.contains(none) || text.contains(missed) => Err(text),
        _ => Ok(()),
    })
    .await;
    // What it said last stays in force while it is away, and is made up for afterwards.
    api.away(true);
    api.delete(Kind::Pod, "web-1");
    eventually("the warning", async || match status(&bed).await {
        text if text.contains(missed) => Ok(()),
        text => Err(text),
    })
    .await;
    let (late, _) = bed.running(0, "late").await;
    becomes(&bed, 4, "two pods, one expected, and the warm address").await;
    api.away(false);
    becomes(&bed, 3, "two pods and the warm address").await;
    bed.sound(&[&pod, &late]).await;
    bed.end().await;
}
