//! The runtime lane: containerd 1.6, containerd 2 and podman drive the plugin. Tests make pods
//! on two nodes by CRI, as a kubelet does, by `ctr run --cni` and by `podman run`, with real
//! traffic between them.

#[path = "runtime/containerd.rs"]
mod containerd;
#[path = "runtime/cri.rs"]
mod cri;
#[path = "runtime/line_two.rs"]
mod line_two;
#[path = "runtime/node.rs"]
mod node;
#[path = "runtime/podman.rs"]
mod podman;

use std::net::IpAddr;

use containerd::{Line, write_conflist};
use node::{SandboxPod, Site};
use veni_testbed::{Bed, BedConfig, eventually, kernel};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_two_nodes_have_addresses_of_the_cloud_and_talk_to_each_other() {
    two_nodes_talk(Line::One).await;
}

async fn two_nodes_talk(line: Line) {
    let site = Site::start(line, BedConfig::new(2)).await;
    let (one, two) = tokio::join!(site.pod(0, "one", &[]), site.pod(1, "two", &[]));
    for pod in [&one, &two] {
        site.assert_assigned_by_cloud(pod);
    }
    assert_ne!(one.address, two.address);
    site.serve_http(&two).await;
    site.assert_pings(&one, two.address).await;
    site.assert_pings(&two, one.address).await;
    site.assert_fetches(&one, two.address, 80).await;
    site.end(vec![one, two]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_goes_on_while_ipamd_and_containerd_are_killed() {
    traffic_goes_on_over_kills(Line::One).await;
}

async fn traffic_goes_on_over_kills(line: Line) {
    let mut site = Site::start(line, BedConfig::new(2)).await;
    let one = site.pod(0, "one", &[]).await;
    let two = site.pod(1, "two", &[]).await;
    let stream = site.stream(0, two.address).await;
    let to_first = site.stream(1, one.address).await;
    for node in 0..2 {
        site.bed.daemon(node).kill().await;
        site.bed.daemon(node).start().await;
        site.containerd[node].kill_and_restart().await;
    }
    stream.lost_nothing().await;
    to_first.lost_nothing().await;
    site.assert_pings(&one, two.address).await;
    for pod in [&one, &two] {
        let (address, ready) = site
            .runtime(pod.node)
            .sandbox(&pod.sandbox)
            .await
            .expect("its status");
        assert!(ready, "{} is not ready any more", pod.name);
        assert_eq!(address, pod.address.to_string());
    }
    site.end(vec![one, two]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_stopped_while_ipamd_is_down_gives_its_address_back_later() {
    stopped_while_ipamd_is_down(Line::One).await;
}

async fn stopped_while_ipamd_is_down(line: Line) {
    let site = Site::start(line, BedConfig::new(1)).await;
    let pod = site.pod(0, "one", &[]).await;
    site.bed.daemon(0).kill().await;
    site.runtime(0)
        .remove_sandbox(&pod.sandbox)
        .await
        .expect("DEL succeeds without the daemon");
    site.bed.daemon(0).start().await;
    site.bed.nothing_of_pods(0).await;
    site.bed.sound(&[]).await;
    site.end(Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_fails_while_ipamd_is_down_and_succeeds_afterwards() {
    fails_while_ipamd_is_down(Line::One).await;
}

async fn fails_while_ipamd_is_down(line: Line) {
    let site = Site::start(line, BedConfig::new(1)).await;
    site.bed.daemon(0).kill().await;
    let config = site.sandbox_config("late", &[]);
    let failure = site
        .runtime(0)
        .run_sandbox(&config)
        .await
        .expect_err("ADD fails");
    assert!(
        failure
            .message()
            .contains("failed to connect to the node daemon"),
        "{failure}"
    );
    site.bed.daemon(0).start().await;
    let pod = site.pod(0, "late", &[]).await;
    site.end(vec![pod]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_port_reaches_its_pod_from_another_node() {
    host_port_is_reached(Line::One).await;
}

async fn host_port_is_reached(line: Line) {
    let site = Site::start(line, BedConfig::new(2)).await;
    let pod = site.pod(0, "web", &[(8080, 80)]).await;
    let client = site.pod(1, "client", &[]).await;
    site.serve_http(&pod).await;
    site.assert_fetches(&client, site.bed.node_address(0), 8080)
        .await;
    site.end(vec![pod, client]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_s_annotations_limit_its_bandwidth() {
    annotations_limit(Line::One).await;
}

async fn annotations_limit(line: Line) {
    let site = Site::start(line, BedConfig::new(1)).await;
    let mut config = site.sandbox_config("limited", &[]);
    for (direction, rate) in [("ingress", "10M"), ("egress", "20M")] {
        let annotation = format!("kubernetes.io/{direction}-bandwidth");
        config.annotations.insert(annotation, rate.to_owned());
    }
    let runtime = site.runtime(0);
    let sandbox = runtime.run_sandbox(&config).await;
    let sandbox = sandbox.unwrap_or_else(|error| panic!("{error}\n{}", site.logs(0)));
    let node = site.bed.node(0);
    let qdiscs = kernel::run(node, "tc", &["qdisc", "show"])
        .await
        .expect("listed");
    for (link, rate) in [("dev eni", "rate 10Mbit"), ("dev veni-", "rate 20Mbit")] {
        let limited = |line: &str| line.contains(link) && line.contains(rate);
        assert!(qdiscs.lines().any(limited), "{qdiscs}");
    }
    runtime.remove_sandbox(&sandbox).await.expect("removed");
    site.bed.nothing_of_pods(0).await;
    site.end(Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctr_run_gives_a_container_an_address_and_takes_it_back() {
    let site = Site::start(Line::One, BedConfig::new(1)).await;
    // `ctr` reads its network configuration from this place only, which is
    // private to the lane.
    write_conflist("/etc/cni/net.d".as_ref(), site.bed.daemon(0).run_dir());
    containerd::plugins("/opt/cni/bin".as_ref());
    let ctr = &site.containerd[0];
    let cgroup = node::cgroup("by-ctr");
    let run = [
        "-n",
        "k8s.io",
        "run",
        "--detach",
        "--cni",
        "--cgroup",
        &cgroup,
        containerd::IMAGE,
        "by-ctr",
        "sleep",
        "1000",
    ];
    ctr.ctr(&run).await.expect("the container runs");
    let routes = kernel::routes(site.bed.node(0), kernel::POD_TABLE).await;
    let address = routes
        .first()
        .and_then(kernel::Route::address)
        .expect("a pod route");
    assert!(veni_testbed::traffic::reaches(site.bed.node(0), address).await);
    let kill = ["-n", "k8s.io", "task", "delete", "--force", "by-ctr"];
    ctr.ctr(&kill).await.expect("the task ends");
    ctr.ctr(&["-n", "k8s.io", "containers", "delete", "by-ctr"])
        .await
        .expect("it is removed");
    // `ctr` calls no DEL for a detached container: the daemon finds out itself.
    eventually("a node without pods", async || {
        let left = kernel::of_pods(site.bed.node(0)).await;
        if left.is_empty() {
            Ok(())
        } else {
            Err(left.join(", "))
        }
    })
    .await;
    site.end(Vec::new()).await;
}

/// Addresses that the cloud has assigned to any interface of the node.
fn assigned(site: &Site, pod: &SandboxPod) -> bool {
    assigned_to(&site.bed, pod.node, pod.address)
}

fn assigned_to(bed: &Bed, node: usize, address: IpAddr) -> bool {
    let dump = bed.lab().cloud().dump();
    let node = dump
        .node(bed.lab().node(node).instance_id())
        .expect("the node exists");
    node.interfaces.iter().any(|dump| {
        let interface = &dump.interface;
        interface.addresses.contains(&address)
            || interface
                .prefixes
                .iter()
                .any(|prefix| prefix.contains(&address))
    })
}

fn parse(text: &str) -> IpAddr {
    text.parse()
        .unwrap_or_else(|_| panic!("'{text}' is not an address"))
}
