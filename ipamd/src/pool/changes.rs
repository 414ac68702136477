//! Changes of what the node holds in the cloud: begun, in flight, answered, or not
//! answered until an inventory tells; and what is made again then.
//!
//! This decides which call is made and takes its answer in. The owner task makes it.

use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_nouns::{Family, InterfaceId};
use veni_pool::{Action, Holds, InFlight};
use veni_provider::{AddressSlots, AttachRequest, ErrorClass, Limit, ProviderError, random};

use super::answers::{Known, done, undo};
use super::backends::Answer;
use super::backoff::{Backoff, Hold, jittered, lasts};
use super::call_kind::CallKind;
use super::change::{Cause, Change};
use super::consequences::{Consequence, consequence};
use super::held_back::HeldBack;
use super::holdings::Holdings;
use super::interface_setup::InterfaceSetup;
use super::learned_limits::learn_limit;
use super::local_view::OwnChanges;
use super::reconcile::{Findings, SHORTEST_CHANGE};
use super::refresh::InventoryRefresh;
use super::releases::Releases;
use super::subnets::Refusal;
use crate::crash;
use crate::journal::{Call, JournalError};

/// A change that was made or not: the cloud's answer did not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unanswered {
    /// An inventory that began after this tells.
    trust_after: Instant,
    family: Family,
    pub(super) action: Action,
    /// The cloud said that this limit was reached; if the inventory does not
    /// explain it, our limits are wrong.
    limit_reached: Option<Limit>,
}

/// First pauses after refusals that do not pass by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retries {
    /// After a missing permission.
    pub(super) denied: Duration,
    /// After a full subnet.
    pub(super) subnet: Duration,
}

/// All changes.
#[derive(Debug)]
pub(super) struct Changes {
    retries: Retries,
    /// Begun, and not answered yet.
    running: Vec<Change>,
    unanswered: Vec<Unanswered>,
    releases: Releases,
    /// What the cloud is left alone with, and for how long.
    backoff: Backoff,
}

impl Changes {
    /// `releases` are those of the daemon before.
    pub(super) fn new(releases: Releases, retries: Retries) -> Self {
        Self {
            retries,
            running: Vec::new(),
            unanswered: Vec::new(),
            releases,
            backoff: Backoff::default(),
        }
    }

    /// What was given back.
    pub(super) fn releases(&self) -> &Releases {
        &self.releases
    }

    /// Likewise, for an inventory that tells of it.
    pub(super) fn releases_mut(&mut self) -> &mut Releases {
        &mut self.releases
    }

    /// Changes under way.
    pub(super) fn running(&self) -> &[Change] {
        &self.running
    }

    /// Changes whose outcome is not known.
    pub(super) fn unanswered(&self) -> &[Unanswered] {
        &self.unanswered
    }

    /// All actions that may be changing something now.
    fn actions(&self) -> impl Iterator<Item = (Family, &Action)> {
        let running = self.running.iter();
        let running = running.map(|change| (change.family, &change.action));
        let unanswered = self.unanswered.iter();
        running.chain(unanswered.map(|one| (one.family, &one.action)))
    }

    /// What the plan of a family counts with: nothing is bought twice.
    pub(super) fn in_flight(&self, family: Family) -> Vec<InFlight> {
        let its = self.actions().filter(|(of, _)| *of == family);
        its.map(|(_, action)| InFlight {
            action: action.clone(),
        })
        .collect()
    }

    /// The interfaces on which the daemon itself is changing something.
    pub(super) fn own(&self, holdings: &Holdings) -> OwnChanges {
        let mut own = OwnChanges::default();
        for (_, action) in self.actions() {
            match action.interface() {
                None => own.arrivals = true,
                Some(id) => {
                    let known = holdings.interfaces.get(id);
                    own.of.extend(known.map(|known| known.cloud.mac));
                }
            }
        }
        own
    }

    /// Ends what the cloud was left alone with, on the planner's clock.
    pub(super) fn expire(&mut self, epoch: Instant, now: Instant) {
        self.backoff.expire(epoch, now);
    }

    /// What the plan of a family must not do now.
    pub(super) fn holds(&self, family: Family, epoch: Instant) -> Holds {
        self.backoff.holds(family, epoch)
    }

    /// When the cloud is called again that is left alone now.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.backoff.next_end()
    }

    /// What was refused to new interfaces was refused to other ones than the next.
    pub(super) fn try_attaching_again(&mut self) {
        self.backoff.over(CallKind::Attach);
    }

    /// The cloud's last word that still counts.
    pub(super) fn error(&self) -> Option<&str> {
        self.backoff.error()
    }

    /// What the cloud is left alone with.
    pub(super) fn held_back(&self, now: Instant) -> impl Iterator<Item = HeldBack> {
        self.backoff.held_back(now)
    }

    /// Begins a change if nothing speaks against it. Tells the call to be made: what must
    /// be known after a crash is written down, but for `holdings.origins`.
    pub(super) fn begin(
        &mut self,
        change: &Change,
        holdings: &mut Holdings,
        setup: &InterfaceSetup,
    ) -> Option<Call> {
        // One at a time on an interface, whichever family asks for it.
        let wanted = change.action.interface();
        let mut running = self.running.iter();
        if wanted.is_some() && running.any(|other| other.action.interface() == wanted) {
            return None;
        }
        let call = match change.action.clone() {
            Action::Assign {
                interface,
                kind,
                count,
            } => {
                let slots = AddressSlots::new(change.family, kind, count);
                holdings.origins.assigning(&interface, slots);
                Call::Assign { interface, slots }
            }
            Action::Attach {
                subnet,
                kind,
                count,
            } => Call::Attach(AttachRequest {
                subnet,
                slots: (count > 0).then(|| AddressSlots::new(change.family, kind, count)),
                token: attach_token(&holdings.node.instance_id),
            }),
            Action::Release { interface, cidrs } => {
                self.begin_release(change, &interface, &cidrs, holdings)?;
                Call::Release {
                    interface,
                    ranges: cidrs,
                }
            }
            Action::Detach { interface } => {
                self.begin_detach(change, interface, holdings, setup)?
            }
        };
        tracing::info!(action = %change.action, reason = %change.cause, "cloud change started");
        self.running.push(change.clone());
        Some(call)
    }

    /// A change that a daemon before has begun runs in the cloud: nothing of it is begun
    /// again.
    pub(super) fn resume(&mut self, change: Change) {
        tracing::info!(action = %change.action, reason = %change.cause, "cloud change resumed");
        self.running.push(change);
    }

    /// Journalled before the call: after a restart these addresses must not be
    /// given out until the cloud has told whether they are still ours.
    fn begin_release(
        &mut self,
        change: &Change,
        interface: &InterfaceId,
        ranges: &[IpNet],
        holdings: &mut Holdings,
    ) -> Option<()> {
        if !holdings.may_release(interface, ranges) {
            return None;
        }
        let written = self.releases.begin(ranges, None);
        written
            .map_err(|error| self.not_written(change, &error))
            .ok()?;
        crash::point_in_passing("release.journalled");
        holdings.set_releasing(interface, ranges, true);
        Some(())
    }

    /// Likewise, for an interface with all that it holds.
    fn begin_detach(
        &mut self,
        change: &Change,
        interface: InterfaceId,
        holdings: &mut Holdings,
        setup: &InterfaceSetup,
    ) -> Option<Call> {
        if setup.is_trying(&interface) {
            // Its rules would come after their removal.
            return None;
        }
        let known = holdings.interfaces.get(&interface)?;
        let ranges: Vec<IpNet> = known.held.keys().copied().collect();
        // The plan of one family does not see the other's pods.
        if !holdings.may_release(&interface, &ranges) || holdings.stays_attached(known) {
            return None;
        }
        let written = self.releases.begin(&ranges, Some(&interface));
        written
            .map_err(|error| self.not_written(change, &error))
            .ok()?;
        if let Some(known) = holdings.interfaces.get_mut(&interface) {
            known.detaching = true;
        }
        Some(Call::Detach {
            table: setup.table_of(&interface),
            interface,
            ranges,
        })
    }

    /// What goes back to the cloud is written down first. What cannot be written down
    /// stays, and is tried again after a pause.
    fn not_written(&mut self, change: &Change, error: &JournalError) {
        let action = &change.action;
        tracing::warn!(%action, %error, "nothing goes back that cannot be written down first");
        let operation = "writing down what goes back";
        let error = ProviderError::new(ErrorClass::Transient, operation, error.to_string());
        let (kind, now) = (CallKind::of(change.family, action), Instant::now());
        self.backoff.count(kind, &error, now);
        self.hold(kind, self.backoff.pause(kind), &error, now);
    }

    /// Takes the answer to a change in. Tells, in words, what has happened.
    pub(super) fn answered(
        &mut self,
        change: &Change,
        answer: Answer,
        holdings: &mut Holdings,
        refresh: &mut InventoryRefresh,
        now: Instant,
    ) -> Vec<String> {
        if let Some(place) = self.running.iter().position(|one| one == change) {
            self.running.remove(place);
        }
        let error = match &answer {
            Answer::Assigned { result, .. } => result.as_ref().err(),
            Answer::Attached(result) => result.as_ref().err(),
            Answer::Released { result, .. } | Answer::Detached { result, .. } => {
                result.as_ref().err()
            }
        };
        if let Some(error) = error.cloned() {
            let news = self.note_failure(
                CallKind::of(change.family, &change.action),
                &change.action.to_string(),
                &error,
                now,
            );
            let known = self.failed(change, &error, holdings, refresh, now);
            if undo(answer, known, holdings, &mut self.releases, now) {
                // An inventory that came while it was under way has told nothing, and the
                // next one asks again.
                let settle = holdings.capabilities.settle_time;
                refresh.by(now + settle.max(SHORTEST_CHANGE));
            }
            return news.into_iter().collect();
        }
        self.backoff
            .over(CallKind::of(change.family, &change.action));
        done(answer, holdings, &mut self.releases, now)
            .into_iter()
            .collect()
    }

    /// Draws the consequences of a change that failed. Tells whether the outcome is
    /// known.
    fn failed(
        &mut self,
        change: &Change,
        error: &ProviderError,
        holdings: &mut Holdings,
        refresh: &mut InventoryRefresh,
        now: Instant,
    ) -> Known {
        let Change { family, action, .. } = change;
        let (family, kind) = (*family, CallKind::of(*family, action));
        let settle = holdings.capabilities.settle_time;
        let (subnets, doubts) = (&holdings.subnets, holdings.has_doubts());
        match consequence(family, action, error, |id| subnets.knows(id), doubts) {
            Consequence::Pause { at_least } => {
                let pause = self.backoff.pause(kind).max(at_least);
                self.hold(kind, pause, error, now);
            }
            Consequence::Refused { refresh: wanted } => {
                let pause = self.backoff.refusal(kind, self.retries.denied);
                self.hold(kind, pause, error, now);
                if wanted {
                    refresh.by(now + settle);
                }
            }
            Consequence::UnknownSubnet => self.hold(kind, self.retries.subnet, error, now),
            Consequence::SubnetHasLess { subnet, scarcity } => {
                refresh.by(now + settle);
                holdings.subnets.has_less(&subnet, scarcity);
            }
            Consequence::SubnetIsFull {
                subnet,
                scarcity,
                least,
            } => {
                let refusal = Refusal {
                    subnet,
                    family,
                    scarcity,
                    least,
                    reason: error.to_string(),
                };
                let until = now + jittered(self.retries.subnet);
                holdings.subnets.refused(refusal, now, until);
            }
            Consequence::LimitReached(limit) => learn_limit(holdings, family, action, limit, now),
            Consequence::Unanswered { limit } => {
                // A cloud in trouble is asked ever less often, for the inventory too.
                let trust_after = now + self.backoff.pause(kind).max(settle);
                refresh.by(trust_after);
                self.unanswered.push(Unanswered {
                    trust_after,
                    family,
                    action: action.clone(),
                    limit_reached: limit,
                });
                // What a refusal means may need an inventory, but a refused assignment
                // brought nothing: what has filled the interface is somebody else's.
                let refused = error.class != ErrorClass::OutcomeUnknown;
                return match action {
                    Action::Assign { .. } if refused => Known::Yes,
                    _ => Known::No,
                };
            }
        }
        Known::Yes
    }

    /// Leaves the cloud alone with this kind of call.
    fn hold(&mut self, kind: CallKind, pause: Duration, error: &ProviderError, now: Instant) {
        let exhausted = matches!(error.class, ErrorClass::Exhausted { .. });
        let hold = Hold {
            until: now + pause,
            reason: error.to_string(),
            lasting: exhausted || lasts(&error.class),
        };
        self.backoff.hold(kind, hold);
    }

    /// Counts a failure, and puts it into words if it is news.
    fn note_failure(
        &mut self,
        kind: CallKind,
        what: &str,
        error: &ProviderError,
        now: Instant,
    ) -> Option<String> {
        if !self.backoff.failed(kind, error, now) {
            tracing::debug!(what, %error, "cloud call refused again");
            return None;
        }
        tracing::warn!(what, class = error.class.label(), %error, "cloud call failed");
        Some(format!("{what} failed: {error}"))
    }

    /// An inventory could not be had. Tells for how long the cloud is left alone with it,
    /// and what has happened, if that is news.
    pub(super) fn inventory_failed(
        &mut self,
        error: &ProviderError,
        now: Instant,
    ) -> (Duration, Option<String>) {
        let kind = CallKind::Inventory;
        let news = self.note_failure(kind, "look at the inventory", error, now);
        let pause = match lasts(&error.class) {
            true => self.backoff.refusal(kind, self.retries.denied),
            false => self.backoff.pause(kind),
        };
        (pause, news)
    }

    /// An inventory that began at a time has been taken in: ends what was unknown until
    /// then. A refusal that it does not explain tells of limits.
    pub(super) fn inventory_came(
        &mut self,
        began: Instant,
        holdings: &mut Holdings,
        refresh: &mut InventoryRefresh,
    ) {
        self.backoff.over(CallKind::Inventory);
        let all = std::mem::take(&mut self.unanswered).into_iter();
        let (told, left): (Vec<_>, Vec<_>) = all.partition(|one| began >= one.trust_after);
        self.unanswered = left;
        for one in &self.unanswered {
            // This inventory was due for another change and is too old for this one.
            refresh.by(one.trust_after);
        }
        for one in told {
            // What the node holds is not known well enough to learn from while
            // anything of it is in doubt.
            if let Some(limit) = one.limit_reached.filter(|_| !holdings.has_doubts()) {
                learn_limit(holdings, one.family, &one.action, limit, began);
            }
        }
    }

    /// Changes to be made again, because their answer was lost and they were not made for all
    /// that the cloud tells: that costs nothing if they were. What cannot be asked for now,
    /// the next inventory asks for.
    pub(super) fn to_repeat(
        &self,
        findings: &Findings,
        holdings: &Holdings,
        now: Instant,
    ) -> Vec<Change> {
        let detaches = findings.still_attached.iter().map(|interface| {
            let interface = interface.clone();
            (Family::V4, Action::Detach { interface })
        });
        let families = [Family::V4, Family::V6];
        let releases = findings.still_held.iter().flat_map(|(interface, ranges)| {
            families.map(|family| {
                let cidrs = holdings.still_releasing(interface, family, ranges);
                let interface = interface.clone();
                (family, Action::Release { interface, cidrs })
            })
        });
        let is_empty =
            |action: &Action| matches!(action, Action::Release { cidrs, .. } if cidrs.is_empty());
        // Nothing is unknown of the interface, and the back-off after the last failure is
        // over.
        let is_in_doubt = |action: &Action| {
            let mut unanswered = self.unanswered.iter();
            unanswered.any(|one| one.action.interface() == action.interface())
        };
        let is_held = |family: Family, action: &Action| {
            self.backoff.is_held(CallKind::of(family, action), now)
        };
        let all = detaches.chain(releases);
        all.filter(|(_, action)| !is_empty(action) && !is_in_doubt(action))
            .filter(|(family, action)| !is_held(*family, action))
            .map(|(family, action)| Change {
                family,
                action,
                cause: Cause::Repeated,
            })
            .collect()
    }
}

/// Makes one attachment recognisable should its request reach the cloud twice.
fn attach_token(instance: &str) -> String {
    format!("veni-{instance}-{:032x}", random::any::<u128>())
}

#[cfg(test)]
mod tests;
