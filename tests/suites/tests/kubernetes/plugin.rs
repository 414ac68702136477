//! `kubectl veni`, found and executed by the real kubectl.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;
use veni_testbed::binaries;
use veni_testbed::cluster::{Cluster, ClusterConfig, eventually};

use crate::objects::{deployment, idle, running};
use crate::veni;

/// Of the daemons and of the tool.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A folder that has the tool as kubectl's plugin.
fn plugins() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    symlink(binaries::veni(), folder.path().join("kubectl-veni")).expect("is made");
    folder
}

/// Calls `kubectl veni`.
async fn called(cluster: &Cluster, plugins: &Path, line: &[&str]) -> Output {
    let mut command = cluster.kubectl_with_plugins(plugins);
    let output = command.arg("veni").args(line).output().await;
    output.expect("kubectl can be executed")
}

/// What it prints; its error where it fails.
async fn told(cluster: &Cluster, plugins: &Path, line: &[&str]) -> Result<String, String> {
    let output = called(cluster, plugins, line).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr) + &text(&output.stdout)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_all_nodes_in_one_table_and_asks_the_daemon_of_each() {
    let cluster = Cluster::start(ClusterConfig::new(2)).await;
    veni::install(&cluster, &[("EXAMPLE_TOKEN", "hidden-from-archives")]).await;
    let plugins = plugins();
    let plugins = plugins.path();
    cluster.apply(&deployment("pair", 2, None, idle())).await;
    let pods = running(&cluster, "pair", 2).await;

    // A summary follows its node within a minute, which others test.
    eventually("a line of each node's daemon", async || {
        let table = told(&cluster, plugins, &[]).await?;
        // NODE VERSION PODS …
        let is_told_of = |name: &str| {
            let mut lines = table.lines().map(str::split_whitespace);
            lines.any(|mut cells| cells.next() == Some(name) && cells.next() == Some(VERSION))
        };
        match cluster.nodes().iter().all(|node| is_told_of(node.name())) {
            true => Ok(()),
            false => Err(table),
        }
    })
    .await;

    for pod in &pods {
        let status = told(&cluster, plugins, &["status", &pod.node, "--json"]).await;
        let status: Value = serde_json::from_str(&status.expect("is told")).expect("is JSON");
        assert!(status.to_string().contains(&pod.name), "{status}");
        let endpoints = told(&cluster, plugins, &["endpoints", "--pod", &pod.name]).await;
        let endpoints = endpoints.expect("is told");
        assert!(endpoints.contains(&pod.address.to_string()), "{endpoints}");
        eventually("agreement on the pod's node", async || {
            let checked = told(&cluster, plugins, &["check", &pod.node]).await?;
            match checked.starts_with("nothing differs") {
                true => Ok(()),
                false => Err(checked),
            }
        })
        .await;
    }
    // Of the command there: clap's, for what cannot be understood.
    let wrong = called(&cluster, plugins, &["check", &pods[0].node, "--no-such"]).await;
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let nobody = told(&cluster, plugins, &["status", "node9"]).await;
    let nobody = nobody.expect_err("there is no such node");
    assert!(
        nobody.contains("no daemon of Veni runs on a node node9"),
        "{nobody}"
    );
    bundle(&cluster, plugins).await;
}

/// An archive has what each node tells, and no secrets.
async fn bundle(cluster: &Cluster, plugins: &Path) {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("bundle.tar.gz");
    let name = archive.to_str().expect("utf-8");
    told(cluster, plugins, &["bundle", "--output", name])
        .await
        .expect("is written");
    let unpacked = std::process::Command::new("tar")
        .arg("-xzf")
        .arg(&archive)
        .arg("-C")
        .arg(folder.path())
        .status();
    assert!(unpacked.expect("tar can be executed").success());
    let read = |path: &str| {
        let path = folder.path().join("veni-bundle").join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    for node in cluster.nodes() {
        for file in [
            "status.json",
            "check.json",
            "config.json",
            "events.jsonl",
            "log.txt",
        ] {
            assert!(
                !read(&format!("nodes/{}/{file}", node.name())).is_empty(),
                "{file}"
            );
        }
    }
    assert!(read("cluster/nodenetworks.json").contains("NodeNetwork"));
    let daemonsets = read("cluster/daemonsets.json");
    assert!(
        daemonsets.contains("EXAMPLE_TOKEN") && daemonsets.contains("(left out)"),
        "{daemonsets}"
    );
    assert!(!daemonsets.contains("hidden-from-archives"), "{daemonsets}");
}
