//! Waiting for EC2's state machines: look again after a growing, jittered
//! pause, and not for ever.

use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep};

/// A bounded series of pauses.
#[derive(Debug)]
pub(crate) struct Pace {
    deadline: Instant,
    pause: Duration,
    longest: Duration,
}

impl Pace {
    /// The first pause, the longest pause and how long all of them may take.
    pub(crate) fn new(first: Duration, longest: Duration, patience: Duration) -> Self {
        Self {
            deadline: Instant::now() + patience,
            pause: first,
            longest,
        }
    }

    /// Waits until it is time to look again; `false` when patience is at its
    /// end.
    pub(crate) async fn next(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.deadline {
            return false;
        }
        let jittered = self.pause.mul_f64(rand::rng().random_range(0.75..1.25));
        sleep(jittered.min(self.deadline - now)).await;
        self.pause = (self.pause * 2).min(self.longest);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_the_longest_and_end_at_the_deadline() {
        let seconds = Duration::from_secs;
        let began = Instant::now();
        let mut pace = Pace::new(seconds(1), seconds(4), seconds(20));
        let mut looks = 0;
        while pace.next().await {
            looks += 1;
        }
        assert_eq!(began.elapsed(), seconds(20));
        // 1 + 2 + 4 + 4 + …, each a quarter more or less.
        assert!((5..=9).contains(&looks), "{looks}");
    }
}
