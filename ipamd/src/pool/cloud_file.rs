//! The journal's file of what the pool knows of the cloud, for a restart without it.
//!
//! A run folder may be full for a while. The file that stays then is older than what
//! the pool knows, which is good enough while the node still holds everything that
//! it lists. When something of that was given back, a restart would lend it to a pod,
//! so the file goes, and a restart waits for the cloud.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::Serialize;

use crate::journal::{Journal, Shelf};

const NAME: &str = "inventory";

/// The file.
#[derive(Debug)]
pub(super) struct CloudFile {
    journal: Journal,
    /// The ranges that stand in it.
    listed: BTreeSet<IpNet>,
    /// The last one could not be written.
    behind: bool,
}

impl CloudFile {
    /// The file as the daemon before has left it.
    pub(super) fn new(journal: Journal, listed: BTreeSet<IpNet>) -> Self {
        Self {
            journal,
            listed,
            behind: false,
        }
    }

    /// Whether what is known is not written down.
    pub(super) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Writes down what is known, with the ranges that the node holds by it.
    pub(super) fn write(&mut self, memory: &impl Serialize, held: BTreeSet<IpNet>) {
        let was_behind = self.behind;
        match self.journal.write(Shelf::Cloud, NAME, memory) {
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
                    self.journal.remove(Shelf::Cloud, NAME);
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
    fn an_older_file_stays_unless_it_lists_what_was_given_back() {
        let folder = tempfile::tempdir().expect("temp folder");
        let journal = Journal::new(folder.path(), "boot-1");
        let mut file = CloudFile::new(journal.clone(), BTreeSet::new());
        let read = || {
            let contents = journal.read::<u32>(Shelf::Cloud).expect("reads");
            contents.current.into_iter().next().map(|(_, entry)| entry)
        };
        file.write(&1, ranges(&["10.0.0.5/32", "10.0.0.6/32"]));
        assert_eq!(read(), Some(1));
        // A folder in the place of the file that is renamed refuses writes alone.
        let in_the_way = folder.path().join("journal/cloud/inventory.new");
        let full = || fs::create_dir(&in_the_way).expect("makes");
        let room = || fs::remove_dir(&in_the_way).expect("removes");
        let peeked = || journal.peek::<u32>(Shelf::Cloud).expect("reads");

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
