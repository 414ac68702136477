//! Ports of the node that lead to pods, as elements of the maps of a table of their own.
//!
//! The table's rules are made with the node ([`table`]); what is here adds and removes
//! elements, by netlink and in one transaction for an endpoint. Only the thread that makes
//! endpoints does so, so nothing changes between a look and what follows from it.

pub(crate) mod table;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::nft_elements::{Bytes, Element, Member, Part, SetName, TableFamily, concatenated};
use super::worker::Host;
use crate::KernelError;
use crate::host_ports::{HostPort, PortProtocol};
use crate::plan::HalfPort;

/// What the table calls the maps and sets of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Family {
    /// How nft names the family.
    pub(crate) word: &'static str,
    /// Type of its addresses.
    pub(crate) kind: &'static str,
    /// Ports of all addresses of the node: protocol and port to pod and port.
    pub(crate) all: &'static str,
    /// Ports of one address of the node: address, protocol and port to pod and port.
    pub(crate) one: &'static str,
    /// Pods that ports lead to, each as a pair with itself.
    pub(crate) pods: &'static str,
}

pub(crate) const IPV4: Family = Family {
    word: "ip",
    kind: "ipv4_addr",
    all: "all_v4",
    one: "one_v4",
    pods: "pods_v4",
};
pub(crate) const IPV6: Family = Family {
    word: "ip6",
    kind: "ipv6_addr",
    all: "all_v6",
    one: "one_v6",
    pods: "pods_v6",
};

impl Family {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => IPV4,
            IpAddr::V6(_) => IPV6,
        }
    }
}

fn set(name: &'static str) -> SetName {
    SetName {
        family: TableFamily::Inet,
        table: table::NAME,
        set: name,
    }
}

fn port_element(port: &HostPort) -> Member {
    let family = Family::of(port.pod);
    let mut key: Vec<Part> = port.host.into_iter().map(Part::Address).collect();
    key.extend([
        Part::Protocol(port.protocol.number()),
        Part::Port(port.port),
    ]);
    let value = vec![Part::Address(port.pod), Part::Port(port.pod_port)];
    let map = match port.host {
        None => family.all,
        Some(_) => family.one,
    };
    (set(map), Element { key, value })
}

fn pod_element(pod: IpAddr) -> Member {
    let pair = Element {
        key: vec![Part::Address(pod); 2],
        value: Vec::new(),
    };
    (set(Family::of(pod).pods), pair)
}

/// All elements of an endpoint, each pod's own first.
fn members(ports: &[HostPort]) -> Vec<Member> {
    let mut pods: Vec<IpAddr> = ports.iter().map(|port| port.pod).collect();
    pods.sort_unstable();
    pods.dedup();
    let own = pods.into_iter().map(pod_element);
    own.chain(ports.iter().map(port_element)).collect()
}

/// Makes an endpoint's ports lead to it. The daemon knows whose a port is, so one that
/// leads elsewhere was left over and is replaced.
pub(crate) fn put(host: &mut Host, ports: &[HostPort]) -> Result<(), KernelError> {
    let added = members(ports);
    match host.elements.change(&[], &added) {
        Err(KernelError::Refused { reason, .. })
            if reason.kind() == std::io::ErrorKind::AlreadyExists => {}
        outcome => return outcome,
    }
    let mut replaced = Vec::new();
    for member in &added {
        let (set, element) = member;
        let value = host.elements.value_of(set, element)?;
        if value.is_some_and(|value| value != concatenated(&element.value)) {
            replaced.push(member.clone());
        }
    }
    host.elements.change(&replaced, &added)
}

/// Removes an endpoint's ports, but for those that lead elsewhere.
pub(crate) fn remove(host: &mut Host, ports: &[HostPort]) -> Result<(), KernelError> {
    let mut removed = Vec::new();
    for member in members(ports) {
        let (set, element) = &member;
        match host.elements.value_of(set, element) {
            Ok(value) if value == Some(concatenated(&element.value)) => removed.push(member),
            Ok(_) => {}
            // The table is gone, and all that was in it.
            Err(KernelError::NoSuchSet(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    host.elements.change(&removed, &[])
}

/// What an endpoint's ports lack, in words.
pub(crate) fn missing(host: &mut Host, ports: &[HostPort]) -> Result<Vec<String>, KernelError> {
    let mut missing = Vec::new();
    for (set, element) in members(ports) {
        let words = match host.elements.value_of(&set, &element) {
            Ok(Some(value)) if value == concatenated(&element.value) => continue,
            Ok(Some(_)) => format!("element {element} of {set} leads elsewhere"),
            Ok(None) => format!("element {element} of {set} is missing"),
            Err(error @ KernelError::NoSuchSet(_)) => {
                format!("element {element} of {set} is missing: {error}")
            }
            Err(error) => return Err(error),
        };
        missing.push(words);
    }
    Ok(missing)
}

/// All ports that lead somewhere, in order, and those of which only a part is there.
pub(crate) fn observe(host: &mut Host) -> Result<(Vec<HostPort>, Vec<HalfPort>), KernelError> {
    let (mut whole, mut half) = (Vec::new(), Vec::new());
    for family in [IPV4, IPV6] {
        let pods = list(host, family.pods)?.into_iter();
        let pods: BTreeSet<IpAddr> = pods.filter_map(|(key, _)| read_pod(family, &key)).collect();
        let mut led_to = BTreeSet::new();
        for (map, of_one) in [(family.all, false), (family.one, true)] {
            for (key, value) in list(host, map)? {
                let Some(port) = read(family, of_one, &key, &value) else {
                    continue;
                };
                led_to.insert(port.pod);
                match pods.contains(&port.pod) {
                    true => whole.push(port),
                    false => half.push(HalfPort::WithoutPod(port)),
                }
            }
        }
        half.extend(pods.difference(&led_to).copied().map(HalfPort::WithoutPort));
    }
    whole.sort_unstable();
    half.sort_unstable();
    Ok((whole, half))
}

fn list(host: &mut Host, name: &'static str) -> Result<Vec<Bytes>, KernelError> {
    match host.elements.list(&set(name)) {
        Err(KernelError::NoSuchSet(_)) => Ok(Vec::new()),
        other => other,
    }
}

/// Reads an element. What has another shape is not ours.
pub(crate) fn read(family: Family, of_one: bool, key: &[u8], value: &[u8]) -> Option<HostPort> {
    let (host, key) = match of_one {
        false => (None, key),
        true => {
            let (host, key) = split_address(family, key)?;
            (Some(host), key)
        }
    };
    let protocol = PortProtocol::of_number(*key.first()?)?;
    let (pod, pod_port) = split_address(family, value)?;
    Some(HostPort {
        protocol,
        port: port(key.get(4..)?)?,
        host,
        pod,
        pod_port: port(pod_port)?,
    })
}

/// Reads a pod's own element, a pair of one address.
pub(crate) fn read_pod(family: Family, key: &[u8]) -> Option<IpAddr> {
    let (pod, again) = split_address(family, key)?;
    (split_address(family, again)?.0 == pod).then_some(pod)
}

fn split_address(family: Family, bytes: &[u8]) -> Option<(IpAddr, &[u8])> {
    if family == IPV4 {
        let (address, rest) = bytes.split_first_chunk::<4>()?;
        return Some((Ipv4Addr::from(*address).into(), rest));
    }
    let (address, rest) = bytes.split_first_chunk::<16>()?;
    Some((Ipv6Addr::from(*address).into(), rest))
}

fn port(bytes: &[u8]) -> Option<u16> {
    let (port, _) = bytes.split_first_chunk::<2>()?;
    Some(u16::from_be_bytes(*port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (host, pod) in [
            (None, "10.0.1.7"),
            (Some("10.0.0.5"), "10.0.1.7"),
            (None, "2600::7"),
            (Some("2600::5"), "2600::7"),
        ] {
            let port = HostPort {
                protocol: PortProtocol::Sctp,
                port: 8080,
                host: host.map(|host| host.parse().expect("an address")),
                pod: pod.parse().expect("an address"),
                pod_port: 80,
            };
            let (_, element) = port_element(&port);
            let (key, value) = (concatenated(&element.key), concatenated(&element.value));
            let family = Family::of(port.pod);
            assert_eq!(read(family, host.is_some(), &key, &value), Some(port));
            assert_eq!(read(family, host.is_some(), &key, &value[..3]), None);
        }
    }
}
