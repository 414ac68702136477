//! Custom networking: which ENIConfig a node follows, and what it says.
//!
//! The choice is a pure function of the node's object and place. Where that and the
//! ENIConfigs come from is a source's business.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ClusterView, NodeObject, Place};
use crate::config::CustomNetworkSettings;

/// Comes before every other way to name an ENIConfig.
pub(super) const EXTERNAL_LABEL: &str = "vpc.amazonaws.com/externalEniConfig";
/// The ENIConfig of nodes that name none.
const DEFAULT_NAME: &str = "default";

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
pub fn choose(annotation: &str, label: &str, node: &NodeObject) -> Choice {
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniConfig {
    /// Subnet of pods' interfaces.
    pub subnet: String,
    /// Their security groups; those of the primary interface when empty.
    pub security_groups: Vec<String>,
}

/// Why a node has no ENIConfig that it can follow. Waiting does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EniConfigError {
    /// The one of the name is wrong.
    #[error("{origin}: ENIConfig {name}: {reason}")]
    Wrong {
        /// Where it comes from.
        origin: String,
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No source has told of any yet.
    #[error(
        "the cluster's API has not told of ENIConfigs yet, so it is not known where new \
         interfaces belong"
    )]
    NotToldYet,
    /// There is none of the name.
    #[error(
        "{origin}: it has no ENIConfig {name}, which is meant because of {because}; it has {}",
        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    )]
    Missing {
        /// Where the ENIConfigs come from.
        origin: String,
        /// The name.
        name: String,
        /// What named it.
        because: String,
        /// The names that there are.
        known: Vec<String>,
    },
}

/// The ENIConfigs of a cluster. Each is read when it is followed: those of other zones may
/// be as they like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EniConfigs {
    /// Where they come from, as errors begin: `VENI_ENI_CONFIG_FILE=/etc/veni/eniconfigs.json`.
    /// Empty until a source has told of them.
    pub origin: String,
    /// The `spec` of each, by name.
    pub specs: BTreeMap<String, Value>,
}

impl EniConfigs {
    /// Whether a source has told of them; of none, as well.
    pub(crate) fn are_told(&self) -> bool {
        !self.origin.is_empty()
    }

    /// What is wrong with any of them.
    pub(super) fn problems(&self) -> impl Iterator<Item = EniConfigError> {
        self.specs
            .iter()
            .filter_map(|(name, spec)| self.read(name, spec).err())
    }

    fn read(&self, name: &str, spec: &Value) -> Result<EniConfig, EniConfigError> {
        EniConfig::of(spec).map_err(|reason| EniConfigError::Wrong {
            origin: self.origin.clone(),
            name: name.to_owned(),
            reason,
        })
    }
}

impl EniConfig {
    /// Reads a `spec`. The error is a reason, such as `spec.subnet is missing`.
    fn of(spec: &Value) -> Result<Self, String> {
        let subnet = match spec.get("subnet") {
            Some(Value::String(subnet)) if subnet.starts_with("subnet-") => subnet.clone(),
            None | Some(Value::Null) => return Err("spec.subnet is missing".to_owned()),
            Some(other) => return Err(format!("spec.subnet is {other}, and no subnet's id")),
        };
        let groups = match spec.get("securityGroups") {
            None | Some(Value::Null) => &Vec::new(),
            Some(Value::Array(groups)) => groups,
            Some(other) => return Err(format!("spec.securityGroups is {other}, and no list")),
        };
        let group = |group: &Value| match group.as_str() {
            Some(id) if id.starts_with("sg-") => Ok(id.to_owned()),
            _ => Err(format!(
                "spec.securityGroups has {group}, which is no group's id"
            )),
        };
        Ok(Self {
            subnet,
            security_groups: groups.iter().map(group).collect::<Result<_, _>>()?,
        })
    }
}

impl ClusterView {
    /// Returns the ENIConfig of the node at a place, and what named it. What Kubernetes
    /// says of the node counts more than what its place suggests.
    ///
    /// # Errors
    /// There is none of the name, or it is wrong.
    pub fn eni_config(
        &self,
        settings: &CustomNetworkSettings,
        place: &Place,
    ) -> Result<(Choice, EniConfig), EniConfigError> {
        // The API tells of the node and of ENIConfigs in any order. What a half of it names is
        // not what the whole names.
        let node_is_told = settings.node.is_some() || !self.node.uid.is_empty();
        let is_told = self.eni_configs.are_told() && node_is_told;
        if settings.configs.is_none() && !is_told {
            return Err(EniConfigError::NotToldYet);
        }
        let mut node = self.node.clone();
        for (key, value) in place.labels() {
            node.labels.entry(key).or_insert(value);
        }
        let choice = choose(&settings.annotation, &settings.label, &node);
        let configs = &self.eni_configs;
        match configs.specs.get(&choice.name) {
            Some(spec) => {
                let config = configs.read(&choice.name, spec)?;
                Ok((choice, config))
            }
            None => Err(EniConfigError::Missing {
                origin: configs.origin.clone(),
                name: choice.name,
                because: choice.because,
                known: configs.specs.keys().cloned().collect(),
            }),
        }
    }
}
