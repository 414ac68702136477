//! Veni on a cluster: its installation, and what tests ask of it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use veni_testbed::cluster::{Cluster, IMAGE, Machine, POD_IMAGE, eventually};
use veni_testbed::{binaries, kernel};

/// Where its objects are.
pub(crate) const NAMESPACE: &str = "kube-system";
/// Which pods are its daemons.
pub(crate) const SELECTOR: &str = "app.kubernetes.io/name=veni";

/// Installs Veni, with settings of the daemon, and waits until all nodes are ready.
pub(crate) async fn install(cluster: &Cluster, settings: &[(&str, &str)]) {
    cluster.apply_text(&manifests(settings)).await;
    all_ready(cluster).await;
}

/// The same with daemons that the kubelet does not end when they do not answer.
pub(crate) async fn install_unprobed(cluster: &Cluster, settings: &[(&str, &str)]) {
    let shipped = manifests(settings);
    let delay = "initialDelaySeconds: 60\n";
    assert_eq!(
        shipped.matches(delay).count(),
        1,
        "the liveness probe has it"
    );
    let unprobed = shipped.replace(delay, "initialDelaySeconds: 36000\n");
    cluster.apply_text(&unprobed).await;
    all_ready(cluster).await;
}

/// Takes Veni off all nodes, as the chart does it.
pub(crate) async fn uninstall(cluster: &Cluster) {
    cluster
        .must(&["delete", "daemonset", "veni", "-n", NAMESPACE])
        .await;
    let pause = format!("uninstall.pauseImage={POD_IMAGE}");
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/chart/veni");
    let rendered = Command::new(binaries::helm())
        .args(["template", "veni"])
        .arg(chart)
        .args([
            "--namespace",
            NAMESPACE,
            "--kube-version",
            "1.34.0",
            "--set",
            "preset=mock",
        ])
        .args(["--set", "uninstall.enabled=true", "--set", &pause])
        .env("HELM_CACHE_HOME", std::env::temp_dir())
        .output()
        .expect("helm can be executed");
    assert!(rendered.status.success(), "{rendered:?}");
    cluster
        .apply_text(&String::from_utf8_lossy(&rendered.stdout))
        .await;
    let status = [
        "rollout",
        "status",
        "daemonset/veni-uninstall",
        "-n",
        NAMESPACE,
    ];
    let done = cluster
        .kubectl(&[&status[..], &["--timeout=900s"]].concat())
        .await;
    if let Err(error) = done {
        let log = [
            "logs",
            "-n",
            NAMESPACE,
            "daemonset/veni-uninstall",
            "--all-containers",
        ];
        let log = cluster.kubectl(&log).await.unwrap_or_else(|error| error);
        panic!("{error}\n{log}\n{}", why_not_ready(cluster).await);
    }
}

/// Waits until all nodes are ready.
pub(crate) async fn all_ready(cluster: &Cluster) {
    eventually("ready nodes", async || {
        let nodes = cluster.list(&["nodes"]).await?;
        let waiting: Vec<&Value> = nodes.iter().filter(|node| !is_ready(node)).collect();
        match waiting.is_empty() {
            true => Ok(()),
            false => Err(why_not_ready(cluster).await),
        }
    })
    .await;
}

/// Whether the condition `Ready` of a node or a pod is true.
pub(crate) fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// Waits until all daemons are of the newest revision and available.
pub(crate) async fn rolled_out(cluster: &Cluster) {
    let status = [
        "rollout",
        "status",
        "daemonset/veni",
        "-n",
        NAMESPACE,
        "--timeout=900s",
    ];
    if let Err(error) = cluster.kubectl(&status).await {
        panic!("{error}\n{}", why_not_ready(cluster).await);
    }
}

/// Waits until a node's kernel has nothing of pods.
pub(crate) async fn nothing_of_pods(node: &Machine) {
    eventually(
        &format!("the end of what pods had on {}", node.name()),
        async || {
            let left = kernel::of_pods(node.namespace()).await;
            match left.is_empty() {
                true => Ok(()),
                false => Err(left.join(", ")),
            }
        },
    )
    .await;
}

/// Waits until the daemon of a node finds that journal, kernel and cloud agree.
pub(crate) async fn sound(cluster: &Cluster, node: &Machine) {
    eventually(&format!("agreement on {}", node.name()), async || {
        let daemon = daemon_of(cluster, node).await?;
        let check = ["exec", "-n", NAMESPACE, &daemon, "--", "veni", "check"];
        cluster.kubectl(&check).await
    })
    .await;
}

/// Name of the pod of a node's daemon.
///
/// # Errors
/// None is ready.
pub(crate) async fn daemon_of(cluster: &Cluster, node: &Machine) -> Result<String, String> {
    let on_node = format!("spec.nodeName={}", node.name());
    let selected = [
        "pods",
        "-n",
        NAMESPACE,
        "-l",
        SELECTOR,
        "--field-selector",
        &on_node,
    ];
    let pods = cluster.list(&selected).await?;
    let mut ready = pods.iter().filter(|pod| is_ready(pod));
    let name = ready
        .next()
        .and_then(|pod| pod["metadata"]["name"].as_str());
    name.map(str::to_owned)
        .ok_or_else(|| format!("no daemon of {} is ready", node.name()))
}

/// Fails if the API server has refused a request of a daemon: each needs a permission.
pub(crate) fn assert_nothing_refused(cluster: &Cluster) {
    let log = cluster.audit_log();
    assert!(!log.is_empty(), "the daemons have asked nothing");
    let mut refused = log
        .iter()
        .filter(|one| one["responseStatus"]["code"] == 403);
    if let Some(one) = refused.next() {
        panic!(
            "{} {} was refused: {}",
            one["verb"], one["requestURI"], one["responseStatus"]
        );
    }
}

/// How many requests of the daemons the API server has answered.
pub(crate) fn requests(cluster: &Cluster) -> usize {
    let log = cluster.audit_log();
    log.iter()
        .filter(|one| one["stage"] == "ResponseComplete")
        .count()
}

/// How long each ADD of pods whose names begin so took in the daemons, as their logs say: sorted.
pub(crate) async fn add_times(cluster: &Cluster, pods: &str) -> Vec<Duration> {
    let logs = [
        "logs",
        "-n",
        NAMESPACE,
        "-l",
        SELECTOR,
        "-c",
        "ipamd",
        "--tail=-1",
    ];
    let text = cluster.must(&logs).await;
    // Values are quoted.
    let named = format!("pod.name=\"{pods}");
    let of_pods = |line: &&str| line.contains("pod added") && line.contains(&named);
    let mut all: Vec<Duration> = text
        .lines()
        .filter(of_pods)
        .filter_map(|line| {
            let after = line.split(" micros=").nth(1)?;
            let micros = after.split_whitespace().next()?.parse().ok()?;
            Some(Duration::from_micros(micros))
        })
        .collect();
    all.sort_unstable();
    all
}

/// Median, 99th percentile and largest of sorted times.
pub(crate) fn summary(times: &[Duration]) -> String {
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    format!("p50 {:?}, p99 {:?}, slowest {:?}", at(50), at(99), at(100))
}

async fn why_not_ready(cluster: &Cluster) -> String {
    let mut text = String::new();
    for arguments in [
        &["get", "pods", "-A", "-o", "wide"][..],
        &["get", "nodes", "-o", "wide"],
        &[
            "logs",
            "-n",
            NAMESPACE,
            "-l",
            SELECTOR,
            "--tail=20",
            "--prefix",
        ],
        &["get", "events", "-A"],
    ] {
        text += &cluster
            .kubectl(arguments)
            .await
            .unwrap_or_else(|error| error);
    }
    for machine in cluster.nodes() {
        text += &machine.log_tail("kubelet");
    }
    text
}

/// The manifests as they are shipped, with settings of the daemon.
pub(crate) fn manifests(settings: &[(&str, &str)]) -> String {
    let shipped = include_str!("../../../../deploy/manifests/mock.yaml");
    assert!(
        shipped.contains(&format!("image: \"{IMAGE}\"")),
        "another image than the lane's"
    );
    let first = "          env:\n";
    assert_eq!(
        shipped.matches(first).count(),
        1,
        "one container has an environment"
    );
    let mut environment = first.to_owned();
    for (name, value) in settings {
        environment += &format!("            - name: {name}\n              value: \"{value}\"\n");
    }
    shipped.replace(first, &environment)
}
