//! Bringing interfaces into service on the node: which ones are to be compared
//! with the kernel, and which ones it has failed for again and again.
//!
//! An interface that the cloud calls attached is of no use without its link. After
//! a few failures in a row what is free on it counts for nothing, so that other
//! capacity is bought; it is tried on, and serves again when a try succeeds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::oneshot;
use tokio::time::Instant;
use veni_dataplane::KernelError;
use veni_dataplane::plan::{InterfacePlan, SourceRouting};
use veni_nouns::range::capacity;
use veni_nouns::{Family, InterfaceId};

use super::held_back::HeldBack;
use super::holdings::Holdings;
use super::interface::{PoolInterface, family_of};
use super::rechecks::Rechecks;
use super::routing_tables::RoutingTables;

/// So many failures in a row put an interface out of service. The pauses between
/// them add up to five seconds: a link that was just attached takes one or two.
const FEW: u32 = 8;

/// ADDs wait for the link of an interface for so long; then they fail at once.
const WORTH_WAITING: Duration = Duration::from_secs(60);

/// What is known of the failures of one interface in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failing {
    since: Instant,
    count: u32,
    reason: String,
}

/// A try to bring an interface into service, or its rules up to date.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Try {
    pub(super) id: InterfaceId,
    pub(super) plan: InterfacePlan,
    /// The same plan was carried out before, so what is missing was removed by
    /// somebody else.
    pub(super) repeated: bool,
    /// How long it waits first.
    pub(super) delay: Duration,
}

/// Which interfaces need the kernel's attention, and which tables their rules are in.
#[derive(Debug)]
pub(super) struct InterfaceSetup {
    tables: RoutingTables,
    /// MTU of secondary interfaces.
    mtu: u32,
    /// To be compared though nothing has changed.
    compare: BTreeSet<InterfaceId>,
    /// Those of which a try is under way.
    trying: BTreeSet<InterfaceId>,
    failing: BTreeMap<InterfaceId, Failing>,
    rechecks: Rechecks,
}

impl InterfaceSetup {
    pub(super) fn new(tables: RoutingTables, mtu: u32) -> Self {
        Self {
            tables,
            mtu,
            compare: BTreeSet::new(),
            trying: BTreeSet::new(),
            failing: BTreeMap::new(),
            rechecks: Rechecks::default(),
        }
    }

    /// Somebody may have changed what the kernel has of these: all are compared, and
    /// what the kernel refused to remove is tried again.
    pub(super) fn compare<'a>(&mut self, ids: impl Iterator<Item = &'a InterfaceId>) {
        self.compare.extend(ids.cloned());
        self.tables.try_again();
    }

    /// Tells when each interface has been compared from now on.
    pub(super) fn tell_when_compared(&mut self, holdings: &Holdings, done: oneshot::Sender<()>) {
        self.rechecks
            .wait(holdings.interfaces.keys().cloned(), done);
    }

    /// What the data plane is told to make of an interface; `None` where it has no table.
    pub(super) fn plan_of(
        &self,
        interface: &PoolInterface,
        holdings: &Holdings,
    ) -> Option<InterfacePlan> {
        let table = self.tables.of(&interface.cloud.id)?;
        let routing = holdings.capabilities.source_routing;
        let source_routing = match interface.needs_rules(routing) {
            true => SourceRouting::BySource(interface.sources(routing).into_iter().collect()),
            false => SourceRouting::None,
        };
        Some(interface_plan(interface, table, source_routing, self.mtu))
    }

    /// The routing tables that belong to interfaces or are being freed.
    pub(super) fn tables(&self) -> BTreeSet<u32> {
        self.tables.used().collect()
    }

    /// The routing table of an interface, if it has one.
    pub(super) fn table_of(&self, id: &InterfaceId) -> Option<u32> {
        self.tables.of(id)
    }

    /// Whether a try of an interface is under way.
    pub(super) fn is_trying(&self, id: &InterfaceId) -> bool {
        self.trying.contains(id)
    }

    /// The interfaces whose rules are not what they hold, or that are to be compared: a
    /// try of each begins.
    pub(super) fn begin_due(&mut self, holdings: &Holdings) -> Vec<Try> {
        let mut due = Vec::new();
        self.rechecks
            .retain(|id| holdings.interfaces.contains_key(id));
        for (id, interface) in &holdings.interfaces {
            let sources = interface.sources(holdings.capabilities.source_routing);
            let routed = interface.link.is_some() && interface.routed == sources;
            let rests = routed && !self.is_to_be_compared(id);
            let leaves = interface.detaching || interface.presence.is_gone();
            if self.is_trying(id) {
                continue;
            }
            let concerned = !rests && !leaves && interface.cloud.managed;
            let plan = concerned.then(|| self.plan_of(interface, holdings));
            let Some(plan) = plan.flatten() else {
                self.rechecks.passed_over(id);
                continue;
            };
            due.push(Try {
                id: id.clone(),
                plan,
                repeated: routed,
                delay: self.begin(id),
            });
            self.trying.insert(id.clone());
            self.rechecks.began(id);
        }
        due
    }

    /// Gives each interface that we manage its routing table.
    pub(super) fn allot_tables(&mut self, holdings: &Holdings) {
        let managed = holdings.interfaces.values().filter(|one| one.cloud.managed);
        for interface in managed {
            self.tables.allot(&interface.cloud);
        }
    }

    /// The tables whose rules no interface needs: they are being removed from now on.
    pub(super) fn take_unused_tables(&mut self, holdings: &Holdings) -> Vec<u32> {
        let (interfaces, trying) = (&holdings.interfaces, &self.trying);
        let is_needed = |id: &InterfaceId| interfaces.contains_key(id) || trying.contains(id);
        self.tables.take_unused(is_needed)
    }

    /// The kernel has removed the rules of a table, or refused to.
    pub(super) fn rules_removed(&mut self, table: u32, result: Result<(), KernelError>) {
        match result {
            Ok(()) => self.tables.cleared(table),
            Err(error) => {
                tracing::warn!(table, %error, "the rules of an interface that is gone stay, and no other gets its table, until they can be removed");
                self.tables.refused(table);
            }
        }
    }

    /// A try has succeeded. Tells, in words, if that is news.
    pub(super) fn succeeded(
        &mut self,
        id: &InterfaceId,
        (sources, link): (BTreeSet<IpNet>, String),
        holdings: &mut Holdings,
        now: Instant,
    ) -> Option<String> {
        self.trying.remove(id);
        self.rechecks.ended(id);
        self.failing.remove(id);
        let interface = holdings.interfaces.get_mut(id)?;
        interface.routed = sources;
        let before = interface.link.replace(link.clone());
        let text = match interface.out_of_service.take() {
            Some(since) => {
                let after = now.saturating_duration_since(since).as_secs();
                format!("interface {id} in service on {link} again, after {after} s")
            }
            None if before.is_none() => format!("interface {id} in service on {link}"),
            None => return None,
        };
        tracing::info!(interface = %id, link, "{text}");
        Some(text)
    }

    /// A try has failed. Tells, in words, if that is news.
    pub(super) fn failed(
        &mut self,
        id: &InterfaceId,
        error: &KernelError,
        holdings: &mut Holdings,
        now: Instant,
    ) -> Option<String> {
        self.trying.remove(id);
        self.rechecks.ended(id);
        let Some(interface) = holdings.interfaces.get_mut(id) else {
            self.failing.remove(id);
            return None;
        };
        let (count, since) = self.count(id, error.to_string(), now);
        let mac = interface.cloud.mac;
        // What it is about, the kernel says at once; pods must get no address of it.
        let lost = match error {
            KernelError::NoSuchLink(_) => interface.link.take(),
            _ => None,
        };
        if let Some(link) = lost {
            interface.routed.clear();
            tracing::warn!(interface = %id, link, %mac, "interface has lost its link");
            return Some(format!(
                "interface {id} has lost its link {link} (MAC {mac}): no pod gets an address of it until it is back"
            ));
        }
        if count < FEW || interface.out_of_service.is_some() {
            return None;
        }
        interface.out_of_service = Some(since);
        let seconds = now.saturating_duration_since(since).as_secs();
        tracing::warn!(interface = %id, %mac, failures = count, %error, "interface out of service");
        Some(format!(
            "interface {id} (MAC {mac}) out of service since {seconds} s: {error}; what is free on it \
             counts for nothing until it is back"
        ))
    }

    /// Interfaces that cannot be brought into service.
    pub(super) fn held_back(&self, holdings: &Holdings, now: Instant) -> Vec<HeldBack> {
        let interfaces = holdings.interfaces.iter();
        let staying = interfaces.filter(|(_, interface)| !interface.detaching);
        staying
            .filter_map(|(id, interface)| {
                let since = interface.out_of_service?;
                Some(HeldBack::OutOfService {
                    interface: id.clone(),
                    mac: interface.cloud.mac,
                    slots: interface.held.len(),
                    since: now.saturating_duration_since(since),
                    reason: self.reason(id).map(str::to_owned),
                })
            })
            .collect()
    }

    fn is_to_be_compared(&self, id: &InterfaceId) -> bool {
        self.compare.contains(id)
    }

    /// A try begins. Tells how long it waits first: the first ones follow the
    /// appearance of a hot-plugged link closely.
    fn begin(&mut self, id: &InterfaceId) -> Duration {
        self.compare.remove(id);
        match self.failing.get(id).map_or(0, |failing| failing.count) {
            0 => Duration::ZERO,
            n => Duration::from_millis(25 << n.min(6)),
        }
    }

    /// Counts a failure; there will be another try. Tells how many have failed in a row,
    /// and since when.
    fn count(&mut self, id: &InterfaceId, reason: String, now: Instant) -> (u32, Instant) {
        self.compare.insert(id.clone());
        let failing = self.failing.entry(id.clone()).or_insert(Failing {
            since: now,
            count: 0,
            reason: String::new(),
        });
        failing.count = failing.count.saturating_add(1);
        failing.reason = reason;
        (failing.count, failing.since)
    }

    /// Why the last try failed.
    fn reason(&self, id: &InterfaceId) -> Option<&str> {
        self.failing.get(id).map(|failing| failing.reason.as_str())
    }
}

/// What the data plane shall make of an interface.
fn interface_plan(
    interface: &PoolInterface,
    table: u32,
    source_routing: SourceRouting,
    mtu: u32,
) -> InterfacePlan {
    InterfacePlan {
        mac: interface.cloud.mac.0,
        primary: interface.cloud.primary,
        table,
        own_addresses: interface.cloud.own_addresses.clone(),
        gateways: interface.cloud.gateways.clone(),
        source_routing,
        mtu: (!interface.cloud.primary).then_some(mtu),
    }
}

/// Addresses that ADDs may wait for although the interface that holds them is
/// out of service: it was not a moment ago.
pub(super) fn free_without_link(holdings: &Holdings, family: Family, now: Instant) -> u32 {
    let recent = |interface: &&PoolInterface| {
        let since = interface.out_of_service;
        since.is_some_and(|since| now < since + WORTH_WAITING) && interface.cloud.for_pods
    };
    let interfaces = holdings.interfaces.values().filter(recent);
    let leases = &holdings.leases;
    let held = interfaces.flat_map(|one| &one.held);
    held.filter(|(range, held)| family_of(range) == family && held.serves())
        .map(|(range, _)| {
            let taken = leases.leased_in(range) + leases.cooling_in(range, now);
            capacity(range).saturating_sub(taken)
        })
        .fold(0, u32::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journal;
    use crate::pool::routing_tables::FoundTables;

    #[test]
    fn what_fails_is_tried_again_with_growing_pauses_until_it_succeeds() {
        let now = Instant::now();
        let id = InterfaceId::new("eni-1");
        let folder = tempfile::tempdir().expect("temp folder");
        let journal = Journal::new(folder.path(), "boot-1");
        let tables = RoutingTables::new(journal, FoundTables::default());
        let mut setup = InterfaceSetup::new(tables, 1500);
        assert_eq!(setup.begin(&id), Duration::ZERO);
        let mut pauses = Vec::new();
        for count in 1..=FEW {
            let failed = setup.count(&id, "no link".to_owned(), now);
            assert_eq!(failed, (count, now));
            assert!(setup.is_to_be_compared(&id), "it is not forgotten");
            pauses.push(setup.begin(&id));
            assert!(!setup.is_to_be_compared(&id), "it is under way");
        }
        assert!(pauses.is_sorted() && pauses[0] < pauses[4], "{pauses:?}");
        let until_out: Duration = pauses[..pauses.len() - 1].iter().sum();
        assert!(until_out < Duration::from_secs(6), "{until_out:?}");
        assert_eq!(setup.reason(&id), Some("no link"));
        setup.failing.remove(&id);
        assert_eq!(setup.begin(&id), Duration::ZERO);
        assert_eq!(setup.reason(&id), None);
    }
}
