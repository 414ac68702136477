//! Limits of bandwidth: which pod asked for which, and which its link has.

use std::collections::BTreeMap;

use super::super::log::Limits as Wanted;
use super::pods::Pods;

/// What pods asked for when they were added last.
#[derive(Debug, Default)]
pub(super) struct Limits(BTreeMap<String, Wanted>);

impl Limits {
    /// An ADD is called.
    pub(super) fn begins(&mut self, pod: &str, limits: Wanted) {
        self.0.insert(pod.to_owned(), limits);
    }

    /// Whoever lives has the limits that it asked for.
    pub(super) fn rested(&self, routes: &[(String, Wanted)], pods: &Pods) -> Vec<String> {
        let mut found = Vec::new();
        for (pod, addresses) in pods.living() {
            let asked = self.0.get(pod).copied().unwrap_or_default();
            let of_it = routes.iter().filter(|(to, _)| addresses.contains(to));
            for (to, has) in of_it.filter(|(_, has)| *has != asked) {
                found.push(format!("limits: {to} has {has:?} instead of {asked:?}"));
            }
        }
        found
    }
}
