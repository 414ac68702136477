//! Notes about DELs that came while the daemon was down: one small file per
//! attachment in the run folder, which the daemon works off before it serves
//! anything else.
//!
//! A note is JSON: `version` (1), `network`, `containerId`, `interfaceName`,
//! `timeMs` and `bootMs` (of the DEL, milliseconds since the epoch and since the boot; the
//! second by a clock that nobody sets) and `bootId` (empty when it could not be read). It appears whole, by a rename; a name that starts
//! with a dot is one that was not finished. The daemon ignores a note that is
//! older than the ADD it would undo.
//!
//! There is a note only for what the daemon's journal has, so that they do not grow
//! while the daemon is down and sandboxes are tried again and again. One that is not
//! left costs an address until the pod has gone: with its namespace its link goes, and by
//! that the daemon finds it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use veni_api::file_names;
use veni_api::v1::Attachment;

/// Most notes that are left, whatever the journal says.
const MOST_NOTES: usize = 4096;

/// Version of the notes' format that this build writes.
pub const FORMAT_VERSION: u32 = 1;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A note that was written.
#[derive(Debug)]
pub struct Note {
    path: PathBuf,
}

impl Note {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes it back. One that is gone already has been worked off.
    ///
    /// # Errors
    /// Those of unlink(2), but for a missing file.
    pub fn withdraw(self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Leaves a note below `run_dir` that `attachment` is to be released. A second
/// one for the same attachment replaces the first. `None` where no note is needed: the
/// daemon has no such attachment.
///
/// # Errors
/// Those of making the folder and writing the file, and [`io::ErrorKind::StorageFull`]
/// where there are too many notes; nothing half written stays.
pub fn leave(run_dir: &Path, attachment: &Attachment) -> io::Result<Option<Note>> {
    let folder = run_dir.join(veni_api::PENDING_DIR);
    let name = file_names::note(file_names::parts(attachment));
    let path = folder.join(&name);
    if !is_in_journal(run_dir, attachment) {
        return Ok(None);
    }
    if !path.exists() && is_full(&folder) {
        let reason = format!("{MOST_NOTES} notes are there already");
        return Err(io::Error::new(io::ErrorKind::StorageFull, reason));
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    let unfinished = folder.join(format!(".{name}.{}", std::process::id()));
    let written =
        write(&unfinished, &content(attachment)).and_then(|()| std::fs::rename(&unfinished, &path));
    if let Err(error) = written {
        // Best effort: the first error is the one worth telling.
        drop(std::fs::remove_file(&unfinished));
        return Err(error);
    }
    Ok(Some(Note { path }))
}

/// Whether an error means that the folder takes no file for now.
pub fn is_out_of_room(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let broken = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    broken
        || matches!(
            error.kind(),
            StorageFull | QuotaExceeded | ReadOnlyFilesystem
        )
}

/// Whether the daemon has something to release. A journal that cannot be looked into
/// may have it.
fn is_in_journal(run_dir: &Path, attachment: &Attachment) -> bool {
    match std::fs::read_dir(run_dir.join(veni_api::ENDPOINTS_DIR)) {
        Ok(entries) => {
            let prefix = file_names::entry_prefix(file_names::parts(attachment));
            let begins = |name: &std::ffi::OsStr| {
                let name = name.as_encoded_bytes();
                name.starts_with(prefix.as_bytes())
            };
            let mut names = entries.flatten().map(|entry| entry.file_name());
            names.any(|name| begins(&name))
        }
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

fn is_full(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder);
    entries.is_ok_and(|entries| entries.take(MOST_NOTES).count() == MOST_NOTES)
}

/// The id of this boot, `None` when the kernel does not tell.
pub fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string(BOOT_ID).ok()?;
    Some(text.trim().to_owned())
}

fn write(path: &Path, content: &Value) -> io::Result<()> {
    // An unfinished file of a process with the same id is left over: overwrite it.
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content.to_string().as_bytes())
}

/// By the clock that the daemon compares with, `CLOCK_BOOTTIME`.
fn boot_millis() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let since = Duration::try_from(now).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn content(attachment: &Attachment) -> Value {
    let milliseconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    json!({
        "version": FORMAT_VERSION,
        "network": attachment.network,
        "containerId": attachment.container_id,
        "interfaceName": attachment.interface_name,
        "timeMs": u64::try_from(milliseconds).unwrap_or(u64::MAX),
        "bootMs": boot_millis(),
        "bootId": boot_id().unwrap_or_default(),
    })
}
