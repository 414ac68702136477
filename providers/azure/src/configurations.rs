//! The ip configurations of a NIC as ARM shows them, and those of our own by their names.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};
use veni_provider::{ErrorClass, ProviderError, random};

use crate::actions::Action;
use crate::metadata::range;

/// What our names begin with.
const OURS: &str = "veni-";

/// A change of ours, as the names of what it adds carry it: eight hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChangeId(u32);

impl ChangeId {
    pub(crate) fn random() -> Self {
        Self(random::any())
    }

    /// The name of the n-th configuration that it adds.
    pub(crate) fn name(self, number: u32) -> String {
        format!("{OURS}{self}-{number}")
    }

    /// Whose change a configuration of this name is; `None` where it is not ours.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let (change, number) = name.strip_prefix(OURS)?.split_once('-')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|one| one.is_ascii_digit());
        digits(number).then(|| change.parse().ok())?
    }
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for ChangeId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let lower = text
            .bytes()
            .all(|one| matches!(one, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() != 8 || !lower {
            return Err(());
        }
        u32::from_str_radix(text, 16).map(Self).map_err(|_| ())
    }
}

/// `provisioningState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provisioning {
    Succeeded,
    Failed,
    /// `Updating`, `Deleting`, and whatever else will end by itself.
    Underway,
}

impl Provisioning {
    pub(crate) fn of(properties: &Value) -> Self {
        match properties.get("provisioningState").and_then(Value::as_str) {
            Some("Succeeded") => Self::Succeeded,
            Some("Failed" | "Canceled") => Self::Failed,
            _ => Self::Underway,
        }
    }
}

/// An ip configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Configuration {
    pub(crate) name: String,
    /// The change of ours that has added it; `None` where somebody else has.
    pub(crate) ours: Option<ChangeId>,
    pub(crate) primary: bool,
    /// Its address or its block, once it has one.
    pub(crate) range: Option<IpNet>,
    pub(crate) state: Provisioning,
}

impl Configuration {
    fn of(value: &Value) -> Option<Self> {
        let name = value.get("name")?.as_str()?.to_owned();
        let properties = value.get("properties")?;
        let primary = properties.get("primary").and_then(Value::as_bool) == Some(true);
        let length = properties
            .get("privateIPAddressPrefixLength")
            .and_then(Value::as_u64);
        let shown = properties
            .get("privateIPAddress")
            .and_then(Value::as_str)
            .and_then(range);
        // The length may stand beside the address alone.
        let shown = shown.and_then(
            |shown| match length.and_then(|one| u8::try_from(one).ok()) {
                Some(length) => IpNet::new(shown.addr(), length).ok().map(|one| one.trunc()),
                None => Some(shown),
            },
        );
        let change = ChangeId::of_name(&name);
        Some(Self {
            // The primary one is the node's, whatever it is called.
            ours: change.filter(|_| !primary),
            name,
            primary,
            range: shown,
            state: Provisioning::of(properties),
        })
    }

    /// Whether it is of ours and will never have an address: what a failed write left.
    pub(crate) fn is_failed_leftover(&self) -> bool {
        self.ours.is_some() && self.state == Provisioning::Failed && self.range.is_none()
    }
}

/// A NIC as ARM shows it.
#[derive(Debug, Clone)]
pub(crate) struct Nic {
    pub(crate) id: String,
    pub(crate) mac: String,
    pub(crate) state: Provisioning,
    pub(crate) configurations: Vec<Configuration>,
    /// The id of the primary configuration's subnet.
    pub(crate) subnet: String,
}

impl Nic {
    /// Reads one.
    ///
    /// # Errors
    /// `Transient`: it lacks what every NIC of a machine that runs has.
    pub(crate) fn of(value: &Value) -> Result<Self, ProviderError> {
        let lacking = |what: &str| {
            let reason = format!("the answer has no {what}: {value}");
            ProviderError::new(ErrorClass::Transient, Action::GetNic.label(), reason)
        };
        let properties = value
            .get("properties")
            .ok_or_else(|| lacking("properties"))?;
        let text = |from: &Value, key| from.get(key).and_then(Value::as_str).map(str::to_owned);
        let listed = properties.get("ipConfigurations").and_then(Value::as_array);
        let listed = listed.ok_or_else(|| lacking("ipConfigurations"))?;
        let primary = primary(listed).ok_or_else(|| lacking("primary configuration"))?;
        let subnet = primary
            .pointer("/properties/subnet")
            .and_then(|one| text(one, "id"));
        Ok(Self {
            id: text(value, "id").ok_or_else(|| lacking("id"))?,
            mac: text(properties, "macAddress").unwrap_or_default(),
            state: Provisioning::of(properties),
            configurations: listed.iter().filter_map(Configuration::of).collect(),
            subnet: subnet.ok_or_else(|| lacking("subnet"))?,
        })
    }

    pub(crate) fn primary_address(&self) -> Option<IpAddr> {
        let primary = self.configurations.iter().find(|one| one.primary)?;
        primary.range.map(|range| range.addr())
    }

    /// What each range is called.
    pub(crate) fn by_range(&self) -> BTreeMap<IpNet, &Configuration> {
        let all = self.configurations.iter();
        all.filter_map(|one| Some((one.range?, one))).collect()
    }
}

fn primary(listed: &[Value]) -> Option<&Value> {
    let is_primary =
        |one: &&Value| one.pointer("/properties/primary").and_then(Value::as_bool) == Some(true);
    // Of a single one it goes without saying.
    listed.iter().find(is_primary).or(match listed {
        [only] => Some(only),
        _ => None,
    })
}

/// A configuration that is to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewConfiguration {
    pub(crate) name: String,
    /// A /28 block, and not a single address.
    pub(crate) block: bool,
}

/// Changes a list of configurations: some go by their names, some come. All others stay as
/// they were read, whatever is in them.
///
/// A new one is in the primary one's subnet and has its application security groups: all
/// configurations of a NIC must have the same.
///
/// `None` where there is no primary one.
pub(crate) fn edit(
    listed: &mut Vec<Value>,
    gone: &[String],
    new: &[NewConfiguration],
) -> Option<()> {
    let template = primary(listed)?.get("properties")?;
    let mut common = Map::new();
    for key in ["subnet", "applicationSecurityGroups"] {
        if let Some(value) = template.get(key) {
            common.insert(key.to_owned(), value.clone());
        }
    }
    listed.retain(|one| {
        let name = one.get("name").and_then(Value::as_str);
        name.is_none_or(|name| !gone.iter().any(|gone| gone == name))
    });
    for one in new {
        let mut properties = Map::from_iter([
            ("primary".to_owned(), json!(false)),
            ("privateIPAllocationMethod".to_owned(), json!("Dynamic")),
            ("privateIPAddressVersion".to_owned(), json!("IPv4")),
        ]);
        if one.block {
            properties.insert("privateIPAddressPrefixLength".to_owned(), json!(28));
        }
        properties.extend(common.clone());
        listed.push(json!({"name": one.name, "properties": properties}));
    }
    Some(())
}

#[cfg(test)]
mod tests;
