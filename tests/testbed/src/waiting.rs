//! Waits for a state that must come, with a deadline that even a slow machine meets.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The deadline: longer than anything takes that works at all.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(25);

/// Looks again and again until `look` succeeds, and returns what it found.
///
/// # Panics
/// When [`PATIENCE`] is over, with the last reason.
pub async fn eventually<T, E: Display>(what: &str, look: impl AsyncFnMut() -> Result<T, E>) -> T {
    within(PATIENCE, PAUSE, what, look).await
}

/// Likewise, with a deadline and a pause of one's own.
///
/// # Panics
/// When the deadline is over, with the last reason.
pub(crate) async fn within<T, E: Display>(
    patience: Duration,
    pause: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(reason) => assert!(
                Instant::now() < deadline,
                "{what} did not come about within {} s: {reason}",
                patience.as_secs()
            ),
        }
        sleep(pause).await;
    }
}
