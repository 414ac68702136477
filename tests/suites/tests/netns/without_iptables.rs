//! Veni neither needs nor executes iptables: a node may have no such program, and no kernel
//! with x_tables.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use veni_testbed::cloudlab::enter;
use veni_testbed::traffic::reaches;
use veni_testbed::{Bed, BedConfig, Death, kernel};

use super::check::check;

/// Programs of iptables, and what loads modules into the kernel.
const PROGRAMS: [&str; 3] = ["iptables", "ip6tables", "xtables"];
const VARIANTS: [&str; 3] = ["", "-nft", "-legacy"];
const ACTIONS: [&str; 3] = ["", "-save", "-restore"];

/// A folder of programs of these names that fail and write down that they were executed.
struct Traps {
    folder: PathBuf,
    executed: PathBuf,
}

impl Traps {
    fn set(bed: &Bed) -> Self {
        let traps = Self {
            folder: bed.folder().join("traps"),
            executed: bed.folder().join("executed"),
        };
        fs::create_dir(&traps.folder).expect("a folder");
        for program in PROGRAMS {
            for variant in VARIANTS {
                for action in ACTIONS {
                    traps.add(&format!("{program}{variant}{action}"));
                }
            }
        }
        traps.add("modprobe");
        traps
    }

    fn add(&self, name: &str) {
        let path = self.folder.join(name);
        let text = format!(
            "#!/bin/sh\necho {name} >>{}\nexit 1\n",
            self.executed.display()
        );
        fs::write(&path, text).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be executed");
    }

    fn path(&self) -> String {
        format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.folder.display())
    }

    fn executed(&self) -> String {
        fs::read_to_string(&self.executed).unwrap_or_default()
    }
}

/// The old tables that the kernel has in a namespace.
async fn old_tables(node: &Path) -> String {
    let read = enter(node, || {
        fs::read_to_string("/proc/thread-self/net/ip_tables_names")
    });
    // A kernel without the old tables has no such file.
    read.await.unwrap_or_default()
}

#[tokio::test]
async fn nothing_of_a_node_s_life_needs_iptables() {
    let bed = Bed::start_without_daemons(BedConfig::new(1).set("ENABLE_V6_EGRESS", "true")).await;
    let node = bed.node(0).to_owned();
    let traps = Traps::set(&bed);
    let path = traps.path();
    let start = async || {
        bed.daemon(0).start_with(&[("PATH", &path)]).await;
        bed.daemon(0).ready().await;
    };
    start().await;
    let ports = json!({ "portMappings": [
        { "hostPort": 8080, "containerPort": 80, "protocol": "tcp" },
    ] });
    let pod = bed.pod(0, "web").await.asking_for(ports);
    let added = bed.add(&pod).await.expect("ADD");
    let internet = bed.lab().internet_addresses()[0];
    assert!(reaches(pod.path(), internet).await);
    bed.check(&pod, &added).await.expect("CHECK");
    check(&bed, &[]).await.sound("without iptables");
    assert_eq!(bed.daemon(0).kill().await, Death::KILLED);
    let flush = ["flush", "ruleset"];
    kernel::run(&node, "nft", &flush).await.expect("flushes");
    start().await;
    assert!(reaches(pod.path(), internet).await);
    // Expressions of x_tables are listed as `xt`.
    let rules = kernel::run(&node, "nft", &["-j", "list", "ruleset"]).await;
    let rules = rules.expect("nft lists");
    assert!(
        rules.contains("snat") && !rules.contains("\"xt\""),
        "{rules}"
    );
    bed.del(&pod).await.expect("DEL");
    bed.daemon(0).terminate().await;
    assert_eq!(traps.executed(), "");
    assert_eq!(old_tables(&node).await, "");
    bed.end().await;
}

#[tokio::test]
async fn iptables_would_have_been_seen() {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let node = bed.node(0).to_owned();
    let traps = Traps::set(&bed);
    let mut command = bed.exec(0, "iptables-legacy");
    let status = command
        .args(["-S"])
        .env("PATH", traps.path())
        .status()
        .await;
    assert!(!status.expect("it is executed").success());
    assert_eq!(traps.executed(), "iptables-legacy\n");
    let listed = kernel::run(&node, "iptables-legacy", &["-S"]).await;
    listed.expect("the old tables are listed");
    assert_eq!(old_tables(&node).await, "filter\n");
    let rule = [
        "-A",
        "INPUT",
        "-m",
        "statistic",
        "--mode",
        "nth",
        "--every",
        "2",
        "--packet",
        "0",
    ];
    let added = kernel::run(&node, "iptables-nft", &rule).await;
    added.expect("a rule of x_tables");
    let rules = kernel::run(&node, "nft", &["-j", "list", "ruleset"]).await;
    assert!(rules.expect("nft lists").contains("\"xt\""));
    bed.end().await;
}
