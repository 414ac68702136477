//! The plugin on hosts made of temporary folders.

use super::*;

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
            bandwidth_limits: false,
            take_over: false,
        };
        Self { root, order }
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
    let written = node.order.install().expect("installs").written;
    assert_eq!(written.len(), 2);
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
    // Ours makes host ports, and the runtime passes them to plugins that ask for them.
    assert_eq!(
        list["plugins"][0]["capabilities"],
        json!({"portMappings": true})
    );
    assert_eq!(list["plugins"].as_array().map(Vec::len), Some(1));
    assert_eq!(list["cniVersion"], "1.0.0", "all runtimes know it");
    assert_eq!(list["cniVersions"], json!(["1.0.0", "1.1.0"]));
    assert_eq!(node.names(), [INSTALLED_CONFLIST, PLUGIN]);
}

#[test]
fn the_runtime_passes_limits_of_bandwidth_where_it_is_asked_to() {
    let mut node = Node::new();
    for asked in [false, true] {
        node.order.bandwidth_limits = asked;
        node.order.install().expect("installs");
        let plugin = &node.conflist()["plugins"][0];
        assert_eq!(plugin["capabilities"]["bandwidth"] == true, asked);
    }
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
fn the_chain_of_an_earlier_version_is_replaced() {
    let node = Node::new();
    let path = node.root.path().join("net.d").join(INSTALLED_CONFLIST);
    let chain = json!({"plugins": [{"type": PLUGIN}, {"type": "portmap"}]});
    fs::write(&path, chain.to_string()).expect("writes");
    let written = node.order.install().expect("installs").written;
    assert!(written.contains(&path));
    assert_eq!(node.conflist()["plugins"].as_array().map(Vec::len), Some(1));
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
    assert_eq!(node.names(), Vec::<String>::new());
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
    assert_eq!(node.names(), [PLUGIN]);
}

/// A conflist of another network that comes before Veni's.
fn put_other(node: &Node, name: &str) -> PathBuf {
    let path = node.root.path().join("net.d").join(name);
    let list = json!({"name": "other", "plugins": [{"type": "ptp"}]});
    fs::write(&path, list.to_string()).expect("writes");
    path
}

#[test]
fn another_network_s_configuration_that_comes_first_is_named_with_the_cure_and_stays() {
    let node = Node::new();
    let other = put_other(&node, "05-other.conflist");
    put_other(&node, "20-later.conflist");
    let error = node.order.install().expect_err("must be refused");
    assert!(matches!(&error, InstallError::OtherComesFirst(path) if *path == other));
    let text = error.to_string();
    for part in ["05-other.conflist", "VENI_TAKE_OVER", "--take-over"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    let names = ["05-other.conflist", "20-later.conflist", PLUGIN];
    assert_eq!(node.names(), names, "ours would be of no use");
    fs::remove_file(other).expect("removes");
    node.order.install().expect("installs");
    assert!(node.names().contains(&INSTALLED_CONFLIST.to_owned()));
}

#[test]
fn who_is_to_take_over_renames_what_comes_first_and_does_so_again() {
    let mut node = Node::new();
    node.order.take_over = true;
    for life in 1..=2 {
        let other = put_other(&node, "05-other.conflist");
        let later = put_other(&node, "20-later.conflist");
        let changed = node.order.install().expect("installs");
        let aside = other.with_file_name("05-other.conflist.veni_bak");
        assert_eq!(changed.set_aside, [(other, aside)], "in life {life}");
        assert!(later.exists(), "the runtime takes ours before it");
        let again = node.order.install().expect("installs");
        assert_eq!(again, Installed::default(), "in life {life}");
    }
    let conflists = [
        "05-other.conflist.veni_bak",
        INSTALLED_CONFLIST,
        "20-later.conflist",
        PLUGIN,
    ];
    assert_eq!(node.names(), conflists);
}
