//! The run folder: who owns it, which boot it is, its sockets and marks; and the
//! claim on the node itself.

mod holder;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixListener;
use veni_api::READY_FILE;

/// Name of the lock file; it holds the owner's process id.
const LOCK: &str = "ipamd.lock";

/// Why the run folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// Another daemon has it.
    #[error("another ipamd (process {owner}) serves {folder}: one daemon per node; stop it first")]
    Taken {
        /// The folder.
        folder: String,
        /// The other's process id, as it wrote it.
        owner: String,
    },
    /// Another daemon, with another run folder, serves this network namespace.
    #[error("another ipamd ({holder}) serves this node: one daemon per node; stop it first")]
    NodeTaken {
        /// Its process and its run folder, as far as they can be seen.
        holder: String,
    },
    /// The system refused.
    #[error("failed to {operation} {path}")]
    Refused {
        /// Operation.
        operation: &'static str,
        /// Object.
        path: String,
        /// Reason.
        source: io::Error,
    },
}

/// A run folder that is ours until this is dropped or the process dies.
#[derive(Debug)]
pub struct RunDir {
    folder: PathBuf,
    boot: String,
    _lock: File,
}

impl RunDir {
    /// Makes the folder, readable for root alone, and takes it.
    ///
    /// # Errors
    /// Another daemon has it, or it cannot be made.
    pub fn try_new(folder: &Path) -> Result<Self, RunDirError> {
        let refused = |operation, path: &Path| {
            let path = path.display().to_string();
            move |source| RunDirError::Refused {
                operation,
                path,
                source,
            }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(refused("make", folder))?;
        let lock_path = folder.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(refused("open", &lock_path))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut owner = String::new();
            // The id is a courtesy; the lock is what counts.
            drop(lock.read_to_string(&mut owner));
            return Err(RunDirError::Taken {
                folder: folder.display().to_string(),
                owner: owner.trim().to_owned(),
            });
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(refused("write", &lock_path))?;
        Ok(Self {
            folder: folder.to_owned(),
            boot: boot_id().map_err(refused("read", Path::new(BOOT_ID)))?,
            _lock: lock,
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The id of this boot.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Whether a daemon has been ready in this boot.
    pub fn was_ready(&self) -> bool {
        fs::read_to_string(self.folder.join(READY_FILE)).is_ok_and(|text| text.trim() == self.boot)
    }

    /// Notes that the daemon has been ready in this boot: from now on the
    /// plugin answers STATUS well even while the daemon is down.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn mark_ready(&self) -> Result<(), RunDirError> {
        let path = self.folder.join(READY_FILE);
        let beside = path.with_extension("new");
        fs::write(&beside, &self.boot)
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|source| RunDirError::Refused {
                operation: "write",
                path: path.display().to_string(),
                source,
            })
    }

    /// Listens on a socket of the folder that root alone may use. One that a
    /// dead daemon has left is replaced.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen(&self, name: &str) -> Result<UnixListener, RunDirError> {
        let path = self.folder.join(name);
        let refused = |source| RunDirError::Refused {
            operation: "listen on",
            path: path.display().to_string(),
            source,
        };
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(refused(source)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(refused)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(refused)?;
        Ok(listener)
    }
}

/// The claim on a node: held until this is dropped or the process dies.
#[derive(Debug)]
pub struct NodeClaim {
    _socket: UnixDatagram,
}

impl NodeClaim {
    /// Claims the network namespace that the process runs in. Abstract sockets
    /// belong to a network namespace (unix(7)), so this name is free once per node.
    ///
    /// # Errors
    /// Another daemon has it.
    pub fn try_new() -> Result<Self, RunDirError> {
        Self::claim("veni/ipamd")
    }

    fn claim(name: &str) -> Result<Self, RunDirError> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => RunDirError::NodeTaken {
                holder: holder::describe(name),
            },
            _ => RunDirError::Refused {
                operation: "claim",
                path: "the node".to_owned(),
                source,
            },
        };
        let name = SocketAddr::from_abstract_name(name).map_err(refused)?;
        let socket = UnixDatagram::bind_addr(&name).map_err(refused)?;
        Ok(Self { _socket: socket })
    }
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string(BOOT_ID)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_with_the_first_ones_process_id() {
        let folder = tempfile::tempdir().expect("temp folder");
        let first = RunDir::try_new(folder.path()).expect("takes it");
        let error = RunDir::try_new(folder.path()).expect_err("must be refused");
        assert!(
            error
                .to_string()
                .contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(first);
        RunDir::try_new(folder.path()).expect("free again");
    }

    #[test]
    fn a_node_is_claimed_once_whatever_the_run_folder() {
        let name = format!("veni/test-{}", std::process::id());
        let first = NodeClaim::claim(&name).expect("nobody else has it");
        let error = NodeClaim::claim(&name).expect_err("must be refused");
        let process = format!("process {}", std::process::id());
        assert!(error.to_string().contains(&process), "{error}");
        assert!(error.to_string().contains("one daemon per node"), "{error}");
        drop(first);
        NodeClaim::claim(&name).expect("free again");
    }

    #[test]
    fn readiness_is_remembered_within_a_boot() {
        let folder = tempfile::tempdir().expect("temp folder");
        let run_dir = RunDir::try_new(folder.path()).expect("takes it");
        assert!(!run_dir.was_ready());
        run_dir.mark_ready().expect("writes");
        assert!(run_dir.was_ready());
        fs::write(folder.path().join(READY_FILE), "another boot").expect("writes");
        assert!(!run_dir.was_ready());
    }
}
