//! Keeps what is ours in the kernel as it was made: at once when the kernel tells that
//! somebody else has changed it, and in slow rounds whether it tells or not.

mod agenda;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use veni_dataplane::{Changes, DataPlane, NodePlan, RepairKind, Watch};

use crate::endpoints::Endpoints;
use crate::node::untranslated;
use crate::node_warnings::NodeWarnings;
use crate::noted_dels::work_off_notes;
use crate::pool::Pool;
use crate::repairs::Repairs;
use agenda::Agenda;

/// Slow rounds of endpoints to one of the node's own rules, tables and settings.
const NODE_ROUNDS: u64 = 6;

/// A comparison that somebody waits for waits no longer for interfaces that cannot be
/// brought into service.
const LONGEST_RECHECK: Duration = Duration::from_secs(5);

/// What the reconciler is asked.
#[derive(Debug)]
enum Request {
    /// The node's plan as it is compared now.
    Plan(oneshot::Sender<NodePlan>),
    /// Everything is compared and mended now, whatever somebody else contests.
    Everything(oneshot::Sender<()>),
}

/// A way to ask the reconciler. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ReconcilerHandle {
    requests: mpsc::Sender<Request>,
}

/// Where it hears.
#[derive(Debug)]
pub(crate) struct Requests(mpsc::Receiver<Request>);

impl ReconcilerHandle {
    pub(crate) fn channel() -> (Self, Requests) {
        let (requests, receiver) = mpsc::channel(8);
        (Self { requests }, Requests(receiver))
    }

    /// The node's plan; `None` when the daemon ends.
    pub(crate) async fn plan(&self) -> Option<NodePlan> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Plan(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Has everything compared and mended, and waits for the end of that; `None` when the
    /// daemon ends.
    pub(crate) async fn mend_everything(&self) -> Option<()> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Everything(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// What is compared, and with whose help.
pub(crate) struct Reconciler {
    pub(crate) requests: Requests,
    pub(crate) kernel: Arc<dyn DataPlane>,
    pub(crate) pool: Pool,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) repairs: Repairs,
    pub(crate) plan: NodePlan,
    pub(crate) warnings: NodeWarnings,
    /// Ranges beyond the network's own where pods keep their address.
    pub(crate) further: Vec<IpNet>,
    /// Between two slow rounds.
    pub(crate) interval: Duration,
    /// Run folder, with the plugin's notes, and this boot.
    pub(crate) folder: PathBuf,
    pub(crate) boot: String,
}

/// What may not be as it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Concerned {
    /// The node's rules, tables and settings.
    node: bool,
    /// The interfaces' rules and routes.
    interfaces: bool,
    /// The host's routes to pods, and the ports of the node that lead to them.
    pods: bool,
    /// Limits of pods' bandwidth.
    limits: bool,
}

impl Concerned {
    fn by(due: Changes) -> Self {
        // With a link's last address, and with the node's own, the kernel removes routes
        // of ours and tells of the address alone. A link that somebody has taken out of
        // the pods' group was one of the node's.
        let others = due.links || due.addresses;
        let interfaces = others || due.rules_and_routes || due.settings;
        Self {
            node: interfaces || due.main_table || due.nftables,
            interfaces,
            // Elements of ours go with their table.
            pods: others || due.pods || due.nftables,
            // A link of ours that was taken out of its group is told as one of the node's.
            limits: due.links || due.limits,
        }
    }
}

impl Reconciler {
    /// Runs until `stop`. `watch` was made before the kernel was compared for the first
    /// time, so that nothing is missed in between.
    pub(crate) async fn run(mut self, mut watch: Watch, stop: CancellationToken) {
        let mut agenda = Agenda::default();
        let mut round = 0_u64;
        let mut next_round = Instant::now() + self.interval;
        loop {
            let due = agenda.due(|kinds| self.repairs.backed_off_until(kinds));
            let due = due.unwrap_or(next_round);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changes = watch.changed() => agenda.note(changes),
                Some(request) = self.requests.0.recv() => self.answer(request).await,
                () = tokio::time::sleep_until(due.min(next_round)) => {
                    let now = Instant::now();
                    if now >= next_round {
                        round += 1;
                        self.slow_round(round).await;
                        next_round = Instant::now() + self.interval;
                    }
                    self.compare(&mut agenda, now).await;
                }
            }
        }
    }

    async fn answer(&mut self, request: Request) {
        // Whoever asked may have gone.
        match request {
            Request::Plan(reply) => drop(reply.send(self.plan.clone())),
            Request::Everything(reply) => {
                self.compare_node().await;
                if timeout(LONGEST_RECHECK, self.pool.recheck_and_wait())
                    .await
                    .is_err()
                {
                    tracing::warn!("interfaces are still being compared with the kernel");
                }
                if let Err(error) = self.endpoints.audit().await {
                    tracing::warn!(%error, "failed to compare endpoints with the kernel");
                }
                let _ = reply.send(());
            }
        }
    }

    /// Compares what others are said to have changed.
    async fn compare(&self, agenda: &mut Agenda, now: Instant) {
        let due = agenda.take(now, |kinds| self.repairs.backed_off_until(kinds));
        if due.overrun {
            tracing::debug!("the kernel could not tell all that changed: everything is compared");
        }
        let concerned = Concerned::by(due);
        tracing::debug!(?due, "what others changed is compared with the plan");
        if concerned.node {
            self.compare_node().await;
        }
        if concerned.interfaces {
            self.pool.recheck();
        }
        if concerned.pods {
            match self.endpoints.repair_routes().await {
                Ok(false) => {}
                Ok(true) => self.repairs.repaired(RepairKind::PodRoute),
                Err(error) => {
                    tracing::warn!(%error, "failed to compare pods' routes with the kernel");
                }
            }
        }
        if concerned.limits && self.endpoints.repair_limits().await {
            self.repairs.repaired(RepairKind::Limit);
        }
    }

    /// What no notification tells: pods that are gone, what the kernel once refused to
    /// undo, and whatever was missed.
    async fn slow_round(&mut self, round: u64) {
        if let Err(error) = self.endpoints.audit().await {
            tracing::warn!(%error, "failed to compare endpoints with the kernel");
        }
        work_off_notes(&self.folder, &self.boot, &self.endpoints).await;
        if round.is_multiple_of(NODE_ROUNDS) {
            if let Some(network) = self.pool.network().await {
                self.plan.untranslated = untranslated(network, &self.further);
            }
            self.compare_node().await;
            self.pool.recheck();
        }
    }

    /// Makes again what somebody has removed of the node's own set-up.
    async fn compare_node(&self) {
        let prepared = self.kernel.prepare_node(&self.plan).await;
        self.repairs.node_compared(prepared.is_ok());
        match prepared {
            Ok(report) => {
                self.repairs.tell(&report.repairs);
                self.warnings.set(report.warnings);
            }
            Err(error) => tracing::warn!(%error, "failed to keep the node set up"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_leads_to_the_comparison_of_all_that_may_have_gone_with_it() {
        let nothing = Changes::NONE;
        for (due, (node, interfaces, pods, limits)) in [
            (nothing, (false, false, false, false)),
            (
                Changes {
                    links: true,
                    ..nothing
                },
                (true, true, true, true),
            ),
            (
                Changes {
                    addresses: true,
                    ..nothing
                },
                (true, true, true, false),
            ),
            (
                Changes {
                    rules_and_routes: true,
                    ..nothing
                },
                (true, true, false, false),
            ),
            (
                Changes {
                    main_table: true,
                    ..nothing
                },
                (true, false, false, false),
            ),
            (
                Changes {
                    settings: true,
                    ..nothing
                },
                (true, true, false, false),
            ),
            (
                Changes {
                    nftables: true,
                    ..nothing
                },
                (true, false, true, false),
            ),
            (
                Changes {
                    pods: true,
                    ..nothing
                },
                (false, false, true, false),
            ),
            (
                Changes {
                    limits: true,
                    ..nothing
                },
                (false, false, false, true),
            ),
            (Changes::ANYTHING, (true, true, true, true)),
        ] {
            let expected = Concerned {
                node,
                interfaces,
                pods,
                limits,
            };
            assert_eq!(Concerned::by(due), expected, "{due:?}");
        }
    }
}
