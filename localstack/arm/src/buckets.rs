//! Budgets of calls: token buckets that refill steadily.
//! <https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling>

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Calls that pass at once when it is full.
    pub burst: u32,
    /// Calls per second that it refills by.
    pub per_second: f64,
}

/// The buckets of a subscription. ARM's are per principal, those of Microsoft.Network are
/// the subscription's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Buckets {
    /// ARM's for reads, of each principal.
    pub reads: Bucket,
    /// ARM's for writes, of each principal.
    pub writes: Bucket,
    /// Microsoft.Network's for writes, of the subscription.
    pub network_writes: Bucket,
    /// Microsoft.Network's for reads, of the subscription.
    pub network_reads: Bucket,
}

impl Default for Buckets {
    /// As documented: 250 reads at 25 per second and 200 writes at 10 per second for each
    /// principal; 1,000 writes and 10,000 reads of Microsoft.Network in five minutes.
    fn default() -> Self {
        let bucket = |burst, per_second| Bucket { burst, per_second };
        Self {
            reads: bucket(250, 25.0),
            writes: bucket(200, 10.0),
            network_writes: bucket(1_000, 1_000.0 / 300.0),
            network_reads: bucket(10_000, 10_000.0 / 300.0),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Level {
    tokens: f64,
    when: Instant,
}

/// How full the buckets are, by their owner and kind.
#[derive(Debug, Default)]
pub(crate) struct Levels(BTreeMap<(String, &'static str), Level>);

impl Levels {
    /// Takes a call out of a bucket: how many are left, or how long until the next.
    pub(crate) fn take(
        &mut self,
        owner: &str,
        kind: &'static str,
        bucket: Bucket,
        now: Instant,
    ) -> Result<u32, Duration> {
        let full = f64::from(bucket.burst);
        let level = self.0.entry((owner.to_owned(), kind)).or_insert(Level {
            tokens: full,
            when: now,
        });
        let elapsed = now.saturating_duration_since(level.when).as_secs_f64();
        level.tokens = (level.tokens + elapsed * bucket.per_second).min(full);
        level.when = now;
        if level.tokens < 1.0 {
            let wait = (1.0 - level.tokens) / bucket.per_second;
            return Err(Duration::from_secs_f64(wait));
        }
        level.tokens -= 1.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the burst, which is a u32"
        )]
        Ok(level.tokens as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_lets_its_burst_pass_and_then_what_it_refills_by() {
        let mut levels = Levels::default();
        let bucket = Bucket {
            burst: 3,
            per_second: 2.0,
        };
        let now = Instant::now();
        for left in [2, 1, 0] {
            assert_eq!(levels.take("node", "writes", bucket, now), Ok(left));
        }
        let wait = levels.take("node", "writes", bucket, now);
        assert_eq!(wait, Err(Duration::from_millis(500)));
        assert_eq!(levels.take("other", "writes", bucket, now), Ok(2));
        let later = now + Duration::from_millis(500);
        assert_eq!(levels.take("node", "writes", bucket, later), Ok(0));
    }
}
