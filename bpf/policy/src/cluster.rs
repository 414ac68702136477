//! The policies of a node's pods while objects come and go.
//!
//! A [`Cluster`] owns the objects that it was told, and the rule sets of the pods that it follows.
//! News of an object touches only what the object can concern: a pod the rules at its addresses, a
//! namespace the rules at its pods' addresses where its labels matter, a policy the pods of its
//! namespace. The result is that of [`compile`](crate::compile) at every moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::objects::{Labels, Namespace, Object, ObjectName, Pod, Reference};
use crate::set::Set;
use crate::state::State;
use crate::subject::Isolation;
use crate::terms::Reach;
use crate::{Direction, PodPolicy, Side};

/// The objects of a cluster, as far as they were told, and what they mean for some pods.
#[derive(Debug, Default)]
pub struct Cluster {
    state: State,
    followed: BTreeMap<ObjectName, Isolations>,
    sets: BTreeMap<Isolation, Shared>,
}

/// One pod's, of ingress and egress; `None` where it is open.
type Isolations = [Option<Isolation>; 2];

#[derive(Debug)]
struct Shared {
    set: Set,
    /// The followed pods that have it.
    pods: BTreeSet<ObjectName>,
}

/// Of which namespaces the followed pods' policies need to know pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needed {
    /// Of all: a rule selects every namespace, or names a port of whatever pod a packet goes to.
    Everywhere,
    /// Of these, each known or a policy's own; of none where no policy selects pods as peers.
    Of(BTreeSet<String>),
}

impl Cluster {
    /// Takes a new object, or the newer state of one. Returns the followed pods whose policy it may
    /// have changed: all whose policy did change are among them.
    pub fn apply(&mut self, object: Object) -> BTreeSet<ObjectName> {
        match object {
            Object::Pod(pod) => self.change_pod(pod.name.clone(), Some(pod)),
            Object::Namespace(namespace) => {
                let name = namespace.name.clone();
                self.change_namespace(&name, Some(namespace))
            }
            Object::NetworkPolicy(policy) => {
                let name = policy.name.clone();
                if self.state.policy(&name) == Some(&policy) {
                    return BTreeSet::new();
                }
                self.change_policy(&name, |state| {
                    state.put_policy(policy);
                })
            }
        }
    }

    /// Forgets an object; nothing happens if it is unknown. Returns as [`apply`](Self::apply) does.
    pub fn delete(&mut self, object: &Reference) -> BTreeSet<ObjectName> {
        match object {
            Reference::Pod(name) => self.change_pod(name.clone(), None),
            Reference::Namespace(name) => self.change_namespace(name, None),
            Reference::NetworkPolicy(name) => self.change_policy(name, |state| {
                state.remove_policy(name);
            }),
        }
    }

    /// Begins to resolve what policies mean for a pod of this node. The pod's object may come later.
    pub fn follow(&mut self, pod: ObjectName) {
        self.followed.entry(pod.clone()).or_default();
        self.isolate(&pod);
    }

    /// Ends what `follow` began.
    pub fn unfollow(&mut self, pod: &ObjectName) {
        if let Some(isolations) = self.followed.remove(pod) {
            self.leave(pod, &isolations);
        }
    }

    /// What a followed pod may receive and send. `None` while its object is unknown, or if the pod is
    /// not followed.
    ///
    /// Pods of equal isolation share their rule sets. A set that somebody holds is copied when it
    /// changes, once for all changes until it is asked for again; so ask after a batch of changes.
    pub fn policy(&self, pod: &ObjectName) -> Option<PodPolicy> {
        let [ingress, egress] = self.followed.get(pod)?;
        self.state.pod(pod)?;
        let side = |isolation: &Option<Isolation>| match isolation {
            Some(isolation) => Side::Isolated(Arc::clone(self.sets[isolation].set.rules())),
            None => Side::Open,
        };
        Some(PodPolicy {
            ingress: side(ingress),
            egress: side(egress),
        })
    }

    /// Of which namespaces pods must be told. Changes with policies, with namespaces and with
    /// the followed pods; pods of other namespaces change nothing.
    pub fn needed(&self) -> Needed {
        let mut names = BTreeSet::new();
        let mut selectors = Vec::new();
        for reach in self
            .sets
            .values()
            .flat_map(|shared| shared.set.terms.reaches())
        {
            match reach {
                Reach::Everywhere => return Needed::Everywhere,
                Reach::Here(namespace) => {
                    names.insert(namespace.to_owned());
                }
                Reach::Across(selector) if selectors.contains(&selector) => {}
                Reach::Across(selector) => selectors.push(selector),
            }
        }
        let selected = |labels: &Labels| selectors.iter().any(|selector| selector.matches(labels));
        let namespaces = self.state.namespaces();
        let across = namespaces.filter(|(_, labels)| selected(labels));
        names.extend(across.map(|(name, _)| name.to_owned()));
        Needed::Of(names)
    }

    fn change_pod(&mut self, name: ObjectName, new: Option<Pod>) -> BTreeSet<ObjectName> {
        if self.state.pod(&name) == new.as_ref() {
            return BTreeSet::new();
        }
        let mut addresses: BTreeSet<IpAddr> = new.iter().flat_map(peer_addresses).collect();
        let known = new.is_some();
        let old = match new {
            Some(pod) => self.state.put_pod(pod),
            None => self.state.remove_pod(&name),
        };
        addresses.extend(old.iter().flat_map(|pod| peer_addresses(pod)));
        let mut changed = self.update(&addresses, |_| true);
        if self.followed.contains_key(&name) && (self.isolate(&name) || old.is_some() != known) {
            changed.insert(name);
        }
        changed
    }

    fn change_namespace(&mut self, name: &str, new: Option<Namespace>) -> BTreeSet<ObjectName> {
        let new_labels = new.as_ref().map(|namespace| namespace.labels.clone());
        let old_labels = match new {
            Some(namespace) => self.state.put_namespace(namespace),
            None => self.state.remove_namespace(name),
        };
        let pods = self.state.pods_of(name).filter(|pod| pod.may_be_peer());
        let addresses: BTreeSet<IpAddr> = pods.flat_map(peer_addresses).collect();
        self.update(&addresses, |set| {
            let relevant = |labels: &Option<Labels>| set.terms.relevant(name, labels.as_ref());
            relevant(&old_labels) != relevant(&new_labels)
        })
    }

    fn change_policy(
        &mut self,
        name: &ObjectName,
        change: impl FnOnce(&mut State),
    ) -> BTreeSet<ObjectName> {
        let first = ObjectName::new(&name.namespace, "");
        let pods = self.followed.range(first..).map(|(pod, _)| pod);
        let pods = pods.take_while(|pod| pod.namespace == name.namespace);
        let before: Vec<_> = pods.map(|pod| (pod.clone(), self.policy(pod))).collect();
        change(&mut self.state);
        // What the policy was part of is built anew, from the policy as it is now.
        let gone = self
            .sets
            .extract_if(.., |isolation, _| isolation.policies.contains(name));
        drop(gone.collect::<Vec<_>>());
        for (pod, _) in &before {
            self.isolate(pod);
        }
        let changed = before
            .into_iter()
            .filter(|(pod, before)| self.policy(pod) != *before);
        changed.map(|(pod, _)| pod).collect()
    }

    /// Looks again at who has `addresses`, in the sets that `concerns` picks. Returns the followed
    /// pods whose rules changed.
    fn update(
        &mut self,
        addresses: &BTreeSet<IpAddr>,
        concerns: impl Fn(&Set) -> bool,
    ) -> BTreeSet<ObjectName> {
        let mut changed = BTreeSet::new();
        for shared in self
            .sets
            .values_mut()
            .filter(|shared| concerns(&shared.set))
        {
            let mut differs = false;
            for &address in addresses {
                differs |= shared.set.update(address, &self.state);
            }
            if differs {
                changed.extend(shared.pods.iter().cloned());
            }
        }
        changed
    }

    /// Finds out which policies isolate a followed pod, and makes sets that are missing. Says whether
    /// the pod's isolation changed.
    fn isolate(&mut self, name: &ObjectName) -> bool {
        let isolations = match self.state.pod(name) {
            Some(pod) => [Direction::Ingress, Direction::Egress]
                .map(|direction| Isolation::of(pod, direction, &self.state)),
            None => Isolations::default(),
        };
        for isolation in isolations.iter().flatten() {
            let shared = self
                .sets
                .entry(isolation.clone())
                .or_insert_with(|| Shared {
                    set: Set::new(isolation.terms(&self.state), &self.state),
                    pods: BTreeSet::new(),
                });
            shared.pods.insert(name.clone());
        }
        let old = self
            .followed
            .insert(name.clone(), isolations.clone())
            .unwrap_or_default();
        let changed = old != isolations;
        let stays = |old: &Isolation| isolations.iter().flatten().any(|new| new == old);
        let left = old.map(|isolation| isolation.filter(|old| !stays(old)));
        self.leave(name, &left);
        changed
    }

    /// Takes a pod out of the sets that it had; one that nobody has is dropped.
    fn leave(&mut self, pod: &ObjectName, isolations: &[Option<Isolation>]) {
        for isolation in isolations.iter().flatten() {
            if let Some(shared) = self.sets.get_mut(isolation) {
                shared.pods.remove(pod);
                if shared.pods.is_empty() {
                    self.sets.remove(isolation);
                }
            }
        }
    }
}

fn peer_addresses(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    let addresses = if pod.may_be_peer() {
        &pod.addresses[..]
    } else {
        &[]
    };
    addresses.iter().copied()
}
