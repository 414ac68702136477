//! The objects as they are known now. It decides nothing about policies.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::objects::{ContainerPort, Labels, Namespace, NetworkPolicy, ObjectName, Pod};
use crate::once::Once;

/// Policies, namespaces and pods, each kind by name.
#[derive(Debug, Default)]
pub(crate) struct State {
    policies: BTreeMap<ObjectName, NetworkPolicy>,
    namespaces: BTreeMap<String, Labels>,
    pods: BTreeMap<String, BTreeMap<Box<str>, Arc<Pod>>>,
    /// Pods that may be peers, by each of their addresses. Two have one address for a while when the
    /// news of the former owner's end is late.
    peers: HashMap<IpAddr, Vec<Arc<Pod>>>,
    labels: Once<Labels>,
    ports: Once<[ContainerPort]>,
}

impl State {
    pub(crate) fn put_policy(&mut self, policy: NetworkPolicy) -> Option<NetworkPolicy> {
        self.policies.insert(policy.name.clone(), policy)
    }

    pub(crate) fn remove_policy(&mut self, name: &ObjectName) -> Option<NetworkPolicy> {
        self.policies.remove(name)
    }

    pub(crate) fn put_namespace(&mut self, namespace: Namespace) -> Option<Labels> {
        self.namespaces.insert(namespace.name, namespace.labels)
    }

    pub(crate) fn remove_namespace(&mut self, name: &str) -> Option<Labels> {
        self.namespaces.remove(name)
    }

    pub(crate) fn put_pod(&mut self, mut pod: Pod) -> Option<Arc<Pod>> {
        let old = self.remove_pod(&pod.name);
        self.labels.keep(&mut pod.labels);
        self.ports.keep(&mut pod.ports);
        let pod = Arc::new(pod);
        if pod.may_be_peer() {
            for &address in &pod.addresses {
                // Nearly always there is one owner, and a list grows to four by itself.
                let owners = self
                    .peers
                    .entry(address)
                    .or_insert_with(|| Vec::with_capacity(1));
                owners.push(Arc::clone(&pod));
            }
        }
        let namespace = self.pods.entry(pod.name.namespace.clone()).or_default();
        namespace.insert(pod.name.name.as_str().into(), pod);
        old
    }

    pub(crate) fn remove_pod(&mut self, name: &ObjectName) -> Option<Arc<Pod>> {
        let namespace = self.pods.get_mut(&name.namespace)?;
        let pod = namespace.remove(&name.name[..])?;
        if namespace.is_empty() {
            self.pods.remove(&name.namespace);
        }
        for address in &pod.addresses {
            if let Some(owners) = self.peers.get_mut(address) {
                owners.retain(|owner| owner.name != *name);
                if owners.is_empty() {
                    self.peers.remove(address);
                }
            }
        }
        self.labels.leave(&pod.labels);
        self.ports.leave(&pod.ports);
        Some(pod)
    }

    pub(crate) fn pod(&self, name: &ObjectName) -> Option<&Pod> {
        let namespace = self.pods.get(&name.namespace)?;
        namespace.get(&name.name[..]).map(|pod| &**pod)
    }

    /// The labels of a namespace; `None` while the namespace is unknown.
    pub(crate) fn labels(&self, namespace: &str) -> Option<&Labels> {
        self.namespaces.get(namespace)
    }

    /// Names and labels.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = (&str, &Labels)> {
        self.namespaces
            .iter()
            .map(|(name, labels)| (&name[..], labels))
    }

    /// The policies of a namespace, by name.
    pub(crate) fn policies_of(&self, namespace: &str) -> impl Iterator<Item = &NetworkPolicy> {
        let first = ObjectName::new(namespace, "");
        let policies = self.policies.range(first..).map(|(_, policy)| policy);
        policies.take_while(move |policy| policy.name.namespace == namespace)
    }

    pub(crate) fn policy(&self, name: &ObjectName) -> Option<&NetworkPolicy> {
        self.policies.get(name)
    }

    /// Namespaces with their pods, those that are no peers included.
    pub(crate) fn namespaces_of_pods(
        &self,
    ) -> impl Iterator<Item = (&str, impl Iterator<Item = &Pod>)> {
        let pods = self.pods.iter();
        pods.map(|(namespace, pods)| (&namespace[..], pods.values().map(|pod| &**pod)))
    }

    /// The pods of one namespace.
    pub(crate) fn pods_of(&self, namespace: &str) -> impl Iterator<Item = &Pod> {
        let pods = self.pods.get(namespace).into_iter();
        pods.flat_map(BTreeMap::values).map(|pod| &**pod)
    }

    /// The peers that have an address.
    pub(crate) fn peers_at(&self, address: IpAddr) -> impl Iterator<Item = &Pod> {
        self.peers
            .get(&address)
            .into_iter()
            .flatten()
            .map(|pod| &**pod)
    }
}
