//! The decision: what is missing is bought at once, what is too much goes back
//! after it has been too much for a while.

use crate::consolidate::consolidate;
use crate::goal::Goal;
use crate::grow::{Growth, grow};
use crate::ledger::{Holdings, Ledger, saturate};
use crate::reasons::{Hopeless, Note, Obstacle};
use crate::shrink::{Excess, excess};
use crate::{Action, Hold, Plan, PlannedAction, Snapshot, Targets};

/// What to do for this snapshot.
#[must_use]
pub fn plan(snapshot: &Snapshot, targets: &Targets) -> Plan {
    let ledger = Ledger::new(snapshot, targets);
    let held = ledger.holdings();
    let goal = Goal::new(snapshot, targets.scheme, ledger.kind, &held);
    if !targets.provisioning {
        return hands_off(snapshot, &ledger, &held);
    }
    let growth = grow(&ledger, &held, &goal);
    let mut plan = Plan {
        next_look_ms: growth.retry_ms,
        ..Plan::default()
    };
    let releasing = Releasing {
        ledger: &ledger,
        held: &held,
        goal: &goal,
        targets,
    };
    releasing.decide(&growth, &mut plan);
    plan.notes
        .splice(0..0, notes(&ledger, &held, &goal, &growth));
    let mut actions = growth.actions;
    actions.append(&mut plan.actions);
    plan.actions = actions;
    if !growth.waits {
        plan.hopeless = hopeless(&ledger, &held, &plan.actions, &growth.obstacles);
    }
    plan
}

/// The plan while nothing may be changed: none, and why.
fn hands_off(snapshot: &Snapshot, ledger: &Ledger<'_>, held: &Holdings) -> Plan {
    let why = Obstacle::ProvisioningDisabled;
    Plan {
        hopeless: hopeless(ledger, held, &[], std::slice::from_ref(&why)),
        notes: vec![Note::Obstacle(why)],
        excess_since_ms: snapshot.excess_since_ms,
        recent_peak: snapshot.recent_peak,
        ..Plan::default()
    }
}

/// Why ADDs wait in vain; `None` when none waits or something may still come.
fn hopeless(
    ledger: &Ledger<'_>,
    held: &Holdings,
    actions: &[PlannedAction],
    obstacles: &[Obstacle],
) -> Option<Hopeless> {
    let waiting = u64::from(ledger.snapshot.demand.waiting);
    let coming = held.cooling > 0 || ledger.changing() || !actions.is_empty();
    if waiting <= held.free_now || coming {
        return None;
    }
    let obstacles = match obstacles {
        // Nothing else stands in the way.
        [] => vec![Obstacle::NodeIsFull {
            held: held.total(),
            max_pods: ledger.snapshot.limits.max_pods,
        }],
        _ => obstacles.to_vec(),
    };
    Some(Hopeless {
        unserved: waiting - held.free_now,
        obstacles,
    })
}

fn notes(ledger: &Ledger<'_>, held: &Holdings, goal: &Goal, growth: &Growth) -> Vec<Note> {
    let under_way = ledger.snapshot.in_flight.iter();
    let under_way = under_way.map(|one| Note::UnderWay(one.action.clone()));
    let mut notes: Vec<Note> = under_way.collect();
    let free = held.free + held.free_other;
    let served = u64::from(ledger.snapshot.demand.waiting) <= free;
    if served && held.usable_of_either_kind() >= goal.usable {
        notes.push(Note::Enough {
            in_use: held.assigned,
            free,
            family: ledger.snapshot.family,
            coming: ledger.growing(),
            cooling: held.cooling,
            needed: goal.usable,
            target: goal.target,
        });
    } else if held.cooling > 0 && growth.actions.is_empty() {
        notes.push(Note::Cooling(held.cooling));
    }
    notes.extend(growth.obstacles.iter().cloned().map(Note::Obstacle));
    notes
}

/// When and what goes back.
struct Releasing<'a> {
    ledger: &'a Ledger<'a>,
    held: &'a Holdings,
    goal: &'a Goal,
    targets: &'a Targets,
}

impl Releasing<'_> {
    /// Excess must last for the release delay, and what the pool needed at any
    /// time during it, cooling addresses included, stays. So demand that swings
    /// faster than the delay never makes the pool give back what it buys again.
    /// While the cloud does not give, nothing goes back: it might not be had again.
    fn decide(&self, growth: &Growth, plan: &mut Plan) {
        let snapshot = self.ledger.snapshot;
        let now = snapshot.now_ms;
        if snapshot.growth_is_held() {
            plan.excess_since_ms = snapshot.excess_since_ms;
            plan.recent_peak = snapshot.recent_peak;
            return;
        }
        let enough = self.held.usable_of_either_kind() >= self.goal.usable;
        let surplus = enough && growth.actions.is_empty() && !self.ledger.growing();
        let found = self.excess(self.goal.keep, surplus);
        if found.is_none() {
            if surplus {
                plan.actions = consolidate(self.ledger, self.held, self.goal);
            }
            return;
        }
        let since = snapshot.excess_since_ms.unwrap_or(now);
        let before = snapshot.excess_since_ms.map_or(0, |_| snapshot.recent_peak);
        let peak = (self.goal.keep + self.held.cooling).max(u64::from(before));
        plan.excess_since_ms = Some(since);
        plan.recent_peak = saturate(peak);
        // What drains goes at once when its place is wanted and nothing else helps.
        let wanted = growth.short && !enough && growth.actions.is_empty();
        let delay = if wanted {
            0
        } else {
            self.targets.release_delay_ms
        };
        let due = since + delay;
        if now < due {
            look(plan, due);
            plan.notes.push(Note::GoesBack {
                addresses: found.addresses,
                wait_ms: due - now,
            });
            return;
        }
        let keep = self.goal.keep.max(peak - self.held.cooling.min(peak));
        let Excess {
            actions, ripe_ms, ..
        } = self.excess(keep, surplus);
        if let Some(ripe) = ripe_ms {
            look(plan, ripe);
        }
        if actions.is_empty() && ripe_ms.is_none() {
            // The recent past needed it all: watch for another such time.
            plan.excess_since_ms = Some(now);
            plan.recent_peak = saturate(self.goal.keep + self.held.cooling);
            look(plan, now + self.targets.release_delay_ms);
            plan.notes.push(Note::NeededLately { peak });
        }
        let (due, held): (Vec<_>, Vec<_>) = actions
            .into_iter()
            .partition(|planned| self.hold_of(&planned.action).is_none());
        plan.actions.extend(due);
        for planned in held {
            if let Some(hold) = self.hold_of(&planned.action) {
                look(plan, hold.until_ms);
                plan.notes.push(Note::Waits {
                    wait_ms: hold.until_ms - now,
                    action: planned.action,
                });
            }
        }
    }

    fn hold_of(&self, action: &Action) -> Option<&Hold> {
        let snapshot = self.ledger.snapshot;
        match action {
            Action::Release { .. } => snapshot.in_force(&snapshot.holds.release),
            Action::Detach { .. } => snapshot.in_force(&snapshot.holds.detach),
            Action::Assign { .. } | Action::Attach { .. } => None,
        }
    }

    fn excess(&self, keep: u64, surplus: bool) -> Excess {
        excess(
            self.ledger,
            self.held,
            self.goal,
            self.targets,
            (keep, surplus),
        )
    }
}

/// Time alone changes the plan at `at_ms`, or earlier.
fn look(plan: &mut Plan, at_ms: u64) {
    plan.next_look_ms = Some(plan.next_look_ms.map_or(at_ms, |first| first.min(at_ms)));
}
