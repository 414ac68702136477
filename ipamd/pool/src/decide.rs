//! The decision: what is missing is bought at once, what is too much goes back
//! after it has been too much for a while.

use crate::consolidate::consolidate;
use crate::goal::Goal;
use crate::grow::{Growth, grow};
use crate::ledger::{Holdings, Ledger, saturate};
use crate::plan::seconds;
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
    if !growth.waits {
        plan.hopeless = hopeless(&ledger, &held, &plan.actions, &growth.obstacles);
    }
    plan
}

/// The plan while nothing may be changed: none, and why.
fn hands_off(snapshot: &Snapshot, ledger: &Ledger<'_>, held: &Holdings) -> Plan {
    let text = "DISABLE_NETWORK_RESOURCE_PROVISIONING is set: the pool is not changed".to_owned();
    Plan {
        hopeless: hopeless(ledger, held, &[], std::slice::from_ref(&text)),
        notes: vec![text],
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
            "enough: {assigned} in use, {} {here}, {cooling} cooling; {usable} usable needed ({label})",
            amount(free)
        ));
    } else if held.cooling > 0 && growth.actions.is_empty() {
        notes.push(format!("{} addresses are cooling", held.cooling));
    }
    notes.extend(growth.obstacles.iter().cloned());
    notes
}

/// Addresses in words where there are IPv6 prefixes among them, which nobody counts.
fn amount(addresses: u64) -> String {
    let prefix = u64::from(u32::MAX); // as the ledger counts a /80
    match addresses.div_ceil(prefix) {
        _ if addresses <= prefix / 2 => addresses.to_string(),
        1 => "the rest of a /80".to_owned(),
        several => format!("the rest of {several} /80s"),
    }
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
        let (due, held): (Vec<_>, Vec<_>) = actions
            .into_iter()
            .partition(|planned| self.hold_of(&planned.action).is_none());
        plan.actions.extend(due);
        for planned in held {
            if let Some(hold) = self.hold_of(&planned.action) {
                look(plan, hold.until_ms);
                let wait = seconds(hold.until_ms - now);
                plan.notes.push(format!("waits {wait}: {}", planned.action));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_ipv6_prefixes_are_told_in_words() {
        let prefix = u64::from(u32::MAX);
        assert_eq!(amount(31), "31");
        assert_eq!(amount(prefix - 3), "the rest of a /80");
        assert_eq!(amount(2 * prefix - 3), "the rest of 2 /80s");
    }
}
