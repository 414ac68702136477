//! Microsoft Azure: what only its provider is told, and its adapter, in builds with the
//! feature `azure`.

#[cfg(feature = "azure")]
mod adapter;

use std::path::PathBuf;
use std::sync::Arc;

use super::{Entry, url};
use crate::config::declare::{
    Condition, Config, DefaultValue, Parsed, ProviderDeclaration, ProviderSettings, Reader,
    Setting, Variable, read_if_set, text_if_set, truth, wrong,
};

/// Microsoft Azure.
pub(super) static AZURE: Entry = Entry {
    declaration: ProviderDeclaration {
        name: "azure",
        lacking: if cfg!(feature = "azure") {
            None
        } else {
            Some(
                "this build cannot use Azure: it lacks Azure's library; `cargo build --features \
                 ipamd/azure` makes one that can",
            )
        },
        custom_networking: false,
        variables: VARIABLES,
        read,
    },
    #[cfg(feature = "azure")]
    adapter: adapter::adapter,
    #[cfg(not(feature = "azure"))]
    adapter: |_| None,
};

static VARIABLES: &[&Variable] = &[
    &VENI_AZURE_RESOURCE_ID.variable,
    &VENI_AZURE_RELEASE.variable,
    &VENI_AZURE_ENDPOINT.variable,
    &VENI_AZURE_METADATA_ENDPOINT.variable,
    &VENI_AZURE_IDENTITY.variable,
    &AZURE_CLIENT_ID.variable,
    &AZURE_TENANT_ID.variable,
    &AZURE_FEDERATED_TOKEN_FILE.variable,
    &VENI_AZURE_CLIENT_SECRET_FILE.variable,
    &AZURE_AUTHORITY_HOST.variable,
];

/// This provider alone is told.
const WITH_AZURE: Condition = Condition {
    note: "used only with VENI_PROVIDER=azure",
    holds: |now| choice(now.config).is_some(),
};

/// The machine's own identity is used.
const MANAGED: Condition = Condition {
    note: "not used: the node is known by another identity than the machine's",
    holds: |now| {
        let choice = choice(now.config);
        choice.is_none_or(|choice| matches!(choice.identity, AzureIdentity::Managed { .. }))
    },
};

static VENI_AZURE_RESOURCE_ID: Setting<Option<String>> = Setting::new(
    "VENI_AZURE_RESOURCE_ID",
    read_if_set(resource_id, DefaultValue::InWords("instance metadata's")),
    "Azure: resource id of the node's virtual machine.",
)
.needs(&[WITH_AZURE]);

static VENI_AZURE_RELEASE: Setting<bool> = Setting::new(
    "VENI_AZURE_RELEASE",
    truth(true),
    "Azure: give addresses and blocks back that the pool does not need.",
)
.needs(&[WITH_AZURE]);

static VENI_AZURE_ENDPOINT: Setting<Option<String>> = Setting::new(
    "VENI_AZURE_ENDPOINT",
    read_if_set(resource_manager, DefaultValue::InWords("the cloud's")),
    "Azure: URL of the Resource Manager; by http tokens travel unprotected, so that is for fakes \
     alone.",
)
.needs(&[WITH_AZURE]);

static VENI_AZURE_METADATA_ENDPOINT: Setting<Option<String>> = Setting::new(
    "VENI_AZURE_METADATA_ENDPOINT",
    read_if_set(metadata, DefaultValue::InWords("http://169.254.169.254")),
    "Azure: URL of instance metadata.",
)
.needs(&[WITH_AZURE]);

static VENI_AZURE_IDENTITY: Setting<Option<String>> = Setting::new(
    "VENI_AZURE_IDENTITY",
    text_if_set("the machine's only one"),
    "Azure: object id or resource id of the managed identity that the node uses; AZURE_CLIENT_ID \
     names it by its client id.",
)
.needs(&[WITH_AZURE, MANAGED]);

static AZURE_CLIENT_ID: Setting<Option<String>> = Setting::new(
    "AZURE_CLIENT_ID",
    text_if_set("the machine's only one"),
    "Azure: client id of the managed identity, of the workload identity or of the application \
     that the node uses.",
)
.needs(&[WITH_AZURE]);

static AZURE_TENANT_ID: Setting<Option<String>> = Setting::new(
    "AZURE_TENANT_ID",
    text_if_set("none"),
    "Azure: id of the directory of a workload identity or of an application.",
)
.needs(&[WITH_AZURE]);

static AZURE_FEDERATED_TOKEN_FILE: Setting<Option<PathBuf>> = Setting::new(
    "AZURE_FEDERATED_TOKEN_FILE",
    read_if_set(path, DefaultValue::InWords("none")),
    "Azure: file with the token of a Kubernetes service account, by which the node uses a \
     workload identity; it goes before an application's secret.",
)
.needs(&[WITH_AZURE]);

static VENI_AZURE_CLIENT_SECRET_FILE: Setting<Option<PathBuf>> = Setting::new(
    "VENI_AZURE_CLIENT_SECRET_FILE",
    read_if_set(path, DefaultValue::InWords("none")),
    "Azure: file with the secret of the application that the node uses.",
)
.needs(&[WITH_AZURE]);

static AZURE_AUTHORITY_HOST: Setting<Option<String>> = Setting::new(
    "AZURE_AUTHORITY_HOST",
    read_if_set(authority, DefaultValue::InWords("the cloud's")),
    "Azure: URL of Entra, which gives tokens.",
)
.needs(&[WITH_AZURE]);

fn choice(config: &Config) -> Option<&AzureChoice> {
    config.provider.settings()
}

fn path(text: &str) -> Parsed<Option<PathBuf>> {
    Ok(Some(PathBuf::from(text)))
}

fn resource_manager(text: &str) -> Parsed<Option<String>> {
    url(text, "https://management.azure.com").map(Some)
}

fn metadata(text: &str) -> Parsed<Option<String>> {
    url(text, "http://169.254.169.254").map(Some)
}

fn authority(text: &str) -> Parsed<Option<String>> {
    match text.starts_with("https://") {
        true => url(text, "https://login.microsoftonline.com").map(Some),
        false => Err(wrong(
            text,
            "must be a URL by https, as https://login.microsoftonline.com",
        )),
    }
}

fn resource_id(text: &str) -> Parsed<Option<String>> {
    let lower = text.to_ascii_lowercase();
    match lower.starts_with("/subscriptions/") && lower.contains("/virtualmachines/") {
        true => Ok(Some(text.to_owned())),
        false => Err(wrong(
            text,
            "must be the resource id of a virtual machine, as /subscriptions/…/resourceGroups/…\
             /providers/Microsoft.Compute/virtualMachines/node-1",
        )),
    }
}

/// How the node proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum AzureIdentity {
    /// The machine's managed identity, named where it has several.
    Managed {
        client: Option<String>,
        /// An object id, or a resource id, which begins with a slash.
        other: Option<String>,
    },
    /// A workload identity.
    Workload {
        tenant: String,
        client: String,
        token_file: PathBuf,
    },
    /// An application with a secret.
    Application {
        tenant: String,
        client: String,
        secret_file: PathBuf,
    },
}

/// What only the Azure provider is told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AzureChoice {
    /// The machine's resource id, where instance metadata is not asked for it.
    resource_id: Option<String>,
    /// Whether anything is given back.
    release: bool,
    /// URL of the Resource Manager, where it is not the cloud's.
    endpoint: Option<String>,
    /// URL of instance metadata, where it is not the usual one.
    metadata_endpoint: Option<String>,
    /// URL of Entra, where it is not the cloud's.
    authority: Option<String>,
    /// How the node proves who it is.
    identity: AzureIdentity,
}

impl ProviderSettings for AzureChoice {
    /// The identity's role may write the node's NIC.
    fn metadata_gives_its_rights(&self) -> bool {
        matches!(self.identity, AzureIdentity::Managed { .. })
    }
}

fn read(reader: &mut Reader<'_>, _: &str) -> Arc<dyn ProviderSettings> {
    Arc::new(AzureChoice {
        resource_id: reader.read(&VENI_AZURE_RESOURCE_ID),
        release: reader.read(&VENI_AZURE_RELEASE),
        endpoint: reader.read(&VENI_AZURE_ENDPOINT),
        metadata_endpoint: reader.read(&VENI_AZURE_METADATA_ENDPOINT),
        authority: reader.read(&AZURE_AUTHORITY_HOST),
        identity: read_identity(reader),
    })
}

fn read_identity(reader: &mut Reader<'_>) -> AzureIdentity {
    let other = reader.read(&VENI_AZURE_IDENTITY);
    let client = reader.read(&AZURE_CLIENT_ID);
    let tenant = reader.read(&AZURE_TENANT_ID);
    let token_file = reader.read(&AZURE_FEDERATED_TOKEN_FILE);
    let secret_file = reader.read(&VENI_AZURE_CLIENT_SECRET_FILE);
    let (setting, file) = match (&token_file, &secret_file) {
        (Some(file), _) => (&AZURE_FEDERATED_TOKEN_FILE, file.clone()),
        (None, Some(file)) => (&VENI_AZURE_CLIENT_SECRET_FILE, file.clone()),
        (None, None) => {
            if let (Some(_), Some(other)) = (&client, &other) {
                let reason = "names the identity a second time: AZURE_CLIENT_ID is set, too";
                reader.problem(&VENI_AZURE_IDENTITY, other, reason);
            }
            return AzureIdentity::Managed { client, other };
        }
    };
    if tenant.is_none() || client.is_none() {
        let reason = "needs AZURE_TENANT_ID and AZURE_CLIENT_ID: whose file it is";
        reader.problem(setting, &file.display().to_string(), reason);
    }
    let (tenant, client) = (tenant.unwrap_or_default(), client.unwrap_or_default());
    match token_file {
        Some(token_file) => AzureIdentity::Workload {
            tenant,
            client,
            token_file,
        },
        None => AzureIdentity::Application {
            tenant,
            client,
            secret_file: file,
        },
    }
}
