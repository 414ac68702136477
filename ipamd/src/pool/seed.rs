//! What the owner task starts with, made of what a start has found: plain data in,
//! plain data out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_dataplane::NodeAddress;
use veni_nouns::Family;
use veni_nouns::range::addresses;
use veni_provider::Capabilities;

use super::apply::apply;
use super::holdings::Holdings;
use super::leases::Holder;
use super::origin::{Origins, Recalled};
use super::reconcile::reconcile;
use super::releases::Releases;
use super::routing_tables::FoundTables;
use super::settings::PoolSettings;
use crate::clock::{boot_millis, unix_millis};
use crate::journal::{CloudMemory, Journal, PendingRelease, RunningChange};

/// What a start has found.
pub(crate) struct Found {
    /// What the cloud has told, or the daemon before knew.
    pub(crate) memory: CloudMemory,
    /// It is what the daemon before knew.
    pub(crate) remembered: bool,
    /// When the cloud was asked; nothing that changed later is in it.
    pub(crate) began: Instant,
    /// Releases of the daemon before, by journal entry.
    pub(crate) releases: BTreeMap<String, PendingRelease>,
    /// Changes of the daemon before that run in the cloud.
    pub(crate) operations: Vec<RunningChange>,
    /// The routing tables of interfaces.
    pub(crate) tables: FoundTables,
    /// What links of the node itself carry.
    pub(crate) node_addresses: Vec<NodeAddress>,
    /// Pods that live.
    pub(crate) living: Vec<Living>,
    /// Pods that are gone, whose addresses go on cooling.
    pub(crate) dying: Vec<Dying>,
    /// What a daemon before has written down of who assigned what.
    pub(crate) assigned: Option<Recalled>,
    /// The daemon was ready before in this boot.
    pub(crate) was_ready: bool,
}

/// A pod that has its addresses.
#[derive(Debug)]
pub(crate) struct Living {
    pub(crate) holder: Holder,
    pub(crate) addresses: Vec<IpAddr>,
    /// The cloud's id of the interface that holds the first; empty where nobody has
    /// written it down.
    pub(crate) interface: String,
}

/// A pod that is gone.
#[derive(Debug)]
pub(crate) struct Dying {
    pub(crate) holder: Holder,
    pub(crate) addresses: Vec<IpAddr>,
    /// When its addresses were given back, milliseconds since the boot.
    pub(crate) released_boot_ms: u64,
}

/// What the owner task starts with.
pub(crate) struct Seed {
    pub(super) holdings: Holdings,
    pub(super) releases: Releases,
    pub(super) operations: Vec<RunningChange>,
    pub(super) tables: FoundTables,
    /// When the inventory was asked for that this is made of.
    pub(super) refreshed: Instant,
    /// When to refresh it again, unless it is due before.
    pub(super) refresh_by: Option<Instant>,
    /// What the daemon before knew, and not what the cloud says.
    pub(super) remembered: bool,
}

impl Seed {
    /// The pool as journal and cloud describe it. Unless the daemon was ready before
    /// in this boot, what is found cools once.
    pub(crate) fn of(
        found: Found,
        settings: &PoolSettings,
        capabilities: &Capabilities,
        journal: &Journal,
    ) -> Self {
        let mut holdings = Holdings::new(
            found.memory.node.clone(),
            capabilities.clone(),
            settings.families.clone(),
            settings.targets.mode,
            settings.doubt_time,
        );
        holdings.node_addresses.set(found.node_addresses);
        let mut seed = Self {
            holdings,
            releases: Releases::resume(journal.clone(), found.releases),
            operations: found.operations,
            tables: found.tables,
            refreshed: found.began,
            // What is remembered is refreshed at once.
            refresh_by: found.remembered.then_some(found.began),
            remembered: found.remembered,
        };
        let assigned = found.assigned.as_ref();
        if let Some(given_back) = assigned.map(|recalled| &recalled.record.given_back) {
            seed.releases.recall(given_back);
        }
        seed.take_in(&found.memory, found.began);
        if seed.releases.doubt_all(Instant::now()) {
            // The refresh at once is too early for this, and then asks for another.
            seed.refresh_when_settled();
        }
        // The dead first: a living pod may have one's address by now, and keeps it.
        for dying in found.dying {
            seed.go_on_cooling(&dying, settings.cooldown);
        }
        for Living {
            holder,
            addresses,
            interface,
        } in &found.living
        {
            seed.holdings.restore(holder, addresses, interface);
        }
        seed.holdings.place_unlisted(Instant::now());
        if seed.holdings.has_doubts() {
            seed.refresh_when_settled();
        }
        if !found.was_ready {
            cool_as_a_caution(&mut seed.holdings, Instant::now() + settings.cooldown);
        }
        seed.recall(found.assigned, &found.memory, settings.targets.provisioning);
        seed
    }

    /// The first inventory, or the remembered one.
    fn take_in(&mut self, memory: &CloudMemory, began: Instant) {
        let now = Instant::now();
        let findings = reconcile(
            &self.holdings,
            &self.releases,
            &memory.inventory,
            (began, now),
        );
        // What is remembered is at least as old as the memory.
        let age = unix_millis().saturating_sub(memory.as_of_ms);
        let since = began.checked_sub(Duration::from_millis(age));
        let since = since.unwrap_or(began);
        apply(
            &findings,
            &mut self.holdings,
            &mut self.releases,
            (since, now),
        );
        // So old that the first inventory which lacks a range puts it in doubt: somebody
        // may have taken it away while no daemon ran, and then no pod must get it.
        let long_ago = since.checked_sub(self.holdings.doubt_time).unwrap_or(since);
        for interface in self.holdings.interfaces.values_mut() {
            interface.since = since;
            for held in interface.held.values_mut() {
                held.since = long_ago;
            }
        }
    }

    /// Takes in what a daemon before has written down of who assigned what, and what
    /// the inventory tells of it. What is only remembered tells nothing.
    fn recall(&mut self, assigned: Option<Recalled>, memory: &CloudMemory, provisioning: bool) {
        let now = Instant::now();
        self.holdings.origins = Origins::new(&memory.node.instance_id, assigned, now);
        if !self.remembered {
            self.learn_origins(memory, provisioning, now);
        }
        self.holdings.claim_releasing();
    }

    fn learn_origins(&mut self, memory: &CloudMemory, provisioning: bool, now: Instant) {
        let releases = &self.releases;
        let released = |range: &IpNet| releases.of_range(range).is_some();
        let interfaces = &memory.inventory.interfaces;
        let told = self
            .holdings
            .note_origins(interfaces, now, provisioning, released);
        for text in told {
            tracing::info!("{text}");
        }
    }

    /// The addresses of the dead go on cooling from where they were.
    fn go_on_cooling(&mut self, dying: &Dying, cooldown: Duration) {
        let since = Duration::from_millis(boot_millis().saturating_sub(dying.released_boot_ms));
        let until = Instant::now() + cooldown.saturating_sub(since);
        let leases = &mut self.holdings.leases;
        leases.give(&dying.holder, &dying.addresses);
        leases.take_back(&dying.holder.key, &dying.addresses, Some(until));
    }

    fn refresh_when_settled(&mut self) {
        let trust_after = Instant::now() + self.holdings.capabilities.settle_time;
        let next = self
            .refresh_by
            .map_or(trust_after, |next| next.min(trust_after));
        self.refresh_by = Some(next);
    }
}

/// After a reboot others may still send to yesterday's pods: every address that
/// is found cools once, unless an ADD waits for it.
fn cool_as_a_caution(holdings: &mut Holdings, until: Instant) {
    let ranges = holdings.ranges().into_iter();
    for range in ranges.filter(|range| Family::of_range(range) == Family::V4) {
        for address in addresses(&range) {
            holdings.leases.cool_as_a_caution(address, until);
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
