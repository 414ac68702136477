//! Every environment variable that the daemon reads, with default and effect.
//!
//! The table is the only way to read one, and docs/configuration.md is checked
//! against it.

/// One environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Name.
    pub name: &'static str,
    /// Default in words; empty where there is none.
    pub default: &'static str,
    /// What it does, one sentence.
    pub effect: &'static str,
}

const fn variable(name: &'static str, default: &'static str, effect: &'static str) -> Variable {
    Variable {
        name,
        default,
        effect,
    }
}

/// All variables, in the order of the documentation.
pub const VARIABLES: &[Variable] = &[
    variable(
        "VENI_PROVIDER",
        "mock",
        "Which cloud manages the node's interfaces: mock, or aws in builds with that feature.",
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
        "AWS: leave interfaces alone that dead nodes have left behind.",
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
        "what the interfaces allow, at most 110, or 250 above 30 virtual CPUs",
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
        "AWS_VPC_K8S_CNI_VETHPREFIX",
        "eni",
        "First letters of the host ends' names, at most four.",
    ),
    variable(
        "AWS_VPC_ENI_MTU",
        "9001",
        "MTU of secondary interfaces, 576 to 9001 (1280 with IPv6).",
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
        "Seconds until a change is tried again that the cloud has refused for want of a permission.",
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
