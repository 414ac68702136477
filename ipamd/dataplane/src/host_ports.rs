//! Ports of the node that lead to pods: what mappings come to for a pod's addresses, and
//! which of them are in each other's way. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::plan::{PodAddress, is_node_local};

/// What a mapping of ports is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortProtocol {
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
    /// SCTP (RFC 9260).
    Sctp,
}

impl PortProtocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// Its number in an IP header (IANA, "Protocol Numbers").
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol of a number; `None` for those without mappings.
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.number() == number)
    }
}

impl fmt::Display for PortProtocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// A port of the node that leads to one of a pod's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Protocol of both ports.
    pub protocol: PortProtocol,
    /// Port of the node; not 0.
    pub host_port: u16,
    /// Port of the pod; not 0.
    pub pod_port: u16,
    /// The node's address that it is for; `None` for all of them, 0.0.0.0 and :: for all of
    /// their family.
    #[serde(default)]
    pub host_address: Option<IpAddr>,
}

impl PortMapping {
    /// Whether there is a packet that both are for.
    pub fn overlaps(&self, other: &Self) -> bool {
        (self.protocol, self.host_port) == (other.protocol, other.host_port)
            && match (self.host_address, other.host_address) {
                (Some(one), Some(two)) => {
                    one == two
                        || one.is_ipv4() == two.is_ipv4()
                            && (one.is_unspecified() || two.is_unspecified())
                }
                _ => true,
            }
    }

    /// What it comes to for one address of the pod; `None` where it is for the node's
    /// addresses of the other family.
    fn to(&self, pod: IpAddr) -> Option<HostPort> {
        let of_its_family = |host: IpAddr| host.is_ipv4() == pod.is_ipv4();
        self.host_address
            .is_none_or(of_its_family)
            .then_some(HostPort {
                protocol: self.protocol,
                port: self.host_port,
                host: self.host_address.filter(|host| !host.is_unspecified()),
                pod,
                pod_port: self.pod_port,
            })
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocol,
            host_port,
            ..
        } = self;
        write!(out, "{protocol} {host_port}")?;
        match self.host_address {
            None => Ok(()),
            Some(address) => write!(out, " of {address}"),
        }
    }
}

/// A port of the node that leads to a pod's address: what a mapping comes to in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// Protocol of both ports.
    pub protocol: PortProtocol,
    /// Port of the node.
    pub port: u16,
    /// The node's address that it is for, of the pod's family; `None` for all of that family.
    pub host: Option<IpAddr>,
    /// Address of the pod.
    pub pod: IpAddr,
    /// Port of the pod.
    pub pod_port: u16,
}

impl HostPort {
    /// The mapping that comes to it, for addresses of its family alone.
    pub fn mapping(&self) -> PortMapping {
        let all: IpAddr = match self.pod {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        PortMapping {
            protocol: self.protocol,
            host_port: self.port,
            pod_port: self.pod_port,
            host_address: Some(self.host.unwrap_or(all)),
        }
    }

    /// Whether what the node sends to its own loopback address is led to the pod. IPv6 has
    /// no such thing: the kernel lets no packet from ::1 leave.
    pub fn serves_loopback(&self) -> bool {
        match self.host {
            None => self.pod.is_ipv4(),
            Some(host) => host.is_ipv4() && host.is_loopback(),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocol,
            port,
            pod,
            pod_port,
            ..
        } = self;
        write!(out, "{protocol} {port}")?;
        if let Some(host) = self.host {
            write!(out, " of {host}")?;
        }
        write!(out, " to {pod} port {pod_port}")
    }
}

/// What mappings come to for a pod's addresses. Node-local addresses are not among them:
/// nobody opens a flow to one.
pub fn host_ports(addresses: &[PodAddress], mappings: &[PortMapping]) -> Vec<HostPort> {
    let reached = addresses.iter().filter(|pod| !is_node_local(pod.address));
    let mut ports: Vec<HostPort> = reached
        .flat_map(|pod| {
            mappings
                .iter()
                .filter_map(|mapping| mapping.to(pod.address))
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(host_port: u16, host: &str) -> PortMapping {
        PortMapping {
            protocol: PortProtocol::Tcp,
            host_port,
            pod_port: 80,
            host_address: host.parse().ok(),
        }
    }

    fn words(addresses: &[&str], mappings: &[PortMapping]) -> Vec<String> {
        let addresses: Vec<PodAddress> = addresses
            .iter()
            .map(|address| PodAddress {
                address: address.parse().expect("an address"),
            })
            .collect();
        let ports = host_ports(&addresses, mappings);
        ports.iter().map(HostPort::to_string).collect()
    }

    #[test]
    fn a_mapping_leads_to_the_pods_address_of_each_family_that_it_is_for() {
        let both = ["10.0.1.7", "2600::7"];
        for (host, expected) in [
            (
                "",
                vec![
                    "tcp 8080 to 10.0.1.7 port 80",
                    "tcp 8080 to 2600::7 port 80",
                ],
            ),
            ("0.0.0.0", vec!["tcp 8080 to 10.0.1.7 port 80"]),
            ("::", vec!["tcp 8080 to 2600::7 port 80"]),
            ("10.0.0.5", vec!["tcp 8080 of 10.0.0.5 to 10.0.1.7 port 80"]),
            ("2600::5", vec!["tcp 8080 of 2600::5 to 2600::7 port 80"]),
        ] {
            assert_eq!(words(&both, &[mapping(8080, host)]), expected, "{host}");
        }
        assert!(words(&both[..1], &[mapping(8080, "2600::5")]).is_empty());
    }

    #[test]
    fn a_port_is_what_its_own_mapping_comes_to() {
        for (host, pod) in [("", "10.0.1.7"), ("10.0.0.5", "10.0.1.7"), ("", "2600::7")] {
            let pod = pod.parse().expect("an address");
            let port = mapping(80, host).to(pod).expect("a port");
            assert_eq!(port.mapping().to(pod), Some(port));
        }
    }

    #[test]
    fn node_local_addresses_are_led_to_by_no_port() {
        let found = words(&["10.0.1.7", "fd00::ac:9"], &[mapping(8080, "")]);
        assert_eq!(found, ["tcp 8080 to 10.0.1.7 port 80"]);
    }

    #[test]
    fn a_mapping_that_is_given_twice_is_made_once() {
        assert_eq!(
            words(&["10.0.1.7"], &[mapping(80, ""), mapping(80, "")]).len(),
            1
        );
    }

    #[test]
    fn mappings_overlap_where_one_packet_is_for_both() {
        for (one, other, overlap) in [
            ("", "", true),
            ("", "10.0.0.5", true),
            ("", "::", true),
            ("0.0.0.0", "10.0.0.5", true),
            ("0.0.0.0", "::", false),
            ("0.0.0.0", "2600::5", false),
            ("10.0.0.5", "10.0.0.5", true),
            ("10.0.0.5", "10.0.0.6", false),
            ("10.0.0.5", "2600::5", false),
            ("2600::5", "::", true),
        ] {
            let (one, other) = (mapping(80, one), mapping(80, other));
            assert_eq!(one.overlaps(&other), overlap, "{one} and {other}");
            assert_eq!(other.overlaps(&one), overlap, "{other} and {one}");
        }
        let tcp = mapping(80, "");
        let udp = PortMapping {
            protocol: PortProtocol::Udp,
            ..tcp
        };
        assert!(!tcp.overlaps(&udp) && !tcp.overlaps(&mapping(81, "")));
    }

    #[test]
    fn only_ports_of_all_addresses_and_of_loopback_are_reached_by_loopback() {
        for (host, pod, serves) in [
            ("", "10.0.1.7", true),
            ("127.0.0.1", "10.0.1.7", true),
            ("10.0.0.5", "10.0.1.7", false),
            ("", "2600::7", false),
        ] {
            let port = mapping(80, host).to(pod.parse().expect("an address"));
            assert_eq!(
                port.expect("a port").serves_loopback(),
                serves,
                "{host} {pod}"
            );
        }
    }

    #[test]
    fn protocols_are_found_by_their_numbers() {
        for protocol in PortProtocol::ALL {
            assert_eq!(PortProtocol::of_number(protocol.number()), Some(protocol));
        }
        assert_eq!(PortProtocol::of_number(1), None);
    }
}
