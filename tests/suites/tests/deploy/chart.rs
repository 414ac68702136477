//! What the chart installs.

use std::fs;
use std::process::Command;

use veni_testbed::binaries;
use veni_testbed::cluster::IMAGE;

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
        let version = "# For Kubernetes 1.32 and later.";
        assert!(shipped.contains(version), "{file} names no version");
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
    for preset in ["eks", "aks", "mock"] {
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
fn a_number_reaches_the_daemon_as_it_is_written() {
    let values = "preset: eks\nenv: {A: 1000000, B: 1.5, C: -3, D: 1.0e+30, E: 0.25, F: 2.0}\n";
    let settings = settings(&rendered(values).expect("is rendered"));
    let expected = [
        ("A", "1000000"),
        ("B", "1.5"),
        ("C", "-3"),
        ("D", "1e+30"),
        ("E", "0.25"),
        ("F", "2"),
    ];
    for (name, value) in expected {
        assert_eq!(settings[name], value, "{name}");
    }
    let values = "preset: eks\nenv: {MAX_ENI: 1.5}\n";
    let manifest = rendered(values).expect("is rendered");
    let told = judged(&self::settings(&manifest)).expect_err("is refused");
    assert!(told.contains("MAX_ENI=1.5"), "{told}");
}

#[test]
fn the_image_is_called_what_its_recipe_calls_it() {
    let named = format!("image: \"{IMAGE}\"");
    let manifest = rendered("preset: eks\n").expect("is rendered");
    assert!(manifest.contains(&named), "{manifest}");
    let recipe = fs::read_to_string(deploy("image/build")).expect("is shipped");
    let by_recipe = IMAGE.replace(env!("CARGO_PKG_VERSION"), "$version");
    let default = format!("name={by_recipe} ");
    assert!(recipe.contains(&default), "{default} in\n{recipe}");
}

#[test]
fn the_tool_knows_a_daemon_whatever_the_values_name_it() {
    let values = "preset: eks\nnameOverride: pods\nfullnameOverride: network\n";
    let daemon = rendered(values).expect("is rendered");
    // Of the DaemonSet, and of its pods.
    let label = "veni.dev/component: daemon\n";
    assert_eq!(daemon.matches(label).count(), 2, "{daemon}");
    let values = format!("{values}uninstall: {{enabled: true}}\n");
    let uninstallation = rendered(&values).expect("is rendered");
    assert!(!uninstallation.contains(label), "{uninstallation}");
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
fn an_uninstallation_runs_where_the_daemon_ran_and_looks_where_it_installed() {
    let values = "preset: eks\nuninstall: {enabled: true}\nnodeSelector: {pool: blue}\n\
                  podSecurityContext: {fsGroup: 7}\nimagePullSecrets: [{name: registry}]\n\
                  env: {HOST_CNI_BIN_PATH: /host/bin, HOST_CNI_CONFDIR_PATH: /host/net.d, MAX_ENI: 3}\n\
                  extraVolumes: [{name: folders, hostPath: {path: /var/lib/cni}}]\n\
                  extraVolumeMounts: [{name: folders, mountPath: /host/bin}]\n";
    let manifest = rendered(values).expect("is rendered");
    for line in [
        "pool: blue",
        "fsGroup: 7",
        "- name: registry",
        "path: /var/lib/cni",
        "mountPath: /host/bin",
    ] {
        assert!(manifest.contains(line), "{line} in\n{manifest}");
    }
    let settings = settings(&manifest);
    assert_eq!(settings["HOST_CNI_BIN_PATH"], "/host/bin");
    assert_eq!(settings["HOST_CNI_CONFDIR_PATH"], "/host/net.d");
    // Nothing else of the daemon's could keep it from starting.
    assert!(!settings.contains_key("MAX_ENI"), "{settings:?}");
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

#[test]
fn policies_may_be_read_and_programs_pinned_only_where_they_are_enforced() {
    let manifest = |env: &str| {
        let values = format!("preset: eks\nenv: {{CLUSTER_NAME: shop, {env}}}\n");
        rendered(&values).expect("is rendered")
    };
    let (policies, pins) = ("resources: [networkpolicies]", "mountPath: /sys/fs/bpf");
    let stock = manifest("NETWORK_POLICY_ENFORCING_MODE: standard");
    assert!(!stock.contains(policies) && !stock.contains(pins));
    let alone = manifest("VENI_ENFORCEMENT: ebpf, NETWORK_POLICY_ENFORCING_MODE: none");
    assert!(!alone.contains(policies) && alone.contains(pins));
    let both = manifest("VENI_ENFORCEMENT: ebpf, NETWORK_POLICY_ENFORCING_MODE: strict");
    assert!(both.contains(policies) && both.contains(pins));
}
