//! When the owner task looks at the cloud, and what it learns: the inventory,
//! and in between glances at what the node sees by itself.

use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_provider::{Glimpse, InterfaceId, Inventory, ProviderError};

use super::glance::{OwnChanges, Verdict};
use super::jobs::Work;
use super::planning::interface_of;
use super::task::PoolTask;
use super::trouble::Asked;
use crate::events::EventKind;

/// At rest a look at the inventory comes so often where the node cannot see by
/// itself that somebody has changed something.
pub const LOOK_AT_REST: Duration = Duration::from_secs(600);
/// And so often where it can.
pub const LOOK_AT_REST_WITH_GLANCES: Duration = Duration::from_secs(3600);

impl PoolTask {
    pub(super) fn look_if_due(&mut self, now: Instant) {
        let looking = self.work.values().any(|work| *work == Work::Inventory);
        if looking || now < self.look_due() {
            return;
        }
        self.last_look = now;
        self.next_look = None;
        let job = self.worlds.clone().inventory();
        self.start(Work::Inventory, job);
    }

    /// Has the inventory looked at by then.
    pub(super) fn look_by(&mut self, at: Instant) {
        self.next_look = Some(self.next_look.map_or(at, |next| next.min(at)));
    }

    pub(super) fn look_due(&self) -> Instant {
        let rest = match self.glances.answered {
            true => LOOK_AT_REST_WITH_GLANCES,
            false => LOOK_AT_REST,
        };
        let at_rest = self.last_look + self.settings.inventory_interval.unwrap_or(rest);
        self.next_look.map_or(at_rest, |next| next.min(at_rest))
    }

    pub(super) fn glance_if_due(&mut self, now: Instant) {
        if now < self.next_glance || self.work.values().any(|work| *work == Work::Glance) {
            return;
        }
        self.next_glance = now + self.settings.glance_interval;
        let job = self.worlds.clone().glance();
        self.start(Work::Glance, job);
    }

    /// Takes in what the network's ranges are now.
    pub(super) fn network_is(&mut self, ranges: Option<Vec<IpNet>>) {
        let Some(ranges) = ranges else { return };
        let known = &mut self.state.node.network_cidrs;
        if *known != ranges {
            tracing::info!(before = ?known, now = ?ranges, "the network's ranges have changed");
            *known = ranges;
            let message = "the network's ranges have changed".to_owned();
            self.tell(EventKind::Cloud, message);
        }
    }

    /// Takes an inventory in.
    pub(super) fn looked(
        &mut self,
        began: Instant,
        result: Result<Inventory, ProviderError>,
        now: Instant,
    ) {
        let inventory = match result {
            Ok(inventory) => inventory,
            Err(error) => return self.look_failed(&error, now),
        };
        if !std::mem::replace(&mut self.looked, true) {
            // What the daemon before changed last may not show yet.
            let shows = now + self.state.capabilities.settle_time;
            self.look_by(shows);
        }
        let provisioning = self.settings.targets.provisioning;
        let interfaces = &inventory.interfaces;
        for text in self.state.note_origins(interfaces, now, provisioning) {
            tracing::info!("{text}");
            self.tell(EventKind::Cloud, text);
        }
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
        for device_index in &merge.unplugged {
            self.unwire(*device_index);
        }
        self.tell_dropped(&merge.dropped);
        self.tell_doubts(&merge);
        if let Some(again) = merge.look_again {
            self.look_by(again);
        }
        self.settle(began);
        self.settle_tombstones(&merge, now);
        self.state.forget_given_back(&merge);
        self.keep_record();
        self.note_node_addresses();
        self.cloud_error = None;
        self.allowed(Asked::Look);
        // Also when nothing differs: what was in doubt before may not be now.
        self.remember_cloud();
    }

    /// Takes a glance in.
    pub(super) fn glanced(&mut self, glimpse: Option<Glimpse>, now: Instant) {
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

    /// Ends what was unknown until this inventory; what was given back has its
    /// tombstone.
    fn settle(&mut self, began: Instant) {
        let unsettled = std::mem::take(&mut self.unsettled);
        for unsettled in unsettled {
            if began < unsettled.trust_after {
                // This look was due for another one and is too old for this.
                self.look_by(unsettled.trust_after);
                self.unsettled.push(unsettled);
                continue;
            }
            // What the node holds is not known well enough to learn from while
            // anything of it is in doubt.
            let limit = unsettled.limit_reached.filter(|_| !self.state.has_doubts());
            if let Some(limit) = limit {
                self.learn_limit(unsettled.family, &unsettled.action, limit, began);
            }
        }
    }
}
