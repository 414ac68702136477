//! Whether the cloud still has what the node holds, a range or an interface, as
//! inventories tell.
//!
//! One inventory that lacks it proves nothing: a cloud that is eventually
//! consistent may answer from minutes ago, and instance metadata may lack a list
//! for a moment. What one inventory lacks is in doubt, and gone when a second
//! one, which began long enough after the first, lacks it too. What to do about
//! either is the caller's to decide.

use std::time::Duration;

use tokio::time::Instant;

/// How long inventories take to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// So long after a change, an inventory may not know of it, as the cloud says.
    pub(crate) settle: Duration,
    /// So long after a change, an inventory that does not know of it is late, and
    /// so far apart are two that must agree.
    pub(crate) distance: Duration,
}

/// What is known of one thing. It is there until an inventory lacks it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Presence(Option<Absence>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Absence {
    /// When the first inventory in a row began that lacks it.
    since: Instant,
    /// A second one has agreed.
    confirmed: bool,
}

/// What follows from an inventory that lacks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// Nothing: the inventory may be from before it came. One that begins then
    /// tells more.
    TooYoung(Instant),
    /// It is in doubt, and no inventory that begins earlier ends that by lacking it.
    InDoubt {
        /// It was not before.
        news: bool,
        /// When an inventory must begin to tell more.
        look_again: Instant,
    },
    /// Two inventories agree.
    Gone {
        /// They did not before.
        news: bool,
    },
}

impl Presence {
    /// In doubt from the start: only the node itself knows of it.
    pub(crate) fn in_doubt_since(since: Instant) -> Self {
        Self(Some(Absence {
            since,
            confirmed: false,
        }))
    }

    /// An inventory lists it.
    pub(crate) fn listed(&mut self) {
        self.0 = None;
    }

    /// An inventory that began at a time lacks it, which the node has had since
    /// `held`.
    pub(crate) fn lacked(&mut self, held: Instant, began: Instant, patience: Patience) -> Lack {
        let Some(absence) = &mut self.0 else {
            let young = [patience.settle, patience.distance];
            if let Some(span) = young.into_iter().find(|span| began < held + *span) {
                return Lack::TooYoung(held + span);
            }
            *self = Self::in_doubt_since(began);
            return Lack::InDoubt {
                news: true,
                look_again: began + patience.distance,
            };
        };
        let look_again = absence.since + patience.distance;
        if absence.confirmed {
            return Lack::Gone { news: false };
        }
        if began < look_again {
            return Lack::InDoubt {
                news: false,
                look_again,
            };
        }
        absence.confirmed = true;
        Lack::Gone { news: true }
    }

    /// No inventory that is new enough lacks it.
    pub(crate) fn is_certain(&self) -> bool {
        self.0.is_none()
    }

    /// One inventory lacks it, and no second one has told.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.0.is_some_and(|absence| !absence.confirmed)
    }

    /// Two inventories lack it.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.is_some_and(|absence| absence.confirmed)
    }

    /// Since when it is in doubt or gone.
    pub(crate) fn lacking_since(&self) -> Option<Instant> {
        self.0.map(|absence| absence.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Patience = Patience {
        settle: Duration::from_secs(5),
        distance: Duration::from_secs(60),
    };

    #[test]
    fn an_inventory_from_before_it_had_time_to_show_says_nothing() {
        let held = Instant::now();
        let mut presence = Presence::default();
        let early = presence.lacked(held, held + 4 * SECOND, PATIENCE);
        assert_eq!(early, Lack::TooYoung(held + 5 * SECOND));
        let late = presence.lacked(held, held + 59 * SECOND, PATIENCE);
        assert_eq!(late, Lack::TooYoung(held + 60 * SECOND));
        assert!(presence.is_certain());
    }

    #[test]
    fn what_one_inventory_lacks_is_in_doubt_and_what_two_lack_that_are_apart_is_gone() {
        let held = Instant::now();
        let first = held + 100 * SECOND;
        let mut presence = Presence::default();
        let doubt = |news| Lack::InDoubt {
            news,
            look_again: first + 60 * SECOND,
        };
        assert_eq!(presence.lacked(held, first, PATIENCE), doubt(true));
        let near = first + 59 * SECOND;
        assert_eq!(presence.lacked(held, near, PATIENCE), doubt(false));
        assert!(!presence.is_certain() && !presence.is_gone());
        let second = first + 60 * SECOND;
        let gone = |news| Lack::Gone { news };
        assert_eq!(presence.lacked(held, second, PATIENCE), gone(true));
        assert_eq!(presence.lacked(held, second, PATIENCE), gone(false));
        assert_eq!(presence.lacking_since(), Some(first));
        assert!(presence.is_gone());
    }

    #[test]
    fn being_listed_ends_doubt_and_it_begins_anew() {
        let held = Instant::now();
        let first = held + 100 * SECOND;
        let mut presence = Presence::default();
        presence.listed();
        presence.lacked(held, first, PATIENCE);
        assert_eq!(presence.lacking_since(), Some(first));
        presence.listed();
        assert!(presence.is_certain());
        let again = presence.lacked(held, first + 60 * SECOND, PATIENCE);
        assert!(matches!(again, Lack::InDoubt { news: true, .. }));
    }
}
