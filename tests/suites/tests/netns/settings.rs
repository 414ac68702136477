//! The settings of a daemon that runs, as its operator sees them.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use veni_api::v1::{PoolRequest, SettingsRequest};
use veni_testbed::{Bed, BedConfig, binaries};

async fn bed() -> Bed {
    let config = BedConfig::new(1)
        .instance_type("m5.large")
        .set("MY_NODE_NAME", "node-a")
        .set("WARM_IP_TARGET", "3")
        .set("MAX_ENI", "-1")
        .set("VPC_CNI_VERSION", "v1.23.1")
        .set("NETWORK_POLICY_ENFORCING_MODE", "standard")
        .set("WARM_IP_TARGETS", "7");
    Bed::start(config).await
}

fn veni(run_dir: &Path, further: &[&str]) -> Output {
    Command::new(binaries::veni())
        .arg("config")
        .arg("--run-dir")
        .arg(run_dir)
        .args(further)
        .output()
        .expect("veni can be executed")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn json(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a list of settings")
}

#[tokio::test]
async fn veni_config_tells_value_source_default_and_effect_of_every_setting() {
    let bed = bed().await;
    let run_dir = bed.daemon(0).run_dir();
    let mut operator = bed.daemon(0).operator().await.expect("it runs");
    let asked = operator.settings(SettingsRequest {}).await;
    let settings = asked.expect("it answers").into_inner().settings;
    assert_eq!(json(&veni(run_dir, &["--json"])).len(), settings.len());
    let max_eni = &json(&veni(run_dir, &["max_eni", "--json"]))[0];
    assert_eq!(max_eni["value"], "3");
    assert_eq!(max_eni["source"], "limit of m5.large");
    assert_eq!(max_eni["default"], "the instance type's limit");
    let warm = &json(&veni(run_dir, &["WARM_ENI", "--json"]))[0];
    assert_eq!(warm["note"], "not used: WARM_IP_TARGET is set");
    let changed = json(&veni(run_dir, &["--changed", "--json"]));
    let names: Vec<&str> = changed
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert!(names.contains(&"WARM_IP_TARGET"), "{names:?}");
    assert!(!names.contains(&"WARM_ENI_TARGET"), "{names:?}");
    let table = veni(run_dir, &["WARM_IP_TARGET"]);
    let table = text(&table.stdout);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NAME "), "{table}");
    assert!(
        lines[1].starts_with("WARM_IP_TARGET  3      environment  unset    Free"),
        "{table}"
    );
    bed.end().await;
}

#[tokio::test]
async fn the_log_begins_with_version_and_settings_and_says_what_nobody_follows() {
    let bed = bed().await;
    let log = bed.daemon(0).log();
    let lines: Vec<&str> = log.lines().collect();
    assert!(
        lines[0].contains("version=") && lines[0].contains("node=\"node-a\""),
        "{log}"
    );
    assert!(lines[1].contains("effective configuration"), "{log}");
    assert!(lines[1].contains("WARM_IP_TARGET=3 "), "{log}");
    let line = |name: &str| {
        let marked = format!("name=\"{name}\"");
        let found = lines.iter().find(|line| line.contains(&marked));
        found.unwrap_or_else(|| panic!("no line about {name}:\n{log}"))
    };
    assert!(line("VPC_CNI_VERSION").contains("INFO"), "{log}");
    assert!(
        line("NETWORK_POLICY_ENFORCING_MODE").contains("WARN"),
        "{log}"
    );
    assert!(
        line("WARM_IP_TARGETS").contains("did you mean WARM_IP_TARGET?"),
        "{log}"
    );
    let mut operator = bed.daemon(0).operator().await.expect("it runs");
    let pool = operator.pool(PoolRequest {}).await.expect("it answers");
    assert_eq!(pool.into_inner().node_name, "node-a");
    bed.end().await;
}

#[tokio::test]
async fn without_a_daemon_veni_config_says_how_to_see_the_defaults() {
    let folder = tempfile::tempdir().expect("temp folder");
    let output = veni(folder.path(), &[]);
    assert!(!output.status.success());
    let error = text(&output.stderr);
    assert!(error.contains("ipamd --settings"), "{error}");
    assert!(error.contains("ipamd --check-settings"), "{error}");
}
