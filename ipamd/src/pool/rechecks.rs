//! Who waits until each interface has been compared with the kernel once more. A pure
//! value: the owner task tells it which comparisons begin and end.

use std::collections::BTreeSet;

use tokio::sync::oneshot;
use veni_nouns::InterfaceId;

/// One who waits.
#[derive(Debug)]
struct Recheck {
    /// Interfaces whose comparison has yet to begin.
    left: BTreeSet<InterfaceId>,
    /// Those of which it is under way.
    begun: BTreeSet<InterfaceId>,
    done: Option<oneshot::Sender<()>>,
}

/// All who wait.
#[derive(Debug, Default)]
pub(super) struct Rechecks {
    all: Vec<Recheck>,
}

impl Rechecks {
    /// Somebody waits for these. Comparisons that are under way already do not count.
    pub(super) fn wait(
        &mut self,
        ids: impl Iterator<Item = InterfaceId>,
        done: oneshot::Sender<()>,
    ) {
        self.all.push(Recheck {
            left: ids.collect(),
            begun: BTreeSet::new(),
            done: Some(done),
        });
        self.tell();
    }

    /// A comparison of an interface begins.
    pub(super) fn began(&mut self, id: &InterfaceId) {
        for one in &mut self.all {
            if let Some(id) = one.left.take(id) {
                one.begun.insert(id);
            }
        }
    }

    /// An interface is not compared: it leaves, or is not ours.
    pub(super) fn passed_over(&mut self, id: &InterfaceId) {
        for one in &mut self.all {
            one.left.remove(id);
        }
        self.tell();
    }

    /// Interfaces that are no more are waited for by nobody.
    pub(super) fn retain(&mut self, exists: impl Fn(&InterfaceId) -> bool) {
        for one in &mut self.all {
            one.left.retain(&exists);
        }
        self.tell();
    }

    /// A comparison has ended, whether it succeeded or not.
    pub(super) fn ended(&mut self, id: &InterfaceId) {
        for one in &mut self.all {
            one.begun.remove(id);
        }
        self.tell();
    }

    fn tell(&mut self) {
        for one in &mut self.all {
            if one.left.is_empty()
                && one.begun.is_empty()
                && let Some(done) = one.done.take()
            {
                // Whoever asked may have gone.
                let _ = done.send(());
            }
        }
        self.all.retain(|one| one.done.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> InterfaceId {
        InterfaceId::new(name)
    }

    #[test]
    fn who_waits_is_told_when_each_interface_was_compared_or_passed_over() {
        let mut rechecks = Rechecks::default();
        let (done, mut told) = oneshot::channel();
        rechecks.wait([id("a"), id("b")].into_iter(), done);
        // One that was under way before tells nothing of what is there now.
        rechecks.ended(&id("a"));
        assert!(told.try_recv().is_err());
        rechecks.began(&id("a"));
        rechecks.passed_over(&id("b"));
        assert!(told.try_recv().is_err());
        rechecks.ended(&id("a"));
        assert_eq!(told.try_recv(), Ok(()));
    }

    #[test]
    fn without_interfaces_nobody_waits() {
        let mut rechecks = Rechecks::default();
        let (done, mut told) = oneshot::channel();
        rechecks.wait(std::iter::empty(), done);
        assert_eq!(told.try_recv(), Ok(()));
    }
}
