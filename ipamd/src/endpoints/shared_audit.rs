//! One audit for many: ADDs that were told that no address can come ask for a comparison of
//! all endpoints with the kernel, and all that asked before one began share it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::failures::end_process;

/// An ADD that was told that no address can come waits no longer for an audit.
const LONGEST_AUDIT: Duration = Duration::from_secs(5);

/// Who has asked, and who has been answered.
#[derive(Debug, Default)]
pub(super) struct SharedAudit {
    asked: AtomicU64,
    /// How many had asked when the last one began that has come to its end.
    answered: AsyncMutex<u64>,
}

impl SharedAudit {
    /// Waits for an audit that has begun after this call, and begins it unless another
    /// caller does. What goes wrong stands in the log: the caller fails anyway.
    pub(super) async fn run<E: fmt::Display>(
        &self,
        begin: impl FnOnce() -> JoinHandle<Result<(), E>>,
    ) {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut answered = self.answered.lock().await;
        if number <= *answered {
            return;
        }
        // Whoever asks from now on may have seen more than this audit will.
        let asked = self.asked.load(Ordering::SeqCst);
        // It may wait for the turn of an attachment whose ADD waits for this.
        match timeout(LONGEST_AUDIT, begin()).await {
            Ok(Ok(Ok(()))) => *answered = asked,
            Ok(Ok(Err(error))) => {
                tracing::warn!(%error, "failed to compare endpoints with the kernel before an ADD fails");
            }
            Ok(Err(error)) => end_process(&error),
            Err(_) => tracing::warn!("endpoints are still being compared when an ADD fails"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use tokio::time::{Instant, sleep};

    use super::*;

    /// Audits that take some time, and how many have begun.
    #[derive(Default)]
    struct Audits {
        shared: SharedAudit,
        begun: Arc<AtomicU32>,
    }

    impl Audits {
        async fn ask(&self, takes: Duration, outcome: Result<(), &'static str>) {
            let begun = Arc::clone(&self.begun);
            let begin = || {
                tokio::spawn(async move {
                    begun.fetch_add(1, Ordering::SeqCst);
                    sleep(takes).await;
                    outcome
                })
            };
            self.shared.run(begin).await;
        }

        fn begun(&self) -> u32 {
            self.begun.load(Ordering::SeqCst)
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn all_that_ask_before_an_audit_begins_share_it_and_a_later_one_has_its_own() {
        let audits = Audits::default();
        let late = async {
            sleep(SECOND / 2).await;
            audits.ask(SECOND, Ok(())).await;
        };
        let one = || audits.ask(SECOND, Ok(()));
        tokio::join!(one(), one(), one(), late);
        assert_eq!(audits.begun(), 2);
        one().await;
        assert_eq!(audits.begun(), 3, "what was compared before is old");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_audit_answers_only_the_one_that_began_it() {
        let audits = Audits::default();
        let one = || audits.ask(SECOND, Err("the kernel refused"));
        tokio::join!(one(), one());
        assert_eq!(audits.begun(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_long_for_an_audit_that_does_not_end() {
        let (audits, began) = (Audits::default(), Instant::now());
        audits.ask(1000 * SECOND, Ok(())).await;
        assert_eq!(began.elapsed(), LONGEST_AUDIT);
    }
}
