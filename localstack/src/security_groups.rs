//! Security groups, as nftables text: which flows others may open to an interface and
//! which it may open. Answers always pass.

use std::fmt::Write as _;

use crate::source_check::TABLE;
use crate::wiring::{Peers, SecurityRule, WiredInterface};

#[derive(Clone, Copy)]
enum Direction {
    /// To the interface; the peer is the source.
    Ingress,
    /// From the interface; the peer is the destination.
    Egress,
}

impl Direction {
    const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    fn chain(self, interface: &WiredInterface) -> String {
        let direction = match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        };
        format!("{}_{direction}", interface.port())
    }
}

/// Text that makes the chains of a port.
pub(crate) fn open(interface: &WiredInterface) -> String {
    let mut text = String::new();
    for direction in Direction::BOTH {
        let _ = writeln!(text, "add chain {TABLE} {}", direction.chain(interface));
        text.push_str(&rules(interface, direction));
    }
    text
}

/// Text that replaces the rules of a port.
pub(crate) fn replace(interface: &WiredInterface) -> String {
    let mut text = String::new();
    for direction in Direction::BOTH {
        let _ = writeln!(text, "flush chain {TABLE} {}", direction.chain(interface));
        text.push_str(&rules(interface, direction));
    }
    text
}

/// The rules of one direction. Egress returns to the caller for an allowed flow, because
/// the other end's ingress has to allow it, too. Ingress comes last and accepts it.
fn rules(interface: &WiredInterface, direction: Direction) -> String {
    let chain = direction.chain(interface);
    let (rules, verdict) = match direction {
        Direction::Ingress => (&interface.ingress, "accept"),
        Direction::Egress => (&interface.egress, "return"),
    };
    let mut text = String::new();
    for matched in rules.iter().filter_map(|rule| matches(rule, direction)) {
        let _ = writeln!(text, "add rule {TABLE} {chain} {matched} {verdict}");
    }
    let _ = writeln!(
        text,
        "add rule {TABLE} {chain} counter name \"{}_refused\" drop",
        interface.port()
    );
    text
}

/// `None` for a group without members.
fn matches(rule: &SecurityRule, direction: Direction) -> Option<String> {
    let mut text = match (&rule.peers, direction) {
        (Peers::Range(range), _) => {
            let family = if range.addr().is_ipv4() { "ip" } else { "ip6" };
            let end = match direction {
                Direction::Ingress => "saddr",
                Direction::Egress => "daddr",
            };
            format!("{family} {end} {range}")
        }
        (Peers::Ports(ports), _) if ports.is_empty() => return None,
        (Peers::Ports(ports), direction) => {
            let link = match direction {
                Direction::Ingress => "iifname",
                Direction::Egress => "oifname",
            };
            let quoted: Vec<String> = ports.iter().map(|port| format!("\"{port}\"")).collect();
            format!("{link} {{ {} }}", quoted.join(", "))
        }
    };
    if let Some(protocol) = rule.protocol {
        let _ = write!(text, " meta l4proto {protocol}");
    }
    if let Some((first, last)) = rule.ports {
        let _ = write!(text, " th dport {first}-{last}");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::tests::interface;

    #[test]
    fn a_rule_names_peer_protocol_and_ports_and_the_rest_is_refused() {
        let mut one = interface(1, 0, &[]);
        one.ingress.push(SecurityRule {
            peers: Peers::Range("10.0.0.0/16".parse().expect("a range")),
            protocol: Some(6),
            ports: Some((80, 90)),
        });
        assert_eq!(
            rules(&one, Direction::Ingress),
            "add rule inet vpc n1e0_ingress ip saddr 10.0.0.0/16 meta l4proto 6 th dport 80-90 accept\n\
             add rule inet vpc n1e0_ingress counter name \"n1e0_refused\" drop\n"
        );
    }

    #[test]
    fn members_of_a_group_are_known_by_their_ports() {
        let mut one = interface(1, 0, &[]);
        let members = |names: &[&str]| SecurityRule {
            peers: Peers::Ports(names.iter().map(|name| (*name).to_owned()).collect()),
            protocol: None,
            ports: None,
        };
        one.egress = vec![members(&["n1e0", "n2e0"]), members(&[])];
        assert_eq!(
            rules(&one, Direction::Egress),
            "add rule inet vpc n1e0_egress oifname { \"n1e0\", \"n2e0\" } return\n\
             add rule inet vpc n1e0_egress counter name \"n1e0_refused\" drop\n"
        );
    }
}
