//! The container's network namespace: opened here, used by the daemon.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Mode, OFlags};
use veni_api::failure::{CniFailure, code};

/// Type of the file system that namespace files live on (linux/magic.h).
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// Opens the namespace at `path`.
///
/// # Errors
/// Code 4 when nothing is there, when it is not a namespace, or when it is the
/// plugin's own: that would be the node's, whose network is not a pod's.
pub fn open(path: &str) -> Result<OwnedFd, CniFailure> {
    let refuse = |reason: &str| {
        CniFailure::new(
            code::INVALID_ENVIRONMENT,
            "the runtime passed no usable network namespace",
            format!("CNI_NETNS={path}: {reason}"),
        )
    };
    // Non-blocking, because a path that is a pipe would be waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let namespace = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|reason| refuse(&format!("failed to open it: {reason}")))?;
    let system = rustix::fs::fstatfs(&namespace)
        .map_err(|reason| refuse(&format!("failed to look at it: {reason}")))?;
    if u64::try_from(system.f_type) != Ok(NSFS_MAGIC) {
        return Err(refuse("it is not a namespace"));
    }
    let file = File::from(namespace);
    let given = file
        .metadata()
        .map_err(|reason| refuse(&format!("failed to look at it: {reason}")))?;
    if fs::metadata("/proc/self/ns/net")
        .is_ok_and(|own| own.dev() == given.dev() && own.ino() == given.ino())
    {
        return Err(refuse("it is the node's own namespace, not a container's"));
    }
    Ok(file.into())
}
