//! What a packet meets in resolved rules: the meaning that the programs in the kernel implement.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Direction, PodPolicy, PortRange, Ports, RuleSet, Side};

/// What the first packet of a flow meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// No policy isolates the pod for the direction.
    Open,
    /// The policy, as `NAMESPACE/NAME`, that allows it.
    Allowed(&'a str),
    /// No policy allows it.
    Denied,
}

impl Verdict<'_> {
    /// Whether the packet passes.
    pub fn passes(self) -> bool {
        self != Self::Denied
    }
}

impl PodPolicy {
    /// What meets a flow between the pod and `peer`. `protocol` is IP's number; `port` is the flow's
    /// destination port, and means nothing for protocols without ports.
    pub fn lookup(
        &self,
        direction: Direction,
        peer: IpAddr,
        protocol: u8,
        port: u16,
    ) -> Verdict<'_> {
        let side = match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        };
        match side {
            Side::Open => Verdict::Open,
            Side::Isolated(rules) => rules
                .lookup(peer, protocol, port)
                .map_or(Verdict::Denied, Verdict::Allowed),
        }
    }
}

impl RuleSet {
    /// The policy that allows a flow with `peer`, as `NAMESPACE/NAME`.
    pub fn lookup(&self, peer: IpAddr, protocol: u8, port: u16) -> Option<&str> {
        let longest = IpNet::from(peer).prefix_len();
        let ranges = (0..=longest)
            .rev()
            .filter_map(|length| IpNet::new(peer, length).ok());
        let class = ranges
            .filter_map(|range| self.peers.get(&range.trunc()))
            .next()?;
        let ports = &self.classes[*class as usize].ports;
        let range = ports.iter().find(|range| range.contains(protocol, port))?;
        Some(&self.origins[range.origin as usize])
    }
}

impl PortRange {
    fn contains(&self, number: u8, port: u16) -> bool {
        match self.ports {
            Ports::All => true,
            Ports::Some {
                protocol,
                first,
                last,
            } => protocol as u8 == number && (first..=last).contains(&port),
        }
    }
}
