//! How the API is reached.

use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::requests::Observer;
use crate::config::KubernetesSettings;

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(10);

/// Why it is not known how to reach the API.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("KUBECONFIG={path}: {source}; name a file as kubectl uses it, or unset KUBECONFIG")]
    File {
        path: String,
        source: kube::config::KubeconfigError,
    },
    #[error(
        "the pod's service account cannot be used: {0}; let the pod have its token \
         (automountServiceAccountToken)"
    )]
    ServiceAccount(#[from] kube::config::InClusterError),
    #[error("no client can be made for {server}: {source}")]
    Client { server: String, source: kube::Error },
}

/// Reads where the API is and who asks it.
pub(super) async fn config(settings: &KubernetesSettings) -> Result<Config, ConfigError> {
    let mut config = match &settings.kubeconfig {
        Some(path) => {
            let wrong = |source| ConfigError::File {
                path: path.display().to_string(),
                source,
            };
            let file = Kubeconfig::read_from(path).map_err(wrong)?;
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(file, &options).await;
            config.map_err(wrong)?
        }
        None => {
            let mut config = Config::incluster_env()?;
            if let Some(endpoint) = &settings.endpoint {
                config.cluster_url = endpoint.clone();
            }
            config
        }
    };
    config.connect_timeout = Some(CONNECT);
    // A refused or overloaded request is tried again by its watch, which waits longer each time.
    config.default_retry = false;
    Ok(config)
}

/// A client whose requests are seen.
pub(super) fn client(config: &Config, observer: &Observer) -> Result<Client, ConfigError> {
    let made = ClientBuilder::try_from(config.clone());
    let made = made.map_err(|source| ConfigError::Client {
        server: config.cluster_url.to_string(),
        source,
    })?;
    Ok(made.with_layer(observer).build())
}
