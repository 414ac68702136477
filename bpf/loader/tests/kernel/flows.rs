//! What is remembered of flows: answers pass, and policies reach flows that are open.

use veni_bpf::{Endpoint, NodeRules, Reason};
use veni_policy::{Ports, Side};

use crate::bed::{
    BEYOND, BY_EGRESS, BY_INGRESS, Bed, Place, address, allowing, closed, packet, tcp_port,
};
use crate::packets::{ACK, Fate, ICMP, ICMPV6, RST, SYN, TCP, UDP, V4, icmp, ip, ipv6, tcp, udp};
use crate::world::{in_new_node, start, v4, v6};

fn segment(from: u8, to: u8, ports: (u16, u16), flags: u8) -> Vec<u8> {
    ip(v4(from), v4(to), TCP, &tcp(ports.0, ports.1, flags))
}

/// A connection of pod 1 to port 80 of pod 2, up to its third packet.
fn connect(bed: &Bed, port: u16) -> [Fate; 3] {
    [
        bed.carry(
            Place::Pod(1),
            Place::Pod(2),
            &segment(1, 2, (port, 80), SYN),
        ),
        bed.carry(
            Place::Pod(2),
            Place::Pod(1),
            &segment(2, 1, (80, port), SYN | ACK),
        ),
        bed.carry(
            Place::Pod(1),
            Place::Pod(2),
            &segment(1, 2, (port, 80), ACK),
        ),
    ]
}

fn onwards(bed: &Bed, port: u16) -> Fate {
    bed.carry(
        Place::Pod(1),
        Place::Pod(2),
        &segment(1, 2, (port, 80), ACK),
    )
}

fn back(bed: &Bed, port: u16) -> Fate {
    bed.carry(
        Place::Pod(2),
        Place::Pod(1),
        &segment(2, 1, (80, port), ACK),
    )
}

#[test]
fn answers_pass_where_nothing_else_does() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        bed.policy(1, closed(), allowing(&[("0.0.0.0/0", &[Ports::All])]));
        bed.policy(2, allowing(&[("0.0.0.0/0", &[Ports::All])]), closed());
        assert_eq!(connect(&bed, 1000), [None; 3]);
        assert_eq!(back(&bed, 1001), BY_EGRESS, "no answer to anything");
        let beyond = address(BEYOND);
        for protocol in [UDP, ICMP] {
            let sent = packet(v4(1), beyond, protocol, (1000, 53));
            let answer = match protocol {
                ICMP => ip(beyond, v4(1), ICMP, &icmp(0, 1000, &[])),
                _ => packet(beyond, v4(1), protocol, (53, 1000)),
            };
            let answered = || bed.carry(Place::Uplink, Place::Pod(1), &answer);
            assert_eq!(answered(), BY_INGRESS, "protocol {protocol}");
            assert_eq!(bed.carry(Place::Pod(1), Place::Uplink, &sent), None);
            assert_eq!(answered(), None, "protocol {protocol}");
        }
    });
}

#[test]
fn a_service_s_answers_pass_with_the_service_s_address() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let (service, beyond) = (address("172.20.0.10"), address(BEYOND));
        bed.policy(
            1,
            closed(),
            allowing(&[("192.0.2.1/32", &[tcp_port(8080)])]),
        );
        let sent = packet(v4(1), service, TCP, (1000, 80));
        let translated = packet(v4(1), beyond, TCP, (1000, 8080));
        let found = bed.carry_translated(Place::Pod(1), Place::Uplink, &sent, &translated);
        assert_eq!(found, None);
        let answer = ip(service, v4(1), TCP, &tcp(80, 1000, SYN | ACK));
        assert_eq!(bed.carry(Place::Uplink, Place::Pod(1), &answer), None);
    });
}

#[test]
fn a_refused_packet_opens_no_way_back() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        bed.policy(1, closed(), closed());
        let beyond = address(BEYOND);
        let sent = packet(v4(1), beyond, UDP, (1000, 53));
        assert_eq!(bed.carry(Place::Pod(1), Place::Uplink, &sent), BY_EGRESS);
        let answer = packet(beyond, v4(1), UDP, (53, 1000));
        assert_eq!(bed.carry(Place::Uplink, Place::Pod(1), &answer), BY_INGRESS);
    });
}

#[test]
fn a_narrowed_policy_cuts_the_flows_that_it_no_longer_allows_and_no_other() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let wide = allowing(&[("10.0.0.0/24", &[tcp_port(80), tcp_port(81)])]);
        let narrow = allowing(&[("10.0.0.0/24", &[tcp_port(81)])]);
        let other = |bed: &Bed| {
            bed.carry(
                Place::Pod(1),
                Place::Pod(2),
                &segment(1, 2, (2000, 81), ACK),
            )
        };
        for (ingress, egress) in [(&wide, &Side::Open), (&Side::Open, &wide)] {
            bed.policy(2, ingress.clone(), Side::Open);
            bed.policy(1, Side::Open, egress.clone());
            assert_eq!(connect(&bed, 1000), [None; 3]);
            assert_eq!(other(&bed), None);
            let of = |side: &Side| {
                if *side == wide {
                    narrow.clone()
                } else {
                    Side::Open
                }
            };
            bed.policy(2, of(ingress), Side::Open);
            bed.policy(1, Side::Open, of(egress));
            let fate = if *ingress == wide {
                BY_INGRESS
            } else {
                BY_EGRESS
            };
            assert_eq!(back(&bed, 1000), fate, "answers are cut at once");
            assert_eq!(onwards(&bed, 1000), fate);
            assert_eq!(other(&bed), None, "what stays allowed goes on");
        }
    });
}

#[test]
fn a_first_policy_judges_open_flows_in_their_original_direction() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        assert_eq!(connect(&bed, 1000), [None; 3]);
        // The server may open nothing, and the client may receive nothing: both are
        // about other flows than this one.
        bed.policy(2, allowing(&[("10.0.0.1/32", &[tcp_port(80)])]), closed());
        bed.policy(1, closed(), allowing(&[("10.0.0.2/32", &[tcp_port(80)])]));
        assert_eq!(back(&bed, 1000), None);
        assert_eq!(onwards(&bed, 1000), None);
        assert_eq!(back(&bed, 1000), None);
        bed.policy(2, closed(), closed());
        assert_eq!(back(&bed, 1000), BY_INGRESS);
        assert_eq!(onwards(&bed, 1000), BY_INGRESS);
    });
}

#[test]
fn a_first_policy_that_forbids_a_flow_cuts_it_both_ways_and_for_good() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        assert_eq!(connect(&bed, 1000), [None; 3]);
        bed.policy(1, Side::Open, closed());
        assert_eq!(onwards(&bed, 1000), BY_EGRESS);
        // The client may receive anything, but this is no flow of the server's.
        for _ in 0..2 {
            assert_eq!(back(&bed, 1000), BY_EGRESS);
            assert_eq!(onwards(&bed, 1000), BY_EGRESS);
        }
    });
}

#[test]
fn the_same_policy_again_and_a_restart_cut_nothing() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let ports = &[tcp_port(80)][..];
        let policies = |bed: &Bed| {
            bed.policy(1, closed(), allowing(&[("10.0.0.2/32", ports)]));
            bed.policy(2, allowing(&[("10.0.0.1/32", ports)]), closed());
        };
        policies(&bed);
        assert_eq!(connect(&bed, 1000), [None; 3]);
        policies(&bed);
        assert_eq!([onwards(&bed, 1000), back(&bed, 1000)], [None; 2]);
        let Bed {
            enforcer,
            one,
            two,
            uplink,
        } = bed;
        enforcer.stop();
        let bed = Bed {
            enforcer: start(&settings),
            one,
            two,
            uplink,
        };
        assert_eq!([onwards(&bed, 1000), back(&bed, 1000)], [None; 2]);
        assert_eq!(back(&bed, 1001), BY_EGRESS, "policies are in force already");
        for pod in [&bed.one, &bed.two] {
            bed.enforcer.admit(&pod.endpoint).expect("admitted");
        }
        policies(&bed);
        for _ in 0..3 {
            bed.enforcer.sweep().expect("swept");
        }
        assert_eq!([onwards(&bed, 1000), back(&bed, 1000)], [None; 2]);
        assert_eq!(connect(&bed, 1002), [None; 3]);
    });
}

#[test]
fn an_address_s_next_owner_inherits_no_flow() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        bed.policy(1, closed(), Side::Open);
        let beyond = address(BEYOND);
        let sent = packet(v4(1), beyond, UDP, (1000, 53));
        let answer = packet(beyond, v4(1), UDP, (53, 1000));
        assert_eq!(bed.carry(Place::Pod(1), Place::Uplink, &sent), None);
        assert_eq!(bed.carry(Place::Uplink, Place::Pod(1), &answer), None);
        let next = Endpoint {
            generation: 4242,
            ..bed.one.endpoint.clone()
        };
        bed.enforcer.dismiss(next.host_index).expect("dismissed");
        let left = bed.enforcer.sweep().expect("swept");
        assert_eq!(left.live, 0);
        bed.enforcer.admit(&next).expect("admitted");
        bed.policy(1, closed(), Side::Open);
        assert_eq!(bed.carry(Place::Uplink, Place::Pod(1), &answer), BY_INGRESS);
    });
}

#[test]
fn a_flood_by_one_pod_cuts_no_flow_that_is_answered_and_none_of_another_pod() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        bed.policy(1, closed(), Side::Open);
        bed.policy(2, closed(), Side::Open);
        let beyond = address(BEYOND);
        let ask = |pod: u8, port| {
            let sent = packet(v4(pod), beyond, UDP, (port, 53));
            assert_eq!(bed.carry(Place::Pod(pod), Place::Uplink, &sent), None);
        };
        let answer = |pod: u8, port| {
            let answer = packet(beyond, v4(pod), UDP, (53, port));
            bed.carry(Place::Uplink, Place::Pod(pod), &answer)
        };
        ask(1, 1);
        assert_eq!(answer(1, 1), None);
        ask(1, 2);
        ask(2, 2);
        for port in 10_000..12_000 {
            ask(1, port);
        }
        assert_eq!(answer(1, 1), None, "its own that is answered");
        assert_eq!(answer(1, 11_999), None, "its newest");
        assert_eq!(
            answer(1, 2),
            BY_INGRESS,
            "its oldest without an answer is forgotten"
        );
        assert_eq!(answer(2, 2), None, "another pod's");
        let swept = bed.enforcer.sweep().expect("swept");
        assert!(swept.half_open <= 1024, "{swept:?}");
    });
}

#[test]
fn a_new_connection_in_the_ports_of_an_old_one_is_judged_anew() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        bed.policy(1, closed(), Side::Open);
        assert_eq!(connect(&bed, 1000), [None; 3]);
        let opens = segment(2, 1, (80, 1000), SYN);
        let found = bed.carry(Place::Pod(2), Place::Pod(1), &opens);
        assert_eq!(found, BY_INGRESS);
        assert_eq!(back(&bed, 1000), None, "which does the old one no harm");
        let reset = segment(2, 1, (80, 1000), RST | ACK);
        assert_eq!(bed.carry(Place::Pod(2), Place::Pod(1), &reset), None);
    });
}

#[test]
fn errors_that_tell_of_a_flow_pass_and_others_do_not() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        bed.policy(1, closed(), Side::Open);
        let router = address("192.0.2.99");
        let router6 = address("2001:db8::99");
        let beyond6 = address("2001:db8::1");
        let sent = packet(v4(1), address(BEYOND), UDP, (1000, 53));
        let sent6 = packet(v6(1), beyond6, UDP, (1000, 53));
        let too_big = ip(router, v4(1), ICMP, &icmp(3, 0, &sent));
        let too_big6 = ipv6(router6, v6(1), (ICMPV6, 64), &icmp(2, 0, &sent6));
        for (sent, error) in [(&sent, &too_big), (&sent6, &too_big6)] {
            let told = || bed.carry(Place::Uplink, Place::Pod(1), error);
            assert_eq!(told(), BY_INGRESS);
            assert_eq!(bed.carry(Place::Pod(1), Place::Uplink, sent), None);
            assert_eq!(told(), None);
        }
        // The other way: what the pod says of a packet that it was sent.
        bed.policy(1, allowing(&[("192.0.2.1/32", &[Ports::All])]), closed());
        let received = packet(address(BEYOND), v4(1), UDP, (53, 2000));
        let error = ip(v4(1), address(BEYOND), ICMP, &icmp(3, 0, &received));
        let tells = || bed.carry(Place::Pod(1), Place::Uplink, &error);
        assert_eq!(tells(), BY_EGRESS);
        assert_eq!(bed.carry(Place::Uplink, Place::Pod(1), &received), None);
        assert_eq!(tells(), None);
        let elsewhere = ip(v4(1), address("203.0.113.5"), ICMP, &icmp(3, 0, &received));
        let carried = bed.carry(Place::Pod(1), Place::Uplink, &elsewhere);
        assert_eq!(carried, BY_EGRESS, "nobody there has sent that packet");
    });
}

fn fragment(protocol: u8, id: u16, field: u16, payload: &[u8]) -> Vec<u8> {
    V4 {
        source: v4(1),
        destination: address(BEYOND),
        protocol,
        id,
        fragment: field,
        options: &[],
        payload,
    }
    .bytes()
}

#[test]
fn later_fragments_follow_their_first_one_and_none_passes_alone() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let first = |id, port| fragment(UDP, id, 0x2000, &udp(1000, port));
        let later = |id| fragment(UDP, id, 1, &[0; 8]);
        let alone = Some(Reason::FragmentAlone);
        let carry = |packet: &[u8]| bed.carry(Place::Pod(1), Place::Uplink, packet);
        assert_eq!(carry(&later(1)), alone);
        assert_eq!(carry(&first(1, 53)), None);
        assert_eq!(carry(&later(1)), None);
        assert_eq!(carry(&later(2)), alone);
        bed.policy(
            1,
            Side::Open,
            allowing(&[("192.0.2.1/32", &[udp_port(53)])]),
        );
        assert_eq!(carry(&first(3, 54)), BY_EGRESS);
        assert_eq!(carry(&later(3)), alone);
        assert_eq!(carry(&first(4, 53)), None);
        assert_eq!(carry(&later(4)), None);
    });
}

fn udp_port(port: u16) -> Ports {
    Ports::Some {
        protocol: veni_policy::Protocol::Udp,
        first: port,
        last: port,
    }
}

#[test]
fn fragments_of_ipv6_are_told_apart_by_their_header() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let fragment = |id: u8, offset: [u8; 2], payload: &[u8]| {
            let header = [&[UDP, 0][..], &offset, &[0, 0, 0, id], payload].concat();
            ipv6(v6(1), address("2001:db8::1"), (44, 64), &header)
        };
        let carry = |packet: &[u8]| bed.carry(Place::Pod(1), Place::Uplink, packet);
        assert_eq!(
            carry(&fragment(1, [0, 8], &[0; 8])),
            Some(Reason::FragmentAlone)
        );
        assert_eq!(carry(&fragment(1, [0, 1], &udp(1000, 53))), None);
        assert_eq!(carry(&fragment(1, [0, 8], &[0; 8])), None);
        assert_eq!(
            carry(&fragment(2, [0, 0], &udp(1000, 53))),
            None,
            "a whole one"
        );
    });
}

#[test]
fn a_pod_s_mark_leaves_other_bits_alone() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        let rules = NodeRules {
            mark_mask: 0xff00,
            ..NodeRules::default()
        };
        bed.enforcer.set_node(&rules).expect("set");
        let endpoint = Endpoint {
            mark: Some(0x1200),
            ..bed.one.endpoint.clone()
        };
        bed.enforcer.admit(&endpoint).expect("admitted");
        let bytes = crate::packets::framed(endpoint.pod_mac, &packet(v4(1), v4(2), UDP, (1, 2)));
        let packet = veni_bpf::TestPacket {
            bytes: &bytes,
            link: endpoint.host_index,
            ingress_link: 0,
            mark: 0xff0f,
        };
        let verdict = bed
            .enforcer
            .test_run(veni_bpf::Program::FromPod, &packet, 1);
        assert_eq!(verdict.expect("run").mark, 0x120f);
    });
}

#[test]
fn mld_to_a_single_address_is_judged_as_any_other_packet() {
    in_new_node(|settings| {
        let bed = Bed::new(&settings);
        bed.policy(1, closed(), Side::Open);
        let beyond = address("2001:db8::1");
        let report = ipv6(beyond, v6(1), (ICMPV6, 1), &icmp(131, 0, &[0; 20]));
        assert_eq!(bed.carry(Place::Uplink, Place::Pod(1), &report), BY_INGRESS);
    });
}
