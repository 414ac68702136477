//! What an attachment is called: its key, the names and MACs of its veth pair.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use veni_provider::random;

/// Digits of a hash in a link's name: with a prefix of four letters it has 15.
const NAME_DIGITS: usize = 11;

/// What container runtimes call the interface of a pod that they make themselves; the
/// others of a pod are made by a plugin that calls plugins, such as Multus.
const FIRST_INTERFACE: &str = "eth0";

/// The key of everything that is kept for one interface of one container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttachmentKey {
    /// Name of the CNI network.
    pub network: String,
    /// Container (sandbox) id.
    pub container_id: String,
    /// Interface name in the container.
    pub interface_name: String,
}

impl AttachmentKey {
    /// Whether it is the interface that a container runtime makes first.
    pub fn is_first_interface(&self) -> bool {
        self.interface_name == FIRST_INTERFACE
    }

    /// Network, container id and interface name, as names of files are made of them.
    pub fn parts(&self) -> [&str; 3] {
        [&self.network, &self.container_id, &self.interface_name]
    }

    /// Hexadecimal SHA-1 of the key. For names, not for secrecy.
    pub fn hash(&self) -> String {
        veni_api::file_names::attachment_hash(self.parts())
    }
}

impl fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}",
            self.network, self.container_id, self.interface_name
        )
    }
}

/// The Kubernetes pod behind an attachment; empty fields where none is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

impl PodName {
    /// `namespace/name`, or nothing for a container that is no pod.
    pub fn label(&self) -> Option<String> {
        (!self.name.is_empty()).then(|| format!("{}/{}", self.namespace, self.name))
    }
}

/// Names of the host's end to try, best first. Operators know the first from
/// the AWS plugin; the second is the attachment's own.
pub fn host_link_names(prefix: &str, key: &AttachmentKey, pod: &PodName) -> Vec<String> {
    let mut names = Vec::with_capacity(2);
    if key.is_first_interface() && !pod.name.is_empty() {
        let hash = hex_of(Sha1::digest(format!("{}.{}", pod.namespace, pod.name)));
        names.push(format!("{prefix}{}", &hash[..NAME_DIGITS]));
    }
    names.push(format!("{prefix}{}", &key.hash()[..NAME_DIGITS]));
    names
}

/// A random, locally administered unicast MAC (IEEE 802: second bit set, first
/// bit clear). Given at creation, or udev would rewrite it.
pub fn random_mac() -> [u8; 6] {
    let mut mac: [u8; 6] = random::any();
    mac[0] = (mac[0] & 0xfc) | 0x02;
    mac
}

/// `0a:1b:…`.
pub fn mac_text(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, g] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
}

/// Two lower-case hexadecimal digits for each byte.
pub(crate) fn hex_of(bytes: impl AsRef<[u8]>) -> String {
    bytes
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(container: &str, interface: &str) -> AttachmentKey {
        AttachmentKey {
            network: "veni".to_owned(),
            container_id: container.to_owned(),
            interface_name: interface.to_owned(),
        }
    }

    #[test]
    fn the_first_interface_of_a_pod_is_called_as_the_aws_plugin_calls_it() {
        let pod = PodName {
            namespace: "default".to_owned(),
            name: "web-0".to_owned(),
            uid: String::new(),
        };
        let names = host_link_names("eni", &key("c1", "eth0"), &pod);
        // printf default.web-0 | sha1sum | cut -c1-11
        assert_eq!(names[0], "eni0d7763386da");
        assert_eq!(names.len(), 2);
        assert_eq!(host_link_names("eni", &key("c1", "net1"), &pod).len(), 1);
    }

    #[test]
    fn keys_that_read_alike_have_different_hashes() {
        assert_ne!(key("a", "bc").hash(), key("ab", "c").hash());
    }

    #[test]
    fn macs_are_local_and_unicast() {
        for _ in 0..100 {
            assert_eq!(random_mac()[0] & 0x03, 0x02);
        }
    }
}
