//! The first bytes of a connection to the plugin's socket.

use veni_api::preamble::{LENGTH, decode, encode};

/// What is taken for a preamble begins as one.
pub(crate) fn survives(bytes: &[u8]) {
    let Some(first) = bytes.first_chunk::<LENGTH>() else {
        return;
    };
    if let Ok(carries) = decode(*first) {
        assert_eq!(first[..4], encode(carries)[..4]);
    }
}
