//! A small cloud with rules, and a node in it: enough to let plans run.
//!
//! It shares no code with the planner: it keeps every address on its own and
//! checks each action against what is really in use before it happens.

use crate::vpc::{Addresses, Nic, Subnet, capacity, kind_of, size};
use ipnet::{IpNet, Ipv4Net};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use veni_pool::choose::{Candidate, pick};
use veni_pool::{
    Action, CloudAbilities, Demand, Family, Hold, Holds, InFlight, InterfaceId, InterfaceSnapshot,
    InterfaceState, NodeLimits, Plan, Slot, SlotKind, Snapshot, SubnetId, SubnetSnapshot, Targets,
    plan,
};

/// How long an address cools.
pub(crate) const COOLDOWN_MS: u64 = 30_000;
/// How long an exhausted subnet is left alone.
pub(crate) const RETRY_MS: u64 = 120_000;

/// What the next calls come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// They work.
    Fair,
    /// They fail and change nothing; the node pauses for five seconds.
    Failing,
    /// They take this many times as long.
    Slow(u64),
}

/// The node and its cloud.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) targets: Targets,
    pub(crate) abilities: CloudAbilities,
    pub(crate) limits: NodeLimits,
    pub(crate) subnets: Vec<Subnet>,
    pub(crate) weather: Weather,
    pub(crate) waiting: u32,
    pub(crate) expected: u32,
    /// Calls started so far, with their time.
    pub(crate) calls: Vec<(u64, Action)>,
    pub(crate) last_plan: Plan,
    /// Milliseconds an assignment takes; an attachment takes eight times as long.
    pub(crate) latency_ms: u64,
    pub(crate) cooldown_ms: u64,
    nics: Vec<Nic>,
    /// Pods in order of arrival, with their address.
    pods: Vec<(usize, IpNet, u32)>,
    in_flight: Vec<(u64, Action, Weather)>,
    hold_until: Option<u64>,
    made: u32,
}

impl World {
    pub(crate) fn new(limits: NodeLimits, targets: Targets) -> Self {
        let primary = Nic {
            id: "eni-0".into(),
            subnet: 0,
            primary: true,
            for_pods: true,
            attached_ms: 0,
            slots: BTreeMap::new(),
        };
        Self {
            now_ms: 0,
            targets,
            abilities: CloudAbilities {
                attach: true,
                prefixes: true,
                release: true,
                batch: 50,
            },
            limits,
            subnets: vec![Subnet::new(4096, 4096)],
            weather: Weather::Fair,
            waiting: 0,
            expected: 0,
            calls: Vec::new(),
            last_plan: Plan::default(),
            latency_ms: 300,
            cooldown_ms: COOLDOWN_MS,
            nics: vec![primary],
            pods: Vec::new(),
            in_flight: Vec::new(),
            hold_until: None,
            made: 0,
        }
    }

    /// A node on which every change is instant and nothing cools.
    pub(crate) fn instant(limits: NodeLimits, targets: Targets) -> Self {
        Self {
            latency_ms: 0,
            cooldown_ms: 0,
            ..Self::new(limits, targets)
        }
    }

    pub(crate) fn pods(&self) -> u32 {
        self.pods.len() as u32
    }

    pub(crate) fn interfaces(&self) -> usize {
        self.nics.len()
    }

    pub(crate) fn pods_by_interface(&self) -> Vec<u32> {
        self.nics.iter().map(Nic::pods).collect()
    }

    /// Slots of a kind.
    pub(crate) fn slots(&self, kind: SlotKind) -> u32 {
        let slots = self.nics.iter().flat_map(|nic| nic.slots.keys());
        slots.filter(|cidr| kind_of(cidr) == kind).count() as u32
    }

    /// What counts towards the limit of pods: whatever pods use or has cooled,
    /// and what is free in slots of the mode's kind; all that is free when single
    /// addresses stand in for prefixes.
    fn counted_total(&self, kind: SlotKind) -> u32 {
        let stands_in = kind != self.targets.mode;
        let slots = self
            .nics
            .iter()
            .flat_map(|nic| nic.slots.iter().map(move |slot| (nic, slot)));
        slots
            .map(|(nic, (cidr, slot))| {
                let counts = nic.for_pods && (stands_in || kind_of(cidr) == self.targets.mode);
                let busy = (slot.used.len() + slot.cooling.len()) as u32;
                if counts { capacity(cidr) } else { busy }
            })
            .sum()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let releasing = |cidr: &IpNet| {
            self.in_flight.iter().any(
                |(_, action, _)| matches!(action, Action::Release { cidrs, .. } if cidrs.contains(cidr)),
            )
        };
        let interfaces = self.nics.iter().map(|nic| InterfaceSnapshot {
            id: nic.id.clone(),
            subnet: SubnetId::new(format!("subnet-{}", nic.subnet)),
            network_card: 0,
            primary: nic.primary,
            for_pods: nic.for_pods,
            managed: true,
            kept: false,
            state: InterfaceState::Attached,
            in_service: true,
            age_ms: self.now_ms - nic.attached_ms,
            slots: nic
                .slots
                .iter()
                .map(|(cidr, slot)| Slot {
                    cidr: *cidr,
                    assigned: slot.used.len() as u32,
                    cooling: slot.cooling.len() as u32,
                    unavailable: 0,
                    kept: false,
                    releasing: releasing(cidr),
                    in_doubt: false,
                })
                .collect(),
        });
        let subnets = self
            .subnets
            .iter()
            .enumerate()
            .map(|(number, subnet)| SubnetSnapshot {
                id: SubnetId::new(format!("subnet-{number}")),
                free_addresses: subnet.free(),
                usable: true,
                no_addresses_until_ms: subnet.no_addresses_until,
                no_prefixes_until_ms: subnet.no_prefixes_until,
            });
        Snapshot {
            now_ms: self.now_ms,
            family: Family::V4,
            abilities: self.abilities,
            limits: self.limits,
            interfaces: interfaces.collect(),
            subnets: subnets.collect(),
            in_flight: self
                .in_flight
                .iter()
                .map(|(_, action, _)| InFlight {
                    action: action.clone(),
                })
                .collect(),
            demand: Demand {
                waiting: self.waiting,
                expected: self.expected,
            },
            excess_since_ms: self.last_plan.excess_since_ms,
            recent_peak: self.last_plan.recent_peak,
            holds: self.holds(),
        }
    }

    /// After a failure nothing is asked for a while.
    fn holds(&self) -> Holds {
        let hold = self.hold_until.map(|until_ms| Hold {
            until_ms,
            refusal: None,
        });
        Holds {
            assign: hold.clone(),
            attach: hold.clone(),
            release: hold.clone(),
            detach: hold,
        }
    }

    /// Serves who waits, plans, starts the plan and looks that a second plan
    /// starts nothing more.
    pub(crate) fn tick(&mut self) {
        self.serve();
        let made = plan(&self.snapshot(), &self.targets);
        self.last_plan = made.clone();
        for planned in &made.actions {
            assert!(
                !planned.reason.to_string().is_empty(),
                "no reason for {}",
                planned.action
            );
            self.start(planned.action.clone());
        }
        if !self.in_flight.is_empty() {
            let again = plan(&self.snapshot(), &self.targets);
            assert!(
                again.actions.is_empty(),
                "a second plan adds to the first:\n{made}\n{again}"
            );
        }
    }

    fn start(&mut self, action: Action) {
        if let Some(id) = action.interface() {
            let busy = self
                .in_flight
                .iter()
                .any(|(_, other, _)| other.interface() == Some(id));
            assert!(!busy, "two actions at once on {id}: {action}");
        }
        let base = match action {
            Action::Attach { .. } | Action::Detach { .. } => self.latency_ms * 8,
            Action::Assign { .. } | Action::Release { .. } => self.latency_ms,
        };
        let slowness = if let Weather::Slow(times) = self.weather {
            times
        } else {
            1
        };
        self.calls.push((self.now_ms, action.clone()));
        if let Action::Assign { kind, count, .. } | Action::Attach { kind, count, .. } = &action {
            self.check_growth(*kind, *count);
        }
        if let Action::Release { interface, cidrs } = &action {
            let nic = self.nic(interface);
            for cidr in cidrs {
                let slot = &self.nics[nic].slots[cidr];
                assert!(slot.used.is_empty(), "released while in use: {cidr}");
                assert!(slot.cooling.is_empty(), "released while cooling: {cidr}");
            }
        }
        if let Action::Detach { interface } = &action {
            let nic = &self.nics[self.nic(interface)];
            assert!(!nic.primary, "the primary interface detached");
            assert!(nic.idle(), "{interface} detached while in use or cooling");
        }
        self.in_flight
            .push((self.now_ms + base * slowness, action, self.weather));
    }

    fn nic(&self, id: &InterfaceId) -> usize {
        self.nics
            .iter()
            .position(|nic| nic.id == *id)
            .expect("an interface that exists")
    }

    /// Lets time pass, with a look at the pool every `step_ms`.
    pub(crate) fn run(&mut self, span_ms: u64, step_ms: u64) {
        let end = self.now_ms + span_ms;
        while self.now_ms < end {
            self.now_ms = (self.now_ms + step_ms).min(end);
            self.warm_up();
            self.finish();
            self.tick();
        }
    }

    /// Plans and carries out instant changes until there are none.
    pub(crate) fn settle(&mut self) {
        for _ in 0..200 {
            self.tick();
            if self.in_flight.is_empty() {
                return;
            }
            self.finish();
        }
        panic!("still busy after 200 rounds: {}", self.last_plan);
    }

    fn warm_up(&mut self) {
        let now = self.now_ms;
        for slot in self.nics.iter_mut().flat_map(|nic| nic.slots.values_mut()) {
            slot.cooling.retain(|_, until| *until > now);
        }
        self.hold_until = self.hold_until.filter(|until| *until > now);
    }

    fn finish(&mut self) {
        let now = self.now_ms;
        let (done, left) = std::mem::take(&mut self.in_flight)
            .into_iter()
            .partition(|(ends, _, _): &(u64, Action, Weather)| *ends <= now);
        self.in_flight = left;
        for (_, action, weather) in done {
            if weather == Weather::Failing {
                self.hold_until = Some(now + 5_000);
            } else {
                self.apply(action);
            }
            self.check();
        }
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Assign {
                interface,
                kind,
                count,
            } => {
                let nic = self.nic(&interface);
                self.fill(nic, kind, count);
            }
            Action::Attach {
                subnet,
                kind,
                count,
            } => {
                let subnet = subnet.expect("a subnet: the world has some");
                let subnet: usize = subnet.as_str()["subnet-".len()..]
                    .parse()
                    .expect("a number");
                if !self.subnets[subnet].take(SlotKind::Address, 1) {
                    self.exhausted(subnet, SlotKind::Address);
                    return;
                }
                self.made += 1;
                self.nics.push(Nic {
                    id: InterfaceId::new(format!("eni-{}", self.made)),
                    subnet,
                    primary: false,
                    for_pods: true,
                    attached_ms: self.now_ms,
                    slots: BTreeMap::new(),
                });
                self.fill(self.nics.len() - 1, kind, count);
            }
            Action::Release { interface, cidrs } => {
                let nic = self.nic(&interface);
                for cidr in cidrs {
                    self.nics[nic]
                        .slots
                        .remove(&cidr)
                        .expect("a slot to release");
                    self.release(nic, &cidr);
                }
            }
            Action::Detach { interface } => {
                let nic = self.nic(&interface);
                for cidr in self.nics[nic].slots.keys().copied().collect::<Vec<_>>() {
                    self.release(nic, &cidr);
                }
                let gone = self.nics.remove(nic);
                self.subnets[gone.subnet].scattered += 1;
                for pod in &mut self.pods {
                    assert_ne!(pod.0, nic, "a pod lost its interface");
                    pod.0 -= usize::from(pod.0 > nic);
                }
            }
        }
    }

    fn release(&mut self, nic: usize, cidr: &IpNet) {
        let subnet = &mut self.subnets[self.nics[nic].subnet];
        match kind_of(cidr) {
            SlotKind::Address => subnet.scattered += 1,
            SlotKind::Prefix => subnet.blocks += 1,
        }
    }

    fn exhausted(&mut self, subnet: usize, kind: SlotKind) {
        let until = Some(self.now_ms + RETRY_MS);
        match kind {
            SlotKind::Address => self.subnets[subnet].no_addresses_until = until,
            SlotKind::Prefix => self.subnets[subnet].no_prefixes_until = until,
        }
    }

    fn fill(&mut self, nic: usize, kind: SlotKind, count: u32) {
        let subnet = self.nics[nic].subnet;
        if !self.subnets[subnet].take(kind, count) {
            self.exhausted(subnet, kind);
            return;
        }
        for _ in 0..count {
            self.made += 1;
            let number = 0x0a00_0000 + self.made * 16;
            let length = if kind == SlotKind::Address { 32 } else { 28 };
            let cidr = Ipv4Net::new(Ipv4Addr::from(number), length).expect("a length");
            self.nics[nic]
                .slots
                .insert(cidr.into(), Addresses::default());
        }
    }

    /// No limit is ever passed.
    fn check(&self) {
        assert!(
            self.nics.len() <= self.limits.interfaces as usize,
            "too many interfaces"
        );
        for nic in &self.nics {
            let most = self.limits.slots_per_interface as usize;
            assert!(nic.slots.len() <= most, "too many slots on {}", nic.id);
        }
    }

    /// The pool never grows beyond the pods the node may run, but for what a
    /// prefix has more than was asked for.
    fn check_growth(&self, kind: SlotKind, count: u32) {
        let mode = self.targets.mode;
        let coming = self.in_flight.iter().map(|(_, action, _)| match action {
            Action::Assign {
                kind: other, count, ..
            }
            | Action::Attach {
                kind: other, count, ..
            } if *other == mode || kind != mode => count * size(*other),
            _ => 0,
        });
        let total = self.counted_total(kind) + coming.sum::<u32>();
        let room = self
            .limits
            .max_pods
            .saturating_sub(total)
            .div_ceil(size(kind));
        assert!(
            count <= room,
            "{count} slots for {room}: {total} addresses already"
        );
    }

    /// Gives addresses to those who wait.
    pub(crate) fn serve(&mut self) {
        while self.waiting > 0 && self.give_one() {
            self.waiting -= 1;
        }
    }

    fn give_one(&mut self) -> bool {
        let leaving = |id: &InterfaceId| {
            self.in_flight.iter().any(|(_, action, _)| match action {
                Action::Detach { interface } => interface == id,
                _ => false,
            })
        };
        let releasing: BTreeSet<IpNet> = self
            .in_flight
            .iter()
            .filter_map(|(_, action, _)| match action {
                Action::Release { cidrs, .. } => Some(cidrs.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        let mut candidates = Vec::new();
        for (order, nic) in self.nics.iter().enumerate() {
            if !nic.for_pods || leaving(&nic.id) {
                continue;
            }
            for (cidr, slot) in &nic.slots {
                let lowest = (0..capacity(cidr))
                    .find(|host| !slot.used.contains(host) && !slot.cooling.contains_key(host));
                let Some(host) = lowest.filter(|_| !releasing.contains(cidr)) else {
                    continue;
                };
                let IpNet::V4(net) = cidr else { continue };
                candidates.push(Candidate {
                    interface: &nic.id,
                    order: order as u32,
                    interface_assigned: nic.pods(),
                    slot: *cidr,
                    slot_assigned: slot.used.len() as u32,
                    lowest_free: Ipv4Addr::from(u32::from(net.network()) + host).into(),
                });
            }
        }
        let Some(picked) = pick(self.targets.mode, candidates) else {
            return false;
        };
        let (order, cidr, address) = (picked.order as usize, picked.slot, picked.lowest_free);
        let (IpNet::V4(net), std::net::IpAddr::V4(address)) = (cidr, address) else {
            return false;
        };
        let host = u32::from(address) - u32::from(net.network());
        let slot = self.nics[order]
            .slots
            .get_mut(&cidr)
            .expect("the slot picked");
        assert!(slot.used.insert(host), "an address given twice");
        self.pods.push((order, cidr, host));
        true
    }

    /// Removes the pod at this place, counted round.
    pub(crate) fn remove(&mut self, place: usize) {
        if self.pods.is_empty() {
            self.waiting = self.waiting.saturating_sub(1);
            return;
        }
        let (order, cidr, host) = self.pods.remove(place % self.pods.len());
        let slot = self.nics[order].slots.get_mut(&cidr).expect("a pod's slot");
        assert!(slot.used.remove(&host), "a pod without its address");
        if self.cooldown_ms > 0 {
            slot.cooling.insert(host, self.now_ms + self.cooldown_ms);
        }
    }

    /// Removes the pod that came last.
    pub(crate) fn remove_last(&mut self) {
        self.remove(self.pods.len().saturating_sub(1));
    }

    /// Marks the primary interface as one that gives no addresses any more.
    pub(crate) fn drain_primary(&mut self) {
        self.nics[0].for_pods = false;
    }
}
