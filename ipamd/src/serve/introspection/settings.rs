//! The settings in force under the AWS plugin's two paths: numbers, truth values
//! and lists of ranges as such, everything else as text.

use serde_json::{Map, Value, json};

use crate::config::EffectiveSetting;

const NETWORK: [&str; 10] = [
    "AWS_EXTERNAL_SERVICE_CIDRS",
    "AWS_VPC_CNI_NODE_PORT_SUPPORT",
    "AWS_VPC_ENI_MTU",
    "AWS_VPC_K8S_CNI_CONNMARK",
    "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
    "AWS_VPC_K8S_CNI_EXTERNALSNAT",
    "AWS_VPC_K8S_CNI_RANDOMIZESNAT",
    "AWS_VPC_K8S_CNI_VETHPREFIX",
    "DISABLE_TCP_EARLY_DEMUX",
    "POD_MTU",
];

const IPAMD: [&str; 9] = [
    "AWS_MANAGE_ENIS_NON_SCHEDULABLE",
    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG",
    "ENABLE_PREFIX_DELEGATION",
    "ENABLE_SUBNET_DISCOVERY",
    "MAX_ENI",
    "MINIMUM_IP_TARGET",
    "WARM_ENI_TARGET",
    "WARM_IP_TARGET",
    "WARM_PREFIX_TARGET",
];

/// `/v1/networkutils-env-settings`.
pub(super) fn of_network(settings: &[EffectiveSetting]) -> Value {
    named(settings, &NETWORK)
}

/// `/v1/ipamd-env-settings`.
pub(super) fn of_ipamd(settings: &[EffectiveSetting]) -> Value {
    named(settings, &IPAMD)
}

fn named(settings: &[EffectiveSetting], names: &[&str]) -> Value {
    let chosen = settings
        .iter()
        .filter(|setting| names.contains(&setting.variable.name))
        .map(|setting| {
            let name = setting.variable.name;
            (name.to_owned(), typed(name, &setting.value))
        });
    Value::Object(chosen.collect::<Map<_, _>>())
}

fn typed(name: &str, value: &str) -> Value {
    if name.ends_with("_CIDRS") {
        let ranges = value.split(',').map(str::trim).filter(|r| !r.is_empty());
        return ranges.collect();
    }
    match value {
        // Targets that are not set count as 0.
        "" | "unset" => json!(0),
        "true" | "True" | "TRUE" | "t" | "T" => json!(true),
        "false" | "False" | "FALSE" | "f" | "F" => json!(false),
        _ => value
            .parse()
            .map_or_else(|_| json!(value), |number: i64| json!(number)),
    }
}
