//! What the results of jobs change.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use tokio::task::JoinError;
use tokio::time::Instant;
use veni_dataplane::KernelError;
use veni_pool::Action;
use veni_provider::{
    AddressSlots, Family, Glimpse, Grant, Interface, InterfaceId, Inventory, ProviderError,
};

use super::errors::LOOK;
use super::glance::{OwnChanges, Verdict};
use super::jobs::{JobId, Outcome, Work};
use super::planning::interface_of;
use super::state::grant_cidrs;
use super::task::PoolTask;
use crate::events::EventKind;
use crate::journal::Shelf;

/// How long a limit counts that a refusal has taught.
const LEARNT_FOR: Duration = Duration::from_secs(600);

/// From then on a link that does not appear is worth a line in the log.
const PATIENCE: u32 = 12;

impl PoolTask {
    pub(super) fn job_ended(&mut self, ended: Result<(JobId, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            // A panic is a defect: it ends the process, which starts again
            // from journal, kernel and cloud.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        let Some(work) = self.work.remove(&id) else {
            return;
        };
        let now = Instant::now();
        match outcome {
            Outcome::Inventory { began, result } => self.looked(began, result, now),
            Outcome::Glanced { glimpse } => self.glanced(glimpse, now),
            Outcome::Wired {
                interface,
                sources,
                result,
            } => self.wired(interface, sources, result),
            Outcome::Unwired { table, result } => {
                if let Err(error) = result {
                    tracing::warn!(table, %error, "the rules of an interface that is gone stay until another gets its table");
                }
            }
            changed => {
                if let Work::Cloud { family, action, .. } = work {
                    self.changed(family, action, changed, now);
                    self.remember_cloud();
                }
            }
        }
    }

    fn changed(&mut self, family: Family, action: Action, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Assigned {
                interface,
                slots,
                result,
            } => self.assigned(family, action, interface, slots, result, now),
            Outcome::Attached { result } => self.attached(family, action, result, now),
            Outcome::Released {
                interface,
                cidrs,
                entry,
                result,
            } => self.released(family, action, interface, &cidrs, &entry, result, now),
            Outcome::Detached {
                interface,
                cidrs,
                entry,
                result,
            } => self.detached(family, action, interface, &cidrs, &entry, result, now),
            Outcome::Inventory { .. }
            | Outcome::Glanced { .. }
            | Outcome::Unwired { .. }
            | Outcome::Wired { .. } => {}
        }
    }

    fn assigned(
        &mut self,
        family: Family,
        action: Action,
        interface: InterfaceId,
        slots: AddressSlots,
        result: Result<Grant, ProviderError>,
        now: Instant,
    ) {
        match result {
            Ok(grant) => {
                self.cloud_succeeded(&action);
                self.state.add_grant(&interface, &grant, now);
                self.ours_again(&grant_cidrs(&grant));
                let came = grant_cidrs(&grant).len();
                tracing::info!(%interface, ?slots, came, "addresses assigned");
                self.tell(
                    EventKind::Cloud,
                    format!("{interface}: {came} {} assigned", noun(slots, came)),
                );
            }
            Err(error) => {
                self.change_failed(family, action, &error, now);
            }
        }
    }

    fn attached(
        &mut self,
        family: Family,
        action: Action,
        result: Result<Interface, ProviderError>,
        now: Instant,
    ) {
        match result {
            Ok(interface) => {
                self.cloud_succeeded(&action);
                let (id, index) = (interface.id.clone(), interface.device_index);
                let held = interface.addresses.len() + interface.prefixes.len();
                tracing::info!(interface = %id, device_index = index, held, "interface attached");
                self.tell(
                    EventKind::Cloud,
                    format!("interface {id} attached as device {index} with {held} slots filled"),
                );
                let cidrs = super::merge::described_cidrs(&interface);
                self.attach_refused_at = None;
                self.state.add_attached(interface, now);
                self.ours_again(&cidrs);
            }
            Err(error) => {
                self.change_failed(family, action, &error, now);
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of one outcome, taken apart where they are used"
    )]
    fn released(
        &mut self,
        family: Family,
        action: Action,
        interface: InterfaceId,
        cidrs: &[IpNet],
        entry: &str,
        result: Result<(), ProviderError>,
        now: Instant,
    ) {
        let known = match result {
            Ok(()) => {
                self.cloud_succeeded(&action);
                self.state.remove_released(&interface, cidrs, now);
                tracing::info!(%interface, count = cidrs.len(), "addresses given back");
                self.tell(
                    EventKind::Cloud,
                    format!("{interface}: {} slots given back", cidrs.len()),
                );
                // The entry stays as a tombstone until the cloud agrees.
                return self.bury(entry, cidrs);
            }
            Err(error) => self.change_failed(family, action, &error, now),
        };
        if known {
            self.state.set_releasing(&interface, cidrs, false);
            self.forget_release(entry);
        } else {
            self.bury(entry, cidrs);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of one outcome, taken apart where they are used"
    )]
    fn detached(
        &mut self,
        family: Family,
        action: Action,
        interface: InterfaceId,
        cidrs: &[IpNet],
        entry: &str,
        result: Result<(), ProviderError>,
        now: Instant,
    ) {
        match result {
            Ok(()) => {
                self.cloud_succeeded(&action);
                self.state.remove_released(&interface, cidrs, now);
                self.state.interfaces.remove(&interface);
                let trust_after = now + self.state.capabilities.settle_time;
                self.state.departed.insert(interface.clone(), trust_after);
                self.bury(entry, cidrs);
                tracing::info!(%interface, "interface detached");
                self.tell(EventKind::Cloud, format!("interface {interface} detached"));
            }
            Err(error) => {
                if self.change_failed(family, action, &error, now) {
                    self.bring_back(&interface);
                    self.forget_release(entry);
                } else {
                    self.bury(entry, cidrs);
                }
            }
        }
    }

    /// An interface that stays after all: its rules are made anew.
    fn bring_back(&mut self, interface: &InterfaceId) {
        if let Some(interface) = self.state.interfaces.get_mut(interface) {
            interface.detaching = false;
            interface.link = None;
            interface.wired = BTreeSet::new();
        }
    }

    fn looked(&mut self, began: Instant, result: Result<Inventory, ProviderError>, now: Instant) {
        let inventory = match result {
            Ok(inventory) => inventory,
            Err(error) => return self.look_failed(&error, now),
        };
        if !std::mem::replace(&mut self.looked, true) {
            // What the daemon before changed last may not show yet.
            let shows = now + self.state.capabilities.settle_time;
            self.look_by(shows);
        }
        let listed: Vec<InterfaceId> = inventory
            .interfaces
            .iter()
            .map(|interface| interface.id.clone())
            .collect();
        let merge = self.state.merge(inventory, began, now);
        self.state.find_room(began);
        for change in &merge.changes {
            tracing::info!(change, "inventory differs from what was known");
        }
        if !merge.changes.is_empty() {
            let count = merge.changes.len();
            self.tell(
                EventKind::Cloud,
                format!("inventory: {count} changes ({})", merge.changes[0]),
            );
        }
        for device_index in merge.unplugged {
            self.unwire(device_index);
        }
        for address in &merge.lost {
            tracing::error!(%address, "a pod uses an address that the cloud no longer gives this node");
            self.metrics.address_lost();
            self.tell(
                EventKind::Repair,
                format!("{address} is in use by a pod, but the cloud took it away"),
            );
        }
        if let Some(again) = merge.look_again {
            self.look_by(again);
        }
        for cidr in merge.settled {
            self.settle_release(&cidr);
        }
        self.settle(began, &listed);
        self.cloud_error = None;
        self.allowed(LOOK);
        // Also when nothing differs: what was in doubt before may not be now.
        self.remember_cloud();
    }

    fn glanced(&mut self, glimpse: Option<Glimpse>, now: Instant) {
        // Twice the time that the cloud's own answers take to agree.
        let patience = 2 * self.state.capabilities.settle_time;
        let own = self.own_changes();
        let verdict = self.glances.take(glimpse, &self.state, &own, now, patience);
        match verdict {
            Verdict::Nothing => {}
            Verdict::GlanceAgain(at) => self.next_glance = self.next_glance.min(at),
            Verdict::Look(difference) => {
                tracing::info!(%difference, "looking at the inventory: the node sees a change of its interfaces");
                self.look_by(now);
            }
        }
    }

    fn own_changes(&self) -> OwnChanges {
        let running = self.work.values().filter_map(|work| match work {
            Work::Cloud { action, .. } => Some(action),
            _ => None,
        });
        let unsettled = self.unsettled.iter().map(|unsettled| &unsettled.action);
        let mut own = OwnChanges::default();
        for action in running.chain(unsettled) {
            match interface_of(action) {
                None => own.arrivals = true,
                Some(id) => {
                    let known = self.state.interfaces.get(&InterfaceId::new(id));
                    own.of.extend(known.map(|known| known.cloud.mac));
                }
            }
        }
        own
    }

    /// Ends what was unknown until this inventory.
    fn settle(&mut self, began: Instant, listed: &[InterfaceId]) {
        let unsettled = std::mem::take(&mut self.unsettled);
        for unsettled in unsettled {
            if began < unsettled.trust_after {
                // This look was due for another one and is too old for this.
                self.look_by(unsettled.trust_after);
                self.unsettled.push(unsettled);
                continue;
            }
            if unsettled.limit_reached {
                self.learn_limit(unsettled.family, &unsettled.action, began);
            }
            match &unsettled.action {
                Action::Detach { interface } => {
                    let interface = InterfaceId::new(interface.clone());
                    let known = self.state.interfaces.get(&interface);
                    let held = known.map(|known| known.held.keys().copied().collect::<Vec<_>>());
                    self.ours_again(&held.unwrap_or_default());
                    if listed.contains(&interface) {
                        self.bring_back(&interface);
                    } else {
                        self.state.interfaces.remove(&interface);
                    }
                }
                Action::Release { interface, cidrs } => {
                    let interface = InterfaceId::new(interface.clone());
                    self.state.set_releasing(&interface, cidrs, false);
                    for cidr in cidrs {
                        self.settle_release(cidr);
                    }
                }
                Action::Assign { .. } | Action::Attach { .. } => {}
            }
        }
    }

    /// The cloud knows the node's limits better than our table.
    /// Learnt is only what the refusal proves, and only for a while: the refusal
    /// may have been about something that has gone since.
    fn learn_limit(&mut self, family: Family, action: &Action, now: Instant) {
        let mut limits = self.state.limits();
        match action {
            Action::Attach { .. } => {
                let there = u32::try_from(self.state.interfaces.len()).unwrap_or(u32::MAX);
                // One refusal may be about an interface that is just leaving.
                if self.attach_refused_at.replace(there) != Some(there) {
                    return;
                }
                limits.interfaces = limits.interfaces.min(there.max(1));
                tracing::warn!(
                    limit = limits.interfaces,
                    "the cloud attaches no more interfaces"
                );
            }
            Action::Assign {
                interface, count, ..
            } => {
                let interface = InterfaceId::new(interface.clone());
                let Some(interface) = self.state.interfaces.get(&interface) else {
                    return;
                };
                let held = interface.held.keys();
                let held = held.filter(|cidr| super::state::family_of(cidr) == family);
                // Its own address, what it holds, and one less than was refused.
                let slots = u32::try_from(held.count()).unwrap_or(u32::MAX) + count;
                let limit = match family {
                    Family::V4 => &mut limits.ipv4_per_interface,
                    Family::V6 => &mut limits.ipv6_per_interface,
                };
                *limit = slots.min(*limit);
                tracing::warn!(limit = *limit, "the cloud assigns no more to an interface");
            }
            Action::Release { .. } | Action::Detach { .. } => return,
        }
        self.state.learnt = Some((limits, now + LEARNT_FOR));
    }

    fn wired(
        &mut self,
        id: InterfaceId,
        sources: BTreeSet<IpNet>,
        result: Result<String, KernelError>,
    ) {
        match result {
            Ok(link) => {
                self.wire_failures.remove(&id);
                let Some(interface) = self.state.interfaces.get_mut(&id) else {
                    return;
                };
                interface.wired = sources;
                if interface.link.replace(link.clone()).is_none() {
                    tracing::info!(interface = %id, link, "interface in service");
                    self.tell(
                        EventKind::Pool,
                        format!("interface {id} in service on {link}"),
                    );
                }
            }
            Err(error) => {
                let failures = self.wire_failures.entry(id.clone()).or_default();
                *failures = failures.saturating_add(1);
                let waiting = matches!(error, KernelError::NoSuchLink(_));
                if !waiting || failures.is_multiple_of(PATIENCE) {
                    tracing::warn!(interface = %id, failures, %error, "interface not in service yet");
                }
            }
        }
    }

    fn bury(&mut self, entry: &str, cidrs: &[IpNet]) {
        if cidrs.is_empty() {
            return self.forget_release(entry);
        }
        self.buried
            .insert(entry.to_owned(), cidrs.iter().copied().collect());
    }

    /// What was given back before and is ours again, or was never taken: after
    /// a restart the journal must not call it released.
    fn ours_again(&mut self, cidrs: &[IpNet]) {
        for cidr in cidrs {
            self.settle_release(cidr);
        }
    }

    /// One range of a release that the cloud has settled; with the last one its
    /// journal entry goes.
    fn settle_release(&mut self, cidr: &IpNet) {
        let mut over = Vec::new();
        for (entry, cidrs) in &mut self.buried {
            if !cidrs.remove(cidr) {
                continue;
            }
            if cidrs.is_empty() {
                over.push(entry.clone());
            } else if let Err(error) = self.journal.write(Shelf::Releases, entry, &*cidrs) {
                tracing::warn!(%error, "a release that is partly over stays whole in the journal");
            }
        }
        for entry in over {
            self.buried.remove(&entry);
            self.forget_release(&entry);
        }
    }

    fn forget_release(&self, entry: &str) {
        if let Err(error) = self.journal.remove(Shelf::Releases, entry) {
            tracing::warn!(%error, "a release that is over stays in the journal");
        }
    }
}

fn noun(slots: AddressSlots, count: usize) -> &'static str {
    match (slots, count) {
        (AddressSlots::Addresses { .. }, 1) => "address",
        (AddressSlots::Addresses { .. }, _) => "addresses",
        (AddressSlots::Prefixes { .. }, 1) => "prefix",
        (AddressSlots::Prefixes { .. }, _) => "prefixes",
    }
}
