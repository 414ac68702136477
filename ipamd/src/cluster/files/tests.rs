//! Files that change while the daemon runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::*;

fn config(subnet: &str) -> String {
    json!({
        "apiVersion": "crd.k8s.amazonaws.com/v1alpha1",
        "kind": "ENIConfig",
        "metadata": { "name": "zone-a" },
        "spec": { "subnet": subnet },
    })
    .to_string()
}

fn node(label: &str) -> String {
    let labels = json!({ "zone": label });
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "labels": labels } }).to_string()
}

/// Files in a folder, and what came of them.
struct Fixture {
    folder: tempfile::TempDir,
    files: Files,
    cluster: Cluster,
    news: ClusterNews,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("eniconfigs.json"), config("subnet-1")).expect("writes");
        fs::write(path("node.json"), node("a")).expect("writes");
        let files = Files::new(CustomNetworkSettings {
            configs: Some(path("eniconfigs.json")),
            node: Some(path("node.json")),
            annotation: String::new(),
            label: String::new(),
        });
        let cluster = Cluster::default();
        files.begin(&cluster).expect("all is right");
        Self {
            folder,
            files,
            cluster,
            news: ClusterNews::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("writes");
    }

    fn read(&self) {
        self.files.read(&self.cluster, &self.news);
    }

    /// The subnet of the ENIConfig, and the node's label.
    fn known(&self) -> (String, String) {
        let view = self.cluster.view();
        let subnet = &view.eni_configs.specs["zone-a"]["subnet"];
        let subnet = subnet.as_str().expect("text").to_owned();
        (subnet, view.node.labels["zone"].clone())
    }

    fn warnings(&self) -> Vec<String> {
        self.news.warnings.get()
    }
}

#[test]
fn files_that_say_the_same_wake_nobody() {
    let fixture = Fixture::new();
    let watch = fixture.cluster.watch();
    fixture.read();
    // Another text, and the same objects.
    fixture.write("node.json", &format!("{}\n\n", node("a")));
    fixture.read();
    assert!(!watch.has_changed().expect("there is a source"));
}

#[test]
fn a_file_that_is_wrong_keeps_what_it_said_until_it_is_right_again() {
    let fixture = Fixture::new();
    let mut events = fixture.news.events.subscribe();
    let half = &config("subnet-2")[..40];
    let file = "VENI_ENI_CONFIG_FILE=";
    for (text, reason) in [
        (half, "is not JSON"),
        ("", "is not JSON"),
        (node("b").as_str(), "must be an ENIConfig"),
    ] {
        fixture.write("eniconfigs.json", text);
        fixture.read();
        fixture.read();
        let warnings = fixture.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let (warning, event) = (&warnings[0], events.try_recv().expect("an event").message);
        assert!(
            warning.starts_with(file) && warning.contains(reason),
            "{warning}"
        );
        assert!(event.starts_with(warning.as_str()), "{event}");
        assert!(events.try_recv().is_err(), "it is told once");
        assert_eq!(fixture.known().0, "subnet-1");
    }
    fixture.write("eniconfigs.json", &config("subnet-2"));
    fixture.read();
    assert_eq!(fixture.known().0, "subnet-2");
    assert_eq!(fixture.warnings(), Vec::<String>::new());
    let event = events.try_recv().expect("an event").message;
    assert_eq!(event, "the file of the ENIConfigs is right again");
}

#[test]
fn a_file_that_is_gone_does_not_keep_the_other_from_being_read() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.path("eniconfigs.json")).expect("is removed");
    fixture.write("node.json", &node("b"));
    fixture.read();
    assert_eq!(fixture.known(), ("subnet-1".to_owned(), "b".to_owned()));
    let warnings = fixture.warnings();
    assert!(warnings[0].contains("failed to read it"), "{warnings:?}");
}

/// As the kubelet changes the files of a volume.
fn point(link: &Path, target: &Path) {
    let new = link.with_extension("new");
    std::os::unix::fs::symlink(target, &new).expect("a link");
    fs::rename(new, link).expect("is replaced");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_a_link_is_pointed_away_from_is_read_in_time() {
    let fixture = Fixture::new();
    fixture.write("other.json", &config("subnet-2"));
    let (mut view, stop) = (fixture.cluster.watch(), CancellationToken::new());
    let run =
        fixture
            .files
            .clone()
            .run(fixture.cluster.clone(), fixture.news.clone(), stop.clone());
    let task = tokio::spawn(run);
    point(
        &fixture.path("eniconfigs.json"),
        &fixture.path("other.json"),
    );
    let changed = tokio::time::timeout(Duration::from_secs(60), view.changed());
    changed.await.expect("in time").expect("there is a source");
    assert_eq!(fixture.known().0, "subnet-2");
    stop.cancel();
    task.await.expect("ends");
}
