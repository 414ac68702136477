//! What the chart installs.

use std::fs;
use std::process::Command;

use veni_testbed::binaries;

use super::rendering::{deploy, judged, rendered, rendered_for, settings};

#[test]
fn the_manifests_are_what_the_chart_renders() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(deploy("manifests/render"))
        .arg(folder.path())
        .output()
        .expect("the script can be executed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    for preset in ["eks", "aks", "mock"] {
        let file = format!("{preset}.yaml");
        let shipped = fs::read_to_string(deploy("manifests").join(&file)).expect("is shipped");
        let made = fs::read_to_string(folder.path().join(&file)).expect("is made");
        assert!(
            shipped == made,
            "run deploy/manifests/render: {file} differs"
        );
    }
}

#[test]
fn helm_finds_nothing_wrong_with_the_chart() {
    let output = Command::new(binaries::helm())
        .args(["lint", "--strict"])
        .arg(deploy("chart/veni"))
        .output()
        .expect("helm can be executed");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
}

#[test]
fn the_daemon_accepts_the_settings_of_a_preset() {
    for preset in ["eks", "mock"] {
        let manifest = rendered(&format!("preset: {preset}\n")).expect("is rendered");
        let settings = settings(&manifest);
        assert!(settings.contains_key("VENI_PROVIDER"), "{settings:?}");
        let told = judged(&settings).expect("is accepted");
        assert!(told.contains("none refused, no warning"), "{told}");
    }
}

#[test]
fn a_setting_of_the_values_wins_over_the_preset_s_and_null_takes_it_away() {
    let values =
        "preset: mock\nenv: {VENI_PROVIDER: aws, VENI_MOCK_ENDPOINT: null, MAX_ENI: 1000000}\n";
    let settings = settings(&rendered(values).expect("is rendered"));
    assert_eq!(settings["VENI_PROVIDER"], "aws");
    assert_eq!(settings["MAX_ENI"], "1000000");
    assert!(!settings.contains_key("VENI_MOCK_ENDPOINT"), "{settings:?}");
}

#[test]
fn the_container_has_no_more_rights_than_it_needs() {
    let manifest = rendered("preset: eks\n").expect("is rendered");
    for line in [
        "hostNetwork: true",
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "drop: [ALL]",
        "type: RuntimeDefault",
        "priorityClassName: system-node-critical",
    ] {
        assert!(manifest.contains(line), "{line} in\n{manifest}");
    }
    for line in ["hostPID", "hostIPC", "privileged: true"] {
        assert!(!manifest.contains(line), "{line} in\n{manifest}");
    }
}

#[test]
fn custom_networking_may_read_its_objects_and_nobody_else_may() {
    let plain = rendered("preset: eks\n").expect("is rendered");
    assert!(!plain.contains("eniconfigs"), "{plain}");
    let custom = rendered(
        "preset: eks\nenv: {AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG: true}\n\
         eniConfig: {create: true, subnets: {eu-central-1a: {id: subnet-1, securityGroups: [sg-1]}}}\n",
    );
    let custom = custom.expect("is rendered");
    for line in [
        "resources: [eniconfigs]",
        "kind: ENIConfig",
        "subnet: subnet-1",
    ] {
        assert!(custom.contains(line), "{line} in\n{custom}");
    }
}

#[test]
fn what_prometheus_needs_is_there_when_it_is_asked_for() {
    let plain = rendered("preset: eks\n").expect("is rendered");
    let asked = rendered(
        "preset: eks\nmetricsPort: 9100\nmetricsService: {create: true}\npodMonitor: {create: true}\n",
    );
    let asked = asked.expect("is rendered");
    for kind in ["kind: Service\n", "kind: PodMonitor\n"] {
        assert!(!plain.contains(kind), "{plain}");
        assert!(asked.contains(kind), "{asked}");
    }
    assert_eq!(settings(&asked)["VENI_METRICS_ADDRESS"], "[::]:9100");
}

#[test]
fn the_node_s_files_are_written_by_an_init_container_with_no_rights_when_asked_for() {
    let plain = rendered("preset: eks\n").expect("is rendered");
    assert!(!plain.contains("initContainers"), "{plain}");
    let asked = rendered("preset: eks\nhostFiles: {enabled: true, primary: ens5}\n");
    let asked = asked.expect("is rendered");
    let (_, rest) = asked
        .split_once("- name: host-files")
        .expect("the container");
    let (container, _) = rest.split_once("- name: ipamd").expect("the daemon's");
    for line in [
        "command: [/usr/bin/veni, host, install, --root, /host]",
        "args: [--primary, \"ens5\"]",
        "drop: [ALL]",
    ] {
        assert!(container.contains(line), "{line} in\n{container}");
    }
    assert!(!container.contains("add:"), "{container}");
}

#[test]
fn an_uninstallation_runs_in_place_of_the_daemon_and_may_do_less() {
    let manifest = rendered("preset: eks\nuninstall: {enabled: true}\n").expect("is rendered");
    assert!(manifest.contains("args: [--uninstall]"), "{manifest}");
    for line in ["NET_ADMIN", "SYS_ADMIN", "name: ipamd"] {
        assert!(!manifest.contains(line), "{line} in\n{manifest}");
    }
}

#[test]
fn a_daemon_may_write_to_its_own_node_alone_where_tokens_name_nodes() {
    let policy = "kind: ValidatingAdmissionPolicy\n";
    let newer = rendered_for("1.32.0", "preset: eks\n").expect("is rendered");
    assert!(newer.contains(policy), "{newer}");
    let user = "\"system:serviceaccount:kube-system:veni\"";
    assert!(newer.contains(user), "{newer}");
    for (kubernetes, values) in [
        ("1.31.9", "preset: eks\n"),
        ("1.34.0", "preset: eks\nnodeRestriction: {enabled: false}\n"),
    ] {
        let without = rendered_for(kubernetes, values).expect("is rendered");
        assert!(!without.contains(policy), "{without}");
    }
}
