//! Eventual consistency: what the inventory shows of one thing, which follows
//! its truth with a delay per change, in the order of the changes.

use std::collections::VecDeque;

use tokio::time::Instant;

/// One thing as readers see it.
#[derive(Debug)]
pub(crate) struct History<T> {
    shown: Option<T>,
    coming: VecDeque<(Instant, Option<T>)>,
}

impl<T> History<T> {
    /// Not visible yet.
    pub(crate) fn new() -> Self {
        Self {
            shown: None,
            coming: VecDeque::new(),
        }
    }

    /// From `at` on readers see `value`; `None` is that it is gone.
    pub(crate) fn change(&mut self, at: Instant, value: Option<T>) {
        let at = self.coming.back().map_or(at, |(last, _)| at.max(*last));
        self.coming.push_back((at, value));
    }

    /// What readers see now.
    pub(crate) fn at(&mut self, now: Instant) -> Option<&T> {
        while self.coming.front().is_some_and(|(at, _)| *at <= now) {
            self.shown = self.coming.pop_front().and_then(|(_, value)| value);
        }
        self.shown.as_ref()
    }

    /// Whether it is gone and nothing will come any more.
    pub(crate) fn is_over(&self) -> bool {
        self.shown.is_none() && self.coming.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_later_change_never_shows_before_an_earlier_one() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut history = History::new();
        history.change(now + 5 * second, Some("first"));
        history.change(now + second, Some("second"));
        assert_eq!(history.at(now + 2 * second), None);
        assert_eq!(history.at(now + 5 * second), Some(&"second"));
    }

    #[test]
    fn what_is_gone_shows_until_its_end_is_visible() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut history = History::new();
        history.change(now, Some(1));
        history.change(now + second, None);
        assert_eq!(history.at(now), Some(&1));
        assert!(!history.is_over());
        assert_eq!(history.at(now + second), None);
        assert!(history.is_over());
    }
}
