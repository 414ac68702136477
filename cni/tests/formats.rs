//! What is printed and what is refused, without a process or a daemon: results
//! of each version, every wrong field and variable, any bytes at all.
#![allow(
    clippy::expect_used,
    reason = "a test that cannot go on says where and ends"
)]

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;
use serde_json::{Value, json};
use veni_api::failure::code;
use veni_api::v1::{AddResponse, Route};
use veni_cni::environment::{Command, Environment};
use veni_cni::netconf::Netconf;
use veni_cni::result;
use veni_cni::version::SpecVersion;

fn dual_stack() -> AddResponse {
    let route = |destination: &str, gateway: &str| Route {
        destination: destination.into(),
        gateway: gateway.into(),
        ..Route::default()
    };
    AddResponse {
        addresses: vec!["10.0.1.7/32".into(), "fd00::7/128".into()],
        gateways: vec!["169.254.1.1".into(), "fe80::1".into()],
        routes: vec![
            route("169.254.1.1/32", ""),
            route("0.0.0.0/0", "169.254.1.1"),
            route("::/0", "fe80::1"),
        ],
        host_interface: "eni12ab".into(),
        host_mac: "0a:00:00:00:00:01".into(),
        pod_mac: "0a:00:00:00:00:02".into(),
        mtu: 9001,
        cloud_interface: "eni-0abc".into(),
    }
}

fn result_in(version: &str, extra: Value) -> Value {
    let mut config = json!({
        "cniVersion": version, "name": "veni", "type": "veni-cni",
        "dns": {"nameservers": ["10.0.0.2"], "search": ["a.internal"], "other": 1},
    });
    for (key, value) in extra.as_object().expect("an object") {
        config[key] = value.clone();
    }
    let netconf = Netconf::try_from_json(&config, Command::Add, "eth0").expect("a sound config");
    result::of_add(&dual_stack(), &netconf, "eth0", "/run/netns/a")
}

fn expected(version: &str) -> Value {
    json!({
        "cniVersion": version,
        "interfaces": [
            {"name": "eni12ab", "mac": "0a:00:00:00:00:01"},
            {"name": "eth0", "mac": "0a:00:00:00:00:02", "sandbox": "/run/netns/a"},
        ],
        "ips": [
            {"interface": 1, "address": "10.0.1.7/32", "gateway": "169.254.1.1"},
            {"interface": 1, "address": "fd00::7/128", "gateway": "fe80::1"},
        ],
        "routes": [
            {"dst": "169.254.1.1/32"},
            {"dst": "0.0.0.0/0", "gw": "169.254.1.1"},
            {"dst": "::/0", "gw": "fe80::1"},
        ],
        "dns": {"nameservers": ["10.0.0.2"], "search": ["a.internal"]},
    })
}

#[test]
fn a_result_of_1_0_0_names_interfaces_and_addresses_as_they_are() {
    assert_eq!(result_in("1.0.0", json!({})), expected("1.0.0"));
}

#[test]
fn a_result_of_0_4_0_tells_the_ip_version_of_each_address() {
    let mut golden = expected("0.4.0");
    golden["ips"][0]["version"] = json!("4");
    golden["ips"][1]["version"] = json!("6");
    assert_eq!(result_in("0.4.0", json!({})), golden);
}

#[test]
fn a_result_of_1_1_0_tells_the_mtu_of_each_interface() {
    let mut golden = expected("1.1.0");
    golden["interfaces"][0]["mtu"] = json!(9001);
    golden["interfaces"][1]["mtu"] = json!(9001);
    assert_eq!(result_in("1.1.0", json!({})), golden);
}

#[test]
fn a_result_of_0_3_x_is_that_of_0_4_0() {
    for version in ["0.3.0", "0.3.1"] {
        let mut golden = result_in("0.4.0", json!({}));
        golden["cniVersion"] = json!(version);
        assert_eq!(result_in(version, json!({})), golden);
    }
}

#[test]
fn a_result_of_0_1_0_and_0_2_0_has_one_address_per_family_with_its_routes() {
    let golden = |version: &str| {
        json!({
            "cniVersion": version,
            "ip4": {
                "ip": "10.0.1.7/32", "gateway": "169.254.1.1",
                "routes": [
                    {"dst": "169.254.1.1/32"}, {"dst": "0.0.0.0/0", "gw": "169.254.1.1"},
                ],
            },
            "ip6": {
                "ip": "fd00::7/128", "gateway": "fe80::1",
                "routes": [{"dst": "::/0", "gw": "fe80::1"}],
            },
            "dns": {"nameservers": ["10.0.0.2"], "search": ["a.internal"]},
        })
    };
    for version in ["0.1.0", "0.2.0"] {
        assert_eq!(result_in(version, json!({})), golden(version));
    }
    for missing in [json!(null), json!("")] {
        let result = result_in("", json!({"cniVersion": missing}));
        assert_eq!(result, golden("0.1.0"), "a version that is missing");
    }
}

#[test]
fn routes_of_other_tables_are_told_where_the_version_has_words_for_them() {
    let route = |destination: &str, gateway: &str, table, priority| Route {
        destination: destination.into(),
        gateway: gateway.into(),
        table,
        priority,
    };
    let response = AddResponse {
        routes: vec![
            route("169.254.1.1/32", "", 0, 22276),
            route("169.254.1.1/32", "", 22276, 0),
            route("0.0.0.0/0", "169.254.1.1", 22276, 0),
        ],
        ..dual_stack()
    };
    for version in SpecVersion::ALL.map(SpecVersion::as_str) {
        let config = json!({"cniVersion": version, "name": "veni"});
        let netconf = Netconf::try_from_json(&config, Command::Add, "net1").expect("sound");
        let result = result::of_add(&response, &netconf, "net1", "/run/netns/a");
        let routes = if result["ip4"].is_object() {
            &result["ip4"]["routes"]
        } else {
            &result["routes"]
        };
        let expected = match version {
            "1.1.0" => json!([
                {"dst": "169.254.1.1/32", "priority": 22276},
                {"dst": "169.254.1.1/32", "table": 22276},
                {"dst": "0.0.0.0/0", "gw": "169.254.1.1", "table": 22276},
            ]),
            _ => json!([{"dst": "169.254.1.1/32"}]),
        };
        assert_eq!(*routes, expected, "{version}");
    }
}

#[test]
fn an_earlier_result_is_passed_on_where_the_version_has_chains_and_refused_before() {
    let previous = json!({
        "cniVersion": "0.3.1",
        "interfaces": [{"name": "net0", "sandbox": "/run/netns/a"}],
        "ips": [{"version": "4", "address": "192.0.2.1/24", "interface": 0}],
    });
    for version in ["0.3.0", "0.3.1", "0.4.0"] {
        let result = result_in(version, json!({"prevResult": previous}));
        assert_eq!(result["ips"][0], previous["ips"][0], "{version}");
        assert_eq!(result["ips"].as_array().map(Vec::len), Some(3), "{version}");
    }
    for version in ["0.1.0", "0.2.0"] {
        for given in [&previous, &json!({"ip4": {"ip": "192.0.2.1/24"}})] {
            let config = json!({"cniVersion": version, "name": "veni", "prevResult": given});
            let failure = Netconf::try_from_json(&config, Command::Add, "eth0");
            let failure = failure.expect_err("addresses that would be lost");
            assert_eq!(failure.code, code::INVALID_CONFIG);
            assert!(failure.details.contains("0.3.1 or later"), "{failure:?}");
        }
        let given = json!({"cniVersion": version, "dns": {"domain": "earlier"}});
        let result = result_in(version, json!({"prevResult": given, "dns": null}));
        assert_eq!(result["dns"], given["dns"], "{version}");
    }
}

#[test]
fn null_is_as_good_as_missing_wherever_a_client_in_go_may_pass_it() {
    let config = json!({
        "cniVersion": "1.1.0", "name": "veni", "type": "veni-cni", "runDir": null, "mtu": null,
        "dns": {"nameservers": null, "domain": null, "search": null, "options": null},
        "args": null, "capabilities": null, "runtimeConfig": null, "ipam": null,
        "isDefaultGateway": null, "pluginLogFile": null, "pluginLogLevel": null,
        "prevResult": {
            "interfaces": null, "routes": null, "dns": null,
            "ips": [{"address": "10.0.1.7/32", "interface": null, "gateway": null}],
        },
        "cni.dev/valid-attachments": null, "cni.dev/attachments": null,
    });
    for command in [Command::Add, Command::Check, Command::Gc, Command::Status] {
        let netconf = Netconf::try_from_json(&config, command, "eth0");
        let netconf = netconf.unwrap_or_else(|failure| panic!("{command:?}: {failure:?}"));
        assert_eq!((netconf.mtu, netconf.dns.len()), (0, 0), "{command:?}");
        assert_eq!(netconf.valid, [], "{command:?}");
    }
    let mut without = config;
    without["prevResult"] = json!(null);
    let netconf = Netconf::try_from_json(&without, Command::Add, "eth0").expect("a sound config");
    assert_eq!(netconf.previous, None);
}

#[test]
fn the_list_of_gc_is_taken_from_the_key_that_has_one() {
    let one = json!([{"containerID": "c", "ifname": "net1"}]);
    let valid = |newer: Value, older: Value| {
        let config = json!({
            "cniVersion": "1.1.0", "name": "veni",
            "cni.dev/valid-attachments": newer, "cni.dev/attachments": older,
        });
        let netconf = Netconf::try_from_json(&config, Command::Gc, "");
        netconf.expect("a sound config").valid.len()
    };
    assert_eq!(valid(one.clone(), json!(null)), 1);
    assert_eq!(valid(json!(null), one.clone()), 1);
    assert_eq!(valid(json!([]), one), 0, "the newer key decides");
    assert_eq!(valid(json!(null), json!(null)), 0);
}

#[test]
fn an_mtu_is_a_number_or_its_digits_as_text() {
    for (given, expected) in [
        (json!(9001), 9001),
        (json!("9001"), 9001),
        (json!("68"), 68),
        (json!(0), 0),
        (json!("0"), 0),
        (json!(""), 0),
    ] {
        let config = json!({"cniVersion": "0.4.0", "name": "veni", "mtu": given});
        let netconf = Netconf::try_from_json(&config, Command::Add, "eth0");
        assert_eq!(netconf.expect("a sound config").mtu, expected, "{given}");
    }
}

#[test]
fn what_an_earlier_plugin_returned_is_passed_on_and_positions_stay_true() {
    let previous = json!({
        "interfaces": [{"name": "net0", "sandbox": "/run/netns/a", "foreign": true}],
        "ips": [{"address": "192.0.2.1/24", "interface": 0}],
        "routes": [{"dst": "192.0.2.0/24"}],
        "dns": {"domain": "earlier"},
    });
    let result = result_in("1.0.0", json!({"prevResult": previous, "dns": null}));
    assert_eq!(
        result["interfaces"][0]["foreign"], true,
        "kept as it came: {result}"
    );
    assert_eq!(result["interfaces"][2]["name"], "eth0");
    assert_eq!(
        result["ips"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|ip| ip["interface"].as_u64())
            .collect::<Vec<_>>(),
        [Some(0), Some(2), Some(2)]
    );
    assert_eq!(result["routes"].as_array().map(Vec::len), Some(4));
    assert_eq!(result["dns"], json!({"domain": "earlier"}));
}

#[test]
fn every_wrong_field_is_named_in_one_error() {
    let config = json!({
        "cniVersion": "1.0.0", "name": "-veni", "type": 1, "runDir": "relative", "mtu": 67,
        "dns": {"nameservers": "10.0.0.2", "search": ["two words"], "domain": 7},
        "prevResult": {
            "interfaces": [{"mac": "x"}],
            "ips": [{"address": "10.0.0.1"}, {"address": "10.0.0.1/8", "interface": 1}],
            "routes": {},
        },
    });
    let failure =
        Netconf::try_from_json(&config, Command::Add, "eth0").expect_err("a wrong config");
    assert_eq!(failure.code, code::INVALID_CONFIG);
    let named = [
        "name=-veni: must start with a letter or a digit",
        "type=1: expected a string",
        "runDir=relative: expected an absolute path",
        "mtu=67: expected a whole number",
        "dns.nameservers=10.0.0.2: expected a list of strings",
        "dns.search=[\"two words\"]: expected strings without whitespace",
        "dns.domain=7: expected a name",
        "prevResult.interfaces[0]: name: not a string",
        "prevResult.ips[0]: address=\"10.0.0.1\": not an address in cidr form",
        "prevResult.ips[1]: interface=1: not the position of one of 1 interfaces",
        "prevResult.routes: not a list",
    ];
    for problem in named {
        assert!(
            failure.details.contains(problem),
            "{problem} is not in: {}",
            failure.details
        );
    }
}

#[test]
fn each_wrong_field_is_refused_with_its_code() {
    let long = format!("/{}", "x".repeat(100));
    let table = [
        (Command::Add, json!({"cniVersion": "0.5.0"}), 1, "0.1.0"),
        (Command::Add, json!({"cniVersion": "0.3"}), 1, "0.1.0"),
        (Command::Check, json!({"cniVersion": "0.3.1"}), 1, "0.4.0"),
        (Command::Check, json!({"cniVersion": null}), 1, "0.4.0"),
        (Command::Gc, json!({"cniVersion": "0.2.0"}), 1, "1.1.0"),
        (Command::Status, json!({"cniVersion": null}), 1, "1.1.0"),
        (Command::Add, json!({"cniVersion": 1}), 7, "cniVersion=1"),
        (Command::Add, json!({"name": null}), 7, "name: missing"),
        (Command::Add, json!({"name": ""}), 7, "name: missing"),
        (Command::Add, json!({"name": 3}), 7, "name=3"),
        (Command::Add, json!({"name": "a/b"}), 7, "only letters"),
        (Command::Add, json!({"mtu": "67"}), 7, "mtu=67"),
        (Command::Add, json!({"mtu": "65536"}), 7, "mtu=65536"),
        (Command::Add, json!({"mtu": "+1500"}), 7, "mtu=+1500"),
        (Command::Add, json!({"mtu": "9001 "}), 7, "mtu=9001 "),
        (Command::Add, json!({"mtu": "__MTU__"}), 7, "mtu=__MTU__"),
        (Command::Add, json!({"mtu": [1500]}), 7, "mtu=[1500]"),
        (Command::Add, json!({"mtu": -1}), 7, "mtu=-1"),
        (Command::Add, json!({"mtu": 65_536}), 7, "mtu=65536"),
        (Command::Add, json!({"mtu": 1500.5}), 7, "mtu=1500.5"),
        (
            Command::Add,
            json!({"isDefaultGateway": "true"}),
            7,
            "isDefaultGateway=true",
        ),
        (
            Command::Add,
            json!({"isDefaultGateway": 1}),
            7,
            "isDefaultGateway=1",
        ),
        (Command::Add, json!({"runDir": 1}), 7, "runDir=1"),
        (Command::Add, json!({"runDir": "/a\u{0}b"}), 7, "zero byte"),
        (Command::Add, json!({"runDir": long}), 7, "too long"),
        (Command::Add, json!({"dns": []}), 7, "dns=[]"),
        (
            Command::Add,
            json!({"pluginLogFile": "stdout"}),
            7,
            "is for the result",
        ),
        (
            Command::Add,
            json!({"pluginLogFile": "a.log"}),
            7,
            "absolute path",
        ),
        (
            Command::Add,
            json!({"pluginLogLevel": "loud"}),
            7,
            "one of error",
        ),
        (Command::Add, json!({"prevResult": []}), 7, "prevResult"),
        (Command::Check, json!({}), 7, "prevResult: missing"),
        (
            Command::Check,
            json!({"prevResult": {}}),
            7,
            "no address belongs to eth0",
        ),
        (Command::Del, json!({"name": null}), 7, "name: missing"),
        (Command::Del, json!({"runDir": "x"}), 7, "runDir=x"),
        (Command::Gc, json!({}), 1, "cniVersions"),
        (Command::Status, json!({}), 1, "cniVersions"),
        (
            Command::Gc,
            json!({"cniVersion": "1.1.0"}),
            7,
            "cni.dev/valid-attachments: missing",
        ),
        (
            Command::Gc,
            json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": {}}),
            7,
            "expected a list",
        ),
        (
            Command::Gc,
            json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": [{"containerID": "c"}]}),
            7,
            "cni.dev/valid-attachments[0]",
        ),
    ];
    for (command, change, code, named) in table {
        let mut config = json!({"cniVersion": "1.0.0", "name": "veni", "type": "veni-cni"});
        for (key, value) in change.as_object().expect("an object") {
            config[key] = value.clone();
        }
        let failure = Netconf::try_from_json(&config, command, "eth0").expect_err("a wrong config");
        assert_eq!(failure.code, code, "{change}: {failure:?}");
        assert!(
            failure.details.contains(named),
            "{change}: {named} is not in: {}",
            failure.details
        );
    }
}

#[test]
fn a_version_that_is_not_spoken_keeps_no_pod_from_being_deleted() {
    let config = json!({"cniVersion": "9.9.9", "name": "veni", "type": "veni-cni"});
    let read = |command| Netconf::try_from_json(&config, command, "eth0");
    assert_eq!(read(Command::Add).expect_err("not spoken").code, 1);
    assert_eq!(read(Command::Del).expect("is deleted").name, "veni");
}

#[test]
fn a_run_folder_may_be_as_long_as_a_socket_in_it_can_be_named() {
    // 107 bytes, with `/cni.sock` in it.
    let read = |length: usize| {
        let folder = format!("/{}", "x".repeat(length - 1));
        let config = json!({
            "cniVersion": "1.0.0", "name": "veni", "type": "veni-cni", "runDir": folder,
        });
        Netconf::try_from_json(&config, Command::Add, "eth0")
    };
    assert!(read(98).is_ok());
    assert_eq!(read(99).expect_err("too long").code, 7);
}

#[test]
fn a_configuration_of_four_mebibytes_is_read_and_a_longer_one_is_not() {
    let told = |length: usize| {
        let mut config = json!({"cniVersion": "1.0.0", "name": "a"}).to_string();
        config.push_str(&" ".repeat(length - config.len()));
        let (output, _) = run("ADD", config.as_bytes());
        let error: Value = serde_json::from_slice(&output).expect("an error object");
        error["code"].as_u64()
    };
    assert_eq!(told(4 << 20), Some(4), "the namespace is not there");
    assert_eq!(told((4 << 20) + 1), Some(6));
}

#[test]
fn fields_that_nobody_knows_are_ignored_and_defaults_hold() {
    let config = json!({
        "cniVersion": "1.1.0", "name": "veni", "type": "veni-cni", "capabilities": {"x": true},
        "runtimeConfig": {"portMappings": []}, "args": {}, "ipam": {"type": "x"}, "logFile": 3,
    });
    let netconf = Netconf::try_from_json(&config, Command::Add, "eth0").expect("a sound config");
    assert_eq!(
        netconf.socket().to_str(),
        Some("/run/veni/cni.sock"),
        "the daemon's default"
    );
    assert_eq!(netconf.mtu, 0);
    assert_eq!(netconf.previous, None);
}

fn environment(
    command: Command,
    variables: &[(&str, &[u8])],
) -> Result<Environment, veni_api::failure::CniFailure> {
    let variables: HashMap<&str, &[u8]> = variables.iter().copied().collect();
    Environment::try_from_lookup(command, &|name| {
        variables
            .get(name)
            .map(|bytes| OsString::from_vec(bytes.to_vec()))
    })
}

#[test]
fn every_wrong_variable_is_named_in_one_error() {
    let failure = environment(
        Command::Add,
        &[("CNI_CONTAINERID", b"a b"), ("CNI_IFNAME", b"\xff")],
    )
    .expect_err("wrong variables");
    assert_eq!(failure.code, code::INVALID_ENVIRONMENT);
    for named in [
        "CNI_CONTAINERID=a b: only",
        "CNI_IFNAME=",
        "not utf-8",
        "CNI_NETNS: missing",
    ] {
        assert!(
            failure.details.contains(named),
            "{named} is not in: {}",
            failure.details
        );
    }
}

#[test]
fn container_and_interface_names_are_what_the_specification_allows() {
    let judge = |container: &str, interface: &str| {
        environment(
            Command::Del,
            &[
                ("CNI_CONTAINERID", container.as_bytes()),
                ("CNI_IFNAME", interface.as_bytes()),
            ],
        )
        .is_ok()
    };
    for container in ["a", "0", "A_.-9", &"f".repeat(64)] {
        assert!(judge(container, "eth0"), "{container}");
    }
    for container in ["", "-a", ".a", "_a", "a/b", "a b", "ä", "a\n"] {
        assert!(!judge(container, "eth0"), "{container:?}");
    }
    for interface in ["e", "eth0", "a-b.c_d", "fifteen-bytes-x", "ü"] {
        assert!(judge("a", interface), "{interface}");
    }
    for interface in [
        "",
        ".",
        "..",
        "a/b",
        "a:b",
        "a b",
        "a\tb",
        "sixteen-bytes-xx",
        "eth%d",
        "a\u{7f}",
    ] {
        assert!(!judge("a", interface), "{interface:?}");
    }
}

#[test]
fn commands_need_only_the_variables_that_they_use() {
    let container: [(&str, &[u8]); 2] = [("CNI_CONTAINERID", b"a"), ("CNI_IFNAME", b"eth0")];
    for (command, variables, sufficient) in [
        (Command::Add, &container[..], false),
        (Command::Check, &container[..], false),
        (Command::Del, &container[..], true),
        (Command::Del, &container[..1], false),
        (Command::Gc, &[][..], true),
        (Command::Status, &[][..], true),
    ] {
        assert_eq!(
            environment(command, variables).is_ok(),
            sufficient,
            "{command:?} with {}",
            variables.len()
        );
    }
}

#[test]
fn the_shipped_configuration_list_is_one_that_the_plugin_takes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/10-veni.conflist");
    let text = std::fs::read_to_string(path).expect("the shipped list");
    let list: Value = serde_json::from_str(&text).expect("json");
    // All runtimes know the first; the second brings GC and STATUS.
    assert_eq!(list["cniVersion"], "1.0.0");
    assert_eq!(list["cniVersions"], json!(["1.0.0", "1.1.0"]));
    assert_eq!(list["plugins"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        list["plugins"][0]["capabilities"],
        json!({"portMappings": true})
    );
    // As a runtime makes a plugin's configuration out of a list.
    let mut config = list["plugins"][0].clone();
    assert_eq!(config["type"], env!("CARGO_PKG_NAME"));
    config["name"] = list["name"].clone();
    config["cniVersion"] = list["cniVersion"].clone();
    Netconf::try_from_json(&config, Command::Add, "eth0").expect("a sound config");
}

/// Runs the plugin in this process, with no daemon that it could reach.
fn run(command: &str, input: &[u8]) -> (Vec<u8>, bool) {
    let mut output = Vec::new();
    let variables = [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "a"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_NETNS", "/nowhere"),
    ];
    let lookup = |name: &str| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| OsString::from(value))
    };
    let code = veni_cni::run(&lookup, &mut &*input, &mut output, &mut std::io::sink());
    (output, code == std::process::ExitCode::SUCCESS)
}

#[test]
fn what_is_no_configuration_cannot_be_decoded() {
    for input in ["", " \n", "{", "[]", "1", "{} {}", "\u{0}"] {
        let (output, succeeded) = run("ADD", input.as_bytes());
        assert!(!succeeded);
        let error: Value = serde_json::from_slice(&output).expect("an error object");
        assert_eq!(error["code"], 6, "{input:?}: {error}");
        assert_eq!(error["cniVersion"], "1.1.0");
    }
}

#[test]
fn a_command_that_is_none_is_an_error_of_the_environment() {
    for command in ["", "add", "ADD ", "REMOVE"] {
        let (output, succeeded) = run(command, b"{}");
        assert!(!succeeded);
        let error: Value = serde_json::from_slice(&output).expect("an error object");
        assert_eq!(error["code"], 4, "{command}: {error}");
        assert!(error["details"].to_string().contains("ADD, DEL, CHECK"));
    }
}

#[test]
fn an_error_is_told_in_the_version_of_the_configuration() {
    for version in SpecVersion::ALL.map(SpecVersion::as_str) {
        let config = json!({"cniVersion": version, "name": "a"}).to_string();
        let (output, _) = run("ADD", config.as_bytes());
        let error: Value = serde_json::from_slice(&output).expect("an error object");
        assert_eq!(error["cniVersion"], version);
        assert_eq!(error["code"], 4, "the namespace is not there: {error}");
    }
    let (output, _) = run("ADD", br#"{"name": "a"}"#);
    let error: Value = serde_json::from_slice(&output).expect("an error object");
    assert_eq!(
        (&error["cniVersion"], &error["code"]),
        (&json!("0.1.0"), &json!(4))
    );
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("10.0.0.1/32")),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let key = prop_oneof![
            Just("interfaces".to_owned()),
            Just("ips".to_owned()),
            Just("interface".to_owned()),
            Just("address".to_owned()),
            Just("name".to_owned()),
            Just("dns".to_owned()),
            Just("nameservers".to_owned()),
            Just("containerID".to_owned()),
            ".{0,4}",
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered_with_one_json_object(input: Vec<u8>) {
        for command in ["ADD", "CHECK", "GC", "STATUS", "VERSION"] {
            let (output, succeeded) = run(command, &input);
            let answer: Value = serde_json::from_slice(&output).expect("json");
            prop_assert!(answer.is_object());
            prop_assert_eq!(succeeded, command == "VERSION");
        }
    }

    #[test]
    fn any_field_is_accepted_or_refused_but_never_a_panic(
        values in proptest::collection::vec(json_value(), 6)
    ) {
        let names = ["name", "runDir", "mtu", "dns", "prevResult", "cni.dev/valid-attachments"];
        let mut config = json!({"cniVersion": "1.1.0"});
        for (name, value) in names.into_iter().zip(values) {
            config[name] = value;
        }
        for command in [Command::Add, Command::Check, Command::Gc, Command::Del] {
            if let Err(failure) = Netconf::try_from_json(&config, command, "eth0") {
                prop_assert_eq!(failure.code, code::INVALID_CONFIG);
                prop_assert!(!failure.details.is_empty());
            }
        }
        let netconf = Netconf::try_from_json(
            &json!({"cniVersion": "1.1.0", "name": "a", "prevResult": config["prevResult"]}),
            Command::Add,
            "eth0",
        );
        if let Ok(netconf) = netconf {
            result::of_add(&dual_stack(), &netconf, "eth0", "/run/netns/a");
        }
    }
}
