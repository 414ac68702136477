//! What the programs share with the loader, as `bpf/programs/layout.h` has it. Sizes are
//! compared here and there; a change that an older program would misread makes another
//! [`LAYOUT`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Version of the maps' layouts. It is part of the pins' path: programs never meet maps of
/// another version.
pub const LAYOUT: u32 = 1;

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// No endpoint is admitted on the link.
    UnknownInterface = 1,
    /// The packet ends before its headers do, or before they say.
    Truncated = 2,
    /// A header contradicts itself.
    Malformed = 3,
    /// Neither IPv4 nor IPv6 nor ARP, or in a VLAN.
    NotIp = 4,
    /// More than eight extension headers.
    ExtensionHeaders = 5,
    /// A routing header of type 0 (RFC 5095).
    RoutingHeader = 6,
    /// The sender's MAC is not the pod's.
    SourceMac = 7,
    /// The source address is not the pod's.
    SourceAddress = 8,
    /// Instance metadata is closed to the pod.
    Metadata = 9,
    /// A fragment whose first one has not passed.
    FragmentAlone = 10,
    /// No policy of the receiving pod allows it.
    PolicyIngress = 11,
    /// No policy of the sending pod allows it.
    PolicyEgress = 12,
    /// The endpoint's policy is not known yet.
    PolicyUnknown = 13,
}

impl Reason {
    /// All, in the order of their numbers from 1.
    pub const ALL: [Self; 13] = [
        Self::UnknownInterface,
        Self::Truncated,
        Self::Malformed,
        Self::NotIp,
        Self::ExtensionHeaders,
        Self::RoutingHeader,
        Self::SourceMac,
        Self::SourceAddress,
        Self::Metadata,
        Self::FragmentAlone,
        Self::PolicyIngress,
        Self::PolicyEgress,
        Self::PolicyUnknown,
    ];

    pub(crate) fn of(number: u8) -> Option<Self> {
        let at = usize::from(number).checked_sub(1)?;
        Self::ALL.get(at).copied()
    }

    /// In words of a metric's label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownInterface => "unknown_interface",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::NotIp => "not_ip",
            Self::ExtensionHeaders => "extension_headers",
            Self::RoutingHeader => "routing_header",
            Self::SourceMac => "source_mac",
            Self::SourceAddress => "source_address",
            Self::Metadata => "metadata",
            Self::FragmentAlone => "fragment_alone",
            Self::PolicyIngress => "policy_ingress",
            Self::PolicyEgress => "policy_egress",
            Self::PolicyUnknown => "policy_unknown",
        }
    }
}

/// `REASONS` of layout.h: 0 is a packet that passed.
pub(crate) const REASONS: u32 = Reason::ALL.len() as u32 + 1;

/// An address in 16 bytes; of IPv4 as `::ffff:a.b.c.d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C, align(4))]
pub(crate) struct Address(pub(crate) [u8; 16]);

impl Address {
    pub(crate) fn to_ip(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        IpAddr::V4(address).into()
    }
}

/// Flags of [`EndpointValue`].
pub(crate) mod endpoint_flag {
    pub(crate) const METADATA: u16 = 1;
    pub(crate) const FURTHER: u16 = 2;
    pub(crate) const UNKNOWN: u16 = 4;
    pub(crate) const AUDIT: u16 = 8;
    pub(crate) const MARK: u16 = 16;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub(crate) struct EndpointValue {
    pub(crate) generation: u64,
    pub(crate) v4: Address,
    pub(crate) v6: Address,
    pub(crate) ingress_set: u32,
    pub(crate) egress_set: u32,
    pub(crate) epoch: u32,
    pub(crate) mark: u32,
    pub(crate) mark_mask: u32,
    pub(crate) mac: [u8; 6],
    pub(crate) flags: u16,
    pub(crate) half_open_limit: u32,
    pub(crate) flow_limit: u32,
    pub(crate) redirect: u32,
    pub(crate) spare: [u32; 4],
}

/// Flags of [`NodeValue`].
pub(crate) mod node_flag {
    pub(crate) const AUDIT: u32 = 1;
    pub(crate) const PORTS_JUDGED: u32 = 2;
    pub(crate) const RECORDS: u32 = 4;
    pub(crate) const STRICT: u32 = 8;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub(crate) struct NodeValue {
    pub(crate) flags: u32,
    pub(crate) reply_mark: u32,
    pub(crate) records_per_second: u32,
    pub(crate) record_opened_every: u32,
    pub(crate) spare: [u64; 4],
}

/// Flags of an address in the map `special`.
pub(crate) mod special_flag {
    pub(crate) const NODE: u32 = 1;
    pub(crate) const METADATA: u32 = 2;
    pub(crate) const DNS: u32 = 4;
}

/// What a prefix of `sources` and `peers` belongs to, a link or a rule set, and its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct OwnedAddress {
    pub(crate) owner: u32,
    pub(crate) address: Address,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct ClassPort {
    pub(crate) class: u32,
    pub(crate) protocol: u8,
    pub(crate) zero: u8,
    /// In network order.
    pub(crate) port: [u8; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub(crate) struct FlowKey {
    pub(crate) generation: u64,
    pub(crate) local: Address,
    pub(crate) remote: Address,
    pub(crate) local_port: [u8; 2],
    pub(crate) remote_port: [u8; 2],
    pub(crate) protocol: u8,
    pub(crate) zero: [u8; 3],
}

/// Flags of [`FlowValue`].
pub(crate) mod flow_flag {
    pub(crate) const ANSWERED: u8 = 1;
    pub(crate) const FIN_LOCAL: u8 = 2;
    pub(crate) const FIN_REMOTE: u8 = 4;
    pub(crate) const RESET: u8 = 8;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub(crate) struct FlowValue {
    pub(crate) last_seen: u64,
    pub(crate) opened: u64,
    pub(crate) epoch: u32,
    pub(crate) origin: u32,
    pub(crate) opened_by: u8,
    pub(crate) flags: u8,
    pub(crate) zero: [u8; 2],
    pub(crate) half_open_at: u32,
    pub(crate) spare: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct HalfOpenKey {
    pub(crate) generation: u64,
    pub(crate) place: u32,
    pub(crate) zero: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub(crate) struct Usage {
    pub(crate) opened: u64,
    pub(crate) evicted: u64,
    pub(crate) refused: u64,
}

/// Counts of one endpoint on one CPU; index 0 is towards the pod, 1 from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub(crate) struct Verdicts {
    pub(crate) passed: [u64; 2],
    pub(crate) passed_bytes: [u64; 2],
    pub(crate) dropped: [u64; 2],
    pub(crate) would_drop: [u64; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub(crate) struct RecordBudget {
    pub(crate) second: u64,
    pub(crate) told: u32,
    pub(crate) opened: u32,
    pub(crate) lost: u64,
}

/// Bytes of `struct record`.
pub(crate) const RECORD: usize = 72;

const _: () = {
    assert!(size_of::<EndpointValue>() == 96);
    assert!(size_of::<NodeValue>() == 48);
    assert!(size_of::<OwnedAddress>() == 20);
    assert!(size_of::<ClassPort>() == 8);
    assert!(size_of::<FlowKey>() == 48);
    assert!(size_of::<FlowValue>() == 40);
    assert!(size_of::<HalfOpenKey>() == 16);
    assert!(size_of::<Verdicts>() == 64);
    assert!(REASONS == 14);
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The enum of layout.h, as the compiler of C numbers it.
    fn reasons_of_the_programs() -> Vec<(String, u32)> {
        let header = include_str!("../../programs/layout.h");
        let (_, from) = header.split_once("enum reason {").expect("an enum");
        let (body, _) = from.split_once('}').expect("its end");
        body.split(',')
            .filter_map(|line| line.trim().split_once(" = "))
            .map(|(name, number)| (name.to_lowercase(), number.parse().expect("a number")))
            .collect()
    }

    #[test]
    fn reasons_have_the_numbers_that_the_programs_give_them() {
        let mut ours: Vec<(String, u32)> = Reason::ALL
            .iter()
            .map(|reason| (reason.name().to_owned(), u32::from(*reason as u8)))
            .collect();
        ours.insert(0, ("passed".to_owned(), 0));
        ours.push(("reasons".to_owned(), REASONS));
        assert_eq!(ours, reasons_of_the_programs());
    }

    #[test]
    fn a_reason_is_found_by_its_number() {
        for reason in Reason::ALL {
            assert_eq!(Reason::of(reason as u8), Some(reason));
        }
        assert_eq!(Reason::of(0), None);
        assert_eq!(Reason::of(14), None);
    }
}
