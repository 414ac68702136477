//! Decides which view is shown when. Each view becomes visible at its own time. Of the
//! visible ones, the service shows the one that was published last.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::view::View;

/// Views that are or will be shown, in the order of their publication.
#[derive(Debug)]
pub(super) struct Timeline {
    shown: Arc<View>,
    coming: VecDeque<(Instant, Arc<View>)>,
}

impl Timeline {
    /// Shows a view at once.
    pub(super) fn new(view: View) -> Self {
        Self {
            shown: Arc::new(view),
            coming: VecDeque::new(),
        }
    }

    /// Shows a view from a time on.
    pub(super) fn publish(&mut self, view: View, visible: Instant) {
        self.coming.push_back((visible, Arc::new(view)));
    }

    /// The view that is shown at a time. Times of successive calls must not go back.
    pub(super) fn at(&mut self, now: Instant) -> Arc<View> {
        let newest = self.coming.iter().rposition(|(from, _)| *from <= now);
        if let Some(newest) = newest
            && let Some((_, view)) = self.coming.drain(..=newest).next_back()
        {
            self.shown = view;
        }
        Arc::clone(&self.shown)
    }
}
