//! What the watches have told: which objects each of them knows, and what is listed.

use std::collections::{BTreeMap, BTreeSet};

use veni_policy::Needed;
use veni_policy::objects::{Object, Reference};

use crate::enforcement::Change;

/// What a watch is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watched {
    /// All NetworkPolicies.
    Policies,
    /// All namespaces.
    Namespaces,
    /// The pods bound to this node.
    OwnPods,
    /// The pods of one namespace.
    PodsOf(String),
    /// All pods of the cluster.
    AllPods,
}

/// What one watch tells.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) from: Watched,
    pub(super) what: What,
}

/// What a watch can tell.
#[derive(Debug)]
pub(super) enum What {
    /// All that there is, at first and after a gap.
    Listed(Vec<Object>),
    /// One that is new or has changed.
    Applied(Object),
    /// One that is gone.
    Deleted(Reference),
}

/// Which objects each watch knows, of those that have been listed.
#[derive(Debug, Default)]
pub(super) struct Known {
    objects: BTreeMap<Watched, BTreeSet<Reference>>,
}

impl Known {
    /// Takes in what a watch tells. Returns what that changes: what another watch knows as well
    /// is not gone.
    pub(super) fn hear(&mut self, heard: Heard) -> Vec<Change> {
        let Heard { from, what } = heard;
        match what {
            What::Listed(objects) => {
                let now = objects.iter().map(Object::reference).collect();
                let before = self.objects.insert(from, now).unwrap_or_default();
                let mut changes = self.gone(before);
                changes.extend(objects.into_iter().map(Change::Apply));
                changes
            }
            What::Applied(object) => {
                let known = self.objects.entry(from).or_default();
                known.insert(object.reference());
                vec![Change::Apply(object)]
            }
            What::Deleted(reference) => {
                if let Some(known) = self.objects.get_mut(&from) {
                    known.remove(&reference);
                }
                self.gone(BTreeSet::from([reference]))
            }
        }
    }

    /// Forgets a watch that has ended. Returns what nobody knows any more.
    pub(super) fn forget(&mut self, watch: &Watched) -> Vec<Change> {
        let before = self.objects.remove(watch).unwrap_or_default();
        self.gone(before)
    }

    fn gone(&self, before: BTreeSet<Reference>) -> Vec<Change> {
        let is_known = |one: &Reference| self.objects.values().any(|known| known.contains(one));
        let gone = before.into_iter().filter(|one| !is_known(one));
        gone.map(Change::Delete).collect()
    }

    /// Whether policies, namespaces and the node's own pods are listed.
    pub(super) fn has_begun(&self) -> bool {
        let first = [Watched::Policies, Watched::Namespaces, Watched::OwnPods];
        first.iter().all(|watch| self.is_listed(watch))
    }

    /// Whether a watch has told all that there is.
    pub(super) fn is_listed(&self, watch: &Watched) -> bool {
        self.objects.contains_key(watch)
    }

    /// Of which namespaces all pods are known.
    pub(super) fn told(&self) -> Needed {
        if self.is_listed(&Watched::AllPods) {
            return Needed::Everywhere;
        }
        let namespaces = self.objects.keys().filter_map(|watch| match watch {
            Watched::PodsOf(namespace) => Some(namespace.clone()),
            _ => None,
        });
        Needed::Of(namespaces.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use veni_policy::folder::parse;

    use super::*;

    fn pod(name: &str) -> Object {
        let text =
            format!("apiVersion: v1\nkind: Pod\nmetadata: {{namespace: shop, name: {name}}}");
        let mut contents = parse(Path::new("pod.yaml"), &text);
        contents.objects.pop().expect("a pod")
    }

    fn listed(from: Watched, names: &[&str]) -> Heard {
        let what = What::Listed(names.iter().map(|name| pod(name)).collect());
        Heard { from, what }
    }

    fn deleted(changes: &[Change]) -> Vec<String> {
        let deleted = changes.iter().filter_map(|change| match change {
            Change::Delete(name) => Some(name.to_string()),
            Change::Apply(_) => None,
        });
        deleted.collect()
    }

    #[test]
    fn what_a_later_list_lacks_is_gone_unless_another_watch_knows_it() {
        let mut known = Known::default();
        let of_shop = || Watched::PodsOf("shop".to_owned());
        known.hear(listed(Watched::OwnPods, &["a", "b"]));
        known.hear(listed(of_shop(), &["a", "b", "c"]));
        let changes = known.hear(listed(of_shop(), &["a"]));
        assert_eq!(deleted(&changes), ["Pod shop/c"]);
        let gone = What::Deleted(pod("b").reference());
        let changes = known.hear(Heard {
            from: Watched::OwnPods,
            what: gone,
        });
        assert_eq!(deleted(&changes), ["Pod shop/b"]);
        assert_eq!(deleted(&known.forget(&of_shop())), Vec::<String>::new());
        assert_eq!(deleted(&known.forget(&Watched::OwnPods)), ["Pod shop/a"]);
    }

    #[test]
    fn pods_are_told_of_the_namespaces_that_are_listed() {
        let mut known = Known::default();
        for watch in [Watched::Policies, Watched::Namespaces] {
            known.hear(listed(watch, &[]));
        }
        assert!(!known.has_begun());
        known.hear(listed(Watched::OwnPods, &[]));
        assert!(known.has_begun());
        assert_eq!(known.told(), Needed::Of(BTreeSet::new()));
        known.hear(listed(Watched::PodsOf("shop".to_owned()), &[]));
        let shop = BTreeSet::from(["shop".to_owned()]);
        assert_eq!(known.told(), Needed::Of(shop));
        known.hear(listed(Watched::AllPods, &[]));
        assert_eq!(known.told(), Needed::Everywhere);
    }
}
