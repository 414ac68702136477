//! The run folder: who owns it and who may read it, which boot it is, its sockets
//! and marks. The claim on the node itself is beside.

mod claim;
mod holder;
mod modes;
mod socket_table;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use tokio::net::UnixListener;
use tokio::time::Instant;
use veni_api::READY_FILE;

use crate::private_file;
pub use claim::NodeClaim;

/// Name of the lock file; it holds the owner's process id.
const LOCK: &str = "ipamd.lock";
/// Connections to a socket that wait to be accepted: a burst of plugins.
const BACKLOG: i32 = 1024;
/// How long a dead daemon's child may hold what the daemon had.
const HELD_BY_THE_DEAD: Duration = Duration::from_secs(1);
/// Between two tries to take it.
const NEXT_TRY: Duration = Duration::from_millis(10);

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
    /// Somebody else could read or change what the daemon relies on.
    #[error("the run folder cannot be trusted: {path} {what}: {advice}")]
    Untrusted {
        /// The folder, or what is in it.
        path: String,
        /// What is wrong with it.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// The system refused.
    #[error("failed to {operation} {path}{}", advice(.source))]
    Refused {
        /// Operation.
        operation: &'static str,
        /// Object.
        path: String,
        /// Reason.
        source: io::Error,
    },
}

/// What a person can do about a system that refuses.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            " (make room on its file system: df -h, df -i)"
        }
        io::ErrorKind::ReadOnlyFilesystem => " (mount its file system writable)",
        _ => "",
    }
}

impl RunDirError {
    /// Whether a process holds what was asked for.
    fn is_taken(&self) -> bool {
        matches!(self, Self::Taken { .. } | Self::NodeTaken { .. })
    }
}

/// Takes what only one process may have. What is taken is tried again for a second.
///
/// A daemon that is killed may die between fork(2) and execve(2) of a program that it runs.
/// Until execve(2) the child holds all that the daemon had open, and on a busy machine that
/// takes a while: the next daemon must not give up for that.
///
/// # Errors
/// Those of the last try.
pub async fn once_free<T>(take: impl Fn() -> Result<T, RunDirError>) -> Result<T, RunDirError> {
    let until = Instant::now() + HELD_BY_THE_DEAD;
    loop {
        match take() {
            Err(error) if error.is_taken() && Instant::now() < until => {
                tracing::debug!(%error, "tries again");
                tokio::time::sleep(NEXT_TRY).await;
            }
            tried => return tried,
        }
    }
}

fn refused(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunDirError {
    let path = path.display().to_string();
    move |source| RunDirError::Refused {
        operation,
        path,
        source,
    }
}

/// A run folder that is ours until this is dropped or the process dies.
#[derive(Debug)]
pub struct RunDir {
    folder: PathBuf,
    boot: String,
    _lock: File,
}

impl RunDir {
    /// Makes the folder, readable for root alone, and takes it. One that is there
    /// is made so, with all that is in it.
    ///
    /// # Errors
    /// Another daemon has it, it cannot be made, or somebody else could change
    /// what is in it.
    pub fn try_new(folder: &Path) -> Result<Self, RunDirError> {
        // Without a slash at the end, which would follow a symbolic link.
        let folder: PathBuf = folder.components().collect();
        if fs::symlink_metadata(&folder).is_err() {
            private_file::make_folder(&folder).map_err(refused("make", &folder))?;
        }
        modes::enforce_on_folder(&folder)?;
        let lock = take(&folder)?;
        modes::enforce_inside(&folder)?;
        Ok(Self {
            boot: boot_id().map_err(refused("read", Path::new(BOOT_ID)))?,
            folder,
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
        self.ready_mark().is_set()
    }

    /// The mark that says so.
    pub fn ready_mark(&self) -> ReadyMark {
        ReadyMark::new(&self.folder, &self.boot)
    }

    /// Takes the name of a socket of the folder that root alone may use; one that a dead
    /// daemon has left is replaced. Nobody can connect before it listens.
    ///
    /// A full file system has room for it only in the place of the old one. So names are
    /// taken before anything else of the daemon writes to the folder.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn bind(&self, name: &str) -> Result<BoundSocket, RunDirError> {
        let path = self.folder.join(name);
        let refused = |source| refused("make the socket", &path)(source);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(refused(source)),
            _ => {}
        }
        let socket = bound(&path).map_err(|errno| refused(errno.into()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(private_file::FILE))
            .map_err(refused)?;
        Ok(BoundSocket { path, socket })
    }
}

fn bound(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// A socket that has its name and refuses connections until it listens.
#[derive(Debug)]
pub struct BoundSocket {
    path: PathBuf,
    socket: OwnedFd,
}

impl BoundSocket {
    /// Accepts connections from now on.
    ///
    /// # Errors
    /// Those of listen(2).
    pub fn listen(self) -> Result<UnixListener, RunDirError> {
        let Self { path, socket } = self;
        rustix::net::listen(&socket, BACKLOG)
            .map_err(io::Error::from)
            .and_then(|()| UnixListener::from_std(socket.into()))
            .map_err(refused("listen on", &path))
    }
}

/// Says that a daemon has been ready in this boot: with it the plugin answers
/// STATUS well even while the daemon is down.
#[derive(Debug, Clone)]
pub struct ReadyMark {
    path: PathBuf,
    boot: String,
}

impl ReadyMark {
    pub(crate) fn new(folder: &Path, boot: &str) -> Self {
        Self {
            path: folder.join(READY_FILE),
            boot: boot.to_owned(),
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|text| text.trim() == self.boot)
    }

    /// Sets it; one of this boot is left as it is.
    ///
    /// # Errors
    /// The file cannot be written: a full or read-only run folder. Nothing half
    /// written stays.
    pub fn set(&self) -> Result<(), RunDirError> {
        if self.is_set() {
            return Ok(());
        }
        private_file::replace(&self.path, &self.boot).map_err(refused("write", &self.path))
    }
}

/// Takes the folder's lock and writes our process id into it.
fn take(folder: &Path) -> Result<File, RunDirError> {
    let path = folder.join(LOCK);
    let no_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(private_file::FILE)
        .custom_flags(no_link)
        .open(&path)
        .map_err(refused("open", &path))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut owner = String::new();
        // The id is a courtesy; the lock is what counts.
        drop(lock.read_to_string(&mut owner));
        return Err(RunDirError::Taken {
            folder: folder.display().to_string(),
            owner: owner.trim().to_owned(),
        });
    }
    if let Err(error) = write_over(&mut lock, &format!("{}\n", std::process::id())) {
        tracing::warn!(path = %path.display(), %error, "a second daemon could not tell the first one's process id");
        // Better none than a dead daemon's.
        drop(lock.set_len(0));
    }
    Ok(lock)
}

/// Replaces a small file's content without giving back the room that it has: on a
/// full file system that would be gone.
fn write_over(file: &mut File, content: &str) -> io::Result<()> {
    file.rewind()?;
    file.write_all(content.as_bytes())?;
    file.set_len(content.len() as u64)
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

    #[tokio::test(start_paused = true)]
    async fn what_a_dead_daemon_s_child_holds_for_a_moment_is_waited_for_and_no_longer() {
        let folder = tempfile::tempdir().expect("temp folder");
        let take = || RunDir::try_new(folder.path());
        let held = take().expect("takes it");
        let (next, ()) = tokio::join!(once_free(take), async {
            tokio::time::sleep(HELD_BY_THE_DEAD / 2).await;
            drop(held);
        });
        let began = Instant::now();
        let _next = next.expect("free in time");
        let error = once_free(take).await.expect_err("it stays taken");
        assert!(error.to_string().contains("one daemon per node"), "{error}");
        assert!(began.elapsed() >= HELD_BY_THE_DEAD);
    }

    #[tokio::test]
    async fn a_socket_refuses_connections_until_it_listens_and_replaces_a_dead_daemons() {
        use std::os::unix::net::UnixStream;

        let folder = tempfile::tempdir().expect("temp folder");
        let run_dir = RunDir::try_new(folder.path()).expect("takes it");
        let path = folder.path().join("cni.sock");
        for _ in 0..2 {
            let socket = run_dir.bind("cni.sock").expect("binds");
            let mode = fs::metadata(&path).expect("it is there").permissions();
            assert_eq!(mode.mode() & 0o7777, private_file::FILE);
            let refused = UnixStream::connect(&path).expect_err("nobody listens");
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let listening = socket.listen().expect("listens");
            UnixStream::connect(&path).expect("connects");
            listening.accept().await.expect("accepts");
        }
    }

    #[test]
    fn readiness_is_remembered_within_a_boot() {
        let folder = tempfile::tempdir().expect("temp folder");
        let run_dir = RunDir::try_new(folder.path()).expect("takes it");
        assert!(!run_dir.was_ready());
        run_dir.ready_mark().set().expect("writes");
        assert!(run_dir.was_ready());
        fs::write(folder.path().join(READY_FILE), "another boot").expect("writes");
        assert!(!run_dir.was_ready());
    }
}
