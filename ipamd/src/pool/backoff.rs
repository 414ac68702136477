//! How the cloud has answered, by kind of call: for how long it is left alone
//! with that kind, and how that grows from failure to failure.
//!
//! Kinds do not share. Clouds count and permit calls by kind, so what a success
//! of one kind proves of another is nothing; and a cloud in trouble altogether
//! meets the pause of each kind that is tried.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use veni_provider::{ErrorClass, Family, ProviderError};

use super::call_kind::CallKind;
use super::held_back::HeldBack;
use super::snapshot::millis;
use crate::retry::{at_random, grown, half_to_whole};

/// First pause after a failure that passes; it doubles with each one that
/// follows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause after such a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What has been refused for good is tried again after this time at the latest,
/// unless the first pause is set to more: somebody may have granted it.
pub(super) const LONGEST_REFUSAL: Duration = Duration::from_secs(300);

/// The cloud is left alone with one kind of call for a while.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    pub(super) until: Instant,
    /// Why.
    pub(super) reason: String,
    /// Waiting does not help: somebody must repair something.
    pub(super) lasting: bool,
}

/// Pauses are drawn at random from this part of what is meant, so that nodes that
/// were refused together do not come back together.
const JITTER: std::ops::Range<f64> = 0.9..1.0;

/// A pause as it is meant, made a little shorter at random.
pub(super) fn jittered(pause: Duration) -> Duration {
    at_random(pause, JITTER)
}

impl Hold {
    /// Of two the one that lasts longer, with its own reason: a call that was
    /// throttled does not make one hopeful that was denied.
    fn or_longer(self, before: Option<Self>) -> Self {
        match before {
            Some(before) if before.until > self.until => before,
            _ => self,
        }
    }

    fn for_plan(&self, epoch: Instant) -> veni_pool::Hold {
        veni_pool::Hold {
            until_ms: millis(epoch, self.until),
            refusal: self.lasting.then(|| self.reason.clone()),
        }
    }
}

/// What is known of one kind since its last success.
#[derive(Debug, Default)]
struct OfKind {
    /// Failures that pass by themselves.
    failures: u32,
    /// Refusals that do not.
    refusals: u32,
    /// The operation that lacks a permission.
    denied: Option<String>,
    hold: Option<Hold>,
    /// When the first of the failures in a row was.
    since: Option<Instant>,
}

/// What is known of all kinds.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    kinds: BTreeMap<CallKind, OfKind>,
    /// The cloud's last word that still counts, for operators.
    error: Option<String>,
}

impl Backoff {
    /// It worked: nothing is known against this kind any more.
    pub(super) fn over(&mut self, kind: CallKind) {
        self.kinds.remove(&kind);
        self.error = match kind {
            CallKind::Inventory => None,
            _ => self.reason(),
        };
    }

    /// A call failed. Tells whether that is news, as [`Self::count`].
    pub(super) fn failed(&mut self, kind: CallKind, error: &ProviderError, now: Instant) -> bool {
        self.error = Some(error.to_string());
        self.count(kind, error, now)
    }

    /// The cloud's last word that still counts.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Counts a failure. Tells whether it is news: a missing permission is
    /// tried again for as long as it lasts, and said when it begins.
    pub(super) fn count(&mut self, kind: CallKind, error: &ProviderError, now: Instant) -> bool {
        let known = self.kinds.entry(kind).or_default();
        known.since.get_or_insert(now);
        // Calls that failed together are one failure: those that were under way
        // when the cloud was already being left alone.
        if known.hold.as_ref().is_none_or(|hold| hold.until <= now) {
            let counter = match lasts(&error.class) {
                true => &mut known.refusals,
                false => &mut known.failures,
            };
            *counter = counter.saturating_add(1);
        }
        let denied = (error.class == ErrorClass::Denied).then(|| error.operation.clone());
        let is_known = denied.is_some() && denied == known.denied;
        known.denied = denied;
        !is_known
    }

    /// The pause after failures that pass: doubles with each, with half of it at
    /// random so that nodes that failed together do not come back together.
    pub(super) fn pause(&self, kind: CallKind) -> Duration {
        let failures = self.kinds.get(&kind).map_or(0, |known| known.failures);
        half_to_whole(grown(FIRST_PAUSE, LONGEST_PAUSE, failures))
    }

    /// The pause after refusals: doubles with each from `first` on.
    pub(super) fn refusal(&self, kind: CallKind, first: Duration) -> Duration {
        let refusals = self.kinds.get(&kind).map_or(0, |known| known.refusals);
        jittered(grown(first, LONGEST_REFUSAL.max(first), refusals))
    }

    /// Leaves the cloud alone with this kind until then, or for longer if it is
    /// already.
    pub(super) fn hold(&mut self, kind: CallKind, hold: Hold) {
        let known = self.kinds.entry(kind).or_default();
        known.hold = Some(hold.or_longer(known.hold.take()));
    }

    /// Ends the holds that are over in the planner's milliseconds: for both in
    /// the same turn.
    pub(super) fn expire(&mut self, epoch: Instant, now: Instant) {
        let over = |hold: &mut Hold| millis(epoch, hold.until) <= millis(epoch, now);
        for known in self.kinds.values_mut() {
            drop(known.hold.take_if(over));
        }
    }

    fn holding(&self) -> impl Iterator<Item = (CallKind, &Hold)> {
        let all = self.kinds.iter();
        all.filter_map(|(kind, known)| Some((*kind, known.hold.as_ref()?)))
    }

    /// Whether the cloud is left alone with this kind.
    pub(super) fn is_held(&self, kind: CallKind, now: Instant) -> bool {
        let hold = self.kinds.get(&kind).and_then(|known| known.hold.as_ref());
        hold.is_some_and(|hold| hold.until > now)
    }

    /// When the first hold ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.holding().map(|(_, hold)| hold.until).min()
    }

    /// Why the cloud is left alone, should it be.
    fn reason(&self) -> Option<String> {
        let reasons = self.holding().map(|(_, hold)| hold.reason.clone());
        reasons.last()
    }

    /// The holds, for operators.
    pub(super) fn held_back(&self, now: Instant) -> impl Iterator<Item = HeldBack> {
        self.holding().map(move |(kind, hold)| {
            let known = self.kinds.get(&kind);
            let since = known.and_then(|known| known.since).unwrap_or(now);
            HeldBack::BackingOff {
                calls: kind,
                since: now.saturating_duration_since(since),
                left: hold.until.saturating_duration_since(now),
                reason: hold.reason.clone(),
                denied: known.and_then(|known| known.denied.clone()),
            }
        })
    }

    /// The holds as the plan of a family sees them.
    pub(super) fn holds(&self, family: Family, epoch: Instant) -> veni_pool::Holds {
        let hold = |kind| {
            let known = self.kinds.get(&kind)?;
            Some(known.hold.as_ref()?.for_plan(epoch))
        };
        veni_pool::Holds {
            assign: hold(CallKind::Assign(family)),
            attach: hold(CallKind::Attach),
            release: hold(CallKind::Release(family)),
            detach: hold(CallKind::Detach),
        }
    }
}

/// Whether a refusal stays until somebody has repaired something.
pub(super) fn lasts(class: &ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::Denied | ErrorClass::Invalid | ErrorClass::Unsupported | ErrorClass::Fatal
    )
}

#[cfg(test)]
mod tests;
