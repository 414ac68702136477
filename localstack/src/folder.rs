//! A lab's folder: the paths in it, the lock that says who owns it, and the clean-up
//! after an earlier run that was killed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::LabError;
use crate::processes::end_leftovers;

/// The lock file. The lab locks it as long as it runs; it contains the process id.
const LOCK: &str = "lock";
/// The list of the lab's processes, for the clean-up after a kill.
pub(crate) const PROCESSES: &str = "processes";
/// Longest path that fits into a unix socket's address, bytes.
const LONGEST_SOCKET: usize = 107;

/// Folder of the lab with a name: `${XDG_RUNTIME_DIR:-/tmp}/veni-lab-<name>`.
pub fn default_folder(name: &str) -> PathBuf {
    let parent = std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|folder| !folder.is_empty())
        .map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    parent.join(format!("veni-lab-{name}"))
}

/// A lab's folder, with its lock. Dropping the value removes the folder and releases
/// the lock.
#[derive(Debug)]
pub struct LabFolder {
    path: PathBuf,
    // Nobody reads it: as long as it is open, the lock holds.
    _lock: File,
}

impl LabFolder {
    /// Takes a folder, and makes it if needed. First ends the processes and removes the
    /// files that a killed lab has left in it.
    ///
    /// # Errors
    /// `Running` when a lab lives in it, `ForeignFolder` when it is not a folder
    /// of this user, `LongPath` when sockets would not fit.
    pub fn claim(path: &Path) -> Result<Self, LabError> {
        make_private(path)?;
        let socket = path.join("node99/run/operator.sock");
        let length = socket.as_os_str().len();
        if length > LONGEST_SOCKET {
            return Err(LabError::LongPath {
                path: socket,
                length,
            });
        }
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(LabError::io(format!("open {}", path.join(LOCK).display())))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(LabError::Running {
                folder: path.to_owned(),
                pid: read_pid(&mut lock),
            });
        }
        end_leftovers(&path.join(PROCESSES));
        empty(path).map_err(LabError::io(format!("empty {}", path.display())))?;
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(LabError::io(format!("write {}", path.join(LOCK).display())))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The process that runs a lab in this folder, if one does.
    pub fn owner(path: &Path) -> Option<u32> {
        let mut lock = File::open(path.join(LOCK)).ok()?;
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => None,
            Err(_) => Some(read_pid(&mut lock)),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder and everything in it.
    ///
    /// # Errors
    /// `Io` when something in it cannot be removed.
    pub fn remove(self) -> Result<(), LabError> {
        let operation = format!("remove {}", self.path.display());
        fs::remove_dir_all(&self.path).map_err(LabError::io(operation))
    }
}

impl Drop for LabFolder {
    fn drop(&mut self) {
        // After a shutdown in order the folder is gone already. Otherwise this removes
        // what it can, because a drop has nobody to report to.
        let _gone = fs::remove_dir_all(&self.path);
    }
}

fn read_pid(lock: &mut File) -> u32 {
    let mut text = String::new();
    // A lab that has just started may not have written its id yet.
    match lock.rewind().and_then(|()| lock.read_to_string(&mut text)) {
        Ok(_) => text.trim().parse().unwrap_or_default(),
        Err(_) => 0,
    }
}

/// Makes a folder that only this user can enter, or accepts such a folder. The
/// default place is /tmp, where anybody could have put one.
fn make_private(path: &Path) -> Result<(), LabError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => {
            return Err(LabError::Io {
                operation: format!("make the folder {}", path.display()),
                source,
            });
        }
    }
    let found =
        fs::symlink_metadata(path).map_err(LabError::io(format!("look at {}", path.display())))?;
    let reason = if !found.is_dir() {
        "it is not a folder"
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        "it belongs to another user"
    } else if found.mode() & 0o022 != 0 {
        "others may write to it"
    } else if !path.join(LOCK).exists()
        && fs::read_dir(path).is_ok_and(|mut all| all.next().is_some())
    {
        "it holds other files"
    } else {
        return Ok(());
    };
    Err(LabError::ForeignFolder {
        folder: path.to_owned(),
        reason: reason.to_owned(),
    })
}

fn empty(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() == LOCK {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn a_folder_is_owned_by_one_lab_at_a_time_and_free_again_afterwards() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("lab");
        let first = LabFolder::claim(&path).unwrap();
        let refused = LabFolder::claim(&path).unwrap_err();
        assert!(matches!(refused, LabError::Running { pid, .. } if pid == std::process::id()));
        assert_eq!(LabFolder::owner(&path), Some(std::process::id()));
        drop(first);
        assert_eq!(LabFolder::owner(&path), None);
        LabFolder::claim(&path).unwrap().remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn leftover_files_go_and_foreign_folders_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("lab");
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        fs::write(path.join(LOCK), "1\n").unwrap();
        fs::create_dir(path.join("node1")).unwrap();
        fs::write(path.join("node1/log"), "old").unwrap();
        let claimed = LabFolder::claim(&path).unwrap();
        assert!(!path.join("node1").exists());
        drop(claimed);
        assert!(!path.exists());

        let foreign = parent.path().join("letters");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("dear"), "x").unwrap();
        let refused = LabFolder::claim(&foreign).unwrap_err();
        assert!(
            matches!(refused, LabError::ForeignFolder { .. }),
            "{refused}"
        );
        assert!(foreign.join("dear").exists());
    }
}
