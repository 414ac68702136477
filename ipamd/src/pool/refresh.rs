//! When the inventory is refreshed: by and by at rest, soon when something asks for it,
//! and when the node itself sees that somebody has changed its interfaces.

use std::time::Duration;

use tokio::time::Instant;
use veni_provider::LocalView;

use super::holdings::Holdings;
use super::local_view::{Differences, OwnChanges, Verdict};

/// At rest the inventory is refreshed so often where the node cannot see by
/// itself that somebody has changed something.
pub const REFRESH_AT_REST: Duration = Duration::from_secs(600);
/// And so often where it can.
pub const REFRESH_WITH_LOCAL_VIEW: Duration = Duration::from_secs(3600);

/// How often the inventory and the local view are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Intervals {
    /// Between two inventories at rest; `None` is what suits the provider.
    pub(super) inventory: Option<Duration>,
    pub(super) local_view: Duration,
}

/// When the next inventory and the next local view are due.
#[derive(Debug)]
pub(super) struct InventoryRefresh {
    intervals: Intervals,
    /// When the last inventory was asked for.
    last: Instant,
    /// When somebody wants the next one, unless it is due before.
    wanted: Option<Instant>,
    next_view: Instant,
    /// An inventory has been asked for and has not come.
    refreshing: bool,
    /// Likewise a local view.
    viewing: bool,
    /// An inventory has told of the node in this process. What was remembered may be older
    /// than the last change of the daemon before.
    told: bool,
    /// The last local view was answered.
    sees: bool,
    differences: Differences,
}

impl InventoryRefresh {
    /// `last` is when the last inventory was asked for, `told` whether this daemon asked for
    /// it, and `wanted` by when the next one is wanted.
    pub(super) fn new(
        intervals: Intervals,
        (last, told): (Instant, bool),
        wanted: Option<Instant>,
    ) -> Self {
        Self {
            intervals,
            last,
            wanted,
            // What changes from now on is news.
            next_view: Instant::now(),
            refreshing: false,
            viewing: false,
            told,
            sees: false,
            differences: Differences::default(),
        }
    }

    /// Has the inventory refreshed by then.
    pub(super) fn by(&mut self, at: Instant) {
        self.wanted = Some(self.wanted.map_or(at, |wanted| wanted.min(at)));
    }

    fn due(&self) -> Instant {
        let rest = match self.sees {
            true => REFRESH_WITH_LOCAL_VIEW,
            false => REFRESH_AT_REST,
        };
        let at_rest = self.last + self.intervals.inventory.unwrap_or(rest);
        self.wanted.map_or(at_rest, |wanted| wanted.min(at_rest))
    }

    /// Whether an inventory is due: then it is being asked for from now on.
    pub(super) fn begin_if_due(&mut self, now: Instant) -> bool {
        let begins = !self.refreshing && now >= self.due();
        if begins {
            self.refreshing = true;
            // As of the question, not of the answer: what happens in between need not be in it.
            self.last = now;
            // Whoever wants an inventory from now on wants one that begins later.
            self.wanted = None;
        }
        begins
    }

    /// The inventory has come, or could not be had. Tells whether it is the first that
    /// has `told` of the node.
    pub(super) fn ended(&mut self, told: bool) -> bool {
        self.refreshing = false;
        let is_first = told && !self.told;
        self.told |= told;
        is_first
    }

    /// Whether an inventory has told of the node in this process.
    pub(super) fn has_told(&self) -> bool {
        self.told
    }

    /// Whether an inventory has been asked for and has not come.
    pub(super) fn is_refreshing(&self) -> bool {
        self.refreshing
    }

    /// When the last inventory was asked for.
    pub(super) fn last(&self) -> Instant {
        self.last
    }

    /// Whether a local view is due: then it is being asked for from now on.
    pub(super) fn begin_view_if_due(&mut self, now: Instant) -> bool {
        let begins = !self.viewing && now >= self.next_view;
        if begins {
            self.viewing = true;
            self.next_view = now + self.intervals.local_view;
        }
        begins
    }

    /// When something is due next. What is under way tells when it ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let refresh = (!self.refreshing).then(|| self.due());
        let view = (!self.viewing).then_some(self.next_view);
        refresh.into_iter().chain(view).min()
    }

    /// Takes a local view in, `None` when it was not answered. A difference that lasts
    /// longer than `patience` is a reason to refresh the inventory.
    pub(super) fn viewed(
        &mut self,
        view: Option<LocalView>,
        holdings: &Holdings,
        own: &OwnChanges,
        now: Instant,
    ) {
        self.viewing = false;
        self.sees = view.is_some();
        let Some(view) = view else { return };
        // Twice the time that the cloud's own answers take to agree.
        let patience = 2 * holdings.capabilities.settle_time;
        match self.differences.take(view, holdings, own, now, patience) {
            Verdict::Nothing => {}
            Verdict::ViewAgain(at) => self.next_view = self.next_view.min(at),
            Verdict::Refresh(difference) => {
                tracing::info!(%difference, "looking at the inventory: the node sees a change of its interfaces");
                self.by(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::testing::holdings;

    const SECOND: Duration = Duration::from_secs(1);

    fn refresh(inventory: Option<Duration>, now: Instant) -> InventoryRefresh {
        let intervals = Intervals {
            inventory,
            local_view: 30 * SECOND,
        };
        InventoryRefresh::new(intervals, (now, true), None)
    }

    #[test]
    fn the_earliest_wish_counts_and_is_met_by_the_next_inventory() {
        let now = Instant::now();
        let mut refresh = refresh(None, now);
        assert_eq!(refresh.due(), now + REFRESH_AT_REST);
        refresh.by(now + 20 * SECOND);
        refresh.by(now + 10 * SECOND);
        refresh.by(now + 30 * SECOND);
        assert!(!refresh.begin_if_due(now + 9 * SECOND));
        assert!(refresh.begin_if_due(now + 10 * SECOND));
        assert!(
            !refresh.begin_if_due(now + REFRESH_AT_REST * 2),
            "it is under way"
        );
        assert!(!refresh.ended(true));
        assert_eq!(refresh.due(), now + 10 * SECOND + REFRESH_AT_REST);
    }

    #[test]
    fn a_setting_decides_how_often_it_is_refreshed_at_rest() {
        let now = Instant::now();
        let refresh = refresh(Some(8 * SECOND), now);
        assert_eq!(refresh.due(), now + 8 * SECOND);
    }

    #[test]
    fn where_the_node_sees_its_interfaces_the_inventory_rests_longer() {
        let now = Instant::now();
        let mut refresh = refresh(None, now);
        let holdings = holdings();
        let own = OwnChanges::default();
        assert!(refresh.begin_view_if_due(Instant::now()), "at once");
        assert!(
            !refresh.begin_view_if_due(now + 60 * SECOND),
            "it is under way"
        );
        refresh.viewed(Some(LocalView::default()), &holdings, &own, now);
        assert_eq!(refresh.due(), now + REFRESH_WITH_LOCAL_VIEW);
        assert!(refresh.begin_view_if_due(now + 60 * SECOND));
        refresh.viewed(None, &holdings, &own, now);
        assert_eq!(refresh.due(), now + REFRESH_AT_REST);
    }

    #[test]
    fn only_the_first_inventory_of_a_daemon_that_remembers_is_the_first_to_tell() {
        let now = Instant::now();
        let intervals = refresh(None, now).intervals;
        let mut refresh = InventoryRefresh::new(intervals, (now, false), Some(now));
        assert!(refresh.begin_if_due(now));
        assert!(!refresh.ended(false) && !refresh.has_told(), "it failed");
        assert!(refresh.ended(true) && refresh.has_told());
        assert!(!refresh.ended(true));
    }
}
