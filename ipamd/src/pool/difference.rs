//! A difference between what the cloud has and what the pool knew, for those who are told.

/// What a difference between cloud and pool is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Concerned {
    Interface,
    Range,
}

/// A difference between cloud and pool that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) concerned: Concerned,
    /// In words.
    pub(super) text: String,
}

impl Difference {
    pub(super) fn of_interface(text: String) -> Self {
        let concerned = Concerned::Interface;
        Self { concerned, text }
    }

    pub(super) fn of_range(text: String) -> Self {
        let concerned = Concerned::Range;
        Self { concerned, text }
    }
}
