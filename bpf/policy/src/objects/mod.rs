//! What NetworkPolicies are made of: policies, namespaces and pods, as the API's JSON has them.
//!
//! Each type reads its object (`Deserialize`), checks it by the API server's rules, and keeps only
//! what policies need. Fields that it does not know are ignored. What is malformed is refused
//! with a sentence that names the object, the field and the reason.

mod api;
mod namespace;
mod network_policy;
mod pod;
mod selector;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

pub use namespace::Namespace;
pub use network_policy::{NetworkPolicy, Peer, Port, Rule};
pub use pod::{ContainerPort, Pod};
pub use selector::{Requirement, Selector};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Which pod or policy: unique among the objects of its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// The object's namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

impl ObjectName {
    /// The object `name` of `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object that is not as the API has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {field}: {reason}")]
pub struct Invalid {
    /// Kind and name, as far as it tells them.
    pub object: String,
    /// Where in the object, as `spec.ingress[0].ports[1].endPort`.
    pub field: String,
    /// What is wrong, and what is expected.
    pub reason: String,
}

/// One object that matters to policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A policy.
    NetworkPolicy(NetworkPolicy),
    /// A namespace, whose labels policies select.
    Namespace(Namespace),
    /// A pod, which policies select as their subject and as a peer.
    Pod(Pod),
}

impl Object {
    /// Reads what `value` holds: one object, or those of a List, each by itself.
    pub fn read(value: Value) -> Vec<Result<Self, Invalid>> {
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or("");
        if !kind.ends_with("List") {
            return vec![Self::read_one(value)];
        }
        let of = kind.trim_end_matches("List").to_owned();
        let version = value.get("apiVersion").cloned().unwrap_or_default();
        let mut value = value;
        match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items
                .into_iter()
                .flat_map(|item| Self::read(with_kind(item, &of, &version)))
                .collect(),
            None | Some(Value::Null) => Vec::new(),
            Some(_) => vec![Err(Invalid {
                object: format!("{of}List"),
                field: "items".to_owned(),
                reason: "must be a list of objects".to_owned(),
            })],
        }
    }

    /// Its kind and name.
    pub fn reference(&self) -> Reference {
        match self {
            Self::NetworkPolicy(policy) => Reference::NetworkPolicy(policy.name.clone()),
            Self::Namespace(namespace) => Reference::Namespace(namespace.name.clone()),
            Self::Pod(pod) => Reference::Pod(pod.name.clone()),
        }
    }

    fn read_one(value: Value) -> Result<Self, Invalid> {
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or("");
        match (text("apiVersion"), text("kind")) {
            ("networking.k8s.io/v1", "NetworkPolicy") => {
                read::<api::NetworkPolicy, _>("NetworkPolicy", value).map(Self::NetworkPolicy)
            }
            ("v1", "Namespace") => {
                read::<api::Namespace, _>("Namespace", value).map(Self::Namespace)
            }
            ("v1", "Pod") => read::<api::Pod, _>("Pod", value).map(Self::Pod),
            (version, kind) => Err(Invalid {
                object: title("object", &value),
                field: "kind".to_owned(),
                reason: format!(
                    "must be NetworkPolicy of networking.k8s.io/v1, or Namespace, Pod or List of v1; \
                     it is {kind:?} of {version:?}"
                ),
            }),
        }
    }
}

/// Names an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A policy.
    NetworkPolicy(ObjectName),
    /// A namespace.
    Namespace(String),
    /// A pod.
    Pod(ObjectName),
}

/// Kind and name.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetworkPolicy(name) => write!(f, "NetworkPolicy {name}"),
            Self::Namespace(name) => write!(f, "Namespace {name}"),
            Self::Pod(name) => write!(f, "Pod {name}"),
        }
    }
}

/// Items of a `PodList` carry neither kind nor version.
fn with_kind(mut item: Value, kind: &str, version: &Value) -> Value {
    if let Some(object) = item.as_object_mut()
        && !kind.is_empty()
        && !object.contains_key("kind")
    {
        object.insert("kind".to_owned(), kind.into());
        object.insert("apiVersion".to_owned(), version.clone());
    }
    item
}

/// One object of the kind that `T` reads, from the API's JSON.
fn read<R, T>(kind: &str, value: Value) -> Result<T, Invalid>
where
    R: for<'de> Deserialize<'de>,
    T: TryFrom<R, Error = Invalid>,
{
    let object = title(kind, &value);
    let raw = serde_path_to_error::deserialize::<_, R>(value).map_err(|error| Invalid {
        object,
        field: error.path().to_string(),
        reason: error.inner().to_string(),
    })?;
    T::try_from(raw)
}

impl api::Metadata {
    fn require_name(&self, kind: &str) -> Result<String, Invalid> {
        let name = self.name.clone().filter(|name| !name.is_empty());
        name.ok_or_else(|| Invalid {
            object: format!("{kind} without a name"),
            field: "metadata.name".to_owned(),
            reason: "must be given".to_owned(),
        })
    }

    /// Without a namespace an object is in `default`, as kubectl has it.
    fn require_object_name(&self, kind: &str) -> Result<ObjectName, Invalid> {
        let name = self.require_name(kind)?;
        let namespace = self.namespace.clone().filter(|name| !name.is_empty());
        Ok(ObjectName {
            namespace: namespace.unwrap_or_else(|| "default".to_owned()),
            name,
        })
    }
}

/// How an object is called in messages.
fn title(kind: &str, value: &Value) -> String {
    let metadata = |field: &str| value.pointer(&format!("/metadata/{field}"))?.as_str();
    match (metadata("namespace"), metadata("name")) {
        (Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
        (None, Some(name)) => format!("{kind} {name}"),
        _ => format!("{kind} without a name"),
    }
}
