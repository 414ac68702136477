//! `ipamd --settings` and `--check-settings` as operators and pipelines run them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop at the first surprise"
)]

use std::process::{Command, Output};

fn ipamd(argument: &str, environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ipamd"))
        .arg(argument)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("ipamd can be executed")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn settings_are_printed_with_defaults_whatever_the_environment_says() {
    let output = ipamd("--settings", &[("WARM_ENI_TARGET", "many")]);
    assert!(output.status.success());
    let text = text(&output.stdout);
    assert!(
        text.contains("WARM_ENI_TARGET=1 [default]\n    Whole spare"),
        "{text}"
    );
    assert!(
        text.contains("    other values are refused: Veni makes no branch interfaces"),
        "{text}"
    );
}

#[test]
fn a_good_environment_is_printed_as_it_is_in_force_and_then_the_verdict() {
    let output = ipamd(
        "--check-settings",
        &[
            ("VENI_PROVIDER", "mock"),
            ("WARM_IP_TARGET", "5"),
            ("WARM_ENI_TARGET", "1"),
            ("ENABLE_POD_ENI", "false"),
            ("ENABLE_IPV6", "true"),
            ("VPC_ID", "x"),
        ],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert!(
        told.contains("WARM_IP_TARGET=5 [environment; default unset]"),
        "{told}"
    );
    assert!(told.contains("not used: WARM_IP_TARGET is set"), "{told}");
    assert!(told.contains("ENABLE_POD_ENI=false"), "{told}");
    assert!(!told.contains("other values are refused"), "{told}");
    assert!(!told.contains("MAX_ENI="), "only what is set: {told}");
    let verdict = "5 settings are set: none refused, 1 warning, 1 without effect";
    assert_eq!(told.lines().last(), Some(verdict));
    assert_eq!(text(&output.stderr), "", "all of it stands in one place");
    let lines: Vec<&str> = told.lines().rev().skip(1).take(2).collect();
    let question = "warning: ENABLE_IPV6: not a setting; did you mean ENABLE_IPv6?";
    assert_eq!(lines[1], question, "{told}");
    assert!(
        lines[0].starts_with("note: VPC_ID: without effect"),
        "{told}"
    );
}

#[test]
fn what_is_not_set_is_printed_on_demand() {
    let output = Command::new(env!("CARGO_BIN_EXE_ipamd"))
        .args(["--check-settings", "--all"])
        .env_clear()
        .env("VENI_PROVIDER", "mock")
        .output()
        .expect("ipamd can be executed");
    let told = text(&output.stdout);
    assert!(told.contains("WARM_ENI_TARGET=1 [default]"), "{told}");
    let verdict = "1 setting is set: none refused, no warning, none without effect";
    assert_eq!(told.lines().last(), Some(verdict));
}

#[test]
fn an_environment_without_a_provider_is_told_what_is_missing() {
    let output = ipamd("--check-settings", &[]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    let verdict = "no setting is set: none refused, no warning, 1 missing";
    assert_eq!(error.lines().last(), Some(verdict));
}

#[test]
fn a_bad_environment_fails_with_every_problem() {
    let output = ipamd(
        "--check-settings",
        &[
            ("WARM_IP_TARGET", "-5"),
            ("ENABLE_POD_ENI", "true"),
            ("MAX_ENI", "2"),
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let error = text(&output.stderr);
    assert!(error.contains("3 problems"), "{error}");
    assert!(error.contains("\n  VENI_PROVIDER=: must be set"), "{error}");
    assert!(error.contains("\n  WARM_IP_TARGET=-5: "), "{error}");
    assert!(error.contains("\n  ENABLE_POD_ENI=true: "), "{error}");
    let verdict = "3 settings are set: 2 refused, no warning, 1 missing";
    assert_eq!(error.lines().last(), Some(verdict));
}

#[test]
fn warnings_stand_before_the_verdict_also_where_a_setting_is_refused() {
    let output = ipamd(
        "--check-settings",
        &[
            ("VENI_PROVIDER", "mock"),
            ("ENABLE_POD_ENI", "true"),
            ("NETWORK_POLICY_ENFORCING_MODE", "standard"),
            ("WARM_IP_TARGETS", "3"),
        ],
    );
    let error = text(&output.stderr);
    let at = |what: &str| {
        error
            .find(what)
            .unwrap_or_else(|| panic!("{what}: {error}"))
    };
    let warnings = [
        at("warning: WARM_IP_TARGETS: not a setting"),
        at("warning: NETWORK_POLICY_ENFORCING_MODE: "),
    ];
    let verdict = at("3 settings are set: 1 refused, 2 warnings");
    assert!(warnings.iter().all(|place| *place < verdict), "{error}");
    assert!(output.stdout.is_empty());
}

#[cfg(feature = "aws")]
#[test]
fn problems_of_settings_and_of_the_files_of_custom_networking_are_told_at_once() {
    let folder = tempfile::tempdir().expect("temp folder");
    let path = folder.path().join("eniconfigs.json");
    let of = |name: &str| {
        format!(
            r#"{{ "kind": "ENIConfig", "apiVersion": "crd.k8s.amazonaws.com/v1alpha1",
            "metadata": {{ "name": "{name}" }}, "spec": {{ "subnet": "net" }} }}"#
        )
    };
    let list = format!(
        r#"{{ "kind": "List", "apiVersion": "v1", "items": [{}, {}] }}"#,
        of("zone-a"),
        of("zone-b")
    );
    std::fs::write(&path, list).expect("writes");
    let output = ipamd(
        "--check-settings",
        &[
            ("VENI_PROVIDER", "aws"),
            ("ENABLE_POD_ENI", "true"),
            ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "true"),
            ("VENI_ENI_CONFIG_FILE", path.to_str().expect("text")),
            ("VENI_NODE_FILE", "/nowhere/node.json"),
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("4 problems"), "{error}");
    for problem in [
        "ENABLE_POD_ENI=true: ",
        "ENIConfig zone-a: spec.subnet",
        "ENIConfig zone-b: spec.subnet",
        "VENI_NODE_FILE=/nowhere/node.json: ",
    ] {
        assert!(error.contains(problem), "{problem}: {error}");
    }
    let verdict = "5 settings are set: 3 refused, no warning";
    assert_eq!(error.lines().last(), Some(verdict));
}

#[cfg(feature = "aws")]
#[test]
fn a_file_of_custom_networking_that_is_missing_refuses_what_has_it_read() {
    let environment = [
        ("VENI_PROVIDER", "aws"),
        ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "true"),
        ("VENI_NODE_FILE", "/nowhere/node.json"),
    ];
    let output = ipamd("--check-settings", &environment);
    let error = text(&output.stderr);
    let verdict = "3 settings are set: 2 refused, no warning";
    assert_eq!(error.lines().last(), Some(verdict), "{error}");
}

#[cfg(feature = "aws")]
#[test]
fn the_files_of_custom_networking_are_checked_too() {
    let folder = tempfile::tempdir().expect("temp folder");
    let path = folder.path().join("eniconfigs.json");
    let file = path.to_str().expect("text");
    let check = || {
        let environment = [
            ("VENI_PROVIDER", "aws"),
            ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "true"),
            ("VENI_ENI_CONFIG_FILE", file),
        ];
        ipamd("--check-settings", &environment)
    };
    let missing = check();
    assert_eq!(missing.status.code(), Some(1));
    let error = text(&missing.stderr);
    assert!(
        error.contains(file) && error.contains("failed to read it"),
        "{error}"
    );
    let verdict = error.lines().next_back().unwrap_or_default();
    assert!(verdict.contains("3 settings are set: 1 refused"), "{error}");
    let config = r#"{ "kind": "ENIConfig", "apiVersion": "crd.k8s.amazonaws.com/v1alpha1",
        "metadata": { "name": "a" }, "spec": { "subnet": "subnet-1" } }"#;
    std::fs::write(&path, config).expect("writes");
    assert!(check().status.success());
}

/// Runs it with both outputs into pipes that nobody reads; its status.
fn unheard(arguments: &[&str], environment: &[(&str, &str)]) -> Option<i32> {
    let unread = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    let status = Command::new(env!("CARGO_BIN_EXE_ipamd"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .stdout(unread())
        .stderr(unread())
        .status();
    status.expect("ipamd can be executed").code()
}

#[test]
fn a_reader_that_goes_away_changes_no_verdict() {
    let good = [("VENI_PROVIDER", "mock"), ("WARM_IP_TARGET", "5")];
    let bad = [("VENI_PROVIDER", "mock"), ("WARM_IP_TARGET", "many")];
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["--settings"],
        &["--check-settings"],
        &["--check-settings", "--all"],
    ] {
        assert_eq!(unheard(arguments, &good), Some(0), "{arguments:?}");
    }
    assert_eq!(unheard(&["--check-settings"], &bad), Some(1));
    assert_eq!(unheard(&["--no-such-option"], &good), Some(2));
}

#[test]
fn settings_that_cannot_be_printed_are_a_failure_that_names_the_reason() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let output = Command::new(env!("CARGO_BIN_EXE_ipamd"))
        .arg("--settings")
        .stdout(full.expect("a full device"))
        .output()
        .expect("ipamd can be executed");
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.starts_with("ipamd: failed to write to standard output: No space left"),
        "{error}"
    );
}
