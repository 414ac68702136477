//! A daemon on a cluster: the pool is filled for pods as soon as they are bound to the node, the
//! node's object steers the pool, operators see the node and its pods at the API, and nothing
//! depends on the API.

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
    start_daemon_with(bed, &[]).await;
}

async fn start_daemon_with(bed: &Bed, more: &[(&str, &str)]) {
    let kubeconfig = bed.folder().join("kubeconfig").display().to_string();
    let settings = [&[("KUBECONFIG", kubeconfig.as_str())], more].concat();
    bed.daemon(0).start_with(&settings).await;
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

/// The node's object, as the API has it.
fn node_at(api: &ApiServer) -> Value {
    let nodes = api.objects(Kind::Node);
    nodes.into_iter().next().expect("the node")
}

/// The condition that the daemon keeps; null where there is none.
fn condition(api: &ApiServer) -> Value {
    let node = node_at(api);
    let conditions = node["status"]["conditions"].as_array().cloned();
    let own = |one: &Value| one["type"] == "NetworkAddressesAvailable";
    conditions
        .unwrap_or_default()
        .into_iter()
        .find(own)
        .unwrap_or_default()
}

/// Waits until the API shows what a test wants to see.
async fn shows(bed: &Bed, what: &str, seen: impl Fn() -> Result<(), Value>) {
    eventually(what, async || {
        seen().map_err(|found| format!("{found}: {}", bed.daemon(0).log_tail()))
    })
    .await;
}

#[tokio::test]
async fn a_node_that_serves_pods_shows_it_and_loses_its_startup_taint() {
    let (bed, api) = cluster().await;
    let mut tainted = node();
    let taint = |key: &str| json!({ "key": key, "effect": "NoSchedule" });
    tainted["spec"]["taints"] = json!([taint("veni.dev/not-ready"), taint("other")]);
    let ready = json!({ "type": "Ready", "status": "False" });
    tainted["status"]["conditions"] = json!([ready]);
    api.put(Kind::Node, tainted);
    start_daemon(&bed).await;
    shows(&bed, "one taint is left", || {
        let node = node_at(&api);
        match node["spec"]["taints"] == json!([taint("other")]) {
            true => Ok(()),
            false => Err(node),
        }
    })
    .await;
    shows(&bed, "the condition", || {
        let condition = condition(&api);
        match (condition["status"] == "True") && condition["reason"] == "AddressesAvailable" {
            true => Ok(()),
            false => Err(condition),
        }
    })
    .await;
    let conditions = &node_at(&api)["status"]["conditions"];
    assert_eq!(conditions[0], ready, "others' conditions stay");
    shows(&bed, "the summary", || {
        let summaries = api.objects(Kind::NodeNetwork);
        let summary = summaries.first().cloned().unwrap_or_default();
        let owner = &summary["metadata"]["ownerReferences"][0]["uid"];
        let is_right = summary["metadata"]["name"] == NODE
            && *owner == node_at(&api)["metadata"]["uid"]
            && summary["status"]["state"] == "AddressesAvailable";
        if is_right { Ok(()) } else { Err(summary) }
    })
    .await;
    // SIGTERM and a restart take nothing back.
    bed.daemon(0).terminate().await;
    let condition = condition(&api);
    assert_eq!(condition["status"], "True", "{condition}");
    bed.end().await;
}

#[tokio::test]
async fn a_pod_that_gets_no_address_has_an_event_and_the_node_a_condition() {
    let (bed, api) = cluster().await;
    api.put(Kind::Node, node());
    // A single pod, and no address for another one.
    start_daemon_with(&bed, &[("MAX_PODS", "1"), ("VENI_ADD_WAIT", "1")]).await;
    let (first, _) = bed.running(0, "first").await;
    let second = bed.pod(0, "second").await;
    bed.add(&second).await.expect_err("the node is full");
    shows(&bed, "the pod's event", || {
        let events = api.objects(Kind::Event);
        let of_pod = |event: &&Value| event["regarding"]["name"] == second.name();
        let found = events.iter().find(of_pod).cloned().unwrap_or_default();
        let is_right = found["reason"] == "NoAddress" && found["type"] == "Warning";
        if is_right { Ok(()) } else { Err(json!(events)) }
    })
    .await;
    shows(&bed, "the condition, and an event of the node", || {
        let (condition, events) = (condition(&api), api.objects(Kind::Event));
        let of_node = |event: &Value| event["regarding"]["kind"] == "Node";
        let is_told = events
            .iter()
            .any(|event| of_node(event) && event["reason"] == "NodeIsFull");
        let is_right = condition["status"] == "False" && condition["reason"] == "NodeIsFull";
        if is_right && is_told {
            Ok(())
        } else {
            Err(json!([condition, events]))
        }
    })
    .await;
    bed.del(&first).await.expect("is deleted");
    shows(&bed, "the condition is over", || {
        let condition = condition(&api);
        if condition["status"] == "True" {
            Ok(())
        } else {
            Err(condition)
        }
    })
    .await;
    bed.end().await;
}

#[tokio::test]
async fn the_node_s_object_sets_the_warm_pool_while_the_daemon_runs() {
    let (bed, api) = cluster().await;
    api.put(Kind::Node, node());
    start_daemon(&bed).await;
    becomes(&bed, 1, "WARM_IP_TARGET of the environment").await;
    let mut annotated = node();
    annotated["metadata"]["annotations"] = json!({ "veni.dev/warm-ip-target": "4" });
    api.put(Kind::Node, annotated.clone());
    becomes(&bed, 4, "the node's annotation").await;
    let text = status(&bed).await;
    let told = "WARM_IP_TARGET=4 (the node's annotation)";
    assert!(text.contains(told), "{text}");
    annotated["metadata"]["annotations"] = json!({ "veni.dev/warm-ip-target": "some" });
    api.put(Kind::Node, annotated);
    becomes(&bed, 1, "the environment's value stands in for a wrong one").await;
    let text = status(&bed).await;
    assert!(
        text.contains("veni.dev/warm-ip-target=some: must be"),
        "{text}"
    );
    bed.end().await;
}

#[tokio::test]
async fn pods_addresses_are_annotated_and_no_add_waits_for_an_api_that_does_not_answer() {
    let (bed, api) = cluster().await;
    api.put(Kind::Node, node());
    for name in ["early", "late"] {
        api.put(Kind::Pod, bound(name, NODE));
    }
    start_daemon_with(&bed, &[("ANNOTATE_POD_IP", "true")]).await;
    let annotation = |name: &str| {
        let pods = api.objects(Kind::Pod).into_iter();
        let mut named = pods.filter(|pod| pod["metadata"]["name"] == name);
        let pod = named.next().expect("the pod");
        pod["metadata"]["annotations"]["vpc.amazonaws.com/pod-ips"].clone()
    };
    let is = |name: &'static str, wanted: String| {
        move || match annotation(name) {
            found if found == wanted.as_str() => Ok(()),
            found => Err(found),
        }
    };
    let (early, added) = bed.running(0, "early").await;
    let address = added.address().to_string();
    shows(&bed, "the annotation", is("early", address)).await;
    // From here on the API swallows requests.
    api.silent(true);
    let asked = api.asked().len();
    let (late, added) = bed.running(0, "late").await;
    assert_eq!(api.given_up(), 0, "the ADD has waited for no request");
    shows(&bed, "the write is tried all the same", || {
        let since = api.asked().split_off(asked);
        let is_tried = |one: &String| one.starts_with("PATCH") && one.ends_with("/pods/late");
        match since.iter().any(is_tried) {
            true => Ok(()),
            false => Err(json!(since)),
        }
    })
    .await;
    shows(&bed, "that it is given up would be seen", || {
        match api.given_up() {
            0 => Err(Value::Null),
            _ => Ok(()),
        }
    })
    .await;
    assert_eq!(annotation("late"), Value::Null);
    bed.del(&early).await.expect("is deleted");
    api.silent(false);
    let address = added.address().to_string();
    shows(&bed, "the annotation that was missed", is("late", address)).await;
    shows(&bed, "an empty one", is("early", String::new())).await;
    bed.sound(&[&late]).await;
    bed.end().await;
}
