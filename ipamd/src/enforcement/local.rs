//! The node's own pods: which link is whose, and what policies allow it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use veni_policy::objects::ObjectName;
use veni_policy::{Cluster, Needed, PodPolicy, RuleSet, Side};

use super::Change;
use crate::config::PolicyMode;

/// What is known of policies, and the links that they concern.
#[derive(Debug, Default)]
pub(super) struct Local {
    cluster: Cluster,
    /// Whether a source has told everything once.
    is_known: bool,
    /// The pod of each admitted link; `None` for a container that is no pod.
    links: BTreeMap<u32, Option<ObjectName>>,
    /// Links whose policy is not set as it should be.
    again: BTreeSet<u32>,
}

impl Local {
    /// Takes in a link and its pod, `NAMESPACE/NAME`. Returns its policy; `None` while
    /// policies are not known.
    pub(super) fn admit(
        &mut self,
        index: u32,
        pod: Option<&str>,
        mode: PolicyMode,
    ) -> Option<PodPolicy> {
        let pod = pod.and_then(|pod| pod.split_once('/'));
        let pod = pod.map(|(namespace, name)| ObjectName::new(namespace, name));
        if let Some(pod) = &pod {
            self.cluster.follow(pod.clone());
        }
        self.links.insert(index, pod);
        self.policy(index, mode)
    }

    /// Forgets a link.
    pub(super) fn dismiss(&mut self, index: u32) {
        self.again.remove(&index);
        let Some(pod) = self.links.remove(&index).flatten() else {
            return;
        };
        let mut others = self.links.values().flatten();
        if !others.any(|other| *other == pod) {
            self.cluster.unfollow(&pod);
        }
    }

    /// Takes in what a source has to tell, which knows the pods of the namespaces `told`. Returns
    /// the links whose policy is to be set, each with it. While policies need the pods of
    /// further namespaces, those that were set before stay.
    pub(super) fn take_in(
        &mut self,
        changes: Vec<Change>,
        told: &Needed,
        mode: PolicyMode,
    ) -> Vec<(u32, PodPolicy)> {
        let mut changed = BTreeSet::new();
        for change in changes {
            changed.extend(match change {
                Change::Apply(object) => self.cluster.apply(object),
                Change::Delete(reference) => self.cluster.delete(&reference),
            });
        }
        let concerned = self.links.iter().filter(|(_, pod)| {
            !self.is_known || pod.as_ref().is_some_and(|pod| changed.contains(pod))
        });
        self.again.extend(concerned.map(|(index, _)| *index));
        if !covers(told, &self.cluster.needed()) {
            return Vec::new();
        }
        self.is_known = true;
        let concerned = std::mem::take(&mut self.again).into_iter();
        let policies = concerned.filter_map(|index| Some((index, self.policy(index, mode)?)));
        policies.collect()
    }

    /// Of which namespaces a source has to know the pods.
    #[cfg(feature = "kube")]
    pub(super) fn needed(&self) -> Needed {
        self.cluster.needed()
    }

    /// Has the next call of [`Local::take_in`] return this link, too.
    pub(super) fn try_again(&mut self, index: u32) {
        self.again.insert(index);
    }

    /// The pod of a link.
    pub(super) fn pod(&self, index: u32) -> Option<&ObjectName> {
        self.links.get(&index)?.as_ref()
    }

    /// What a link's pod may receive and send; `None` while that is not known.
    fn policy(&self, index: u32, mode: PolicyMode) -> Option<PodPolicy> {
        let pod = self.links.get(&index)?;
        match (mode, pod) {
            // What is no pod, no policy can select.
            (PolicyMode::None, _) | (_, None) => Some(PodPolicy::default()),
            (PolicyMode::Standard | PolicyMode::Strict, Some(_)) if !self.is_known => None,
            // None of a pod whose object is not known: it is new, and as open as its endpoint
            // is made, or it is gone, and what was in force stays for as long as the pod runs.
            (PolicyMode::Standard, Some(pod)) => self.cluster.policy(pod),
            (PolicyMode::Strict, Some(pod)) => self.cluster.policy(pod).map(closed_where_open),
        }
    }
}

/// Whether who knows the pods of the namespaces `told` knows those of `needed`.
fn covers(told: &Needed, needed: &Needed) -> bool {
    match (told, needed) {
        (Needed::Everywhere, _) => true,
        (Needed::Of(told), Needed::Of(needed)) => needed.is_subset(told),
        (Needed::Of(_), Needed::Everywhere) => false,
    }
}

/// The strict mode's: what no policy selects is closed.
fn closed_where_open(policy: PodPolicy) -> PodPolicy {
    let closed = |side| match side {
        Side::Open => Side::Isolated(Arc::new(RuleSet::default())),
        Side::Isolated(rules) => Side::Isolated(rules),
    };
    PodPolicy {
        ingress: closed(policy.ingress),
        egress: closed(policy.egress),
    }
}

#[cfg(test)]
mod tests;
