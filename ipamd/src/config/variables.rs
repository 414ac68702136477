//! All settings in the order of the documentation. Each is declared in the file of its
//! subsystem; docs/configuration.md is checked against them.

use super::not_honoured::NOT_HONOURED;
use super::provider::Providers;
use super::variable::Variable;
use super::{
    custom_network, daemon, enforcement, host, kernel, kubernetes, log, network, provider, serving,
    targets, timing,
};

/// All variables: those that are honoured, then the others. What a provider alone is told
/// is among the first: of real clouds before custom networking, of the mock cloud after it.
pub fn variables(providers: &Providers) -> impl Iterator<Item = &'static Variable> + use<> {
    let others = NOT_HONOURED.iter().map(|one| &one.setting.variable);
    let clouds: Vec<&Variable> = providers
        .clouds
        .iter()
        .flat_map(|one| one.variables)
        .copied()
        .collect();
    std::iter::once(&provider::VENI_PROVIDER.variable)
        .chain(clouds)
        .chain(OF_NODE.iter().copied())
        .chain(providers.mock.variables.iter().copied())
        .chain(HONOURED.iter().copied())
        .chain(others)
}

static OF_NODE: &[&Variable] = &[
    &custom_network::AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG.variable,
    &custom_network::ENI_CONFIG_ANNOTATION_DEF.variable,
    &custom_network::ENI_CONFIG_LABEL_DEF.variable,
    &custom_network::VENI_ENI_CONFIG_FILE.variable,
    &custom_network::VENI_NODE_FILE.variable,
    &daemon::MY_NODE_NAME.variable,
    &kubernetes::KUBERNETES_SERVICE_HOST.variable,
    &kubernetes::CLUSTER_ENDPOINT.variable,
    &kubernetes::KUBECONFIG.variable,
    &kubernetes::MY_POD_NAME.variable,
    &kubernetes::ANNOTATE_POD_IP.variable,
    &kubernetes::VENI_STARTUP_TAINT.variable,
    &kubernetes::VENI_TAINT_WITHOUT_ADDRESSES.variable,
];

static HONOURED: &[&Variable] = &[
    &targets::WARM_ENI_TARGET.variable,
    &targets::WARM_IP_TARGET.variable,
    &targets::MINIMUM_IP_TARGET.variable,
    &targets::WARM_PREFIX_TARGET.variable,
    &targets::ENABLE_PREFIX_DELEGATION.variable,
    &targets::MAX_ENI.variable,
    &targets::MAX_PODS.variable,
    &timing::IP_COOLDOWN_PERIOD.variable,
    &network::ENABLE_IPV4.variable,
    &network::ENABLE_IPV6.variable,
    &kernel::DISABLE_POD_V6.variable,
    &kernel::ENABLE_V4_EGRESS.variable,
    &kernel::ENABLE_V6_EGRESS.variable,
    &targets::DISABLE_NETWORK_RESOURCE_PROVISIONING.variable,
    &targets::AWS_MANAGE_ENIS_NON_SCHEDULABLE.variable,
    &targets::VENI_POOL_BATCH.variable,
    &targets::VENI_POOL_REQUEST_PERCENT.variable,
    &targets::VENI_POOL_RELEASE_PERCENT.variable,
    &targets::VENI_RELEASE_DELAY.variable,
    &targets::VENI_DETACH_AGE.variable,
    &network::AWS_VPC_K8S_CNI_EXTERNALSNAT.variable,
    &network::AWS_VPC_K8S_CNI_RANDOMIZESNAT.variable,
    &network::AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS.variable,
    &network::AWS_VPC_CNI_NODE_PORT_SUPPORT.variable,
    &network::VENI_BLOCK_POD_METADATA.variable,
    &kernel::AWS_EXTERNAL_SERVICE_CIDRS.variable,
    &kernel::AWS_VPC_K8S_CNI_CONNMARK.variable,
    &kernel::DISABLE_TCP_EARLY_DEMUX.variable,
    &network::AWS_VPC_K8S_CNI_VETHPREFIX.variable,
    &network::AWS_VPC_ENI_MTU.variable,
    &network::POD_MTU.variable,
    &enforcement::VENI_ENFORCEMENT.variable,
    &enforcement::NETWORK_POLICY_ENFORCING_MODE.variable,
    &enforcement::VENI_POLICY_FOLDER.variable,
    &enforcement::VENI_BPF_FOLDER.variable,
    &timing::VENI_ADD_WAIT.variable,
    &timing::VENI_AUDIT_INTERVAL.variable,
    &timing::VENI_INVENTORY_INTERVAL.variable,
    &timing::VENI_DOUBT_TIME.variable,
    &timing::VENI_LOCAL_VIEW_INTERVAL.variable,
    &timing::VENI_CLOUD_DEADLINE.variable,
    &timing::VENI_DENIED_RETRY.variable,
    &timing::VENI_SUBNET_RETRY.variable,
    &serving::VENI_METRICS_ADDRESS.variable,
    &serving::DISABLE_METRICS.variable,
    &serving::INTROSPECTION_BIND_ADDRESS.variable,
    &serving::DISABLE_INTROSPECTION.variable,
    &serving::VENI_HEALTH_ADDRESS.variable,
    &daemon::VENI_STATE_DIR.variable,
    &host::VENI_HOST_ROOT.variable,
    &host::HOST_CNI_BIN_PATH.variable,
    &host::HOST_CNI_CONFDIR_PATH.variable,
    &host::VENI_PLUGIN_SOURCE.variable,
    &host::VENI_TAKE_OVER.variable,
    &host::AWS_VPC_K8S_PLUGIN_LOG_FILE.variable,
    &host::AWS_VPC_K8S_PLUGIN_LOG_LEVEL.variable,
    &host::ENABLE_BANDWIDTH_PLUGIN.variable,
    &log::AWS_VPC_K8S_CNI_LOG_FILE.variable,
    &log::AWS_VPC_K8S_CNI_LOGLEVEL.variable,
    &log::VENI_LOG_FORMAT.variable,
    &daemon::VENI_CRASH_AT.variable,
];
