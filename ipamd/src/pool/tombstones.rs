//! What was given back to the cloud and may still be listed: addresses, prefixes
//! and interfaces, from the moment on in which their release is written down.
//!
//! Whoever else has one of them by now must not share it with a pod of ours, and
//! an inventory may lag longer than the cloud promises. So nothing comes back to
//! life because time has passed: it stays given back until an inventory lacks it, and
//! is ours again only when inventories have listed it for a minute on end.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// What is listed for so long after it was given back is ours again: the time
/// that the AWS plugin gives it.
pub(super) const OURS_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Between two inventories that tell of something that should have gone, at least.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// What is known of one release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tombstone {
    /// A call that gives it back has begun and not ended.
    under_way: bool,
    /// When the last call ended that may have given it back.
    ended: Option<Instant>,
    /// That it was given back, the cloud's answer or an inventory has said.
    confirmed: bool,
    /// The first of the inventories in a row that list it, though they are new
    /// enough to know.
    listed_since: Option<Instant>,
    /// The last inventory that lacked it.
    lacked: Option<Instant>,
}

/// What an inventory means for something that was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: it is too old. One that begins then tells, unless a call that is
    /// under way must end first.
    TooEarly(Option<Instant>),
    /// It is given back, whatever the answer was.
    Gone,
    /// It is listed although it should not be: an inventory that begins then tells more.
    Listed { look_again: Instant },
    /// It has been listed for so long that it is ours, by another's hand.
    Ours,
}

impl Tombstone {
    /// Draws the conclusion of an inventory that began at a time.
    fn judge(&mut self, listed: bool, began: Instant, settle: Duration) -> Verdict {
        let Some(ended) = self.ended.filter(|_| !self.under_way) else {
            return Verdict::TooEarly(None);
        };
        let trust_after = ended + settle;
        if began < trust_after {
            return Verdict::TooEarly(Some(trust_after));
        }
        if !listed {
            self.confirmed = true;
            self.listed_since = None;
            self.lacked = Some(began);
            return Verdict::Gone;
        }
        let enough = self.lacked.unwrap_or(ended).max(ended) + patience(settle);
        if self.listed_since.is_some() && began >= enough {
            return Verdict::Ours;
        }
        self.listed_since.get_or_insert(began);
        // As long again as it has lasted already.
        let doubled = began + (began - ended);
        let soonest = began + settle.max(SHORTEST_PAUSE);
        Verdict::Listed {
            look_again: doubled.min(enough).max(soonest),
        }
    }

    /// Whether inventories that began so late need not be warned of it: one more
    /// that is older than those before could still list it.
    fn is_over(&self, began: Instant, settle: Duration) -> bool {
        let ended = self.ended.filter(|_| !self.under_way);
        ended.is_some_and(|ended| began >= ended + patience(settle))
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

fn patience(settle: Duration) -> Duration {
    OURS_AGAIN_AFTER.max(2 * settle)
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
                listed_since: None,
                lacked: None,
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

    /// What one inventory means for each of them. It changes none.
    pub(crate) fn judge(
        &self,
        listed: impl Fn(&K) -> bool,
        began: Instant,
        settle: Duration,
    ) -> Vec<Judgement<K>> {
        let judge = |(key, before): (&K, &Tombstone)| {
            let mut tombstone = *before;
            let verdict = tombstone.judge(listed(key), began, settle);
            let stays = match verdict {
                Verdict::TooEarly(_) | Verdict::Listed { .. } => true,
                Verdict::Gone => !tombstone.is_over(began, settle),
                Verdict::Ours => false,
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
    pub(crate) was_in_doubt: bool,
    /// What is known of the release now; `None` when it is over.
    pub(crate) tombstone: Option<Tombstone>,
}

#[cfg(test)]
mod tests;
