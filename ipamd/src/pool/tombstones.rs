//! What was given back to the cloud and may still be listed: addresses, prefixes
//! and interfaces, from the moment on in which their release is written down.
//!
//! Whoever else has one of them by now must not share it with a pod of ours, and an
//! inventory may be minutes old. So no inventory brings anything back to life: pods get
//! it again when the cloud's answer to a later call grants it, and in no other way. What
//! inventories tell is only whether a release is over, must be made again, or was followed
//! by somebody else's assignment.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// An inventory shows every change that was made so long before it began, as far as anybody
/// believes: EC2 promises no bound, and speaks of minutes. No pod's address depends on it.
pub(super) const LONGEST_LAG: Duration = Duration::from_secs(300);

/// Between two inventories that tell of something that should have gone, at least.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// What is known of one release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tombstone {
    /// A call that gives it back has begun and not ended.
    under_way: bool,
    /// When the last call ended that may have given it back.
    ended: Option<Instant>,
    /// That it was given back, the cloud's answer has said, or two inventories that must know.
    confirmed: bool,
    /// Whether the last inventory listed it that was made after the call.
    listed: Option<bool>,
}

/// What an inventory means for something that was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: it is too old. One that begins then tells, unless a call that is
    /// under way must end first.
    TooEarly(Option<Instant>),
    /// It is given back, whatever the answer was.
    Gone,
    /// Nothing is proved: the answer was lost, or the inventory may be from before. One that
    /// begins then tells more.
    Open { look_again: Instant },
    /// It was given back, and somebody has assigned it since.
    AssignedSince,
}

/// What one inventory that lacks something proves of a release whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unlisted {
    /// Nothing: it may be from before the grant, and what it lacks would be kept for good.
    ProvesNothing,
    /// That it is over. Where the inventory is from before the attachment that is wrong for as
    /// long as inventories may lag: the interface is on the node, serves nobody, and is found
    /// anew.
    Proves,
}

impl Tombstone {
    /// Draws the conclusion of an inventory that began at a time. `ours` tells of what is
    /// listed that a call of ours without an answer may have brought it back.
    fn judge(
        &mut self,
        (listed, ours): (bool, bool),
        unlisted: Unlisted,
        began: Instant,
        settle: Duration,
    ) -> Verdict {
        let Some(ended) = self.ended.filter(|_| !self.under_way) else {
            return Verdict::TooEarly(None);
        };
        let trust_after = ended + settle;
        if began < trust_after {
            return Verdict::TooEarly(Some(trust_after));
        }
        let agreed = self.listed.replace(listed) == Some(listed);
        let knows = began >= ended + longest_lag(settle);
        match (self.confirmed, listed) {
            (true, false) => return Verdict::Gone,
            (false, false) if unlisted == Unlisted::Proves || (knows && agreed) => {
                self.confirmed = true;
                return Verdict::Gone;
            }
            // Ours or not, it must not serve pods: it is given back once more.
            (true, true) if knows && agreed && ours => self.confirmed = false,
            (true, true) if knows && agreed => return Verdict::AssignedSince,
            _ => {}
        }
        let soonest = began + settle.max(SHORTEST_PAUSE);
        // As long again as it has lasted already.
        let doubled = began + (began - ended).min(LONGEST_LAG);
        let look_again = match (knows, agreed) {
            (false, _) => doubled.min(ended + longest_lag(settle)).max(soonest),
            (true, false) => soonest,
            (true, true) => doubled.max(soonest),
        };
        Verdict::Open { look_again }
    }

    /// Whether inventories that began so late need not be warned of it: one more
    /// that is older than those before could still list it.
    fn is_over(&self, began: Instant, settle: Duration) -> bool {
        let ended = self.ended.filter(|_| !self.under_way);
        ended.is_some_and(|ended| began >= ended + longest_lag(settle))
    }

    /// A call that may have given it back has ended, and the cloud has not said how;
    /// another may be under way.
    pub(crate) fn was_lost(&self) -> bool {
        self.ended.is_some() && !self.confirmed
    }

    /// The cloud has not said that it was given back.
    pub(crate) fn in_doubt(&self) -> bool {
        !self.confirmed
    }
}

fn longest_lag(settle: Duration) -> Duration {
    LONGEST_LAG.max(2 * settle)
}

/// Tombstones by what lies under them.
#[derive(Debug)]
pub(crate) struct Tombstones<K>(BTreeMap<K, Tombstone>);

impl<K> Default for Tombstones<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Tombstones<K> {
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&Tombstone>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.0.get(key)
    }

    /// What lies under them.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    /// A call that gives it back begins.
    pub(crate) fn begin(&mut self, key: &K) {
        self.0.entry(key.clone()).or_default().under_way = true;
    }

    /// The call has succeeded. What was granted again meanwhile is ours.
    pub(crate) fn done(&mut self, key: &K, now: Instant) {
        self.end(key, now, true);
    }

    /// The call has ended, and nobody knows how.
    pub(crate) fn lost(&mut self, key: &K, now: Instant) {
        self.end(key, now, false);
    }

    fn end(&mut self, key: &K, now: Instant, confirmed: bool) {
        if let Some(tombstone) = self.0.get_mut(key) {
            *tombstone = Tombstone {
                under_way: false,
                ended: Some(now),
                confirmed,
                listed: None,
            };
        }
    }

    /// The call has ended and changed nothing. Tells whether there never was one
    /// that may have: then it is ours as before.
    pub(crate) fn refused(&mut self, key: &K) -> bool {
        let Some(tombstone) = self.0.get_mut(key) else {
            return false;
        };
        tombstone.under_way = false;
        let never = tombstone.ended.is_none();
        if never {
            self.0.remove(key);
        }
        never
    }

    /// It is ours again.
    pub(crate) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.0.remove(key);
    }

    /// What one inventory means for each of them. It changes none. `ours` tells of what is
    /// listed that a call of ours without an answer may have brought it.
    pub(crate) fn judge(
        &self,
        listed: impl Fn(&K) -> bool,
        ours: impl Fn(&K) -> bool,
        unlisted: Unlisted,
        began: Instant,
        settle: Duration,
    ) -> Vec<Judgement<K>> {
        let judge = |(key, before): (&K, &Tombstone)| {
            let mut tombstone = *before;
            let verdict = tombstone.judge((listed(key), ours(key)), unlisted, began, settle);
            let stays = match verdict {
                Verdict::TooEarly(_) | Verdict::Open { .. } => true,
                Verdict::Gone => !tombstone.is_over(began, settle),
                Verdict::AssignedSince => false,
            };
            Judgement {
                key: key.clone(),
                verdict,
                was_in_doubt: before.in_doubt(),
                tombstone: stays.then_some(tombstone),
            }
        };
        self.0.iter().map(judge).collect()
    }

    /// Forgets those that an inventory has shown gone and that no inventory which begins from
    /// now on can list as they were. Tells which.
    pub(crate) fn expire(&mut self, now: Instant, settle: Duration) -> Vec<K> {
        let over = |tombstone: &Tombstone| {
            let gone = tombstone.confirmed && tombstone.listed == Some(false);
            gone && tombstone.is_over(now, settle)
        };
        let over = self.0.extract_if(.., |_, tombstone| over(tombstone));
        over.map(|(key, _)| key).collect()
    }

    /// Takes in what an inventory means for one of them.
    pub(crate) fn judged(&mut self, judgement: &Judgement<K>) {
        match judgement.tombstone {
            Some(tombstone) => drop(self.0.insert(judgement.key.clone(), tombstone)),
            None => drop(self.0.remove(&judgement.key)),
        }
    }
}

/// What an inventory means for one thing that was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judgement<K> {
    /// What was given back.
    pub(crate) key: K,
    pub(crate) verdict: Verdict,
    /// The cloud had not said before that it was given back.
    was_in_doubt: bool,
    /// What is known of the release now; `None` when it is over.
    pub(crate) tombstone: Option<Tombstone>,
}

impl<K> Judgement<K> {
    /// Whether it is to be given back once more.
    pub(crate) fn is_open(&self) -> bool {
        let in_doubt = self.tombstone.is_some_and(|tombstone| tombstone.in_doubt());
        in_doubt && matches!(self.verdict, Verdict::Open { .. })
    }

    /// Whether it was given back, and has come again by a call of ours without an answer.
    pub(crate) fn came_again(&self) -> bool {
        self.is_open() && !self.was_in_doubt
    }
}

#[cfg(test)]
mod tests;
