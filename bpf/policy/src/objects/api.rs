//! The JSON of the API: NetworkPolicy of networking.k8s.io/v1, Namespace and Pod of v1. Only the
//! fields that policies need; nothing is checked here but JSON's types.
//!
//! Go writes `null` for an empty list, so every list is optional.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Labels;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Metadata {
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) labels: Option<Labels>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Namespace {
    pub(super) metadata: Metadata,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: Metadata,
    pub(super) spec: PodSpec,
    pub(super) status: PodStatus,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodSpec {
    pub(super) host_network: Option<bool>,
    pub(super) containers: Option<Vec<Container>>,
    pub(super) init_containers: Option<Vec<Container>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) restart_policy: Option<String>,
    pub(super) ports: Option<Vec<ContainerPort>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerPort {
    pub(super) name: Option<String>,
    pub(super) container_port: i64,
    pub(super) protocol: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodStatus {
    pub(super) phase: Option<String>,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pub(super) pod_ips: Option<Vec<PodIp>>,
}

#[derive(Deserialize)]
pub(super) struct PodIp {
    pub(super) ip: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct NetworkPolicy {
    pub(super) metadata: Metadata,
    pub(super) spec: Option<NetworkPolicySpec>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NetworkPolicySpec {
    pub(super) pod_selector: Option<LabelSelector>,
    pub(super) ingress: Option<Vec<IngressRule>>,
    pub(super) egress: Option<Vec<EgressRule>>,
    pub(super) policy_types: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct IngressRule {
    pub(super) from: Option<Vec<Peer>>,
    pub(super) ports: Option<Vec<Port>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct EgressRule {
    pub(super) to: Option<Vec<Peer>>,
    pub(super) ports: Option<Vec<Port>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Peer {
    pub(super) pod_selector: Option<LabelSelector>,
    pub(super) namespace_selector: Option<LabelSelector>,
    pub(super) ip_block: Option<IpBlock>,
}

#[derive(Deserialize)]
pub(super) struct IpBlock {
    pub(super) cidr: String,
    pub(super) except: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Port {
    pub(super) protocol: Option<String>,
    pub(super) port: Option<IntOrString>,
    pub(super) end_port: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a port's number or its name")]
pub(super) enum IntOrString {
    Int(i64),
    String(String),
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct LabelSelector {
    pub(super) match_labels: Option<BTreeMap<String, String>>,
    pub(super) match_expressions: Option<Vec<LabelSelectorRequirement>>,
}

#[derive(Deserialize)]
pub(super) struct LabelSelectorRequirement {
    pub(super) key: String,
    pub(super) operator: String,
    pub(super) values: Option<Vec<String>>,
}
