//! A datagram of the kernel: answers to requests of rtnetlink and netfilter, and notifications.

/// It is read, or passed over.
pub(crate) fn survives(bytes: &[u8]) {
    veni_dataplane::read_datagram(bytes);
}
