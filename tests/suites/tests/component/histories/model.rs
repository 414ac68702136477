//! What must hold in every history, whatever happened. It reads lines of text and numbers,
//! and shares nothing with Veni, the arithmetic of addresses included.

use std::collections::{BTreeMap, BTreeSet};

use super::log::{Limits, Line, Port, Rest, What};
use super::ranges::{Range, lies_in};

/// What a daemon with certain settings promises.
#[derive(Debug, Clone)]
pub(super) struct Promises {
    /// Milliseconds for which the address of a pod that has ended goes to nobody.
    pub(super) cooldown: u64,
    /// Free addresses that are wanted beyond the pods.
    pub(super) warm: u128,
    /// Per family of calls: its name, calls per second, and calls at once.
    pub(super) budgets: Vec<(&'static str, f64, f64)>,
    /// Calls while nobody asks anything of the daemon, at most.
    pub(super) idle_calls: u64,
}

/// What is known of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Pod {
    /// It has no network.
    #[default]
    Gone,
    /// Its last ADD was answered, and nothing has ended it since.
    Lives(Vec<String>),
    /// A call for it is under way, or was never answered.
    Unsure,
}

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

/// What a pod asked for when it was added last.
#[derive(Debug, Clone, Default)]
struct Asked {
    ports: Vec<Port>,
    limits: Limits,
}

/// An ADD under way.
#[derive(Debug)]
struct Adding {
    pod: String,
    /// The pod had no network when it was called, and nothing else was under way.
    from_nothing: bool,
    /// Meanwhile somebody else may have had one of its ports.
    may_be_taken: bool,
}

/// The code of an ADD one of whose ports leads to another pod.
const TAKEN: u32 = 103;

/// Whether there is a packet for a port of one and for a port of the other.
fn overlap(asked: &BTreeMap<String, Asked>, one: &str, other: &str) -> bool {
    let ports = |pod: &str| asked.get(pod).map_or(&[][..], |asked| &asked.ports);
    ports(one).iter().any(|one| {
        ports(other).iter().any(|other| {
            let hosts = one.host == other.host || one.host.is_empty() || other.host.is_empty();
            one.protocol == other.protocol && one.port == other.port && hosts
        })
    })
}

/// For how long a CHECK may find what somebody took away, milliseconds.
const MENDED_AFTER: u64 = 120_000;

/// Reads a history line by line.
#[derive(Debug)]
struct Model<'a> {
    promises: &'a Promises,
    now: u64,
    pods: BTreeMap<String, Pod>,
    /// The last call that was to make a pod, and the last that was to end it.
    adds: BTreeMap<String, u32>,
    ends: BTreeMap<String, u32>,
    /// Notes about DELs that were left.
    noted: BTreeMap<String, u32>,
    /// What a pod had that a GC may have ended.
    collected: BTreeMap<String, Vec<String>>,
    /// When the pod that last had an address began to end.
    ended_at: BTreeMap<String, u64>,
    /// What each interface holds.
    held: BTreeMap<String, BTreeSet<String>>,
    /// What somebody else assigned.
    others: BTreeMap<String, Use>,
    /// What somebody else has taken away.
    taken: BTreeSet<String>,
    /// Calls that each budget still allows, and as of when.
    budgets: BTreeMap<String, (f64, u64)>,
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
    asked: BTreeMap<String, Asked>,
    adding: BTreeMap<u32, Adding>,
    /// When somebody took ports or limits away, or a daemon began to look after that.
    tampered_at: Option<u64>,
    quiet: bool,
    quiet_calls: u64,
    found: Vec<String>,
}

/// All that must not be, with its time.
pub(super) fn violations(promises: &Promises, lines: &[Line]) -> Vec<String> {
    let mut model = Model {
        promises,
        now: 0,
        pods: BTreeMap::new(),
        adds: BTreeMap::new(),
        ends: BTreeMap::new(),
        noted: BTreeMap::new(),
        collected: BTreeMap::new(),
        ended_at: BTreeMap::new(),
        held: BTreeMap::new(),
        others: BTreeMap::new(),
        taken: BTreeSet::new(),
        budgets: BTreeMap::new(),
        assigning: BTreeSet::new(),
        unclear_until: 0,
        full: false,
        unwritten: false,
        forgetful: false,
        cut_off_before: false,
        asked: BTreeMap::new(),
        adding: BTreeMap::new(),
        tampered_at: None,
        quiet: false,
        quiet_calls: 0,
        found: Vec::new(),
    };
    for line in lines {
        model.now = line.at;
        model.read(&line.what);
    }
    model.found
}

impl Model<'_> {
    fn violated(&mut self, text: &str) {
        let (seconds, millis) = (self.now / 1000, self.now % 1000);
        self.found.push(format!("at {seconds}.{millis:03}: {text}"));
    }

    fn read(&mut self, what: &What) {
        match what {
            What::AddCalled {
                call,
                pod,
                ports,
                limits,
            } => {
                let (ports, limits) = (ports.clone(), *limits);
                self.begins(*call, pod, Asked { ports, limits });
            }
            What::AddAnswered {
                call,
                pod,
                addresses,
            } => self.added(*call, pod, addresses),
            What::DelCalled { call, pod } | What::PodGone { call, pod } => self.ends(*call, pod),
            What::NoteLeft { call, pod } => {
                self.ends(*call, pod);
                self.noted.insert(pod.clone(), *call);
            }
            What::DelAnswered { call, pod } => self.deleted(*call, pod),
            What::GcCalled { call, kept } => {
                let all: Vec<String> = self.pods.keys().cloned().collect();
                for pod in all.iter().filter(|pod| !kept.contains(pod)) {
                    let before = self.pods.get(pod).cloned();
                    self.ends(*call, pod);
                    if let Some(Pod::Lives(addresses)) = before {
                        self.collected.insert(pod.clone(), addresses);
                    }
                }
            }
            What::Checked {
                pod,
                known,
                differences,
            } => self.checked(pod, *known, *differences),
            What::Tampered { .. } => self.tampered_at = Some(self.now),
            What::Ready => {
                self.budgets.clear();
                self.tampered_at = self.tampered_at.map(|_| self.now);
                if std::mem::take(&mut self.cut_off_before) {
                    self.unclear_until = self.now + UNCLEAR;
                    self.forgetful |= !self.others.is_empty();
                }
            }
            What::Ended { .. } => self.ended(),
            What::FolderFull { full } => self.full = *full,
            What::Rebooted => {
                self.forgetful = true;
                self.budgets.clear();
                self.pods.clear();
                self.ended_at.clear();
            }
            What::Holds { interface, ranges } => self.holds(interface, ranges),
            What::Detached { interface } => self.holds(interface, &[]),
            What::OtherGave { ranges } => self.others_gave(ranges, Use::Own),
            What::OtherAttached { ranges } => self.others_gave(ranges, Use::Pods),
            What::OtherTook { ranges } => self.taken.extend(ranges.iter().cloned()),
            What::CloudCalled {
                call,
                operation,
                family,
                changes,
            } => {
                if operation == "assign" {
                    self.unwritten = self.full;
                    self.assigning.insert(*call);
                }
                self.called(family, *changes);
            }
            What::CloudAnswered { call, certain } => {
                if self.assigning.remove(call) && !certain {
                    self.cut_off();
                }
            }
            What::Quiet => (self.quiet, self.quiet_calls) = (true, 0),
            What::AtRest(rest) => self.rested(rest),
            What::Empty { rest, files, links } => {
                self.rested(rest);
                self.emptied(*files, links);
            }
            What::AddFailed { call, pod, code } => {
                self.failed("ADD", *code, &[3, 5, 11, 100, 101, TAKEN]);
                self.refused(*call, pod, *code);
            }
            What::DelFailed { code, .. } => self.failed("DEL", *code, &[101]),
            What::CallerGone { call } => drop(self.adding.remove(call)),
            What::GcAnswered { .. } | What::ClockSet { .. } | What::Weather { .. } => {}
        }
    }

    fn failed(&mut self, command: &str, code: u32, allowed: &[u32]) {
        if !allowed.contains(&code) {
            self.violated(&format!(
                "an unexpected failure: {command} with code {code}"
            ));
        }
    }

    fn begins(&mut self, call: u32, pod: &str, asked: Asked) {
        let name = pod.to_owned();
        let from_nothing = matches!(self.pods.get(pod), None | Some(Pod::Gone));
        self.asked.insert(name.clone(), asked);
        for other in self.adding.values_mut().filter(|other| other.pod != pod) {
            other.may_be_taken |= overlap(&self.asked, &other.pod, pod);
        }
        let mut others = self.pods.iter().filter(|(other, _)| *other != pod);
        let may_be_taken =
            others.any(|(other, known)| *known != Pod::Gone && overlap(&self.asked, other, pod));
        let adding = Adding {
            pod: name,
            from_nothing,
            may_be_taken,
        };
        self.adding.insert(call, adding);
        self.adds.insert(pod.to_owned(), call);
        let pod = self.pods.entry(pod.to_owned()).or_default();
        if *pod == Pod::Gone {
            *pod = Pod::Unsure;
        }
    }

    /// An ADD that was refused for its ports has left nothing.
    fn refused(&mut self, call: u32, pod: &str, code: u32) {
        let Some(adding) = self.adding.remove(&call).filter(|_| code == TAKEN) else {
            return;
        };
        if !adding.may_be_taken {
            self.violated(&format!("a free port was refused: {pod}"));
        }
        let last = self.adds.get(pod) == Some(&call);
        if last && adding.from_nothing {
            self.pods.insert(pod.to_owned(), Pod::Gone);
        }
    }

    /// Nobody else that lives has one of its ports.
    fn led(&mut self, pod: &str) {
        let living = self.living().into_iter().map(|(other, _)| other);
        let mut others = living.filter(|other| *other != pod);
        if let Some(other) = others.find(|other| overlap(&self.asked, other, pod)) {
            let text = format!("two owners of a port: {other} and {pod}");
            self.violated(&text);
        }
    }

    fn added(&mut self, call: u32, pod: &str, addresses: &[String]) {
        self.adding.remove(&call);
        if self.ends.get(pod).is_some_and(|end| *end > call) {
            // It may be gone by now.
            return;
        }
        match self.pods.get(pod) {
            Some(Pod::Lives(known)) if known == addresses => return,
            Some(Pod::Lives(known)) => {
                let text = format!("a changed network: {pod} had {known:?}, now {addresses:?}");
                self.violated(&text);
            }
            _ => {}
        }
        // A GC spares what is as young as itself.
        if self.collected.remove(pod).as_deref() != Some(addresses) {
            for address in addresses {
                self.leased(pod, address);
            }
        }
        self.led(pod);
        let lives = Pod::Lives(addresses.to_vec());
        self.pods.insert(pod.to_owned(), lives);
    }

    fn leased(&mut self, pod: &str, address: &str) {
        let has =
            |other: &Pod| matches!(other, Pod::Lives(all) if all.iter().any(|a| a == address));
        let mut owners = self.pods.iter().filter(|(_, other)| has(other));
        if let Some((owner, _)) = owners.find(|(owner, _)| *owner != pod) {
            let text = format!("two owners: {address} is of {owner} and of {pod}");
            self.violated(&text);
        }
        if let Some(ended) = self.ended_at.get(address)
            && self.now < ended + self.promises.cooldown
        {
            let since = self.now - ended;
            self.violated(&format!(
                "no cooldown: {pod} has {address} after {since} ms"
            ));
        }
        let foreign = self
            .others
            .iter()
            .filter(|(_, what_for)| **what_for == Use::Own);
        if lies_in(address, foreign.map(|(range, _)| range)) {
            self.violated(&format!("another's: {pod} has {address}"));
        }
        let held = lies_in(address, self.held.values().flatten());
        if !held && !lies_in(address, &self.taken) {
            self.violated(&format!("not held: {pod} has {address}"));
        }
    }

    /// Something ends a pod: after the cooldown its addresses may be anybody's.
    fn ends(&mut self, call: u32, pod: &str) {
        self.ends.insert(pod.to_owned(), call);
        self.collected.remove(pod);
        if let Some(known) = self.pods.get_mut(pod)
            && let Pod::Lives(addresses) = known
        {
            let addresses = std::mem::take(addresses);
            *known = Pod::Unsure;
            let now = self.now;
            self.ended_at
                .extend(addresses.into_iter().map(|address| (address, now)));
        }
    }

    fn deleted(&mut self, call: u32, pod: &str) {
        let added_since = self.adds.get(pod).is_some_and(|add| *add > call);
        if !added_since && let Some(known) = self.pods.get_mut(pod) {
            *known = Pod::Gone;
        }
    }

    fn checked(&mut self, pod: &str, known: bool, differences: usize) {
        match self.pods.get(pod) {
            Some(Pod::Lives(_)) if !known => self.violated(&format!("lost: {pod} is not known")),
            Some(Pod::Lives(_)) if differences > 0 && !self.is_tampered() => {
                self.violated(&format!("damaged: {pod} has {differences} differences"));
            }
            Some(Pod::Gone) | None if known => {
                self.violated(&format!("resurrected: {pod} is known"));
            }
            _ => {}
        }
    }

    fn is_tampered(&self) -> bool {
        self.tampered_at
            .is_some_and(|at| self.now < at + MENDED_AFTER)
    }

    fn holds(&mut self, interface: &str, ranges: &[String]) {
        let now: BTreeSet<String> = ranges.iter().cloned().collect();
        let before = self.held.insert(interface.to_owned(), now.clone());
        let before = before.unwrap_or_default();
        for range in now.difference(&before) {
            self.others.remove(range);
            self.taken.remove(range);
        }
        for range in before.difference(&now) {
            let foreign = self.others.remove(range);
            if self.taken.contains(range) {
                continue;
            }
            if matches!(foreign, Some(Use::Own | Use::Pods)) {
                self.violated(&format!("another's: {range} was released"));
            }
            if let Some((pod, address)) = self.living_in(range) {
                let text = format!("released in use: {range} has {address} of {pod}");
                self.violated(&text);
            }
        }
    }

    fn living_in(&self, range: &str) -> Option<(String, String)> {
        let range = Range::read(range)?;
        let inside = |address: &&String| Range::read(address).is_some_and(|a| range.contains(a));
        self.living().into_iter().find_map(|(pod, addresses)| {
            let address = addresses.iter().find(inside)?;
            Some((pod.clone(), address.clone()))
        })
    }

    fn living(&self) -> Vec<(&String, &Vec<String>)> {
        let mut living = Vec::new();
        for (pod, known) in &self.pods {
            if let Pod::Lives(addresses) = known {
                living.push((pod, addresses));
            }
        }
        living
    }

    fn others_gave(&mut self, ranges: &[String], mut what_for: Use) {
        if self.now < self.unclear_until || !self.assigning.is_empty() {
            what_for = Use::Unclear;
            // Where more has come than was asked for, all of it is kept.
            self.forgetful = true;
        }
        let ranges = ranges.iter().map(|range| (range.clone(), what_for));
        self.others.extend(ranges);
    }

    fn ended(&mut self) {
        self.adding.clear();
        // A call may have been noted that never left.
        self.cut_off();
        self.cut_off_before |= self.now < self.unclear_until;
        self.forgetful |= self.full || self.unwritten;
    }

    /// An assignment without an answer: what others assign about then may be taken for it.
    fn cut_off(&mut self) {
        self.unclear_until = self.now + UNCLEAR;
        for what_for in self.others.values_mut() {
            *what_for = Use::Unclear;
        }
    }

    fn called(&mut self, family: &str, changes: bool) {
        let budget = self.promises.budgets.iter().find(|one| one.0 == family);
        if let Some((_, per_second, burst)) = budget {
            let full = (*burst, self.now);
            let (level, at) = *self.budgets.entry(family.to_owned()).or_insert(full);
            #[expect(clippy::cast_precision_loss, reason = "a few hours in milliseconds")]
            let gained = (self.now - at) as f64 * per_second / 1000.0;
            let level = (level + gained).min(*burst) - 1.0;
            self.budgets.insert(family.to_owned(), (level, self.now));
            if level < -1e-6 {
                self.violated(&format!("over budget: calls of {family}"));
            }
        }
        if self.quiet {
            self.quiet_calls += 1;
            if changes {
                self.violated("restless: a change while nothing is asked");
            }
        }
    }

    /// Nothing has been asked for a long time: all agree, and the pool has what it wants.
    fn rested(&mut self, rest: &Rest) {
        if self.quiet_calls > self.promises.idle_calls {
            let calls = self.quiet_calls;
            self.violated(&format!("restless: {calls} calls while nothing is asked"));
        }
        (self.quiet, self.quiet_calls) = (false, 0);
        for (pod, call) in std::mem::take(&mut self.noted) {
            self.deleted(call, &pod);
        }
        let told: BTreeSet<(String, String)> = rest.pool.iter().cloned().collect();
        let held = self.held.iter();
        let held: BTreeSet<(String, String)> = held
            .flat_map(|(id, ranges)| ranges.iter().map(|range| (id.clone(), range.clone())))
            .collect();
        for lost in held.difference(&told) {
            self.violated(&format!("unaccounted: the pool does not know {lost:?}"));
        }
        for surplus in told.difference(&held) {
            if lies_in(&surplus.1, &self.taken) && self.living_in(&surplus.1).is_some() {
                // What a pod has stays until it ends.
                continue;
            }
            self.violated(&format!("unaccounted: the cloud does not know {surplus:?}"));
        }
        self.routed(&rest.routes);
        self.ported(&rest.ports);
        self.targeted();
    }

    /// The ports of those who live lead to them, and no others do.
    fn ported(&mut self, ports: &[(Port, String)]) {
        let mut wanted = BTreeSet::new();
        for (pod, addresses) in self.living() {
            let asked = self.asked.get(pod).into_iter();
            for port in asked.flat_map(|asked| &asked.ports) {
                wanted.extend(addresses.iter().map(|to| (port.clone(), to.clone())));
            }
        }
        let led: BTreeSet<(Port, String)> = ports.iter().cloned().collect();
        for (port, to) in wanted.difference(&led) {
            self.violated(&format!("lost port: {port:?} does not lead to {to}"));
        }
        let unsure = self.pods.iter().filter(|(_, pod)| **pod == Pod::Unsure);
        let unsure = unsure.filter_map(|(pod, _)| self.asked.get(pod));
        let unsure: Vec<Port> = unsure.flat_map(|asked| asked.ports.clone()).collect();
        for (port, to) in led.difference(&wanted) {
            if !unsure.contains(port) {
                self.violated(&format!("port of nobody: {port:?} leads to {to}"));
            }
        }
    }

    /// Whoever lives has a route and the limits that it asked for, and nobody else has.
    fn routed(&mut self, routes: &[(String, Limits)]) {
        let mut limits = Vec::new();
        for (pod, addresses) in self.living() {
            let asked = self
                .asked
                .get(pod)
                .map_or((None, None), |asked| asked.limits);
            let of_it = routes.iter().filter(|(to, _)| addresses.contains(to));
            limits.extend(of_it.map(|(to, found)| (to.clone(), *found, asked)));
        }
        for (to, found, asked) in limits {
            if found != asked {
                self.violated(&format!("limits: {to} has {found:?} instead of {asked:?}"));
            }
        }
        let living = self.living().into_iter();
        let wanted: BTreeSet<String> = living.flat_map(|(_, all)| all.iter().cloned()).collect();
        let routes: BTreeSet<String> = routes.iter().map(|(to, _)| to.clone()).collect();
        for missing in wanted.difference(&routes) {
            self.violated(&format!("lost: no route to {missing}"));
        }
        let unsure = self
            .pods
            .values()
            .filter(|pod| **pod == Pod::Unsure)
            .count();
        let surplus: Vec<&String> = routes.difference(&wanted).collect();
        if surplus.len() > unsure {
            self.violated(&format!("resurrected: routes to {surplus:?}"));
        }
    }

    fn targeted(&mut self) {
        if self.pods.values().any(|pod| *pod == Pod::Unsure) {
            return;
        }
        let all: BTreeSet<String> = self.held.values().flatten().cloned().collect();
        let for_pods = |range: &&String| self.others.get(*range) != Some(&Use::Own);
        let own = |range: &&String| !self.others.contains_key(*range);
        let size = |range: &String| Range::read(range).map_or(0, Range::size);
        let living = self.living().into_iter();
        let pods: Vec<String> = living.flat_map(|(_, all)| all.iter().cloned()).collect();
        let count = |ranges: Vec<&String>| -> u128 {
            let inside = |pod: &&String| lies_in(pod, ranges.iter().copied());
            let used = pods.iter().filter(inside).count() as u128;
            ranges.iter().map(|range| size(range)).sum::<u128>() - used
        };
        let most = count(all.iter().filter(for_pods).collect());
        let least = count(all.iter().filter(own).collect());
        let warm = self.promises.warm;
        let unused = |range: &&String| self.living_in(range).is_none();
        let idle = all
            .iter()
            .filter(own)
            .find(|range| unused(range) && least - size(range) >= warm)
            .cloned();
        if most < warm {
            self.violated(&format!("below target: {most} free of {warm}"));
        }
        // What it brought is kept as somebody else's when the record of it was lost.
        if let Some(range) = idle
            && !self.forgetful
        {
            self.violated(&format!("above target: {range} of {least} free of {warm}"));
        }
    }

    fn emptied(&mut self, files: usize, links: &[String]) {
        if files > 0 {
            self.violated(&format!("left behind: {files} files of the journal"));
        }
        if !links.is_empty() {
            self.violated(&format!("left behind: links {links:?}"));
        }
    }
}
