//! Keeps the pool told of the addresses that the node's own links carry: when the
//! kernel notifies, and not by asking it again and again.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use veni_dataplane::{DataPlane, Watch};

use crate::pool::Pool;

/// Between two tries where the kernel refuses to tell.
const PAUSE: Duration = Duration::from_secs(5);

/// Between two comparisons at least: what is told meanwhile is compared at once.
const GAP: Duration = Duration::from_millis(400);

/// Between two comparisons at most, should nothing be told or nobody tell.
const LONGEST: Duration = Duration::from_mins(10);

/// Tells the pool at first and after each change, until `stop`.
pub(crate) async fn follow(kernel: Arc<dyn DataPlane>, pool: Pool, stop: CancellationToken) {
    let mut watch = kernel.watch();
    loop {
        let told = tell(&kernel, &pool).await;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = next(&mut watch, told) => {}
        }
    }
}

/// Waits from one comparison, which succeeded or not, until the next is due.
async fn next(watch: &mut Watch, told: bool) {
    if !told {
        return tokio::time::sleep(PAUSE).await;
    }
    tokio::time::sleep(GAP).await;
    let _ = tokio::time::timeout(LONGEST, changed(watch)).await;
}

/// Tells the pool; `false` when the kernel refused.
async fn tell(kernel: &Arc<dyn DataPlane>, pool: &Pool) -> bool {
    match kernel.node_addresses().await {
        Ok(addresses) => {
            pool.node_has(addresses);
            true
        }
        Err(error) => {
            tracing::warn!(%error, "failed to list the addresses of the node's links");
            false
        }
    }
}

/// Waits until links may carry other addresses than before.
async fn changed(watch: &mut Watch) {
    loop {
        let changes = watch.changed().await;
        if changes.addresses || changes.links {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use veni_dataplane::memory::MemoryKernel;

    use super::*;

    /// Counts the comparisons, the first included, for as long as `meanwhile` takes.
    async fn comparisons(kernel: &MemoryKernel, meanwhile: impl Future<Output = ()>) -> u32 {
        let count = AtomicU32::new(0);
        let mut watch = kernel.watch();
        let compare = async {
            loop {
                count.fetch_add(1, Ordering::Relaxed);
                next(&mut watch, true).await;
            }
        };
        tokio::select! {
            biased;
            () = compare => {}
            () = meanwhile => {}
        }
        count.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_changes_costs_few_comparisons_and_the_first_change_does_not_wait() {
        let kernel = MemoryKernel::new();
        let calm = comparisons(&kernel, tokio::time::sleep(Duration::from_secs(60)));
        assert_eq!(calm.await, 1, "at first");
        let one = comparisons(&kernel, async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            kernel.overrun();
            tokio::time::sleep(Duration::from_millis(100)).await;
        });
        assert_eq!(one.await, 2);
        let storm = comparisons(&kernel, async {
            for _ in 0..1000 {
                kernel.overrun();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let storm = storm.await;
        assert!((20..=26).contains(&storm), "{storm} in ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_told_the_addresses_are_compared_all_the_same() {
        let kernel = MemoryKernel::new();
        let an_hour = comparisons(&kernel, tokio::time::sleep(Duration::from_hours(1)));
        assert!((5..=7).contains(&an_hour.await));
    }
}
