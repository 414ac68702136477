//! Which names the host's ends of pods' links have.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::attachment::{AttachmentKey, PodName, host_link_names};

/// Names of host's ends that exist or are about to.
pub(super) struct HostNames {
    /// First letters of all of them.
    prefix: String,
    taken: Mutex<BTreeSet<String>>,
}

impl HostNames {
    /// Names that begin with `prefix`; none is taken.
    pub(super) fn new(prefix: String) -> Self {
        Self {
            prefix,
            taken: Mutex::default(),
        }
    }

    /// Takes a name that a link has already.
    pub(super) fn keep(&self, name: &str) {
        self.lock().insert(name.to_owned());
    }

    /// Takes the best name that no link of ours has. The last one is taken even when
    /// another link has it: the kernel then says so.
    pub(super) fn take(&self, key: &AttachmentKey, pod: &PodName) -> String {
        let candidates = host_link_names(&self.prefix, key, pod);
        let mut taken = self.lock();
        let free = candidates.iter().find(|name| !taken.contains(*name));
        let name = free.or(candidates.last()).cloned().unwrap_or_default();
        taken.insert(name.clone());
        name
    }

    /// Takes the attachment's own name in place of `name`, which a link that is not ours
    /// has; `None` when that is its own name already.
    pub(super) fn exchange(
        &self,
        name: &str,
        key: &AttachmentKey,
        pod: &PodName,
    ) -> Option<String> {
        let last = host_link_names(&self.prefix, key, pod).pop()?;
        if last == name {
            return None;
        }
        let mut taken = self.lock();
        taken.remove(name);
        taken.insert(last.clone());
        Some(last)
    }

    /// No link has the name any more.
    pub(super) fn free(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{key, pod};
    use super::*;

    #[test]
    fn two_attachments_of_one_pod_have_two_names_until_the_first_is_free() {
        let names = HostNames::new("eni".to_owned());
        let first = names.take(&key("a"), &pod("web"));
        let own = names.take(&key("b"), &pod("web"));
        assert_ne!(first, own);
        assert!([&first, &own].iter().all(|name| name.starts_with("eni")));
        names.free(&first);
        assert_eq!(names.take(&key("c"), &pod("web")), first);
    }

    #[test]
    fn a_name_that_a_link_has_already_is_not_taken_again() {
        let (names, again) = (HostNames::new("eni".into()), HostNames::new("eni".into()));
        let first = names.take(&key("a"), &pod("web"));
        again.keep(&first);
        assert_ne!(again.take(&key("b"), &pod("web")), first);
    }

    #[test]
    fn a_name_is_exchanged_for_the_attachment_s_own_and_that_for_no_other() {
        let names = HostNames::new("eni".to_owned());
        let first = names.take(&key("a"), &pod("web"));
        let own = names.exchange(&first, &key("a"), &pod("web"));
        let own = own.expect("there is another name");
        assert_ne!(own, first);
        assert_eq!(names.exchange(&own, &key("a"), &pod("web")), None);
        assert_eq!(names.take(&key("b"), &pod("web")), first, "is free again");
    }
}
