//! The binary, executed as a runtime executes it, against a daemon in this
//! process that speaks the real protocol. Needs root, because the daemon's
//! socket serves root alone and namespaces are made.
#![allow(
    clippy::expect_used,
    reason = "a test that cannot go on says where and ends"
)]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Answers, Namespace, Node, Plugin, attachment};
use veni_api::failure::{CniFailure, code};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

fn boot_id() -> String {
    let text = std::fs::read_to_string(BOOT_ID).expect("the kernel tells the boot's id");
    text.trim().to_owned()
}

fn notes(run_dir: &Path) -> Vec<Value> {
    let Ok(folder) = std::fs::read_dir(run_dir.join("pending")) else {
        return Vec::new();
    };
    folder
        .map(|entry| {
            let path = entry.expect("entry of the folder").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            assert!(
                name.ends_with(".json") && !name.starts_with('.'),
                "left over: {name}"
            );
            let text = std::fs::read(&path).expect("a readable note");
            serde_json::from_slice(&text).expect("a note is json")
        })
        .collect()
}

#[test]
fn add_passes_the_ports_on_that_the_runtime_wants_to_lead_to_the_pod() {
    let node = Node::serving(Answers::default());
    let pod = Namespace::new();
    let wanted =
        json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    let plugin = Plugin::new(&node, "ADD").netns(&pod);
    let outcome = plugin.config("runtimeConfig", wanted).run();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let seen = node.seen();
    let mapping = &seen.adds[0].port_mappings[0];
    assert_eq!((mapping.host_port, mapping.pod_port), (8080, 80));
    assert_eq!(mapping.protocol, "tcp");
}

#[test]
fn add_passes_the_limits_on_that_the_runtime_asks_for_and_refuses_what_is_none() {
    let node = Node::serving(Answers::default());
    let pod = Namespace::new();
    let add = |bandwidth: Value| {
        let plugin = Plugin::new(&node, "ADD").netns(&pod);
        plugin
            .config("runtimeConfig", json!({ "bandwidth": bandwidth }))
            .run()
    };
    let refused = add(json!({"ingressRate": "10M"}));
    assert_eq!(refused.json()["code"], 7, "{refused:?}");
    let outcome = add(json!({"IngressRate": 10_000_000, "EgressRate": 0}));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let seen = node.seen();
    assert_eq!(seen.adds.len(), 1, "what is wrong is not passed on");
    let bandwidth = seen.adds[0].bandwidth.expect("limits");
    assert_eq!(
        (bandwidth.ingress_rate, bandwidth.egress_rate),
        (10_000_000, 0)
    );
}

#[test]
fn add_refuses_ports_that_cannot_be_read_and_names_them_before_it_calls_the_daemon() {
    let node = Node::serving(Answers::default());
    let pod = Namespace::new();
    let wrong =
        json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "ip"}]});
    let plugin = Plugin::new(&node, "ADD").netns(&pod);
    let outcome = plugin.config("runtimeConfig", wrong.clone()).run();
    assert_ne!(outcome.code, 0);
    let text = format!("{outcome:?}");
    assert!(
        text.contains("runtimeConfig.portMappings[0].protocol"),
        "{text}"
    );
    assert!(node.seen().adds.is_empty());
    let plugin = Plugin::new(&node, "DEL").netns(&pod);
    let outcome = plugin.config("runtimeConfig", wrong).run();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn add_passes_the_namespace_it_was_given_and_prints_the_daemons_answer() {
    let node = Node::serving(Answers::default());
    let pod = Namespace::new();
    let outcome = Plugin::new(&node, "ADD").netns(&pod).run();
    assert_eq!(outcome.code, 0, "{outcome:?}");

    let seen = node.seen();
    assert_eq!(
        seen.namespaces,
        [Some(pod.inode())],
        "the descriptor is the pod's namespace"
    );
    let request = &seen.adds[0];
    assert_eq!(request.attachment, Some(attachment("eth0")));
    assert_eq!((request.mtu, request.is_default_gateway), (1400, None));
    let pod_told = request.pod.clone().expect("the pod of CNI_ARGS");
    assert_eq!(
        (
            pod_told.namespace.as_str(),
            pod_told.name.as_str(),
            pod_told.uid.as_str()
        ),
        ("default", "web-0", "u-1")
    );
    assert_eq!(seen.deadlines, ["90000000u"]);

    let result = outcome.json();
    assert_eq!(result["ips"][0]["address"], "10.0.1.7/32");
    assert_eq!(
        result["interfaces"][1],
        json!({"name": "eth0", "mac": "0a:00:00:00:00:02", "sandbox": pod.path()})
    );
    assert_eq!(result["dns"], json!({"nameservers": ["10.0.0.2"]}));
}

#[test]
fn add_passes_on_whether_the_interface_takes_the_default_route() {
    let node = Node::serving(Answers::default());
    let pod = Namespace::new();
    for given in [true, false] {
        let outcome = Plugin::new(&node, "ADD")
            .netns(&pod)
            .variable("CNI_IFNAME", "net1")
            .config("isDefaultGateway", json!(given))
            .run();
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    let seen = node.seen();
    let passed: Vec<_> = seen.adds.iter().map(|add| add.is_default_gateway).collect();
    assert_eq!(passed, [Some(true), Some(false)]);
}

#[test]
fn the_inode_of_another_namespace_differs_so_the_comparison_can_fail() {
    assert_ne!(Namespace::new().inode(), {
        std::fs::metadata("/proc/self/ns/net")
            .expect("own namespace")
            .ino()
    });
}

#[test]
fn a_refusal_of_the_daemon_reaches_the_runtime_with_code_and_details() {
    let refusal = CniFailure::new(
        code::NO_ADDRESS,
        "no address",
        "subnet-1 is full (InsufficientFreeAddressesInSubnet)",
    );
    let node = Node::serving(Answers {
        refusal: Some(refusal),
        ..Answers::default()
    });
    let pod = Namespace::new();
    let outcome = Plugin::new(&node, "ADD").netns(&pod).run();
    assert_eq!(outcome.code, 1);
    assert_eq!(
        outcome.json(),
        json!({
            "cniVersion": "1.0.0", "code": 100, "msg": "no address",
            "details": "subnet-1 is full (InsufficientFreeAddressesInSubnet)",
        })
    );
    assert!(
        outcome.log.contains("no address"),
        "people are told too: {}",
        outcome.log
    );
}

#[test]
fn a_namespace_that_is_none_is_refused_with_its_path() {
    let node = Node::serving(Answers::default());
    let file = node.run_dir().join("file");
    std::fs::write(&file, "").expect("a plain file");
    let missing = node.run_dir().join("missing");
    for (path, reason) in [
        (file.to_str().expect("utf-8"), "is not a namespace"),
        (missing.to_str().expect("utf-8"), "failed to open"),
        ("/proc/self/ns/net", "node's own namespace"),
    ] {
        for command in ["ADD", "CHECK"] {
            let outcome = Plugin::new(&node, command)
                .variable("CNI_NETNS", path)
                .config("prevResult", json!({"ips": [{"address": "10.0.1.7/32"}]}))
                .run();
            assert_eq!(outcome.error_code(), 4, "{command} {path}: {outcome:?}");
            let details = outcome.details();
            assert!(
                details.contains(path) && details.contains(reason),
                "{details}"
            );
        }
    }
    assert!(node.seen().adds.is_empty(), "the daemon was not bothered");
}

#[test]
fn add_without_a_daemon_fails_with_try_again_and_what_to_check() {
    let node = Node::down();
    let pod = Namespace::new();
    let started = Instant::now();
    let outcome = Plugin::new(&node, "ADD").netns(&pod).run();
    // The promise is two seconds; a crowded machine gets the benefit of the doubt.
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(outcome.error_code(), 11);
    let message = outcome.json()["msg"].to_string();
    assert!(message.contains("cni.sock"), "{message}");
    assert!(outcome.details().contains("check that ipamd runs"));
    assert!(notes(node.run_dir()).is_empty());
}

#[test]
fn add_waits_for_a_daemon_that_is_being_restarted() {
    let mut node = Node::down();
    let pod = Namespace::new();
    let child = Plugin::new(&node, "ADD").netns(&pod).spawn();
    node.serve(Answers::default());
    assert_eq!(child.finish().code, 0);
}

#[test]
fn add_is_repeated_when_the_daemon_goes_away_before_it_answers() {
    let node = Node::serving(Answers {
        dropped_connections: 1,
        ..Answers::default()
    });
    let pod = Namespace::new();
    let outcome = Plugin::new(&node, "ADD").netns(&pod).run();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(
        node.seen().namespaces,
        [Some(pod.inode())],
        "with the namespace again"
    );
}

#[test]
fn a_daemon_that_ends_every_connection_is_reported_as_such() {
    let node = Node::serving(Answers {
        dropped_connections: usize::MAX,
        ..Answers::default()
    });
    for command in ["DEL", "GC"] {
        let outcome = Plugin::new(&node, command)
            .config("cniVersion", json!("1.1.0"))
            .config("cni.dev/valid-attachments", json!([]))
            .run();
        assert_eq!(outcome.error_code(), 11, "{command}: {outcome:?}");
    }
    assert!(
        notes(node.run_dir()).is_empty(),
        "only a daemon that is down gets a note"
    );
}

#[test]
fn del_succeeds_in_every_way_a_runtime_calls_it() {
    let node = Node::serving(Answers::default());
    let pod = Namespace::new();
    let result = json!({"ips": [{"address": "10.0.1.7/32"}]});
    let outcomes = [
        Plugin::new(&node, "DEL")
            .netns(&pod)
            .config("prevResult", result)
            .run(),
        Plugin::new(&node, "DEL").variable("CNI_NETNS", "").run(),
        Plugin::new(&node, "DEL").run(),
        Plugin::new(&node, "DEL")
            .variable("CNI_NETNS", "/run/netns/gone")
            .run(),
        Plugin::new(&node, "DEL")
            .config("mtu", json!("wrong"))
            .config("dns", json!(1))
            .config("prevResult", json!("wrong"))
            .config("cniVersion", json!("0.3.1"))
            .run(),
        Plugin::new(&node, "DEL")
            .without("cniVersion")
            .without("type")
            .run(),
    ];
    for (position, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.code, 0, "call {position}: {outcome:?}");
        assert_eq!(outcome.output, "", "call {position}");
    }
    let seen = node.seen();
    assert_eq!(seen.dels.len(), outcomes.len());
    assert!(
        seen.dels
            .iter()
            .all(|del| del.attachment == Some(attachment("eth0")))
    );
    // It comes along where it is there, for a pod that lives on.
    let mut expected = vec![None; outcomes.len()];
    expected[0] = Some(pod.inode());
    assert_eq!(seen.namespaces, expected);
}

#[test]
fn del_of_an_unknown_container_succeeds() {
    let unknown = CniFailure::new(code::UNKNOWN_CONTAINER, "unknown container", "");
    let node = Node::serving(Answers {
        refusal: Some(unknown),
        ..Answers::default()
    });
    assert_eq!(Plugin::new(&node, "DEL").run().code, 0);
}

#[test]
fn an_error_of_the_daemon_makes_del_fail_without_a_note() {
    let refusal = CniFailure::new(code::KERNEL_REFUSED, "failed to remove route", "busy");
    let node = Node::serving(Answers {
        refusal: Some(refusal),
        ..Answers::default()
    });
    assert_eq!(Plugin::new(&node, "DEL").run().error_code(), 101);
    assert!(notes(node.run_dir()).is_empty());
}

#[test]
fn del_without_a_daemon_succeeds_and_leaves_one_note_per_attachment() {
    let node = Node::down();
    for interface in ["eth0", "eth1"] {
        node.journal(&attachment(interface));
    }
    for interface in ["eth0", "eth0", "eth1"] {
        let outcome = Plugin::new(&node, "DEL")
            .variable("CNI_IFNAME", interface)
            .run();
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    let mut found = notes(node.run_dir());
    found.sort_by_key(|note| note["interfaceName"].to_string());
    assert_eq!(found.len(), 2, "{found:?}");
    for (note, interface) in found.iter_mut().zip(["eth0", "eth1"]) {
        let time = note["timeMs"].take().as_u64().expect("a time");
        let uptime = std::fs::read_to_string("/proc/uptime").expect("an uptime");
        let uptime: f64 = uptime
            .split(' ')
            .next()
            .expect("a number")
            .parse()
            .expect("a number");
        let boot = note["bootMs"].take().as_f64().expect("a time") / 1000.0;
        assert!(
            (uptime - 60.0..=uptime + 1.0).contains(&boot),
            "{boot} of {uptime}"
        );
        assert!(time > 1_600_000_000_000, "milliseconds since the epoch");
        assert_eq!(
            *note,
            json!({
                "version": 1, "network": "veni", "containerId": "c1",
                "interfaceName": interface, "timeMs": null, "bootMs": null, "bootId": boot_id(),
            })
        );
    }
    let mode = std::fs::metadata(node.run_dir().join("pending"))
        .expect("the folder")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn del_fails_when_it_can_neither_reach_the_daemon_nor_leave_a_note() {
    let node = Node::down();
    node.journal(&attachment("eth0"));
    std::fs::write(node.run_dir().join("pending"), "a file in the way").expect("a plain file");
    let outcome = Plugin::new(&node, "DEL").run();
    assert_eq!(outcome.error_code(), 5);
    assert!(outcome.details().contains("pending"), "{outcome:?}");
}

#[test]
fn del_without_a_daemon_leaves_no_note_about_what_the_daemon_does_not_have() {
    let node = Node::down();
    // No journal, then one with somebody else's entry.
    for _ in 0..2 {
        let outcome = Plugin::new(&node, "DEL").run();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(!node.run_dir().join("pending").exists());
        node.journal(&attachment("eth1"));
    }
    node.journal(&attachment("eth0"));
    assert_eq!(Plugin::new(&node, "DEL").run().code, 0);
    assert_eq!(
        notes(node.run_dir()).len(),
        1,
        "of what it has there is one"
    );
}

#[test]
fn del_without_a_daemon_leaves_no_note_beside_very_many_but_replaces_its_own() {
    let node = Node::down();
    for interface in ["eth0", "eth1"] {
        node.journal(&attachment(interface));
    }
    assert_eq!(Plugin::new(&node, "DEL").run().code, 0);
    let pending = node.run_dir().join("pending");
    let own = std::fs::read_dir(&pending)
        .expect("a folder")
        .flatten()
        .next();
    let own = own.expect("its note").path();
    std::fs::write(&own, "an older one").expect("a note");
    for number in 0..4096 {
        std::fs::write(pending.join(format!("{number}.json")), "{}").expect("a note");
    }
    let count = || std::fs::read_dir(&pending).expect("a folder").count();
    let before = count();
    let other = Plugin::new(&node, "DEL")
        .variable("CNI_IFNAME", "eth1")
        .run();
    assert_eq!(other.code, 0, "{other:?}");
    assert_eq!(count(), before);
    assert_eq!(Plugin::new(&node, "DEL").run().code, 0);
    assert_eq!(count(), before);
    let text = std::fs::read_to_string(&own).expect("its note");
    assert!(text.contains("eth0"), "{text}");
}

#[test]
fn check_passes_the_addresses_of_prev_result_and_tells_every_difference() {
    let previous = json!({
        "interfaces": [
            {"name": "eni1"}, {"name": "eth0", "sandbox": "/run/netns/x"},
            {"name": "net1", "sandbox": "/run/netns/x"}
        ],
        "ips": [
            {"address": "10.0.1.7/32", "interface": 1},
            {"address": "10.9.9.9/32", "interface": 2},
            {"address": "fd00::7/128", "interface": 1}
        ],
    });
    let pod = Namespace::new();
    let node = Node::serving(Answers::default());
    let check = |node: &Node| {
        Plugin::new(node, "CHECK")
            .netns(&pod)
            .config("prevResult", previous.clone())
            .run()
    };
    let outcome = check(&node);
    assert_eq!((outcome.code, outcome.output.as_str()), (0, ""));
    let seen = node.seen();
    assert_eq!(
        seen.checks[0].expected_addresses,
        ["10.0.1.7/32", "fd00::7/128"]
    );
    assert_eq!(seen.namespaces, [Some(pod.inode())]);

    let broken = Node::serving(Answers {
        differences: vec!["route 10.0.1.7/32 is missing".into(), "eni1 is down".into()],
        ..Answers::default()
    });
    let outcome = check(&broken);
    assert_eq!(outcome.error_code(), 102);
    assert_eq!(
        outcome.details(),
        "route 10.0.1.7/32 is missing; eni1 is down"
    );
}

#[test]
fn gc_passes_the_list_and_refuses_to_work_without_one() {
    let node = Node::serving(Answers::default());
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        let outcome = Plugin::new(&node, "GC")
            .config("cniVersion", json!("1.1.0"))
            .config(key, json!([{"containerID": "c1", "ifname": "eth0"}]))
            .run();
        assert_eq!(outcome.code, 0, "{key}: {outcome:?}");
    }
    let refused = Plugin::new(&node, "GC")
        .config("cniVersion", json!("1.1.0"))
        .run();
    assert_eq!(refused.error_code(), 7);
    assert!(refused.details().contains("cni.dev/valid-attachments"));
    let seen = node.seen();
    assert_eq!(seen.gcs.len(), 2, "the third did not get through");
    for gc in &seen.gcs {
        assert_eq!(gc.network, "veni");
        assert_eq!(gc.valid, [attachment("eth0")]);
    }
}

#[test]
fn gc_with_null_for_the_list_keeps_nothing() {
    let node = Node::serving(Answers::default());
    let outcome = Plugin::new(&node, "GC")
        .config("cniVersion", json!("1.1.0"))
        .config("cni.dev/valid-attachments", json!(null))
        .config("cni.dev/attachments", json!(null))
        .run();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let seen = node.seen();
    assert_eq!(seen.gcs.len(), 1);
    assert_eq!(seen.gcs[0].valid, []);
}

#[test]
fn status_fails_only_until_the_daemon_has_been_ready_in_this_boot() {
    let node = Node::down();
    let status = |node: &Node| {
        Plugin::bare(node, "STATUS")
            .config("cniVersion", json!("1.1.0"))
            .run()
    };
    let ready = node.run_dir().join("ready");
    let never = status(&node);
    assert_eq!(never.error_code(), 50);
    assert!(never.details().contains("check that ipamd runs"));

    std::fs::write(&ready, "of-another-boot\n").expect("ready file");
    assert_eq!(status(&node).error_code(), 50);

    std::fs::write(&ready, format!("{}\n", boot_id())).expect("ready file");
    assert_eq!(
        status(&node).code,
        0,
        "a restart must not make the node unready"
    );

    let starting = Node::serving(Answers {
        refusal: Some(CniFailure::new(code::NOT_AVAILABLE, "starting", "")),
        ..Answers::default()
    });
    assert_eq!(status(&starting).error_code(), 50);
    let serving = Node::serving(Answers::default());
    assert_eq!(status(&serving).code, 0);
}

#[test]
fn version_is_answered_as_podman_asks_for_it() {
    let node = Node::down();
    for input in ["", "{}", r#"{"cniVersion":"0.4.0"}"#, "no json"] {
        let outcome = Plugin::new(&node, "VERSION")
            .variable("CNI_CONTAINERID", "dummy")
            .variable("CNI_IFNAME", "dummy")
            .variable("CNI_NETNS", "dummy")
            .input(input)
            .run();
        assert_eq!(outcome.code, 0, "{input:?}");
        let expected = if input.contains("0.4.0") {
            "0.4.0"
        } else {
            "1.1.0"
        };
        assert_eq!(
            outcome.json(),
            json!({
                "cniVersion": expected,
                "supportedVersions": [
                    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"
                ],
            })
        );
    }
}

#[test]
fn an_answer_that_nobody_reads_is_a_failure() {
    let node = Node::down();
    assert_eq!(
        Plugin::new(&node, "VERSION").run_with_closed_output(),
        Some(1)
    );
}

/// The lines of a log that is there.
fn lines(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).expect("a log");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_failure_gets_one_line_in_the_log_that_the_configuration_names() {
    let refusal = CniFailure::new(code::NO_ADDRESS, "no address", "subnet-1\nis full");
    let node = Node::serving(Answers {
        refusal: Some(refusal),
        ..Answers::default()
    });
    let pod = Namespace::new();
    let log = node.run_dir().join("logs/plugin.log");
    for _ in 0..2 {
        let outcome = Plugin::new(&node, "ADD")
            .netns(&pod)
            .config("pluginLogFile", json!(log))
            .run();
        assert_eq!(outcome.error_code(), 100);
    }
    let lines = lines(&log);
    assert_eq!(lines.len(), 2, "{lines:?}");
    for part in [
        "ADD container=c1",
        "pod=default/web-0",
        r"subnet-1\nis full",
    ] {
        assert!(lines[0].contains(part), "{part} is not in {lines:?}");
    }
}

#[test]
fn a_failure_steers_no_terminal_wherever_it_is_told() {
    let hostile = "a\u{1b}[2J\tb\u{9b}31m\u{202e}c";
    let refusal = CniFailure::new(code::NO_ADDRESS, hostile, hostile);
    let node = Node::serving(Answers {
        refusal: Some(refusal),
        ..Answers::default()
    });
    let pod = Namespace::new();
    let log = node.run_dir().join("plugin.log");
    let outcome = Plugin::new(&node, "ADD")
        .netns(&pod)
        .config("pluginLogFile", json!(log))
        .run();
    let file = std::fs::read_to_string(log).expect("a log");
    let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(
        hostile.contains(steers),
        "the look sees them where they are"
    );
    for told in [&outcome.log, &file, &outcome.output] {
        assert!(!told.contains(steers), "{told:?}");
    }
    for told in [&outcome.log, &file] {
        assert!(told.contains(r"a\u{1b}[2J\tb\u{9b}31m\u{202e}c"), "{told}");
    }
    let answer: serde_json::Value = serde_json::from_str(&outcome.output).expect("json");
    assert_eq!(answer["msg"], hostile, "the runtime has it as it is");
}

#[test]
fn a_call_that_succeeds_gets_a_line_at_level_debug_alone() {
    let node = Node::serving(Answers::default());
    let pod = Namespace::new();
    let log = node.run_dir().join("plugin.log");
    let call = |level: &str| {
        Plugin::new(&node, "ADD")
            .netns(&pod)
            .config("pluginLogFile", json!(log))
            .config("pluginLogLevel", json!(level))
            .run()
    };
    assert_eq!(call("info").code, 0);
    assert!(!log.exists(), "nothing to tell");
    // As the AWS plugin's manifests spell it.
    assert_eq!(call("DEBUG").code, 0);
    let lines = lines(&log);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].ends_with("done"), "{lines:?}");
}

#[test]
fn a_log_that_cannot_be_written_fails_no_call() {
    let node = Node::serving(Answers::default());
    let pod = Namespace::new();
    let outcome = Plugin::new(&node, "ADD")
        .netns(&pod)
        .config("pluginLogFile", json!(node.run_dir()))
        .config("pluginLogLevel", json!("debug"))
        .run();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.log.contains("pluginLogFile"), "{}", outcome.log);
    let fifo = node.run_dir().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).expect("a pipe");
    let outcome = Plugin::new(&node, "DEL")
        .config("pluginLogFile", json!(fifo))
        .config("pluginLogLevel", json!("debug"))
        .run();
    assert_eq!(outcome.code, 0, "a pipe that nobody reads: {outcome:?}");
}
