//! The plugin on hosts made of temporary folders.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::*;

/// Answers to VERSION.
const NEW: &str = r#"echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}'"#;
const OLD: &str = r#"echo '{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0"]}'"#;

struct Node {
    root: tempfile::TempDir,
    order: Order,
}

impl Node {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("temp folder");
        let folder = |name: &str| {
            let folder = root.path().join(name);
            fs::create_dir(&folder).expect("makes a folder");
            folder
        };
        let image = folder("image").join(PLUGIN);
        fs::write(&image, "version 1").expect("writes the plugin");
        let order = Order {
            plugin: image,
            binaries: Some(folder("bin")),
            configurations: Some(folder("net.d")),
            run_dir: PathBuf::from("/run/elsewhere"),
            mtu: 1500,
            log_file: Some(PathBuf::from("/var/log/plugin.log")),
            log_level: "debug",
        };
        let node = Self { root, order };
        node.put_portmap(NEW);
        node
    }

    /// A plugin that is this script. Written by another process: a file that this one
    /// has open while a test beside it starts something cannot be executed.
    fn put_portmap(&self, script: &str) {
        let path = self.root.path().join("bin/portmap");
        let mut writer = Command::new("sh")
            .args(["-c", r#"rm -f "$0"; cat >"$0"; chmod 755 "$0""#])
            .arg(path)
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut input = writer.stdin.take().expect("a pipe");
        writeln!(input, "#!/bin/sh\n{script}").expect("writes");
        drop(input);
        assert!(writer.wait().expect("ends").success());
    }

    fn offered(&self) -> Vec<String> {
        let list = self.conflist();
        let all = list["cniVersions"].as_array().expect("a list").iter();
        let all: Vec<String> = all
            .map(|one| one.as_str().expect("text").to_owned())
            .collect();
        assert_eq!(list["cniVersion"], all[0]);
        all
    }

    fn installed_plugin(&self) -> PathBuf {
        self.root.path().join("bin").join(PLUGIN)
    }

    fn conflist(&self) -> Value {
        let path = self.root.path().join("net.d").join(INSTALLED_CONFLIST);
        let text = fs::read(path).expect("a conflist");
        serde_json::from_slice(&text).expect("json")
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = ["bin", "net.d"]
            .iter()
            .flat_map(|folder| fs::read_dir(self.root.path().join(folder)).expect("a folder"))
            .map(|entry| entry.expect("an entry").file_name().display().to_string())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn binary_and_configuration_appear_with_the_daemon_s_settings() {
    let node = Node::new();
    let installed = node.order.install().expect("installs");
    assert_eq!(installed.written.len(), 2);
    assert_eq!(installed.warning, None);
    let mode = fs::metadata(node.installed_plugin())
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o755);
    let list = node.conflist();
    assert_eq!(list["plugins"][0]["type"], PLUGIN);
    assert_eq!(list["plugins"][0]["runDir"], "/run/elsewhere");
    assert_eq!(list["plugins"][0]["mtu"], 1500);
    assert_eq!(list["plugins"][0]["pluginLogFile"], "/var/log/plugin.log");
    assert_eq!(list["plugins"][0]["pluginLogLevel"], "debug");
    assert_eq!(list["plugins"][1]["type"], PORTMAP);
    assert_eq!(node.names(), [INSTALLED_CONFLIST, PORTMAP, PLUGIN]);
}

#[test]
fn what_is_right_is_left_alone_and_a_plugin_that_is_open_keeps_its_content() {
    let node = Node::new();
    node.order.install().expect("installs");
    let mut open = File::open(node.installed_plugin()).expect("opens");
    let again = node.order.install().expect("installs again");
    assert_eq!(again, Installed::default());
    fs::write(&node.order.plugin, "version 2").expect("writes");
    let upgraded = node.order.install().expect("upgrades");
    assert_eq!(upgraded.written, [node.installed_plugin()]);
    let mut text = String::new();
    io::Read::read_to_string(&mut open, &mut text).expect("reads");
    assert_eq!(text, "version 1");
    assert_eq!(
        fs::read_to_string(node.installed_plugin()).expect("reads"),
        "version 2"
    );
}

#[test]
fn without_portmap_on_the_host_the_chain_does_without_and_says_so() {
    let node = Node::new();
    fs::remove_file(node.root.path().join("bin/portmap")).expect("removes");
    let installed = node.order.install().expect("installs");
    let warning = installed.warning.expect("a warning");
    assert!(warning.contains("host ports"), "{warning}");
    assert_eq!(node.conflist()["plugins"].as_array().map(Vec::len), Some(1));
    assert_eq!(node.offered(), OFFERED, "ours speaks both");
}

#[test]
fn only_versions_that_portmap_speaks_too_are_offered_and_a_new_one_is_noticed() {
    let node = Node::new();
    for (script, offered) in [
        (OLD, vec!["1.0.0"]),
        (NEW, vec!["1.0.0", "1.1.0"]),
        (
            r#"echo '{"supportedVersions":["0.2.0","0.3.1","0.4.0"]}'"#,
            vec!["0.4.0"],
        ),
        (
            r#"echo '{"supportedVersions":["1.1.0","9.9.9",null,4]}'"#,
            vec!["1.1.0"],
        ),
        (OLD, vec!["1.0.0"]),
    ] {
        node.put_portmap(script);
        let installed = node.order.install().expect("installs");
        assert_eq!(node.offered(), offered, "{script}");
        assert_eq!(installed.warning, None, "{script}");
        assert_eq!(node.conflist()["plugins"][1]["type"], PORTMAP);
    }
}

#[test]
fn a_portmap_that_does_not_answer_leaves_one_version_and_a_clear_word() {
    let node = Node::new();
    let begun = Instant::now();
    for (script, reason) in [
        ("exit 1", "none of the specification"),
        ("echo '<html>'", "none of the specification"),
        (
            "echo '{\"supportedVersions\":\"1.1.0\"}'",
            "none of the specification",
        ),
        ("exec cat /dev/zero", "longer than"),
        ("sleep 1000 & sleep 1000", "no answer in"),
    ] {
        node.put_portmap(script);
        let installed = node.order.install().expect("installs");
        let warning = installed.warning.expect("a warning");
        assert!(
            warning.contains(reason) && warning.contains("portmap"),
            "{script}: {warning}"
        );
        assert_eq!(node.offered(), ["1.0.0"], "{script}");
    }
    // Far less than what the last of them would have taken.
    assert!(begun.elapsed() < Duration::from_secs(100));
    node.put_portmap(NEW);
    let portmap = node.root.path().join("bin/portmap");
    fs::set_permissions(portmap, fs::Permissions::from_mode(0o644)).expect("a mode");
    let warning = node.order.install().expect("installs").warning;
    let warning = warning.expect("a warning");
    assert!(warning.contains("cannot be executed"), "{warning}");
}

#[test]
fn a_portmap_that_speaks_no_version_of_chains_is_left_out() {
    let node = Node::new();
    node.put_portmap(r#"echo '{"supportedVersions":["0.1.0","0.2.0"]}'"#);
    let warning = node.order.install().expect("installs").warning;
    assert!(warning.expect("a warning").contains("no host ports"));
    assert_eq!(node.conflist()["plugins"].as_array().map(Vec::len), Some(1));
    assert_eq!(node.offered(), OFFERED);
}

#[test]
fn without_the_folder_of_plugins_the_oldest_version_is_offered() {
    let mut node = Node::new();
    node.order.binaries = None;
    let installed = node.order.install().expect("installs");
    assert_eq!(installed.warning, None);
    assert_eq!(node.offered(), ["1.0.0"]);
}

#[test]
fn a_missing_folder_or_plugin_is_named_with_the_setting_and_leaves_nothing() {
    let mut node = Node::new();
    node.order.binaries = Some(node.root.path().join("missing"));
    let error = node
        .order
        .install()
        .expect_err("must be refused")
        .to_string();
    assert!(
        error.contains("missing") && error.contains("HOST_CNI_BIN_PATH"),
        "{error}"
    );
    assert_eq!(node.names(), [PORTMAP]);
    node.order.plugin = node.root.path().join("nowhere");
    let error = node
        .order
        .install()
        .expect_err("must be refused")
        .to_string();
    assert!(
        error.contains("nowhere") && error.contains("VENI_PLUGIN_SOURCE"),
        "{error}"
    );
}

#[test]
fn what_a_dead_daemon_has_left_unfinished_is_replaced() {
    let node = Node::new();
    let unfinished = node.root.path().join("bin").join(format!(".{PLUGIN}.new"));
    fs::write(&unfinished, "half").expect("writes");
    node.order.install().expect("installs");
    assert!(!unfinished.exists());
}

#[test]
fn something_else_in_the_plugin_s_place_is_an_error_that_leaves_nothing() {
    let node = Node::new();
    fs::create_dir(node.installed_plugin()).expect("makes a folder");
    let error = node
        .order
        .install()
        .expect_err("must be refused")
        .to_string();
    assert!(error.contains("failed to replace"), "{error}");
    assert_eq!(node.names(), [PORTMAP, PLUGIN]);
}
