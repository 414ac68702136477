//! The account's budget of calls: a token bucket for reads and one for
//! changes, shared by all nodes.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Bucket, Throttle};

#[derive(Debug)]
struct Tokens {
    bucket: Bucket,
    level: f64,
    at: Instant,
}

impl Tokens {
    fn full(bucket: Bucket, now: Instant) -> Self {
        Self {
            bucket,
            level: f64::from(bucket.burst),
            at: now,
        }
    }

    /// Takes a token, or tells when the next will be there.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let gained = now.duration_since(self.at).as_secs_f64() * self.bucket.per_second;
        self.level = (self.level + gained).min(f64::from(self.bucket.burst));
        self.at = now;
        if self.level >= 1.0 {
            self.level -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - self.level) / self.bucket.per_second;
        Err(Duration::try_from_secs_f64(missing).unwrap_or(Duration::MAX))
    }
}

/// The two buckets, full at the start.
#[derive(Debug)]
pub(crate) struct Budget {
    reads: Tokens,
    writes: Tokens,
}

impl Budget {
    pub(crate) fn new(throttle: Throttle, now: Instant) -> Self {
        Self {
            reads: Tokens::full(throttle.reads, now),
            writes: Tokens::full(throttle.writes, now),
        }
    }

    /// Lets a call pass, or tells how long the bucket needs for the next.
    pub(crate) fn take(&mut self, mutates: bool, now: Instant) -> Result<(), Duration> {
        let tokens = if mutates {
            &mut self.writes
        } else {
            &mut self.reads
        };
        tokens.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(now: Instant) -> Budget {
        let bucket = Bucket {
            burst: 2,
            per_second: 4.0,
        };
        Budget::new(
            Throttle {
                reads: bucket,
                writes: bucket,
            },
            now,
        )
    }

    #[test]
    fn an_empty_bucket_tells_when_the_next_token_comes() {
        let now = Instant::now();
        let mut budget = budget(now);
        assert_eq!(budget.take(true, now), Ok(()));
        assert_eq!(budget.take(true, now), Ok(()));
        let wait = budget.take(true, now).expect_err("must be empty");
        assert_eq!(wait, Duration::from_millis(250));
        assert_eq!(budget.take(true, now + wait), Ok(()));
    }

    #[test]
    fn reads_do_not_pay_for_changes() {
        let now = Instant::now();
        let mut budget = budget(now);
        while budget.take(true, now).is_ok() {}
        assert_eq!(budget.take(false, now), Ok(()));
    }

    #[test]
    fn a_bucket_never_holds_more_than_its_burst() {
        let now = Instant::now();
        let mut budget = budget(now);
        let later = now + Duration::from_secs(3600);
        assert_eq!(budget.take(false, later), Ok(()));
        assert_eq!(budget.take(false, later), Ok(()));
        assert!(budget.take(false, later).is_err());
    }
}
