//! From settings to a provider: who the node is, its NIC, its subnet.

use std::sync::{Arc, Mutex};

use azure_core::http::Url;
use serde_json::Value;
use veni_provider::{Capabilities, ErrorClass, ProviderError, SourceRouting, SubnetId};

use crate::actions::Action;
use crate::client::Client;
use crate::configurations::Nic;
use crate::credentials::Renewing;
use crate::identity;
use crate::inventory::{Good, VERSION};
use crate::metadata::Metadata;
use crate::network::Network;
use crate::plan::SLOTS;
use crate::provider::{AzureProvider, Core};
use crate::settings::AzureSettings;
use crate::target::{Machine, same_id};
use crate::transport::transport;
use crate::writer::Writer;

/// The version of Microsoft.Compute's API.
const COMPUTE_VERSION: &str = "2024-07-01";

impl AzureProvider {
    /// Finds out who the node is, by instance metadata, and reads its machine and its NIC.
    /// Nothing is repeated: a caller that starts before the network or the node's rights are
    /// there calls again.
    ///
    /// # Errors
    /// `Transient` where instance metadata or the Resource Manager does not answer, `Denied`
    /// without rights, `Fatal` where there is no such machine or it is of a kind that the
    /// provider cannot write.
    pub async fn connect(settings: AzureSettings) -> Result<Self, ProviderError> {
        let transport = transport(&settings)?;
        let metadata = Metadata::new(transport.clone());
        let instance = identity::find(&settings, &metadata).await?;
        let endpoint = settings
            .endpoint
            .as_deref()
            .unwrap_or(instance.cloud.endpoint);
        let authority = settings
            .authority
            .as_deref()
            .unwrap_or(instance.cloud.authority);
        let credential = Renewing::try_new(&settings.credentials, authority, transport.clone())?;
        let client = Client::new(
            transport,
            Arc::new(credential),
            secured(endpoint)?,
            &scope(&settings, instance.cloud.endpoint),
            settings.call_timeout,
        );
        let machine = instance.machine.id();
        let remembered = settings.remembered.clone();
        let remembered = remembered.filter(|one| same_id(&one.machine, machine));
        let (nic_id, subnet, good) = match remembered {
            Some(known) => (known.nic, known.subnet, Good::Ranges(known.ranges)),
            None => {
                let (nic, subnet) = found(&client, &instance.machine).await?;
                (nic, subnet, Good::default())
            }
        };
        let core = Core {
            client,
            capabilities: capabilities(&settings),
            settings,
            instance,
            nic_id,
            subnet: SubnetId::new(subnet),
            network: Network::default(),
            metadata,
            writer: Writer::default(),
            good: Mutex::new(good),
        };
        Ok(Self {
            core: Arc::new(core),
        })
    }
}

/// The machine's NIC and its subnet, as ARM spells them.
async fn found(client: &Client, machine: &Machine) -> Result<(String, String), ProviderError> {
    let nic_id = match machine {
        Machine::Single { id } => primary_nic(client, id).await?,
        Machine::Uniform { id } => {
            let reason = format!(
                "{id} is of a Uniform scale set, whose NICs cannot be written one by one; use a \
                 Flexible scale set or single machines"
            );
            return Err(ProviderError::new(ErrorClass::Fatal, "connect", reason));
        }
    };
    let nic = client.get(Action::GetNic, &nic_id, VERSION).await;
    let nic = Nic::of(&nic.map_err(|failure| failure.error(None))?.body)?;
    Ok((nic.id, nic.subnet))
}

/// What tokens are for: the Resource Manager that is called, whatever cloud it is of; and
/// the cloud's, where a fake by plain http stands in for it.
fn scope(settings: &AzureSettings, cloud: &str) -> String {
    let named = settings.endpoint.as_deref();
    let named = named.filter(|url| url.starts_with("https://"));
    let resource = named.unwrap_or(cloud).trim_end_matches('/');
    format!("{resource}/.default")
}

/// The Resource Manager's URL as https: [`crate::transport`] makes it what it was.
fn secured(endpoint: &str) -> Result<Url, ProviderError> {
    let secured = match endpoint.strip_prefix("http://") {
        Some(rest) => format!("https://{rest}"),
        None => endpoint.to_owned(),
    };
    Url::parse(&secured).map_err(|error| {
        let reason = format!("'{endpoint}' is no URL of the Resource Manager: {error}");
        ProviderError::new(ErrorClass::Fatal, "connect", reason)
    })
}

/// The machine's primary NIC. Of a single one it goes without saying.
async fn primary_nic(client: &Client, machine: &str) -> Result<String, ProviderError> {
    let answer = client
        .get(Action::GetMachine, machine, COMPUTE_VERSION)
        .await;
    let body = answer.map_err(|failure| failure.error(None))?.body;
    let nics = body.pointer("/properties/networkProfile/networkInterfaces");
    let nics: Vec<&Value> = nics
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    let is_primary =
        |nic: &&&Value| nic.pointer("/properties/primary").and_then(Value::as_bool) == Some(true);
    let primary = nics.iter().find(is_primary).or(match nics.as_slice() {
        [only] => Some(only),
        _ => None,
    });
    let id = primary.and_then(|nic| nic.get("id")?.as_str());
    id.map(str::to_owned).ok_or_else(|| {
        let reason = format!("{machine} names no primary NIC");
        ProviderError::new(ErrorClass::Fatal, Action::GetMachine.label(), reason)
    })
}

pub(crate) fn capabilities(settings: &AzureSettings) -> Capabilities {
    Capabilities {
        attach_while_running: false,
        ipv4_prefixes: true,
        ipv6_prefixes: false,
        ipv6_addresses: false,
        source_routing: SourceRouting::None,
        release: settings.release && settings.may_change,
        batch: SLOTS,
        lists_own_alone: true,
        settle_time: settings.settle_time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_for_the_resource_manager_that_is_called() {
        let of = |endpoint: Option<&str>| {
            let settings = AzureSettings {
                endpoint: endpoint.map(str::to_owned),
                ..AzureSettings::default()
            };
            scope(&settings, "https://management.azure.com")
        };
        let public = "https://management.azure.com/.default";
        assert_eq!(of(None), public);
        // A fake.
        assert_eq!(of(Some("http://127.0.0.1:8080")), public);
        let china = "https://management.chinacloudapi.cn/.default";
        for endpoint in [
            "https://management.chinacloudapi.cn",
            "https://management.chinacloudapi.cn/",
        ] {
            assert_eq!(of(Some(endpoint)), china);
        }
    }

    #[test]
    fn above_the_transport_every_url_is_https() {
        let url = secured("http://127.0.0.1:8080").expect("a URL");
        assert_eq!(url.as_str(), "https://127.0.0.1:8080/");
        let url = secured("https://management.azure.com").expect("a URL");
        assert_eq!(url.as_str(), "https://management.azure.com/");
        assert!(secured("nowhere").is_err());
    }
}
