//! Which free address a pod gets.
//!
//! Pods are packed: onto the interface that already has most of them, and
//! there into the prefix that has most. The others then run empty as pods come
//! and go, and can be given back. Nothing is random, so the same state always
//! gives the same address.

use ipnet::IpNet;
use std::cmp::Reverse;
use std::net::IpAddr;
use veni_nouns::{InterfaceId, SlotKind};

/// A slot with at least one free address on an interface whose addresses pods
/// may have now (ready, for pods, not on its way out).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The interface's id.
    pub interface: &'a InterfaceId,
    /// The interface's place in device order; the lower one wins a tie.
    pub order: u32,
    /// Addresses of this interface that pods use.
    pub interface_assigned: u32,
    /// The single address or prefix; not one whose release is under way.
    pub slot: IpNet,
    /// Addresses of this slot that pods use.
    pub slot_assigned: u32,
    /// Its lowest address that is neither in use nor cooling.
    pub lowest_free: IpAddr,
}

impl Candidate<'_> {
    fn kind(&self) -> SlotKind {
        SlotKind::of(&self.slot)
    }
}

/// The candidate whose lowest free address a pod gets: slots of the mode's kind
/// first (what is left of another mode drains), then the interface with most
/// pods, then the slot with most pods, then the lowest address. `None` when
/// there is no candidate.
#[must_use]
pub fn pick<'a>(
    mode: SlotKind,
    candidates: impl IntoIterator<Item = Candidate<'a>>,
) -> Option<Candidate<'a>> {
    candidates.into_iter().min_by_key(|candidate| {
        (
            candidate.kind() != mode,
            Reverse(candidate.interface_assigned),
            candidate.order,
            Reverse(candidate.slot_assigned),
            candidate.lowest_free,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> [InterfaceId; 2] {
        ["eni-0", "eni-1"].map(InterfaceId::from)
    }

    fn candidate<'a>(
        interface: &'a InterfaceId,
        order: u32,
        pods: (u32, u32),
        slot: &str,
    ) -> Candidate<'a> {
        let slot: IpNet = slot.parse().expect("a CIDR");
        Candidate {
            interface,
            order,
            interface_assigned: pods.0,
            slot,
            slot_assigned: pods.1,
            lowest_free: slot.addr(),
        }
    }

    fn picked(mode: SlotKind, candidates: &[Candidate<'_>]) -> Option<String> {
        pick(mode, candidates.iter().copied()).map(|candidate| candidate.lowest_free.to_string())
    }

    #[test]
    fn the_interface_with_most_pods_is_filled_first() {
        let [zero, one] = ids();
        let few = candidate(&zero, 0, (2, 0), "10.0.0.4/32");
        let many = candidate(&one, 1, (3, 0), "10.0.0.9/32");
        assert_eq!(
            picked(SlotKind::Address, &[few, many]).as_deref(),
            Some("10.0.0.9")
        );
    }

    #[test]
    fn within_an_interface_the_prefix_with_most_pods_is_filled_first() {
        let [zero, _] = ids();
        let empty = candidate(&zero, 0, (5, 0), "10.0.0.16/28");
        let begun = candidate(&zero, 0, (5, 5), "10.0.0.64/28");
        assert_eq!(
            picked(SlotKind::Prefix, &[empty, begun]).as_deref(),
            Some("10.0.0.64")
        );
    }

    #[test]
    fn equals_are_told_apart_by_device_order_and_then_by_address() {
        let [zero, one] = ids();
        let second = candidate(&one, 1, (0, 0), "10.0.0.1/32");
        let high = candidate(&zero, 0, (0, 0), "10.0.0.9/32");
        let low = candidate(&zero, 0, (0, 0), "10.0.0.8/32");
        assert_eq!(
            picked(SlotKind::Address, &[second, high, low]).as_deref(),
            Some("10.0.0.8")
        );
    }

    #[test]
    fn what_is_left_of_the_other_mode_comes_last() {
        let [zero, one] = ids();
        let single = candidate(&zero, 0, (9, 0), "10.0.0.4/32");
        let prefix = candidate(&one, 1, (0, 0), "10.0.0.16/28");
        assert_eq!(
            picked(SlotKind::Prefix, &[single, prefix]).as_deref(),
            Some("10.0.0.16")
        );
        assert_eq!(
            picked(SlotKind::Address, &[single, prefix]).as_deref(),
            Some("10.0.0.4")
        );
        assert_eq!(
            picked(SlotKind::Prefix, &[single]).as_deref(),
            Some("10.0.0.4")
        );
    }

    #[test]
    fn without_a_candidate_there_is_no_address() {
        assert_eq!(picked(SlotKind::Address, &[]), None);
    }
}
