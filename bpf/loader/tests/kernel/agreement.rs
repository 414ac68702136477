//! The programs' verdict against a lookup that is slow and obvious, over random rule sets
//! and packets.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use veni_policy::{Class, PortRange, Ports, Protocol, RuleSet, Side};

use crate::bed::{BY_INGRESS, Bed, Place, packet};
use crate::packets::{ICMP, ICMPV6, SCTP, TCP, UDP};
use crate::world::{in_new_node, v4, v6};

/// What the rules say: the class of the longest prefix decides alone.
fn allowed(rules: &RuleSet, peer: IpAddr, protocol: u8, port: u16) -> bool {
    let containing = rules
        .peers
        .iter()
        .filter(|(prefix, _)| prefix.contains(&peer));
    let Some((_, class)) = containing.max_by_key(|(prefix, _)| prefix.prefix_len()) else {
        return false;
    };
    let class = &rules.classes[usize::try_from(*class).expect("small")];
    class.ports.iter().any(|range| match range.ports {
        Ports::All => true,
        Ports::Some {
            protocol: of,
            first,
            last,
        } => of as u8 == protocol && (first..=last).contains(&port),
    })
}

/// Few bits vary, so that prefixes contain each other and packets hit them.
fn peers() -> impl Strategy<Value = IpAddr> {
    let v4 = (0..4_u8, 0..3_u8, 0..4_u8).prop_map(|(a, b, c)| IpAddr::from([a * 64, b, 0, c]));
    let v6 = (0..3_u16, 0..4_u16).prop_map(|(a, b)| IpAddr::from([0x2001, a, 0, 0, 0, 0, 0, b]));
    prop_oneof![v4, v6]
}

fn prefixes() -> impl Strategy<Value = IpNet> {
    (peers(), 0..=128_u8).prop_map(|(address, length)| {
        let length = if address.is_ipv4() {
            length % 33
        } else {
            length
        };
        IpNet::new(address, length)
            .expect("a length of the family")
            .trunc()
    })
}

/// Around the edges of ranges and of powers of two.
fn a_port() -> impl Strategy<Value = u16> {
    prop_oneof![
        prop::sample::select(&[0, 1, 79, 80, 81, 255, 256, 1023, 1024, 32767, 32768, 65535][..]),
        any::<u16>(),
    ]
}

fn ports() -> impl Strategy<Value = Ports> {
    let protocols = prop::sample::select(&[Protocol::Tcp, Protocol::Udp, Protocol::Sctp][..]);
    let some = (protocols, a_port(), a_port()).prop_map(|(protocol, one, other)| Ports::Some {
        protocol,
        first: one.min(other),
        last: one.max(other),
    });
    prop_oneof![1 => Just(Ports::All), 8 => some]
}

fn rule_sets() -> impl Strategy<Value = RuleSet> {
    let class = prop::collection::vec((ports(), 0..3_u32), 0..4).prop_map(|ranges| Class {
        ports: ranges
            .into_iter()
            .map(|(ports, origin)| PortRange { ports, origin })
            .collect(),
    });
    let classes = prop::collection::vec(class, 1..5);
    let peers = prop::collection::vec((prefixes(), any::<prop::sample::Index>()), 0..12);
    (classes, peers).prop_map(|(classes, peers)| {
        let of = |index: prop::sample::Index| u32::try_from(index.index(classes.len()));
        let peers: BTreeMap<IpNet, u32> = peers
            .into_iter()
            .map(|(prefix, index)| (prefix, of(index).expect("small")))
            .collect();
        RuleSet {
            peers,
            classes,
            origins: ["a/x", "a/y", "b/z"].map(str::to_owned).to_vec(),
        }
    })
}

#[test]
fn the_programs_and_a_plain_lookup_agree_over_random_rules_and_packets() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let protocols = prop::sample::select(&[TCP, UDP, SCTP, ICMP, 47][..]);
        let packets = prop::collection::vec((peers(), protocols, a_port()), 40);
        let mut runner = TestRunner::new(Config {
            cases: 256,
            failure_persistence: None,
            ..Config::default()
        });
        let (passed, dropped, port) = (Cell::new(0), Cell::new(0), Cell::new(1_u16));
        let checked = runner.run(&(rule_sets(), packets), |(rules, packets)| {
            let rules = Arc::new(rules);
            bed.policy(2, Side::Isolated(Arc::clone(&rules)), Side::Open);
            for (peer, protocol, to) in packets {
                let pod = if peer.is_ipv4() { v4(2) } else { v6(2) };
                let sent_by = if peer.is_ipv6() && protocol == ICMP {
                    ICMPV6
                } else {
                    protocol
                };
                // A flow of its own for each packet: the policy is asked.
                port.set(port.get().checked_add(1).unwrap_or(1));
                let sent = packet(peer, pod, sent_by, (port.get(), to));
                let found = bed.carry(Place::Uplink, Place::Pod(2), &sent);
                let wanted = allowed(&rules, peer, sent_by, to);
                let count = if wanted { &passed } else { &dropped };
                count.set(count.get() + 1);
                let said = format!("{peer} by {sent_by} to port {to} of {rules:?}");
                prop_assert_eq!(found, if wanted { None } else { BY_INGRESS }, "{}", said);
            }
            Ok(())
        });
        checked.unwrap_or_else(|failure| panic!("{failure}"));
        let counts = (passed.get(), dropped.get());
        assert!(counts.0 > 500 && counts.1 > 500, "both happen: {counts:?}");
    });
}
