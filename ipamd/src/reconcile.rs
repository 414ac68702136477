//! Keeps what is ours in the kernel as it was made: at once when the kernel tells that
//! somebody else has changed it, and in slow rounds whether it tells or not.

mod agenda;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use veni_dataplane::{DataPlane, NodePlan, RepairKind, Watch};

use crate::endpoints::Endpoints;
use crate::node::untranslated;
use crate::node_warnings::NodeWarnings;
use crate::noted_dels::work_off_notes;
use crate::pool::Pool;
use crate::repairs::Repairs;
use agenda::Agenda;

/// Slow rounds of endpoints to one of the node's own rules, tables and settings.
const NODE_ROUNDS: u64 = 6;

/// What is compared, and with whose help.
pub(crate) struct Reconciler {
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

    /// Compares what others are said to have changed.
    async fn compare(&self, agenda: &mut Agenda, now: Instant) {
        let due = agenda.take(now, |kinds| self.repairs.backed_off_until(kinds));
        if due.overrun {
            tracing::debug!("the kernel could not tell all that changed: everything is compared");
        }
        // With a link's last address, and with the node's own, the kernel removes routes
        // of ours and tells of the address alone.
        if due.rules_and_routes || due.settings || due.nftables || due.links || due.addresses {
            self.compare_node().await;
        }
        if due.rules_and_routes || due.settings || due.links || due.addresses {
            self.pool.recheck();
        }
        // A link that somebody has taken out of the pods' group was one of the node's.
        if due.pods || due.links || due.addresses {
            match self.endpoints.repair_routes().await {
                Ok(false) => {}
                Ok(true) => self.repairs.repaired(RepairKind::PodRoute),
                Err(error) => {
                    tracing::warn!(%error, "failed to compare pods' routes with the kernel");
                }
            }
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
        match self.kernel.prepare_node(&self.plan).await {
            Ok(report) => {
                self.repairs.tell(&report.repairs);
                self.warnings.set(report.warnings);
            }
            Err(error) => tracing::warn!(%error, "failed to keep the node set up"),
        }
    }
}
