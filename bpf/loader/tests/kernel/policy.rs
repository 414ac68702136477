//! What rule sets let pass, packet by packet.

use veni_bpf::{Endpoint, MetadataAddress, NodeRules, Reason};
use veni_policy::{Ports, Protocol, Side};

use crate::bed::{
    BEYOND, BY_EGRESS, BY_INGRESS, Bed, Place, address, allowing, closed, packet, tcp_port,
};
use crate::packets::{ICMP, ICMPV6, SCTP, TCP, UDP};
use crate::world::{in_new_node, v4, v6};

#[test]
fn a_pod_without_policy_receives_and_sends_everything() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        for protocol in [TCP, UDP, SCTP, ICMP, 47] {
            let sent = packet(v4(1), v4(2), protocol, (1000, 80));
            assert_eq!(bed.carry(Place::Pod(1), Place::Pod(2), &sent), None);
            let sent = packet(v4(1), address(BEYOND), protocol, (1000, 80));
            assert_eq!(bed.carry(Place::Pod(1), Place::Uplink, &sent), None);
        }
    });
}

#[test]
fn a_receiving_pod_s_policy_names_peers_and_ports_of_both_families() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let ports = &[tcp_port(80)][..];
        bed.policy(
            2,
            allowing(&[("10.0.0.1/32", ports), ("fd00::1/128", ports)]),
            Side::Open,
        );
        for (from, to) in [(v4(1), v4(2)), (v6(1), v6(2))] {
            for (protocol, port, fate) in [
                (TCP, 80, None),
                (TCP, 81, BY_INGRESS),
                (UDP, 80, BY_INGRESS),
                (SCTP, 80, BY_INGRESS),
                (ICMP, 0, BY_INGRESS),
            ] {
                let protocol = match (protocol, from.is_ipv6()) {
                    (ICMP, true) => ICMPV6,
                    (protocol, _) => protocol,
                };
                let sent = packet(from, to, protocol, (1000, port));
                let found = bed.carry(Place::Pod(1), Place::Pod(2), &sent);
                assert_eq!(found, fate, "{protocol} to port {port} of {to}");
            }
        }
        let sent = packet(address("10.0.0.3"), v4(2), TCP, (1000, 80));
        assert_eq!(bed.carry(Place::Uplink, Place::Pod(2), &sent), BY_INGRESS);
    });
}

#[test]
fn a_sending_pod_s_policy_is_judged_by_the_address_that_the_packet_really_goes_to() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        bed.policy(
            1,
            Side::Open,
            allowing(&[("10.0.0.2/32", &[tcp_port(8080)])]),
        );
        let service = address("172.20.0.10");
        let sent = packet(v4(1), service, TCP, (1000, 80));
        let translated = |port| packet(v4(1), v4(2), TCP, (1000, port));
        let carry =
            |received: &[u8]| bed.carry_translated(Place::Pod(1), Place::Pod(2), &sent, received);
        assert_eq!(carry(&translated(8080)), None);
        assert_eq!(carry(&translated(8081)), BY_EGRESS);
        let elsewhere = packet(v4(1), address(BEYOND), TCP, (1000, 8080));
        let found = bed.carry_translated(Place::Pod(1), Place::Uplink, &sent, &elsewhere);
        assert_eq!(found, BY_EGRESS);
    });
}

#[test]
fn a_sender_is_known_behind_a_translation_of_its_source() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let beyond = address(BEYOND);
        bed.policy(
            1,
            Side::Open,
            allowing(&[("192.0.2.0/24", &[tcp_port(443)])]),
        );
        for (port, fate) in [(443, None), (444, BY_EGRESS)] {
            let sent = packet(v4(1), beyond, TCP, (1000, port));
            let masqueraded = packet(address("10.9.0.1"), beyond, TCP, (61000, port));
            let found = bed.carry_translated(Place::Pod(1), Place::Uplink, &sent, &masqueraded);
            assert_eq!(found, fate);
        }
    });
}

#[test]
fn the_longest_prefix_decides_alone() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let rules = allowing(&[
            ("10.0.0.0/8", &[Ports::All]),
            ("10.1.0.0/16", &[]),
            ("10.1.7.0/24", &[tcp_port(80)]),
        ]);
        bed.policy(2, rules, Side::Open);
        for (from, port, fate) in [
            ("10.2.0.1", 443, None),
            ("10.1.0.1", 80, BY_INGRESS),
            ("10.1.7.9", 80, None),
            ("10.1.7.9", 443, BY_INGRESS),
            ("11.0.0.1", 80, BY_INGRESS),
        ] {
            let sent = packet(address(from), v4(2), TCP, (1000, port));
            assert_eq!(
                bed.carry(Place::Uplink, Place::Pod(2), &sent),
                fate,
                "{from} {port}"
            );
        }
    });
}

#[test]
fn all_ports_are_every_protocol_and_a_protocol_s_are_only_its_own() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let of = |protocol, first, last| Ports::Some {
            protocol,
            first,
            last,
        };
        let rules = allowing(&[
            ("10.7.0.0/16", &[Ports::All]),
            ("10.8.0.0/16", &[of(Protocol::Udp, 0, 65535)]),
            (
                "10.9.0.0/16",
                &[of(Protocol::Sctp, 1000, 1999), tcp_port(22)],
            ),
        ]);
        bed.policy(2, rules, Side::Open);
        for (from, protocol, port, fate) in [
            ("10.7.0.1", TCP, 1, None),
            ("10.7.0.1", ICMP, 0, None),
            ("10.7.0.1", 47, 0, None),
            ("10.8.0.1", UDP, 0, None),
            ("10.8.0.1", UDP, 65535, None),
            ("10.8.0.1", TCP, 53, BY_INGRESS),
            ("10.8.0.1", ICMP, 0, BY_INGRESS),
            ("10.9.0.1", SCTP, 999, BY_INGRESS),
            ("10.9.0.1", SCTP, 1000, None),
            ("10.9.0.1", SCTP, 1999, None),
            ("10.9.0.1", SCTP, 2000, BY_INGRESS),
            ("10.9.0.1", TCP, 22, None),
            ("10.9.0.1", TCP, 1000, BY_INGRESS),
        ] {
            let sent = packet(address(from), v4(2), protocol, (7, port));
            let found = bed.carry(Place::Uplink, Place::Pod(2), &sent);
            assert_eq!(found, fate, "{from}: protocol {protocol} port {port}");
        }
    });
}

#[test]
fn both_ends_have_to_allow_a_flow_between_two_pods_of_a_node() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let sent = packet(v4(1), v4(2), TCP, (1000, 80));
        let carry = || bed.carry(Place::Pod(1), Place::Pod(2), &sent);
        let ports = &[tcp_port(80)][..];
        bed.policy(1, Side::Open, closed());
        bed.policy(2, allowing(&[("10.0.0.1/32", ports)]), Side::Open);
        assert_eq!(carry(), BY_EGRESS);
        bed.policy(1, Side::Open, allowing(&[("10.0.0.2/32", ports)]));
        assert_eq!(carry(), None);
        bed.policy(2, closed(), Side::Open);
        assert_eq!(carry(), BY_INGRESS);
    });
}

#[test]
fn the_node_itself_and_the_pod_itself_are_beyond_policy() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        bed.policy(2, closed(), closed());
        let probe = packet(address("10.9.0.1"), v4(2), TCP, (1000, 8080));
        assert_eq!(bed.carry(Place::Node, Place::Pod(2), &probe), None);
        let answer = packet(v4(2), address("10.9.0.1"), TCP, (8080, 1000));
        assert_eq!(bed.carry(Place::Pod(2), Place::Node, &answer), None);
        let spoofed = bed.carry(
            Place::Uplink,
            Place::Pod(2),
            &packet(address("10.9.0.2"), v4(2), TCP, (1000, 8080)),
        );
        assert_eq!(spoofed, BY_INGRESS, "whoever is not the node");
        // By a Service and masqueraded: the pod's own link is where it comes from.
        let sent = packet(v4(2), address("172.20.0.10"), TCP, (1001, 80));
        let hairpin = packet(address("10.9.0.1"), v4(2), TCP, (1001, 8080));
        let found = bed.carry_translated(Place::Pod(2), Place::Pod(2), &sent, &hairpin);
        assert_eq!(found, None);
    });
}

#[test]
fn a_setting_decides_over_what_kube_proxy_has_given_the_node_s_address() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        bed.policy(2, closed(), Side::Open);
        let node = address("10.9.0.1");
        let mut port = 1000;
        let mut arrives = |judged| {
            let rules = NodeRules {
                addresses: vec![node],
                node_ports_judged: judged,
                ..NodeRules::default()
            };
            bed.enforcer.set_node(&rules).expect("set");
            port += 1;
            bed.carry(
                Place::Uplink,
                Place::Pod(2),
                &packet(node, v4(2), TCP, (port, 80)),
            )
        };
        assert_eq!(arrives(false), None);
        assert_eq!(arrives(true), BY_INGRESS);
    });
}

#[test]
fn audit_lets_pass_what_policy_forbids_and_counts_it() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        bed.policy(2, closed(), Side::Open);
        let would_drop = || {
            let counters = bed.enforcer.counters().expect("counters");
            counters.endpoints[&bed.two.endpoint.host_index].would_drop
        };
        let mut port = 1000;
        let mut carry = || {
            port += 1;
            let sent = packet(v4(1), v4(2), TCP, (port, 80));
            bed.carry(Place::Pod(1), Place::Pod(2), &sent)
        };
        assert_eq!(carry(), BY_INGRESS);
        assert_eq!(would_drop(), [0, 0]);
        let audited = Endpoint {
            audit: true,
            ..bed.two.endpoint.clone()
        };
        bed.enforcer.admit(&audited).expect("admitted");
        assert_eq!(carry(), None);
        assert_eq!(would_drop(), [1, 0]);
        bed.enforcer.admit(&bed.two.endpoint).expect("admitted");
        let opened = packet(v4(1), v4(2), TCP, (1002, 80));
        let ended = bed.carry(Place::Pod(1), Place::Pod(2), &opened);
        assert_eq!(ended, BY_INGRESS, "the audit's flows end with it");
        assert_eq!(carry(), BY_INGRESS);
        let node = NodeRules {
            audit: true,
            ..NodeRules::default()
        };
        bed.enforcer.set_node(&node).expect("set");
        assert_eq!(carry(), None);
        assert_eq!(would_drop(), [2, 0]);
    });
}

#[test]
fn before_its_policy_is_known_a_strict_node_s_pod_talks_to_the_node_alone() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let unknown = Endpoint {
            policy_known: false,
            generation: 77,
            ..bed.two.endpoint.clone()
        };
        bed.enforcer.admit(&unknown).expect("admitted");
        let sent = packet(v4(1), v4(2), UDP, (1000, 80));
        let carry = || bed.carry(Place::Pod(1), Place::Pod(2), &sent);
        assert_eq!(carry(), None, "standard mode");
        let strict = NodeRules {
            strict: true,
            ..NodeRules::default()
        };
        bed.enforcer.set_node(&strict).expect("set");
        assert_eq!(carry(), Some(Reason::PolicyUnknown));
        let probe = packet(address("10.9.0.1"), v4(2), TCP, (1000, 8080));
        assert_eq!(bed.carry(Place::Node, Place::Pod(2), &probe), None);
        bed.policy(2, Side::Open, Side::Open);
        assert_eq!(carry(), None);
        bed.enforcer.admit(&unknown).expect("admitted again");
        assert_eq!(carry(), None, "a policy once known stays in force");
    });
}

#[test]
fn metadata_stays_closed_behind_a_service_that_leads_there() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let closed = address("fd00:ec2::254");
        let rules = NodeRules {
            metadata: vec![MetadataAddress {
                address: closed,
                except_dns: false,
            }],
            ..NodeRules::default()
        };
        bed.enforcer.set_node(&rules).expect("set");
        let sent = packet(v6(1), address("fd00:5::1"), TCP, (1000, 80));
        let received = packet(v6(1), closed, TCP, (1000, 80));
        let carry = || bed.carry_translated(Place::Pod(1), Place::Uplink, &sent, &received);
        assert_eq!(carry(), None, "the endpoint may");
        let endpoint = Endpoint {
            metadata: false,
            ..bed.one.endpoint.clone()
        };
        bed.enforcer.admit(&endpoint).expect("admitted");
        assert_eq!(carry(), Some(Reason::Metadata));
    });
}

#[test]
fn all_of_ipv6_is_nothing_of_ipv4() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let all = &[Ports::All][..];
        let from = |bed: &Bed, peer, pod, port| {
            let sent = packet(peer, pod, TCP, (port, 80));
            bed.carry(Place::Uplink, Place::Pod(2), &sent)
        };
        let (peer, peer6) = (address(BEYOND), address("2001:db8::1"));
        bed.policy(2, allowing(&[("::/0", all)]), Side::Open);
        assert_eq!(from(&bed, peer, v4(2), 1000), BY_INGRESS);
        assert_eq!(from(&bed, peer6, v6(2), 1000), None);
        bed.policy(
            2,
            allowing(&[("::/0", all), ("0.0.0.0/0", all)]),
            Side::Open,
        );
        assert_eq!(from(&bed, peer, v4(2), 1001), None);
    });
}
