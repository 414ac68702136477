//! What a failed cloud call means for the pool.

use std::time::Duration;

use tokio::time::Instant;
use veni_pool::Action;
use veni_provider::{ErrorClass, Family, Limit, ProviderError, Scarcity, SubnetId};

use super::jobs::Work;
use super::state::Exhaustion;
use super::task::{PoolTask, Unsettled};
use super::trouble::{Asked, Hold, jittered, lasts};
use crate::events::EventKind;
use crate::journal::JournalError;

/// Looks at the inventory in the time until an exhausted subnet is tried again.
const LOOKS_FOR_ROOM: u32 = 12;

/// Addresses of a /28.
const ADDRESSES_OF_A_PREFIX: u32 = 16;

impl PoolTask {
    /// Notes that a change succeeded: the cloud takes changes of this kind again.
    pub(super) fn cloud_succeeded(&mut self, family: Family, action: &Action) {
        self.allowed(Asked::of(family, action));
        self.cloud_error = self.troubles.reason();
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
        let asked = Asked::of(family, &action);
        self.note_failure(asked, &action.to_string(), error);
        match &error.class {
            ErrorClass::Throttled { retry_after } => {
                let pause = self.troubles.pause(asked);
                let pause = pause.max(retry_after.unwrap_or_default());
                self.hold_for(asked, pause, error, now);
            }
            ErrorClass::Transient => {
                self.hold_for(asked, self.troubles.pause(asked), error, now);
            }
            ErrorClass::Denied
            | ErrorClass::Invalid
            | ErrorClass::Unsupported
            | ErrorClass::Fatal => {
                let first = self.settings.denied_retry;
                self.hold_for(asked, self.troubles.refusal(asked, first), error, now);
                if error.class == ErrorClass::Invalid {
                    // What was asked for rests on what is known, and that is wrong: the
                    // interface is somebody else's by now.
                    self.look_by(now + self.state.capabilities.settle_time);
                }
            }
            ErrorClass::Exhausted { subnet, scarcity } => {
                if !self.state.subnets.iter().any(|known| known.id == *subnet) {
                    // The planner has no place to note it: whoever chose the
                    // subnet would choose it again.
                    self.hold_for(asked, self.settings.subnet_retry, error, now);
                } else if family == Family::V4 && asks_for_several(&action) {
                    self.subnet_has_less(subnet, *scarcity, now);
                } else {
                    let least = smallest(&action, *scarcity);
                    let subnet = (subnet.clone(), family);
                    self.subnet_is_exhausted(subnet, *scarcity, least, error, now);
                }
            }
            // Nothing that is there can explain that a new one is too large.
            ErrorClass::LimitReached {
                limit: limit @ Limit::Slots,
            } if asked == Asked::Attach && !self.state.has_doubts() => {
                self.learn_limit(family, &action, *limit, now)
            }
            ErrorClass::LimitReached { .. } | ErrorClass::NotFound => {
                // An inventory that lags explains neither: ours or another's
                // last change may be what the cloud means.
                let limit = match error.class {
                    ErrorClass::LimitReached { limit } => Some(limit),
                    _ => None,
                };
                let pause = self.troubles.pause(asked);
                let pause = pause.max(self.state.capabilities.settle_time);
                self.unsettle(family, action, now + pause, limit);
                return false;
            }
            ErrorClass::OutcomeUnknown => {
                // A cloud in trouble is asked ever less often, for the look too.
                let pause = self
                    .troubles
                    .pause(asked)
                    .max(self.state.capabilities.settle_time);
                self.unsettle(family, action, now + pause, None);
                return false;
            }
        }
        true
    }

    /// What goes back to the cloud is written down first. What cannot be written down
    /// stays, and is tried again after a pause.
    pub(super) fn release_not_written(&mut self, work: &Work, error: &JournalError) {
        let Work::Cloud { family, action, .. } = work else {
            return;
        };
        tracing::warn!(%action, %error, "nothing goes back that cannot be written down first");
        let operation = "writing down what goes back";
        let error = ProviderError::new(ErrorClass::Transient, operation, error.to_string());
        let (asked, now) = (Asked::of(*family, action), Instant::now());
        self.troubles.count(asked, &error, now);
        self.hold_for(asked, self.troubles.pause(asked), &error, now);
    }

    /// A look at the inventory that failed: the next one comes sooner.
    pub(super) fn look_failed(&mut self, error: &ProviderError, now: Instant) {
        self.note_failure(Asked::Look, "look at the inventory", error);
        // Without the right to look, changes can still be had.
        self.looked |= !matches!(
            error.class,
            ErrorClass::Transient | ErrorClass::Throttled { .. }
        );
        let pause = match lasts(&error.class) {
            true => self
                .troubles
                .refusal(Asked::Look, self.settings.denied_retry),
            false => self.troubles.pause(Asked::Look),
        };
        self.look_by(now + pause);
    }

    /// What was refused before is allowed now.
    pub(super) fn allowed(&mut self, asked: Asked) {
        self.troubles.over(asked);
    }

    fn note_failure(&mut self, asked: Asked, what: &str, error: &ProviderError) {
        let news = self.troubles.count(asked, error, Instant::now());
        self.cloud_error = Some(error.to_string());
        if !news {
            tracing::debug!(what, %error, "cloud call refused again");
            return;
        }
        tracing::warn!(what, class = error.class.label(), %error, "cloud call failed");
        self.tell(EventKind::Cloud, format!("{what} failed: {error}"));
    }

    /// Leaves the cloud alone with this kind of change.
    fn hold_for(&mut self, asked: Asked, pause: Duration, error: &ProviderError, now: Instant) {
        let exhausted = matches!(error.class, ErrorClass::Exhausted { .. });
        let hold = Hold {
            until: now + pause,
            reason: error.to_string(),
            lasting: exhausted || lasts(&error.class),
        };
        self.troubles.hold(asked, hold);
    }

    /// The cloud gives all or nothing, and what it last told of free addresses
    /// was old: the next plan asks for one slot, and a look at the inventory
    /// tells what there is.
    fn subnet_has_less(&mut self, subnet: &SubnetId, scarcity: Scarcity, now: Instant) {
        let settled = now + self.state.capabilities.settle_time;
        self.look_by(settled);
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
        let until = now + jittered(pause);
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

    fn unsettle(
        &mut self,
        family: Family,
        action: Action,
        trust_after: Instant,
        limit: Option<Limit>,
    ) {
        self.look_by(trust_after);
        self.unsettled.push(Unsettled {
            trust_after,
            family,
            action,
            limit_reached: limit,
        });
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
