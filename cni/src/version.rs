//! The versions of the CNI specification that the plugin speaks.

use serde_json::{Value, json};

/// A version of the CNI specification, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum SpecVersion {
    /// 0.1.0: one address per family, `ip4` and `ip6`; what a configuration without
    /// a version is in.
    V0_1_0,
    /// 0.2.0: VERSION; results as in 0.1.0.
    V0_2_0,
    /// 0.3.0: interfaces, lists of addresses, chains with `prevResult`.
    V0_3_0,
    /// 0.3.1: results as in 0.3.0.
    V0_3_1,
    /// 0.4.0: the first with CHECK.
    V0_4_0,
    /// 1.0.0: addresses without their IP version.
    V1_0_0,
    /// 1.1.0: GC, STATUS, MTU of interfaces, tables of routes.
    #[default]
    V1_1_0,
}

impl SpecVersion {
    /// All of them, oldest first.
    pub const ALL: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// The newest; answers to a runtime that names none that is spoken are given in it.
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
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// Whether results have lists of interfaces and addresses, and a chain hands them
    /// on; older ones have one address per family and know no `prevResult`.
    pub fn has_lists(self) -> bool {
        self >= Self::V0_3_0
    }
}

/// The version that a configuration names, if it is one of ours. The field came with
/// 0.2.0, so a configuration without it is one of 0.1.0.
pub fn of(config: &Value) -> Option<SpecVersion> {
    match config.get("cniVersion") {
        None | Some(Value::Null) => Some(SpecVersion::V0_1_0),
        Some(Value::String(text)) if text.is_empty() => Some(SpecVersion::V0_1_0),
        Some(version) => SpecVersion::parse(version.as_str()?),
    }
}

/// The answer to VERSION, in the version that the input names.
///
/// Runtimes probe with an empty input or one that is no configuration at all;
/// they get the answer in the newest version.
pub fn report(input: &[u8]) -> String {
    let version = serde_json::from_slice(input)
        .ok()
        .and_then(|config: Value| SpecVersion::parse(config.get("cniVersion")?.as_str()?))
        .unwrap_or_default();
    json!({
        "cniVersion": version.as_str(),
        "supportedVersions": SpecVersion::ALL.map(SpecVersion::as_str),
    })
    .to_string()
}
