//! A rule set as elements of the maps `peers` and `ports`. Pure.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use aya::maps::lpm_trie::Key;
use ipnet::{IpNet, Ipv4Net};
use veni_policy::{Class, PortRange, Ports, RuleSet};

use crate::layout::{Address, ClassPort, OwnedAddress};

/// Elements of one rule set.
#[derive(Default)]
pub(crate) struct Elements {
    pub(crate) peers: Vec<(Key<OwnedAddress>, u32)>,
    pub(crate) ports: Vec<(Key<ClassPort>, u32)>,
}

/// Bits of what stands before the address and the port in their keys.
const OWNER_BITS: u32 = 32;
const PROTOCOL_BITS: u32 = 16;
/// A class without ports; those of sets are numbered from 1.
const NO_CLASS: u32 = 0;

/// A prefix of something that owns it. One of IPv4 is 96 bits longer in the map.
pub(crate) fn prefix(owner: u32, prefix: &IpNet) -> Key<OwnedAddress> {
    let (network, ahead) = (
        prefix.network(),
        if prefix.network().is_ipv4() { 96 } else { 0 },
    );
    let length = OWNER_BITS + ahead + u32::from(prefix.prefix_len());
    let address = Address::from(network);
    Key::new(length, OwnedAddress { owner, address })
}

/// All of IPv4. In the map it lies within IPv6, so that a short prefix of that contains it.
fn all_ipv4() -> IpNet {
    IpNet::V4(Ipv4Net::default())
}

/// Keeps IPv4 out of the prefixes of IPv6: a prefix of its own, to which nothing is allowed,
/// where one of IPv6 contains it and none of IPv4 is as short.
pub(crate) fn guard<'a>(
    owner: u32,
    mut prefixes: impl Iterator<Item = &'a IpNet> + Clone,
) -> Option<Key<OwnedAddress>> {
    let mapped = IpAddr::V6(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped());
    let contained = prefixes.clone().any(|prefix| prefix.contains(&mapped));
    let stated = prefixes.any(|prefix| *prefix == all_ipv4());
    (contained && !stated).then(|| prefix(owner, &all_ipv4()))
}

/// The elements of a set; its classes get numbers from `first_class`.
pub(crate) fn elements(rules: &RuleSet, set: u32, first_class: u32) -> Elements {
    let mut elements = Elements::default();
    for (peer, class) in &rules.peers {
        elements
            .peers
            .push((prefix(set, peer), first_class + class));
    }
    let guard = guard(set, rules.peers.keys()).map(|key| (key, NO_CLASS));
    elements.peers.extend(guard);
    for (number, class) in (first_class..).zip(&rules.classes) {
        elements.ports.extend(ports(number, class));
    }
    elements
}

/// The elements of a class. Of equal ones the first decides whose rule it was.
fn ports(number: u32, class: &Class) -> Vec<(Key<ClassPort>, u32)> {
    let mut elements = Vec::new();
    let mut taken = HashSet::new();
    for PortRange { ports, origin } in &class.ports {
        for (length, protocol, port) in cut(*ports) {
            let port = ClassPort {
                class: number,
                protocol,
                zero: 0,
                port: port.to_be_bytes(),
            };
            if taken.insert((length, port)) {
                elements.push((Key::new(OWNER_BITS + length, port), *origin));
            }
        }
    }
    elements
}

/// Ports as prefixes: their length behind the class, the protocol and the first port.
fn cut(ports: Ports) -> Vec<(u32, u8, u16)> {
    let Ports::Some {
        protocol,
        first,
        last,
    } = ports
    else {
        return vec![(0, 0, 0)];
    };
    let (mut prefixes, mut at, end) = (Vec::new(), u32::from(first), u32::from(last) + 1);
    while at < end {
        // As large as the port is aligned and the rest allows.
        let aligned = at.trailing_zeros().min(16);
        let bits = aligned.min((end - at).ilog2());
        let port = u16::try_from(at).unwrap_or_default();
        prefixes.push((PROTOCOL_BITS + 16 - bits, protocol as u8, port));
        at += 1 << bits;
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;
    use veni_policy::Protocol;

    fn tcp(first: u16, last: u16) -> Vec<(u32, u16)> {
        let protocol = Protocol::Tcp;
        cut(Ports::Some {
            protocol,
            first,
            last,
        })
        .into_iter()
        .map(|(length, _, port)| (length - PROTOCOL_BITS, port))
        .collect()
    }

    #[test]
    fn ports_are_cut_into_prefixes() {
        assert_eq!(tcp(80, 80), [(16, 80)]);
        assert_eq!(tcp(0, 65535), [(0, 0)]);
        assert_eq!(tcp(80, 83), [(14, 80)]);
        assert_eq!(tcp(65535, 65535), [(16, 65535)]);
        assert_eq!(tcp(1, 4), [(16, 1), (15, 2), (16, 4)]);
        assert_eq!(cut(Ports::All), [(0, 0, 0)]);
    }

    #[test]
    fn prefixes_contain_exactly_the_ports_of_their_range() {
        for (first, last) in [(0, 0), (7, 1000), (1, 65535), (0, 65534), (32768, 60999)] {
            let prefixes = tcp(first, last);
            for port in 0..=u16::MAX {
                let within = |(length, start): &(u32, u16)| {
                    u32::from(port ^ start)
                        .checked_shr(16 - length)
                        .unwrap_or(0)
                        == 0
                };
                let inside = (first..=last).contains(&port);
                assert_eq!(
                    prefixes.iter().any(within),
                    inside,
                    "{port} of {first}-{last}"
                );
            }
        }
    }
}
