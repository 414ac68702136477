//! Waiting for states in real time, and the end of a test.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::daemon::Daemon;
use crate::recorder::Calls;
use crate::world::{Holdings, LONG};

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A node is at rest when nothing has happened for this time. With this lane's settings it
/// is longer than any wait of the daemon that leads to a change.
const QUIET: Duration = Duration::from_millis(2500);

impl Daemon {
    /// Waits until a condition holds.
    pub(crate) async fn until(&self, what: &str, mut is: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !is().await {
            if began.elapsed() > LONG {
                let told = self.explanation().await;
                let report = self.report().await;
                panic!("never: {what}\n{told}\n{report:#?}");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the node holds this much in truth.
    pub(crate) async fn until_holding(&self, interfaces: usize, addresses: usize, prefixes: usize) {
        let wanted = Holdings {
            interfaces,
            addresses,
            prefixes,
        };
        let world = &self.world;
        self.until(&format!("{wanted:?}"), async || {
            world.holdings().await == wanted
        })
        .await;
    }

    /// Waits until nothing has happened between daemon and EC2 for a while, and
    /// nobody waits for an address.
    pub(crate) async fn rest(&self) {
        self.rest_by(Calls::all).await;
    }

    /// The same where the inventory is looked at all the time.
    pub(crate) async fn rest_with_looks(&self) {
        self.rest_by(Calls::changes).await;
    }

    async fn rest_by(&self, count: fn(&Calls) -> usize) {
        let (began, mut since, mut before) = (Instant::now(), Instant::now(), usize::MAX);
        while since.elapsed() < QUIET {
            sleep(LOOK_EVERY).await;
            let (plan, report) = (self.plan().await, self.report().await);
            let calls = count(&self.world.calls);
            let settled = |state: &str| matches!(state, "attached" | "unmanaged");
            let in_service = report.interfaces.iter().all(|one| settled(&one.state));
            if !plan.actions.is_empty() || report.waiting > 0 || !in_service || calls != before {
                (before, since) = (calls, Instant::now());
            }
            if began.elapsed() > LONG {
                panic!("it never rests:\n{}", self.explanation().await);
            }
        }
    }

    /// Makes this many pods, all at once. All must be served.
    pub(crate) async fn add_pods(&self, numbers: std::ops::Range<u32>) {
        self.add_all(numbers.map(|number| format!("pod-{number}")))
            .await;
    }

    /// Takes pods away, all at once.
    pub(crate) async fn del_pods(&self, numbers: std::ops::Range<u32>) {
        let dels = numbers.map(|number| async move {
            let name = format!("pod-{number}");
            assert!(self.del(&name).await, "{name} was there");
            self.world.end_namespace(&name);
        });
        futures::future::join_all(dels).await;
    }

    /// ADD as a kubelet does it: again and again until it succeeds.
    pub(crate) async fn retry(&self, container: &str) -> IpAddr {
        let began = Instant::now();
        loop {
            match self.add(container).await {
                Ok(address) => return address,
                Err(failure) if began.elapsed() > LONG => panic!("{failure:?}"),
                Err(_) => sleep(4 * LOOK_EVERY).await,
            }
        }
    }

    /// Ends the daemon as SIGKILL does: it says and does nothing more.
    pub(crate) async fn kill(self) {
        drop(self);
        // Tasks that were under way end at their next step.
        tokio::task::yield_now().await;
    }

    /// Ends a test: waits for rest, then daemon, kernel and EC2 must agree.
    pub(crate) async fn finish(self) {
        self.rest().await;
        self.end().await;
    }

    /// The same where the inventory is looked at all the time.
    pub(crate) async fn finish_with_looks(self) {
        self.rest_with_looks().await;
        self.end().await;
    }

    async fn end(self) {
        self.check().await;
        let world = self.world.clone();
        self.stop().await;
        world.terminate().await;
    }
}
