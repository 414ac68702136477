//! Custom networking: which ENIConfig a node follows.
//!
//! The choice is a pure function of the node's labels and annotations. Where
//! those and the ENIConfigs come from is the business of [`objects`], which
//! reads files; Kubernetes itself may take their place.

mod objects;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use objects::ObjectError;

use crate::config::CustomNetworkSettings;

/// Comes before every other way to name an ENIConfig.
const EXTERNAL_LABEL: &str = "vpc.amazonaws.com/externalEniConfig";
/// The ENIConfig of nodes that name none.
const DEFAULT_NAME: &str = "default";

/// What Kubernetes knows a node by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeMetadata {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Where a node is, as its cloud tells; what is empty is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Availability zone: `eu-west-1a`.
    pub zone: String,
    /// Region: `eu-west-1`.
    pub region: String,
    /// Instance type.
    pub instance_type: String,
    /// Name of the node.
    pub node_name: String,
}

impl Place {
    /// The labels that every cluster puts on its nodes.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = [
            ("topology.kubernetes.io/zone", &self.zone),
            ("failure-domain.beta.kubernetes.io/zone", &self.zone),
            ("topology.kubernetes.io/region", &self.region),
            ("failure-domain.beta.kubernetes.io/region", &self.region),
            ("node.kubernetes.io/instance-type", &self.instance_type),
            ("beta.kubernetes.io/instance-type", &self.instance_type),
            ("kubernetes.io/hostname", &self.node_name),
        ];
        labels
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect()
    }
}

/// The region of a zone: local zones have more behind the region's number
/// (`us-west-2-lax-1a`), others a letter (`us-gov-west-1a`).
#[must_use]
pub fn region_of(zone: &str) -> String {
    let mut parts = Vec::new();
    for part in zone.split('-') {
        let number: String = part.chars().take_while(char::is_ascii_digit).collect();
        if number.is_empty() {
            parts.push(part.to_owned());
        } else {
            parts.push(number);
            return parts.join("-");
        }
    }
    String::new()
}

/// A name, and what named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Name of the ENIConfig.
    pub name: String,
    /// In words, such as `label topology.kubernetes.io/zone`.
    pub because: String,
}

/// Names the ENIConfig of a node, in the AWS plugin's order: the external
/// label, the annotation, the label, `default`.
#[must_use]
pub fn choose(annotation: &str, label: &str, node: &NodeMetadata) -> Choice {
    let ways = [
        ("label", EXTERNAL_LABEL, &node.labels),
        ("annotation", annotation, &node.annotations),
        ("label", label, &node.labels),
    ];
    for (kind, key, values) in ways {
        if let Some(name) = values.get(key).filter(|name| !name.is_empty()) {
            return Choice {
                name: name.clone(),
                because: format!("{kind} {key}"),
            };
        }
    }
    Choice {
        name: DEFAULT_NAME.to_owned(),
        because: format!(
            "the node has neither label {EXTERNAL_LABEL} nor annotation {annotation} nor label {label}"
        ),
    }
}

/// What an ENIConfig says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EniConfig {
    /// Subnet of pods' interfaces.
    pub subnet: String,
    /// Their security groups; those of the primary interface when empty.
    pub security_groups: Vec<String>,
}

/// Why no ENIConfig could be found. Waiting does not help.
#[derive(Debug, thiserror::Error)]
pub enum EniConfigError {
    /// A file is missing or wrong.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// There is no ENIConfig of the name.
    #[error(
        "VENI_ENI_CONFIG_FILE={}: it has no ENIConfig {name}, which is meant because of {because}; it has {}",
        path.display(),
        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
        /// What named it.
        because: String,
        /// The names that there are.
        known: Vec<String>,
    },
}

/// The ENIConfigs of a cluster, and what is known of the node beside its place.
#[derive(Debug)]
pub struct EniConfigs {
    settings: CustomNetworkSettings,
    node: NodeMetadata,
    configs: BTreeMap<String, objects::Unchecked>,
}

impl EniConfigs {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// A file is missing, is no JSON, or has other objects.
    pub fn try_new(settings: &CustomNetworkSettings) -> Result<Self, EniConfigError> {
        Ok(Self {
            settings: settings.clone(),
            node: match &settings.node {
                Some(path) => objects::read_node(path)?,
                None => NodeMetadata::default(),
            },
            configs: objects::read_eni_configs(&settings.configs)?,
        })
    }

    /// The ENIConfig of the node at a place, and what named it. What Kubernetes
    /// says of the node counts more than what its place suggests.
    ///
    /// # Errors
    /// There is none of the name, or it is wrong.
    pub fn of_node(&self, place: &Place) -> Result<(Choice, EniConfig), EniConfigError> {
        let mut node = self.node.clone();
        for (key, value) in place.labels() {
            node.labels.entry(key).or_insert(value);
        }
        let choice = choose(&self.settings.annotation, &self.settings.label, &node);
        match self.configs.get(&choice.name) {
            Some(found) => {
                let config = found.eni_config(&self.settings.configs)?;
                Ok((choice, config))
            }
            None => Err(EniConfigError::Missing {
                path: self.settings.configs.clone(),
                name: choice.name,
                because: choice.because,
                known: self.configs.keys().cloned().collect(),
            }),
        }
    }
}

/// All that is wrong with the files that the settings name and with the ENIConfigs
/// in them, those of other nodes included.
#[must_use]
pub fn problems(settings: &CustomNetworkSettings) -> Vec<EniConfigError> {
    let mut problems = Vec::new();
    let node = settings.node.as_deref().map(objects::read_node);
    problems.extend(node.and_then(Result::err));
    match objects::read_eni_configs(&settings.configs) {
        Ok(configs) => {
            let wrong = |found: &objects::Unchecked| found.eni_config(&settings.configs).err();
            problems.extend(configs.values().filter_map(wrong));
        }
        Err(problem) => problems.push(problem),
    }
    problems.into_iter().map(EniConfigError::from).collect()
}

#[cfg(test)]
mod tests;
