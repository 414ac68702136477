//! The budget of one API family: a `governor` limiter on tokio's clock, whose
//! rate falls by a factor when the cloud throttles and grows back with the
//! calls that pass.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::{Instant, sleep};

use super::{Adaptation, Rate};
use crate::random;

/// Tokio's clock for `governor`, so that a paused one works.
#[derive(Debug, Clone, Copy)]
struct TokioClock {
    origin: Instant,
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.origin.elapsed())
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>;

#[derive(Debug)]
struct Pace {
    per_second: f64,
    limiter: Limiter,
    /// The rate that `limiter` was made with: it is made anew only when the
    /// rate has moved by a tenth, as a new one starts without a burst.
    built_for: f64,
    last_cut: Option<Instant>,
    /// The cloud's own hint of when to come back.
    not_before: Option<Instant>,
}

/// A budget of calls. Whoever wants to make a call waits for its share, and
/// tells what came of it.
#[derive(Debug)]
pub struct Budget {
    full: Rate,
    slowest: f64,
    decrease: f64,
    increase: f64,
    jitter: f64,
    clock: TokioClock,
    pace: Mutex<Pace>,
    /// Held by the call that is next, so that calls pass in order of arrival.
    turn: tokio::sync::Mutex<()>,
}

impl Budget {
    /// A budget that is full.
    pub fn new(full: Rate, adaptation: &Adaptation) -> Self {
        let clock = TokioClock {
            origin: Instant::now(),
        };
        let per_second = full.per_second.max(f64::MIN_POSITIVE);
        Self {
            full,
            slowest: adaptation.slowest.min(per_second),
            decrease: adaptation.decrease.clamp(0.0, 1.0),
            increase: adaptation.increase,
            jitter: adaptation.jitter.max(0.0),
            clock,
            pace: Mutex::new(Pace {
                per_second,
                limiter: RateLimiter::direct_with_clock(quota(per_second, full.burst), clock),
                built_for: per_second,
                last_cut: None,
                not_before: None,
            }),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Calls per second now.
    pub fn per_second(&self) -> f64 {
        self.pace().per_second
    }

    /// Waits for this call's share, in order of arrival. Dropped, it gives up
    /// its place.
    ///
    /// `governor`'s own waiting sleeps on the system's clock, which a paused
    /// tokio clock knows nothing of, so the wait is asked for and slept here.
    pub async fn wait(&self) {
        let _turn = self.turn.lock().await;
        while let Some(wait) = self.must_wait() {
            let extra = wait.mul_f64(random::within(0.0..self.jitter));
            sleep(wait + extra).await;
        }
    }

    /// A call passed that the cloud did not throttle. The new rate, if it changed.
    pub fn passed(&self) -> Option<f64> {
        let mut pace = self.pace();
        if pace.per_second >= self.full.per_second {
            return None;
        }
        // A share per call, so that a budget in full use grows by `increase` a second.
        let grown = pace.per_second + self.increase / pace.per_second.max(1.0);
        Some(self.set(&mut pace, grown.min(self.full.per_second)))
    }

    /// The cloud throttled a call that began at `started`. The new rate, if it
    /// changed: calls that were on their way together cut it once.
    pub fn throttled(&self, started: Instant, hint: Option<Duration>) -> Option<f64> {
        let now = Instant::now();
        let mut pace = self.pace();
        if let Some(hint) = hint {
            pace.not_before = pace.not_before.max(now.checked_add(hint));
        }
        if pace.last_cut.is_some_and(|cut| started < cut) {
            return None;
        }
        pace.last_cut = Some(now);
        let cut = (pace.per_second * self.decrease).max(self.slowest);
        Some(self.set(&mut pace, cut))
    }

    fn must_wait(&self) -> Option<Duration> {
        let now = Instant::now();
        let pace = self.pace();
        if let Some(not_before) = pace.not_before
            && now < not_before
        {
            return Some(not_before - now);
        }
        let not_until = pace.limiter.check().err()?;
        let wait = not_until.wait_time_from(self.clock.now());
        // Tokio's timer has a resolution of a millisecond.
        Some(wait.max(Duration::from_millis(1)))
    }

    fn set(&self, pace: &mut Pace, per_second: f64) -> f64 {
        pace.per_second = per_second;
        let moved = (per_second / pace.built_for - 1.0).abs() >= 0.1;
        if moved || per_second == self.full.per_second {
            let burst = NonZeroU32::new(self.full.burst).unwrap_or(NonZeroU32::MIN);
            pace.limiter =
                RateLimiter::direct_with_clock(quota(per_second, burst.get()), self.clock);
            pace.built_for = per_second;
            // A fresh limiter would let a burst pass just when calls are too many.
            let _ = pace.limiter.check_n(burst);
        }
        per_second
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn quota(per_second: f64, burst: u32) -> Quota {
    let period = Duration::try_from_secs_f64(1.0 / per_second)
        .unwrap_or(Duration::from_secs(3600))
        .clamp(Duration::from_nanos(1), Duration::from_secs(3600));
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(period)
        .unwrap_or(Quota::per_hour(NonZeroU32::MIN))
        .allow_burst(burst)
}
