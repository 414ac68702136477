//! Values files of the AWS plugin's chart (aws-vpc-cni 1.23).

use super::rendering::{block, judged, rendered, settings};

/// `env` of that chart's own values.
pub(super) const ENV: [(&str, &str); 24] = [
    ("ADDITIONAL_ENI_TAGS", "{}"),
    ("AWS_VPC_CNI_NODE_PORT_SUPPORT", "true"),
    ("AWS_VPC_ENI_MTU", "9001"),
    ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "false"),
    ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "false"),
    (
        "AWS_VPC_K8S_CNI_LOG_FILE",
        "/host/var/log/aws-routed-eni/ipamd.log",
    ),
    ("AWS_VPC_K8S_CNI_LOGLEVEL", "DEBUG"),
    ("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "prng"),
    ("AWS_VPC_K8S_CNI_VETHPREFIX", "eni"),
    (
        "AWS_VPC_K8S_PLUGIN_LOG_FILE",
        "/var/log/aws-routed-eni/plugin.log",
    ),
    ("AWS_VPC_K8S_PLUGIN_LOG_LEVEL", "DEBUG"),
    ("DISABLE_INTROSPECTION", "false"),
    ("DISABLE_METRICS", "false"),
    ("ENABLE_POD_ENI", "false"),
    ("ENABLE_PREFIX_DELEGATION", "false"),
    ("WARM_ENI_TARGET", "1"),
    ("WARM_PREFIX_TARGET", "1"),
    ("DISABLE_NETWORK_RESOURCE_PROVISIONING", "false"),
    ("ENABLE_IPv4", "true"),
    ("ENABLE_IPv6", "false"),
    ("ENABLE_SUBNET_DISCOVERY", "true"),
    ("NETWORK_POLICY_ENFORCING_MODE", "standard"),
    ("ENABLE_IMDS_ONLY_MODE", "false"),
    ("ENABLE_MULTI_NIC", "false"),
];

/// What such a file has besides, as far as Veni does it.
pub(super) const FURTHER: &str = r#"
preset: eks
init:
  env: {DISABLE_TCP_EARLY_DEMUX: "true", ENABLE_IPv6: "false"}
  resources: {requests: {cpu: 10m}}
image: {account: "123456789012", region: eu-central-1, tag: v7}
originalMatchLabels: false
enableNetworkPolicy: "false"
enableWindowsIpam: "false"
enableWindowsPrefixDelegation: "false"
warmWindowsPrefixTarget: 0
warmWindowsIPTarget: 1
minimumWindowsIPTarget: 3
branchENICooldown: 60
nodeAgent: {enabled: false}
cniConfig: {enabled: false, fileContents: ""}
crd: {create: true}
extraEnv:
  - name: CLUSTER_NAME
    valueFrom: {configMapKeyRef: {name: cluster, key: name}}
imagePullSecrets: [{name: registry}]
priorityClassName: system-node-critical
podSecurityContext: {}
podAnnotations: {example.com/owner: network}
podLabels: {team: network}
serviceAccount:
  create: true
  annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::123456789012:role/cni"}
livenessProbeTimeoutSeconds: 7
resources: {requests: {cpu: 30m}}
updateStrategy: {type: OnDelete}
nodeSelector: {pool: blue}
tolerations: [{key: dedicated, operator: Exists}]
affinity: {}
eniConfig: {create: false, region: us-west-2, subnets: null}
podMonitor: {create: false, interval: 30s, scrapeTimeout: 30s, relabelings: []}
"#;

#[test]
fn a_values_file_of_the_aws_chart_installs_veni_with_the_same_meaning() {
    let manifest = rendered(&(block("env", &ENV) + FURTHER)).expect("is rendered");
    for line in [
        r#"image: "123456789012.dkr.ecr.eu-central-1.amazonaws.com/veni:v7""#,
        "eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/cni",
        "type: OnDelete",
        "timeoutSeconds: 7",
        "pool: blue",
        "key: dedicated",
        "cpu: 30m",
        "team: network",
        "example.com/owner: network",
        "mountPath: /host/var/log/aws-routed-eni",
        "name: CLUSTER_NAME",
        "- name: registry",
    ] {
        assert!(manifest.contains(line), "{line} in\n{manifest}");
    }
}

#[test]
fn the_daemon_accepts_the_settings_of_the_aws_chart() {
    let manifest = rendered(&(block("env", &ENV) + FURTHER)).expect("is rendered");
    let settings = settings(&manifest);
    for (name, value) in ENV {
        assert_eq!(
            settings.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
    assert_eq!(settings["DISABLE_TCP_EARLY_DEMUX"], "true");
    let told = judged(&settings).expect("is accepted");
    assert!(told.contains("none refused"), "{told}");
}

#[test]
fn a_setting_that_the_daemon_refuses_is_seen() {
    let values = format!(
        "preset: eks\n{}",
        block("env", &[("ENABLE_POD_ENI", "true")])
    );
    let settings = settings(&rendered(&values).expect("is rendered"));
    let told = judged(&settings).expect_err("is refused");
    assert!(told.contains("ENABLE_POD_ENI=true"), "{told}");
}
