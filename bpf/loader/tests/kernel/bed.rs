//! Two pods of one node and an uplink, and packets that travel between them by the
//! programs alone: what one pod sends passes the program of its link, then the one of the
//! receiving pod's link or of the uplink, as the kernel would run them.

use std::net::IpAddr;
use std::sync::Arc;

use veni_bpf::{Enforcer, Program, Reason, Settings, TestPacket};
use veni_policy::{Class, PodPolicy, PortRange, Ports, Protocol, RuleSet, Side};

use crate::packets::{Fate, fate, framed, ip, pod_mac, transport};
use crate::world::{Pod, index, ip as run_ip, start};

/// Beyond the uplink.
pub(crate) const BEYOND: &str = "192.0.2.1";

pub(crate) struct Bed {
    pub(crate) enforcer: Enforcer,
    pub(crate) one: Pod,
    pub(crate) two: Pod,
    pub(crate) uplink: u32,
}

/// Where a packet comes from or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A pod of the node, by its number.
    Pod(u8),
    /// The node itself.
    Node,
    /// Beyond the uplink.
    Uplink,
}

impl Bed {
    pub(crate) fn new(settings: &Settings) -> Self {
        let enforcer = start(settings);
        let (one, two) = (Pod::admitted(&enforcer, 1), Pod::admitted(&enforcer, 2));
        run_ip("link add uplink type veth peer name wire");
        let uplink = index("uplink");
        Self {
            enforcer,
            one,
            two,
            uplink,
        }
    }

    fn link(&self, place: Place) -> u32 {
        match place {
            Place::Pod(1) => self.one.endpoint.host_index,
            Place::Pod(_) => self.two.endpoint.host_index,
            Place::Uplink => self.uplink,
            Place::Node => 0,
        }
    }

    /// Sends a packet of IP on its way; answers why it was dropped, if it was.
    pub(crate) fn carry(&self, from: Place, to: Place, packet: &[u8]) -> Fate {
        self.carry_translated(from, to, packet, packet)
    }

    /// The same, where the node has changed the packet's addresses on its way.
    pub(crate) fn carry_translated(
        &self,
        from: Place,
        to: Place,
        sent: &[u8],
        received: &[u8],
    ) -> Fate {
        let mut mark = 0;
        if let Place::Pod(number) = from {
            let bytes = framed(pod_mac(number), sent);
            let packet = TestPacket {
                bytes: &bytes,
                link: self.link(from),
                ingress_link: 0,
                mark: 0,
            };
            let verdict = self.enforcer.test_run(Program::FromPod, &packet, 1);
            let verdict = verdict.expect("run");
            if verdict.dropped {
                return fate(&self.enforcer, Program::FromPod, &packet);
            }
            mark = verdict.mark;
        }
        let program = match to {
            Place::Pod(_) => Program::ToPod,
            Place::Uplink => Program::Leaving,
            Place::Node => return None,
        };
        let bytes = framed([2, 0, 0, 0, 9, 9], received);
        let packet = TestPacket {
            bytes: &bytes,
            link: self.link(to),
            ingress_link: self.link(from),
            mark,
        };
        fate(&self.enforcer, program, &packet)
    }

    pub(crate) fn policy(&self, number: u8, ingress: Side, egress: Side) {
        let link = self.link(Place::Pod(number));
        let policy = PodPolicy { ingress, egress };
        self.enforcer.set_policy(link, &policy).expect("a policy");
    }
}

/// A flow's first packet or any later one between two addresses.
pub(crate) fn packet(from: IpAddr, to: IpAddr, protocol: u8, ports: (u16, u16)) -> Vec<u8> {
    ip(from, to, protocol, &transport(protocol, ports.0, ports.1))
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Nothing passes.
pub(crate) fn closed() -> Side {
    Side::Isolated(Arc::default())
}

/// One port of TCP.
pub(crate) fn tcp_port(port: u16) -> Ports {
    Ports::Some {
        protocol: Protocol::Tcp,
        first: port,
        last: port,
    }
}

/// Only these ports with these prefixes pass, each by a policy of its own.
pub(crate) fn allowing(rules: &[(&str, &[Ports])]) -> Side {
    let mut set = RuleSet::default();
    for (number, (prefix, ports)) in (0..).zip(rules) {
        set.peers.insert(prefix.parse().expect("a prefix"), number);
        set.origins.push(format!("shop/policy-{number}"));
        set.classes.push(Class {
            ports: ports
                .iter()
                .map(|ports| PortRange {
                    ports: *ports,
                    origin: number,
                })
                .collect(),
        });
    }
    Side::Isolated(Arc::new(set))
}

/// Drops by a policy.
pub(crate) const BY_INGRESS: Fate = Some(Reason::PolicyIngress);
pub(crate) const BY_EGRESS: Fate = Some(Reason::PolicyEgress);
