//! What the provider remembers between calls: where interfaces are, which
//! device indexes are being taken, what was begun and not finished. It saves
//! Describe calls and is never the reason to give an address to a pod.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use veni_provider::{Grant, InterfaceId, Subnet, SubnetId};

use crate::subnets::Record;

/// Tokens of attach requests that are remembered: many times those in flight.
const ATTEMPTS: usize = 64;

/// An interface of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) attachment: Option<String>,
    pub(crate) device_index: u32,
    pub(crate) card: i32,
    pub(crate) subnet: SubnetId,
    /// Own addresses, which are never given back.
    pub(crate) own: Vec<std::net::IpAddr>,
    pub(crate) held: Grant,
    /// When we attached it; `None` for what was there before.
    pub(crate) attached: Option<Instant>,
}

impl Known {
    pub(crate) fn primary(&self) -> bool {
        self.device_index == 0 && self.card == 0
    }
}

/// An attach request that was begun. Its repetition must send the same words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// What the tag says of the time of creation.
    pub(crate) created: String,
    /// The subnet tried last.
    pub(crate) subnet: Option<SubnetId>,
}

/// What has to be set right on an interface that works.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Repair {
    /// It would outlive the instance.
    pub(crate) outlives: bool,
    /// It lacks the security groups of the primary interface.
    pub(crate) groups: bool,
}

#[derive(Debug, Default)]
struct Content {
    interfaces: BTreeMap<InterfaceId, Known>,
    /// Interfaces that we deleted, until no Describe can show them any more.
    deleted: BTreeMap<InterfaceId, Instant>,
    reserved: BTreeSet<u32>,
    records: BTreeMap<SubnetId, Record>,
    subnets: Vec<Subnet>,
    groups: Vec<String>,
    attempts: VecDeque<(String, Attempt)>,
    debris: BTreeMap<InterfaceId, Instant>,
    repairs: BTreeMap<InterfaceId, Repair>,
    /// An interface may have been made of which we do not know the id.
    doubt: Option<Instant>,
    /// A Describe of all own interfaces has come.
    looked: bool,
    /// Interfaces being made now.
    making: usize,
}

/// The memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    content: Mutex<Content>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Content> {
        // No critical section can leave it half done.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what a Describe that began at a time has shown. What changed
    /// by our hand shortly before is not in it yet. The first one begins the doubt
    /// about what the process before us may have left.
    pub(crate) fn observe(
        &self,
        shown: BTreeMap<InterfaceId, Known>,
        began: Instant,
        settle: Duration,
    ) {
        let mut content = self.lock();
        if !content.looked {
            // What ran before us may have been killed between two steps.
            content.looked = true;
            content.doubt = Some(Instant::now());
        }
        content.deleted.retain(|_, at| began < *at + settle);
        let young = |known: &Known| known.attached.is_some_and(|at| began < at + settle);
        let mut next: BTreeMap<InterfaceId, Known> = BTreeMap::new();
        for (id, known) in &content.interfaces {
            if young(known) && !shown.contains_key(id) {
                next.insert(id.clone(), known.clone());
            }
        }
        for (id, mut known) in shown {
            if content.deleted.contains_key(&id) {
                continue;
            }
            let before = content.interfaces.get(&id);
            known.attached = before.and_then(|before| before.attached);
            next.insert(id, known);
        }
        content.interfaces = next;
    }

    pub(crate) fn known(&self, id: &InterfaceId) -> Option<Known> {
        self.lock().interfaces.get(id).cloned()
    }

    pub(crate) fn remember(&self, id: &InterfaceId, known: Known) {
        self.lock().interfaces.insert(id.clone(), known);
    }

    /// The interface is gone by our hand.
    pub(crate) fn deleted(&self, id: &InterfaceId) {
        let mut content = self.lock();
        content.interfaces.remove(id);
        content.debris.remove(id);
        content.repairs.remove(id);
        content.deleted.insert(id.clone(), Instant::now());
    }

    pub(crate) fn granted(&self, id: &InterfaceId, grant: &Grant) {
        if let Some(known) = self.lock().interfaces.get_mut(id) {
            known.held.addresses.extend(&grant.addresses);
            known.held.prefixes.extend(&grant.prefixes);
        }
    }

    pub(crate) fn released(&self, id: &InterfaceId, grant: &Grant) {
        if let Some(known) = self.lock().interfaces.get_mut(id) {
            let held = &mut known.held;
            held.addresses.retain(|one| !grant.addresses.contains(one));
            held.prefixes.retain(|one| !grant.prefixes.contains(one));
        }
    }

    /// How many interfaces the default network card holds, those on their way
    /// in included.
    pub(crate) fn on_default_card(&self) -> usize {
        let content = self.lock();
        let attached = content.interfaces.values().filter(|known| known.card == 0);
        attached.count() + content.reserved.len()
    }

    /// Takes the lowest device index of the default card that is free, besides
    /// those that were found to be taken.
    pub(crate) fn reserve(&self, taken: &BTreeSet<u32>) -> Reserved<'_> {
        let mut content = self.lock();
        let used: BTreeSet<u32> = content
            .interfaces
            .values()
            .filter(|known| known.card == 0)
            .map(|known| known.device_index)
            .chain(content.reserved.iter().copied())
            .chain(taken.iter().copied())
            .collect();
        let free = (1..).find(|index| !used.contains(index));
        let index = free.unwrap_or(u32::MAX);
        content.reserved.insert(index);
        Reserved {
            memory: self,
            index,
        }
    }

    pub(crate) fn record(&self, id: &SubnetId) -> Option<Record> {
        self.lock().records.get(id).cloned()
    }

    pub(crate) fn remember_records(&self, records: &[Record]) {
        let mut content = self.lock();
        for record in records {
            content.records.insert(record.id.clone(), record.clone());
        }
    }

    pub(crate) fn subnets(&self) -> Vec<Subnet> {
        self.lock().subnets.clone()
    }

    pub(crate) fn remember_subnets(&self, subnets: &[Subnet]) {
        self.lock().subnets = subnets.to_vec();
    }

    /// Security groups of the primary interface.
    pub(crate) fn groups(&self) -> Vec<String> {
        self.lock().groups.clone()
    }

    pub(crate) fn remember_groups(&self, groups: Vec<String>) {
        self.lock().groups = groups;
    }

    /// The attempt of a token, begun now if it is new.
    pub(crate) fn attempt(&self, token: &str, now: impl FnOnce() -> String) -> Attempt {
        let mut content = self.lock();
        let found = content.attempts.iter().find(|(known, _)| known == token);
        if let Some((_, attempt)) = found {
            return attempt.clone();
        }
        let attempt = Attempt {
            created: now(),
            subnet: None,
        };
        if content.attempts.len() >= ATTEMPTS {
            content.attempts.pop_front();
        }
        content
            .attempts
            .push_back((token.to_owned(), attempt.clone()));
        attempt
    }

    pub(crate) fn attempted_in(&self, token: &str, subnet: &SubnetId) {
        let mut content = self.lock();
        let attempts = content.attempts.iter_mut();
        for (_, attempt) in attempts.filter(|(known, _)| known == token) {
            attempt.subnet = Some(subnet.clone());
        }
    }

    /// An interface that was begun or ended and not brought to its end.
    pub(crate) fn left_behind(&self, id: &InterfaceId) {
        let mut content = self.lock();
        content
            .debris
            .entry(id.clone())
            .or_insert_with(Instant::now);
    }

    pub(crate) fn cleared(&self, id: &InterfaceId) {
        self.lock().debris.remove(id);
    }

    /// Whether anything was left behind.
    pub(crate) fn has_debris(&self) -> bool {
        !self.lock().debris.is_empty()
    }

    /// What was left behind at least so long ago, with the time.
    pub(crate) fn debris(&self, age: Duration) -> BTreeMap<InterfaceId, Instant> {
        let now = Instant::now();
        let content = self.lock();
        let due = content.debris.iter().filter(|(_, at)| now >= **at + age);
        due.map(|(id, at)| (id.clone(), *at)).collect()
    }

    /// Notes that an interface is being made, until the guard says what came
    /// of it or is dropped.
    pub(crate) fn making(&self) -> Making<'_> {
        self.lock().making += 1;
        Making {
            memory: self,
            doubt: false,
        }
    }

    /// Whether an interface is being made: one that is attached to nothing may
    /// be that one.
    pub(crate) fn is_making(&self) -> bool {
        self.lock().making > 0
    }

    /// Whether an interface may have been made unseen, at least so long ago,
    /// and none is being made now. Asking takes the doubt away.
    pub(crate) fn take_doubt(&self, age: Duration) -> bool {
        let now = Instant::now();
        let mut content = self.lock();
        let due = content.making == 0 && content.doubt.is_some_and(|at| now >= at + age);
        if due {
            content.doubt = None;
        }
        due
    }

    /// An interface may have been made unseen.
    pub(crate) fn doubt(&self) {
        self.lock().doubt = Some(Instant::now());
    }

    pub(crate) fn needs(&self, id: &InterfaceId, repair: Repair) {
        let mut content = self.lock();
        if repair == Repair::default() {
            content.repairs.remove(id);
        } else {
            content.repairs.insert(id.clone(), repair);
        }
    }

    /// It would outlive the instance.
    pub(crate) fn needs_end(&self, id: &InterfaceId) {
        self.lock().repairs.entry(id.clone()).or_default().outlives = true;
    }

    /// It lacks the security groups of the primary interface.
    pub(crate) fn needs_groups(&self, id: &InterfaceId) {
        self.lock().repairs.entry(id.clone()).or_default().groups = true;
    }

    pub(crate) fn repairs(&self) -> BTreeMap<InterfaceId, Repair> {
        self.lock().repairs.clone()
    }
}

/// A device index that nobody else takes while this lives.
#[derive(Debug)]
pub(crate) struct Reserved<'a> {
    memory: &'a Memory,
    pub(crate) index: u32,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.memory.lock().reserved.remove(&self.index);
    }
}

/// An interface that is being made.
#[derive(Debug)]
pub(crate) struct Making<'a> {
    memory: &'a Memory,
    doubt: bool,
}

impl Making<'_> {
    /// From now on nobody knows whether it exists, until somebody does.
    pub(crate) fn set_doubt(&mut self, doubt: bool) {
        self.doubt = doubt;
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let mut content = self.memory.lock();
        content.making = content.making.saturating_sub(1);
        if self.doubt {
            content.doubt = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
