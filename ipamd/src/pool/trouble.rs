//! How the cloud has answered, by kind of call: for how long it is left alone
//! with that kind, and how that grows from failure to failure.
//!
//! Kinds do not share. Clouds count and permit calls by kind, so what a success
//! of one kind proves of another is nothing; and a cloud in trouble altogether
//! meets the pause of each kind that is tried.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;
use veni_pool::Action;
use veni_provider::{ErrorClass, Family, ProviderError};

use super::snapshot::millis;

/// First pause after a failure that passes; it doubles with each one that
/// follows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause after such a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What has been refused for good is tried again after this time at the latest,
/// unless the first pause is set to more: somebody may have granted it.
pub(super) const LONGEST_REFUSAL: Duration = Duration::from_secs(300);

/// Kinds of calls, as clouds tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    /// A look at the inventory.
    Look,
    Assign(Family),
    Attach,
    Release(Family),
    Detach,
}

impl Asked {
    pub(super) fn of(family: Family, action: &Action) -> Self {
        match action {
            Action::Assign { .. } => Self::Assign(family),
            Action::Attach { .. } => Self::Attach,
            Action::Release { .. } => Self::Release(family),
            Action::Detach { .. } => Self::Detach,
        }
    }

    /// What does not happen while it is on hold.
    fn in_words(self) -> &'static str {
        match self {
            Self::Look => "the cloud is not asked for the inventory",
            Self::Assign(_) => "the cloud is not asked for more addresses",
            Self::Attach => "the cloud is not asked for another interface",
            Self::Release(_) => "nothing goes back: the cloud is not asked to take addresses",
            Self::Detach => "the cloud is not asked to take an interface back",
        }
    }
}

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
    pause.mul_f64(rand::rng().random_range(JITTER))
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
struct Trouble {
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
pub(super) struct Troubles(BTreeMap<Asked, Trouble>);

impl Troubles {
    /// It worked: nothing is known against this kind any more.
    pub(super) fn over(&mut self, asked: Asked) {
        self.0.remove(&asked);
    }

    /// Counts a failure. Tells whether it is news: a missing permission is
    /// tried again for as long as it lasts, and said when it begins.
    pub(super) fn count(&mut self, asked: Asked, error: &ProviderError, now: Instant) -> bool {
        let trouble = self.0.entry(asked).or_default();
        trouble.since.get_or_insert(now);
        // Calls that failed together are one failure: those that were under way
        // when the cloud was already being left alone.
        if trouble.hold.as_ref().is_none_or(|hold| hold.until <= now) {
            let counter = match lasts(&error.class) {
                true => &mut trouble.refusals,
                false => &mut trouble.failures,
            };
            *counter = counter.saturating_add(1);
        }
        let denied = (error.class == ErrorClass::Denied).then(|| error.operation.clone());
        let known = denied.is_some() && denied == trouble.denied;
        trouble.denied = denied;
        !known
    }

    /// The pause after failures that pass: doubles with each, with half of it at
    /// random so that nodes that failed together do not come back together.
    pub(super) fn pause(&self, asked: Asked) -> Duration {
        let failures = self.0.get(&asked).map_or(0, |trouble| trouble.failures);
        doubled(FIRST_PAUSE, failures)
            .min(LONGEST_PAUSE)
            .mul_f64(rand::rng().random_range(0.5..1.0))
    }

    /// The pause after refusals: doubles with each from `first` on.
    pub(super) fn refusal(&self, asked: Asked, first: Duration) -> Duration {
        let refusals = self.0.get(&asked).map_or(0, |trouble| trouble.refusals);
        jittered(doubled(first, refusals).min(LONGEST_REFUSAL.max(first)))
    }

    /// Leaves the cloud alone with this kind until then, or for longer if it is
    /// already.
    pub(super) fn hold(&mut self, asked: Asked, hold: Hold) {
        let trouble = self.0.entry(asked).or_default();
        trouble.hold = Some(hold.or_longer(trouble.hold.take()));
    }

    /// Ends the holds that are over in the planner's milliseconds: for both in
    /// the same turn.
    pub(super) fn expire(&mut self, epoch: Instant, now: Instant) {
        let over = |hold: &mut Hold| millis(epoch, hold.until) <= millis(epoch, now);
        for trouble in self.0.values_mut() {
            drop(trouble.hold.take_if(over));
        }
    }

    fn holding(&self) -> impl Iterator<Item = (Asked, &Hold)> {
        let all = self.0.iter();
        all.filter_map(|(asked, trouble)| Some((*asked, trouble.hold.as_ref()?)))
    }

    /// Whether the cloud is left alone with this kind.
    pub(super) fn is_held(&self, asked: Asked, now: Instant) -> bool {
        let hold = self.0.get(&asked).and_then(|trouble| trouble.hold.as_ref());
        hold.is_some_and(|hold| hold.until > now)
    }

    /// When holds end.
    pub(super) fn ends(&self) -> impl Iterator<Item = Instant> {
        self.holding().map(|(_, hold)| hold.until)
    }

    /// Why the cloud is left alone, should it be.
    pub(super) fn reason(&self) -> Option<String> {
        let reasons = self.holding().map(|(_, hold)| hold.reason.clone());
        reasons.last()
    }

    /// The holds in words, for operators.
    pub(super) fn notes(&self, now: Instant) -> impl Iterator<Item = String> {
        self.holding().map(move |(asked, hold)| {
            let what = asked.in_words();
            let trouble = self.0.get(&asked);
            let since = trouble.and_then(|trouble| trouble.since).unwrap_or(now);
            let since = now.saturating_duration_since(since).as_secs();
            let left = hold.until.saturating_duration_since(now).as_secs_f64().ceil();
            format!(
                "{what}: refused or failing since {since} s, asked again in {left} s (pauses are jittered): {}",
                hold.reason
            )
        })
    }

    /// The holds as the plan of a family sees them.
    pub(super) fn holds(&self, family: Family, epoch: Instant) -> veni_pool::Holds {
        let hold = |asked| {
            let trouble = self.0.get(&asked)?;
            Some(trouble.hold.as_ref()?.for_plan(epoch))
        };
        veni_pool::Holds {
            assign: hold(Asked::Assign(family)),
            attach: hold(Asked::Attach),
            release: hold(Asked::Release(family)),
            detach: hold(Asked::Detach),
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

/// `first` once, then twice as long each time.
fn doubled(first: Duration, times: u32) -> Duration {
    first * 2u32.pow(times.saturating_sub(1).min(16))
}

#[cfg(test)]
mod tests;
