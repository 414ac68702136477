//! What the cloud's answer to a change means for what the pool knows: what it has brought
//! or taken, and what of a change that failed is undone or left in doubt.

use tokio::time::Instant;
use veni_nouns::InterfaceId;
use veni_provider::{AddressSlots, Grant, Interface};

use super::backends::Answer;
use super::holdings::Holdings;
use super::interface::{PoolInterface, described_ranges, ranges_of};
use super::learned_limits::{learn_from_arrival, learn_from_success};
use super::releases::Releases;

/// Whether the outcome of a change that failed is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing was changed.
    Yes,
    /// The cloud may have made the change.
    No,
}

/// Takes in what a change has brought or taken. Tells, in words, what that is; nothing for
/// one that failed.
pub(super) fn done(
    answer: Answer,
    holdings: &mut Holdings,
    releases: &mut Releases,
    now: Instant,
) -> Option<String> {
    match answer {
        Answer::Assigned {
            interface,
            slots,
            result,
        } => {
            let grant = result.ok()?;
            Some(assigned(&interface, slots, &grant, holdings, releases, now))
        }
        Answer::Attached(result) => Some(attached(*result.ok()?, holdings, releases, now)),
        Answer::Released {
            interface, ranges, ..
        } => {
            releases.done(&ranges, None, now);
            holdings.remove_ranges(&interface, &ranges);
            holdings.origins.released(&ranges);
            let count = ranges.len();
            tracing::info!(%interface, count, "addresses given back");
            Some(format!("{interface}: {count} slots given back"))
        }
        Answer::Detached {
            interface, ranges, ..
        } => {
            releases.done(&ranges, Some(&interface), now);
            holdings.interfaces.remove(&interface);
            holdings.origins.detached(&interface);
            tracing::info!(%interface, "interface detached");
            Some(format!("interface {interface} detached"))
        }
    }
}

fn assigned(
    interface: &InterfaceId,
    slots: AddressSlots,
    grant: &Grant,
    holdings: &mut Holdings,
    releases: &mut Releases,
    now: Instant,
) -> String {
    holdings.add_grant(interface, grant, now);
    let ranges = ranges_of(grant);
    holdings.origins.assigned(interface, slots, &ranges);
    learn_from_success(holdings, interface);
    releases.granted(&ranges, None);
    let came = ranges.len();
    tracing::info!(%interface, ?slots, came, "addresses assigned");
    format!("{interface}: {came} {} assigned", noun(slots, came))
}

fn attached(
    interface: Interface,
    holdings: &mut Holdings,
    releases: &mut Releases,
    now: Instant,
) -> String {
    let (id, index) = (interface.id.clone(), interface.device_index);
    let ranges = described_ranges(&interface);
    let held = ranges.len();
    holdings.origins.attached(&interface, now);
    holdings.add_attached(interface, now);
    learn_from_arrival(holdings, &id);
    releases.granted(&ranges, Some(&id));
    tracing::info!(interface = %id, device_index = index, held, "interface attached");
    format!("interface {id} attached as device {index} with {held} slots filled")
}

/// Takes back what was set up for a change that failed, or leaves it in doubt. Tells
/// whether something was in doubt before this change and is so still: it was a repetition
/// that the cloud refused.
pub(super) fn undo(
    answer: Answer,
    known: Known,
    holdings: &mut Holdings,
    releases: &mut Releases,
    now: Instant,
) -> bool {
    match (answer, known) {
        (Answer::Attached(_), _) => {}
        (
            Answer::Assigned {
                interface, slots, ..
            },
            known,
        ) => match known {
            Known::Yes => holdings.origins.refused(&interface, slots),
            Known::No => holdings.origins.lost(&interface, slots, now),
        },
        (Answer::Released { ranges, .. }, Known::No) => releases.lost(&ranges, None, now),
        (
            Answer::Detached {
                interface, ranges, ..
            },
            Known::No,
        ) => releases.lost(&ranges, Some(&interface), now),
        (
            Answer::Released {
                interface, ranges, ..
            },
            Known::Yes,
        ) => {
            let kept = releases.refused(&ranges);
            holdings.set_releasing(&interface, &kept, false);
            return kept.len() < ranges.len();
        }
        (
            Answer::Detached {
                interface, ranges, ..
            },
            Known::Yes,
        ) => {
            releases.refused(&ranges);
            let stays = releases.detach_refused(&interface);
            let known = holdings.interfaces.get_mut(&interface).filter(|_| stays);
            known.into_iter().for_each(PoolInterface::bring_back);
            return !stays;
        }
    }
    false
}

fn noun(slots: AddressSlots, count: usize) -> &'static str {
    match (slots, count) {
        (AddressSlots::Addresses { .. }, 1) => "address",
        (AddressSlots::Addresses { .. }, _) => "addresses",
        (AddressSlots::Prefixes { .. }, 1) => "prefix",
        (AddressSlots::Prefixes { .. }, _) => "prefixes",
    }
}
