//! The node's identity as a source of tokens that can be told to begin anew.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::http::{ClientOptions, Transport};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use tokio::sync::RwLock;
use veni_provider::{ErrorClass, ProviderError};

use crate::settings::{Credentials, UserAssigned};

/// A credential that keeps its tokens until it is told that one was refused. Azure's
/// library asks for a new token five minutes before the old one expires, and has no way to
/// be told that a token expired early.
pub(crate) struct Renewing {
    credentials: Credentials,
    options: ClientOptions,
    current: RwLock<Arc<dyn TokenCredential>>,
}

impl fmt::Debug for Renewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewing")
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl Renewing {
    /// # Errors
    /// `Fatal`: the settings make no credential.
    pub(crate) fn try_new(
        credentials: &Credentials,
        authority: &str,
        transport: Transport,
    ) -> Result<Self, ProviderError> {
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host = authority.to_owned();
        let options = ClientOptions {
            transport: Some(transport),
            cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
            ..ClientOptions::default()
        };
        let made = make(credentials, &options).map_err(|error| {
            let reason = format!("{credentials:?} makes no credential: {error}");
            ProviderError::new(ErrorClass::Fatal, "connect", reason)
        })?;
        Ok(Self {
            credentials: credentials.clone(),
            options,
            current: RwLock::new(made),
        })
    }

    /// Forgets all tokens.
    pub(crate) async fn renew(&self) {
        match make(&self.credentials, &self.options) {
            Ok(made) => *self.current.write().await = made,
            Err(error) => tracing::warn!(%error, "failed to begin anew with the node's identity"),
        }
    }
}

fn make(
    credentials: &Credentials,
    options: &ClientOptions,
) -> azure_core::Result<Arc<dyn TokenCredential>> {
    let client_options = options.clone();
    Ok(match credentials {
        Credentials::ManagedIdentity(identity) => {
            let user_assigned_id = identity.clone().map(|identity| match identity {
                UserAssigned::ClientId(id) => UserAssignedId::ClientId(id),
                UserAssigned::ObjectId(id) => UserAssignedId::ObjectId(id),
                UserAssigned::ResourceId(id) => UserAssignedId::ResourceId(id),
            });
            ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                user_assigned_id,
                client_options,
            }))?
        }
        Credentials::WorkloadIdentity {
            tenant,
            client,
            token_file,
        } => WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
            credential_options: ClientAssertionCredentialOptions { client_options },
            client_id: Some(client.clone()),
            tenant_id: Some(tenant.clone()),
            token_file_path: Some(token_file.clone()),
        }))?,
        Credentials::ClientSecret {
            tenant,
            client,
            secret,
        } => ClientSecretCredential::new(
            tenant,
            client.clone(),
            Secret::new(secret.clone()),
            Some(ClientSecretCredentialOptions { client_options }),
        )?,
    })
}

#[async_trait]
impl TokenCredential for Renewing {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let current = Arc::clone(&*self.current.read().await);
        current.get_token(scopes, options).await
    }
}
