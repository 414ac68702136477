//! The settings as they are in force: value, source, and what makes one idle.

use super::read;
use crate::config::{
    CloudProfile, Config, EffectiveSetting, NodeFacts, Source, in_blocks, in_one_line,
};

fn facts() -> NodeFacts {
    NodeFacts {
        profile: CloudProfile::Aws,
        instance_type: "m5.large".to_owned(),
        max_interfaces: 3,
        max_pods: 29,
        prefixes: true,
    }
}

fn config(pairs: &[(&str, &str)]) -> Config {
    read(pairs).unwrap_or_else(|error| panic!("{error}"))
}

fn setting(pairs: &[(&str, &str)], name: &str) -> EffectiveSetting {
    let all = config(pairs).settings(&crate::app::providers(), Some(&facts()));
    let found = all.into_iter().find(|one| one.variable.name == name);
    found.expect("the variable is known")
}

fn value(pairs: &[(&str, &str)], name: &str) -> (String, String) {
    let setting = setting(pairs, name);
    (setting.value, setting.source.to_string())
}

fn pair(value: &str, source: &str) -> (String, String) {
    (value.to_owned(), source.to_owned())
}

#[test]
fn a_value_comes_from_the_environment_or_is_the_default() {
    assert_eq!(value(&[], "WARM_ENI_TARGET"), pair("1", "default"));
    let given = [("WARM_ENI_TARGET", " 2 ")];
    assert_eq!(value(&given, "WARM_ENI_TARGET"), pair("2", "environment"));
    let given = [("DISABLE_METRICS", "T")];
    assert_eq!(
        value(&given, "DISABLE_METRICS"),
        pair("true", "environment")
    );
    let tags = [("ADDITIONAL_ENI_TAGS", "{\"team\": \"net\"}")];
    assert_eq!(
        value(&tags, "ADDITIONAL_ENI_TAGS"),
        pair("{\"team\": \"net\"}", "environment")
    );
}

#[test]
fn what_the_node_decides_is_shown_with_its_reason() {
    let limit = pair("3", "limit of m5.large");
    assert_eq!(value(&[], "MAX_ENI"), limit);
    assert_eq!(value(&[("MAX_ENI", "-1")], "MAX_ENI"), limit);
    assert_eq!(value(&[("MAX_ENI", "7")], "MAX_ENI"), limit);
    assert_eq!(
        value(&[("MAX_ENI", "2")], "MAX_ENI"),
        pair("2", "environment")
    );
    assert_eq!(value(&[], "MAX_PODS"), pair("29", "interfaces of m5.large"));
    assert_eq!(
        value(&[("MAX_PODS", "20")], "MAX_PODS"),
        pair("20", "environment")
    );
    assert_eq!(value(&[], "MY_NODE_NAME"), pair("node-1", "host name"));
}

#[test]
fn what_another_setting_decides_is_shown_with_its_name() {
    let mtu = [("AWS_VPC_ENI_MTU", "1500")];
    assert_eq!(value(&mtu, "POD_MTU"), pair("1500", "AWS_VPC_ENI_MTU"));
    let cleanup = "DISABLE_LEAKED_ENI_CLEANUP";
    let still = [("DISABLE_NETWORK_RESOURCE_PROVISIONING", "true")];
    let from = "DISABLE_NETWORK_RESOURCE_PROVISIONING";
    assert_eq!(value(&still, cleanup), pair("true", from));
    assert_eq!(value(&[], cleanup), pair("false", "default"));
    let prefixes = [("ENABLE_PREFIX_DELEGATION", "true")];
    assert_eq!(value(&prefixes, "WARM_PREFIX_TARGET"), pair("1", "default"));
    assert_eq!(value(&[], "WARM_PREFIX_TARGET"), pair("unset", "default"));
}

#[test]
fn a_type_without_prefixes_switches_prefix_delegation_off() {
    let old = NodeFacts {
        instance_type: "m4.large".to_owned(),
        prefixes: false,
        ..facts()
    };
    let all = config(&[("ENABLE_PREFIX_DELEGATION", "true")])
        .settings(&crate::app::providers(), Some(&old));
    let find = |name: &str| {
        let found = all.iter().find(|one| one.variable.name == name);
        found.expect("the variable is known")
    };
    let delegation = find("ENABLE_PREFIX_DELEGATION");
    assert_eq!(delegation.value, "false");
    assert_eq!(delegation.source.to_string(), "m4.large takes no prefixes");
    assert_eq!(find("WARM_ENI_TARGET").note, "");
}

#[cfg(feature = "aws")]
#[test]
fn metadata_only_mode_switches_provisioning_and_clean_up_off() {
    let only = [("VENI_PROVIDER", "aws"), ("ENABLE_IMDS_ONLY_MODE", "true")];
    for name in [
        "DISABLE_NETWORK_RESOURCE_PROVISIONING",
        "DISABLE_LEAKED_ENI_CLEANUP",
    ] {
        assert_eq!(
            value(&only, name),
            pair("true", "ENABLE_IMDS_ONLY_MODE"),
            "{name}"
        );
    }
}

#[cfg(feature = "aws")]
#[test]
fn a_provider_that_is_not_chosen_switches_nothing_off() {
    let settings = [("VENI_PROVIDER", "mock"), ("ENABLE_IMDS_ONLY_MODE", "true")];
    assert!(config(&settings).targets.provisioning);
    let chosen = [("VENI_PROVIDER", "aws"), ("ENABLE_IMDS_ONLY_MODE", "true")];
    assert!(!config(&chosen).targets.provisioning);
}

#[test]
fn leaked_interfaces_are_left_alone_where_nothing_is_changed_and_where_pods_have_no_ipv4() {
    let aws = ("VENI_PROVIDER", "aws");
    let fixed = [aws, ("DISABLE_NETWORK_RESOURCE_PROVISIONING", "true")];
    let ipv6 = [
        aws,
        ("ENABLE_IPv4", "false"),
        ("ENABLE_IPv6", "true"),
        ("ENABLE_PREFIX_DELEGATION", "true"),
    ];
    let name = "DISABLE_LEAKED_ENI_CLEANUP";
    assert_eq!(value(&fixed, name), pair("true", fixed[1].0));
    assert_eq!(value(&ipv6, name), pair("true", "ENABLE_IPv4"));
    assert_eq!(value(&[aws], name), pair("false", "default"));
}

#[test]
fn a_setting_that_changes_nothing_says_why() {
    let by_addresses: &[(&str, &str)] = &[("WARM_IP_TARGET", "5")];
    let minimum: &[(&str, &str)] = &[("MINIMUM_IP_TARGET", "5")];
    let prefixes: &[(&str, &str)] = &[("ENABLE_PREFIX_DELEGATION", "true")];
    let external: &[(&str, &str)] = &[("AWS_VPC_K8S_CNI_EXTERNALSNAT", "true")];
    for (pairs, name, note) in [
        (
            by_addresses,
            "WARM_ENI_TARGET",
            "not used: WARM_IP_TARGET is set",
        ),
        (
            minimum,
            "WARM_PREFIX_TARGET",
            "not used: MINIMUM_IP_TARGET is set",
        ),
        (
            prefixes,
            "WARM_ENI_TARGET",
            "not used: ENABLE_PREFIX_DELEGATION is true",
        ),
        (
            &[],
            "WARM_PREFIX_TARGET",
            "used only with ENABLE_PREFIX_DELEGATION=true",
        ),
        (
            external,
            "AWS_VPC_K8S_CNI_RANDOMIZESNAT",
            "not used: AWS_VPC_K8S_CNI_EXTERNALSNAT is true",
        ),
        (
            &[("DISABLE_METRICS", "1")],
            "VENI_METRICS_ADDRESS",
            "not used: DISABLE_METRICS is true",
        ),
        (&[], "CLUSTER_NAME", "used only with VENI_PROVIDER=aws"),
        (
            &[],
            "VENI_ENI_CONFIG_FILE",
            "used only with AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true",
        ),
        (&[], "VENI_POOL_BATCH", "used only with Azure"),
        (&[], "WARM_ENI_TARGET", ""),
        (prefixes, "WARM_PREFIX_TARGET", ""),
    ] {
        assert_eq!(setting(pairs, name).note, note, "{name} {pairs:?}");
    }
}

#[test]
fn azure_s_targets_take_the_place_of_aws_s() {
    let azure = NodeFacts {
        profile: CloudProfile::Azure,
        ..facts()
    };
    let all = config(&[]).settings(&crate::app::providers(), Some(&azure));
    let note = |name: &str| {
        let found = all.iter().find(|one| one.variable.name == name);
        found.expect("the variable is known").note
    };
    assert_eq!(note("WARM_ENI_TARGET"), "used only with AWS");
    assert_eq!(note("VENI_POOL_BATCH"), "");
}

#[test]
fn without_a_node_its_share_stays_in_words() {
    let all = config(&[]).settings(&crate::app::providers(), None);
    let max_eni = all.iter().find(|one| one.variable.name == "MAX_ENI");
    let max_eni = max_eni.expect("the variable is known");
    assert_eq!(max_eni.value, "the instance type's limit");
    assert_eq!(max_eni.source, Source::Default);
}

#[test]
fn the_log_s_line_has_what_is_in_force_and_nothing_else() {
    let line = in_one_line(
        &config(&[("WARM_IP_TARGET", "5")]).settings(&crate::app::providers(), Some(&facts())),
    );
    for part in [
        "WARM_IP_TARGET=5",
        "MAX_ENI=3",
        "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS=\"\"",
    ] {
        assert!(line.split(' ').any(|word| word == part), "{part}: {line}");
    }
    for absent in ["WARM_ENI_TARGET", "ENABLE_POD_ENI", "VPC_CNI_VERSION"] {
        assert!(!line.contains(absent), "{absent}: {line}");
    }
}

#[test]
fn blocks_tell_value_source_default_and_effect() {
    let pairs = [("MAX_ENI", "2"), ("ENABLE_POD_ENI", "0")];
    let text = in_blocks(&config(&pairs).settings(&crate::app::providers(), Some(&facts())));
    assert!(text.contains("MAX_ENI=2 [environment; default the instance type's limit]\n    Most"));
    assert!(text.contains("ENABLE_POD_ENI=false [environment; default false]\n"));
    let refused = "    other values are refused: ";
    assert!(text.contains(&format!("{refused}Veni gives a pod one interface")));
    let accepted = format!("{refused}Veni makes no branch interfaces");
    assert!(!text.contains(&accepted), "what was set is accepted");
}
