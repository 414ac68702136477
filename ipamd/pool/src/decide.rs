//! The decision: what is missing is bought at once, what is too much goes back
//! after it has been too much for a while.

use crate::consolidate::consolidate;
use crate::goal::Goal;
use crate::grow::{Growth, grow};
use crate::ledger::{Holdings, Ledger, saturate};
use crate::plan::seconds;
use crate::shrink::{Excess, excess};
use crate::{Plan, PlannedAction, Snapshot, Targets};

/// What to do for this snapshot.
#[must_use]
pub fn plan(snapshot: &Snapshot, targets: &Targets) -> Plan {
    let ledger = Ledger::new(snapshot, targets);
    let held = ledger.holdings();
    let goal = Goal::new(snapshot, targets.scheme, ledger.kind, &held);
    if let Some(plan) = on_hold(snapshot, targets, &ledger, &held) {
        return plan;
    }
    let growth = grow(&ledger, &held, &goal);
    let mut plan = Plan {
        next_look_ms: growth.retry_ms,
        ..Plan::default()
    };
    let give_back = GiveBack {
        ledger: &ledger,
        held: &held,
        goal: &goal,
        targets,
    };
    give_back.decide(&growth, &mut plan);
    plan.notes
        .splice(0..0, notes(&ledger, &held, &goal, &growth));
    let mut actions = growth.actions;
    actions.append(&mut plan.actions);
    plan.actions = actions;
    plan.hopeless = hopeless(&ledger, &held, &plan.actions, &growth.obstacles);
    plan
}

/// The plan while nothing may be changed: none, and why.
fn on_hold(
    snapshot: &Snapshot,
    targets: &Targets,
    ledger: &Ledger<'_>,
    held: &Holdings,
) -> Option<Plan> {
    let until = snapshot
        .hold_until_ms
        .filter(|until| *until > snapshot.now_ms);
    let mut refusal = None;
    let note = if !targets.provisioning {
        let text = "DISABLE_NETWORK_RESOURCE_PROVISIONING is set: the pool is not changed";
        refusal = Some(text.to_owned());
        text.to_owned()
    } else {
        let wait = seconds(until? - snapshot.now_ms);
        match &snapshot.denied {
            Some(denied) => {
                refusal = Some(denied.clone());
                format!("the cloud refuses changes, asked again in {wait}: {denied}")
            }
            None => format!("the cloud takes no changes now, asked again in {wait}"),
        }
    };
    Some(Plan {
        notes: vec![note],
        excess_since_ms: snapshot.excess_since_ms,
        recent_peak: snapshot.recent_peak,
        hopeless: refusal.and_then(|text| hopeless(ledger, held, &[], &[text])),
        next_look_ms: until,
        ..Plan::default()
    })
}

/// Why ADDs wait in vain; `None` when none waits or something may still come.
fn hopeless(
    ledger: &Ledger<'_>,
    held: &Holdings,
    actions: &[PlannedAction],
    obstacles: &[String],
) -> Option<String> {
    let waiting = u64::from(ledger.snapshot.demand.waiting);
    let coming = held.cooling > 0 || ledger.changing() || !actions.is_empty();
    if waiting <= held.free_now || coming {
        return None;
    }
    let unserved = waiting - held.free_now;
    let why = match obstacles {
        [] => at_the_limit(ledger, held),
        _ => obstacles.join("; "),
    };
    Some(format!("no address can come for {unserved} waiting: {why}"))
}

/// The reason when nothing else stands in the way.
fn at_the_limit(ledger: &Ledger<'_>, held: &Holdings) -> String {
    let (total, limit) = (held.total(), ledger.snapshot.limits.max_pods);
    format!("the pool holds {total} addresses, and the node may run {limit} pods at most")
}

fn notes(ledger: &Ledger<'_>, held: &Holdings, goal: &Goal, growth: &Growth) -> Vec<String> {
    let mut notes = Vec::new();
    for under_way in &ledger.snapshot.in_flight {
        notes.push(format!("under way: {}", under_way.action));
    }
    let free = held.free + held.free_other;
    let served = u64::from(ledger.snapshot.demand.waiting) <= free;
    if served && held.usable_of_either_kind() >= goal.usable {
        let Holdings {
            assigned, cooling, ..
        } = *held;
        let (usable, label) = (goal.usable, &goal.label);
        let here = if ledger.growing() {
            "free or coming"
        } else {
            "free"
        };
        notes.push(format!(
            "enough: {assigned} in use, {free} {here}, {cooling} cooling; {usable} usable needed ({label})"
        ));
    } else if held.cooling > 0 && growth.actions.is_empty() {
        notes.push(format!("{} addresses are cooling", held.cooling));
    }
    notes.extend(growth.obstacles.iter().cloned());
    notes
}

/// When and what goes back.
struct GiveBack<'a> {
    ledger: &'a Ledger<'a>,
    held: &'a Holdings,
    goal: &'a Goal,
    targets: &'a Targets,
}

impl GiveBack<'_> {
    /// Excess must last for the release delay, and what the pool needed at any
    /// time during it, cooling addresses included, stays. So demand that swings
    /// faster than the delay never makes the pool give back what it buys again.
    fn decide(&self, growth: &Growth, plan: &mut Plan) {
        let snapshot = self.ledger.snapshot;
        let now = snapshot.now_ms;
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
            plan.notes.push(pending(&found, due - now));
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
            plan.notes.push(format!(
                "{peak} addresses were needed lately: nothing goes back yet"
            ));
        }
        plan.actions.extend(actions);
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

fn pending(found: &Excess, wait_ms: u64) -> String {
    let wait = seconds(wait_ms);
    match found.addresses {
        0 => format!("an interface is not needed; it goes in {wait} at the earliest"),
        1 => format!("1 address more than needed goes back in {wait} unless demand returns"),
        more => {
            format!("{more} addresses more than needed go back in {wait} unless demand returns")
        }
    }
}

/// Time alone changes the plan at `at_ms`, or earlier.
fn look(plan: &mut Plan, at_ms: u64) {
    plan.next_look_ms = Some(plan.next_look_ms.map_or(at_ms, |first| first.min(at_ms)));
}
