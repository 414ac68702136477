//! Helm's rendering of the chart, and the daemon's judgement of what it is set to.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use veni_testbed::binaries;

/// A folder or a file below deploy/.
pub(super) fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy")
        .join(path)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What Helm makes of the chart with a values file; its error where it refuses.
pub(super) fn rendered(values: &str) -> Result<String, String> {
    rendered_for("1.34.0", values)
}

/// The same for a version of Kubernetes.
pub(super) fn rendered_for(kubernetes: &str, values: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, values).expect("is written");
    let output = Command::new(binaries::helm())
        .args(["template", "veni"])
        .arg(deploy("chart/veni"))
        .args(["--namespace", "kube-system", "--kube-version", kubernetes])
        .arg("--values")
        .arg(&file)
        .env("HELM_CACHE_HOME", folder.path())
        .output()
        .expect("helm can be executed");
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

/// The variables of the daemon's container whose values the manifest has.
pub(super) fn settings(manifest: &str) -> BTreeMap<String, String> {
    let lines: Vec<&str> = manifest.lines().map(str::trim).collect();
    let pairs = lines.windows(2).filter_map(|pair| {
        let name = pair[0].strip_prefix("- name: ")?;
        let value = pair[1].strip_prefix("value: ")?;
        // Quoted as JSON quotes.
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.to_owned());
        Some((name.to_owned(), value))
    });
    pairs.collect()
}

/// What `ipamd --check-settings` says of them, and whether it accepts them.
pub(super) fn judged(settings: &BTreeMap<String, String>) -> Result<String, String> {
    let output: Output = Command::new(binaries::ipamd())
        .arg("--check-settings")
        .env_clear()
        .envs(settings)
        .output()
        .expect("ipamd can be executed");
    let told = text(&output.stdout) + &text(&output.stderr);
    match output.status.success() {
        true => Ok(told),
        false => Err(told),
    }
}

/// Names with values, as a values file has them under a key.
pub(super) fn block(key: &str, values: &[(&str, &str)]) -> String {
    let mut text = format!("{key}:\n");
    for (name, value) in values {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name}: {}", serde_json::json!(value));
    }
    text
}
