//! Which pods are expected on this node, before their ADD comes.
//!
//! Whoever tells of them lags: Kubernetes shows a pod's address only seconds after the ADD.
//! So the pods that the pool itself knows are left out here, by name. Otherwise a burst
//! would be counted twice.

use std::collections::BTreeSet;

/// The pods that were told last.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// By `namespace/name`.
    pods: BTreeSet<String>,
}

impl Expected {
    pub(super) fn set(&mut self, pods: BTreeSet<String>) {
        self.pods = pods;
    }

    /// Counts those that are none of `known`: pods that have an address, or whose ADD waits.
    pub(super) fn beyond<'a>(&self, known: impl Iterator<Item = &'a str>) -> u32 {
        if self.pods.is_empty() {
            return 0;
        }
        let known: BTreeSet<&str> = known.filter(|pod| self.pods.contains(*pod)).collect();
        u32::try_from(self.pods.len() - known.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_that_have_an_address_or_wait_for_one_are_not_expected_any_more() {
        let mut expected = Expected::default();
        assert_eq!(expected.beyond(["shop/web-0"].into_iter()), 0);
        let told = ["shop/web-0", "shop/web-1", "shop/web-2"];
        expected.set(told.map(str::to_owned).into());
        assert_eq!(expected.beyond(std::iter::empty()), 3);
        // A pod with two interfaces is known twice.
        let known = ["shop/web-1", "shop/web-1", "shop/other"];
        assert_eq!(expected.beyond(known.into_iter()), 2);
        expected.set(BTreeSet::new());
        assert_eq!(expected.beyond(std::iter::empty()), 0);
    }
}
