//! What the node holds in the cloud: who assigned it, who may take it away, and how much
//! there should be.

use std::collections::{BTreeMap, BTreeSet};

use super::super::log::Rest;
use super::super::ranges::{Range, lies_in};
use super::pods::Pods;

/// What somebody else's assignment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Something of their own.
    Own,
    /// It was there when its interface was first seen: pods may have it, and it is kept.
    Pods,
    /// It may be taken for an assignment of the daemon's that was never answered.
    Unclear,
}

/// How long an assignment that was never answered may take to show, milliseconds.
const UNCLEAR: u64 = 300_000;

/// The node's interfaces.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// What each interface holds.
    held: BTreeMap<String, BTreeSet<String>>,
    /// What somebody else assigned.
    others: BTreeMap<String, Use>,
    /// What somebody else has taken away.
    taken: BTreeSet<String>,
    /// Calls under way that assign.
    assigning: BTreeSet<u32>,
    /// Nobody can tell until then whose an assignment is.
    unclear_until: u64,
    /// The run folder takes no file; a daemon that dies then loses what it assigned last.
    full: bool,
    /// It took no file when an assignment was last to be written down.
    unwritten: bool,
    forgetful: bool,
    /// The next daemon still waits for what a call of an earlier one brought.
    cut_off_before: bool,
}

impl Pool {
    /// All that an interface holds from now on. Nobody takes from a pod what it has, nor from
    /// others what they assigned, but others themselves.
    pub(super) fn holds(&mut self, interface: &str, ranges: &[String], pods: &Pods) -> Vec<String> {
        let now: BTreeSet<String> = ranges.iter().cloned().collect();
        let before = self.held.insert(interface.to_owned(), now.clone());
        let before = before.unwrap_or_default();
        for range in now.difference(&before) {
            self.others.remove(range);
            self.taken.remove(range);
        }
        let mut found = Vec::new();
        for range in before.difference(&now) {
            let foreign = self.others.remove(range);
            if self.taken.contains(range) {
                continue;
            }
            if matches!(foreign, Some(Use::Own | Use::Pods)) {
                found.push(format!("another's: {range} was released"));
            }
            if let Some((pod, address)) = pods.living_in(range) {
                found.push(format!("released in use: {range} has {address} of {pod}"));
            }
        }
        found
    }

    /// A pod is given an address: the node has it, and nobody else has assigned it for
    /// themselves.
    pub(super) fn leased(&self, pod: &str, address: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut others = self.others.iter();
        let own = others
            .by_ref()
            .filter(|(_, what_for)| **what_for == Use::Own);
        if lies_in(address, own.map(|(range, _)| range)) {
            found.push(format!("another's: {pod} has {address}"));
        }
        let held = lies_in(address, self.held.values().flatten());
        if !held && !lies_in(address, &self.taken) {
            found.push(format!("not held: {pod} has {address}"));
        }
        found
    }

    /// Somebody else has assigned these to an interface that was there before.
    pub(super) fn others_gave(&mut self, ranges: &[String], now: u64) {
        self.others_assigned(ranges, Use::Own, now);
    }

    /// Somebody else has attached an interface with these.
    pub(super) fn others_attached(&mut self, ranges: &[String], now: u64) {
        self.others_assigned(ranges, Use::Pods, now);
    }

    fn others_assigned(&mut self, ranges: &[String], mut what_for: Use, now: u64) {
        if now < self.unclear_until || !self.assigning.is_empty() {
            what_for = Use::Unclear;
            // Where more has come than was asked for, all of it is kept.
            self.forgetful = true;
        }
        let ranges = ranges.iter().map(|range| (range.clone(), what_for));
        self.others.extend(ranges);
    }

    /// Somebody else is about to take these away.
    pub(super) fn others_take(&mut self, ranges: &[String]) {
        self.taken.extend(ranges.iter().cloned());
    }

    /// The run folder takes files, or does not.
    pub(super) fn folder_is_full(&mut self, full: bool) {
        self.full = full;
    }

    /// The daemon calls the cloud to assign.
    pub(super) fn assigns(&mut self, call: u32) {
        self.unwritten = self.full;
        self.assigning.insert(call);
    }

    /// A call has ended, and the daemon knows what came of it or does not.
    pub(super) fn answered(&mut self, call: u32, certain: bool, now: u64) {
        if self.assigning.remove(&call) && !certain {
            self.cut_off(now);
        }
    }

    /// The daemon ends.
    pub(super) fn ended(&mut self, now: u64) {
        // A call may have been noted that never left.
        self.cut_off(now);
        self.cut_off_before |= now < self.unclear_until;
        self.forgetful |= self.full || self.unwritten;
    }

    /// The next one begins.
    pub(super) fn begins(&mut self, now: u64) {
        if std::mem::take(&mut self.cut_off_before) {
            self.unclear_until = now + UNCLEAR;
            self.forgetful |= !self.others.is_empty();
        }
    }

    /// The node started anew.
    pub(super) fn rebooted(&mut self) {
        self.forgetful = true;
    }

    /// An assignment without an answer: what others assign about then may be taken for it.
    fn cut_off(&mut self, now: u64) {
        self.unclear_until = now + UNCLEAR;
        for what_for in self.others.values_mut() {
            *what_for = Use::Unclear;
        }
    }

    /// After a long time the daemon's pool knows what the node holds, and there is as much as
    /// it wants.
    pub(super) fn rested(&self, rest: &Rest, warm: u128, pods: &Pods) -> Vec<String> {
        let told: BTreeSet<(String, String)> = rest.pool.iter().cloned().collect();
        let held = self.held.iter();
        let held: BTreeSet<(String, String)> = held
            .flat_map(|(id, ranges)| ranges.iter().map(|range| (id.clone(), range.clone())))
            .collect();
        let lost = held.difference(&told);
        let mut found: Vec<String> = lost
            .map(|lost| format!("unaccounted: the pool does not know {lost:?}"))
            .collect();
        // What a pod has stays until it ends, also if nobody was told that it lives: then
        // there is a route to it.
        let living: Vec<&String> = pods.living().flat_map(|(_, all)| all).collect();
        let routes = rest.routes.iter().map(|(to, _)| to);
        let untold: Vec<&String> = routes.filter(|to| !living.contains(to)).collect();
        let has_pod = |range: &String| {
            let mut untold = untold.iter();
            let may_live = pods.unsure().next().is_some();
            pods.living_in(range).is_some() || (may_live && untold.any(|to| lies_in(to, [range])))
        };
        let stays = |range: &String| lies_in(range, &self.taken) && has_pod(range);
        let surplus = told.difference(&held);
        let surplus = surplus.filter(|surplus| !stays(&surplus.1));
        found.extend(
            surplus.map(|surplus| format!("unaccounted: the cloud does not know {surplus:?}")),
        );
        if pods.unsure().next().is_none() {
            found.extend(self.targeted(warm, pods));
        }
        found
    }

    fn targeted(&self, warm: u128, pods: &Pods) -> Vec<String> {
        let all: BTreeSet<&String> = self.held.values().flatten().collect();
        let for_pods = |range: &&&String| self.others.get(**range) != Some(&Use::Own);
        let own = |range: &&&String| !self.others.contains_key(**range);
        let size = |range: &String| Range::read(range).map_or(0, Range::size);
        let used: Vec<&String> = pods.living().flat_map(|(_, all)| all).collect();
        let count = |ranges: Vec<&String>| -> u128 {
            let inside = |pod: &&&String| lies_in(pod, ranges.iter().copied());
            let used = used.iter().filter(inside).count() as u128;
            ranges.iter().map(|range| size(range)).sum::<u128>() - used
        };
        let most = count(all.iter().filter(for_pods).copied().collect());
        let least = count(all.iter().filter(own).copied().collect());
        let mut found = Vec::new();
        if most < warm {
            found.push(format!("below target: {most} free of {warm}"));
        }
        let unused = |range: &&&String| pods.living_in(range).is_none();
        let mut idle = all.iter().filter(own).filter(unused);
        // What it brought is kept as somebody else's when the record of it was lost.
        if !self.forgetful
            && let Some(range) = idle.find(|range| least - size(range) >= warm)
        {
            found.push(format!("above target: {range} of {least} free of {warm}"));
        }
        found
    }
}
