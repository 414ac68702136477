//! What the cloud's refusals teach of the node's limits where the table of
//! instance types promises more than it keeps.
//!
//! An interface's number of slots is found by halving what lies between the
//! most that an interface has held and the least that was refused.
//!
//! A learned limit holds for ten minutes, because the refusal may have been about
//! something that goes away: other devices take places too. After that Veni tries just
//! what was refused, never what the table says. One more refusal confirms the limit,
//! which then holds for twice as long, up to a day. A success ends it. A restart forgets
//! all learned limits.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use veni_pool::Action;
use veni_provider::{Family, InterfaceId, Limit, Limits};

use super::holdings::Holdings;
use super::interface::{PoolInterface, family_of};

/// How long a learned limit holds at first.
const FIRST_TERM: Duration = Duration::from_secs(600);
/// How long one holds at most that has been confirmed again and again.
const LONGEST_TERM: Duration = Duration::from_secs(86_400);

/// For how long a limit holds.
#[derive(Debug, Clone, Copy)]
struct Term {
    lasts: Duration,
    until: Instant,
    over: bool,
}

impl Term {
    fn new(now: Instant) -> Self {
        Self {
            lasts: FIRST_TERM,
            until: now + FIRST_TERM,
            over: false,
        }
    }

    /// The same was refused again.
    fn confirm(&mut self, now: Instant) {
        if self.over {
            self.lasts = (self.lasts * 2).min(LONGEST_TERM);
        }
        self.until = now + self.lasts;
        self.over = false;
    }
}

/// The node takes no more interfaces than this.
#[derive(Debug, Clone, Copy)]
struct Places {
    limit: u32,
    term: Term,
}

/// Slots of an interface, its own address included.
#[derive(Debug, Clone, Copy)]
struct Slots {
    /// So many are possible.
    proven: u32,
    /// So many are not; more than `proven`.
    refused: u32,
    term: Term,
}

impl Slots {
    fn limit(&self) -> u32 {
        match self.term.over {
            true => self.refused,
            false => self.proven + (self.refused - self.proven) / 2,
        }
    }
}

/// What has been learnt.
#[derive(Debug, Default)]
pub(crate) struct LearnedLimits {
    /// How many interfaces there were when another was refused; the first
    /// refusal may have been about one that was just leaving.
    refused_at: Option<u32>,
    places: Option<Places>,
    slots: BTreeMap<Family, Slots>,
}

impl LearnedLimits {
    /// The limits of the table, lowered by what has been learnt.
    pub(super) fn applied_to(&self, mut limits: Limits) -> Limits {
        if let Some(places) = &self.places {
            let limit = places.limit + u32::from(places.term.over);
            limits.interfaces = limits.interfaces.min(limit);
        }
        for (family, slots) in &self.slots {
            let limit = match family {
                Family::V4 => &mut limits.ipv4_per_interface,
                Family::V6 => &mut limits.ipv6_per_interface,
            };
            *limit = slots.limit().min(*limit);
        }
        limits
    }

    pub(super) fn expire(&mut self, now: Instant) {
        let terms = self.slots.values_mut().map(|slots| &mut slots.term);
        for term in terms.chain(self.places.as_mut().map(|places| &mut places.term)) {
            term.over = term.until <= now;
        }
    }

    /// The cloud refused an interface beside `there` others. Tells whether that
    /// has taught anything.
    fn no_place_beside(&mut self, there: u32, now: Instant) -> bool {
        let limit = there.max(1);
        if let Some(places) = self.places.as_mut().filter(|places| places.limit == limit) {
            places.term.confirm(now);
            return true;
        }
        if self.refused_at.replace(there) != Some(there) {
            return false;
        }
        let term = Term::new(now);
        self.places = Some(Places { limit, term });
        true
    }

    /// An interface came, and there are so many now.
    fn place_for(&mut self, there: u32) {
        self.refused_at = None;
        self.places = self.places.filter(|places| there <= places.limit);
    }

    /// The cloud refused to let an interface hold `total` slots; `most` is what
    /// one holds that has most.
    fn too_many(&mut self, family: Family, total: u32, most: u32, now: Instant) {
        let known = self.slots.get(&family);
        let mut limit = known.copied().unwrap_or(Slots {
            proven: 1,
            refused: total,
            term: Term::new(now),
        });
        limit.refused = limit.refused.min(total).max(1);
        // The refusal is the younger proof.
        limit.proven = limit.proven.max(most).min(limit.refused - 1);
        limit.term.confirm(now);
        self.slots.insert(family, limit);
    }

    /// An interface has so many slots filled.
    fn fits(&mut self, family: Family, total: u32) {
        let Some(limit) = self.slots.get_mut(&family) else {
            return;
        };
        limit.proven = limit.proven.max(total);
        if limit.proven >= limit.refused {
            self.slots.remove(&family);
        }
    }
}

/// Slots that an interface has filled, its own address included.
fn filled(interface: &PoolInterface, family: Family) -> u32 {
    let held = interface.held.iter();
    let held = held.filter(|(range, held)| family_of(range) == family && !held.presence.is_gone());
    let held = held.count();
    u32::try_from(held).unwrap_or(u32::MAX).saturating_add(1)
}

/// An interface took what it was given.
pub(super) fn learn_from_success(holdings: &mut Holdings, id: &InterfaceId) {
    let Some(interface) = holdings.interfaces.get(id) else {
        return;
    };
    for family in [Family::V4, Family::V6] {
        holdings.learned.fits(family, filled(interface, family));
    }
}

/// An interface came.
pub(super) fn learn_from_arrival(holdings: &mut Holdings, id: &InterfaceId) {
    let there = holdings.on_default_card();
    holdings.learned.place_for(there);
    learn_from_success(holdings, id);
}

/// The cloud refused an action because of a limit, and knows the node's limits better than
/// our table.
pub(super) fn learn_limit(
    holdings: &mut Holdings,
    family: Family,
    action: &Action,
    limit: Limit,
    now: Instant,
) {
    match limit {
        Limit::Interfaces => {
            let there = holdings.on_default_card();
            if holdings.learned.no_place_beside(there, now) {
                tracing::warn!(limit = there, "the cloud attaches no more interfaces");
            }
        }
        Limit::Slots => {
            let Some(total) = filled_after(holdings, family, action) else {
                return;
            };
            let ours = holdings.interfaces.values().filter(|i| i.cloud.managed);
            let most = ours.map(|interface| filled(interface, family)).max();
            let most = most.unwrap_or(1);
            holdings.learned.too_many(family, total, most, now);
            tracing::warn!(
                refused = total,
                ?family,
                "an interface takes fewer addresses than its instance type promises"
            );
        }
    }
}

/// Slots that an interface would have filled after this action.
fn filled_after(holdings: &Holdings, family: Family, action: &Action) -> Option<u32> {
    match action {
        Action::Attach { count, .. } => Some(count.saturating_add(1)),
        Action::Assign {
            interface, count, ..
        } => {
            let interface = holdings.interfaces.get(interface)?;
            Some(filled(interface, family).saturating_add(*count))
        }
        Action::Release { .. } | Action::Detach { .. } => None,
    }
}

#[cfg(test)]
mod tests;
