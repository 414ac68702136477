//! Notes about DELs that came while the daemon was down: one small file per
//! attachment in the run folder, which the daemon works off before it serves
//! anything else.
//!
//! A note is JSON: `version` (1), `network`, `containerId`, `interfaceName`,
//! `timeMs` (of the DEL, milliseconds since the epoch) and `bootId` (empty when
//! it could not be read). It appears whole, by a rename; a name that starts
//! with a dot is one that was not finished. The daemon ignores a note that is
//! older than the ADD it would undo.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use veni_api::v1::Attachment;

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
/// one for the same attachment replaces the first.
///
/// # Errors
/// Those of making the folder and writing the file.
pub fn leave(run_dir: &Path, attachment: &Attachment) -> io::Result<Note> {
    let folder = run_dir.join(veni_api::PENDING_DIR);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    let name = file_name(attachment);
    let path = folder.join(&name);
    let unfinished = folder.join(format!(".{name}.{}", std::process::id()));
    let written =
        write(&unfinished, &content(attachment)).and_then(|()| std::fs::rename(&unfinished, &path));
    if let Err(error) = written {
        // Best effort: the first error is the one worth telling.
        drop(std::fs::remove_file(&unfinished));
        return Err(error);
    }
    Ok(Note { path })
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
        "bootId": boot_id().unwrap_or_default(),
    })
}

/// A name that is the same for the same attachment, whatever characters are in
/// it: FNV-1a with 128 bits over its parts, each ended by a zero byte.
fn file_name(attachment: &Attachment) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let parts = [
        &attachment.network,
        &attachment.container_id,
        &attachment.interface_name,
    ];
    let hash = parts
        .into_iter()
        .flat_map(|part| part.bytes().chain([0]))
        .fold(OFFSET, |hash, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(PRIME)
        });
    format!("{hash:032x}.json")
}
