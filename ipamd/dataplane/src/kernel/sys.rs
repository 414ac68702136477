//! The one socket option that no safe wrapper offers.
#![expect(unsafe_code, reason = "SO_NETNS_COOKIE has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The cookie of the network namespace that a socket belongs to: unlike the
/// namespace's inode number it is never used again in this boot (kernel 5.14).
pub(crate) fn namespace_cookie(socket: impl AsFd) -> io::Result<u64> {
    let mut cookie: u64 = 0;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed for the call, and `cookie` and `length`
    // are live, writable, and of the sizes the option is documented with.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    match answer {
        0 => Ok(cookie),
        _ => Err(io::Error::last_os_error()),
    }
}
