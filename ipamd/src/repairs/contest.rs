//! Whether somebody keeps changing a kind of thing, and how long it is then left alone.
//! A pure value: time and chance are given to it.

use std::time::Duration;

use tokio::time::Instant;

use crate::retry::grown;

/// Repairs in a row that are made at once: a person tries things, a program restarts.
const AT_ONCE: u32 = 3;
/// First pause, and the longest.
const FIRST: Duration = Duration::from_secs(4);
const LONGEST: Duration = Duration::from_secs(60);
/// After so long without a repair, beyond the pause, nobody contests any more.
const CALM: Duration = Duration::from_secs(60);
/// What one comparison finds comes at once, and counts as one.
const ONE_COMPARISON: Duration = Duration::from_millis(250);

/// What is known of one kind.
#[derive(Debug, Default)]
pub(super) struct Contest {
    in_a_row: u32,
    /// Of the first repair of the last comparison.
    last: Option<Instant>,
    until: Option<Instant>,
}

impl Contest {
    /// Notes a repair. Returns the first pause when this one begins a contest.
    /// `jitter` stretches the pause; about 1.
    pub(super) fn repaired(&mut self, now: Instant, jitter: f64) -> Option<Duration> {
        if let Some(last) = self.last {
            let calm = self.until.map_or(last, |until| until.max(last)) + CALM;
            if now > calm {
                *self = Self::default();
            } else if now < last + ONE_COMPARISON {
                return None;
            }
        }
        self.last = Some(now);
        self.in_a_row += 1;
        let pauses = self.in_a_row.checked_sub(AT_ONCE)?;
        let pause = grown(FIRST, LONGEST, pauses + 1).mul_f64(jitter);
        self.until = Some(now + pause);
        (pauses == 0).then_some(pause)
    }

    /// Until when it is left alone; may be past.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_few_repairs_are_made_at_once_and_the_next_ones_ever_more_seldom() {
        let (mut contest, start) = (Contest::default(), Instant::now());
        let mut now = start;
        for _ in 1..AT_ONCE {
            assert_eq!(contest.repaired(now, 1.0), None);
            assert_eq!(contest.until(), None);
            now += seconds(1);
        }
        assert_eq!(contest.repaired(now, 1.0), Some(seconds(4)), "said once");
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let until = contest.until().expect("backed off");
            pauses.push(until.duration_since(now).as_secs());
            now = until;
            assert_eq!(contest.repaired(now, 1.0), None, "not said again");
        }
        assert_eq!(pauses, [4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn what_one_comparison_finds_counts_as_one() {
        let (mut contest, start) = (Contest::default(), Instant::now());
        for _ in 0..40 {
            assert_eq!(contest.repaired(start, 1.0), None);
        }
        assert_eq!(contest.until(), None);
    }

    #[test]
    fn after_a_calm_time_repairs_are_made_at_once_again() {
        let (mut contest, mut now) = (Contest::default(), Instant::now());
        for _ in 0..AT_ONCE + 2 {
            contest.repaired(now, 1.0);
            now += seconds(5);
        }
        now = contest.until().expect("backed off") + CALM + seconds(1);
        assert_eq!(contest.repaired(now, 1.0), None);
        assert_eq!(contest.until(), None);
    }

    #[test]
    fn pauses_are_jittered() {
        let pause = |jitter| {
            let (mut contest, mut now) = (Contest::default(), Instant::now());
            let mut begun = None;
            for _ in 0..AT_ONCE {
                now += seconds(1);
                begun = contest.repaired(now, jitter);
            }
            begun.expect("it begins")
        };
        assert!(pause(0.75) < pause(1.25));
    }
}
