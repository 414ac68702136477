//! Connects to Azure: the provider is made from the daemon's settings and from what the
//! daemon before knew of the node.

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use veni_provider::Provider;
use veni_provider_azure::{AzureProvider, AzureSettings, Credentials, Remembered, UserAssigned};

use super::super::patience::until_found;
use super::{AzureChoice, AzureIdentity};
use crate::app::adapter::{Adapter, Start};
use crate::cloud_rules::{AZURE, CloudRules};
use crate::config::{Config, ProviderChoice};
use crate::host::HostChecks;
use crate::host::azure_plugin::AZURE_PLUGIN;
use crate::journal::CloudMemory;
use crate::progress::Progress;

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
        let settings = settings(start.config, &self.0)?;
        let remembered = start.remembered.and_then(known_of);
        Ok(connect(settings, remembered, &start.observers.progress).await)
    }
}

/// A node that is remembered is served at once, and found again beside. A new one has to be
/// found first.
async fn connect(
    settings: AzureSettings,
    remembered: Option<Remembered>,
    progress: &Progress,
) -> Arc<dyn Provider> {
    if let Some(remembered) = remembered {
        return veni_provider_azure::resume(settings, remembered);
    }
    let connect = || AzureProvider::connect(settings.clone());
    Arc::new(until_found("Azure", progress, connect).await)
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

/// What the daemon before knew: with it a restart waits for nobody.
fn known_of(memory: &CloudMemory) -> Option<Remembered> {
    let primary = memory.inventory.interfaces.iter().find(|one| one.primary)?;
    Some(Remembered {
        machine: memory.node.instance_id.clone(),
        nic: primary.id.to_string(),
        subnet: primary.subnet.to_string(),
        ranges: primary.ranges(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use veni_provider::ErrorClass;

    use super::*;

    fn config(set: &[(&str, &str)]) -> Config {
        let lookup = |name: &str| {
            let found = set.iter().find(|(known, _)| *known == name);
            let given = found.map(|(_, value)| (*value).to_owned());
            given.or_else(|| (name == "VENI_PROVIDER").then(|| "azure".to_owned()))
        };
        let config = Config::try_new(&crate::app::providers(), &lookup, "node");
        config.expect("is good")
    }

    fn chosen(set: &[(&str, &str)]) -> AzureSettings {
        let config = config(set);
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

    /// A restart must not hang where neither instance metadata nor the Resource Manager
    /// answers.
    #[tokio::test]
    async fn a_node_that_is_remembered_waits_for_nobody() {
        let nobody = Some("http://127.0.0.1:1".to_owned());
        let settings = AzureSettings {
            endpoint: nobody.clone(),
            metadata_endpoint: nobody,
            ..chosen(&[])
        };
        let remembered = Remembered {
            machine: "/subscriptions/s/machine".to_owned(),
            nic: "/subscriptions/s/nic".to_owned(),
            subnet: "/subscriptions/s/subnet".to_owned(),
            ranges: BTreeSet::new(),
        };
        let progress = Progress::default();
        let connected = connect(settings, Some(remembered), &progress);
        let provider = tokio::time::timeout(Duration::from_secs(60), connected).await;
        let provider = provider.expect("waits for nobody");
        assert!(provider.capabilities().ipv4_prefixes);
        let error = provider.inventory().await.expect_err("nobody answers");
        assert_eq!(error.class, ErrorClass::Transient, "{error}");
    }

    #[test]
    fn metadata_that_gives_the_node_s_rights_is_closed_to_pods_or_warned_of() {
        let setting = "VENI_BLOCK_POD_METADATA";
        let workload = [
            ("AZURE_TENANT_ID", "tenant"),
            ("AZURE_CLIENT_ID", "client"),
            ("AZURE_FEDERATED_TOKEN_FILE", "/token"),
        ];
        for (set, closed, warned) in [
            (&[][..], true, false),
            (&[(setting, "false")], false, true),
            (&workload, false, false),
            (
                &[(setting, "true"), workload[0], workload[1], workload[2]],
                true,
                false,
            ),
        ] {
            let config = config(set);
            assert_eq!(config.network.metadata_closed, closed, "{set:?}");
            let about = |remark: &&crate::config::Remark| remark.name == setting;
            let remark = config.remarks.iter().find(about);
            assert_eq!(remark.is_some_and(|one| one.warning), warned, "{set:?}");
        }
    }

    #[test]
    fn nothing_is_written_where_the_daemon_may_not_change_anything() {
        assert!(chosen(&[]).may_change);
        let set = [("DISABLE_NETWORK_RESOURCE_PROVISIONING", "true")];
        assert!(!chosen(&set).may_change);
        assert!(!chosen(&[("VENI_AZURE_RELEASE", "false")]).release);
    }
}
