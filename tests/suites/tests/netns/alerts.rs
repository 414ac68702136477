//! The example alerts in deploy/metrics, by Prometheus' own promtool, beside what a daemon
//! exposes.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use veni_testbed::cloudlab::enter;
use veni_testbed::{Bed, BedConfig, binaries};

pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/metrics")
}

fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut tool = Command::new(binaries::promtool())
        .args(arguments)
        .current_dir(folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool can be executed");
    let mut stdin = tool.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("is read");
    drop(stdin);
    tool.wait_with_output().expect("ends")
}

fn told(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}

#[test]
fn each_alert_fires_for_its_cause_and_for_nothing_that_a_healthy_node_shows() {
    for arguments in [
        ["check", "rules", "rules.yaml"],
        ["test", "rules", "rules.test.yaml"],
    ] {
        let output = promtool(&arguments, "");
        assert!(output.status.success(), "{}", told(&output));
    }
}

/// The names of metrics in a text.
fn metrics_in(text: &str) -> Vec<&str> {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter| !is_of_name(letter));
    let words = words.filter(|word| word.starts_with("veni_") || word.starts_with("awscni_"));
    words.collect()
}

#[tokio::test]
async fn the_alerts_ask_for_metrics_that_a_daemon_has_and_prometheus_reads_them() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (pod, _) = bed.running(0, "pod").await;
    let exposed = enter(bed.node(0), || scrape("127.0.0.1:61678")).await;
    let exposed = exposed.expect("is served");
    let checked = promtool(&["check", "metrics"], &exposed);
    // 3 is for matters of style: the AWS plugin's names do not end in `_total`.
    let status = checked.status.code();
    assert!(matches!(status, Some(0 | 3)), "{}", told(&checked));
    let rules = std::fs::read_to_string(folder().join("rules.yaml")).expect("the rules");
    let expressions = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr:"));
    let expressions: Vec<&str> = expressions.collect();
    assert!(expressions.len() >= 10, "{expressions:?}");
    for name in expressions.iter().flat_map(|line| metrics_in(line)) {
        // A veth has no allowances of EC2's.
        let name = name.trim_end_matches("_bucket");
        let is_there = exposed.contains(&format!("# TYPE {name} ")) || name.contains("_ena_");
        assert!(is_there, "{name}");
    }
    for line in [
        "veni_conntrack_limit ",
        r#"awscni_assigned_ip_per_eni{eni="#,
        r#"awscni_assigned_ip_per_cidr{cidr="10."#,
    ] {
        assert!(exposed.contains(line), "{line} in\n{exposed}");
    }
    assert!(!exposed.contains("_ena_"), "{exposed}");
    bed.sound(&[&pod]).await;
    bed.end().await;
}

#[test]
fn what_prometheus_cannot_read_is_seen() {
    let checked = promtool(&["check", "metrics"], "no metric{\n");
    assert_eq!(checked.status.code(), Some(1), "{}", told(&checked));
}

fn scrape(address: &str) -> io::Result<String> {
    get(address, "/metrics")
}

/// What a server of HTTP answers for a path.
pub(super) fn get(address: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: node\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(body.to_owned())
}
