//! The AWS plugin's variables: every one is known, what its manifests carry is
//! accepted, and what Veni does not do is refused with what to use instead.

use super::read;
#[cfg(feature = "bpf")]
use crate::config::PolicyMode;
use crate::config::{Disposition, Remark, variables};

/// Every environment variable that the AWS plugin, its init container and its
/// plugins read or carry in their manifests, as of v1.23.
const KNOWN_TO_THE_AWS_PLUGIN: [&str; 60] = [
    "ADDITIONAL_ENI_TAGS",
    "ANNOTATE_POD_IP",
    "AWS_EC2_ENDPOINT",
    "AWS_EXTERNAL_SERVICE_CIDRS",
    "AWS_MANAGE_ENIS_NON_SCHEDULABLE",
    "AWS_VPC_CNI_NODE_PORT_SUPPORT",
    "AWS_VPC_ENI_MTU",
    "AWS_VPC_K8S_CNI_BACKING_STORE",
    "AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER",
    "AWS_VPC_K8S_CNI_CONNMARK",
    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG",
    "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
    "AWS_VPC_K8S_CNI_EXTERNALSNAT",
    "AWS_VPC_K8S_CNI_LOGLEVEL",
    "AWS_VPC_K8S_CNI_LOG_FILE",
    "AWS_VPC_K8S_CNI_RANDOMIZESNAT",
    "AWS_VPC_K8S_CNI_VETHPREFIX",
    "AWS_VPC_K8S_EGRESS_V4_PLUGIN_LOG_FILE",
    "AWS_VPC_K8S_EGRESS_V6_PLUGIN_LOG_FILE",
    "AWS_VPC_K8S_PLUGIN_LOG_FILE",
    "AWS_VPC_K8S_PLUGIN_LOG_LEVEL",
    "CLUSTER_ENDPOINT",
    "CLUSTER_NAME",
    "DISABLE_INTROSPECTION",
    "DISABLE_LEAKED_ENI_CLEANUP",
    "DISABLE_METRICS",
    "DISABLE_NETWORK_RESOURCE_PROVISIONING",
    "DISABLE_POD_V6",
    "DISABLE_TCP_EARLY_DEMUX",
    "ENABLE_BANDWIDTH_PLUGIN",
    "ENABLE_IMDS_ONLY_MODE",
    "ENABLE_IPv4",
    "ENABLE_IPv6",
    "ENABLE_MULTI_NIC",
    "ENABLE_NFTABLES",
    "ENABLE_POD_ENI",
    "ENABLE_PREFIX_DELEGATION",
    "ENABLE_SUBNET_DISCOVERY",
    "ENABLE_V4_EGRESS",
    "ENABLE_V6_EGRESS",
    "ENI_CONFIG_ANNOTATION_DEF",
    "ENI_CONFIG_LABEL_DEF",
    "HOST_CNI_BIN_PATH",
    "HOST_CNI_CONFDIR_PATH",
    "HTTP_TIMEOUT",
    "INTROSPECTION_BIND_ADDRESS",
    "IP_COOLDOWN_PERIOD",
    "MANAGE_UNTAGGED_ENI",
    "MAX_ENI",
    "MINIMUM_IP_TARGET",
    "MY_NODE_NAME",
    "MY_POD_NAME",
    "NETWORK_POLICY_ENFORCING_MODE",
    "POD_MTU",
    "POD_SECURITY_GROUP_ENFORCING_MODE",
    "VPC_CNI_VERSION",
    "VPC_ID",
    "WARM_ENI_TARGET",
    "WARM_IP_TARGET",
    "WARM_PREFIX_TARGET",
];

/// What the AWS plugin's manifests set, those of its add-on included.
const STOCK_MANIFEST: &[(&str, &str)] = &[
    ("ADDITIONAL_ENI_TAGS", "{}"),
    ("ANNOTATE_POD_IP", "false"),
    ("AWS_VPC_CNI_NODE_PORT_SUPPORT", "true"),
    ("AWS_VPC_ENI_MTU", "9001"),
    ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "false"),
    ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "false"),
    ("AWS_VPC_K8S_CNI_LOGLEVEL", "DEBUG"),
    (
        "AWS_VPC_K8S_CNI_LOG_FILE",
        "/host/var/log/aws-routed-eni/ipamd.log",
    ),
    ("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "prng"),
    ("AWS_VPC_K8S_CNI_VETHPREFIX", "eni"),
    (
        "AWS_VPC_K8S_PLUGIN_LOG_FILE",
        "/var/log/aws-routed-eni/plugin.log",
    ),
    ("AWS_VPC_K8S_PLUGIN_LOG_LEVEL", "DEBUG"),
    (
        "CLUSTER_ENDPOINT",
        "https://0123456789ABCDEF.gr7.eu-west-1.eks.amazonaws.com",
    ),
    ("CLUSTER_NAME", "production"),
    ("DISABLE_INTROSPECTION", "false"),
    ("DISABLE_METRICS", "false"),
    ("DISABLE_NETWORK_RESOURCE_PROVISIONING", "false"),
    ("DISABLE_TCP_EARLY_DEMUX", "false"),
    ("ENABLE_BANDWIDTH_PLUGIN", "false"),
    ("ENABLE_IMDS_ONLY_MODE", "false"),
    ("ENABLE_IPv4", "true"),
    ("ENABLE_IPv6", "false"),
    ("ENABLE_MULTI_NIC", "false"),
    ("ENABLE_POD_ENI", "false"),
    ("ENABLE_PREFIX_DELEGATION", "false"),
    ("ENABLE_SUBNET_DISCOVERY", "true"),
    ("MY_NODE_NAME", "ip-10-0-16-10.eu-west-1.compute.internal"),
    ("MY_POD_NAME", "aws-node-x7k2p"),
    ("NETWORK_POLICY_ENFORCING_MODE", "standard"),
    ("VPC_CNI_VERSION", "v1.23.1"),
    ("VPC_ID", "vpc-0123456789abcdef0"),
    ("WARM_ENI_TARGET", "1"),
    ("WARM_PREFIX_TARGET", "1"),
];

fn remarks(name: &str, value: &str) -> Vec<Remark> {
    let config = read(&[(name, value)]);
    config.unwrap_or_else(|error| panic!("{error}")).remarks
}

fn refusal(name: &str, value: &str) -> String {
    let error = read(&[(name, value)]).expect_err("must be refused");
    assert_eq!(error.problems.len(), 1, "{error}");
    error.problems[0].clone()
}

#[test]
fn every_variable_of_the_aws_plugin_is_known() {
    let of_manifests = STOCK_MANIFEST.iter().map(|(name, _)| *name);
    let missing: Vec<&str> = KNOWN_TO_THE_AWS_PLUGIN
        .into_iter()
        .chain(of_manifests)
        .filter(|name| variables(&crate::app::providers()).all(|variable| variable.name != *name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_vpc_that_manifests_name_is_accepted_and_said_to_have_no_effect() {
    let said = remarks("VPC_ID", "vpc-0123456789abcdef0");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(!said[0].warning && said[0].text.starts_with("without effect: "));
}

#[test]
fn the_stock_manifest_is_accepted_as_it_is() {
    let config = read(STOCK_MANIFEST).unwrap_or_else(|error| panic!("{error}"));
    let warned: Vec<&str> = config
        .remarks
        .iter()
        .filter(|remark| remark.warning)
        .map(|remark| remark.name.as_str())
        .collect();
    assert_eq!(warned, ["NETWORK_POLICY_ENFORCING_MODE"]);
    assert_eq!(config.name(), "ip-10-0-16-10.eu-west-1.compute.internal");
    assert_eq!(config.log_filter, "debug");
}

#[test]
fn the_documented_default_of_every_variable_that_is_not_honoured_is_accepted() {
    for variable in variables(&crate::app::providers()) {
        let default = variable.default.to_string();
        let accepted = match variable.disposition {
            Disposition::Honoured => continue,
            Disposition::WithoutEffect { .. } => &[default.as_str()][..],
            Disposition::Refused { accepted, .. } => accepted,
        };
        for value in accepted {
            let config = read(&[(variable.name, value)]);
            assert!(config.is_ok(), "{}={value}: {config:?}", variable.name);
        }
    }
}

#[test]
fn what_veni_does_not_do_is_refused_with_what_to_use() {
    for (name, value, use_instead) in [
        (
            "ENABLE_POD_ENI",
            "true",
            "set it to false, and give security groups to nodes",
        ),
        ("ENABLE_POD_ENI", "1", "Veni makes no branch interfaces"),
        ("ENABLE_MULTI_NIC", "TRUE", "set it to false"),
        (
            "NETWORK_POLICY_ENFORCING_MODE",
            "strict",
            "set VENI_ENFORCEMENT to ebpf, or this to standard or none",
        ),
        (
            "AWS_VPC_K8S_CNI_BACKING_STORE",
            "/tmp/store.json",
            "set VENI_RUN_DIR or --run-dir",
        ),
    ] {
        let problem = refusal(name, value);
        assert!(problem.starts_with(&format!("{name}=")), "{problem}");
        assert!(problem.contains(use_instead), "{problem}");
    }
}

#[test]
fn wrong_words_are_answered_with_the_right_ones() {
    for (name, value, right) in [
        ("ENABLE_POD_ENI", "yes", "must be true or false"),
        (
            "AWS_MANAGE_ENIS_NON_SCHEDULABLE",
            "maybe",
            "must be true or false",
        ),
        (
            "NETWORK_POLICY_ENFORCING_MODE",
            "lax",
            "must be one of none, standard, strict",
        ),
        (
            "POD_SECURITY_GROUP_ENFORCING_MODE",
            "lax",
            "must be one of strict, standard",
        ),
        (
            "CLUSTER_ENDPOINT",
            "ftp://host",
            "must be an address such as https://host",
        ),
        (
            "CLUSTER_ENDPOINT",
            "no host",
            "must be an address such as https://host",
        ),
        (
            "CLUSTER_ENDPOINT",
            "/path",
            "must be an address such as https://host",
        ),
    ] {
        let problem = refusal(name, value);
        assert_eq!(
            problem.split(": ").next(),
            Some(format!("{name}={value}").as_str())
        );
        assert!(problem.contains(right), "{problem}");
    }
}

#[test]
fn what_has_no_effect_is_said_to_have_none_when_it_is_set() {
    for (name, value) in [
        ("POD_SECURITY_GROUP_ENFORCING_MODE", "standard"),
        ("VPC_CNI_VERSION", "v1.23.1"),
        ("AWS_VPC_K8S_EGRESS_V4_PLUGIN_LOG_FILE", "/var/log/x"),
        ("AWS_VPC_K8S_EGRESS_V6_PLUGIN_LOG_FILE", "/var/log/x"),
        ("ENABLE_NFTABLES", "true"),
        ("AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER", "false"),
    ] {
        let remarks = remarks(name, value);
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        assert!(!remarks[0].warning && remarks[0].name == name);
        assert!(
            remarks[0].text.starts_with("without effect: "),
            "{remarks:?}"
        );
    }
    assert!(read(&[]).expect("valid").remarks.is_empty());
}

#[test]
fn policies_that_nobody_enforces_are_warned_of() {
    let remarks = remarks("NETWORK_POLICY_ENFORCING_MODE", "standard");
    assert!(remarks[0].warning && remarks[0].text.contains("are not enforced"));
    assert!(self::remarks("NETWORK_POLICY_ENFORCING_MODE", "none").is_empty());
}

#[test]
fn what_is_written_at_the_api_follows_the_environment() {
    let read = |name, value| {
        let config = read(&[("KUBECONFIG", "/etc/veni/kubeconfig"), (name, value)]);
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        config.kubernetes.expect("a cluster is named")
    };
    assert!(read("ANNOTATE_POD_IP", "true").annotate_pods);
    let taint = |value| read("VENI_STARTUP_TAINT", value).startup_taint;
    assert_eq!(taint("").as_deref(), Some("veni.dev/not-ready"));
    assert_eq!(
        taint("example.com/agent").as_deref(),
        Some("example.com/agent")
    );
    assert_eq!(taint("none"), None);
    let problem = refusal("VENI_STARTUP_TAINT", "a=b:NoSchedule");
    assert!(problem.contains("without value and effect"), "{problem}");
}

#[cfg(all(feature = "aws", feature = "kube"))]
#[test]
fn eni_configs_come_from_the_api_where_there_is_one_and_no_file_is_named() {
    let on = [
        ("VENI_PROVIDER", "aws"),
        ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "true"),
        ("KUBECONFIG", "/etc/veni/kubeconfig"),
    ];
    let file = |more: &[(&'static str, &'static str)]| {
        let config = read(&[&on, more].concat()).expect("valid");
        config.custom_network.expect("is on").configs
    };
    assert_eq!(file(&[]), None);
    let named = file(&[("VENI_ENI_CONFIG_FILE", "/etc/eni.json")]);
    assert_eq!(named, Some("/etc/eni.json".into()));
}

#[test]
fn truth_values_take_all_spellings_of_the_aws_plugin() {
    for (value, on) in [
        ("1", true),
        ("t", true),
        ("T", true),
        ("true", true),
        ("True", true),
        ("TRUE", true),
        ("0", false),
        ("f", false),
        ("F", false),
        ("false", false),
        ("False", false),
        ("FALSE", false),
    ] {
        let config = read(&[("AWS_VPC_K8S_CNI_EXTERNALSNAT", value)]).expect("valid");
        assert_eq!(config.network.source_nat, !on, "{value}");
    }
}

#[test]
fn values_at_the_ends_of_their_ranges_are_taken_and_those_beyond_refused() {
    for (name, good, wrong) in [
        ("WARM_ENI_TARGET", &["0", "5"][..], &["-1", "many"][..]),
        ("WARM_IP_TARGET", &["0", "100000"], &["-1", "1.5"]),
        ("MINIMUM_IP_TARGET", &["0"], &["-1"]),
        ("WARM_PREFIX_TARGET", &["0", "3"], &["-1"]),
        ("MAX_ENI", &["-1", "0", "15"], &["-2", "x"]),
        ("IP_COOLDOWN_PERIOD", &["0", "30"], &["-1", "30s"]),
        ("AWS_VPC_ENI_MTU", &["576", "9001"], &["575", "9002"]),
        ("POD_MTU", &["576", "9001"], &["575", "9002"]),
        (
            "AWS_VPC_K8S_CNI_VETHPREFIX",
            &["e", "veni"],
            &["eth", "lo", "vlan", "v/", "prefix"],
        ),
        (
            "AWS_VPC_K8S_CNI_RANDOMIZESNAT",
            &["prng", "hashrandom", "none"],
            &["yes"],
        ),
        (
            "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
            &["10.0.0.0/8,fd00::/8"],
            &["10.0.0.1.1/8"],
        ),
        (
            "ADDITIONAL_ENI_TAGS",
            &["{\"team\":\"net\"}"],
            &["team=net", "{\"team\":1}"],
        ),
        (
            "AWS_VPC_K8S_CNI_LOGLEVEL",
            &["Debug", "ipamd=warn"],
            &["loud", "ipamd=loud"],
        ),
    ] {
        for value in good {
            assert!(read(&[(name, value)]).is_ok(), "{name}={value}");
        }
        for value in wrong {
            let problem = refusal(name, value).to_lowercase();
            let start = format!("{name}=").to_lowercase();
            assert!(problem.starts_with(&start), "{problem}");
        }
    }
}

#[test]
fn ipv6_needs_packets_of_1280_bytes() {
    let with = |mtu| read(&[("ENABLE_IPv6", "true"), ("POD_MTU", mtu)]);
    assert!(with("1280").is_ok());
    assert!(with("1279").is_err());
}

#[test]
fn max_eni_of_minus_one_and_zero_mean_the_type_s_limit() {
    for value in ["-1", "0"] {
        let config = read(&[("MAX_ENI", value)]).expect("valid");
        assert_eq!(config.targets.max_eni, None);
    }
}

#[test]
fn mistakes_show_whichever_provider_is_chosen() {
    let problem = refusal("ADDITIONAL_ENI_TAGS", "x");
    assert!(problem.contains("JSON object"), "{problem}");
    let error = read(&[("VENI_PROVIDER", "aws"), ("VENI_MOCK_PROFILE", "x")]);
    assert!(error.is_err());
}

#[test]
fn custom_networking_needs_the_aws_provider() {
    let problem = refusal("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "true");
    assert!(problem.contains("VENI_PROVIDER to aws"), "{problem}");
}

#[cfg(feature = "aws")]
#[test]
fn custom_networking_and_ipv6_exclude_each_other() {
    let on = [
        ("VENI_PROVIDER", "aws"),
        ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "true"),
    ];
    let config = read(&on).expect("valid");
    let custom = config.custom_network.expect("is on");
    assert_eq!(custom.configs, Some("/etc/veni/eniconfigs.json".into()));
    assert_eq!(custom.annotation, "k8s.amazonaws.com/eniConfig");
    assert_eq!(custom.label, "k8s.amazonaws.com/eniConfig");
    let both = read(&[on[0], on[1], ("ENABLE_IPv6", "true")]).expect_err("must be refused");
    assert!(both.problems[0].starts_with("ENABLE_IPv6=true: custom networking keeps pods off"));
}

#[cfg(feature = "bpf")]
#[test]
fn policies_are_enforced_where_their_folder_is_known() {
    let settings = |further: &[(&'static str, &'static str)]| {
        let all = [&[("VENI_ENFORCEMENT", "ebpf")], further].concat();
        read(&all).map(|config| config.enforcement)
    };
    let without = settings(&[]).expect("valid").expect("enforced");
    assert_eq!((without.policies, without.folder), (PolicyMode::None, None));
    let standard = ("NETWORK_POLICY_ENFORCING_MODE", "standard");
    let error = settings(&[standard]).expect_err("from where?").to_string();
    assert!(error.contains("name a folder of them by"), "{error}");
    let folder = ("VENI_POLICY_FOLDER", "/etc/veni/policies");
    let with = settings(&[standard, folder]).expect("valid");
    let with = with.expect("enforced");
    assert_eq!(with.policies, PolicyMode::Standard);
    assert_eq!(with.folder.as_deref(), Some("/etc/veni/policies".as_ref()));
}
