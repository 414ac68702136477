//! The first message of a connection to the plugin's socket: eight bytes, and
//! with them the descriptor of the pod's network namespace where there is one.
//!
//! It travels before gRPC starts on the same connection (SCM_RIGHTS, unix(7)),
//! so the daemon needs neither the host's process ids nor a mount of the
//! runtime's namespace folder.

use std::io;

/// Length of the preamble in bytes.
pub const LENGTH: usize = 8;

/// Version of the preamble that this build writes.
pub const VERSION: u8 = 1;

const MAGIC: [u8; 4] = *b"VENI";
const CARRIES_NAMESPACE: u8 = 1;

/// The preamble's bytes.
pub fn encode(carries_namespace: bool) -> [u8; LENGTH] {
    let flags = if carries_namespace {
        CARRIES_NAMESPACE
    } else {
        0
    };
    let [a, b, c, d] = MAGIC;
    [a, b, c, d, VERSION, flags, 0, 0]
}

/// Reads a preamble and tells whether a namespace comes with it.
///
/// A later version of the preamble is accepted: its first eight bytes keep
/// their meaning.
///
/// # Errors
/// `InvalidData` when the bytes are not a preamble.
pub fn decode(bytes: [u8; LENGTH]) -> io::Result<bool> {
    if bytes[..4] != MAGIC || bytes[4] == 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the connection did not start with veni's preamble; only veni-cni may use this socket",
        ));
    }
    Ok(bytes[5] & CARRIES_NAMESPACE != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for carries in [false, true] {
            assert_eq!(decode(encode(carries)).ok(), Some(carries));
        }
    }

    #[test]
    fn other_protocols_are_refused() {
        assert!(decode(*b"PRI * HT").is_err());
    }
}
