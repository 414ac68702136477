//! Values that the chart refuses.

use super::rendering::rendered;

/// What a values file of the AWS plugin's chart may ask for, and the words of the refusal.
const REFUSED: [(&str, &str); 18] = [
    ("nameOverride: aws-node", "remove both values"),
    ("fullnameOverride: aws-node", "remove both values"),
    ("originalMatchLabels: true", "docs/migration-aws.md"),
    (
        "image: {account: '602401143452'}",
        "name the registry to which you pushed Veni's",
    ),
    (
        "image: {account: '123456789012'}",
        "image.region: name the region",
    ),
    (
        "init: {image: {tag: v1}}",
        "init.image: Veni's daemon installs its plugin itself",
    ),
    (
        "init: {securityContext: {privileged: true}}",
        "no privileged init container",
    ),
    ("nodeAgent: {enabled: true}", "enforces no network policies"),
    (
        "enableNetworkPolicy: 'true'",
        "enforces no network policies",
    ),
    ("enableWindowsIpam: 'true'", "Veni runs on Linux alone"),
    (
        "enableWindowsPrefixDelegation: 'true'",
        "Veni runs on Linux alone",
    ),
    (
        "cniConfig: {enabled: true, fileContents: '{}'}",
        "a list of your own that calls veni-cni",
    ),
    (
        "securityContext: {capabilities: {add: [NET_ADMIN, NET_RAW]}}",
        "lacks the capability SYS_ADMIN",
    ),
    ("crd: {create: false}", "--skip-crds"),
    (
        "livenessProbe: {exec: {command: [/app/grpc-health-probe]}}",
        "asks by gRPC",
    ),
    (
        "readinessProbe: {exec: {command: [/app/grpc-health-probe]}}",
        "asks by gRPC",
    ),
    (
        "env: {AWS_VPC_K8S_CNI_LOG_FILE: /var/log/ipamd.log}",
        "choose stderr or a file",
    ),
    (
        "serviceAccount: {create: false}",
        "name the service account that is there",
    ),
];

#[test]
fn what_veni_does_not_do_is_refused_with_what_to_write_instead() {
    for (values, words) in REFUSED {
        let refused = rendered(values).expect_err(values);
        assert!(refused.contains(words), "{values}: {refused}");
    }
}

#[test]
fn values_of_a_wrong_name_or_kind_are_refused_by_the_schema() {
    for (values, words) in [
        ("presets: eks", "presets"),
        ("preset: gke", "preset"),
        ("env: [A]", "env"),
        ("env: {A: {b: c}}", "env.A"),
        ("metricsPort: 0", "metricsPort"),
        ("hostChecks: {enable: true}", "hostChecks"),
        (
            "eniConfig: {subnets: {a: {id: vpc-1}}}",
            "eniConfig.subnets.a.id",
        ),
        ("image: {pullPolicy: Sometimes}", "image.pullPolicy"),
    ] {
        let refused = rendered(values).expect_err(values);
        let is_by_schema = refused.contains("don't meet the specifications of the schema");
        assert!(
            is_by_schema && refused.contains(words),
            "{values}: {refused}"
        );
    }
}
