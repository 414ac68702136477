//! Kubernetes objects in files of JSON: ENIConfigs and the node.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{EniConfigs, NodeObject, Taint};

const CONFIG_FILE: &str = "VENI_ENI_CONFIG_FILE";
const NODE_FILE: &str = "VENI_NODE_FILE";
const CONFIG_COMMAND: &str = "kubectl get eniconfigs -o json";
const NODE_COMMAND: &str = "kubectl get node NAME -o json";
const API_VERSION: &str = "crd.k8s.amazonaws.com/v1alpha1";

/// Why a file does not serve. Each names the setting, the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// It cannot be read.
    #[error("{setting}={}: failed to read it; `{command}` writes one", path.display())]
    Unreadable {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What writes such a file.
        command: &'static str,
        /// Reason.
        source: io::Error,
    },
    /// It is no JSON.
    #[error("{setting}={}: is not JSON; `{command}` writes it", path.display())]
    NotJson {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What writes such a file.
        command: &'static str,
        /// Reason.
        source: serde_json::Error,
    },
    /// An object in it is wrong.
    #[error("{setting}={}: {object}: {reason}", path.display())]
    Wrong {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The object.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What every Kubernetes object has.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Value,
    items: Option<Vec<Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn wrong(setting: &'static str, path: &Path, object: &str, reason: String) -> ObjectError {
    ObjectError::Wrong {
        setting,
        path: path.to_owned(),
        object: object.to_owned(),
        reason,
    }
}

/// Reads the ENIConfigs of a file: a list of them, or a single one. What each says is not
/// looked at.
pub(super) fn read_eni_configs(path: &Path) -> Result<EniConfigs, ObjectError> {
    let top = read(CONFIG_FILE, path, CONFIG_COMMAND)?;
    let whole = "the object";
    let objects = match parse(CONFIG_FILE, path, whole, top)? {
        Object {
            items: Some(items),
            kind,
            ..
        } if kind.ends_with("List") => {
            let numbered = items.into_iter().enumerate();
            let object = |(index, value)| {
                let place = format!("item {}", index + 1);
                parse(CONFIG_FILE, path, &place, value)
            };
            numbered.map(object).collect::<Result<Vec<_>, _>>()?
        }
        single => vec![single],
    };
    let mut configs = EniConfigs {
        origin: format!("{CONFIG_FILE}={}", path.display()),
        specs: BTreeMap::new(),
    };
    for object in objects {
        let (name, spec) = as_eni_config(path, object)?;
        if configs.specs.insert(name.clone(), spec).is_some() {
            let object = format!("ENIConfig {name}");
            return Err(wrong(
                CONFIG_FILE,
                path,
                &object,
                "is there twice".to_owned(),
            ));
        }
    }
    Ok(configs)
}

/// The name of an ENIConfig, and its `spec`.
fn as_eni_config(path: &Path, object: Object) -> Result<(String, Value), ObjectError> {
    let name = object.metadata.name;
    let shown = if name.is_empty() {
        "an object without a name".to_owned()
    } else {
        name.clone()
    };
    if object.kind != "ENIConfig" || object.api_version != API_VERSION || name.is_empty() {
        let reason = format!(
            "must be an ENIConfig of {API_VERSION} with a name; is of kind '{}' and version '{}'",
            object.kind, object.api_version
        );
        return Err(wrong(CONFIG_FILE, path, &shown, reason));
    }
    Ok((name, object.spec))
}

/// The part of a node's `spec` that the view has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    taints: Option<Vec<Taint>>,
    unschedulable: Option<bool>,
}

/// Reads the node that a file describes.
pub(super) fn read_node(path: &Path) -> Result<NodeObject, ObjectError> {
    let top = read(NODE_FILE, path, NODE_COMMAND)?;
    let object = parse(NODE_FILE, path, "the object", top)?;
    if object.kind != "Node" || object.api_version != "v1" {
        let reason = format!(
            "must be a Node of v1; is of kind '{}' and version '{}'",
            object.kind, object.api_version
        );
        return Err(wrong(NODE_FILE, path, "the object", reason));
    }
    // An object that somebody wrote for its labels may have no spec.
    let spec: Option<NodeSpec> = serde_json::from_value(object.spec).map_err(|error| {
        let reason = format!("spec is not a node's: {error}");
        wrong(NODE_FILE, path, "the object", reason)
    })?;
    let spec = spec.unwrap_or_default();
    Ok(NodeObject {
        uid: String::new(),
        labels: object.metadata.labels,
        annotations: object.metadata.annotations,
        taints: spec.taints.unwrap_or_default(),
        unschedulable: spec.unschedulable.unwrap_or_default(),
        allocatable_pods: None,
    })
}

fn read(setting: &'static str, path: &Path, command: &'static str) -> Result<Value, ObjectError> {
    let text = std::fs::read_to_string(path).map_err(|source| ObjectError::Unreadable {
        setting,
        path: path.to_owned(),
        command,
        source,
    })?;
    serde_json::from_str(&text).map_err(|source| ObjectError::NotJson {
        setting,
        path: path.to_owned(),
        command,
        source,
    })
}

fn parse(
    setting: &'static str,
    path: &Path,
    object: &str,
    value: Value,
) -> Result<Object, ObjectError> {
    serde_json::from_value(value).map_err(|error| {
        let reason = format!("is no Kubernetes object: {error}");
        wrong(setting, path, object, reason)
    })
}
