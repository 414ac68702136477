//! A daemon that nobody remembers waits until its cloud has told which node this is.

use std::time::Duration;

use veni_provider::{ErrorClass, ProviderError};

use crate::progress::Progress;
use crate::retry::Pauses;

/// Between two tries to find out who the node is.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Tries until it works. What it waits for is said, with the reason.
pub(super) async fn until_found<T, F>(
    cloud: &str,
    progress: &Progress,
    connect: impl Fn() -> F,
) -> T
where
    F: Future<Output = Result<T, ProviderError>>,
{
    let waits_for = format!("waiting for {cloud} to tell which node this is");
    progress.waits_for(waits_for.as_str());
    let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let error = match connect().await {
            Ok(found) => return found,
            Err(error) => error,
        };
        tracing::error!(cloud, %error, "not ready: failed to find this node");
        progress.waits_for(format!("{waits_for}: {error}"));
        // Where many nodes start together, the cloud says when to come back.
        let hint = match error.class {
            ErrorClass::Throttled { retry_after } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        tokio::time::sleep(hint + pauses.after_failure()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cloud_that_says_when_to_come_back_is_asked_then_and_the_wait_is_said() {
        let progress = Progress::default();
        let hint = Duration::from_secs(17);
        let (tries, began) = (Cell::new(0), Instant::now());
        let connect = || {
            tries.set(tries.get() + 1);
            let retry_after = Some(hint);
            let class = match tries.get() {
                1 => ErrorClass::Throttled { retry_after },
                2 => ErrorClass::Transient,
                _ => return ready(Ok("node-1")),
            };
            ready(Err(ProviderError::new(class, "Describe", "too many")))
        };
        assert_eq!(until_found("Azure", &progress, connect).await, "node-1");
        let took = began.elapsed();
        assert!(hint < took && took < hint + 2 * FIRST_PAUSE + LONGEST_PAUSE);
        let expected = "waiting for Azure to tell which node this is: Describe failed: too many";
        assert_eq!(progress.text(), expected);
    }
}
