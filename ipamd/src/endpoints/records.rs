//! The records of the node's endpoints, in memory and in the journal.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use veni_dataplane::EndpointLinks;

use crate::attachment::AttachmentKey;
use crate::journal::endpoint::{Record, RecordState};
use crate::journal::{Folder, Journal, JournalError};

/// The endpoints that are made, live or could not be undone, and the journal's entries of
/// those and of the dying ones.
pub(super) struct Records {
    journal: Journal,
    known: Mutex<HashMap<AttachmentKey, Record>>,
}

impl Records {
    /// None; what the journal holds is taken in by [`Records::put`].
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            journal,
            known: Mutex::default(),
        }
    }

    /// The record of an attachment.
    pub(super) fn get(&self, key: &AttachmentKey) -> Option<Record> {
        self.lock().get(key).cloned()
    }

    /// All records in order of their creation.
    pub(super) fn list(&self) -> Vec<Record> {
        let mut records: Vec<Record> = self.lock().values().cloned().collect();
        records.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        records
    }

    /// Names of pods by attachment, for reports.
    pub(super) fn labels(&self) -> HashMap<AttachmentKey, String> {
        self.lock()
            .values()
            .map(|record| (record.key.clone(), record.label()))
            .collect()
    }

    /// Writes a record into the journal, and then into memory.
    ///
    /// # Errors
    /// The journal cannot be written; both have then what they had before.
    pub(super) fn write(&self, record: &Record) -> Result<(), JournalError> {
        self.journal.write(Folder::Endpoints, &record.id, record)?;
        self.put(record.clone());
        Ok(())
    }

    /// Keeps a record in memory alone.
    pub(super) fn put(&self, record: Record) {
        self.lock().insert(record.key.clone(), record);
    }

    /// An attachment has no endpoint any more. Its journal entry stays until
    /// [`Records::forget`].
    pub(super) fn remove(&self, key: &AttachmentKey) {
        self.lock().remove(key);
    }

    /// Removes the journal entry of this id.
    pub(super) fn forget(&self, id: &str) {
        self.journal.remove(Folder::Endpoints, id);
    }

    /// Writes the entries of living endpoints that the journal lacks. Returns what was
    /// written, and the first failure.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) fn write_lacking(
        &self,
    ) -> Result<(Vec<Record>, Result<(), JournalError>), JournalError> {
        let there = self.journal.names::<Record>(Folder::Endpoints)?;
        let (mut written, mut outcome) = (Vec::new(), Ok(()));
        // Locked, so that what is written lives: a DEL takes it away afterwards.
        for record in self.lock().values() {
            if record.state != RecordState::Ready || there.contains(&record.id) {
                continue;
            }
            match self.journal.write(Folder::Endpoints, &record.id, record) {
                Ok(()) => written.push(record.clone()),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        Ok((written, outcome))
    }

    /// Tries again to remove journal entries that could not be removed.
    pub(super) fn remove_remaining(&self) {
        self.journal.remove_remaining();
    }

    /// Another link has the index of this record's link by now: it must not lead to that
    /// link's deletion.
    pub(super) fn disown_link(&self, record: &Record) {
        self.amend(record, |known| known.links = None);
    }

    /// The link of a record that was written before the kernel answered an index.
    pub(super) fn adopt_link(&self, record: &Record, host_index: u32) {
        self.amend(record, |known| {
            known.links.get_or_insert(EndpointLinks {
                host_index,
                pod_index: 0,
                namespace_cookie: 0,
            });
        });
    }

    /// Changes a record unless its attachment has another one by now.
    fn amend(&self, record: &Record, change: impl FnOnce(&mut Record)) {
        let mut all = self.lock();
        if let Some(known) = all.get_mut(&record.key).filter(|one| one.id == record.id) {
            change(known);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttachmentKey, Record>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::record;
    use super::*;

    fn records() -> (tempfile::TempDir, Records) {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = Journal::new(folder.path(), "boot");
        (folder, Records::new(journal))
    }

    fn journalled(records: &Records) -> Vec<String> {
        let contents = records.journal.read::<Record>(Folder::Endpoints);
        let current = contents.expect("reads").current.into_iter();
        current.map(|(name, _)| name).collect()
    }

    #[test]
    fn a_record_that_was_removed_stays_in_the_journal_until_it_is_forgotten() {
        let (_folder, records) = records();
        let one = record("a");
        records.write(&one).expect("writes");
        assert_eq!(records.get(&one.key), Some(one.clone()));
        records.remove(&one.key);
        assert_eq!(records.get(&one.key), None);
        assert_eq!(journalled(&records), [one.id.as_str()]);
        records.forget(&one.id);
        assert!(journalled(&records).is_empty());
    }

    #[test]
    fn a_record_that_cannot_be_journalled_is_not_kept_in_memory_either() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("writes");
        let records = Records::new(Journal::new(&file, "boot"));
        let one = record("a");
        records.write(&one).expect_err("the run folder is a file");
        assert_eq!(records.get(&one.key), None);
        records.put(one.clone());
        assert_eq!(records.get(&one.key), Some(one), "where a DEL insists");
    }

    #[test]
    fn a_link_is_adopted_and_disowned_only_by_the_record_that_an_attachment_has() {
        let (_folder, records) = records();
        let (one, mut before) = (record("a"), record("a"));
        before.id = "before".to_owned();
        records.put(one.clone());
        records.adopt_link(&before, 7);
        assert_eq!(records.get(&one.key).expect("is there").links, None);
        records.adopt_link(&one, 7);
        records.adopt_link(&one, 8);
        records.disown_link(&before);
        let links = records.get(&one.key).expect("is there").links;
        assert_eq!(links.expect("adopted").host_index, 7);
        records.disown_link(&one);
        assert_eq!(records.get(&one.key).expect("is there").links, None);
    }

    #[test]
    fn entries_of_living_endpoints_that_somebody_removed_are_written_again() {
        let (_folder, records) = records();
        let (mut lost, mut kept) = (record("lost"), record("kept"));
        let mut dying = record("dying");
        (lost.state, kept.state) = (RecordState::Ready, RecordState::Ready);
        dying.state = RecordState::Dying;
        records.put(lost.clone());
        records.put(dying);
        records.write(&kept).expect("writes");
        let (written, outcome) = records.write_lacking().expect("reads");
        outcome.expect("writes");
        assert_eq!(written, [lost.clone()]);
        let mut both = [lost.id, kept.id];
        both.sort();
        assert_eq!(journalled(&records), both);
        let (written, _) = records.write_lacking().expect("reads");
        assert_eq!(written, [], "nothing lacks");
    }

    #[test]
    fn records_are_listed_in_order_of_their_creation() {
        let (_folder, records) = records();
        for (container, created_ms) in [("a", 3), ("b", 1), ("c", 2)] {
            let mut one = record(container);
            one.created_ms = created_ms;
            records.put(one);
        }
        let listed: Vec<u64> = records.list().iter().map(|one| one.created_ms).collect();
        assert_eq!(listed, [1, 2, 3]);
    }
}
