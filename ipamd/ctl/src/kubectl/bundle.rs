//! `kubectl veni bundle`: an archive for whoever helps. It has what operators may see
//! anyway, without secrets, and notes what could not be had.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use veni_api::timestamp::rfc_3339;
use veni_terminal::{eprintln, println};

use super::client::{DAEMON_SETS, Kubectl, by_node};
use super::redaction::without_secrets;

/// Lines of a daemon's log.
const LOG_LINES: &str = "--tail=20000";

/// What each node's daemon is asked, and the file that gets the answer.
const ASKED: [(&str, &[&str]); 4] = [
    ("status.json", &["status", "--json"]),
    ("check.json", &["check", "--json"]),
    ("config.json", &["config", "--json"]),
    ("events.jsonl", &["events", "--json"]),
];

/// What is archived, and where.
#[derive(Debug, Args)]
pub(super) struct BundleArguments {
    /// Only of these nodes; of all where none is named
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<String>,
    /// The archive; veni-bundle-TIME.tar.gz in this folder if not given
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Files by their names in the archive.
#[derive(Debug, Default)]
struct Bundle {
    files: Vec<(String, Vec<u8>)>,
    missing: Vec<String>,
}

/// Collects and writes.
///
/// # Errors
/// The daemons cannot be listed, or the archive cannot be written.
pub(super) async fn run(kubectl: &Kubectl, asked: &BundleArguments) -> anyhow::Result<ExitCode> {
    let time = rfc_3339(SystemTime::now());
    let pods = kubectl.daemons().await?;
    let mut bundle = Bundle::default();
    let nodes = bundle.of_cluster(kubectl).await;
    let daemons: BTreeMap<String, String> = by_node(&pods).into_iter().collect();
    let known = nodes.iter().chain(daemons.keys()).chain(&asked.nodes);
    let chosen = known.filter(|node| asked.nodes.is_empty() || asked.nodes.contains(node));
    for node in chosen.collect::<BTreeSet<_>>() {
        eprintln!("{node}");
        match daemons.get(node) {
            Some(daemon) => bundle.of_node(kubectl, node, daemon).await,
            None => bundle.lack(&format!("nodes/{node}"), "no daemon of Veni runs there"),
        }
    }
    bundle.take("cluster/pods.json", pods);
    let path = asked.output.clone().unwrap_or_else(|| default_name(&time));
    let lacking = bundle.missing.len();
    let packed = bundle.packed()?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("failed to write {}", path.display()))?;
    file.write_all(&packed)
        .with_context(|| format!("failed to write {}", path.display()))?;
    println!("{}", path.display());
    if lacking > 0 {
        eprintln!("{lacking} parts could not be had: missing.txt in the archive says why");
    }
    Ok(ExitCode::SUCCESS)
}

/// Without colons, which some programs take for a host's name.
fn default_name(time: &str) -> PathBuf {
    let letters = time.chars().take_while(|letter| *letter != '.');
    let plain: String = letters.filter(|letter| *letter != ':').collect();
    PathBuf::from(format!(
        "veni-bundle-{}.tar.gz",
        plain.trim_end_matches('Z')
    ))
}

/// Of a list's objects.
fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    let names = items.filter_map(|item| item["metadata"]["name"].as_str());
    names.map(str::to_owned).collect()
}

impl Bundle {
    /// Answers with the nodes' names, as far as they can be had.
    async fn of_cluster(&mut self, kubectl: &Kubectl) -> Vec<String> {
        let namespace = kubectl.namespace();
        let mut nodes = Vec::new();
        for (file, line) in [
            ("nodenetworks.json", vec!["get", "nodenetworks.veni.dev"]),
            ("nodes.json", vec!["get", "nodes"]),
            (
                "daemonsets.json",
                vec![
                    "get",
                    "daemonsets",
                    "--namespace",
                    namespace,
                    "--selector",
                    DAEMON_SETS,
                ],
            ),
            (
                "eniconfigs.json",
                vec!["get", "eniconfigs.crd.k8s.amazonaws.com"],
            ),
            ("version.json", vec!["version"]),
        ] {
            let name = format!("cluster/{file}");
            match kubectl.objects(&line).await {
                Ok(objects) => {
                    if file == "nodes.json" {
                        nodes = names(&objects);
                    }
                    self.take(&name, objects);
                }
                Err(error) => self.lack(&name, &format!("{error:#}")),
            }
        }
        nodes
    }

    async fn of_node(&mut self, kubectl: &Kubectl, node: &str, daemon: &str) {
        // At once: a daemon that is frozen costs one deadline.
        let [status, check, config, events] = ASKED.map(|(_, line)| kubectl.answered(daemon, line));
        let answers = <[_; 4]>::from(tokio::join!(status, check, config, events));
        for ((file, _), answer) in ASKED.iter().zip(answers) {
            let name = format!("nodes/{node}/{file}");
            match answer {
                Ok(text) => self.take_lines(&name, &text),
                Err(error) => self.lack(&name, &format!("{error:#}")),
            }
        }
        let of = [
            "logs",
            "--namespace",
            kubectl.namespace(),
            daemon,
            LOG_LINES,
        ];
        for (file, further) in [("log.txt", None), ("log-before.txt", Some("--previous"))] {
            let name = format!("nodes/{node}/{file}");
            let line: Vec<&str> = of.into_iter().chain(further).collect();
            match kubectl.text(&line).await {
                Ok(text) => self.files.push((name, text.into_bytes())),
                Err(error) => self.lack(&name, &format!("{error:#}")),
            }
        }
    }

    fn take(&mut self, name: &str, objects: Value) {
        let text = format!("{:#}\n", without_secrets(objects));
        self.files.push((name.to_owned(), text.into_bytes()));
    }

    /// One object, or one a line.
    fn take_lines(&mut self, name: &str, text: &str) {
        if let Ok(object) = serde_json::from_str(text) {
            return self.take(name, object);
        }
        let lines = text.lines().filter(|line| !line.is_empty());
        let objects: Result<Vec<Value>, _> = lines.map(serde_json::from_str).collect();
        match objects {
            Ok(objects) => {
                let lines = objects.into_iter().map(without_secrets);
                let text: String = lines.map(|object| format!("{object}\n")).collect();
                self.files.push((name.to_owned(), text.into_bytes()));
            }
            // What cannot be read cannot be searched for secrets.
            Err(error) => self.lack(name, &format!("the answer is no JSON: {error}")),
        }
    }

    fn lack(&mut self, name: &str, reason: &str) {
        self.missing.push(format!("{name}: {reason}\n"));
    }

    /// The archive: a tar, compressed.
    fn packed(mut self) -> anyhow::Result<Vec<u8>> {
        if !self.missing.is_empty() {
            let text = self.missing.concat();
            self.files
                .push(("missing.txt".to_owned(), text.into_bytes()));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (name, content) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(now.as_ref().map_or(0, std::time::Duration::as_secs));
            let path = format!("veni-bundle/{name}");
            archive
                .append_data(&mut header, path, content.as_slice())
                .with_context(|| format!("failed to archive {name}"))?;
        }
        let compressed = archive.into_inner().context("failed to end the archive")?;
        compressed
            .finish()
            .context("failed to compress the archive")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::path::Path;
    use std::time::Duration;

    use flate2::read::GzDecoder;
    use serde_json::json;

    use super::*;

    fn unpacked(packed: &[u8]) -> BTreeMap<String, String> {
        let mut archive = tar::Archive::new(GzDecoder::new(packed));
        let entries = archive.entries().expect("an archive");
        let read = entries.map(|entry| {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("is text");
            (path, text)
        });
        read.collect()
    }

    #[test]
    fn an_archive_has_what_was_collected_without_secrets_and_names_what_was_not() {
        let mut bundle = Bundle::default();
        let setting = json!({"name": "API_TOKEN", "value": "hidden"});
        bundle.take("cluster/daemonsets.json", json!({"env": [setting]}));
        bundle.take_lines(
            "nodes/n1/events.jsonl",
            "{\"kind\":\"host\"}\n{\"token\":\"hidden\"}\n",
        );
        bundle.take_lines("nodes/n1/status.json", "hidden, and no JSON");
        bundle.lack("nodes/n2", "no daemon of Veni runs there");
        let files = unpacked(&bundle.packed().expect("is packed"));
        assert!(
            files.values().all(|text| !text.contains("hidden")),
            "{files:?}"
        );
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "veni-bundle/cluster/daemonsets.json",
                "veni-bundle/missing.txt",
                "veni-bundle/nodes/n1/events.jsonl",
            ]
        );
        let missing = &files["veni-bundle/missing.txt"];
        assert!(
            missing.contains("nodes/n1/status.json: the answer is no JSON"),
            "{missing}"
        );
        assert!(
            missing.contains("nodes/n2: no daemon of Veni runs there"),
            "{missing}"
        );
        assert_eq!(
            files["veni-bundle/nodes/n1/events.jsonl"].lines().count(),
            2
        );
    }

    /// A kubectl of a cluster of three nodes: the daemon of one answers, that of another is
    /// frozen, and that of the third does not run.
    const CLUSTER: &str = r#"case "$*" in
  *"get pods"*"--selector veni.dev/component=daemon"*) echo '{"items": [
    {"metadata": {"name": "a"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}},
    {"metadata": {"name": "b"}, "spec": {"nodeName": "n2"}, "status": {"phase": "Running"}},
    {"metadata": {"name": "c"}, "spec": {"nodeName": "n3"}, "status": {"phase": "Pending"}}]}' ;;
  *"get nodes "*) echo '{"items": [{"metadata": {"name": "n1"}},
    {"metadata": {"name": "n2"}}, {"metadata": {"name": "n3"}}]}' ;;
  *"get daemonsets"*"--selector veni.dev/component"*) echo '{"items": ["of Veni"]}' ;;
  *"get daemonsets"*) echo '{"items": ["of others"]}' ;;
  *exec*" b "*) exec sleep 1000 ;;
  *exec*) echo '{"answers": true}' ;;
  *logs*) echo 'a line' ;;
  *) echo '{}' ;;
esac
"#;

    async fn bundle_of_cluster(folder: &Path, nodes: &[&str]) -> BTreeMap<String, String> {
        let script = folder.join("kubectl");
        fs::write(&script, CLUSTER).expect("is written");
        let output = folder.join("bundle.tar.gz");
        let asked = BundleArguments {
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            output: Some(output.clone()),
        };
        let kubectl = Kubectl::of_test(&script, Duration::from_secs(15));
        run(&kubectl, &asked).await.expect("is written");
        unpacked(&fs::read(output).expect("is there"))
    }

    #[tokio::test]
    async fn a_node_whose_daemon_is_frozen_or_does_not_run_is_named_beside_what_others_tell() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = bundle_of_cluster(folder.path(), &[]).await;
        let of = |name: &str| files[&format!("veni-bundle/{name}")].as_str();
        assert!(of("nodes/n1/check.json").contains("answers"), "{files:?}");
        assert_eq!(of("nodes/n2/log.txt"), "a line\n");
        let missing: Vec<&str> = of("missing.txt").lines().collect();
        let frozen = missing.iter().filter(|line| {
            line.starts_with("nodes/n2/") && line.ends_with("has not ended within 15s")
        });
        assert_eq!(frozen.count(), ASKED.len(), "{missing:?}");
        let down = "nodes/n3: no daemon of Veni runs there";
        assert!(missing.contains(&down), "{missing:?}");
        assert_eq!(missing.len(), ASKED.len() + 1, "{missing:?}");
        assert!(of("cluster/pods.json").contains("Pending"), "{files:?}");
        let daemonsets = of("cluster/daemonsets.json");
        assert!(daemonsets.contains("of Veni"), "{daemonsets}");
    }

    #[tokio::test]
    async fn nodes_that_are_not_asked_for_are_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = bundle_of_cluster(folder.path(), &["n1", "n9"]).await;
        let missing = &files["veni-bundle/missing.txt"];
        assert_eq!(missing, "nodes/n9: no daemon of Veni runs there\n");
        assert!(files.contains_key("veni-bundle/nodes/n1/status.json"));
    }

    #[test]
    fn an_archive_is_named_after_the_time() {
        let name = default_name("2026-12-01T10:00:00.123Z");
        assert_eq!(name, PathBuf::from("veni-bundle-2026-12-01T100000.tar.gz"));
        assert_eq!(default_name("2026-12-01T10:00:00Z"), name);
    }
}
