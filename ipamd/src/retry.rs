//! How long to wait before something that failed is tried again: twice as long after each
//! failure, up to a longest pause, and a part of it at random, so that nodes that failed
//! together do not come back together.

use std::ops::Range;
use std::time::Duration;

use veni_provider::random;

/// The part of a pause that is waited.
const HALF_TO_WHOLE: Range<f64> = 0.5..1.0;

/// The pauses between the tries of one thing.
#[derive(Debug, Clone)]
pub(crate) struct Pauses {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Pauses {
    /// Nothing has failed yet.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// Counts a failure. Tells how long to wait before the next try.
    pub(crate) fn after_failure(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        half_to_whole(grown(self.first, self.longest, self.failures))
    }

    /// It worked: the next failure is the first.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// The pause after so many failures in a row: `first` after one, then twice as long each
/// time, and never more than `longest`.
pub(crate) fn grown(first: Duration, longest: Duration, failures: u32) -> Duration {
    let times = 2_u32.saturating_pow(failures.saturating_sub(1));
    first.saturating_mul(times).min(longest)
}

/// A pause of half to all of what is meant.
pub(crate) fn half_to_whole(pause: Duration) -> Duration {
    at_random(pause, HALF_TO_WHOLE)
}

/// The part of a pause that is drawn at random from `parts`.
pub(crate) fn at_random(pause: Duration, parts: Range<f64>) -> Duration {
    pause.mul_f64(random::within(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_longest_however_many_failures_there_are() {
        let grown = |failures| grown(SECOND, 10 * SECOND, failures);
        let pauses = [0, 1, 2, 3, 4, 5, u32::MAX].map(grown);
        assert_eq!(pauses.map(|pause| pause.as_secs()), [1, 1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn a_part_of_each_pause_is_random_and_a_success_begins_anew() {
        let mut pauses = Pauses::new(SECOND, 10 * SECOND);
        for whole in [1, 2, 4, 8, 10, 10] {
            let pause = pauses.after_failure();
            assert!(
                whole * SECOND / 2 <= pause && pause <= whole * SECOND,
                "{pause:?}"
            );
        }
        pauses.succeeded();
        assert!(pauses.after_failure() <= SECOND);
    }
}
