//! This node's object.

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::runtime::watcher::Event;
use kube::{Api, ResourceExt};

use super::events;
use super::health::{Asked, Health};
use crate::cluster::{Cluster, NodeObject, Taint};

/// Keeps the node's object in the view. While there is none, the view keeps the last.
pub(super) async fn follow(client: Client, name: &str, cluster: &Cluster, health: &Health) {
    let fields = format!("metadata.name={name}");
    let events = events(Api::<Node>::all(client), &fields, (health, Asked::Node));
    pin_mut!(events);
    let mut listed = false;
    while let Some(event) = events.next().await {
        // Every cluster knows nodes.
        let Ok(event) = event else { continue };
        let found = match event {
            Event::Init => {
                listed = false;
                continue;
            }
            Event::InitApply(node) | Event::Apply(node) => {
                listed = true;
                let object = object(node);
                cluster.update(|view| view.node = object);
                true
            }
            Event::InitDone => listed,
            Event::Delete(_) => false,
        };
        let missing = || {
            format!(
                "the cluster has no node of the name {name}: set MY_NODE_NAME to spec.nodeName of \
                 the daemon's pod"
            )
        };
        health.wrong(Asked::Node, (!found).then(missing));
    }
}

/// The label of an allocatable resource that counts pods.
const PODS: &str = "pods";

fn object(node: Node) -> NodeObject {
    let allocatable = node.status.as_ref();
    let allocatable = allocatable.and_then(|status| status.allocatable.as_ref()?.get(PODS));
    let allocatable_pods = allocatable.and_then(|pods| pods.0.parse().ok());
    let uid = node.uid().unwrap_or_default();
    let labels = node.labels().clone();
    let annotations = node.annotations().clone();
    let spec = node.spec.unwrap_or_default();
    let taints = spec.taints.unwrap_or_default();
    let taint = |taint: k8s_openapi::api::core::v1::Taint| Taint {
        key: taint.key,
        value: taint.value.unwrap_or_default(),
        effect: taint.effect,
    };
    NodeObject {
        uid,
        labels,
        annotations,
        taints: taints.into_iter().map(taint).collect(),
        unschedulable: spec.unschedulable.unwrap_or_default(),
        allocatable_pods,
    }
}
