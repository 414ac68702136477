//! What is given back to the cloud: written down before the call, remembered until the
//! cloud agrees that it is gone, or that somebody has assigned it since.
//!
//! After a restart these addresses must not be lent until the cloud has told whose they
//! are, so an entry stays in the journal for as long as anything of it is open.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_provider::InterfaceId;

use super::tombstones::{Judgement, Tombstone, Tombstones, Unlisted};
use crate::clock::unix_millis;
use crate::journal::{Folder, Journal, JournalError, PendingRelease};

/// All releases that are under way, in doubt, or may still show in an inventory.
#[derive(Debug)]
pub(crate) struct Releases {
    journal: Journal,
    /// The journal's entries.
    pending: BTreeMap<String, PendingRelease>,
    /// Entries of this process, for names of their own.
    written: u64,
    ranges: Tombstones<IpNet>,
    interfaces: Tombstones<InterfaceId>,
}

/// What an inventory means for what was given back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(super) ranges: Vec<Judgement<IpNet>>,
    pub(super) interfaces: Vec<Judgement<InterfaceId>>,
}

impl Releases {
    /// Goes on from the entries of the daemon before, whose calls count as under way
    /// until [`Self::doubt_all`].
    pub(crate) fn resume(journal: Journal, pending: BTreeMap<String, PendingRelease>) -> Self {
        let mut releases = Self {
            journal,
            pending: BTreeMap::new(),
            written: 0,
            ranges: Tombstones::default(),
            interfaces: Tombstones::default(),
        };
        for release in pending.values() {
            let ranges = release.ranges.iter();
            ranges.for_each(|range| releases.ranges.begin(range));
            let interface = release.interface.iter();
            interface.for_each(|interface| releases.interfaces.begin(interface));
        }
        releases.pending = pending;
        releases
    }

    /// Takes in what a daemon before the node's last start gave back. Its calls count as under
    /// way until [`Self::doubt_all`]; nothing of them stands in the journal.
    pub(crate) fn recall(&mut self, given_back: &BTreeSet<IpNet>) {
        for range in given_back {
            self.ranges.begin(range);
        }
    }

    /// Nobody knows when the daemon before made its calls, so they count as made now,
    /// without an answer. Tells whether there are any.
    pub(crate) fn doubt_all(&mut self, now: Instant) -> bool {
        let ranges = self.given_back();
        let interfaces: Vec<InterfaceId> = self.interfaces.keys().cloned().collect();
        ranges.iter().for_each(|range| self.ranges.lost(range, now));
        let all = interfaces.iter();
        all.for_each(|interface| self.interfaces.lost(interface, now));
        !ranges.is_empty() || !interfaces.is_empty()
    }

    /// All ranges that inventories may list although they were given back.
    pub(super) fn given_back(&self) -> BTreeSet<IpNet> {
        self.ranges.keys().copied().collect()
    }

    /// A call that gives these back is about to begin.
    ///
    /// # Errors
    /// The journal cannot be written; then nothing has begun.
    pub(super) fn begin(
        &mut self,
        ranges: &[IpNet],
        interface: Option<&InterfaceId>,
    ) -> Result<(), JournalError> {
        let written = |range: &IpNet| self.pending.values().any(|one| one.ranges.contains(range));
        let departs = |id: &InterfaceId| {
            let mut pending = self.pending.values();
            pending.any(|one| one.interface.as_ref() == Some(id))
        };
        let release = PendingRelease {
            ranges: ranges.iter().filter(|one| !written(one)).copied().collect(),
            interface: interface.filter(|id| !departs(id)).cloned(),
        };
        if !release.is_empty() {
            self.written += 1;
            let entry = format!("{:016x}-{}", unix_millis(), self.written);
            self.journal.write(Folder::Releases, &entry, &release)?;
            self.pending.insert(entry, release);
        }
        ranges.iter().for_each(|range| self.ranges.begin(range));
        if let Some(interface) = interface {
            self.interfaces.begin(interface);
        }
        Ok(())
    }

    /// The call has succeeded. Inventories may list them for a while.
    pub(super) fn done(&mut self, ranges: &[IpNet], interface: Option<&InterfaceId>, now: Instant) {
        ranges.iter().for_each(|range| self.ranges.done(range, now));
        if let Some(interface) = interface {
            self.interfaces.done(interface, now);
        }
    }

    /// The call has ended, and nobody knows how.
    pub(super) fn lost(&mut self, ranges: &[IpNet], interface: Option<&InterfaceId>, now: Instant) {
        ranges.iter().for_each(|range| self.ranges.lost(range, now));
        if let Some(interface) = interface {
            self.interfaces.lost(interface, now);
        }
    }

    /// The call was refused. Tells which ranges are the node's as before; the others are
    /// in doubt since an earlier call.
    pub(super) fn refused(&mut self, ranges: &[IpNet]) -> Vec<IpNet> {
        let kept: Vec<IpNet> = ranges
            .iter()
            .filter(|range| self.ranges.refused(range))
            .copied()
            .collect();
        self.close(&kept, &[]);
        kept
    }

    /// Likewise for the detachment of an interface: whether it is the node's as before.
    pub(super) fn detach_refused(&mut self, interface: &InterfaceId) -> bool {
        let kept = self.interfaces.refused(interface);
        if kept {
            self.close(&[], std::slice::from_ref(interface));
        }
        kept
    }

    /// The cloud has granted these, whatever happened to them before.
    pub(super) fn granted(&mut self, ranges: &[IpNet], interface: Option<&InterfaceId>) {
        ranges.iter().for_each(|range| self.ranges.remove(range));
        if let Some(interface) = interface {
            self.interfaces.remove(interface);
        }
        self.close(ranges, interface.map_or(&[], std::slice::from_ref));
    }

    /// What an inventory that began at a time means for all of them. Changes nothing.
    pub(super) fn judge(
        &self,
        range_is_listed: impl Fn(&IpNet) -> bool,
        range_is_ours: impl Fn(&IpNet) -> bool,
        interface_is_listed: impl Fn(&InterfaceId) -> bool,
        began: Instant,
        settle: Duration,
    ) -> Judged {
        Judged {
            ranges: self.ranges.judge(
                range_is_listed,
                range_is_ours,
                Unlisted::ProvesNothing,
                began,
                settle,
            ),
            // No call brings an interface again that was detached.
            interfaces: self.interfaces.judge(
                interface_is_listed,
                |_| false,
                Unlisted::Proves,
                began,
                settle,
            ),
        }
    }

    /// Takes in what an inventory means. What no inventory can list any more as it was before
    /// is closed.
    pub(super) fn judged(&mut self, judged: &Judged) {
        judged.ranges.iter().for_each(|one| self.ranges.judged(one));
        let interfaces = judged.interfaces.iter();
        interfaces.for_each(|one| self.interfaces.judged(one));
        let ranges = judged.ranges.iter().filter(|one| one.tombstone.is_none());
        let ranges: Vec<IpNet> = ranges.map(|one| one.key).collect();
        let interfaces = judged.interfaces.iter();
        let interfaces = interfaces.filter(|one| one.tombstone.is_none());
        let interfaces: Vec<InterfaceId> = interfaces.map(|one| one.key.clone()).collect();
        self.close(&ranges, &interfaces);
    }

    /// Closes what no inventory that begins from now on can list as it was before; none may
    /// be under way. Tells whether there was any.
    pub(super) fn expire(&mut self, now: Instant, settle: Duration) -> bool {
        let ranges = self.ranges.expire(now, settle);
        let interfaces = self.interfaces.expire(now, settle);
        self.close(&ranges, &interfaces);
        !(ranges.is_empty() && interfaces.is_empty())
    }

    /// What is known of the release of a range; `None` for one that was not given back.
    pub(super) fn of_range(&self, range: &IpNet) -> Option<&Tombstone> {
        self.ranges.get(range)
    }

    /// After a restart the journal must not call these given back. With the last thing
    /// that is open in it, an entry goes.
    fn close(&mut self, ranges: &[IpNet], interfaces: &[InterfaceId]) {
        if ranges.is_empty() && interfaces.is_empty() {
            return;
        }
        let ranges: BTreeSet<&IpNet> = ranges.iter().collect();
        let journal = &self.journal;
        self.pending.retain(|entry, release| {
            let before = release.clone();
            release.ranges.retain(|range| !ranges.contains(range));
            release.interface.take_if(|id| interfaces.contains(id));
            if *release == before {
                return true;
            }
            if release.is_empty() {
                journal.remove(Folder::Releases, entry);
                return false;
            }
            if let Err(error) = journal.write(Folder::Releases, entry, release) {
                tracing::warn!(%error, "a restart would doubt what is not, or no longer, given back");
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::tombstones::{LONGEST_LAG, Verdict};
    use super::*;

    const SETTLE: Duration = Duration::from_secs(5);

    fn range(text: &str) -> IpNet {
        text.parse().expect("a range")
    }

    struct Place {
        folder: tempfile::TempDir,
        releases: Releases,
    }

    fn place() -> Place {
        let folder = tempfile::tempdir().expect("temp folder");
        let journal = Journal::new(folder.path(), "boot-1");
        let releases = Releases::resume(journal, BTreeMap::new());
        Place { folder, releases }
    }

    impl Place {
        fn written(&self) -> Vec<PendingRelease> {
            let journal = Journal::new(self.folder.path(), "boot-1");
            journal.peek(Folder::Releases).expect("reads")
        }
    }

    #[test]
    fn an_entry_stays_until_the_cloud_agrees_about_all_of_it() {
        let mut place = place();
        let (a, b, eni) = (
            range("10.0.0.5/32"),
            range("10.0.0.6/32"),
            InterfaceId::new("eni-1"),
        );
        place.releases.begin(&[a, b], Some(&eni)).expect("writes");
        let whole = PendingRelease {
            ranges: BTreeSet::from([a, b]),
            interface: Some(eni.clone()),
        };
        assert_eq!(place.written(), [whole]);
        let now = Instant::now();
        place.releases.done(&[a, b], Some(&eni), now);
        assert_eq!(place.written().len(), 1, "an inventory may list it yet");
        // An inventory lacks both, and a late one lists one of them.
        for (passed, listed) in [(SETTLE, None), (LONGEST_LAG, Some(b))] {
            assert_eq!(place.written().len(), 1);
            let listed = |one: &IpNet| listed == Some(*one);
            let judged = place
                .releases
                .judge(listed, |_| false, |_| false, now + passed, SETTLE);
            place.releases.judged(&judged);
        }
        let left = PendingRelease {
            ranges: BTreeSet::from([b]),
            interface: None,
        };
        assert_eq!(place.written(), [left]);
        place.releases.granted(&[b], None);
        assert!(place.written().is_empty());
        assert!(place.releases.of_range(&b).is_none());
    }

    #[test]
    fn a_refusal_leaves_nothing_and_a_repetition_is_written_once() {
        let mut place = place();
        let a = range("10.0.0.5/32");
        place.releases.begin(&[a], None).expect("writes");
        assert_eq!(place.releases.refused(&[a]), [a]);
        assert!(place.written().is_empty());
        place.releases.begin(&[a], None).expect("writes");
        place.releases.lost(&[a], None, Instant::now());
        place.releases.begin(&[a], None).expect("writes");
        assert_eq!(place.written().len(), 1);
        assert!(
            place.releases.refused(&[a]).is_empty(),
            "in doubt as before"
        );
        assert_eq!(place.written().len(), 1);
    }

    #[test]
    fn what_the_daemon_before_gave_back_is_in_doubt_from_now_on() {
        let folder = tempfile::tempdir().expect("temp folder");
        let journal = Journal::new(folder.path(), "boot-1");
        let a = range("10.0.0.5/32");
        let release = PendingRelease {
            ranges: BTreeSet::from([a]),
            interface: None,
        };
        let pending = BTreeMap::from([("entry".to_owned(), release)]);
        let mut releases = Releases::resume(journal, pending);
        let now = Instant::now();
        let early = releases.judge(|_| true, |_| false, |_| true, now + 2 * SETTLE, SETTLE);
        assert_eq!(early.ranges[0].verdict, Verdict::TooEarly(None));
        assert!(releases.doubt_all(now));
        assert!(releases.of_range(&a).is_some_and(Tombstone::was_lost));
    }
}
