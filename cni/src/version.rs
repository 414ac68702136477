//! The versions of the CNI specification that the plugin speaks.

use serde_json::{Value, json};

/// A version of the CNI specification, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum SpecVersion {
    /// 0.4.0: the first with CHECK.
    V0_4_0,
    /// 1.0.0: addresses without their IP version.
    V1_0_0,
    /// 1.1.0: GC, STATUS, MTU of interfaces.
    #[default]
    V1_1_0,
}

impl SpecVersion {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];

    /// The newest; answers to a runtime that names none are given in it.
    pub const LATEST: Self = Self::V1_1_0;

    /// Reads a version as it stands in `cniVersion`; `None` when it is not spoken.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
    }

    /// As it stands in `cniVersion`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }
}

/// The version that a configuration names, if it is one of ours.
pub fn of(config: &Value) -> Option<SpecVersion> {
    SpecVersion::parse(config.get("cniVersion")?.as_str()?)
}

/// The answer to VERSION, in the version that the input names.
///
/// Runtimes probe with an empty input or one that is no configuration at all;
/// they get the answer in the newest version.
pub fn report(input: &[u8]) -> String {
    let version = serde_json::from_slice(input)
        .ok()
        .and_then(|config| of(&config))
        .unwrap_or_default();
    json!({
        "cniVersion": version.as_str(),
        "supportedVersions": SpecVersion::ALL.map(SpecVersion::as_str),
    })
    .to_string()
}
