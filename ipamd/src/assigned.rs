//! What Veni assigned, written down: in the run folder's journal for a daemon of the
//! same boot, and in a file of the state folder for one after a reboot.
//!
//! The file is written whole beside its place, synced, and renamed, by a task of its
//! own: a disk that is slow, full or read-only delays no pod. What it cannot keep, the
//! next start takes for somebody else's, and keeps.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::Instant;

use crate::crash;
use crate::events::{EventKind, Events};
use crate::journal::{self, AssignedRecord, Folder, Journal};
use crate::pool::Recalled;
use crate::private_file;
use crate::retry::grown;

/// The file's name in the state folder.
const FILE: &str = "assigned.json";
/// The journal's entry of the same.
const ENTRY: &str = "assigned";

/// Between two tries to write the file that fails, at first.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// And at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// The file, in the state folder of one node.
#[derive(Debug, Clone)]
pub(crate) struct AssignedFile {
    folder: PathBuf,
    boot: String,
}

impl AssignedFile {
    pub(crate) fn new(folder: &Path, boot: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            boot: boot.to_owned(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// What the file says of this node; `None` where there is no file.
    ///
    /// # Errors
    /// The reason, in words, why the file says nothing: it cannot be read, it is
    /// damaged, of another version or of another node.
    fn read(&self, node: &str) -> Result<Option<Recalled>, String> {
        let bytes = match fs::read(self.path()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let (_, record) = journal::decode::<AssignedRecord>(&bytes)?;
        if record.node != node {
            return Err(format!("it is of the node {}", record.node));
        }
        // It does not have what was under way when the daemon ended.
        let this_boot = false;
        Ok(Some(Recalled { record, this_boot }))
    }

    fn write(&self, record: &AssignedRecord) -> io::Result<()> {
        private_file::make_folder(&self.folder)?;
        let text = journal::encode(&self.boot, record)?;
        private_file::replace_after(&self.path(), &text, |file| {
            file.sync_all()?;
            crash::point_in_passing("assigned.written");
            Ok(())
        })?;
        File::open(&self.folder)?.sync_all()
    }
}

/// What a daemon before has left of this node: the journal of this boot, or else the
/// file. Where neither tells anything, a warning says so.
pub(crate) async fn recall(
    journal: &Journal,
    file: &AssignedFile,
    node: &str,
    events: &Events,
) -> Option<Recalled> {
    let (records, damaged) = match journal.read::<AssignedRecord>(Folder::Assigned) {
        Ok(contents) => (contents.current, contents.damaged),
        Err(error) => {
            tracing::warn!(%error, "the journal does not tell what Veni assigned");
            (Vec::new(), Vec::new())
        }
    };
    for (name, reason) in damaged {
        let text = format!(
            "dropped the damaged journal entry {name} of what Veni assigned: {reason}; what its \
             last calls brought to the primary interface is kept"
        );
        tracing::error!("{text}");
        events.emit(EventKind::Repair, text);
    }
    let mut records = records.into_iter().map(|(_, record)| record);
    if let Some(record) = records.find(|record| record.node == node) {
        let this_boot = true;
        return Some(Recalled { record, this_boot });
    }
    let (this, node) = (file.clone(), node.to_owned());
    let read = beside(move || this.read(&node)).await;
    let path = file.path().display().to_string();
    match read.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(Some(recalled)) => Some(recalled),
        Ok(None) => {
            tracing::info!(
                path,
                "no record of what Veni assigned to this node: what the primary interface holds \
                 is never given back"
            );
            None
        }
        Err(reason) => {
            let text = format!(
                "the record of what Veni assigned ({path}) cannot be used: {reason}. What the \
                 primary interface holds is never given back; the record is made anew"
            );
            tracing::warn!("{text}");
            events.emit(EventKind::Repair, text);
            None
        }
    }
}

/// Where the pool's owner puts each new record.
#[derive(Debug)]
pub(crate) struct Keeper {
    journal: Journal,
    latest: watch::Sender<Option<AssignedRecord>>,
}

impl Keeper {
    /// A keeper, and the task that writes the file until the keeper is dropped.
    pub(crate) fn new(
        journal: Journal,
        file: AssignedFile,
        events: Events,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (latest, records) = watch::channel(None);
        let writer = write_each(file, records, events);
        (Self { journal, latest }, writer)
    }

    /// Keeps a record: at once for a daemon of this boot, soon for one after a reboot.
    pub(crate) fn keep(&self, record: AssignedRecord) {
        if let Err(error) = self.journal.write(Folder::Assigned, ENTRY, &record) {
            tracing::warn!(%error, "a restart would not know what Veni assigned last");
        }
        let settled = record.settled();
        self.latest.send_if_modified(|latest| {
            let news = latest.as_ref() != Some(&settled);
            if news {
                *latest = Some(settled);
            }
            news
        });
    }
}

/// Writes the latest record again and again, the last one when nobody is left to make
/// another. One that cannot be written is tried again.
async fn write_each(
    file: AssignedFile,
    mut records: watch::Receiver<Option<AssignedRecord>>,
    events: Events,
) {
    let (mut failures, mut retry_at) = (0_u32, None::<Instant>);
    loop {
        let over = tokio::select! {
            biased;
            changed = records.changed() => changed.is_err(),
            () = sleep_until(retry_at) => false,
        };
        if over && retry_at.is_none() {
            return;
        }
        let Some(record) = records.borrow_and_update().clone() else {
            continue;
        };
        let this = file.clone();
        let written = beside(move || this.write(&record)).await;
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) if failures > 0 => {
                tracing::info!(
                    failures,
                    "the record of what Veni assigned is written again"
                );
                (failures, retry_at) = (0, None);
            }
            Ok(()) => retry_at = None,
            Err(error) => {
                report(&file, &error, failures, &events);
                failures = failures.saturating_add(1);
                retry_at = Some(Instant::now() + grown(FIRST_PAUSE, LONGEST_PAUSE, failures));
            }
        }
        if over {
            return;
        }
    }
}

/// Does what may wait for a disk on a thread of its own. In a replayed history a thread would
/// end when it likes, so there it is done in its place.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    #[cfg(feature = "replay")]
    if crate::replay::now().is_some() {
        return Ok(work());
    }
    spawn_blocking(work).await
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn report(file: &AssignedFile, error: &io::Error, failures: u32, events: &Events) {
    let text = format!(
        "failed to write {}: {error}; after a reboot Veni would keep what it has assigned to the \
         primary interface since. Make room or make it writable, or set VENI_STATE_DIR",
        file.path().display()
    );
    tracing::warn!("{text}");
    if failures == 0 {
        events.emit(EventKind::Repair, text);
    }
}

#[cfg(test)]
mod tests;
