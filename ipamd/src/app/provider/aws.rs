//! Amazon EC2: what only its provider is told, and its adapter, in builds with the feature
//! `aws`.

#[cfg(feature = "aws")]
mod adapter;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Entry, url};
use crate::config::declare::{
    Condition, Config, Decided, DefaultValue, Parsed, ProviderDeclaration, ProviderSettings,
    Reader, Setting, Situation, Variable, read_by, read_if_set, seconds, text_if_set, truth, wrong,
};

#[cfg(feature = "aws")]
pub use adapter::settings;

/// Amazon EC2.
pub(super) static AWS: Entry = Entry {
    declaration: ProviderDeclaration {
        name: "aws",
        lacking: if cfg!(feature = "aws") {
            None
        } else {
            Some(
                "this build cannot use EC2: it lacks Amazon's SDK; `make build` makes one that can",
            )
        },
        custom_networking: true,
        variables: VARIABLES,
        read,
    },
    #[cfg(feature = "aws")]
    adapter: adapter::adapter,
    #[cfg(not(feature = "aws"))]
    adapter: |_| None,
};

static VARIABLES: &[&Variable] = &[
    &CLUSTER_NAME.variable,
    &ADDITIONAL_ENI_TAGS.variable,
    &MANAGE_UNTAGGED_ENI.variable,
    &ENABLE_SUBNET_DISCOVERY.variable,
    &DISABLE_LEAKED_ENI_CLEANUP.variable,
    &VENI_LEAK_INTERVAL.variable,
    &ENABLE_IMDS_ONLY_MODE.variable,
    &AWS_EC2_ENDPOINT.variable,
    &HTTP_TIMEOUT.variable,
];

/// This provider alone is told.
const WITH_AWS: Condition = Condition {
    note: "used only with VENI_PROVIDER=aws",
    holds: |now| choice(now.config).is_some(),
};

static CLUSTER_NAME: Setting<Option<String>> = Setting::new(
    "CLUSTER_NAME",
    text_if_set(""),
    "AWS: tag of new interfaces, and the scope of subnet discovery and leak clean-up.",
)
.needs(&[WITH_AWS]);

static ADDITIONAL_ENI_TAGS: Setting<BTreeMap<String, String>> = Setting::new(
    "ADDITIONAL_ENI_TAGS",
    read_by(tags, DefaultValue::Text("{}")),
    "AWS: more tags for new interfaces, a JSON object of texts.",
)
.needs(&[WITH_AWS]);

static MANAGE_UNTAGGED_ENI: Setting<bool> = Setting::new(
    "MANAGE_UNTAGGED_ENI",
    truth(true),
    "AWS: use interfaces that carry neither the node's tag nor the no-manage tag.",
)
.needs(&[WITH_AWS]);

static ENABLE_SUBNET_DISCOVERY: Setting<bool> = Setting::new(
    "ENABLE_SUBNET_DISCOVERY",
    truth(true),
    "AWS: make interfaces in other tagged subnets of the zone too.",
)
.needs(&[WITH_AWS, NO_CUSTOM_NETWORK]);

static DISABLE_LEAKED_ENI_CLEANUP: Setting<bool> = Setting::new(
    "DISABLE_LEAKED_ENI_CLEANUP",
    truth(false),
    "AWS: leave interfaces alone that dead nodes have left behind; so it is where pods have no \
     IPv4. The node's own are cleared up in any case.",
)
.needs(&[WITH_AWS])
.overruled_by(no_leak_cleanup);

static VENI_LEAK_INTERVAL: Setting<Duration> = Setting::new(
    "VENI_LEAK_INTERVAL",
    seconds(1..=86_400, 3600),
    "AWS: seconds between two searches for interfaces that dead nodes have left behind; the \
     first comes after a random part of a twelfth.",
)
.needs(&[WITH_AWS]);

static ENABLE_IMDS_ONLY_MODE: Setting<bool> = Setting::new(
    "ENABLE_IMDS_ONLY_MODE",
    truth(false),
    "AWS: never call EC2; use what instance metadata shows. Nothing is changed, as with \
     DISABLE_NETWORK_RESOURCE_PROVISIONING.",
)
.needs(&[WITH_AWS]);

static AWS_EC2_ENDPOINT: Setting<Option<String>> = Setting::new(
    "AWS_EC2_ENDPOINT",
    read_if_set(endpoint, DefaultValue::InWords("the region's")),
    "AWS: URL of EC2, over AWS_ENDPOINT_URL_EC2 and AWS_ENDPOINT_URL.",
)
.needs(&[WITH_AWS]);

static HTTP_TIMEOUT: Setting<Duration> = Setting::new(
    "HTTP_TIMEOUT",
    seconds(10..=600, 10),
    "AWS: seconds that one request to EC2 may take, 10 at least; VENI_CLOUD_DEADLINE bounds all \
     requests of one change.",
)
.needs(&[WITH_AWS]);

const NO_CUSTOM_NETWORK: Condition = Condition {
    note: "not used: AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG is true",
    holds: |now| now.config.custom_network.is_none(),
};

/// What switches the clean-up off beside its own setting.
fn no_leak_cleanup(now: &Situation<'_>) -> Option<Decided> {
    let by = if metadata_only(now.config) {
        "ENABLE_IMDS_ONLY_MODE"
    } else if !now.config.targets.provisioning {
        "DISABLE_NETWORK_RESOURCE_PROVISIONING"
    } else if !now.config.network.ipv4 {
        "ENABLE_IPv4"
    } else {
        return None;
    };
    Some(Decided::new(true, by))
}

/// Whether EC2 is never called.
fn metadata_only(config: &Config) -> bool {
    choice(config).is_some_and(|choice| choice.metadata_only)
}

fn choice(config: &Config) -> Option<&AwsChoice> {
    config.provider.settings()
}

fn tags(text: &str) -> Parsed<BTreeMap<String, String>> {
    serde_json::from_str(text).map_err(|error| {
        let must_be = r#"must be a JSON object of texts, as {"team":"net"}"#;
        wrong(text, format_args!("{must_be}: {error}"))
    })
}

fn endpoint(text: &str) -> Parsed<Option<String>> {
    url(text, "https://ec2.eu-west-1.amazonaws.com").map(Some)
}

/// What only the AWS provider is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsChoice {
    /// Tag of new interfaces, and the scope of subnet discovery and leak clean-up.
    pub cluster_name: Option<String>,
    /// More tags for new interfaces, value by key.
    pub additional_tags: BTreeMap<String, String>,
    /// Whether interfaces without the node's tag are used.
    pub manage_untagged: bool,
    /// Whether interfaces are made in other tagged subnets of the zone too.
    pub subnet_discovery: bool,
    /// Whether interfaces that dead nodes have left behind are cleared up.
    pub leak_cleanup: bool,
    /// Between two searches for such interfaces.
    pub leak_interval: Duration,
    /// Whether EC2 is never called.
    pub metadata_only: bool,
    /// URL of EC2, where it is not the region's.
    pub ec2_endpoint: Option<String>,
    /// How long one request to EC2 may take.
    pub http_timeout: Duration,
}

impl ProviderSettings for AwsChoice {
    fn hands_off(&self) -> Option<&'static str> {
        self.metadata_only
            .then_some(ENABLE_IMDS_ONLY_MODE.variable.name)
    }
}

fn read(reader: &mut Reader<'_>, _: &str) -> Arc<dyn ProviderSettings> {
    let metadata_only = reader.read(&ENABLE_IMDS_ONLY_MODE);
    Arc::new(AwsChoice {
        cluster_name: reader.read(&CLUSTER_NAME),
        additional_tags: reader.read(&ADDITIONAL_ENI_TAGS),
        manage_untagged: reader.read(&MANAGE_UNTAGGED_ENI),
        subnet_discovery: reader.read(&ENABLE_SUBNET_DISCOVERY),
        leak_cleanup: !reader.read(&DISABLE_LEAKED_ENI_CLEANUP) && !metadata_only,
        leak_interval: reader.read(&VENI_LEAK_INTERVAL),
        metadata_only,
        ec2_endpoint: reader.read(&AWS_EC2_ENDPOINT),
        http_timeout: reader.read(&HTTP_TIMEOUT),
    })
}
