//! Bringing interfaces into service on the node: which ones are to be compared
//! with the kernel, and which ones it has failed for again and again.
//!
//! An interface that the cloud calls attached is of no use without its link. After
//! a few failures in a row what is free on it counts for nothing, so that other
//! capacity is bought; it is tried on, and serves again when a try succeeds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_dataplane::KernelError;
use veni_provider::{Family, InterfaceId};

use super::jobs::{Work, interface_plan, table_of};
use super::pick::{capacity, count_in};
use super::state::{PoolInterface, PoolState, family_of};
use super::task::PoolTask;
use crate::events::EventKind;

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

/// Which interfaces need the kernel's attention.
#[derive(Debug, Default)]
pub(super) struct Wiring {
    /// To be compared though nothing has changed.
    compare: BTreeSet<InterfaceId>,
    failing: BTreeMap<InterfaceId, Failing>,
}

impl Wiring {
    /// Somebody may have changed what the kernel has of these.
    pub(super) fn compare<'a>(&mut self, ids: impl Iterator<Item = &'a InterfaceId>) {
        self.compare.extend(ids.cloned());
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

    /// A try has failed, and there will be another one. Tells how many have in a row,
    /// and since when.
    fn failed(&mut self, id: &InterfaceId, reason: String, now: Instant) -> (u32, Instant) {
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

    fn succeeded(&mut self, id: &InterfaceId) {
        self.failing.remove(id);
    }

    /// Why the last try failed.
    fn reason(&self, id: &InterfaceId) -> Option<&str> {
        self.failing.get(id).map(|failing| failing.reason.as_str())
    }
}

impl PoolTask {
    /// Brings interfaces into service whose rules are not what they hold.
    pub(super) fn wire_interfaces(&mut self) {
        let mut plans = Vec::new();
        for (id, interface) in &self.state.interfaces {
            let busy = self.work.values().any(|work| match work {
                Work::Wire { interface } => interface == id,
                Work::Unwire { table } => *table == table_of(interface),
                Work::Cloud { .. } | Work::Inventory | Work::Glance => false,
            });
            let sources = interface.sources(&self.state.capabilities);
            let wired = interface.link.is_some() && interface.wired == sources;
            let settled = wired && !self.wiring.is_to_be_compared(id);
            let leaves = interface.detaching || interface.presence.is_gone();
            if settled || busy || leaves || !interface.cloud.managed {
                continue;
            }
            let plan = interface_plan(interface, &sources, self.settings.interface_mtu);
            plans.push((id.clone(), plan, wired));
        }
        for (interface, plan, again) in plans {
            let delay = self.wiring.begin(&interface);
            let worlds = self.worlds.clone();
            let job = worlds.wire(interface.clone(), plan, again, delay);
            self.start(Work::Wire { interface }, job);
        }
    }

    /// Takes the result of a try in.
    pub(super) fn wired(
        &mut self,
        id: InterfaceId,
        sources: BTreeSet<IpNet>,
        result: Result<String, KernelError>,
        now: Instant,
    ) {
        match result {
            Ok(link) => self.in_service(&id, sources, link, now),
            Err(error) => self.not_in_service(&id, &error, now),
        }
    }

    fn in_service(
        &mut self,
        id: &InterfaceId,
        sources: BTreeSet<IpNet>,
        link: String,
        now: Instant,
    ) {
        self.wiring.succeeded(id);
        let Some(interface) = self.state.interfaces.get_mut(id) else {
            return;
        };
        interface.wired = sources;
        let before = interface.link.replace(link.clone());
        let out = interface.out_of_service.take();
        let text = match out {
            Some(since) => {
                let after = now.saturating_duration_since(since).as_secs();
                format!("interface {id} in service on {link} again, after {after} s")
            }
            None if before.is_none() => format!("interface {id} in service on {link}"),
            None => return,
        };
        tracing::info!(interface = %id, link, "{text}");
        self.tell(EventKind::Pool, text);
    }

    fn not_in_service(&mut self, id: &InterfaceId, error: &KernelError, now: Instant) {
        let (count, since) = self.wiring.failed(id, error.to_string(), now);
        let Some(interface) = self.state.interfaces.get_mut(id) else {
            self.wiring.succeeded(id);
            return;
        };
        let mac = interface.cloud.mac;
        // What it is about, the kernel says at once; pods must get no address of it.
        let lost = match error {
            KernelError::NoSuchLink(_) => interface.link.take(),
            _ => None,
        };
        if let Some(link) = lost {
            interface.wired.clear();
            tracing::warn!(interface = %id, link, %mac, "interface has lost its link");
            let text = format!(
                "interface {id} has lost its link {link} (MAC {mac}): no pod gets an address of it until it is back"
            );
            return self.tell(EventKind::Pool, text);
        }
        if count < FEW || interface.out_of_service.is_some() {
            return;
        }
        interface.out_of_service = Some(since);
        let seconds = now.saturating_duration_since(since).as_secs();
        tracing::warn!(interface = %id, %mac, failures = count, %error, "interface out of service");
        let text = format!(
            "interface {id} (MAC {mac}) out of service since {seconds} s: {error}; what is free on it \
             counts for nothing until it is back"
        );
        self.tell(EventKind::Pool, text);
    }

    /// Interfaces that cannot be brought into service, a sentence each.
    pub(super) fn out_of_service(&self, now: Instant) -> Vec<String> {
        let interfaces = self.state.interfaces.iter();
        interfaces
            .filter(|(_, interface)| !interface.detaching)
            .filter_map(|(id, interface)| {
                let since = interface.out_of_service?;
                let seconds = now.saturating_duration_since(since).as_secs();
                let (mac, held) = (interface.cloud.mac, interface.held.len());
                let reason = self.wiring.reason(id).unwrap_or("its link is missing");
                Some(format!(
                    "interface {id} (MAC {mac}) with {held} slots filled is not in service since {seconds} s: \
                     {reason}; it serves again as soon as the node can use its link"
                ))
            })
            .collect()
    }
}

impl PoolState {
    /// Addresses that ADDs may wait for although the interface that holds them is
    /// out of service: it was not a moment ago.
    pub(super) fn free_without_link(&self, family: Family, now: Instant) -> u32 {
        let recent = |interface: &&PoolInterface| {
            let since = interface.out_of_service;
            since.is_some_and(|since| now < since + WORTH_WAITING) && interface.cloud.for_pods
        };
        let held = self
            .interfaces
            .values()
            .filter(recent)
            .flat_map(|one| &one.held);
        held.filter(|(cidr, held)| family_of(cidr) == family && held.serves())
            .map(|(cidr, _)| {
                let cooling = count_in(&self.cooling, cidr, |cooling| cooling.until > now);
                let taken = count_in(&self.leases, cidr, |_| true) + cooling;
                capacity(cidr).saturating_sub(taken)
            })
            .fold(0, u32::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_again_with_growing_pauses_until_it_succeeds() {
        let now = Instant::now();
        let id = InterfaceId::new("eni-1");
        let mut wiring = Wiring::default();
        assert_eq!(wiring.begin(&id), Duration::ZERO);
        let mut pauses = Vec::new();
        for count in 1..=FEW {
            let failed = wiring.failed(&id, "no link".to_owned(), now);
            assert_eq!(failed, (count, now));
            assert!(wiring.is_to_be_compared(&id), "it is not forgotten");
            pauses.push(wiring.begin(&id));
            assert!(!wiring.is_to_be_compared(&id), "it is under way");
        }
        assert!(pauses.is_sorted() && pauses[0] < pauses[4], "{pauses:?}");
        let until_out: Duration = pauses[..pauses.len() - 1].iter().sum();
        assert!(until_out < Duration::from_secs(6), "{until_out:?}");
        assert_eq!(wiring.reason(&id), Some("no link"));
        wiring.succeeded(&id);
        assert_eq!(wiring.begin(&id), Duration::ZERO);
        assert_eq!(wiring.reason(&id), None);
    }
}
