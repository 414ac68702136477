//! The machine's clocks, and spans in whole milliseconds, as journal and events have them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the epoch, for people: somebody may set this clock at any time.
pub fn unix_millis() -> u64 {
    #[cfg(feature = "replay")]
    if let Some(now) = crate::replay::now() {
        return now.unix;
    }
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    millis(elapsed.unwrap_or_default())
}

/// Milliseconds since the machine's boot, by a clock that nobody sets and that goes on while
/// the machine sleeps (`CLOCK_BOOTTIME`). What one boot's daemons and plugins compare.
pub fn boot_millis() -> u64 {
    #[cfg(feature = "replay")]
    if let Some(now) = crate::replay::now() {
        return now.boot;
    }
    let now = clock_gettime(ClockId::Boottime);
    millis(Duration::try_from(now).unwrap_or_default())
}

/// A span in whole milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
