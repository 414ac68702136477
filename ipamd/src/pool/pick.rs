//! Which free address an ADD gets: the candidates, and what a range can serve.
//! The choice itself is the planner's.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use tokio::time::Instant;
use veni_pool::SlotKind;
use veni_pool::choose::{self, Candidate};
use veni_provider::{Family, InterfaceId};

use super::state::{PoolInterface, PoolState, family_of};

/// Addresses used out of one IPv6 prefix: a /80 has more than a node can ever use.
const IPV6_CAPACITY: u32 = 1 << 16;

/// How many pods a range can serve. All 16 addresses of a /28 are good, the
/// first and the last as well: nothing is broadcast in it.
pub(crate) fn capacity(cidr: &IpNet) -> u32 {
    let host_bits = u32::from(cidr.max_prefix_len() - cidr.prefix_len());
    match cidr {
        IpNet::V4(_) => 1u32.checked_shl(host_bits).unwrap_or(u32::MAX),
        IpNet::V6(_) => 1u32
            .checked_shl(host_bits)
            .map_or(IPV6_CAPACITY, |count| count.min(IPV6_CAPACITY)),
    }
}

/// The addresses of a range that pods can have, lowest first.
pub(crate) fn addresses(cidr: &IpNet) -> impl Iterator<Item = IpAddr> + use<> {
    let network = cidr.network();
    (0..capacity(cidr)).map(move |offset| match network {
        IpAddr::V4(base) => Ipv4Addr::from_bits(base.to_bits().wrapping_add(offset)).into(),
        IpAddr::V6(base) => Ipv6Addr::from_bits(base.to_bits() + u128::from(offset)).into(),
    })
}

/// How many addresses of a range have a value in a map that counts. Costs what
/// is in the range, not what is in the map: the planner asks for every range
/// after every ADD.
pub(super) fn count_in<V>(
    map: &BTreeMap<IpAddr, V>,
    cidr: &IpNet,
    counts: impl Fn(&V) -> bool,
) -> u32 {
    let inside = map.range(cidr.network()..=cidr.broadcast());
    let count = inside.filter(|(_, value)| counts(value)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl PoolState {
    /// The address that the next pod gets, and the interface that holds it.
    pub(super) fn pick(
        &self,
        family: Family,
        now: Instant,
        waits: bool,
    ) -> Option<(InterfaceId, IpAddr)> {
        let mode = match family {
            Family::V4 => self.mode,
            Family::V6 => SlotKind::Prefix,
        };
        let serving = self.interfaces.values().filter(|i| i.serves());
        let candidates = serving.flat_map(|i| self.candidates(i, family, now, waits));
        let picked = choose::pick(mode, candidates)?;
        Some((InterfaceId::new(picked.interface), picked.lowest_free))
    }

    fn candidates<'a>(
        &self,
        interface: &'a PoolInterface,
        family: Family,
        now: Instant,
        waits: bool,
    ) -> Vec<Candidate<'a>> {
        let needs_rule = !interface.cloud.primary && self.capabilities.source_routing;
        let origin_of = self.origins.on(&interface.cloud.id);
        let held = interface.held.iter();
        let slots: Vec<(IpNet, u32, bool)> = held
            .filter(|(cidr, _)| family_of(cidr) == family)
            .map(|(cidr, held)| {
                let lent = held.serves() && origin_of(cidr).is_lent();
                let usable = lent && (!needs_rule || interface.wired.contains(cidr));
                (*cidr, self.in_use_in(cidr), usable)
            })
            .collect();
        let interface_assigned = slots.iter().map(|(_, in_use, _)| in_use).sum();
        let candidate = |(slot, slot_assigned, usable): &(IpNet, u32, bool)| {
            let has_room = *usable && *slot_assigned < capacity(slot);
            let lowest_free =
                has_room.then(|| addresses(slot).find(|a| self.is_free(*a, now, waits)))??;
            Some(Candidate {
                interface: interface.cloud.id.as_str(),
                order: interface.cloud.device_index,
                interface_assigned,
                slot: *slot,
                slot_assigned: *slot_assigned,
                lowest_free,
            })
        };
        slots.iter().filter_map(candidate).collect()
    }

    fn in_use_in(&self, cidr: &IpNet) -> u32 {
        count_in(&self.leases, cidr, |_| true)
    }
}
