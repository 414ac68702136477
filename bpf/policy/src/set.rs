//! A set of rules that follows the pods: built once, then kept right address by address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::blocks::host;
use crate::objects::Pod;
use crate::state::State;
use crate::terms::{Relevant, Terms};
use crate::{Class, RuleSet};

/// The rules of all pods that the same policies isolate in the same way.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) terms: Terms,
    rules: Arc<RuleSet>,
    /// Per class, how many prefixes have it.
    uses: Vec<usize>,
}

impl Set {
    pub(crate) fn new(terms: Terms, state: &State) -> Self {
        let mut entries: BTreeMap<IpNet, Class> = BTreeMap::new();
        let mut peers: BTreeMap<IpAddr, Vec<(&Pod, Arc<Relevant>)>> = BTreeMap::new();
        for (namespace, pods) in state.namespaces_of_pods() {
            let relevant = Arc::new(terms.relevant(namespace, state.labels(namespace)));
            if relevant.is_empty() {
                continue;
            }
            for pod in pods.filter(|pod| pod.may_be_peer()) {
                for &address in &pod.addresses {
                    peers
                        .entry(address)
                        .or_default()
                        .push((pod, Arc::clone(&relevant)));
                }
            }
        }
        for (range, class) in terms.blocks.iter() {
            if range.prefix_len() == range.max_prefix_len() {
                peers.entry(range.addr()).or_default();
            } else if class != terms.blocks.class_around(range) {
                entries.insert(range, class.clone());
            }
        }
        for (address, pods) in peers {
            let pods = pods.iter().map(|(pod, relevant)| (*pod, &**relevant));
            if let Some(class) = entry(&terms, address, pods) {
                entries.insert(host(address), class);
            }
        }
        Self::numbered(terms, entries)
    }

    /// Gives each class its number: its place among all, so that equal rules have equal numbers.
    fn numbered(terms: Terms, entries: BTreeMap<IpNet, Class>) -> Self {
        let mut uses: BTreeMap<&Class, (u32, usize)> = BTreeMap::new();
        for class in entries.values() {
            uses.entry(class).or_default().1 += 1;
        }
        for (number, (class_number, _)) in (0..).zip(uses.values_mut()) {
            *class_number = number;
        }
        let rules = RuleSet {
            peers: entries
                .iter()
                .map(|(&range, class)| (range, uses[class].0))
                .collect(),
            classes: uses.keys().copied().cloned().collect(),
            origins: terms.origins.clone(),
        };
        Self {
            uses: uses.values().map(|&(_, count)| count).collect(),
            rules: Arc::new(rules),
            terms,
        }
    }

    pub(crate) fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// Looks again at who has `address`; says whether the rules changed. Whoever holds the older
    /// rules keeps them as they were.
    pub(crate) fn update(&mut self, address: IpAddr, state: &State) -> bool {
        let pods: Vec<_> = state
            .peers_at(address)
            .map(|pod| {
                let namespace = &pod.name.namespace;
                (pod, self.terms.relevant(namespace, state.labels(namespace)))
            })
            .collect();
        let pods = pods.iter().map(|(pod, relevant)| (*pod, relevant));
        let class = entry(&self.terms, address, pods);
        self.put(host(address), class)
    }

    fn put(&mut self, range: IpNet, class: Option<Class>) -> bool {
        let old = self.rules.peers.get(&range).copied();
        if old.map(|number| &self.rules.classes[number as usize]) == class.as_ref() {
            return false;
        }
        let rules = Arc::make_mut(&mut self.rules);
        if let Some(number) = old {
            rules.peers.remove(&range);
            release(rules, &mut self.uses, number);
        }
        if let Some(class) = class {
            let number = claim(rules, &mut self.uses, class);
            rules.peers.insert(range, number);
        }
        true
    }
}

/// What the rules say of one address; `None` where the ranges around it say the same.
fn entry<'a>(
    terms: &Terms,
    address: IpAddr,
    pods: impl Iterator<Item = (&'a Pod, &'a Relevant)>,
) -> Option<Class> {
    let class = terms.class(address, pods);
    (class != *terms.blocks.class_around(host(address))).then_some(class)
}

/// The number of a class, which counts one use more.
fn claim(rules: &mut RuleSet, uses: &mut Vec<usize>, class: Class) -> u32 {
    let place = match rules.classes.binary_search(&class) {
        Ok(place) => place,
        Err(place) => {
            let number = place as u32;
            rules.classes.insert(place, class);
            uses.insert(place, 0);
            let later = rules.peers.values_mut().filter(|later| **later >= number);
            later.for_each(|later| *later += 1);
            place
        }
    };
    uses[place] += 1;
    place as u32
}

/// Counts one use less, and drops a class that nobody has.
fn release(rules: &mut RuleSet, uses: &mut Vec<usize>, number: u32) {
    let place = number as usize;
    uses[place] -= 1;
    if uses[place] == 0 {
        uses.remove(place);
        rules.classes.remove(place);
        let later = rules.peers.values_mut().filter(|later| **later > number);
        later.for_each(|later| *later -= 1);
    }
}
