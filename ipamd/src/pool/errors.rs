//! What a failed cloud call means for the pool.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;
use veni_pool::Action;
use veni_provider::{ErrorClass, Family, ProviderError, Scarcity, SubnetId};

use super::state::Exhaustion;
use super::task::{PoolTask, Unsettled};
use crate::events::EventKind;

/// First pause after a failure; it doubles with each one that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Looks at the inventory in the time until an exhausted subnet is tried again.
const LOOKS_FOR_ROOM: u32 = 12;

/// Addresses of a /28.
const ADDRESSES_OF_A_PREFIX: u32 = 16;

/// The cloud takes no changes for a while.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    pub(crate) until: Instant,
    /// Why.
    pub(crate) reason: String,
    /// Waiting does not help: somebody must repair something.
    pub(crate) lasting: bool,
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

    /// What an ADD that waits is told.
    pub(crate) fn hopeless(&self) -> Option<String> {
        self.lasting.then(|| self.reason.clone())
    }
}

impl PoolTask {
    /// Notes that a change succeeded: the cloud answers again.
    pub(super) fn cloud_succeeded(&mut self, action: &Action) {
        self.allowed(kind_of(action));
        self.failures = 0;
        self.cloud_error = None;
        self.hold = None;
    }

    /// Draws the consequences of a change that failed. Tells whether the
    /// outcome is known: nothing was changed.
    pub(super) fn change_failed(
        &mut self,
        family: Family,
        action: Action,
        error: &ProviderError,
        now: Instant,
    ) -> bool {
        self.note_failure(kind_of(&action), &action.to_string(), error);
        match &error.class {
            ErrorClass::Throttled { retry_after } => {
                let pause = self.pause().max(retry_after.unwrap_or_default());
                self.hold_for(pause, error, false, now);
            }
            ErrorClass::Transient => {
                let pause = self.pause();
                self.hold_for(pause, error, false, now);
            }
            // Who may not give back may still get: pods come first.
            ErrorClass::Denied
            | ErrorClass::Invalid
            | ErrorClass::Unsupported
            | ErrorClass::Fatal
                if !action.grows() =>
            {
                self.keep_all = Some(Hold {
                    until: now + self.settings.denied_retry,
                    reason: error.to_string(),
                    lasting: true,
                });
            }
            ErrorClass::Denied => self.hold_for(self.settings.denied_retry, error, true, now),
            ErrorClass::Invalid | ErrorClass::Unsupported | ErrorClass::Fatal => {
                self.hold_for(LONGEST_PAUSE, error, true, now);
            }
            ErrorClass::Exhausted { subnet, scarcity } => {
                if !self.state.subnets.iter().any(|known| known.id == *subnet) {
                    // The planner has no place to note it: whoever chose the
                    // subnet would choose it again.
                    self.hold_for(self.settings.subnet_retry, error, true, now);
                } else if asks_for_several(&action) {
                    self.subnet_has_less(family, subnet, *scarcity, now);
                } else {
                    let least = smallest(&action, *scarcity);
                    let subnet = (subnet.clone(), family);
                    self.subnet_is_exhausted(subnet, *scarcity, least, error, now);
                }
            }
            ErrorClass::LimitReached | ErrorClass::NotFound => {
                // An inventory that lags explains neither: ours or another's
                // last change may be what the cloud means.
                let limit_reached = error.class == ErrorClass::LimitReached;
                let pause = self.pause().max(self.state.capabilities.settle_time);
                self.unsettle(family, action, now + pause, limit_reached);
                return false;
            }
            ErrorClass::OutcomeUnknown => {
                // A cloud in trouble is asked ever less often, for the look too.
                let pause = self.pause().max(self.state.capabilities.settle_time);
                self.unsettle(family, action, now + pause, false);
                return false;
            }
        }
        true
    }

    /// A look at the inventory that failed: the next one comes sooner.
    pub(super) fn look_failed(&mut self, error: &ProviderError, now: Instant) {
        self.note_failure(LOOK, "look at the inventory", error);
        // Without the right to look, changes can still be had.
        self.looked |= !matches!(
            error.class,
            ErrorClass::Transient | ErrorClass::Throttled { .. }
        );
        let pause = self.pause();
        self.look_by(now + pause);
    }

    /// What was refused for want of a permission is allowed now.
    pub(super) fn allowed(&mut self, kind: &'static str) {
        self.denied.remove(kind);
    }

    fn note_failure(&mut self, kind: &'static str, what: &str, error: &ProviderError) {
        // Calls that failed together are one failure: those that were under way
        // when the cloud was already being left alone.
        let now = Instant::now();
        if self.hold.as_ref().is_none_or(|hold| hold.until <= now) {
            self.failures = self.failures.saturating_add(1);
        }
        self.cloud_error = Some(error.to_string());
        if error.class == ErrorClass::Denied {
            // Tried again for as long as it lasts, and said when it begins.
            let before = self.denied.insert(kind, error.operation.clone());
            if before.as_ref() == Some(&error.operation) {
                tracing::debug!(what, %error, "cloud call refused again");
                return;
            }
        } else {
            self.allowed(kind);
        }
        tracing::warn!(what, class = error.class.label(), %error, "cloud call failed");
        self.tell(EventKind::Cloud, format!("{what} failed: {error}"));
    }

    /// Doubles with each failure, with half of it at random so that nodes that
    /// failed together do not come back together.
    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(8);
        let pause = (FIRST_PAUSE * 2u32.pow(doublings)).min(LONGEST_PAUSE);
        pause.mul_f64(rand::rng().random_range(0.5..1.0))
    }

    fn hold_for(&mut self, pause: Duration, error: &ProviderError, lasting: bool, now: Instant) {
        let new = Hold {
            until: now + pause,
            reason: error.to_string(),
            lasting,
        };
        self.hold = Some(new.or_longer(self.hold.take()));
    }

    /// The cloud gives all or nothing, and what it last told of free addresses
    /// was old: the next plan asks for one slot, and a look at the inventory
    /// tells what there is.
    fn subnet_has_less(
        &mut self,
        family: Family,
        subnet: &SubnetId,
        scarcity: Scarcity,
        now: Instant,
    ) {
        let settled = now + self.state.capabilities.settle_time;
        self.look_by(settled);
        if family == Family::V6 {
            return;
        }
        let at_most = match scarcity {
            Scarcity::Addresses => 0,
            Scarcity::Prefixes => ADDRESSES_OF_A_PREFIX,
        };
        for known in self
            .state
            .subnets
            .iter_mut()
            .filter(|known| known.id == *subnet)
        {
            known.free_ipv4 = known.free_ipv4.min(at_most);
        }
    }

    fn subnet_is_exhausted(
        &mut self,
        subnet: (SubnetId, Family),
        scarcity: Scarcity,
        least: u32,
        error: &ProviderError,
        now: Instant,
    ) {
        let pause = self.settings.subnet_retry;
        let until = now + pause.mul_f64(rand::rng().random_range(0.9..1.1));
        let entry = self
            .state
            .exhausted
            .entry(subnet)
            .or_insert_with(|| Exhaustion {
                addresses_until: None,
                prefixes_until: None,
                since: now,
                least,
                reason: String::new(),
            });
        entry.since = now;
        entry.least = least;
        entry.reason = error.to_string();
        match scarcity {
            Scarcity::Addresses => entry.addresses_until = Some(until),
            Scarcity::Prefixes => entry.prefixes_until = Some(until),
        }
    }

    /// Pods were turned away because subnets are full: whether they still are is
    /// cheaper to look at than to try, and not looked at more often than a few
    /// times in the time until they are tried again.
    pub(super) fn look_for_room(&mut self) {
        let full = self.state.exhausted.values();
        let full = full.filter(|one| one.addresses_until.is_some());
        let Some(refused) = full.map(|one| one.since).max() else {
            return;
        };
        let settled = refused + self.state.capabilities.settle_time;
        let again = self.last_look + self.settings.subnet_retry / LOOKS_FOR_ROOM;
        self.look_by(settled.max(again));
    }

    fn unsettle(&mut self, family: Family, action: Action, trust_after: Instant, limit: bool) {
        self.look_by(trust_after);
        self.unsettled.push(Unsettled {
            trust_after,
            family,
            action,
            limit_reached: limit,
        });
    }
}

/// Looks, among the kinds of what is asked of the cloud.
pub(super) const LOOK: &str = "look";

/// What kind of change it is, whatever its numbers.
fn kind_of(action: &Action) -> &'static str {
    match action {
        Action::Assign { .. } => "assign",
        Action::Attach { .. } => "attach",
        Action::Release { .. } => "release",
        Action::Detach { .. } => "detach",
    }
}

/// Whether a smaller request could succeed where this one did not.
fn asks_for_several(action: &Action) -> bool {
    match action {
        Action::Assign { count, .. } | Action::Attach { count, .. } => *count > 1,
        Action::Release { .. } | Action::Detach { .. } => false,
    }
}

/// Free addresses without which this request, which asked for one slot, is
/// refused again.
fn smallest(action: &Action, scarcity: Scarcity) -> u32 {
    match (action, scarcity) {
        // One is the new interface's own.
        (Action::Attach { count, .. }, Scarcity::Addresses) => 1 + count.min(&1),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hold_that_lasts_longer_keeps_its_own_reason() {
        let now = Instant::now();
        let hold = |seconds, lasting| Hold {
            until: now + Duration::from_secs(seconds),
            reason: format!("{seconds} s"),
            lasting,
        };
        let denied = hold(300, true).or_longer(None);
        let still = hold(1, false).or_longer(Some(denied));
        assert_eq!(still.hopeless(), Some("300 s".to_owned()));
        let longer = hold(600, false).or_longer(Some(still));
        assert_eq!((longer.reason.as_str(), longer.hopeless()), ("600 s", None));
    }
}
