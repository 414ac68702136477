//! What the programs make of packets of every form, from a table.

use std::net::IpAddr;

use veni_bpf::{Endpoint, Enforcer, MetadataAddress, NodeRules, Program, Reason, TestPacket};

use crate::packets::{
    ARP, Fate, ICMP, ICMPV6, IPV4, IPV6, SCTP, TCP, UDP, V4, ethernet, fate, framed, icmp, ip,
    ipv6, pod_mac, sctp, tcp, transport, udp,
};
use crate::world::{Pod, in_new_node, start, v4, v6};

struct Case {
    what: String,
    bytes: Vec<u8>,
    fate: Fate,
}

#[derive(Default)]
struct Table(Vec<Case>);

impl Table {
    fn add(&mut self, what: impl Into<String>, bytes: Vec<u8>, fate: impl Into<Fate>) {
        self.0.push(Case {
            what: what.into(),
            bytes,
            fate: fate.into(),
        });
    }

    /// A packet of the pod, of either family.
    fn own(&mut self, what: impl Into<String>, packet: &[u8], fate: impl Into<Fate>) {
        self.add(what, framed(pod_mac(1), packet), fate);
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

const BEYOND: &str = "192.0.2.1";
const BEYOND6: &str = "2001:db8::1";

fn pairs() -> [(IpAddr, IpAddr); 2] {
    [(v4(1), address(BEYOND)), (v6(1), address(BEYOND6))]
}

fn transports(table: &mut Table) {
    for (from, to) in pairs() {
        for protocol in [TCP, UDP, SCTP, 47, 50] {
            let what = format!("protocol {protocol} from {from}");
            table.own(
                what,
                &ip(from, to, protocol, &transport(protocol, 1, 2)),
                None,
            );
        }
        for (protocol, whole) in [(TCP, tcp(1, 2, 2)), (UDP, udp(1, 2)), (SCTP, sctp(1, 2))] {
            for length in 0..whole.len() {
                let what = format!("{length} bytes of protocol {protocol} from {from}");
                let packet = ip(from, to, protocol, &whole[..length]);
                table.own(what, &packet, Reason::Truncated);
            }
        }
        for words in 0..16_u8 {
            let mut header = tcp(1, 2, 2);
            header[12] = words << 4;
            let fate = (words < 5).then_some(Reason::Malformed);
            let what = format!("TCP with a header of {words} words from {from}");
            table.own(what, &ip(from, to, TCP, &header), fate);
        }
    }
    for kind in [0, 3, 8, 11, 13] {
        let packet = ip(v4(1), address(BEYOND), ICMP, &icmp(kind, 9, &[]));
        table.own(format!("ICMP of type {kind}"), &packet, None);
    }
    for length in 0..8 {
        let short = icmp(8, 9, &[]);
        let packet = ip(v4(1), address(BEYOND), ICMP, &short[..length]);
        table.own(
            format!("{length} bytes of ICMP"),
            &packet,
            Reason::Truncated,
        );
        let packet = ip(v6(1), address(BEYOND6), ICMPV6, &short[..length]);
        table.own(
            format!("{length} bytes of ICMPv6"),
            &packet,
            Reason::Truncated,
        );
    }
}

fn ipv4_headers(table: &mut Table) {
    let payload = udp(1, 2);
    let whole = V4 {
        source: v4(1),
        destination: address(BEYOND),
        protocol: UDP,
        id: 7,
        fragment: 0,
        options: &[],
        payload: &payload,
    };
    for words in 0..=10_usize {
        let options = vec![1; words * 4];
        let packet = V4 {
            options: &options,
            ..whole
        };
        table.own(
            format!("IPv4 with {words} words of options"),
            &packet.bytes(),
            None,
        );
    }
    for words in 0..5 {
        let mut packet = whole.bytes();
        packet[0] = 0x40 | words;
        table.own(
            format!("IPv4 with {words} words of header"),
            &packet,
            Reason::Malformed,
        );
    }
    for version in [0, 5, 6, 15_u8] {
        let mut packet = whole.bytes();
        packet[0] = version << 4 | 5;
        let frame = ethernet(pod_mac(1), IPV4, &packet);
        table.add(
            format!("version {version} in IPv4"),
            frame,
            Reason::Malformed,
        );
    }
    for (length, fate) in [
        (0, Some(Reason::Malformed)),
        (19, Some(Reason::Malformed)),
        (28, None),
        (29, Some(Reason::Truncated)),
        (u16::MAX, Some(Reason::Truncated)),
    ] {
        let mut packet = whole.bytes();
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        table.own(format!("28 bytes of IPv4 that say {length}"), &packet, fate);
    }
    let mut padded = whole.bytes();
    padded.extend([0; 18]);
    table.own("IPv4 with Ethernet's padding", &padded, None);
    let long_header = V4 {
        options: &[1; 40],
        payload: &[],
        ..whole
    };
    let packet = &long_header.bytes()[..30];
    table.own("half of IPv4's options", packet, Reason::Truncated);
}

fn ipv6_headers(table: &mut Table) {
    let (from, to) = (v6(1), address(BEYOND6));
    let whole = ipv6(from, to, (UDP, 64), &udp(1, 2));
    for length in 40..whole.len() {
        let what = format!("{length} of {} bytes of IPv6", whole.len());
        table.own(what, &whole[..length], Reason::Truncated);
    }
    for version in [0, 4, 7, 15_u8] {
        let mut packet = whole.clone();
        packet[0] = version << 4;
        let frame = ethernet(pod_mac(1), IPV6, &packet);
        table.add(
            format!("version {version} in IPv6"),
            frame,
            Reason::Malformed,
        );
    }
    // Each kind, its length in bytes, alone and twice.
    for (kind, length) in [(0_u8, 8), (0, 24), (60, 8), (60, 1024), (43, 16)] {
        let header = |next: u8| {
            let mut header = vec![0; length];
            header[0] = next;
            header[1] = u8::try_from(length / 8 - 1).expect("short");
            header[2] = 3;
            header
        };
        let one = [header(UDP), udp(1, 2)].concat();
        table.own(
            format!("extension header {kind} of {length} bytes"),
            &ipv6(from, to, (kind, 64), &one),
            None,
        );
        let two = [header(kind), header(UDP), udp(1, 2)].concat();
        table.own(
            format!("two extension headers {kind} of {length} bytes"),
            &ipv6(from, to, (kind, 64), &two),
            None,
        );
        let what = format!("extension header {kind} of {length} bytes and half of UDP");
        let short = [header(UDP), vec![0; 4]].concat();
        table.own(what, &ipv6(from, to, (kind, 64), &short), Reason::Truncated);
    }
    let authentication = [vec![UDP, 4], vec![0; 22], udp(1, 2)].concat();
    let packet = ipv6(from, to, (51, 64), &authentication);
    table.own("an authentication header", &packet, None);
    let routing = [vec![UDP, 0, 0, 1], vec![0; 4], udp(1, 2)].concat();
    let packet = ipv6(from, to, (43, 64), &routing);
    table.own("a routing header of type 0", &packet, Reason::RoutingHeader);
    table.own("no next header", &ipv6(from, to, (59, 64), &[]), None);
    for (count, fate) in [(8, None), (9, Some(Reason::ExtensionHeaders))] {
        let mut chain = Vec::new();
        for _ in 1..count {
            chain.extend([60, 0, 0, 0, 0, 0, 0, 0]);
        }
        chain.extend([UDP, 0, 0, 0, 0, 0, 0, 0]);
        chain.extend(udp(1, 2));
        let packet = ipv6(from, to, (60, 64), &chain);
        table.own(format!("{count} extension headers"), &packet, fate);
    }
}

fn sources(table: &mut Table) {
    let payload = udp(1, 2);
    let to = |from: &IpAddr| address(if from.is_ipv4() { BEYOND } else { BEYOND6 });
    // The link-local address is made of the MAC 02:00:00:00:01:01.
    for (from, fate) in [
        ("10.0.0.1", None),
        ("10.0.0.2", Some(Reason::SourceAddress)),
        ("0.0.0.0", Some(Reason::SourceAddress)),
        ("127.0.0.1", Some(Reason::SourceAddress)),
        ("fd00::1", None),
        ("fd00::2", Some(Reason::SourceAddress)),
        ("::", Some(Reason::SourceAddress)),
        ("::1", Some(Reason::SourceAddress)),
        ("::ffff:10.0.0.1", Some(Reason::Malformed)),
        ("fe80::ff:fe00:101", None),
        ("fe80::ff:fe00:102", Some(Reason::SourceAddress)),
        ("fe80::1", Some(Reason::SourceAddress)),
    ] {
        let from = address(from);
        let packet = match from {
            IpAddr::V4(_) => ip(from, to(&from), UDP, &payload),
            IpAddr::V6(_) => ipv6(from, to(&from), (UDP, 64), &payload),
        };
        table.own(format!("UDP from {from}"), &packet, fate);
    }
    let broadcast = address("255.255.255.255");
    let nowhere = address("0.0.0.0");
    for (from, to, fate) in [
        (68, 67, None),
        (67, 68, Some(Reason::SourceAddress)),
        (68, 53, Some(Reason::SourceAddress)),
    ] {
        let packet = ip(nowhere, broadcast, UDP, &udp(from, to));
        table.own(format!("0.0.0.0 from port {from} to {to}"), &packet, fate);
    }
    for byte in 0..6 {
        let mut mac = pod_mac(1);
        mac[byte] ^= 4;
        let frame = framed(mac, &ip(v4(1), address(BEYOND), UDP, &payload));
        table.add(
            format!("another byte {byte} of the MAC"),
            frame,
            Reason::SourceMac,
        );
    }
}

fn arp(sender: [u8; 4]) -> Vec<u8> {
    [
        &[0, 1, 8, 0, 6, 4, 0, 1][..],
        &pod_mac(1),
        &sender,
        &[0; 6],
        &[169, 254, 1, 1],
    ]
    .concat()
}

fn neighbours(table: &mut Table) {
    for (sender, fate) in [
        ([10, 0, 0, 1], None),
        ([0, 0, 0, 0], None),
        ([10, 0, 0, 2], Some(Reason::SourceAddress)),
    ] {
        let frame = ethernet(pod_mac(1), ARP, &arp(sender));
        table.add(format!("ARP of {sender:?}"), frame, fate);
    }
    let half = ethernet(pod_mac(1), ARP, &arp([10, 0, 0, 1])[..27]);
    table.add("27 bytes of ARP", half, Reason::Truncated);
    for kind in [0x88cc, 0x8100, 0x8863, 0x0842] {
        let frame = ethernet(pod_mac(1), kind, &[0; 64]);
        table.add(format!("ethertype {kind:04x}"), frame, Reason::NotIp);
    }
    let (nobody, everybody) = (address("::"), address("ff02::1"));
    for kind in 133..=137 {
        let message = icmp(kind, 0, &[0; 16]);
        for (hops, fate) in [(255, None), (254, Some(Reason::SourceAddress))] {
            let packet = ipv6(nobody, everybody, (ICMPV6, hops), &message);
            let what = format!("neighbour discovery {kind} with {hops} hops left");
            table.own(what, &packet, fate);
        }
    }
    for kind in [130, 131, 132, 143] {
        // MLD comes behind a router alert (RFC 2711).
        let message = [vec![ICMPV6, 0, 5, 2, 0, 0, 1, 0], icmp(kind, 0, &[0; 16])].concat();
        let packet = ipv6(nobody, everybody, (0, 1), &message);
        table.own(format!("MLD {kind}"), &packet, None);
    }
}

fn metadata(table: &mut Table) {
    for (to, protocol, port, fate) in [
        ("169.254.169.254", TCP, 80, Some(Reason::Metadata)),
        ("169.254.169.254", UDP, 53, Some(Reason::Metadata)),
        ("169.254.169.254", ICMP, 0, Some(Reason::Metadata)),
        ("169.254.169.253", UDP, 53, None),
        ("169.254.169.123", UDP, 123, None),
        ("169.254.170.23", TCP, 80, None),
        ("169.254.20.10", UDP, 53, None),
        ("fd00:ec2::254", TCP, 80, Some(Reason::Metadata)),
        ("fd00:ec2::23", TCP, 80, None),
        ("168.63.129.16", TCP, 80, Some(Reason::Metadata)),
        ("168.63.129.16", UDP, 53, None),
        ("168.63.129.16", TCP, 53, None),
        ("168.63.129.16", SCTP, 53, Some(Reason::Metadata)),
        ("168.63.129.17", TCP, 80, None),
    ] {
        let to = address(to);
        let from = if to.is_ipv4() { v4(1) } else { v6(1) };
        let packet = ip(from, to, protocol, &transport(protocol, 4000, port));
        table.own(
            format!("protocol {protocol} to {to} port {port}"),
            &packet,
            fate,
        );
    }
}

fn table() -> Vec<Case> {
    let mut table = Table::default();
    transports(&mut table);
    ipv4_headers(&mut table);
    ipv6_headers(&mut table);
    sources(&mut table);
    neighbours(&mut table);
    metadata(&mut table);
    table.0
}

fn close_metadata(enforcer: &Enforcer) {
    let closed = |text, except_dns| MetadataAddress {
        address: address(text),
        except_dns,
    };
    let rules = NodeRules {
        metadata: vec![
            closed("169.254.169.254", false),
            closed("fd00:ec2::254", false),
            closed("168.63.129.16", true),
        ],
        ..NodeRules::default()
    };
    enforcer.set_node(&rules).expect("set");
}

#[test]
fn what_a_pod_sends_passes_or_is_dropped_as_the_table_says() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        close_metadata(&enforcer);
        let pod = Pod::new(1);
        let endpoint = Endpoint {
            metadata: false,
            ..pod.endpoint.clone()
        };
        enforcer.admit(&endpoint).expect("admitted");
        let cases = table();
        assert!(cases.len() > 250, "{} cases", cases.len());
        let mut wrong = Vec::new();
        for case in &cases {
            let packet = TestPacket {
                bytes: &case.bytes,
                link: endpoint.host_index,
                ingress_link: 0,
                mark: 0,
            };
            let found = fate(&enforcer, Program::FromPod, &packet);
            if found != case.fate {
                wrong.push(format!("{}: {found:?}, not {:?}", case.what, case.fate));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn what_a_pod_receives_is_parsed_by_the_same_rules() {
    let of_form = |fate: &Fate| match fate {
        None => true,
        Some(reason) => *reason as u8 <= Reason::RoutingHeader as u8,
    };
    in_new_node(move |settings| {
        let enforcer = start(&settings);
        let pod = Pod::admitted(&enforcer, 1);
        for case in table().iter().filter(|case| of_form(&case.fate)) {
            let packet = TestPacket {
                bytes: &case.bytes,
                link: pod.endpoint.host_index,
                ingress_link: 0,
                mark: 0,
            };
            let found = fate(&enforcer, Program::ToPod, &packet);
            assert_eq!(found, case.fate, "{}", case.what);
        }
    });
}

#[test]
fn a_link_without_an_endpoint_passes_nothing() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let pod = Pod::new(1);
        let bytes = framed(pod_mac(1), &ip(v4(1), v4(2), UDP, &udp(1, 2)));
        let packet = TestPacket {
            bytes: &bytes,
            link: pod.endpoint.host_index,
            ingress_link: 0,
            mark: 0,
        };
        for program in [Program::FromPod, Program::ToPod] {
            let found = fate(&enforcer, program, &packet);
            assert_eq!(found, Some(Reason::UnknownInterface));
        }
        enforcer.admit(&pod.endpoint).expect("admitted");
        for program in [Program::FromPod, Program::ToPod] {
            assert_eq!(fate(&enforcer, program, &packet), None);
        }
    });
}
