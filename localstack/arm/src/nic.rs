//! A NIC: what it holds, how it shows, and what a written one must be like.

use ipnet::Ipv4Net;
use serde_json::{Map, Value, json};

use crate::addresses::BLOCK;
use crate::refusal::Refusal;

/// Private addresses of a NIC, its primary one included.
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits>
pub(crate) const SLOTS: usize = 256;
/// What a write cannot change: ARM ignores it.
const READ_ONLY: [&str; 7] = [
    "ipConfigurations",
    "macAddress",
    "provisioningState",
    "resourceGuid",
    "virtualMachine",
    "primary",
    "hostedWorkloads",
];
/// The same of a configuration.
const READ_ONLY_IN_CONFIGURATION: [&str; 2] =
    ["provisioningState", "privateLinkConnectionProperties"];

/// `provisioningState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provisioning {
    Succeeded,
    Updating,
    Failed,
}

impl Provisioning {
    fn text(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Updating => "Updating",
            Self::Failed => "Failed",
        }
    }
}

/// An ip configuration.
#[derive(Debug, Clone)]
pub(crate) struct IpConfiguration {
    pub(crate) name: String,
    /// As written, without what is read only.
    pub(crate) properties: Map<String, Value>,
    /// What it has: an address as /32, or a block.
    pub(crate) range: Option<Ipv4Net>,
    pub(crate) state: Provisioning,
}

impl IpConfiguration {
    pub(crate) fn is_block(&self) -> bool {
        prefix_length(&self.properties).is_some()
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.properties.get("primary").and_then(Value::as_bool) == Some(true)
    }

    /// The address that was asked for, of a static one.
    pub(crate) fn fixed(&self) -> Option<std::net::Ipv4Addr> {
        let text = |key| self.properties.get(key).and_then(Value::as_str);
        let fixed = text("privateIPAllocationMethod") == Some("Static");
        fixed.then(|| text("privateIPAddress")?.parse().ok())?
    }

    fn subnet(&self) -> Option<String> {
        let id = self.properties.get("subnet")?.get("id")?.as_str()?;
        Some(id.to_ascii_lowercase())
    }

    fn security_groups(&self) -> Vec<String> {
        let all = self.properties.get("applicationSecurityGroups");
        let all = all.and_then(Value::as_array).into_iter().flatten();
        let ids = all.filter_map(|one| one.get("id")?.as_str());
        let mut ids: Vec<String> = ids.map(str::to_ascii_lowercase).collect();
        ids.sort();
        ids
    }
}

fn prefix_length(properties: &Map<String, Value>) -> Option<i64> {
    properties.get("privateIPAddressPrefixLength")?.as_i64()
}

/// A NIC.
#[derive(Debug, Clone)]
pub(crate) struct Nic {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) mac: String,
    /// The machine's id.
    pub(crate) machine: String,
    /// The subnet's name.
    pub(crate) subnet: String,
    pub(crate) etag: u64,
    pub(crate) state: Provisioning,
    /// The object beside `properties`, as written.
    pub(crate) fields: Map<String, Value>,
    /// `properties`, as written.
    pub(crate) properties: Map<String, Value>,
    pub(crate) configurations: Vec<IpConfiguration>,
}

impl Nic {
    pub(crate) fn etag_text(&self) -> String {
        format!("W/\"{:08x}-0000-0000-0000-000000000000\"", self.etag)
    }

    pub(crate) fn configuration(&self, name: &str) -> Option<&IpConfiguration> {
        let mut all = self.configurations.iter();
        all.find(|one| one.name.eq_ignore_ascii_case(name))
    }

    /// How it shows. Blocks are unknown before API version 2023-11-01.
    pub(crate) fn show(&self, blocks: bool) -> Value {
        let configurations: Vec<Value> = self
            .configurations
            .iter()
            .map(|one| self.show_configuration(one, blocks))
            .collect();
        let mut shown = self.fields.clone();
        shown.insert("name".to_owned(), json!(self.name));
        shown.insert("id".to_owned(), json!(self.id));
        shown.insert("etag".to_owned(), json!(self.etag_text()));
        shown.insert(
            "type".to_owned(),
            json!("Microsoft.Network/networkInterfaces"),
        );
        let mut properties = self.properties.clone();
        let read_only = json!({
            "provisioningState": self.state.text(),
            "macAddress": self.mac,
            "primary": true,
            "virtualMachine": {"id": self.machine},
            "hostedWorkloads": [],
            "ipConfigurations": configurations,
        });
        properties.extend(read_only.as_object().cloned().unwrap_or_default());
        shown.insert("properties".to_owned(), Value::Object(properties));
        Value::Object(shown)
    }

    fn show_configuration(&self, one: &IpConfiguration, blocks: bool) -> Value {
        let mut properties = one.properties.clone();
        properties.insert("provisioningState".to_owned(), json!(one.state.text()));
        if let Some(range) = one.range {
            let text = match one.is_block() && blocks {
                true => range.to_string(),
                false => range.addr().to_string(),
            };
            properties.insert("privateIPAddress".to_owned(), json!(text));
        }
        if !blocks {
            properties.remove("privateIPAddressPrefixLength");
        }
        json!({
            "name": one.name,
            "id": format!("{}/ipConfigurations/{}", self.id, one.name),
            "etag": self.etag_text(),
            "type": "Microsoft.Network/networkInterfaces/ipConfigurations",
            "properties": properties,
        })
    }
}

/// What a write wants a NIC to be.
#[derive(Debug, Clone)]
pub(crate) struct Goal {
    pub(crate) fields: Map<String, Value>,
    pub(crate) properties: Map<String, Value>,
    pub(crate) configurations: Vec<IpConfiguration>,
}

impl Goal {
    /// Reads what was written. What it does not say is reset: a PUT replaces the whole
    /// object.
    pub(crate) fn read(body: &[u8], blocks: bool) -> Result<Self, Refusal> {
        let wrong = |message: &str| Refusal::new(400, "InvalidRequestFormat", message);
        let body: Value =
            serde_json::from_slice(body).map_err(|_| wrong("Cannot parse the request."))?;
        let Value::Object(mut fields) = body else {
            return Err(wrong("The body must be an object."));
        };
        let Some(Value::Object(mut properties)) = fields.remove("properties") else {
            return Err(wrong("The object must have properties."));
        };
        for key in ["id", "name", "etag", "type"] {
            fields.remove(key);
        }
        let listed = properties.remove("ipConfigurations");
        let Some(Value::Array(listed)) = listed else {
            return Err(wrong("A network interface must have ipConfigurations."));
        };
        properties.retain(|key, _| !READ_ONLY.contains(&key.as_str()));
        let configurations: Option<Vec<IpConfiguration>> = listed
            .iter()
            .map(|one| configuration(one, blocks))
            .collect();
        let configurations = configurations
            .ok_or_else(|| wrong("An ipConfiguration must have a name and properties."))?;
        Ok(Self {
            fields,
            properties,
            configurations,
        })
    }

    /// Refuses what no NIC may be like, before anything is done.
    /// <https://learn.microsoft.com/rest/api/virtualnetwork/network-interfaces/create-or-update>
    pub(crate) fn check(&self, nic: &Nic, subnet_id: &str, blocks: bool) -> Result<(), Refusal> {
        let all = &self.configurations;
        let wrong = |code: &str, message: String| Err(Refusal::new(400, code, message));
        let mut names: Vec<String> = all.iter().map(|c| c.name.to_ascii_lowercase()).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return wrong(
                "DuplicateResourceName",
                format!("{} is named twice.", twice[0]),
            );
        }
        let primary: Vec<&IpConfiguration> = all.iter().filter(|c| c.is_primary()).collect();
        let [primary] = primary.as_slice() else {
            let code = "NetworkInterfaceMustHaveOnePrimaryIpConfiguration";
            return wrong(code, format!("{} must have exactly one.", nic.name));
        };
        // The code of this refusal stands in no document.
        if all.len() > SLOTS {
            let code = "NetworkInterfaceIpConfigurationCountExceeded";
            return wrong(code, format!("{} may have {SLOTS}.", nic.name));
        }
        let subnet_id = subnet_id.to_ascii_lowercase();
        if all
            .iter()
            .any(|c| c.subnet().is_none_or(|id| id != subnet_id))
        {
            let code = "NetworkInterfaceIpConfigurationsInDifferentSubnets";
            return wrong(code, format!("all must be in {subnet_id}."));
        }
        let groups = primary.security_groups();
        if all.iter().any(|c| c.security_groups() != groups) {
            let code = "NetworkInterfaceApplicationSecurityGroupsDiffer";
            return wrong(
                code,
                "all must have the same application security groups.".to_owned(),
            );
        }
        for one in all {
            self.check_block(one, blocks)?;
        }
        Ok(())
    }

    /// <https://learn.microsoft.com/azure/virtual-network/ip-services/virtual-network-private-ip-address-blocks-portal>
    fn check_block(&self, one: &IpConfiguration, blocks: bool) -> Result<(), Refusal> {
        let Some(length) = prefix_length(&one.properties) else {
            return Ok(());
        };
        let wrong = |code: &str, message: &str| {
            Err(Refusal::new(400, code, format!("{}: {message}", one.name)))
        };
        if !blocks {
            return wrong(
                "SubscriptionNotRegisteredForFeature",
                "blocks are not to be had.",
            );
        }
        if length != i64::from(BLOCK) {
            return wrong(
                "InvalidPrivateIPAddressPrefixLength",
                "only 28 is supported.",
            );
        }
        if one.is_primary() {
            return wrong(
                "PrimaryIpConfigurationCannotHavePrefix",
                "the primary configuration has a single address.",
            );
        }
        Ok(())
    }
}

fn configuration(value: &Value, blocks: bool) -> Option<IpConfiguration> {
    let name = value.get("name")?.as_str()?.to_owned();
    let mut properties = value.get("properties")?.as_object()?.clone();
    properties.retain(|key, _| !READ_ONLY_IN_CONFIGURATION.contains(&key.as_str()));
    if !blocks {
        // A property that the version does not know is not there.
        properties.remove("privateIPAddressPrefixLength");
    }
    if properties
        .get("privateIPAllocationMethod")
        .and_then(Value::as_str)
        != Some("Static")
    {
        // Of a dynamic one the service decides.
        properties.remove("privateIPAddress");
        properties.insert("privateIPAllocationMethod".to_owned(), json!("Dynamic"));
    }
    Some(IpConfiguration {
        name,
        properties,
        range: None,
        state: Provisioning::Updating,
    })
}
