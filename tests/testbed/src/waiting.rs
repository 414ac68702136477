//! Waiting for what must come, with a deadline that a slow machine keeps.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Longer than anything takes that works at all.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(25);

/// Looks again and again until `look` succeeds, and returns what it found.
///
/// # Panics
/// When [`PATIENCE`] is over, with the last reason.
pub async fn eventually<T, E: Display>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(reason) => assert!(
                Instant::now() < deadline,
                "{what} did not come about within {} s: {reason}",
                PATIENCE.as_secs()
            ),
        }
        sleep(PAUSE).await;
    }
}
