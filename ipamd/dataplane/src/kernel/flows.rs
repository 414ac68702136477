//! Flows of UDP that conntrack still leads where a port of the node no longer leads.
//!
//! A client that goes on from the same port keeps its entry alive for ever, and an entry
//! keeps its translation, or that it has none. TCP and SCTP need nothing of this: their
//! connections end with the pod, and a new one has an entry of its own.

use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED, Nla};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, ConntrackMessageType, IPTuple, ProtoTuple, Protocol,
    Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    NetfilterSubsystem,
};

use super::errno::Refusal;
use super::host_ports::table;
use super::inspect;
use super::netlink::{Reply, Socket};
use super::worker::Host;
use crate::host_ports::HostPort;

/// Attributes (`nfnetlink_conntrack.h`) and flags (`nf_internals.h`) of a dump's filter.
const FILTER: u16 = 25;
const FILTER_OF_ORIGINAL: u16 = 1;
const BY_PROTOCOL: u32 = 1 << 3;
const BY_DESTINATION_PORT: u32 = 1 << 5;

/// Which flows to ports of the node are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flows {
    /// Those that lead elsewhere than to the ports' pods.
    PastTheirPods,
    /// Those that lead to the ports' pods.
    ToTheirPods,
}

/// Forgets flows to ports. What cannot be forgotten ends by itself, 30 to 120 seconds
/// after its client's last packet, so it is no more than a line in the log.
pub(crate) fn forget(host: &mut Host, ports: &[HostPort], which: Flows) {
    // As the table has them: an address of services that a proxy keeps on a link is none.
    let own = match inspect::node_addresses(host) {
        Ok(addresses) => table::own(&addresses),
        Err(error) => {
            tracing::warn!(%error, "flows of UDP to ports of the node are not forgotten");
            return;
        }
    };
    if let Err(refusal) = try_forget(host, ports, which, &own) {
        let ports: Vec<String> = ports.iter().map(HostPort::to_string).collect();
        let ports = ports.join(", ");
        tracing::warn!(
            ports,
            ?refusal,
            "flows of UDP to ports of the node may be led to where they were led before"
        );
    }
}

fn try_forget(
    host: &mut Host,
    ports: &[HostPort],
    which: Flows,
    own: &[IpAddr],
) -> Result<(), Refusal> {
    let socket = host.elements.socket();
    for family in [NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6] {
        let v4 = family == NetfilterProtoFamily::IPv4;
        let ports: Vec<&HostPort> = ports
            .iter()
            .filter(|port| port.pod.is_ipv4() == v4)
            .collect();
        if ports.is_empty() {
            continue;
        }
        let mut numbers: Vec<u16> = ports.iter().map(|port| port.port).collect();
        numbers.dedup();
        let only = (numbers.len() == 1).then(|| numbers[0]);
        for flow in all(socket, family, only)? {
            if ports.iter().any(|port| flow.is_to(port, which, own)) {
                remove(socket, family, flow)?;
            }
        }
    }
    Ok(())
}

/// A flow of UDP.
pub(crate) struct Flow {
    original: Vec<Tuple>,
    destination: End,
    /// Who answers.
    answers: End,
}

type End = (IpAddr, u16);

impl Flow {
    pub(crate) fn read(reply: &Reply) -> Option<Self> {
        let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) =
            reply.parse_as::<NetfilterMessage>()?.inner
        else {
            return None;
        };
        let (mut original, mut answer) = (None, None);
        for attribute in attributes {
            match attribute {
                ConntrackAttribute::CtaTupleOrig(tuple) => original = Some(tuple),
                ConntrackAttribute::CtaTupleReply(tuple) => answer = Some(tuple),
                _ => {}
            }
        }
        let original = original?;
        let [_, destination] = ends(&original)?;
        let [answers, _] = ends(&answer?)?;
        Some(Self {
            original,
            destination,
            answers,
        })
    }

    fn is_to(&self, port: &HostPort, which: Flows, own: &[IpAddr]) -> bool {
        let (address, number) = self.destination;
        let for_it = number == port.port
            && match port.host {
                Some(host) => host == address,
                None => own.contains(&address) || address.is_loopback(),
            };
        let leads_there = self.answers == (port.pod, port.pod_port);
        for_it && leads_there == (which == Flows::ToTheirPods)
    }
}

/// Source and destination of a tuple of UDP; `None` for other protocols.
fn ends(tuple: &[Tuple]) -> Option<[End; 2]> {
    let (mut addresses, mut ports, mut is_udp) = ([None; 2], [None; 2], false);
    for part in tuple {
        match part {
            Tuple::Ip(parts) => {
                for part in parts {
                    match part {
                        IPTuple::SourceAddress(address) => addresses[0] = Some(*address),
                        IPTuple::DestinationAddress(address) => addresses[1] = Some(*address),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(parts) => {
                for part in parts {
                    match part {
                        ProtoTuple::Protocol(protocol) => is_udp = *protocol == Protocol::Udp,
                        ProtoTuple::SourcePort(port) => ports[0] = Some(*port),
                        ProtoTuple::DestinationPort(port) => ports[1] = Some(*port),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    is_udp.then_some(())?;
    Some([(addresses[0]?, ports[0]?), (addresses[1]?, ports[1]?)])
}

fn header(family: NetfilterProtoFamily) -> NetfilterHeader {
    NetfilterHeader::new(family, 0, 0)
}

/// All flows of UDP of a family, or those to a port alone. The kernel leaves the others
/// out by itself (5.8).
fn all(
    socket: &mut Socket,
    family: NetfilterProtoFamily,
    port: Option<u16>,
) -> Result<Vec<Flow>, Refusal> {
    let mut tuple = vec![ProtoTuple::Protocol(Protocol::Udp)];
    tuple.extend(port.map(ProtoTuple::DestinationPort));
    let looked_at = match port {
        Some(_) => BY_PROTOCOL | BY_DESTINATION_PORT,
        None => BY_PROTOCOL,
    };
    let tuple = ConntrackAttribute::CtaTupleOrig(vec![Tuple::Proto(tuple)]);
    let mut wanted = vec![0; tuple.value_len()];
    tuple.emit_value(&mut wanted);
    // Put together here: the crate writes what it does not know without saying that it is
    // nested, and the kernel wants to be told.
    let inner = NetfilterMessageInner::Other {
        subsys: NetfilterSubsystem::Conntrack,
        message_type: ConntrackMessageType::Get.into(),
        attributes: vec![
            DefaultNla::new(tuple.kind() | NLA_F_NESTED, wanted),
            filter(looked_at),
        ],
    };
    let listed = socket.dump(&NetfilterMessage::new(header(family), inner))?;
    Ok(listed.iter().filter_map(Flow::read).collect())
}

/// What is looked at of the tuple of the packets that open a flow.
fn filter(looked_at: u32) -> DefaultNla {
    let flags = DefaultNla::new(FILTER_OF_ORIGINAL, looked_at.to_ne_bytes().to_vec());
    let mut nested = vec![0; flags.buffer_len()];
    flags.emit(&mut nested);
    DefaultNla::new(FILTER | NLA_F_NESTED, nested)
}

fn remove(socket: &mut Socket, family: NetfilterProtoFamily, flow: Flow) -> Result<(), Refusal> {
    let tuple = vec![ConntrackAttribute::CtaTupleOrig(flow.original)];
    let request = NetfilterMessage::new(header(family), ConntrackMessage::Delete(tuple));
    match socket.ask(request, 0) {
        Err(refusal) if !refusal.gone() => Err(refusal),
        _ => Ok(()),
    }
}
