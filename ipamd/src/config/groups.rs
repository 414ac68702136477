//! Each group of settings, read and checked.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use tracing_subscriber::EnvFilter;
use veni_dataplane::plan::SourceNatPorts;
use veni_pool::SlotKind;

use super::reader::Reader;
use super::{
    AwsChoice, CloudProfile, CustomNetworkSettings, NetworkSettings, ProviderChoice,
    TargetSettings, Timing,
};
use crate::pool::DOUBT_TIME_SECONDS;

/// The providers of this build.
const PROVIDERS: &[(&str, &str)] = &[
    ("mock", "mock"),
    #[cfg(feature = "aws")]
    ("aws", "aws"),
];

fn read_aws(reader: &mut Reader<'_>) -> AwsChoice {
    let metadata_only = reader.boolean("ENABLE_IMDS_ONLY_MODE", false);
    AwsChoice {
        cluster_name: reader.text("CLUSTER_NAME"),
        additional_tags: read_tags(reader),
        manage_untagged: reader.boolean("MANAGE_UNTAGGED_ENI", true),
        subnet_discovery: reader.boolean("ENABLE_SUBNET_DISCOVERY", true),
        leak_cleanup: !reader.boolean("DISABLE_LEAKED_ENI_CLEANUP", false) && !metadata_only,
        leak_interval: reader.seconds("VENI_LEAK_INTERVAL", 1..=86_400, 3600),
        metadata_only,
        ec2_endpoint: read_endpoint(reader),
        http_timeout: reader.seconds("HTTP_TIMEOUT", 10..=600, 10),
    }
}

fn read_endpoint(reader: &mut Reader<'_>) -> Option<String> {
    let name = "AWS_EC2_ENDPOINT";
    let text = reader.text(name)?;
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split('/').next());
    if host.is_none_or(str::is_empty) || text.contains(char::is_whitespace) {
        reader.problem(
            name,
            &text,
            "must be a URL, as https://ec2.eu-west-1.amazonaws.com",
        );
        return None;
    }
    Some(text)
}

fn read_tags(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let name = "ADDITIONAL_ENI_TAGS";
    let Some(text) = reader.text(name) else {
        return BTreeMap::new();
    };
    serde_json::from_str(&text).unwrap_or_else(|error| {
        let reason = format!("must be a JSON object of texts, as {{\"team\":\"net\"}}: {error}");
        reader.problem(name, &text, reason);
        BTreeMap::new()
    })
}

/// What the log may be told in one word.
const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Reads what every provider is told, so that a mistake shows whichever is chosen.
pub(super) fn read_provider(reader: &mut Reader<'_>, host_name: &str) -> ProviderChoice {
    let aws = read_aws(reader);
    let mock = read_mock(reader, host_name);
    match chosen_provider(reader) {
        "aws" => ProviderChoice::Aws(aws),
        _ => mock,
    }
}

fn chosen_provider(reader: &mut Reader<'_>) -> &'static str {
    let name = "VENI_PROVIDER";
    #[cfg(not(feature = "aws"))]
    if let Some(text) = reader.text(name).filter(|text| text == "aws") {
        reader.problem(
            name,
            &text,
            "this build cannot use EC2: it lacks Amazon's SDK; `make build` makes one that can",
        );
        return "mock";
    }
    if reader.text(name).is_none() {
        reader.problem(
            name,
            "",
            "must be set: aws on EC2; mock is a cloud inside this process, and no network carries its addresses",
        );
    }
    reader.choice(name, PROVIDERS, "mock")
}

fn read_mock(reader: &mut Reader<'_>, host_name: &str) -> ProviderChoice {
    ProviderChoice::Mock {
        endpoint: reader.text("VENI_MOCK_ENDPOINT").map(PathBuf::from),
        instance_id: reader
            .text("VENI_INSTANCE_ID")
            .unwrap_or_else(|| host_name.to_owned()),
        instance_type: reader
            .text("VENI_MOCK_INSTANCE_TYPE")
            .unwrap_or_else(|| "m5.large".to_owned()),
        primary_link: reader
            .text("VENI_MOCK_PRIMARY_LINK")
            .unwrap_or_else(|| "eth0".to_owned()),
        primary_address: reader
            .parsed(
                "VENI_MOCK_PRIMARY_ADDRESS",
                "an address with the length of its subnet, as 10.0.0.4/20",
            )
            .unwrap_or_else(|| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 4), 20))),
        profile: reader.choice(
            "VENI_MOCK_PROFILE",
            &[("aws", CloudProfile::Aws), ("azure", CloudProfile::Azure)],
            CloudProfile::Aws,
        ),
    }
}

/// The key that the AWS plugin looks for, as annotation and as label.
const ENI_CONFIG_KEY: &str = "k8s.amazonaws.com/eniConfig";

pub(super) fn read_custom_network(
    reader: &mut Reader<'_>,
    provider: &ProviderChoice,
) -> Option<CustomNetworkSettings> {
    let name = "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG";
    let wanted = reader.boolean(name, false);
    let mut key = |name| {
        let given = reader.text(name);
        given.unwrap_or_else(|| ENI_CONFIG_KEY.to_owned())
    };
    let (annotation, label) = (
        key("ENI_CONFIG_ANNOTATION_DEF"),
        key("ENI_CONFIG_LABEL_DEF"),
    );
    let configs = reader.text("VENI_ENI_CONFIG_FILE");
    let settings = CustomNetworkSettings {
        configs: configs.map_or_else(|| PathBuf::from("/etc/veni/eniconfigs.json"), PathBuf::from),
        node: reader.text("VENI_NODE_FILE").map(PathBuf::from),
        annotation,
        label,
    };
    if wanted && !matches!(provider, ProviderChoice::Aws(_)) {
        reader.problem(
            name,
            "true",
            "ENIConfigs name subnets of AWS; set it to false, or VENI_PROVIDER to aws",
        );
    }
    wanted.then_some(settings)
}

/// More than any instance type has.
const MANY: u32 = 100_000;

pub(super) fn read_targets(reader: &mut Reader<'_>) -> TargetSettings {
    let prefixes = reader.boolean("ENABLE_PREFIX_DELEGATION", false);
    // 0 means "not set" for the address targets, as operators know it.
    let some = |number: u32| (number > 0).then_some(number);
    let warm_ip = reader.integer("WARM_IP_TARGET", 0..=MANY).and_then(some);
    let minimum_ip = reader.integer("MINIMUM_IP_TARGET", 0..=MANY).and_then(some);
    let warm_prefix = reader.integer("WARM_PREFIX_TARGET", 0..=MANY);
    if prefixes && warm_prefix == Some(0) && warm_ip.is_none() && minimum_ip.is_none() {
        reader.problem(
            "WARM_PREFIX_TARGET",
            "0",
            "with ENABLE_PREFIX_DELEGATION one of WARM_PREFIX_TARGET, WARM_IP_TARGET and \
             MINIMUM_IP_TARGET must be above 0",
        );
    }
    let request_percent = reader
        .integer("VENI_POOL_REQUEST_PERCENT", 1..=100)
        .unwrap_or(50);
    let release_percent = reader
        .integer("VENI_POOL_RELEASE_PERCENT", 1..=1000)
        .unwrap_or(150);
    if release_percent < request_percent + 100 {
        reader.problem(
            "VENI_POOL_RELEASE_PERCENT",
            &release_percent.to_string(),
            format_args!(
                "must be at least VENI_POOL_REQUEST_PERCENT + 100 = {}, or a batch would be \
                 given back as soon as it has come",
                request_percent + 100
            ),
        );
    }
    TargetSettings {
        mode: if prefixes {
            SlotKind::Prefix
        } else {
            SlotKind::Address
        },
        warm_eni: reader.integer("WARM_ENI_TARGET", 0..=MANY).unwrap_or(1),
        warm_ip,
        minimum_ip,
        warm_prefix: prefixes.then(|| warm_prefix.unwrap_or(1)),
        max_eni: read_max_eni(reader),
        max_pods: reader.integer("MAX_PODS", 1..=MANY),
        batch: reader.integer("VENI_POOL_BATCH", 1..=256).unwrap_or(16),
        request_percent,
        release_percent,
        release_delay: reader.seconds("VENI_RELEASE_DELAY", 0..=86_400, 60),
        detach_age: reader.seconds("VENI_DETACH_AGE", 0..=86_400, 60),
        provisioning: !reader.boolean("DISABLE_NETWORK_RESOURCE_PROVISIONING", false)
            && !reader.boolean("ENABLE_IMDS_ONLY_MODE", false),
    }
}

/// -1 and 0 mean "not set", as operators know it.
fn read_max_eni(reader: &mut Reader<'_>) -> Option<u32> {
    let name = "MAX_ENI";
    if reader.text(name).as_deref() == Some("-1") {
        return None;
    }
    reader.integer(name, 0..=MANY).filter(|number| *number > 0)
}

pub(super) fn read_network(reader: &mut Reader<'_>) -> NetworkSettings {
    let ipv4 = reader.boolean("ENABLE_IPv4", true);
    let ipv6 = reader.boolean("ENABLE_IPv6", false);
    if !ipv4 && !ipv6 {
        reader.problem(
            "ENABLE_IPv4",
            "false",
            "pods need an address family: set ENABLE_IPv4 or ENABLE_IPv6 or both to true",
        );
    }
    let veth_prefix = reader
        .text("AWS_VPC_K8S_CNI_VETHPREFIX")
        .unwrap_or_else(|| "eni".to_owned());
    if let Some(reason) = wrong_veth_prefix(&veth_prefix) {
        reader.problem("AWS_VPC_K8S_CNI_VETHPREFIX", &veth_prefix, reason);
    }
    // RFC 791 and RFC 8200: the smallest packets that every link must carry.
    let smallest = if ipv6 { 1280 } else { 576 };
    let interface_mtu = reader
        .integer("AWS_VPC_ENI_MTU", smallest..=9001)
        .unwrap_or(9001);
    NetworkSettings {
        ipv4,
        ipv6,
        veth_prefix,
        interface_mtu,
        pod_mtu: reader
            .integer("POD_MTU", smallest..=9001)
            .unwrap_or(interface_mtu),
        source_nat: !reader.boolean("AWS_VPC_K8S_CNI_EXTERNALSNAT", false),
        source_nat_ports: reader.choice(
            "AWS_VPC_K8S_CNI_RANDOMIZESNAT",
            &[
                ("prng", SourceNatPorts::FullyRandom),
                ("hashrandom", SourceNatPorts::Random),
                ("none", SourceNatPorts::Keep),
            ],
            SourceNatPorts::FullyRandom,
        ),
        untranslated: reader.ranges("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS"),
        node_ports: reader.boolean("AWS_VPC_CNI_NODE_PORT_SUPPORT", true),
    }
}

/// Interface names have 15 bytes, eleven of which are a hash.
fn wrong_veth_prefix(prefix: &str) -> Option<&'static str> {
    if prefix.len() > 4 {
        Some("must have at most four letters: eleven digits of a hash follow, and a name has 15")
    } else if ["eth", "lo", "vlan"].contains(&prefix) {
        Some("is the name of other interfaces; choose another, such as eni")
    } else if !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Some("must be ASCII letters and digits")
    } else {
        None
    }
}

pub(super) fn read_timing(reader: &mut Reader<'_>) -> Timing {
    Timing {
        cooldown: reader.seconds("IP_COOLDOWN_PERIOD", 0..=86_400, 30),
        // The kubelet gives a sandbox four minutes.
        add_wait: reader.seconds("VENI_ADD_WAIT", 0..=200, 60),
        audit: reader.seconds("VENI_AUDIT_INTERVAL", 1..=3600, 10),
        inventory: reader
            .integer("VENI_INVENTORY_INTERVAL", 1..=86_400)
            .map(|seconds| Duration::from_secs(seconds.into())),
        glance: reader.seconds("VENI_GLANCE_INTERVAL", 1..=3600, 30),
        cloud_deadline: reader.seconds("VENI_CLOUD_DEADLINE", 1..=600, 60),
        denied_retry: reader.seconds("VENI_DENIED_RETRY", 1..=3600, 30),
        // As the AWS plugin has it.
        subnet_retry: reader.seconds("VENI_SUBNET_RETRY", 1..=3600, 120),
        doubt: reader.seconds("VENI_DOUBT_TIME", 1..=3600, DOUBT_TIME_SECONDS),
    }
}

pub(super) fn read_metrics(reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let address = reader
        .parsed(
            "VENI_METRICS_ADDRESS",
            "an address and a port, as 127.0.0.1:61678 or [::]:61678",
        )
        .unwrap_or_else(|| SocketAddr::from(([0u16; 8], 61_678)));
    let disabled = reader.boolean("DISABLE_METRICS", false);
    (!disabled).then_some(address)
}

pub(super) fn read_log_filter(reader: &mut Reader<'_>) -> String {
    let name = "AWS_VPC_K8S_CNI_LOGLEVEL";
    // The AWS plugin's spelling is upper case or capitalised.
    let filter = reader
        .text(name)
        .unwrap_or_else(|| "info".to_owned())
        .to_lowercase();
    // A filter takes any bare word as a module's name, and a typo would silence the log.
    let bare = !filter.contains(['=', ',']);
    if bare && !LOG_LEVELS.contains(&filter.as_str()) {
        let reason = format!(
            "must be one of {}, or a filter such as ipamd::pool=debug",
            LOG_LEVELS.join(", ")
        );
        reader.problem(name, &filter, reason);
    } else if let Err(error) = EnvFilter::try_new(&filter) {
        reader.problem(name, &filter, error);
    }
    filter
}
