//! A node of Veni's beside one of the reference plugin bridge, in turns.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use veni_testbed::binaries;
use veni_testbed::cluster::{Cluster, ClusterConfig, Machine};

use super::watch::Watch;
use crate::objects::{deployment, idle, pod_of};
use crate::veni;

/// Pods that are made one after the other on each node.
const TURNS: usize = 15;
/// Sizes of the deployments.
const SIZES: [usize; 2] = [30, 110];
/// Pods of the job.
const JOB: usize = 100;
/// The nodes' names, and whose pods they have.
const NODES: [(&str, &str); 2] = [("node1", "Veni"), ("node2", "bridge")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_start_and_end_on_a_node_of_veni_s_beside_one_of_the_reference_plugin() {
    let mut config = ClusterConfig::new(2);
    config.pods = 120;
    let cluster = Cluster::start(config).await;
    bridge(&cluster).await;
    let begun = Instant::now();
    veni::install(&cluster, &[("ENABLE_PREFIX_DELEGATION", "true")]).await;
    println!("manifests applied to node ready: {:.1?}", begun.elapsed());
    one_after_the_other(&cluster).await;
    let node = cluster.node(0);
    let (memory, processor) = daemon(node).await;
    for size in SIZES {
        for (node, plugin) in NODES {
            burst(&cluster, size, node, plugin).await;
        }
    }
    let pods: usize = SIZES.iter().sum();
    let (full, after) = daemon(node).await;
    let each = (after - processor) / u32::try_from(pods).expect("few pods");
    println!(
        "daemon: {memory} KiB at first, {full} KiB after {pods} pods, {each:.1?} of a processor for each"
    );
    job(&cluster).await;
}

/// Gives the second node the reference plugin, and keeps Veni's daemon away from it.
async fn bridge(cluster: &Cluster) {
    let label = [
        "label",
        "node",
        "node2",
        "--overwrite",
        "kubernetes.io/os=other",
    ];
    cluster.must(&label).await;
    let node = cluster.node(1);
    for plugin in ["bridge", "host-local"] {
        let from = binaries::reference_plugins().join(plugin);
        fs::copy(from, node.file(&format!("/opt/cni/bin/{plugin}"))).expect("it can be copied");
    }
    let configuration = json!({
        "cniVersion": "1.0.0", "name": "bridge",
        "plugins": [{
            "type": "bridge", "bridge": "cni0", "isGateway": true,
            "ipam": { "type": "host-local", "subnet": "10.244.0.0/24", "routes": [{ "dst": "0.0.0.0/0" }] },
        }],
    });
    let [unfinished, file] =
        [".bridge", "10-bridge.conflist"].map(|name| node.file(&format!("/etc/cni/net.d/{name}")));
    fs::write(&unfinished, configuration.to_string()).expect("it can be written");
    fs::rename(&unfinished, file).expect("it can be renamed");
}

/// From the pod's being made to its address, as a watch tells of both.
async fn one_after_the_other(cluster: &Cluster) {
    let mut watch = Watch::start(cluster, "single").await;
    let mut took = [Vec::new(), Vec::new()];
    for turn in 0..TURNS {
        for ((node, _), took) in NODES.iter().zip(&mut took) {
            let name = format!("single-{node}-{turn}");
            let mut spec = pod_of(idle());
            spec["nodeSelector"] = json!({ "kubernetes.io/hostname": node });
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": { "name": name, "labels": { "app": "single" } }, "spec": spec,
            });
            cluster.apply(&pod).await;
            watch.all(1, "an address", |pod| pod.addressed).await;
            took.push(watch.span(|pod| pod.made, |pod| pod.addressed));
            cluster
                .must(&["delete", "pod", &name, "--wait=false"])
                .await;
            watch.all(1, "the end", |pod| pod.gone).await;
            watch.clear();
        }
    }
    for ((_, plugin), mut took) in NODES.iter().zip(took) {
        took.sort_unstable();
        println!(
            "pod made to its address, {plugin}: {}",
            veni::summary(&took)
        );
    }
}

/// From the first pod that is made to the last that is ready, and to the last that is gone.
async fn burst(cluster: &Cluster, pods: usize, node: &str, plugin: &str) {
    let name = format!("burst-{node}-{pods}");
    let mut watch = Watch::start(cluster, &name).await;
    let mut many = deployment(&name, pods, Some(node), idle());
    // Without it, the API forgets a pod before its node has ended it.
    many["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(1);
    cluster.apply(&many).await;
    watch.all(pods, "ready pods", |pod| pod.ready).await;
    let up = watch.span(|pod| pod.made, |pod| pod.ready);
    let begun = Instant::now();
    cluster
        .must(&["delete", "deployment", &name, "--wait=false"])
        .await;
    watch.all(pods, "their end", |pod| pod.gone).await;
    let down = begun.elapsed();
    println!("{pods} pods, {plugin}: up {up:.1?}, down {down:.1?}");
    if plugin == "Veni" {
        let took = veni::add_times(cluster, &format!("{name}-")).await;
        println!(
            "{pods} pods, their ADDs in the daemon: {}",
            veni::summary(&took)
        );
    }
}

/// A hundred pods of one job at once, and what the daemons ask the API server meanwhile.
async fn job(cluster: &Cluster) {
    let mut worker = idle();
    worker["command"] = json!(["true"]);
    let mut spec = pod_of(worker);
    spec["restartPolicy"] = json!("Never");
    spec["nodeSelector"] = json!({ "kubernetes.io/hostname": NODES[0].0 });
    let asked = veni::requests(cluster);
    cluster
        .apply(&json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "storm" },
            "spec": {
                "completions": JOB, "parallelism": JOB, "backoffLimit": 0,
                "template": { "metadata": { "labels": { "app": "storm" } }, "spec": spec },
            },
        }))
        .await;
    let complete = ["--for=condition=Complete", "--timeout=900s"];
    cluster
        .must(&[&["wait", "job/storm"], &complete[..]].concat())
        .await;
    let asked = veni::requests(cluster) - asked;
    let took = veni::add_times(cluster, "storm-").await;
    println!(
        "a job of {JOB} pods, their ADDs in the daemon: {}",
        veni::summary(&took)
    );
    println!("the daemons asked the API server {asked} times meanwhile");
}

/// Resident memory (KiB) and processor time of a node's daemon.
async fn daemon(node: &Machine) -> (u64, Duration) {
    let pid = node.processes("ipamd").await.remove(0);
    let read = |file: &str| {
        fs::read_to_string(node.file(&format!("/proc/{pid}/{file}"))).expect("the daemon runs")
    };
    let status = read("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let memory = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    // Nanoseconds on a processor, of each thread.
    let threads = node.file(&format!("/proc/{pid}/task"));
    let threads = fs::read_dir(threads).expect("the daemon runs").flatten();
    let spent = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    (memory.expect("a number"), Duration::from_nanos(spent.sum()))
}
