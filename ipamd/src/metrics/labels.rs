//! Labels and all the values that each may have, so that a counter exists at zero
//! for every one of them before the first event: `increase()` does not see a
//! counter that begins at one.

use prometheus_client::encoding::EncodeLabelSet;
use veni_provider::{ErrorClass, Operation};

/// A part of an operation that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for an address.
    Acquire,
    /// Writing the journal.
    Journal,
    /// The kernel's part.
    Kernel,
    /// All of it.
    Total,
}

impl Phase {
    /// Those of an ADD: all.
    pub(super) const OF_ADD: [Self; 4] = [Self::Acquire, Self::Journal, Self::Kernel, Self::Total];
    /// Those of a DEL, which waits for no address.
    pub(super) const OF_DEL: [Self; 3] = [Self::Journal, Self::Kernel, Self::Total];

    fn label(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Journal => "journal",
            Self::Kernel => "kernel",
            Self::Total => "total",
        }
    }
}

/// What became of an ADD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddOutcome {
    /// The pod has its network.
    Ok,
    /// There was no address for it, at once or in time.
    NoAddress,
    /// The pod's namespace was gone.
    NamespaceGone,
    /// Anything else.
    Failed,
}

impl AddOutcome {
    pub(super) const ALL: [Self; 4] =
        [Self::Ok, Self::NoAddress, Self::NamespaceGone, Self::Failed];

    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NoAddress => "no_address",
            Self::NamespaceGone => "namespace_gone",
            Self::Failed => "failed",
        }
    }
}

/// What an address of the pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressState {
    Free,
    Assigned,
    Cooling,
}

impl AddressState {
    pub(super) const ALL: [Self; 3] = [Self::Free, Self::Assigned, Self::Cooling];

    fn label(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Assigned => "assigned",
            Self::Cooling => "cooling",
        }
    }
}

/// What an address of the pool is that a link of the node itself carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CarriedState {
    InUse,
    Unused,
}

impl CarriedState {
    pub(super) const ALL: [Self; 2] = [Self::InUse, Self::Unused];

    fn label(self) -> &'static str {
        match self {
            Self::InUse => "in_use",
            Self::Unused => "unused",
        }
    }
}

impl From<CarriedState> for StateLabel {
    fn from(state: CarriedState) -> Self {
        let state = state.label();
        Self { state }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PhaseLabel {
    phase: &'static str,
}

impl From<Phase> for PhaseLabel {
    fn from(phase: Phase) -> Self {
        let phase = phase.label();
        Self { phase }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabel {
    outcome: &'static str,
}

impl From<AddOutcome> for OutcomeLabel {
    fn from(outcome: AddOutcome) -> Self {
        let outcome = outcome.label();
        Self { outcome }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StateLabel {
    state: &'static str,
}

impl From<AddressState> for StateLabel {
    fn from(state: AddressState) -> Self {
        let state = state.label();
        Self { state }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FamilyLabel {
    pub(super) family: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CallLabels {
    operation: &'static str,
    outcome: &'static str,
}

impl CallLabels {
    /// Of a call that succeeded.
    const OK: &'static str = "ok";

    pub(super) fn new(operation: Operation, outcome: Result<(), &ErrorClass>) -> Self {
        Self {
            operation: operation.label(),
            outcome: outcome.err().map_or(Self::OK, ErrorClass::label),
        }
    }

    /// Every operation with every outcome.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        Operation::ALL.into_iter().flat_map(|operation| {
            let outcomes = [Self::OK].into_iter().chain(ErrorClass::LABELS);
            outcomes.map(move |outcome| Self {
                operation: operation.label(),
                outcome,
            })
        })
    }
}
