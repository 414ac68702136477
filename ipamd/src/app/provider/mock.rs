//! The mock cloud, in this process or served by another one: what only its provider is
//! told, and its adapter, in builds with the feature `mock`. It follows the rules of the
//! cloud that its profile names.

#[cfg(feature = "mock")]
mod adapter;

use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::Entry;
use crate::config::CloudProfile;
use crate::config::declare::{
    Condition, Config, Decided, DefaultValue, Parsed, ProviderDeclaration, ProviderSettings,
    Reader, Setting, Variable, one_of, read_by, read_if_set, text, text_if_set, wrong,
};

/// The mock cloud.
pub(super) static MOCK: Entry = Entry {
    declaration: ProviderDeclaration {
        name: "mock",
        lacking: None,
        custom_networking: false,
        variables: VARIABLES,
        read,
    },
    #[cfg(feature = "mock")]
    adapter: adapter::adapter,
    #[cfg(not(feature = "mock"))]
    adapter: |_| None,
};

static VARIABLES: &[&Variable] = &[
    &VENI_INSTANCE_ID.variable,
    &VENI_MOCK_ENDPOINT.variable,
    &VENI_MOCK_INSTANCE_TYPE.variable,
    &VENI_MOCK_PROFILE.variable,
    &VENI_MOCK_PRIMARY_ADDRESS.variable,
    &VENI_MOCK_PRIMARY_LINK.variable,
];

static VENI_INSTANCE_ID: Setting<Option<String>> = Setting::new(
    "VENI_INSTANCE_ID",
    text_if_set("the host name"),
    "The node's id in the mock cloud.",
)
.needs(&[WITH_MOCK])
.unset_means(|now| Some(Decided::new(&now.config.host_name, "host name")));

static VENI_MOCK_ENDPOINT: Setting<Option<PathBuf>> = Setting::new(
    "VENI_MOCK_ENDPOINT",
    read_if_set(
        |text| Ok(Some(PathBuf::from(text))),
        DefaultValue::InWords("in process"),
    ),
    "Unix socket of a mock cloud that several nodes share; without it the daemon carries one of \
     its own.",
)
.needs(&[WITH_MOCK]);

static VENI_MOCK_INSTANCE_TYPE: Setting<String> = Setting::new(
    "VENI_MOCK_INSTANCE_TYPE",
    text("m5.large"),
    "Instance type of the node in a mock cloud of its own.",
)
.needs(&[WITH_MOCK, OF_ITS_OWN]);

static VENI_MOCK_PROFILE: Setting<CloudProfile> = Setting::new(
    "VENI_MOCK_PROFILE",
    one_of(
        &[("aws", CloudProfile::Aws), ("azure", CloudProfile::Azure)],
        "aws",
    ),
    "Whose rules the mock cloud follows: aws or azure.",
)
.needs(&[WITH_MOCK]);

static VENI_MOCK_PRIMARY_ADDRESS: Setting<IpNet> = Setting::new(
    "VENI_MOCK_PRIMARY_ADDRESS",
    read_by(address_in_subnet, DefaultValue::Text("10.0.0.4/20")),
    "Address of the primary interface in a mock cloud of its own, with the length of its subnet.",
)
.needs(&[WITH_MOCK, OF_ITS_OWN]);

static VENI_MOCK_PRIMARY_LINK: Setting<String> = Setting::new(
    "VENI_MOCK_PRIMARY_LINK",
    text("eth0"),
    "Link that stands for the primary interface in a mock cloud of its own.",
)
.needs(&[WITH_MOCK, OF_ITS_OWN]);

/// This provider alone is told.
const WITH_MOCK: Condition = Condition {
    note: "used only with VENI_PROVIDER=mock",
    holds: |now| choice(now.config).is_some(),
};

/// A shared mock cloud knows these of each of its nodes.
const OF_ITS_OWN: Condition = Condition {
    note: "not used: VENI_MOCK_ENDPOINT is set",
    holds: |now| choice(now.config).is_none_or(|choice| choice.endpoint.is_none()),
};

/// What the mock cloud alone is told.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "mock"),
    expect(dead_code, reason = "they are read and checked in every build")
)]
struct MockChoice {
    /// Socket of a shared mock cloud; `None` for a cloud of the node's own.
    endpoint: Option<PathBuf>,
    /// The node's id in it.
    instance_id: String,
    /// Type of the node in a cloud of its own.
    instance_type: String,
    /// Link that stands for the primary interface in a cloud of its own.
    primary_link: String,
    /// Address of that link, with its subnet.
    primary_address: IpNet,
    /// Whose rules it follows.
    profile: CloudProfile,
}

impl ProviderSettings for MockChoice {}

fn choice(config: &Config) -> Option<&MockChoice> {
    config.provider.settings()
}

fn address_in_subnet(text: &str) -> Parsed<IpNet> {
    let reason = "must be an address with the length of its subnet, as 10.0.0.4/20";
    text.parse().map_err(|_| wrong(text, reason))
}

fn read(reader: &mut Reader<'_>, host_name: &str) -> Arc<dyn ProviderSettings> {
    let instance_id = reader.read(&VENI_INSTANCE_ID);
    Arc::new(MockChoice {
        endpoint: reader.read(&VENI_MOCK_ENDPOINT),
        instance_id: instance_id.unwrap_or_else(|| host_name.to_owned()),
        instance_type: reader.read(&VENI_MOCK_INSTANCE_TYPE),
        primary_link: reader.read(&VENI_MOCK_PRIMARY_LINK),
        primary_address: reader.read(&VENI_MOCK_PRIMARY_ADDRESS),
        profile: reader.read(&VENI_MOCK_PROFILE),
    })
}
