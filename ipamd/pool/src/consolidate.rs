//! Moving free addresses from emptier interfaces to fuller ones that have
//! empty slots. What is left behind is excess then, and an interface on which
//! no free address stays gets no more pods, runs empty and can be detached.

use crate::goal::Goal;
use crate::ledger::{Holdings, Ledger, Line, saturate};
use crate::subnets::Subnets;
use crate::{Action, PlannedAction, Reason};
use std::cmp::Reverse;
use veni_nouns::InterfaceId;

/// How many times as many pods an interface must have to be clearly fuller than
/// one whose addresses in use or cooling are counted: with less, changing pods
/// would turn the order round again and again.
const CLEARLY_FULLER: u64 = 3;

/// The assignments that replace what is free on the emptiest interface; none
/// when no fuller one has room.
///
/// "Fuller" is the order in which pods are packed, interfaces are filled and
/// slots are released, so nothing is ever moved back and forth.
pub(crate) fn consolidate(ledger: &Ledger<'_>, held: &Holdings, goal: &Goal) -> Vec<PlannedAction> {
    let abilities = &ledger.snapshot.abilities;
    let holds = &ledger.snapshot.holds;
    if ledger.snapshot.in_force(&holds.release).is_some() {
        // What is replaced would stay.
        return Vec::new();
    }
    if !abilities.attach || !abilities.release || goal.whole.is_some() || ledger.changing() {
        return Vec::new();
    }
    // Nothing is under way from here on, so each interface is ready and idle.
    let limit = u64::from(ledger.snapshot.limits.max_pods);
    let allowed = limit.saturating_sub(held.total()) / ledger.size();
    let mut lines: Vec<_> = ledger.lines.iter().filter(|line| line.serves()).collect();
    lines.sort_by_key(|line| (Reverse(line.assigned()), line.order));
    while let Some(from) = lines.pop() {
        if from.interface.primary {
            continue;
        }
        let slots = (from.spare(ledger.kind).count() as u64).min(allowed);
        let lively = from.assigned() + from.cooling();
        let fuller = |line: &&&Line<'_>| {
            let pods = line.assigned();
            pods >= CLEARLY_FULLER * lively && (pods > 0 || line.interface.primary)
        };
        let fuller: Vec<_> = lines.iter().filter(fuller).copied().collect();
        let moves = move_to(ledger, &fuller, slots, &from.interface.id);
        if !moves.is_empty() {
            return moves;
        }
    }
    Vec::new()
}

/// Assignments of up to `slots` to these lines.
fn move_to(
    ledger: &Ledger<'_>,
    lines: &[&Line<'_>],
    slots: u64,
    from: &InterfaceId,
) -> Vec<PlannedAction> {
    let kind = ledger.kind;
    let batch = u64::from(ledger.snapshot.abilities.batch.max(1));
    let mut subnets = Subnets::new(ledger);
    let (mut left, mut actions) = (slots, Vec::new());
    for line in lines {
        let subnet = &line.interface.subnet;
        let room = line.room(ledger.snapshot.limits.slots_per_interface);
        if subnets.shortage(subnet, kind).is_some() {
            continue;
        }
        let count = room.min(left).min(batch).min(subnets.room(subnet, kind));
        if count > 0 {
            left -= count;
            subnets.take(subnet, kind, count);
            let interface = line.interface.id.clone();
            let action = Action::Assign {
                interface,
                kind,
                count: saturate(count),
            };
            let reason = Reason::Replaces { from: from.clone() };
            actions.push(PlannedAction { action, reason });
        }
    }
    actions
}
