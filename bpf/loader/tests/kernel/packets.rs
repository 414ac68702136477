//! Packets that are made up, byte by byte. Checksums are 0: no program reads them.

use std::net::IpAddr;

use veni_bpf::{Enforcer, Program, Reason, TestPacket};

use crate::world::GATEWAY;

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const ARP: u16 = 0x0806;
pub(crate) const IPV6: u16 = 0x86dd;

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const SCTP: u8 = 132;

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const RST: u8 = 0x04;

/// MAC of a pod with this number.
pub(crate) fn pod_mac(number: u8) -> [u8; 6] {
    [0x02, 0, 0, 0, 1, number]
}

pub(crate) fn ethernet(from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&GATEWAY[..], &from, &kind.to_be_bytes(), payload].concat()
}

/// Header of IPv4 and what follows; `fragment` is the field with flags and offset.
#[derive(Clone, Copy)]
pub(crate) struct V4<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) id: u16,
    pub(crate) fragment: u16,
    pub(crate) options: &'a [u8],
    pub(crate) payload: &'a [u8],
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

impl V4<'_> {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let header = 20 + self.options.len();
        let length = u16::try_from(header + self.payload.len()).expect("short");
        let version = 0x40 | u8::try_from(header / 4).expect("short");
        [
            &[version, 0],
            &length.to_be_bytes()[..],
            &self.id.to_be_bytes(),
            &self.fragment.to_be_bytes(),
            &[64, self.protocol, 0, 0],
            &octets(self.source),
            &octets(self.destination),
            self.options,
            self.payload,
        ]
        .concat()
    }
}

/// Header of IPv6 and what follows.
pub(crate) fn ipv6(
    source: IpAddr,
    destination: IpAddr,
    (next, hops): (u8, u8),
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("short");
    [
        &[0x60, 0, 0, 0],
        &length.to_be_bytes()[..],
        &[next, hops],
        &octets(source),
        &octets(destination),
        payload,
    ]
    .concat()
}

pub(crate) fn tcp(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    [
        &source.to_be_bytes()[..],
        &destination.to_be_bytes(),
        &[0; 8],
        &[0x50, flags, 0, 0, 0, 0, 0, 0],
    ]
    .concat()
}

pub(crate) fn udp(source: u16, destination: u16) -> Vec<u8> {
    [
        &source.to_be_bytes()[..],
        &destination.to_be_bytes(),
        &[0, 8, 0, 0],
    ]
    .concat()
}

pub(crate) fn sctp(source: u16, destination: u16) -> Vec<u8> {
    [
        &source.to_be_bytes()[..],
        &destination.to_be_bytes(),
        &[0; 8],
    ]
    .concat()
}

/// A message of ICMP or ICMPv6: kind, identifier, and a packet where it tells of one.
pub(crate) fn icmp(kind: u8, identifier: u16, told: &[u8]) -> Vec<u8> {
    [
        &[kind, 0, 0, 0],
        &identifier.to_be_bytes()[..],
        &[0, 1],
        told,
    ]
    .concat()
}

/// What a protocol's packet between two ports looks like, of the usual protocols.
pub(crate) fn transport(protocol: u8, source: u16, destination: u16) -> Vec<u8> {
    match protocol {
        TCP => tcp(source, destination, SYN),
        UDP => udp(source, destination),
        SCTP => sctp(source, destination),
        _ => icmp(if protocol == ICMPV6 { 128 } else { 8 }, source, &[]),
    }
}

/// A whole packet of either family, without Ethernet's header.
pub(crate) fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match source {
        IpAddr::V4(_) => V4 {
            source,
            destination,
            protocol,
            id: 7,
            fragment: 0,
            options: &[],
            payload,
        }
        .bytes(),
        IpAddr::V6(_) => ipv6(source, destination, (protocol, 64), payload),
    }
}

/// Adds the header of a pod's Ethernet.
pub(crate) fn framed(from: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let kind = if packet[0] >> 4 == 4 { IPV4 } else { IPV6 };
    ethernet(from, kind, packet)
}

/// What became of a packet: `None` where it passed.
pub(crate) type Fate = Option<Reason>;

/// Drops by reason, both directions together.
fn drops(enforcer: &Enforcer) -> Vec<(Reason, u64)> {
    let counters = enforcer.counters().expect("counters");
    let drops = counters.drops.iter();
    drops.map(|(_, reason, count)| (*reason, *count)).collect()
}

/// Runs a packet through a program, and tells by the counters why it was dropped.
pub(crate) fn fate(enforcer: &Enforcer, program: Program, packet: &TestPacket<'_>) -> Fate {
    let before = drops(enforcer);
    let verdict = enforcer.test_run(program, packet, 1);
    let verdict = verdict.unwrap_or_else(|e| panic!("{} bytes: {e}", packet.bytes.len()));
    let counted = drops(enforcer).into_iter().zip(before);
    let reason = counted
        .filter(|((_, after), (_, before))| after > before)
        .map(|((reason, _), _)| reason)
        .next();
    assert_eq!(
        verdict.dropped,
        reason.is_some(),
        "counted as it was judged"
    );
    reason
}
