//! The bpf file system, on which maps outlive the process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use rustix::mount::{MountFlags, mount};

use crate::{Error, LAYOUT};

/// `BPF_FS_MAGIC`.
const BPF: i64 = 0xcafe_4a11;

fn is_bpf(path: &Path) -> bool {
    #[allow(
        clippy::unnecessary_cast,
        reason = "the field is of another width on other machines"
    )]
    statfs(path).is_ok_and(|found| found.f_type as i64 == BPF)
}

/// The folder of this layout's pins.
pub(crate) fn folder(pin_dir: &Path) -> PathBuf {
    pin_dir.join(format!("v{LAYOUT}"))
}

/// Makes the folder of this layout's pins. Mounts a bpf file system on the folder above
/// `pin_dir` if none is there.
pub(crate) fn ensure(pin_dir: &Path) -> Result<PathBuf, Error> {
    let root = pin_dir.parent().unwrap_or(pin_dir);
    if !is_bpf(root) {
        let made = match fs::create_dir_all(root) {
            Ok(()) => mount("bpf", root, "bpf", MountFlags::empty(), None).map_err(Into::into),
            Err(source) => Err(source),
        };
        made.map_err(|source| Error::Mount {
            path: root.to_owned(),
            source,
        })?;
    }
    let folder = folder(pin_dir);
    match fs::create_dir_all(&folder) {
        Ok(()) => Ok(folder),
        Err(source) => Err(Error::Pin {
            operation: "make the folder",
            path: folder,
            source,
        }),
    }
}

/// Removes all pins of all layouts.
pub(crate) fn remove(pin_dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(pin_dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Pin {
            operation: "remove the pins below",
            path: pin_dir.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}
