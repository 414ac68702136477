//! The dashboard in deploy/metrics, by a Prometheus that asks a daemon.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Child;
use tokio::time::{Instant, sleep};
use veni_testbed::cloudlab::enter;
use veni_testbed::{Bed, BedConfig, PATIENCE, binaries, eventually};

use super::alerts::{folder, get};

/// In the node's own namespace.
const PROMETHEUS: &str = "127.0.0.1:9090";

const CONFIGURATION: &str = "
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [RULES]
scrape_configs:
  - job_name: veni
    static_configs: [{targets: ['127.0.0.1:61678']}]
";

/// Starts a Prometheus on the bed's only node, with the rules that are shipped.
async fn prometheus(bed: &Bed) -> Child {
    let rules = folder().join("rules.yaml").canonicalize();
    let rules = rules.expect("the rules are there");
    let configuration = CONFIGURATION.replace("RULES", rules.to_str().expect("utf-8"));
    let file = bed.folder().join("prometheus.yml");
    std::fs::write(&file, configuration).expect("is written");
    let log = std::fs::File::create(bed.folder().join("prometheus.log")).expect("is made");
    let argument = |name: &str, path: &Path| format!("{name}={}", path.display());
    let mut command = bed.exec(0, binaries::prometheus());
    command
        .arg(argument("--config.file", &file))
        .arg(argument("--storage.tsdb.path", &bed.folder().join("tsdb")))
        .arg(format!("--web.listen-address={PROMETHEUS}"))
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true);
    command.spawn().expect("prometheus can be executed")
}

/// What it answers; its log where it does not.
async fn asked(bed: &Bed, path: String) -> Result<Value, String> {
    let answered = enter(bed.node(0), move || get(PROMETHEUS, &path)).await;
    let log = || std::fs::read_to_string(bed.folder().join("prometheus.log")).unwrap_or_default();
    let answer = answered.map_err(|error| format!("{error}\n{}", log()))?;
    let answer: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
    match answer["status"] == "success" {
        true => Ok(answer["data"].clone()),
        false => Err(answer.to_string()),
    }
}

/// How many series a query has now.
async fn series(bed: &Bed, query: &str) -> Result<usize, String> {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let answer = asked(bed, format!("/api/v1/query?query={encoded}")).await?;
    let result = answer["result"].as_array();
    result.map(Vec::len).ok_or_else(|| answer.to_string())
}

/// The queries of the dashboard, as Grafana would send them.
fn queries() -> Vec<String> {
    let text = std::fs::read_to_string(folder().join("dashboard.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let expressions = targets.flatten().map(|target| target["expr"].as_str());
    let filled = expressions.map(|expression| {
        let expression = expression.expect("every target has a query");
        let expression = expression.replace("$instance", ".*");
        expression.replace("$__rate_interval", "1m")
    });
    filled.collect()
}

/// Whether only a node of EC2 has what it asks for.
fn is_of_ec2(query: &str) -> bool {
    query.contains("_ena_") || query.contains("awscni_ec2api_")
}

#[tokio::test]
async fn every_query_of_the_dashboard_gets_an_answer_from_a_prometheus_that_asks_a_daemon() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (stays, _) = bed.running(0, "stays").await;
    let mut server = prometheus(&bed).await;
    eventually("a scrape", async || {
        match series(&bed, "veni_waiting_adds").await? {
            0 => Err("no series yet".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    let (goes, _) = bed.running(0, "goes").await;
    bed.del(&goes).await.expect("is deleted");
    let queries = queries();
    assert!(queries.len() > 25, "{queries:?}");
    for query in queries.iter().filter(|query| !is_of_ec2(query)) {
        let until = Instant::now() + PATIENCE;
        // A rate needs two scrapes.
        while series(&bed, query).await.expect("is answered") == 0 {
            assert!(Instant::now() < until, "no data for {query}");
            sleep(Duration::from_millis(100)).await;
        }
    }
    for query in queries.iter().filter(|query| is_of_ec2(query)) {
        let on_a_mock = series(&bed, query).await;
        assert_eq!(on_a_mock, Ok(0), "{query}");
    }
    server.kill().await.expect("ends");
    bed.sound(&[&stays]).await;
    bed.end().await;
}

#[tokio::test]
async fn prometheus_judges_every_alert_of_a_daemon_that_is_well_and_none_fires() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (pod, _) = bed.running(0, "pod").await;
    let mut server = prometheus(&bed).await;
    eventually("judged rules", async || {
        series(&bed, "veni_waiting_adds").await?;
        let told = asked(&bed, "/api/v1/rules".to_owned()).await?;
        let rules = told["groups"][0]["rules"].as_array().cloned();
        let rules = rules.unwrap_or_default();
        let judged = |rule: &Value| rule["health"] == "ok" && rule["state"] == "inactive";
        match rules.len() >= 15 && rules.iter().all(judged) {
            true => Ok(()),
            false => Err(told.to_string()),
        }
    })
    .await;
    server.kill().await.expect("ends");
    bed.sound(&[&pod]).await;
    bed.end().await;
}
