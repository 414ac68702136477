//! Which free address an ADD gets: the candidates. The choice itself is the planner's.

use std::net::IpAddr;

use ipnet::IpNet;
use tokio::time::Instant;
use veni_nouns::range::{addresses, capacity};
use veni_nouns::{Family, InterfaceId, SlotKind};
use veni_pool::choose::{self, Candidate};

use super::holdings::Holdings;
use super::interface::{PoolInterface, family_of};
use super::leases::{Cautious, Holder};

/// What an attachment was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// One address per family, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// The interface that holds the first.
    pub interface: InterfaceId,
}

/// Gives one address per family to an attachment, all or none.
pub(super) fn lease(
    holdings: &mut Holdings,
    holder: &Holder,
    now: Instant,
    cautious: Cautious,
) -> Option<Lease> {
    let mut picked = Vec::with_capacity(holdings.families.len());
    for family in &holdings.families {
        picked.push(pick(holdings, *family, now, cautious)?);
    }
    let interface = picked.first().map(|(interface, _)| interface.clone())?;
    let addresses: Vec<IpAddr> = picked.into_iter().map(|(_, address)| address).collect();
    holdings.leases.give(holder, &addresses);
    Some(Lease {
        addresses,
        interface,
    })
}

/// The address that the next pod gets, and the interface that holds it.
fn pick(
    holdings: &Holdings,
    family: Family,
    now: Instant,
    cautious: Cautious,
) -> Option<(InterfaceId, IpAddr)> {
    let mode = match family {
        Family::V4 => holdings.mode,
        Family::V6 => SlotKind::Prefix,
    };
    let serving = holdings.interfaces.values().filter(|i| i.serves());
    let candidates = serving.flat_map(|i| candidates(holdings, i, family, now, cautious));
    let picked = choose::pick(mode, candidates)?;
    Some((picked.interface.clone(), picked.lowest_free))
}

fn candidates<'a>(
    holdings: &Holdings,
    interface: &'a PoolInterface,
    family: Family,
    now: Instant,
    cautious: Cautious,
) -> Vec<Candidate<'a>> {
    let needs_rule = interface.needs_rules(holdings.capabilities.source_routing);
    let origin_of = holdings.origins.on(&interface.cloud.id);
    let leases = &holdings.leases;
    let held = interface.held.iter();
    let slots: Vec<(IpNet, u32, bool)> = held
        .filter(|(range, _)| family_of(range) == family)
        .map(|(range, held)| {
            let lent = held.serves() && origin_of(range).is_lent();
            let usable = lent && (!needs_rule || interface.routed.contains(range));
            (*range, leases.leased_in(range), usable)
        })
        .collect();
    let interface_assigned = slots.iter().map(|(_, in_use, _)| in_use).sum();
    let is_free = |address: &IpAddr| {
        leases.is_free(*address, now, cautious) && !holdings.node_addresses.carries(*address)
    };
    let candidate = |(slot, slot_assigned, usable): &(IpNet, u32, bool)| {
        let has_room = *usable && *slot_assigned < capacity(slot);
        let lowest_free = has_room.then(|| addresses(slot).find(is_free))??;
        Some(Candidate {
            interface: &interface.cloud.id,
            order: interface.cloud.device_index,
            interface_assigned,
            slot: *slot,
            slot_assigned: *slot_assigned,
            lowest_free,
        })
    };
    slots.iter().filter_map(candidate).collect()
}
