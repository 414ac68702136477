//! What the daemon must not forget: one small file per attachment, one per
//! release that is under way, and the last inventory.
//!
//! A file is written beside its place and renamed into it, without fsync: the
//! journal is for the death of the daemon, not of the machine, after which
//! nothing it says holds any more (the boot id tells). The first line carries
//! format, boot id and checksum of the second.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of the files' format.
const FORMAT: u32 = 1;

/// The folders of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// One file per attachment.
    Endpoints,
    /// One file per release of addresses to the cloud.
    Releases,
    /// The node and its inventory, as last seen.
    Cloud,
    /// What Veni assigned to the node's interfaces.
    Assigned,
}

impl Shelf {
    fn folder(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoints",
            Self::Releases => "releases",
            Self::Cloud => "cloud",
            Self::Assigned => "assigned",
        }
    }
}

/// What a shelf holds.
#[derive(Debug)]
pub struct Contents<T> {
    /// Entries of this boot, by name.
    pub current: Vec<(String, T)>,
    /// Entries of an earlier boot, by name.
    pub earlier: Vec<(String, T)>,
    /// Files that could not be read, and why; they have been removed.
    pub damaged: Vec<(String, String)>,
}

/// A journal entry that could not be written or removed.
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
}

impl Journal {
    /// Opens the journal below `run_dir` and makes its folders.
    ///
    /// # Errors
    /// The folders cannot be made.
    pub fn try_new(run_dir: &Path, boot: &str) -> Result<Self, JournalError> {
        let journal = Self {
            folder: run_dir.join("journal"),
            boot: boot.to_owned(),
        };
        for shelf in [
            Shelf::Endpoints,
            Shelf::Releases,
            Shelf::Cloud,
            Shelf::Assigned,
        ] {
            let path = journal.folder.join(shelf.folder());
            fs::create_dir_all(&path).map_err(|source| failed("make", &path, source))?;
        }
        Ok(journal)
    }

    /// Writes an entry, replacing the one of that name.
    ///
    /// # Errors
    /// The file cannot be written: a full or read-only run folder.
    pub fn write<T: Serialize>(
        &self,
        shelf: Shelf,
        name: &str,
        entry: &T,
    ) -> Result<(), JournalError> {
        let path = self.path(shelf, name);
        self.replace(&path, entry)
            .map_err(|source| failed("write", &path, source))
    }

    fn replace<T: Serialize>(&self, path: &Path, entry: &T) -> io::Result<()> {
        let text = encode(&self.boot, entry)?;
        let beside = path.with_extension("new");
        fs::write(&beside, text)?;
        fs::rename(&beside, path)
    }

    /// Removes an entry; one that is not there is no error.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(&self, shelf: Shelf, name: &str) -> Result<(), JournalError> {
        let path = self.path(shelf, name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path, source))
            }
            _ => Ok(()),
        }
    }

    /// Reads a shelf. Files that were being written when the daemon died, and
    /// damaged ones, are removed.
    ///
    /// # Errors
    /// The folder or a file cannot be read.
    pub fn read<T: DeserializeOwned>(&self, shelf: Shelf) -> Result<Contents<T>, JournalError> {
        let folder = self.folder.join(shelf.folder());
        let mut contents = Contents {
            current: Vec::new(),
            earlier: Vec::new(),
            damaged: Vec::new(),
        };
        let entries = fs::read_dir(&folder).map_err(|source| failed("list", &folder, source))?;
        for entry in entries {
            let path = entry
                .map_err(|source| failed("list", &folder, source))?
                .path();
            let name = path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .unwrap_or_default();
            if path.extension().is_none_or(|extension| extension != "json") {
                fs::remove_file(&path).map_err(|source| failed("remove", &path, source))?;
                continue;
            }
            // A file that cannot be read now is not a damaged one.
            let bytes = fs::read(&path).map_err(|reason| failed("read", &path, reason))?;
            match decode(&bytes) {
                Ok((boot, entry)) if boot == self.boot => contents.current.push((name, entry)),
                Ok((_, entry)) => contents.earlier.push((name, entry)),
                Err(reason) => {
                    contents.damaged.push((name, reason));
                    fs::remove_file(&path).map_err(|source| failed("remove", &path, source))?;
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
    pub fn peek<T: DeserializeOwned>(&self, shelf: Shelf) -> Result<Vec<T>, JournalError> {
        let folder = self.folder.join(shelf.folder());
        let entries = fs::read_dir(&folder).map_err(|source| failed("list", &folder, source))?;
        let paths = entries.flatten().map(|entry| entry.path());
        let whole = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
        let parsed = whole.filter_map(|path| decode::<T>(&fs::read(path).ok()?).ok());
        let current = parsed.filter(|(boot, _)| *boot == self.boot);
        Ok(current.map(|(_, entry)| entry).collect())
    }

    fn path(&self, shelf: Shelf, name: &str) -> PathBuf {
        self.folder
            .join(shelf.folder())
            .join(format!("{name}.json"))
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
        let journal = Journal::try_new(folder.path(), "boot-1").expect("opens");
        journal.write(Shelf::Endpoints, "a", &1).expect("writes");
        journal.write(Shelf::Endpoints, "a", &2).expect("replaces");
        let contents = journal.read::<u32>(Shelf::Endpoints).expect("reads");
        assert_eq!(contents.current, [("a".to_owned(), 2)]);
        journal.remove(Shelf::Endpoints, "a").expect("removes");
        journal
            .remove(Shelf::Endpoints, "a")
            .expect("twice is no error");
        let contents = journal.read::<u32>(Shelf::Endpoints).expect("reads");
        assert!(contents.current.is_empty());
    }

    #[test]
    fn entries_of_an_earlier_boot_are_told_apart() {
        let folder = tempfile::tempdir().expect("temp folder");
        let before = Journal::try_new(folder.path(), "boot-1").expect("opens");
        before.write(Shelf::Endpoints, "old", &1).expect("writes");
        let now = Journal::try_new(folder.path(), "boot-2").expect("opens");
        now.write(Shelf::Endpoints, "new", &2).expect("writes");
        let contents = now.read::<u32>(Shelf::Endpoints).expect("reads");
        assert_eq!(names(&contents.current), ["new"]);
        assert_eq!(names(&contents.earlier), ["old"]);
    }

    #[test]
    fn torn_edited_and_half_written_files_are_dropped_and_the_first_two_reported() {
        let folder = tempfile::tempdir().expect("temp folder");
        let journal = Journal::try_new(folder.path(), "boot-1").expect("opens");
        for name in ["good", "torn", "edited"] {
            journal
                .write(Shelf::Endpoints, name, &"text")
                .expect("writes");
        }
        let shelf = folder.path().join("journal/endpoints");
        let text = fs::read_to_string(shelf.join("torn.json")).expect("reads");
        fs::write(shelf.join("torn.json"), &text[..text.len() - 4]).expect("writes");
        let edited = text.replace("text", "next");
        fs::write(shelf.join("edited.json"), edited).expect("writes");
        fs::write(shelf.join("half.new"), "{").expect("writes");
        let mut contents = journal.read::<String>(Shelf::Endpoints).expect("reads");
        contents.damaged.sort();
        assert_eq!(names(&contents.current), ["good"]);
        assert_eq!(names(&contents.damaged), ["edited", "torn"]);
        let left = fs::read_dir(&shelf).expect("lists").count();
        assert_eq!(left, 1, "only the good file stays");
    }

    #[test]
    fn a_peek_shows_what_is_whole_and_of_this_boot_and_removes_nothing() {
        let folder = tempfile::tempdir().expect("temp folder");
        let before = Journal::try_new(folder.path(), "boot-1").expect("opens");
        before.write(Shelf::Endpoints, "old", &1).expect("writes");
        let journal = Journal::try_new(folder.path(), "boot-2").expect("opens");
        journal.write(Shelf::Endpoints, "new", &2).expect("writes");
        let damaged = journal.path(Shelf::Endpoints, "damaged");
        fs::write(damaged, "nonsense").expect("writes");
        let shown = journal.peek::<u32>(Shelf::Endpoints).expect("reads");
        assert_eq!(shown, [2]);
        let contents = journal.read::<u32>(Shelf::Endpoints).expect("reads");
        assert_eq!(names(&contents.damaged), ["damaged"]);
        assert_eq!(names(&contents.earlier), ["old"]);
    }
}
