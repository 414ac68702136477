//! The daemon's own tasks, which end together once nobody needs the pool any more.

use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// How long the tasks may take to end.
const GRACE: Duration = Duration::from_millis(2300);

/// The tasks, and what tells them to stop.
#[derive(Default)]
pub(super) struct Tasks {
    running: JoinSet<()>,
    stop: CancellationToken,
}

impl Tasks {
    /// Runs a task; one that does not end by itself gets [`Tasks::stop_token`].
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(task);
    }

    /// Cancelled when the tasks are to stop.
    pub(super) fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Waits until a task has ended by itself or died, which none may, and says so.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        match self.running.join_next().await {
            Some(Ok(())) => anyhow::anyhow!("a task of the daemon has ended by itself"),
            Some(Err(error)) => died(error),
            None => std::future::pending().await,
        }
    }

    /// Tells the tasks to stop and waits until they have, but not for long.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        let ended = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!("some of the daemon's tasks did not end in time");
        }
    }
}

fn died(error: JoinError) -> anyhow::Error {
    anyhow::Error::from(error).context("a task of the daemon has died")
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tasks_are_told_to_stop_and_awaited() {
        let mut tasks = Tasks::default();
        let (stop, began) = (tasks.stop_token(), Instant::now());
        tasks.spawn(async move {
            stop.cancelled().await;
            tokio::time::sleep(GRACE / 2).await;
        });
        let none_has_ended = timeout(GRACE, tasks.failed()).await;
        assert!(none_has_ended.is_err());
        let stopping = Instant::now();
        tasks.stop().await;
        assert_eq!(stopping.elapsed(), GRACE / 2, "after {:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_stop_is_not_awaited_for_long() {
        let mut tasks = Tasks::default();
        tasks.spawn(std::future::pending());
        let stopping = Instant::now();
        tasks.stop().await;
        assert_eq!(stopping.elapsed(), GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_by_itself_or_panics_is_a_failure() {
        let mut tasks = Tasks::default();
        tasks.spawn(async {});
        let ended = tasks.failed().await.to_string();
        assert_eq!(ended, "a task of the daemon has ended by itself");
        tasks.spawn(async { panic!("a defect") });
        let died = tasks.failed().await.to_string();
        assert_eq!(died, "a task of the daemon has died");
    }
}
