//! Kinds of calls, as clouds tell them apart.

use veni_nouns::Family;
use veni_pool::Action;

/// Kinds of calls, as clouds tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CallKind {
    /// Asking for the inventory.
    Inventory,
    Assign(Family),
    Attach,
    Release(Family),
    Detach,
}

impl CallKind {
    pub(super) fn of(family: Family, action: &Action) -> Self {
        match action {
            Action::Assign { .. } => Self::Assign(family),
            Action::Attach { .. } => Self::Attach,
            Action::Release { .. } => Self::Release(family),
            Action::Detach { .. } => Self::Detach,
        }
    }

    /// What does not happen while it is on hold.
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Inventory => "the cloud is not asked for the inventory",
            Self::Assign(_) => "the cloud is not asked for more addresses",
            Self::Attach => "the cloud is not asked for another interface",
            Self::Release(_) => "nothing goes back: the cloud is not asked to take addresses",
            Self::Detach => "the cloud is not asked to take an interface back",
        }
    }
}
