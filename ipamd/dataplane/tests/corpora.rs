//! The target of `fuzz` over its committed inputs, and over what is one change away from them.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may stop at the first surprise, and tells which input it was"
)]

#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/src/netlink.rs"]
mod netlink;

#[test]
fn inputs_of_netlink_are_survived() {
    corpus::each_input("netlink", netlink::survives);
}

#[test]
fn inputs_of_netlink_are_survived_cut_anywhere_and_with_any_byte_changed() {
    corpus::each_input("netlink", |bytes| {
        for at in 0..bytes.len() {
            netlink::survives(&bytes[..at]);
            for change in [0x00, 0x01, 0x7f, 0xff] {
                let mut changed = bytes.to_vec();
                changed[at] ^= change;
                netlink::survives(&changed);
            }
        }
    });
}

#[test]
fn what_a_kernel_sent_is_read_and_not_passed_over() {
    corpus::each_input("netlink", |bytes| {
        // The broken ones have a message or two.
        let sent = bytes.len() > 64;
        let read = veni_dataplane::read_datagram(bytes);
        assert!(!sent || read > 1, "{read} messages are read");
    });
}
