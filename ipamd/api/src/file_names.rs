//! What files of the run folder are called that are about one attachment, so that
//! plugin and daemon find each other's without reading them.

use sha1::{Digest, Sha1};

use crate::v1::Attachment;

/// Digits of the hash with which a journal entry's name begins.
const ENTRY_DIGITS: usize = 16;

/// Hexadecimal SHA-1 of an attachment's [`parts`]. For names, not for secrecy.
pub fn attachment_hash(parts: [&str; 3]) -> String {
    let mut hasher = Sha1::new();
    for part in parts {
        hasher.update(part.as_bytes());
        // No name holds a zero byte, so different attachments never meet.
        hasher.update([0]);
    }
    let hash = hasher.finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How the names of an attachment's entries in the daemon's journal begin; of its
/// [`parts`].
pub fn entry_prefix(parts: [&str; 3]) -> String {
    format!("{}-", &attachment_hash(parts)[..ENTRY_DIGITS])
}

/// Name of the note about an attachment's DEL: FNV-1a with 128 bits over its [`parts`],
/// each ended by a zero byte. Plugins of every version have called it so.
pub fn note(parts: [&str; 3]) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = parts
        .into_iter()
        .flat_map(|part| part.bytes().chain([0]))
        .fold(OFFSET, |hash, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(PRIME)
        });
    format!("{hash:032x}.json")
}

/// What an attachment is told by: network, container id and interface name.
pub fn parts(attachment: &Attachment) -> [&str; 3] {
    [
        &attachment.network,
        &attachment.container_id,
        &attachment.interface_name,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(container: &str, interface: &str) -> Attachment {
        Attachment {
            network: "veni".to_owned(),
            container_id: container.to_owned(),
            interface_name: interface.to_owned(),
        }
    }

    #[test]
    fn names_are_those_that_earlier_versions_have_given() {
        let one = attachment("c1", "eth0");
        // printf 'veni\0c1\0eth0\0' | sha1sum | cut -c1-16
        assert_eq!(entry_prefix(parts(&one)), "5dd1b3591e6e1008-");
        // The same through FNV-1a, computed with Python.
        assert_eq!(note(parts(&one)), "a289b52fa2b4f435e78d1115d723bb24.json");
    }

    #[test]
    fn attachments_that_read_alike_have_different_names() {
        let (one, other) = (attachment("a", "bc"), attachment("ab", "c"));
        assert_ne!(note(parts(&one)), note(parts(&other)));
        assert_ne!(entry_prefix(parts(&one)), entry_prefix(parts(&other)));
    }
}
