//! Every environment variable that the daemon follows, with default and effect;
//! [`super::not_honoured`] has those of the AWS plugin that it does not.
//!
//! The tables are the only way to read one, and docs/configuration.md is checked
//! against them.

use super::not_honoured::NOT_HONOURED;
use super::variable::{Disposition, Variable};

/// All variables: those that are honoured, then the others.
pub fn variables() -> impl Iterator<Item = &'static Variable> {
    VARIABLES.iter().chain(NOT_HONOURED)
}

/// The row of a variable.
#[must_use]
pub(super) fn find(name: &str) -> Option<&'static Variable> {
    variables().find(|variable| variable.name == name)
}

const fn variable(name: &'static str, default: &'static str, effect: &'static str) -> Variable {
    Variable {
        name,
        default,
        effect,
        disposition: Disposition::Honoured,
    }
}

/// The variables that are honoured, in the order of the documentation.
pub(super) const VARIABLES: &[Variable] = &[
    variable(
        "VENI_PROVIDER",
        "none: must be set",
        "Which cloud manages the node's interfaces: aws in builds with that feature, or mock, for tests.",
    ),
    variable(
        "CLUSTER_NAME",
        "",
        "AWS: tag of new interfaces, and the scope of subnet discovery and leak clean-up.",
    ),
    variable(
        "ADDITIONAL_ENI_TAGS",
        "{}",
        "AWS: more tags for new interfaces, a JSON object of texts.",
    ),
    variable(
        "MANAGE_UNTAGGED_ENI",
        "true",
        "AWS: use interfaces that carry neither the node's tag nor the no-manage tag.",
    ),
    variable(
        "ENABLE_SUBNET_DISCOVERY",
        "true",
        "AWS: make interfaces in other tagged subnets of the zone too.",
    ),
    variable(
        "DISABLE_LEAKED_ENI_CLEANUP",
        "false",
        "AWS: leave interfaces alone that dead nodes have left behind; so it is where pods have no IPv4. The node's own are cleared up in any case.",
    ),
    variable(
        "VENI_LEAK_INTERVAL",
        "3600",
        "AWS: seconds between two searches for interfaces that dead nodes have left behind; the first comes after a random part of a twelfth.",
    ),
    variable(
        "ENABLE_IMDS_ONLY_MODE",
        "false",
        "AWS: never call EC2; use what instance metadata shows. Nothing is changed, as with DISABLE_NETWORK_RESOURCE_PROVISIONING.",
    ),
    variable(
        "AWS_EC2_ENDPOINT",
        "the region's",
        "AWS: URL of EC2, over AWS_ENDPOINT_URL_EC2 and AWS_ENDPOINT_URL.",
    ),
    variable(
        "HTTP_TIMEOUT",
        "10",
        "AWS: seconds that one request to EC2 may take, 10 at least; VENI_CLOUD_DEADLINE bounds all requests of one change.",
    ),
    variable(
        "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG",
        "false",
        "AWS: pods' interfaces live in the subnet and the security groups of an ENIConfig; the primary interface serves no pods.",
    ),
    variable(
        "ENI_CONFIG_ANNOTATION_DEF",
        "k8s.amazonaws.com/eniConfig",
        "AWS: annotation of the node that names its ENIConfig.",
    ),
    variable(
        "ENI_CONFIG_LABEL_DEF",
        "k8s.amazonaws.com/eniConfig",
        "AWS: label of the node that names its ENIConfig where the annotation is missing.",
    ),
    variable(
        "VENI_ENI_CONFIG_FILE",
        "/etc/veni/eniconfigs.json",
        "AWS: file of the ENIConfigs, as `kubectl get eniconfigs -o json` prints them.",
    ),
    variable(
        "VENI_NODE_FILE",
        "none",
        "AWS: file with the node's further labels and annotations, as `kubectl get node NAME -o json` prints it.",
    ),
    variable(
        "MY_NODE_NAME",
        "the host name",
        "The node's name in the log and in `veni status`, and its label kubernetes.io/hostname.",
    ),
    variable(
        "VENI_INSTANCE_ID",
        "the host name",
        "The node's id in the mock cloud.",
    ),
    variable(
        "VENI_MOCK_ENDPOINT",
        "in process",
        "Unix socket of a mock cloud that several nodes share; without it the daemon carries one of its own.",
    ),
    variable(
        "VENI_MOCK_INSTANCE_TYPE",
        "m5.large",
        "Instance type of the node in a mock cloud of its own.",
    ),
    variable(
        "VENI_MOCK_PROFILE",
        "aws",
        "Whose rules the mock cloud follows: aws or azure.",
    ),
    variable(
        "VENI_MOCK_PRIMARY_ADDRESS",
        "10.0.0.4/20",
        "Address of the primary interface in a mock cloud of its own, with the length of its subnet.",
    ),
    variable(
        "VENI_MOCK_PRIMARY_LINK",
        "eth0",
        "Link that stands for the primary interface in a mock cloud of its own.",
    ),
    variable(
        "WARM_ENI_TARGET",
        "1",
        "Whole spare interfaces to hold; not used when an address target is set or with prefix delegation.",
    ),
    variable(
        "WARM_IP_TARGET",
        "unset",
        "Free addresses to hold; wins over WARM_ENI_TARGET and WARM_PREFIX_TARGET.",
    ),
    variable(
        "MINIMUM_IP_TARGET",
        "unset",
        "Addresses to hold in total, used or not; wins over WARM_ENI_TARGET and WARM_PREFIX_TARGET.",
    ),
    variable(
        "WARM_PREFIX_TARGET",
        "1 with prefix delegation",
        "Free prefixes to hold; only with prefix delegation.",
    ),
    variable(
        "ENABLE_PREFIX_DELEGATION",
        "false",
        "Hold /28 prefixes in place of single addresses.",
    ),
    variable(
        "MAX_ENI",
        "the instance type's limit",
        "Most interfaces to use, the primary one included; only a number below the type's limit counts.",
    ),
    variable(
        "MAX_PODS",
        "what the interfaces allow",
        "Most pods of the node; the pool does not grow beyond.",
    ),
    variable(
        "IP_COOLDOWN_PERIOD",
        "30",
        "Seconds before an address that a pod has left may be given to another.",
    ),
    variable("ENABLE_IPv4", "true", "Pods get an IPv4 address."),
    variable(
        "ENABLE_IPv6",
        "false",
        "Pods get an IPv6 address, out of a /80 on the primary interface; together with ENABLE_IPv4 both.",
    ),
    variable(
        "DISABLE_POD_V6",
        "false",
        "Switch IPv6 off inside every pod; refused together with ENABLE_IPv6 and ENABLE_V6_EGRESS.",
    ),
    variable(
        "ENABLE_V4_EGRESS",
        "true",
        "Where pods have IPv6 alone: each also gets a node-local IPv4 address, by which it opens flows that leave with the node's own.",
    ),
    variable(
        "ENABLE_V6_EGRESS",
        "false",
        "Where pods have IPv4 alone: each also gets a node-local IPv6 address, by which it opens flows that leave with the node's own.",
    ),
    variable(
        "DISABLE_NETWORK_RESOURCE_PROVISIONING",
        "false",
        "Use what the interfaces hold; never ask the cloud for a change.",
    ),
    variable(
        "VENI_POOL_BATCH",
        "16",
        "Azure: addresses to ask for at once.",
    ),
    variable(
        "VENI_POOL_REQUEST_PERCENT",
        "50",
        "Azure: ask for a batch when fewer free addresses than this share of a batch are left.",
    ),
    variable(
        "VENI_POOL_RELEASE_PERCENT",
        "150",
        "Azure: give a batch back when more free addresses than this share of a batch are left.",
    ),
    variable(
        "VENI_RELEASE_DELAY",
        "60",
        "Seconds that an excess must last before anything is given back.",
    ),
    variable(
        "VENI_DETACH_AGE",
        "60",
        "Seconds that an interface is kept at least before it may be detached.",
    ),
    variable(
        "AWS_VPC_K8S_CNI_EXTERNALSNAT",
        "false",
        "Leave the translation of traffic that leaves the network to a gateway.",
    ),
    variable(
        "AWS_VPC_K8S_CNI_RANDOMIZESNAT",
        "prng",
        "How source ports are chosen: prng, hashrandom or none.",
    ),
    variable(
        "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
        "",
        "Further ranges, separated by commas, to which pods keep their own address.",
    ),
    variable(
        "AWS_VPC_CNI_NODE_PORT_SUPPORT",
        "true",
        "Answers to node-port traffic leave by the primary interface.",
    ),
    variable(
        "AWS_EXTERNAL_SERVICE_CIDRS",
        "",
        "Ranges, separated by commas, to which pods' packets follow the node's own routes and leave by its primary interface.",
    ),
    variable(
        "AWS_VPC_K8S_CNI_CONNMARK",
        "0x80",
        "Mark, and its mask, of connections that must leave by the primary interface: decimal or 0x…, without the bits of kube-proxy (0x4000, 0x8000).",
    ),
    variable(
        "DISABLE_TCP_EARLY_DEMUX",
        "false",
        "Set net.ipv4.tcp_early_demux=0 on the node; false leaves the node's value alone.",
    ),
    variable(
        "AWS_VPC_K8S_CNI_VETHPREFIX",
        "eni",
        "First letters of the host ends' names, at most four.",
    ),
    variable(
        "AWS_VPC_ENI_MTU",
        "9001",
        "MTU of the cloud's interfaces, the primary one among them, 576 to 9001 (1280 with IPv6).",
    ),
    variable(
        "POD_MTU",
        "AWS_VPC_ENI_MTU",
        "MTU of the pods, in the same range.",
    ),
    variable(
        "VENI_ADD_WAIT",
        "60",
        "Seconds that an ADD waits for an address when the pool is empty.",
    ),
    variable(
        "VENI_AUDIT_INTERVAL",
        "10",
        "Seconds between two comparisons of journal and kernel.",
    ),
    variable(
        "VENI_INVENTORY_INTERVAL",
        "3600 where the node sees its interfaces by itself, else 600",
        "Seconds between two looks at the cloud's inventory when nothing changes.",
    ),
    variable(
        "VENI_DOUBT_TIME",
        "120",
        "Seconds apart that two inventories must both lack an address, a prefix or an interface before it is dropped, at least twice the time that the cloud says its changes take to show. Until then pods keep what they have of it, and no other pod gets any.",
    ),
    variable(
        "VENI_GLANCE_INTERVAL",
        "30",
        "Seconds between two glances at what the node sees of its interfaces without a cloud call (AWS: instance metadata); a change leads to a look at the inventory.",
    ),
    variable(
        "VENI_CLOUD_DEADLINE",
        "60",
        "Seconds that one cloud call may take.",
    ),
    variable(
        "VENI_DENIED_RETRY",
        "30",
        "Seconds until a change is tried again that the cloud has refused for want of a permission, or as wrong for good. Doubles with each refusal of the same kind of change, up to 300, or to the value when that is more.",
    ),
    variable(
        "VENI_SUBNET_RETRY",
        "120",
        "Seconds until an exhausted subnet is tried again, unless it is seen before that it has room.",
    ),
    variable(
        "VENI_METRICS_ADDRESS",
        "[::]:61678",
        "Address of the metrics endpoint.",
    ),
    variable("DISABLE_METRICS", "false", "Serve no metrics."),
    variable(
        "INTROSPECTION_BIND_ADDRESS",
        "127.0.0.1:61679",
        "Address of introspection: JSON over HTTP, for people and scripts; also `unix:` and a path.",
    ),
    variable("DISABLE_INTROSPECTION", "false", "Serve no introspection."),
    variable(
        "VENI_STATE_DIR",
        "/var/lib/veni",
        "Folder of what must outlive a reboot: the record of what Veni assigned to the node, without which it gives nothing back of the primary interface.",
    ),
    variable(
        "VENI_HOST_ROOT",
        "/",
        "Folder with the host's files, where the daemon looks for a running AWS plugin and for programs that would disturb pods' network.",
    ),
    variable(
        "HOST_CNI_BIN_PATH",
        "/host/opt/cni/bin where it exists",
        "Folder of the runtime's plugins, into which the daemon installs veni-cni.",
    ),
    variable(
        "HOST_CNI_CONFDIR_PATH",
        "/host/etc/cni/net.d where it exists",
        "Folder of the runtime's network configurations, into which the daemon installs 10-veni.conflist once it is ready.",
    ),
    variable(
        "VENI_PLUGIN_SOURCE",
        "veni-cni beside ipamd",
        "The binary to install.",
    ),
    variable(
        "AWS_VPC_K8S_PLUGIN_LOG_FILE",
        "none",
        "pluginLogFile of the network configuration that the daemon installs: a path on the host.",
    ),
    variable(
        "AWS_VPC_K8S_PLUGIN_LOG_LEVEL",
        "info",
        "pluginLogLevel of it: error, warn, info, debug or trace; from debug on every call gets a line, not only failures.",
    ),
    variable(
        "AWS_VPC_K8S_CNI_LOG_FILE",
        "stderr",
        "Where the daemon logs: stderr, stdout or a path, whose folder is made; opened anew by SIGHUP and after a rotation.",
    ),
    variable(
        "AWS_VPC_K8S_CNI_LOGLEVEL",
        "info",
        "error, warn, info, debug, trace, or a filter such as `ipamd::pool=debug`.",
    ),
    variable("VENI_LOG_FORMAT", "text", "text or json."),
    variable(
        "VENI_CRASH_AT",
        "",
        "Only in builds for tests: the point at which the daemon kills itself.",
    ),
];
