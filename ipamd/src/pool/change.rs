//! One change of what the node holds: why it is made, and by which call.

use std::fmt;

use veni_nouns::{Family, SlotKind};
use veni_pool::Action;
use veni_pool::reasons::Reason;
use veni_provider::{AddressSlots, ChangeRequest};

use super::interface::grant_of;
use crate::journal::{Call, RunningChange};

/// A planned change of what the node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// The family whose plan asked for it.
    pub(super) family: Family,
    pub(super) action: Action,
    pub(super) cause: Cause,
}

/// Why a change is made. Only its `Display` makes words of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The planner wants it.
    Planned(Reason),
    /// It was made or not, and is made again: its answer was lost.
    Repeated,
    /// The daemon before has begun it, and left these words of its own cause.
    Resumed(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Planned(reason) => reason.fmt(f),
            Self::Repeated => {
                f.write_str("its answer was lost, and the cloud does not show it done")
            }
            Self::Resumed(words) => f.write_str(words),
        }
    }
}

/// The change that a daemon before has begun.
pub(super) fn begun_before(entry: &RunningChange) -> Change {
    Change {
        family: entry.family,
        action: action(&entry.call),
        cause: Cause::Resumed(entry.reason.clone()),
    }
}

/// What the provider is asked for by a call.
pub(super) fn request(call: &Call) -> ChangeRequest {
    match call.clone() {
        Call::Assign { interface, slots } => ChangeRequest::Assign { interface, slots },
        Call::Attach(request) => ChangeRequest::Attach(request),
        Call::Release { interface, ranges } => ChangeRequest::Release {
            interface,
            grant: grant_of(&ranges),
        },
        Call::Detach { interface, .. } => ChangeRequest::Detach { interface },
    }
}

/// The action that a call carries out.
pub(super) fn action(call: &Call) -> Action {
    match call.clone() {
        Call::Assign { interface, slots } => Action::Assign {
            interface,
            kind: slots.kind(),
            count: slots.count(),
        },
        Call::Attach(request) => Action::Attach {
            subnet: request.subnet,
            kind: request.slots.map_or(SlotKind::Address, AddressSlots::kind),
            count: request.slots.map_or(0, AddressSlots::count),
        },
        Call::Release { interface, ranges } => Action::Release {
            interface,
            cidrs: ranges,
        },
        Call::Detach { interface, .. } => Action::Detach { interface },
    }
}
