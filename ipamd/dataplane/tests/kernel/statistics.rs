//! What links' drivers count, beside what traffic has made them count.

use std::io;

use veni_dataplane::link_statistics;

use crate::world::{in_new_node, ip, ip_json};

#[test]
fn a_veth_tells_by_name_what_its_driver_counts() {
    in_new_node(async || {
        ip("link add one type veth peer name other");
        let peer = ip_json("link show other")[0]["ifindex"].as_u64();
        let read = link_statistics("one").expect("is read");
        // The kernel's veth driver names its peer among its statistics.
        let named = read.iter().find(|one| one.name == "peer_ifindex");
        assert_eq!(named.map(|one| one.value), peer, "{read:?}");
    });
}

#[test]
fn more_queues_have_more_statistics_and_all_are_read() {
    in_new_node(async || {
        ip("link add one numrxqueues 1 type veth peer name other");
        ip("link add many numrxqueues 64 numtxqueues 64 type veth peer name more");
        let one = link_statistics("one").expect("is read").len();
        let read = link_statistics("many").expect("is read");
        assert!(read.len() > one + 60, "{} after {one}", read.len());
        assert!(read.iter().all(|one| !one.name.is_empty()), "{read:?}");
    });
}

#[test]
fn a_link_without_statistics_and_one_that_is_gone_have_none() {
    in_new_node(async || {
        assert_eq!(link_statistics("lo").expect("is read"), []);
        assert_eq!(link_statistics("gone").expect("is read"), []);
        let refused = link_statistics("a-name-that-is-too-long");
        let kind = refused.map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::InvalidInput));
    });
}
