//! What the owner task starts with: the pool as journal and cloud describe it.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_provider::Capabilities;

use super::origin::{Origins, Recalled};
use super::pick::addresses;
use super::state::{Cooling, Holder, PoolState, family_of};
use super::task::PoolSettings;
use super::tombstones::Burial;
use crate::cloud::FirstLook;
use crate::endpoints::{Record, RecordState};
use crate::events::unix_millis;
use crate::recovery::Recovered;

/// What the owner task starts with.
pub(crate) struct Known {
    pub(crate) state: PoolState,
    /// When the look began that this is made of.
    pub(crate) looked_at: Instant,
    /// When to look at the cloud again, unless it is due before.
    pub(crate) next_look: Option<Instant>,
    /// Releases of the daemon before, by journal entry.
    pub(crate) buried: BTreeMap<String, Burial>,
    /// What the daemon before knew, and not what the cloud says.
    pub(crate) remembered: bool,
}

impl Known {
    /// The pool as journal and cloud describe it. Unless the daemon was ready before
    /// in this boot, what is found cools once.
    pub(crate) fn of(
        look: &FirstLook,
        recovered: &Recovered,
        settings: &PoolSettings,
        capabilities: &Capabilities,
        was_ready: bool,
    ) -> Self {
        let mut known = Self::new(look, settings, capabilities);
        known.bury(&recovered.releases);
        known.take_in(look);
        known.doubt_the_buried(Instant::now());
        let carried = recovered.node_addresses.clone();
        known.state.node_addresses.set(carried);
        let is_dying = |record: &&Record| record.state == RecordState::Dying;
        let (dying, living): (Vec<&Record>, Vec<&Record>) =
            recovered.records.iter().partition(is_dying);
        // The dead first: a living pod may have one's address by now, and keeps it.
        for record in dying {
            known.cool_the_rest(record, settings.cooldown);
        }
        for record in living {
            known
                .state
                .restore_lease(&holder(record), &record.addresses());
            known.state.note_unlisted(record);
        }
        known.state.place_unlisted(Instant::now());
        if known.state.has_doubts() {
            known.look_when_settled(Instant::now());
        }
        if !was_ready {
            soft_cooldown(&mut known.state, Instant::now(), settings.cooldown);
        }
        known
    }

    /// Takes in what a daemon before has written down of who assigned what, and what
    /// the look tells of it. What is only remembered tells nothing.
    pub(crate) fn recall(
        &mut self,
        recalled: Option<Recalled>,
        look: &FirstLook,
        settings: &PoolSettings,
    ) {
        let now = Instant::now();
        let node = &look.memory.node.instance_id;
        self.state.origins = Origins::new(node, recalled, now);
        if !look.remembered {
            let interfaces = &look.memory.inventory.interfaces;
            let provisioning = settings.targets.provisioning;
            for text in self.state.note_origins(interfaces, now, provisioning) {
                tracing::info!("{text}");
            }
        }
    }

    /// The addresses of the dead go on cooling from where they were.
    fn cool_the_rest(&mut self, record: &Record, cooldown: Duration) {
        let released = record.released_ms.unwrap_or_default();
        let since = Duration::from_millis(unix_millis().saturating_sub(released));
        let until = Instant::now() + cooldown.saturating_sub(since);
        let addresses = record.addresses();
        self.state.restore_lease(&holder(record), &addresses);
        self.state.give_back(&record.key, &addresses, Some(until));
    }

    /// A pool that knows its node and nothing else.
    pub(crate) fn new(
        look: &FirstLook,
        settings: &PoolSettings,
        capabilities: &Capabilities,
    ) -> Self {
        let mut state = PoolState::new(
            look.memory.node.clone(),
            capabilities.clone(),
            settings.families.clone(),
            settings.targets.mode,
        );
        state.doubt_time = settings.doubt_time;
        Self {
            state,
            looked_at: look.began,
            // What is remembered is looked at at once.
            next_look: look.remembered.then_some(look.began),
            buried: BTreeMap::new(),
            remembered: look.remembered,
        }
    }

    /// Releases whose outcome the daemon before did not learn, or the cloud had not
    /// agreed with: nobody gets these addresses until the cloud has told.
    fn bury(&mut self, releases: &BTreeMap<String, Burial>) {
        for burial in releases.values() {
            for cidr in &burial.ranges {
                self.state.tombstones.begin(cidr);
            }
            if let Some(interface) = &burial.interface {
                self.state.departed.begin(interface);
            }
        }
        self.buried = releases.clone();
    }

    /// What is remembered or was seen at the start tells nothing of them: nobody
    /// knows when they were given back, so they count as given back now.
    fn doubt_the_buried(&mut self, now: Instant) {
        for burial in self.buried.values() {
            let ranges: Vec<IpNet> = burial.ranges.iter().copied().collect();
            self.state.release_lost(&ranges, now);
            if let Some(interface) = &burial.interface {
                self.state.departed.lost(interface, now);
            }
        }
        if !self.buried.is_empty() {
            // The look at once is too early for this, and then asks for another.
            self.look_when_settled(now);
        }
    }

    fn look_when_settled(&mut self, now: Instant) {
        let trust_after = now + self.state.capabilities.settle_time;
        let next = self
            .next_look
            .map_or(trust_after, |next| next.min(trust_after));
        self.next_look = Some(next);
    }

    /// The first inventory, or the remembered one.
    pub(crate) fn take_in(&mut self, look: &FirstLook) {
        let inventory = look.memory.inventory.clone();
        self.state.merge(inventory, look.began, Instant::now());
        // What is remembered is at least as old as the memory.
        let age = unix_millis().saturating_sub(look.memory.as_of_ms);
        let since = look.began.checked_sub(Duration::from_millis(age));
        let since = since.unwrap_or(look.began);
        self.state.subnets_as_of = Some(since);
        // So old that the first inventory which lacks a range puts it in doubt: somebody
        // may have taken it away while no daemon ran, and then no pod must get it.
        let long_ago = since.checked_sub(self.state.doubt_time).unwrap_or(since);
        for interface in self.state.interfaces.values_mut() {
            interface.since = since;
            for held in interface.held.values_mut() {
                held.since = long_ago;
            }
        }
    }
}

fn holder(record: &Record) -> Holder {
    Holder {
        key: record.key.clone(),
        pod: record.label(),
    }
}

/// After a reboot others may still send to yesterday's pods: every address that
/// is found cools once, unless an ADD waits for it.
fn soft_cooldown(state: &mut PoolState, now: Instant, cooldown: Duration) {
    let until = now + cooldown;
    let held: Vec<IpNet> = state
        .interfaces
        .values()
        .flat_map(|interface| interface.held.keys().copied())
        .filter(|cidr| family_of(cidr) == veni_provider::Family::V4)
        .collect();
    for address in held.iter().flat_map(addresses) {
        if !state.leases.contains_key(&address) {
            state
                .cooling
                .entry(address)
                .or_insert(Cooling { until, soft: true });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use veni_provider::Interface;

    #[test]
    fn an_interface_in_the_memory_of_an_older_build_is_on_the_default_network_card() {
        let written = json!({
            "id": "eni-1",
            "mac": "0e:1f:00:0a:0b:0c",
            "device_index": 1,
            "primary": false,
            "managed": true,
            "state": "attached",
            "subnet": "subnet-a",
            "subnet_cidrs": ["10.0.0.0/24"],
            "gateways": ["10.0.0.1"],
            "own_addresses": ["10.0.0.4"],
            "addresses": [],
            "prefixes": [],
        });
        let read: Interface = serde_json::from_value(written).expect("must be read");
        assert!(read.on_default_card() && read.for_pods);
    }
}
