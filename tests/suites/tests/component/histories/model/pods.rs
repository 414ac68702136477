//! Pods: which live, with which addresses, as their callers were told.

use std::collections::{BTreeMap, BTreeSet};

use super::super::log::Limits;
use super::super::ranges::Range;

/// What is known of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Pod {
    /// It has no network.
    #[default]
    Gone,
    /// Its last ADD was answered, and nothing has ended it since.
    Lives(Vec<String>),
    /// A call for it is under way, or was never answered.
    Unsure,
}

/// All pods.
#[derive(Debug, Default)]
pub(super) struct Pods {
    all: BTreeMap<String, Pod>,
    /// The last call that was to make a pod, and the last that was to end it.
    adds: BTreeMap<String, u32>,
    ends: BTreeMap<String, u32>,
    /// Notes about DELs that were left.
    noted: BTreeMap<String, u32>,
    /// What a pod had that a GC may have ended.
    collected: BTreeMap<String, Vec<String>>,
    /// When the pod that last had an address began to end.
    ended_at: BTreeMap<String, u64>,
}

impl Pods {
    /// An ADD is called. Tells whether the pod had no network, and nothing else was under
    /// way.
    pub(super) fn begins(&mut self, call: u32, pod: &str) -> bool {
        self.adds.insert(pod.to_owned(), call);
        let pod = self.all.entry(pod.to_owned()).or_default();
        let from_nothing = *pod == Pod::Gone;
        if from_nothing {
            *pod = Pod::Unsure;
        }
        from_nothing
    }

    /// An ADD that made a pod from nothing has left nothing.
    pub(super) fn refused(&mut self, call: u32, pod: &str) {
        if self.adds.get(pod) == Some(&call) {
            self.all.insert(pod.to_owned(), Pod::Gone);
        }
    }

    /// Whether the answer of an ADD tells anything new: the pod may be gone by now.
    pub(super) fn is_news(&self, call: u32, pod: &str, addresses: &[String]) -> bool {
        let ended = self.ends.get(pod).is_some_and(|end| *end > call);
        !ended && self.all.get(pod) != Some(&Pod::Lives(addresses.to_vec()))
    }

    /// A pod that lives is told other addresses.
    pub(super) fn changed(&self, pod: &str, addresses: &[String]) -> Option<String> {
        match self.all.get(pod) {
            Some(Pod::Lives(known)) => Some(format!(
                "a changed network: {pod} had {known:?}, now {addresses:?}"
            )),
            _ => None,
        }
    }

    /// Whether a pod has what it had before a GC: one spares what is as young as itself.
    pub(super) fn was_spared(&mut self, pod: &str, addresses: &[String]) -> bool {
        self.collected.remove(pod).as_deref() == Some(addresses)
    }

    /// A pod is given an address: nobody else has it, and it has cooled.
    pub(super) fn leased(&self, pod: &str, address: &str, now: u64, cooldown: u64) -> Vec<String> {
        let mut found = Vec::new();
        let mut living = self.living();
        let owner = living.find(|(other, all)| *other != pod && all.iter().any(|a| a == address));
        if let Some((owner, _)) = owner {
            found.push(format!("two owners: {address} is of {owner} and of {pod}"));
        }
        let ended = self.ended_at.get(address);
        if let Some(since) = ended.map(|ended| now - ended).filter(|one| *one < cooldown) {
            found.push(format!("no cooldown: {pod} has {address} after {since} ms"));
        }
        found
    }

    /// A pod has a network.
    pub(super) fn lives(&mut self, pod: &str, addresses: &[String]) {
        let lives = Pod::Lives(addresses.to_vec());
        self.all.insert(pod.to_owned(), lives);
    }

    /// Something ends a pod: after the cooldown its addresses may be anybody's.
    pub(super) fn ends(&mut self, call: u32, pod: &str, now: u64) {
        self.ends.insert(pod.to_owned(), call);
        self.collected.remove(pod);
        if let Some(known) = self.all.get_mut(pod)
            && let Pod::Lives(addresses) = known
        {
            let addresses = std::mem::take(addresses);
            *known = Pod::Unsure;
            let ended = addresses.into_iter().map(|address| (address, now));
            self.ended_at.extend(ended);
        }
    }

    /// Likewise, by a note that is read later.
    pub(super) fn note_left(&mut self, call: u32, pod: &str, now: u64) {
        self.ends(call, pod, now);
        self.noted.insert(pod.to_owned(), call);
    }

    /// A GC may end all but these.
    pub(super) fn collects(&mut self, call: u32, kept: &[String], now: u64) {
        let all: Vec<String> = self.all.keys().cloned().collect();
        for pod in all.iter().filter(|pod| !kept.contains(pod)) {
            let before = self.all.get(pod).cloned();
            self.ends(call, pod, now);
            if let Some(Pod::Lives(addresses)) = before {
                self.collected.insert(pod.clone(), addresses);
            }
        }
    }

    /// A DEL was answered.
    pub(super) fn deleted(&mut self, call: u32, pod: &str) {
        let added_since = self.adds.get(pod).is_some_and(|add| *add > call);
        if !added_since && let Some(known) = self.all.get_mut(pod) {
            *known = Pod::Gone;
        }
    }

    /// The node started anew.
    pub(super) fn rebooted(&mut self) {
        self.all.clear();
        self.ended_at.clear();
    }

    /// A CHECK knows a pod that lives and no other, and nothing of it differs, unless
    /// somebody has damaged it.
    pub(super) fn checked(
        &self,
        pod: &str,
        known: bool,
        differences: usize,
        damaged: bool,
    ) -> Option<String> {
        match self.all.get(pod) {
            Some(Pod::Lives(_)) if !known => Some(format!("lost: {pod} is not known")),
            Some(Pod::Lives(_)) if differences > 0 && !damaged => {
                Some(format!("damaged: {pod} has {differences} differences"))
            }
            Some(Pod::Gone) | None if known => Some(format!("resurrected: {pod} is known")),
            _ => None,
        }
    }

    /// After a long time each note was read. Whoever lives has a route, and nobody else.
    pub(super) fn rested(&mut self, routes: &[(String, Limits)]) -> Vec<String> {
        for (pod, call) in std::mem::take(&mut self.noted) {
            self.deleted(call, &pod);
        }
        let wanted: BTreeSet<&String> = self.living().flat_map(|(_, all)| all).collect();
        let routes: BTreeSet<&String> = routes.iter().map(|(to, _)| to).collect();
        let missing = wanted.difference(&routes);
        let mut found: Vec<String> = missing
            .map(|missing| format!("lost: no route to {missing}"))
            .collect();
        let surplus: Vec<_> = routes.difference(&wanted).collect();
        if surplus.len() > self.unsure().count() {
            found.push(format!("resurrected: routes to {surplus:?}"));
        }
        found
    }

    /// Those that live, and their addresses.
    pub(super) fn living(&self) -> impl Iterator<Item = (&String, &Vec<String>)> {
        self.all.iter().filter_map(|(pod, known)| match known {
            Pod::Lives(addresses) => Some((pod, addresses)),
            _ => None,
        })
    }

    /// A pod that has an address of a range, and the address.
    pub(super) fn living_in(&self, range: &str) -> Option<(&String, &String)> {
        let range = Range::read(range)?;
        let inside = |address: &&String| Range::read(address).is_some_and(|a| range.contains(a));
        self.living()
            .find_map(|(pod, addresses)| Some((pod, addresses.iter().find(inside)?)))
    }

    /// Those of which nobody knows whether they live.
    pub(super) fn unsure(&self) -> impl Iterator<Item = &String> {
        let unsure = self.all.iter().filter(|(_, known)| **known == Pod::Unsure);
        unsure.map(|(pod, _)| pod)
    }

    /// Those that have a network, or may.
    pub(super) fn not_gone(&self) -> impl Iterator<Item = &String> {
        let not_gone = self.all.iter().filter(|(_, known)| **known != Pod::Gone);
        not_gone.map(|(pod, _)| pod)
    }
}
