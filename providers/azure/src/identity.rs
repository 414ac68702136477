//! Who the node is: its resource id, its size, its cloud.

use serde_json::Value;
use veni_provider::{ErrorClass, ProviderError};

use crate::metadata::Metadata;
use crate::settings::AzureSettings;
use crate::target::Machine;

/// The machine that the provider speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) machine: Machine,
    /// `Standard_D4s_v5`, or an empty text.
    pub(crate) size: String,
    /// `1`, or an empty text.
    pub(crate) zone: String,
    pub(crate) cloud: Cloud,
}

/// One of Azure's clouds: where its Resource Manager and its Entra are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cloud {
    pub(crate) endpoint: &'static str,
    pub(crate) authority: &'static str,
}

const PUBLIC: Cloud = Cloud {
    endpoint: "https://management.azure.com",
    authority: "https://login.microsoftonline.com",
};

impl Cloud {
    /// The cloud that instance metadata calls so (`azEnvironment`). An unknown one is taken
    /// for the public one; the settings can say better.
    fn named(name: &str) -> Self {
        match name {
            "AzureUSGovernmentCloud" => Self {
                endpoint: "https://management.usgovcloudapi.net",
                authority: "https://login.microsoftonline.us",
            },
            "AzureChinaCloud" => Self {
                endpoint: "https://management.chinacloudapi.cn",
                authority: "https://login.chinacloudapi.cn",
            },
            _ => PUBLIC,
        }
    }
}

/// Finds out who the node is.
///
/// # Errors
/// `Transient`: instance metadata does not answer. `Fatal`: there is no such machine.
pub(crate) async fn find(
    settings: &AzureSettings,
    metadata: &Metadata,
) -> Result<Instance, ProviderError> {
    let told = match &settings.resource_id {
        // Whoever names the machine need not be on it.
        Some(_) => Value::Null,
        None => {
            let told = metadata.compute().await;
            told.map_err(|failure| failure.error(None))?
        }
    };
    let text = |key| told.get(key).and_then(Value::as_str).unwrap_or_default();
    let id = settings
        .resource_id
        .as_deref()
        .unwrap_or_else(|| text("resourceId"));
    let machine = Machine::of(id).ok_or_else(|| {
        let reason = format!(
            "'{id}' is no resource id of a virtual machine; VENI_AZURE_RESOURCE_ID can say it"
        );
        ProviderError::new(ErrorClass::Fatal, "connect", reason)
    })?;
    Ok(Instance {
        machine,
        size: text("vmSize").to_owned(),
        zone: text("zone").to_owned(),
        cloud: Cloud::named(text("azEnvironment")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cloud_has_a_resource_manager_and_an_entra_of_its_own() {
        assert_eq!(Cloud::named("AzurePublicCloud"), PUBLIC);
        assert_eq!(Cloud::named("AzureCloudOfTomorrow"), PUBLIC);
        for name in ["AzureUSGovernmentCloud", "AzureChinaCloud"] {
            let cloud = Cloud::named(name);
            assert_ne!(cloud.endpoint, PUBLIC.endpoint, "{name}");
            assert_ne!(cloud.authority, PUBLIC.authority, "{name}");
        }
    }
}
