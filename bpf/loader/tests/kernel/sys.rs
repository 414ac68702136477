//! New network namespaces.
#![expect(
    unsafe_code,
    reason = "unshare is unsafe in general, not for a thread's own network"
)]

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread a network namespace of its own.
pub(crate) fn leave_network() -> io::Result<()> {
    // SAFETY: only the network namespace changes; memory, files and signals stay
    // shared with the process as they are.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET)? };
    Ok(())
}
