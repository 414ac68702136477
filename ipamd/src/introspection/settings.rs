//! The settings in force under the AWS plugin's two paths.

use serde_json::{Value, json};
use veni_dataplane::plan::{PRIMARY_MARK, SourceNatPorts};
use veni_pool::SlotKind;

use crate::config::Config;

/// `/v1/networkutils-env-settings`.
pub(super) fn of_network(config: &Config) -> Value {
    let network = &config.network;
    json!({
        "AWS_VPC_ENI_MTU": network.interface_mtu,
        "AWS_VPC_K8S_CNI_CONNMARK": PRIMARY_MARK,
        "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS": network.untranslated,
        "AWS_VPC_K8S_CNI_EXTERNALSNAT": !network.source_nat,
        "AWS_VPC_K8S_CNI_RANDOMIZESNAT": match network.source_nat_ports {
            SourceNatPorts::FullyRandom => "prng",
            SourceNatPorts::Random => "hashrandom",
            SourceNatPorts::Keep => "none",
        },
        "AWS_VPC_K8S_CNI_VETHPREFIX": network.veth_prefix,
        "AWS_VPC_CNI_NODE_PORT_SUPPORT": network.node_ports,
        "POD_MTU": network.pod_mtu,
    })
}

/// `/v1/ipamd-env-settings`.
pub(super) fn of_ipamd(config: &Config) -> Value {
    let targets = &config.targets;
    json!({
        "ENABLE_PREFIX_DELEGATION": targets.mode == SlotKind::Prefix,
        "MAX_ENI": targets.max_eni,
        "MINIMUM_IP_TARGET": targets.minimum_ip.unwrap_or(0),
        "WARM_ENI_TARGET": targets.warm_eni,
        "WARM_IP_TARGET": targets.warm_ip.unwrap_or(0),
        "WARM_PREFIX_TARGET": targets.warm_prefix.unwrap_or(0),
    })
}
