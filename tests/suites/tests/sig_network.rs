//! Kubernetes' own tests of the network on a cluster of Veni's. `make conformance` runs them; no
//! lane does, because they take long. docs/conformance.md says which pass.

#![allow(clippy::expect_used, reason = "a test may stop at the first surprise")]
#![expect(clippy::print_stdout, reason = "what has passed is its output")]

#[expect(dead_code, reason = "the kubernetes lane uses the rest")]
#[path = "kubernetes/veni.rs"]
mod veni;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use veni_testbed::binaries;
use veni_testbed::cluster::{Cluster, ClusterConfig};

/// What is run unless `SPECS` names others: all of the network that each cluster must pass.
const SPECS: &str = r"\[sig-network\].*\[Conformance\]";
/// There is no DNS in the cluster, and most tests of services call them by name.
const WITHOUT: &str = r"\] (DNS|Services) ";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubernetes_own_tests_of_the_network_pass() {
    let mut config = ClusterConfig::new(2);
    config
        .images
        .push(binaries::fetched("conformance", "agnhost.tar"));
    // The tests call node ports from outside of the cluster.
    let group = &mut config.cloud.security_groups[0];
    group.ingress = group.egress.clone();
    let cluster = Cluster::start(config).await;
    veni::install(&cluster, &[("ENABLE_PREFIX_DELEGATION", "true")]).await;
    let specs = std::env::var("SPECS").unwrap_or_default();
    let (specs, without) = match specs.as_str() {
        "" => (SPECS, WITHOUT),
        // Who names tests means them.
        specs => (specs, "^$"),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.json");
    let ended = cluster
        .command(binaries::fetched("conformance", "bin/network.test"))
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(["--provider=local", "--report-dir=", "--ginkgo.no-color"])
        .args(["--ginkgo.succinct", "--ginkgo.timeout=3h"])
        .args(["--ginkgo.focus", specs, "--ginkgo.skip", without])
        .arg("--ginkgo.json-report")
        .arg(&report)
        .stdin(Stdio::null())
        .status()
        .await
        .expect("the tests can be executed");
    let ran = tell(&report);
    assert!(ended.success(), "{ended}");
    assert!(ran > 0, "no test is called {specs}");
    assert_eq!(cluster.forged().await, 0, "packets of another's source");
    for node in cluster.nodes() {
        veni::sound(&cluster, node).await;
    }
}

/// Prints a line for each test that has run. Returns how many have.
fn tell(report: &Path) -> usize {
    let text = std::fs::read_to_string(report).expect("a report");
    let suites: Value = serde_json::from_str(&text).expect("is JSON");
    let specs = suites[0]["SpecReports"].as_array().expect("specs");
    let mut ran = 0;
    for spec in specs.iter().filter(|spec| spec["LeafNodeType"] == "It") {
        let state = spec["State"].as_str().unwrap_or_default();
        if state == "skipped" && spec["Failure"]["Message"].is_null() {
            continue; // Nobody has asked for it.
        }
        let part = |texts: &Value| {
            let texts = texts.as_array().into_iter().flatten();
            texts
                .filter_map(|text| Some(text.as_str()?.to_owned()))
                .collect::<Vec<_>>()
        };
        let mut name = part(&spec["ContainerHierarchyTexts"]);
        name.extend(spec["LeafNodeText"].as_str().map(str::to_owned));
        let took = Duration::from_nanos(spec["RunTime"].as_u64().unwrap_or_default());
        println!("{state} {took:.0?} {}", name.join(" "));
        ran += usize::from(state != "skipped");
    }
    ran
}
