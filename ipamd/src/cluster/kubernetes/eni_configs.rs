//! The cluster's ENIConfigs.
//!
//! Any of them may be of another zone and as wrong as it likes: each is read when it is
//! followed. That the cluster has no such objects is said, and is no failure.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::Event;
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::health::{Asked, Health};
use super::{NoSuchKind, events};
use crate::cluster::{Cluster, EniConfigs};

/// How errors call the source.
const ORIGIN: &str = "the cluster's API";

/// What is said where the cluster has no such objects.
const UNKNOWN: &str = "the cluster does not know ENIConfigs, which custom networking needs: \
                       install the definition eniconfigs.crd.k8s.amazonaws.com, or name a file \
                       (VENI_ENI_CONFIG_FILE)";

/// Between two looks whether the cluster has learnt of ENIConfigs.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Keeps the ENIConfigs in the view. While the API does not answer, the view keeps the last.
pub(super) async fn follow(client: Client, cluster: &Cluster, health: &Health) {
    let kind = GroupVersionKind::gvk("crd.k8s.amazonaws.com", "v1alpha1", "ENIConfig");
    let resource = ApiResource::from_gvk_with_plural(&kind, "eniconfigs");
    let api = Api::<DynamicObject>::all_with(client, &resource);
    let events = events(api, "", (health, Asked::EniConfigs));
    pin_mut!(events);
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Err(NoSuchKind) => {
                health.wrong(Asked::EniConfigs, Some(UNKNOWN.to_owned()));
                set(cluster, BTreeMap::new());
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(one)) => {
                listed.insert(one.name_any(), spec(one));
            }
            // Only now is the list whole: the view never has less than the API said.
            Ok(Event::InitDone) => {
                health.wrong(Asked::EniConfigs, None);
                set(cluster, std::mem::take(&mut listed));
            }
            Ok(Event::Apply(one)) => cluster.update(|view| {
                let name = one.name_any();
                view.eni_configs.specs.insert(name, spec(one));
            }),
            Ok(Event::Delete(one)) => cluster.update(|view| {
                view.eni_configs.specs.remove(&one.name_any());
            }),
        }
    }
}

fn set(cluster: &Cluster, specs: BTreeMap<String, Value>) {
    cluster.update(|view| {
        view.eni_configs = EniConfigs {
            origin: ORIGIN.to_owned(),
            specs,
        };
    });
}

fn spec(mut object: DynamicObject) -> Value {
    let spec = object.data.get_mut("spec");
    spec.map(Value::take).unwrap_or_default()
}
