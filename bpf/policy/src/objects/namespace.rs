//! Namespaces: a name and labels.

use serde::Deserialize;

use super::{Invalid, Labels, api};

/// The label that the API server gives every namespace: its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "api::Namespace")]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels, with `kubernetes.io/metadata.name` as the API server sets it.
    pub labels: Labels,
}

impl TryFrom<api::Namespace> for Namespace {
    type Error = Invalid;

    fn try_from(raw: api::Namespace) -> Result<Self, Invalid> {
        let name = raw.metadata.require_name("Namespace")?;
        let mut labels = raw.metadata.labels.unwrap_or_default();
        labels.insert(NAME_LABEL.to_owned(), name.clone());
        Ok(Self { name, labels })
    }
}
