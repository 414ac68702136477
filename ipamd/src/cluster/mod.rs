//! What the daemon knows of its cluster: one value, which sources write and consumers
//! watch.
//!
//! The sources are [`files`], and in builds with the feature `kube` the cluster's API
//! (`kubernetes`). [`expected`] tells the pool which pods are expected,
//! [`node_targets`] what the node's object says of the pool's size, [`custom_network`] lets new
//! interfaces follow the node's ENIConfig, which [`eni_config`] chooses.

pub(crate) mod api_metrics;
pub(crate) mod custom_network;
pub mod eni_config;
pub(crate) mod expected;
pub mod files;
#[cfg(feature = "kube")]
pub(crate) mod kubernetes;
pub(crate) mod node_targets;
mod objects;
mod place;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use tokio::sync::watch;

pub use eni_config::{EniConfig, EniConfigError, EniConfigs};
pub use objects::ObjectError;
pub use place::{Place, region_of};
pub(crate) use warnings::ClusterNews;
pub use warnings::ClusterWarnings;
#[cfg(feature = "bpf")]
pub(crate) use warnings::Subject;

/// What the sources have told last. What no source tells of is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterView {
    /// The node's own object.
    pub node: NodeObject,
    /// Pods that are bound to this node, want an address of the cloud's network, and have
    /// none as far as the source knows. A source may lag: the pool does not count those
    /// that have an address already or whose ADD waits.
    pub expected_pods: BTreeSet<ObjectName>,
    /// The ENIConfigs.
    pub eni_configs: EniConfigs,
}

/// What Kubernetes knows of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeObject {
    /// Its uid at the cluster's API; empty where only a file tells of it.
    pub uid: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Taints, in the object's order.
    pub taints: Vec<Taint>,
    /// Whether it is cordoned (`spec.unschedulable`).
    pub unschedulable: bool,
    /// Most pods that the kubelet takes (`status.allocatable.pods`), where it has told.
    pub allocatable_pods: Option<u32>,
}

/// The taint of a node that no pod shall be bound to, as `kubectl cordon` sets it.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

impl NodeObject {
    /// Whether the scheduler binds no further pods to the node: it is cordoned.
    #[must_use]
    pub fn is_cordoned(&self) -> bool {
        let mut taints = self.taints.iter();
        self.unschedulable || taints.any(|taint| taint.key == UNSCHEDULABLE)
    }
}

/// What keeps pods away from a node that do not tolerate it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value; empty where there is none.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// The name of an object in a namespace; displayed as `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The view as it is now. Cheap to clone; clones are the same view.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    view: watch::Sender<ClusterView>,
}

impl Cluster {
    /// Lets a source write what it knows. Wakes those who watch if anything differs.
    pub fn update(&self, write: impl FnOnce(&mut ClusterView)) {
        self.view.send_if_modified(|view| {
            let before = view.clone();
            write(view);
            *view != before
        });
    }

    /// Returns the view of this moment.
    #[must_use]
    pub fn view(&self) -> ClusterView {
        self.view.borrow().clone()
    }

    /// Watches the view from now on. Its present value counts as seen.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ClusterView> {
        self.view.subscribe()
    }
}

#[cfg(test)]
mod tests;
