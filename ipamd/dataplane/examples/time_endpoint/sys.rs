//! New network namespaces, for the example alone.
#![expect(
    unsafe_code,
    reason = "unshare is unsafe in general, not for a thread's own network"
)]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Makes a network namespace and returns its descriptor.
pub(crate) fn new_namespace() -> io::Result<OwnedFd> {
    let made = std::thread::spawn(|| {
        leave_network()?;
        Ok(File::open("/proc/thread-self/ns/net")?.into())
    });
    made.join()
        .map_err(|_| io::Error::other("the thread panicked"))?
}

/// Gives the calling thread a network namespace of its own.
pub(crate) fn leave_network() -> io::Result<()> {
    // SAFETY: only the network namespace changes; memory, files and signals stay
    // shared with the process as they are.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET)? };
    Ok(())
}
