//! Pods that are bound to this node and want an address of the cloud's network: the pool
//! gets their addresses before their ADDs arrive.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod as AnyPod;
use kube::Client;
use kube::api::{Api, ApiResource, Object};
use kube::runtime::watcher::Event;
use serde::Deserialize;
use tokio::sync::watch;

use super::annotations::ANNOTATION;
use super::events;
use super::health::{Asked, Health};
use crate::cluster::{Cluster, ObjectName};

/// What of a pod tells whether it wants an address.
type Pod = Object<Spec, Status>;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    host_network: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
}

/// What is known of the node's pods beside those that are expected, for who writes about them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KnownPods {
    /// Whether the API has told of all of them.
    pub(super) listed: bool,
    /// The uid of the daemon's own pod.
    pub(super) own_uid: Option<String>,
    /// The annotation of their addresses, of those that have one.
    pub(super) annotated: BTreeMap<ObjectName, String>,
}

/// Which pods are more than expected ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// The daemon's own pod.
    pub(super) own: Option<ObjectName>,
    /// Whether annotations of addresses are wanted.
    pub(super) annotations: bool,
}

impl KnownPods {
    fn see(&mut self, pod: &Pod, wanted: &Wanted) {
        let name = name(pod);
        if wanted.own.as_ref() == Some(&name) {
            self.own_uid.clone_from(&pod.metadata.uid);
        }
        let annotations = pod.metadata.annotations.as_ref();
        let addresses = annotations.and_then(|all| all.get(ANNOTATION));
        match addresses.filter(|_| wanted.annotations) {
            Some(addresses) => self.annotated.insert(name, addresses.clone()),
            None => self.annotated.remove(&name),
        };
    }
}

/// Keeps in the view which pods are expected, and in `known` what else is wanted of pods.
pub(super) async fn follow(
    client: Client,
    node: &str,
    cluster: &Cluster,
    health: &Health,
    (wanted, known): (&Wanted, &watch::Sender<KnownPods>),
) {
    let api = Api::<Pod>::all_with(client, &ApiResource::erase::<AnyPod>(&()));
    let fields = format!("spec.nodeName={node}");
    let events = events(api, &fields, (health, Asked::Pods));
    pin_mut!(events);
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        // Every cluster knows pods.
        let Ok(event) = event else { continue };
        match event {
            Event::Init => {
                listed.clear();
                known.send_modify(|known| known.annotated.clear());
            }
            Event::InitApply(pod) => {
                known.send_modify(|known| known.see(&pod, wanted));
                listed.extend(expected(&pod).then(|| name(&pod)));
            }
            // Only now is the list whole: the view never has less than the API said.
            Event::InitDone => {
                known.send_modify(|known| known.listed = true);
                let listed = std::mem::take(&mut listed);
                cluster.update(|view| view.expected_pods = listed);
            }
            Event::Apply(pod) => {
                known.send_modify(|known| known.see(&pod, wanted));
                let is_expected = expected(&pod);
                cluster.update(|view| {
                    match is_expected {
                        true => view.expected_pods.insert(name(&pod)),
                        false => view.expected_pods.remove(&name(&pod)),
                    };
                });
            }
            Event::Delete(pod) => {
                known.send_modify(|known| drop(known.annotated.remove(&name(&pod))));
                cluster.update(|view| {
                    view.expected_pods.remove(&name(&pod));
                });
            }
        }
    }
}

fn name(pod: &Pod) -> ObjectName {
    ObjectName {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
    }
}

/// A pod that ends needs no address any more, one that has ended gets none.
fn expected(pod: &Pod) -> bool {
    let status = pod.status.clone().unwrap_or_default();
    !pod.spec.host_network
        && pod.metadata.deletion_timestamp.is_none()
        && !matches!(status.phase.as_str(), "Succeeded" | "Failed")
        && status.pod_ip.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(change: Value) -> Pod {
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "namespace": "shop", "name": "web-0" },
            "spec": { "nodeName": "n1", "containers": [{ "name": "web" }] },
        });
        for (key, value) in change.as_object().expect("an object") {
            let part = pod[key].as_object_mut();
            match (part, value.as_object()) {
                (Some(part), Some(more)) => part.extend(more.clone()),
                _ => pod[key] = value.clone(),
            }
        }
        serde_json::from_value(pod).expect("a pod")
    }

    #[test]
    fn a_pod_is_expected_until_it_has_an_address_and_only_if_it_will_have_one() {
        for (change, is) in [
            (json!({}), true),
            (json!({ "status": { "phase": "Pending" } }), true),
            (json!({ "spec": { "hostNetwork": true } }), false),
            (
                json!({ "status": { "phase": "Running", "podIP": "10.0.0.9" } }),
                false,
            ),
            (json!({ "status": { "phase": "Failed" } }), false),
            (json!({ "status": { "phase": "Succeeded" } }), false),
            (
                json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }),
                false,
            ),
        ] {
            assert_eq!(expected(&pod(change.clone())), is, "{change}");
        }
        assert_eq!(name(&pod(json!({}))).to_string(), "shop/web-0");
    }
}
