//! Connects to Azure: the provider is made from the daemon's settings and from what the
//! daemon before knew of the node.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use veni_provider::{ErrorClass, Provider};
use veni_provider_azure::{AzureProvider, AzureSettings, Credentials, Remembered, UserAssigned};

use super::{AzureChoice, AzureIdentity};
use crate::app::adapter::{Adapter, Start};
use crate::cloud_rules::{AZURE, CloudRules};
use crate::config::{Config, ProviderChoice};
use crate::host::HostChecks;
use crate::host::azure_plugin::AZURE_PLUGIN;
use crate::journal::CloudMemory;
use crate::retry::Pauses;

/// Between two tries to find out who the node is.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Microsoft Azure, as the settings choose it.
struct Azure(AzureChoice);

/// The adapter of this choice; `None` for the choice of another provider.
pub(super) fn adapter(choice: &ProviderChoice) -> Option<Box<dyn Adapter>> {
    let choice = choice.settings::<AzureChoice>()?;
    Some(Box::new(Azure(choice.clone())))
}

#[async_trait]
impl Adapter for Azure {
    fn rules(&self) -> &'static CloudRules {
        &AZURE
    }

    fn host_checks(&self) -> HostChecks {
        HostChecks::Host {
            other_plugin: &AZURE_PLUGIN,
        }
    }

    async fn connect(&self, start: &Start<'_>) -> anyhow::Result<Arc<dyn Provider>> {
        let mut settings = settings(start.config, &self.0)?;
        settings.remembered = start.remembered.and_then(known_of);
        let progress = &start.observers.progress;
        progress.waits_for("waiting for Azure to tell which node this is");
        let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let error = match AzureProvider::connect(settings.clone()).await {
                Ok(provider) => return Ok(Arc::new(provider)),
                Err(error) => error,
            };
            tracing::error!(%error, "not ready: failed to find this node in Azure");
            let waits = format!("waiting for Azure to tell which node this is: {error}");
            progress.waits_for(waits);
            // Where many nodes start together, Azure says when to come back.
            let hint = match error.class {
                ErrorClass::Throttled { retry_after } => retry_after.unwrap_or_default(),
                _ => Duration::ZERO,
            };
            tokio::time::sleep(hint + pauses.after_failure()).await;
        }
    }
}

/// What the daemon's settings tell the provider.
fn settings(config: &Config, choice: &AzureChoice) -> anyhow::Result<AzureSettings> {
    Ok(AzureSettings {
        resource_id: choice.resource_id.clone(),
        endpoint: choice.endpoint.clone(),
        metadata_endpoint: choice.metadata_endpoint.clone(),
        authority: choice.authority.clone(),
        credentials: credentials(&choice.identity)?,
        may_change: config.targets.provisioning,
        release: choice.release,
        call_timeout: config.timing.cloud_deadline / 3,
        ..AzureSettings::default()
    })
}

fn credentials(identity: &AzureIdentity) -> anyhow::Result<Credentials> {
    Ok(match identity.clone() {
        AzureIdentity::Managed { client, other } => {
            let other = other.map(|id| match id.starts_with('/') {
                true => UserAssigned::ResourceId(id),
                false => UserAssigned::ObjectId(id),
            });
            Credentials::ManagedIdentity(client.map(UserAssigned::ClientId).or(other))
        }
        AzureIdentity::Workload {
            tenant,
            client,
            token_file,
        } => Credentials::WorkloadIdentity {
            tenant,
            client,
            token_file,
        },
        AzureIdentity::Application {
            tenant,
            client,
            secret_file,
        } => {
            let secret = std::fs::read_to_string(&secret_file).with_context(|| {
                let file = secret_file.display();
                format!("VENI_AZURE_CLIENT_SECRET_FILE={file}: failed to read it")
            })?;
            Credentials::ClientSecret {
                tenant,
                client,
                secret: secret.trim().to_owned(),
            }
        }
    })
}

/// What the daemon before knew: with it a restart needs no call to the Resource Manager.
fn known_of(memory: &CloudMemory) -> Option<Remembered> {
    let primary = memory.inventory.interfaces.iter().find(|one| one.primary)?;
    Some(Remembered {
        machine: memory.node.instance_id.clone(),
        nic: primary.id.to_string(),
        subnet: primary.subnet.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(set: &[(&str, &str)]) -> AzureSettings {
        let lookup = |name: &str| {
            let found = set.iter().find(|(known, _)| *known == name);
            let given = found.map(|(_, value)| (*value).to_owned());
            given.or_else(|| (name == "VENI_PROVIDER").then(|| "azure".to_owned()))
        };
        let config = Config::try_new(&crate::app::providers(), &lookup, "node");
        let config = config.expect("is good");
        let choice = config.provider.settings::<AzureChoice>().expect("is Azure");
        settings(&config, choice).expect("makes settings")
    }

    #[test]
    fn the_machine_s_identity_is_named_in_each_of_its_ways() {
        let managed = |set: &[(&str, &str)]| chosen(set).credentials;
        assert_eq!(managed(&[]), Credentials::ManagedIdentity(None));
        let of = |identity| Credentials::ManagedIdentity(Some(identity));
        let client = UserAssigned::ClientId("c".to_owned());
        assert_eq!(managed(&[("AZURE_CLIENT_ID", "c")]), of(client));
        let object = UserAssigned::ObjectId("o".to_owned());
        assert_eq!(managed(&[("VENI_AZURE_IDENTITY", "o")]), of(object));
        let resource = UserAssigned::ResourceId("/subscriptions/s".to_owned());
        let set = [("VENI_AZURE_IDENTITY", "/subscriptions/s")];
        assert_eq!(managed(&set), of(resource));
    }

    #[test]
    fn a_workload_identity_is_what_its_webhook_sets() {
        let set = [
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_TENANT_ID", "t"),
            ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/token"),
            ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/"),
        ];
        let settings = chosen(&set);
        let expected = Credentials::WorkloadIdentity {
            tenant: "t".to_owned(),
            client: "c".to_owned(),
            token_file: "/var/run/secrets/token".into(),
        };
        assert_eq!(settings.credentials, expected);
        assert_eq!(
            settings.authority.as_deref(),
            Some("https://login.microsoftonline.com/")
        );
    }

    #[test]
    fn nothing_is_written_where_the_daemon_may_not_change_anything() {
        assert!(chosen(&[]).may_change);
        let set = [("DISABLE_NETWORK_RESOURCE_PROVISIONING", "true")];
        assert!(!chosen(&set).may_change);
        assert!(!chosen(&[("VENI_AZURE_RELEASE", "false")]).release);
    }
}
