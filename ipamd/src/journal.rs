//! What the daemon must not forget: one small file per attachment, one per
//! release that is under way, one per interface's routing table, and the last inventory.
//!
//! A file is written beside its place and renamed into it, without fsync: the
//! journal is for the death of the daemon, not of the machine, after which
//! nothing it says holds any more (the boot id tells). The first line carries
//! format, boot id and checksum of the second.
//!
//! A run folder may be full or read-only for a while. What cannot be written is
//! the caller's to decide about; what cannot be removed is remembered here and
//! removed when that is possible again.

mod assigned_record;
mod cloud_memory;
pub mod endpoint;
mod interface_table;
mod pending_release;
mod running_change;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::private_file;
pub(crate) use assigned_record::{AssignedRecord, Assignment, Origin};
pub(crate) use cloud_memory::CloudMemory;
pub(crate) use interface_table::InterfaceTable;
pub(crate) use pending_release::PendingRelease;
pub(crate) use running_change::{Call, RunningChange};

/// Version of the files' format.
const FORMAT: u32 = 1;

/// The folders of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// One file per attachment.
    Endpoints,
    /// One file per release of addresses to the cloud.
    Releases,
    /// The node and its inventory, as last seen.
    Cloud,
    /// What Veni assigned to the node's interfaces.
    Assigned,
    /// One file per routing table that an interface has.
    Tables,
    /// One file per change that runs in the cloud on its own.
    Operations,
    /// The ENIConfig that new interfaces follow, where the cluster's API tells of it.
    EniConfig,
}

impl Folder {
    fn name(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoints",
            Self::Releases => "releases",
            Self::Cloud => "cloud",
            Self::Assigned => "assigned",
            Self::Tables => "tables",
            Self::Operations => "operations",
            Self::EniConfig => "eni-config",
        }
    }
}

/// What a folder holds.
#[derive(Debug)]
pub struct Contents<T> {
    /// Entries of this boot, by name.
    pub current: Vec<(String, T)>,
    /// Entries of an earlier boot, by name.
    pub earlier: Vec<(String, T)>,
    /// Files that made no sense, and why; they have been removed.
    pub damaged: Vec<(String, String)>,
}

/// A journal entry that could not be written, or a folder that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation} journal file {path}: {reason}")]
pub struct JournalError {
    operation: &'static str,
    path: String,
    reason: io::Error,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    boot: String,
    checksum: String,
}

/// The journal of one run folder.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: PathBuf,
    boot: String,
    /// Files that are to be removed and could not be.
    remaining: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Journal {
    /// The journal below `run_dir`. Its folders are made when they are needed, so
    /// that one who cannot make them yet can still take endpoints away.
    pub fn new(run_dir: &Path, boot: &str) -> Self {
        Self {
            folder: run_dir.join("journal"),
            boot: boot.to_owned(),
            remaining: Arc::default(),
        }
    }

    /// Writes an entry, replacing the one of that name.
    ///
    /// # Errors
    /// The file cannot be written: a full or read-only run folder. The entry is
    /// what it was before, and nothing half written stays.
    pub fn write<T: Serialize>(
        &self,
        folder: Folder,
        name: &str,
        entry: &T,
    ) -> Result<(), JournalError> {
        let path = self.path(folder, name);
        // First, or what is removed again and again might be the new entry.
        let was_over = self.lock_remaining().remove(&path);
        self.replace(&path, entry).map_err(|source| {
            if was_over {
                self.lock_remaining().insert(path.clone());
            }
            failed("write", &path, source)
        })
    }

    fn replace<T: Serialize>(&self, path: &Path, entry: &T) -> io::Result<()> {
        let text = encode(&self.boot, entry)?;
        match (private_file::replace(path, &text), path.parent()) {
            (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
                // The first entry, or somebody has removed the folder.
                private_file::make_folder(folder)?;
                private_file::replace(path, &text)
            }
            (replaced, _) => replaced,
        }
    }

    /// Removes an entry; one that is not there is none to remove. One that cannot
    /// be removed now is by [`Journal::remove_remaining`].
    pub fn remove(&self, folder: Folder, name: &str) {
        self.remove_file(self.path(folder, name));
    }

    fn remove_file(&self, path: PathBuf) {
        if let Err(error) = remove_if_there(&path) {
            let mut remaining = self.lock_remaining();
            if remaining.is_empty() {
                tracing::warn!(path = %path.display(), %error, "a journal entry that is over stays until it can be removed");
            }
            remaining.insert(path);
        }
    }

    /// Tries again to remove what could not be removed.
    pub fn remove_remaining(&self) {
        let mut remaining = self.lock_remaining();
        let before = remaining.len();
        remaining.retain(|path| remove_if_there(path).is_err());
        if before > 0 && remaining.is_empty() {
            tracing::info!(
                entries = before,
                "the journal is rid of entries that are over"
            );
        }
    }

    fn lock_remaining(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.remaining
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a folder. Files that were being written when the daemon died, and
    /// damaged ones, are removed.
    ///
    /// # Errors
    /// The folder or a file cannot be read.
    pub fn read<T: DeserializeOwned>(&self, folder: Folder) -> Result<Contents<T>, JournalError> {
        let folder = self.folder.join(folder.name());
        let mut contents = Contents {
            current: Vec::new(),
            earlier: Vec::new(),
            damaged: Vec::new(),
        };
        for entry in list(&folder)? {
            let path = entry
                .map_err(|source| failed("list", &folder, source))?
                .path();
            let name = path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .unwrap_or_default();
            if path.extension().is_none_or(|extension| extension != "json") {
                self.remove_file(path);
                continue;
            }
            // A file that cannot be read now is not a damaged one.
            let bytes = fs::read(&path).map_err(|reason| failed("read", &path, reason))?;
            match decode(&bytes) {
                Ok((boot, entry)) if boot == self.boot => contents.current.push((name, entry)),
                Ok((_, entry)) => contents.earlier.push((name, entry)),
                Err(reason) => {
                    contents.damaged.push((name, reason));
                    self.remove_file(path);
                }
            }
        }
        contents.current.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(contents)
    }

    /// The entries of this boot that can be read, and nothing is removed.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn peek<T: DeserializeOwned>(&self, folder: Folder) -> Result<Vec<T>, JournalError> {
        let folder = self.folder.join(folder.name());
        let paths = list(&folder)?.flatten().map(|entry| entry.path());
        let whole = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
        let parsed = whole.filter_map(|path| decode::<T>(&fs::read(path).ok()?).ok());
        let current = parsed.filter(|(boot, _)| *boot == self.boot);
        Ok(current.map(|(_, entry)| entry).collect())
    }

    /// The entries of this boot, for who must miss none; nothing is removed.
    ///
    /// # Errors
    /// The folder or an entry cannot be read, or an entry makes no sense, of whatever boot it is.
    pub(crate) fn peek_all<T: DeserializeOwned>(
        &self,
        folder: Folder,
    ) -> Result<Vec<T>, JournalError> {
        let folder = self.folder.join(folder.name());
        let mut all = Vec::new();
        for entry in list(&folder)? {
            let entry = entry.map_err(|source| failed("list", &folder, source))?;
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let bytes = fs::read(&path).map_err(|reason| failed("read", &path, reason))?;
            let (boot, entry) = decode(&bytes)
                .map_err(|reason| failed("make sense of", &path, io::Error::other(reason)))?;
            if boot == self.boot {
                all.push(entry);
            }
        }
        Ok(all)
    }

    /// The names of a folder's entries of this boot that can be read, and nothing is
    /// removed.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn names<T: DeserializeOwned>(
        &self,
        folder: Folder,
    ) -> Result<BTreeSet<String>, JournalError> {
        let folder = self.folder.join(folder.name());
        let paths = list(&folder)?.flatten().map(|entry| entry.path());
        let whole = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
        let names = whole.filter_map(|path| {
            let (boot, _) = decode::<T>(&fs::read(&path).ok()?).ok()?;
            let name = path.file_stem()?.to_string_lossy().into_owned();
            (boot == self.boot).then_some(name)
        });
        Ok(names.collect())
    }

    fn path(&self, folder: Folder, name: &str) -> PathBuf {
        self.folder.join(folder.name()).join(format!("{name}.json"))
    }
}

/// What is in a folder; nothing in one that was never needed.
fn list(folder: &Path) -> Result<impl Iterator<Item = io::Result<fs::DirEntry>>, JournalError> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(failed("list", folder, error)),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A file's text.
pub(crate) fn encode<T: Serialize>(boot: &str, entry: &T) -> io::Result<String> {
    let body = serde_json::to_string(entry)?;
    let header = serde_json::to_string(&Header {
        format: FORMAT,
        boot: boot.to_owned(),
        checksum: checksum(&body),
    })?;
    Ok(format!("{header}\n{body}\n"))
}

/// The boot in which a file was written, and its entry; or what is wrong with it, in
/// words.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(String, T), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let (header, body) = text.split_once('\n').ok_or("it has no second line")?;
    let body = body.strip_suffix('\n').ok_or("it ends early")?;
    let header: Header = serde_json::from_str(header).map_err(|error| error.to_string())?;
    if header.format != FORMAT {
        return Err(format!("its format {} is not {FORMAT}", header.format));
    }
    if header.checksum != checksum(body) {
        return Err("its checksum is wrong".to_owned());
    }
    let entry = serde_json::from_str(body).map_err(|error| error.to_string())?;
    Ok((header.boot, entry))
}

fn failed(operation: &'static str, path: &Path, reason: io::Error) -> JournalError {
    JournalError {
        operation,
        path: path.display().to_string(),
        reason,
    }
}

/// FNV-1a, 64 bits: finds torn and edited files, defends against nobody.
fn checksum(body: &str) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in body.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<T>(entries: &[(String, T)]) -> Vec<&str> {
        entries.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn what_is_written_is_read_until_it_is_removed() {
        let folder = tempfile::tempdir().expect("temp folder");
        let journal = Journal::new(folder.path(), "boot-1");
        journal.write(Folder::Endpoints, "a", &1).expect("writes");
        journal.write(Folder::Endpoints, "a", &2).expect("replaces");
        let contents = journal.read::<u32>(Folder::Endpoints).expect("reads");
        assert_eq!(contents.current, [("a".to_owned(), 2)]);
        for _ in 0..2 {
            // Twice is no error.
            journal.remove(Folder::Endpoints, "a");
        }
        let contents = journal.read::<u32>(Folder::Endpoints).expect("reads");
        assert!(contents.current.is_empty());
    }

    #[test]
    fn entries_of_an_earlier_boot_are_told_apart() {
        let folder = tempfile::tempdir().expect("temp folder");
        let before = Journal::new(folder.path(), "boot-1");
        before.write(Folder::Endpoints, "old", &1).expect("writes");
        let now = Journal::new(folder.path(), "boot-2");
        now.write(Folder::Endpoints, "new", &2).expect("writes");
        let contents = now.read::<u32>(Folder::Endpoints).expect("reads");
        assert_eq!(names(&contents.current), ["new"]);
        assert_eq!(names(&contents.earlier), ["old"]);
    }

    #[test]
    fn torn_edited_and_half_written_files_are_dropped_and_the_first_two_reported() {
        let folder = tempfile::tempdir().expect("temp folder");
        let journal = Journal::new(folder.path(), "boot-1");
        for name in ["good", "torn", "edited"] {
            journal
                .write(Folder::Endpoints, name, &"text")
                .expect("writes");
        }
        let endpoints = folder.path().join("journal/endpoints");
        let text = fs::read_to_string(endpoints.join("torn.json")).expect("reads");
        fs::write(endpoints.join("torn.json"), &text[..text.len() - 4]).expect("writes");
        let edited = text.replace("text", "next");
        fs::write(endpoints.join("edited.json"), edited).expect("writes");
        fs::write(endpoints.join("half.new"), "{").expect("writes");
        let mut contents = journal.read::<String>(Folder::Endpoints).expect("reads");
        contents.damaged.sort();
        assert_eq!(names(&contents.current), ["good"]);
        assert_eq!(names(&contents.damaged), ["edited", "torn"]);
        let left = fs::read_dir(&endpoints).expect("lists").count();
        assert_eq!(left, 1, "only the good file stays");
    }

    #[test]
    fn a_peek_shows_what_is_whole_and_of_this_boot_and_removes_nothing() {
        let folder = tempfile::tempdir().expect("temp folder");
        let before = Journal::new(folder.path(), "boot-1");
        before.write(Folder::Endpoints, "old", &1).expect("writes");
        let journal = Journal::new(folder.path(), "boot-2");
        journal.write(Folder::Endpoints, "new", &2).expect("writes");
        let damaged = journal.path(Folder::Endpoints, "damaged");
        fs::write(damaged, "nonsense").expect("writes");
        let shown = journal.peek::<u32>(Folder::Endpoints).expect("reads");
        assert_eq!(shown, [2]);
        let refused = journal.peek_all::<u32>(Folder::Endpoints);
        let refused = refused.expect_err("one makes no sense").to_string();
        assert!(refused.contains("endpoints/damaged.json"), "{refused}");
        let contents = journal.read::<u32>(Folder::Endpoints).expect("reads");
        assert_eq!(names(&contents.damaged), ["damaged"]);
        assert_eq!(names(&contents.earlier), ["old"]);
        let all = journal.peek_all::<u32>(Folder::Endpoints);
        assert_eq!(all.expect("the damaged one is gone"), [2]);
    }

    #[test]
    fn what_could_not_be_removed_goes_when_it_can_be_and_what_was_written_again_stays() {
        let folder = tempfile::tempdir().expect("temp folder");
        let journal = Journal::new(folder.path(), "boot-1");
        for name in ["gone", "kept"] {
            journal.write(Folder::Endpoints, name, &1).expect("writes");
        }
        let (endpoints, aside) = (
            folder.path().join("journal/endpoints"),
            folder.path().join("aside"),
        );
        // A file in the folder's place refuses everything.
        fs::rename(&endpoints, &aside).expect("moves");
        fs::write(&endpoints, "").expect("writes");
        for name in ["gone", "kept"] {
            journal.remove(Folder::Endpoints, name);
        }
        let error = journal
            .write(Folder::Endpoints, "kept", &2)
            .expect_err("is refused");
        assert!(
            error.to_string().contains("journal/endpoints/kept.json"),
            "{error}"
        );
        journal.remove_remaining();
        fs::remove_file(&endpoints).expect("removes");
        fs::rename(&aside, &endpoints).expect("moves");
        journal
            .write(Folder::Endpoints, "kept", &3)
            .expect("writes");
        journal.remove_remaining();
        let contents = journal.read::<u32>(Folder::Endpoints).expect("reads");
        assert_eq!(contents.current, [("kept".to_owned(), 3)]);
    }

    #[test]
    fn folders_that_are_not_there_are_empty_and_made_for_the_first_entry() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("temp folder");
        let journal = Journal::new(folder.path(), "boot-1");
        let nothing = journal.peek::<u32>(Folder::Releases).expect("reads");
        assert!(nothing.is_empty());
        for _ in 0..2 {
            let contents = journal.read::<u32>(Folder::Releases).expect("reads");
            assert!(contents.current.is_empty());
            journal.write(Folder::Releases, "a", &1).expect("writes");
            let file = folder.path().join("journal/releases/a.json");
            for (path, mode) in [(file.parent().expect("a folder"), 0o700), (&file, 0o600)] {
                let found = fs::metadata(path).expect("it is there");
                assert_eq!(found.permissions().mode() & 0o7777, mode);
            }
            // Somebody tidies up under a daemon that runs.
            fs::remove_dir_all(folder.path().join("journal")).expect("removes");
        }
    }
}
