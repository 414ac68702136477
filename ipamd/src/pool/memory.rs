//! What a restart needs of the pool: what it knows of the cloud, in the journal, and
//! the record of who assigned what.
//!
//! A run folder may be full for a while. The file that stays then is older than what
//! the pool knows, which is good enough while the node still holds everything that
//! it lists. When something of that was given back, a restart would lend it to a pod,
//! so the file goes, and a restart waits for the cloud.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::Serialize;
use veni_provider::{Interface, Inventory};

use super::holdings::Holdings;
use super::interface::grant_of;
use crate::assigned::Keeper;
use crate::clock::unix_millis;
use crate::journal::{CloudMemory, Folder, Journal};

const NAME: &str = "inventory";

/// Keeps it.
#[derive(Debug)]
pub(super) struct Memory {
    cloud: CloudFile,
    assigned: Keeper,
}

impl Memory {
    /// `ranges` are those that the daemon before has left in the journal.
    pub(super) fn new(journal: Journal, ranges: BTreeSet<IpNet>, assigned: Keeper) -> Self {
        Self {
            cloud: CloudFile::new(journal, ranges),
            assigned,
        }
    }

    /// Keeps what is known of the cloud.
    pub(super) fn keep(&mut self, holdings: &Holdings) {
        let memory = CloudMemory {
            node: holdings.node.clone(),
            inventory: inventory(holdings),
            capabilities: Some(holdings.capabilities.clone()),
            as_of_ms: unix_millis(),
        };
        self.cloud.write(&memory, holdings.ranges());
    }

    /// Keeps it if the last time that failed.
    pub(super) fn catch_up(&mut self, holdings: &Holdings) {
        if self.cloud.is_behind() {
            self.keep(holdings);
        }
    }

    /// Has it written down who assigned what, if that has changed.
    pub(super) fn keep_assigned(&self, holdings: &mut Holdings) {
        if let Some(record) = holdings.origins.take_changed() {
            self.assigned.keep(record);
        }
    }
}

/// The inventory that the pool's knowledge amounts to: without what is in doubt or gone,
/// so that no later daemon lends it. What pods have of it stands in their own entries.
fn inventory(holdings: &Holdings) -> Inventory {
    let interfaces = holdings.ordered().into_iter().map(|interface| {
        let certain = interface.presence.is_certain();
        let kept = interface.held.iter();
        let kept = kept.filter(|(_, held)| certain && held.serves());
        let ranges: Vec<IpNet> = kept.map(|(range, _)| *range).collect();
        let grant = grant_of(&ranges);
        Interface {
            addresses: grant.addresses,
            prefixes: grant.prefixes,
            ..interface.cloud.clone()
        }
    });
    Inventory {
        interfaces: interfaces.collect(),
        subnets: holdings.subnets.list().to_vec(),
    }
}

/// The file.
#[derive(Debug)]
struct CloudFile {
    journal: Journal,
    /// The ranges that stand in it.
    listed: BTreeSet<IpNet>,
    /// The last one could not be written.
    behind: bool,
}

impl CloudFile {
    /// The file as the daemon before has left it.
    fn new(journal: Journal, listed: BTreeSet<IpNet>) -> Self {
        Self {
            journal,
            listed,
            behind: false,
        }
    }

    /// Whether what is known is not written down.
    fn is_behind(&self) -> bool {
        self.behind
    }

    /// Writes down what is known, with the ranges that the node holds by it.
    fn write(&mut self, memory: &impl Serialize, held: BTreeSet<IpNet>) {
        let was_behind = self.behind;
        match self.journal.write(Folder::Cloud, NAME, memory) {
            Ok(()) => {
                self.behind = false;
                self.listed = held;
                if was_behind {
                    tracing::info!("what is known of the cloud is written down again");
                }
            }
            Err(error) => {
                self.behind = true;
                if !was_behind {
                    tracing::warn!(%error, "what is known of the cloud is not written down");
                }
                if !self.listed.is_subset(&held) {
                    tracing::warn!(
                        "what was written down lists addresses that were given back: removed; a \
                         restart waits for the cloud"
                    );
                    self.journal.remove(Folder::Cloud, NAME);
                    self.listed.clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn ranges(texts: &[&str]) -> BTreeSet<IpNet> {
        let parsed = texts.iter().map(|text| text.parse());
        parsed.map(|range| range.expect("a range")).collect()
    }

    #[test]
    fn an_older_file_stays_unless_it_lists_what_was_released() {
        let folder = tempfile::tempdir().expect("temp folder");
        let journal = Journal::new(folder.path(), "boot-1");
        let mut file = CloudFile::new(journal.clone(), BTreeSet::new());
        let read = || {
            let contents = journal.read::<u32>(Folder::Cloud).expect("reads");
            contents.current.into_iter().next().map(|(_, entry)| entry)
        };
        file.write(&1, ranges(&["10.0.0.5/32", "10.0.0.6/32"]));
        assert_eq!(read(), Some(1));
        // A folder in the place of the file that is renamed refuses writes alone.
        let in_the_way = folder.path().join("journal/cloud/inventory.new");
        let full = || fs::create_dir(&in_the_way).expect("makes");
        let room = || fs::remove_dir(&in_the_way).expect("removes");
        let peeked = || journal.peek::<u32>(Folder::Cloud).expect("reads");

        full();
        file.write(&2, ranges(&["10.0.0.5/32", "10.0.0.6/32", "10.0.0.7/32"]));
        assert!(file.is_behind());
        assert_eq!(peeked(), [1], "all that it lists is still held");
        file.write(&3, ranges(&["10.0.0.5/32", "10.0.0.7/32"]));
        assert!(peeked().is_empty(), "one of them was given back");
        assert!(file.is_behind());
        room();
        file.write(&4, ranges(&["10.0.0.5/32"]));
        assert!(!file.is_behind());
        assert_eq!(read(), Some(4));
    }
}
