//! What the provider can be told. Reading environment variables is the daemon's business.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use azure_core::http::HttpClient;
use ipnet::IpNet;

/// Which of the node's user-assigned identities is meant. Without one the node must have
/// exactly one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserAssigned {
    /// By its client id.
    ClientId(String),
    /// By its object (principal) id.
    ObjectId(String),
    /// By its resource id.
    ResourceId(String),
}

/// How the node proves who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// The machine's managed identity, by instance metadata.
    ManagedIdentity(Option<UserAssigned>),
    /// A Kubernetes service account that Entra trusts; the file is read again before each
    /// new token.
    WorkloadIdentity {
        /// The directory's id.
        tenant: String,
        /// The identity's client id.
        client: String,
        /// The file that Kubernetes projects.
        token_file: PathBuf,
    },
    /// An application's secret.
    ClientSecret {
        /// The directory's id.
        tenant: String,
        /// The application's client id.
        client: String,
        /// Its secret.
        secret: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ManagedIdentity(identity) => {
                f.debug_tuple("ManagedIdentity").field(identity).finish()
            }
            Self::WorkloadIdentity { tenant, client, .. } => f
                .debug_struct("WorkloadIdentity")
                .field("tenant", tenant)
                .field("client", client)
                .finish_non_exhaustive(),
            Self::ClientSecret { tenant, client, .. } => f
                .debug_struct("ClientSecret")
                .field("tenant", tenant)
                .field("client", client)
                .finish_non_exhaustive(),
        }
    }
}

/// What was known of the node before. Its NIC and its subnet never change while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The machine's resource id.
    pub machine: String,
    /// The resource id of its NIC.
    pub nic: String,
    /// The resource id of the NIC's subnet.
    pub subnet: String,
    /// What pods could have: while a write is under way that hides which configurations are
    /// good, these are.
    pub ranges: BTreeSet<IpNet>,
}

/// Settings of the provider.
#[derive(Clone)]
pub struct AzureSettings {
    /// The machine's resource id; asked of instance metadata when absent.
    pub resource_id: Option<String>,
    /// What was known of the node before. Where it is of the same machine, no call to the
    /// Resource Manager is made to connect.
    pub remembered: Option<Remembered>,
    /// The Resource Manager's URL; the one of the machine's cloud when absent. By `http://`
    /// tokens travel unprotected: for fakes alone.
    pub endpoint: Option<String>,
    /// Where instance metadata is, as `http://host:port`; 169.254.169.254 when absent.
    pub metadata_endpoint: Option<String>,
    /// Where Entra gives tokens; the one of the machine's cloud when absent.
    pub authority: Option<String>,
    /// How the node proves who it is.
    pub credentials: Credentials,
    /// Whether anything may be written.
    pub may_change: bool,
    /// Whether addresses and blocks are given back.
    pub release: bool,
    /// After this time a change that has ended shows in a read.
    pub settle_time: Duration,
    /// Longest time of one request.
    pub call_timeout: Duration,
    /// Longest time of a change from its acceptance to its end, for all that is known.
    pub operation_patience: Duration,
    /// What requests are sent with; a client of its own when absent.
    pub transport: Option<Arc<dyn HttpClient>>,
}

impl Default for AzureSettings {
    fn default() -> Self {
        Self {
            resource_id: None,
            remembered: None,
            endpoint: None,
            metadata_endpoint: None,
            authority: None,
            credentials: Credentials::ManagedIdentity(None),
            may_change: true,
            release: true,
            settle_time: Duration::from_secs(5),
            call_timeout: Duration::from_secs(20),
            operation_patience: Duration::from_secs(600),
            transport: None,
        }
    }
}

impl fmt::Debug for AzureSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureSettings")
            .field("resource_id", &self.resource_id)
            .field("remembered", &self.remembered)
            .field("endpoint", &self.endpoint)
            .field("metadata_endpoint", &self.metadata_endpoint)
            .field("authority", &self.authority)
            .field("credentials", &self.credentials)
            .field("may_change", &self.may_change)
            .field("release", &self.release)
            .field("settle_time", &self.settle_time)
            .field("call_timeout", &self.call_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let settings = AzureSettings {
            credentials: Credentials::ClientSecret {
                tenant: "directory".to_owned(),
                client: "application".to_owned(),
                secret: "hunter2".to_owned(),
            },
            ..AzureSettings::default()
        };
        let printed = format!("{settings:?}");
        assert!(printed.contains("application") && !printed.contains("hunter2"));
    }
}
