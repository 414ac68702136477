//! Keeps what is ours in the kernel as it was made: at once when the kernel tells that
//! somebody else has changed it, and in slow rounds whether it tells or not.

mod agenda;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
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

/// What may not be as it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Concerned {
    /// The node's rules, tables and settings.
    node: bool,
    /// The interfaces' rules and routes.
    interfaces: bool,
    /// The host's routes to pods.
    pods: bool,
}

impl Concerned {
    fn by(due: Changes) -> Self {
        // With a link's last address, and with the node's own, the kernel removes routes
        // of ours and tells of the address alone. A link that somebody has taken out of
        // the pods' group was one of the node's.
        let others = due.links || due.addresses;
        let interfaces = others || due.rules_and_routes || due.settings;
        Self {
            node: interfaces || due.nftables,
            interfaces,
            pods: others || due.pods,
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
        let concerned = Concerned::by(due);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_leads_to_the_comparison_of_all_that_may_have_gone_with_it() {
        let nothing = Changes::NONE;
        for (due, (node, interfaces, pods)) in [
            (nothing, (false, false, false)),
            (
                Changes {
                    links: true,
                    ..nothing
                },
                (true, true, true),
            ),
            (
                Changes {
                    addresses: true,
                    ..nothing
                },
                (true, true, true),
            ),
            (
                Changes {
                    rules_and_routes: true,
                    ..nothing
                },
                (true, true, false),
            ),
            (
                Changes {
                    settings: true,
                    ..nothing
                },
                (true, true, false),
            ),
            (
                Changes {
                    nftables: true,
                    ..nothing
                },
                (true, false, false),
            ),
            (
                Changes {
                    pods: true,
                    ..nothing
                },
                (false, false, true),
            ),
            (Changes::ANYTHING, (true, true, true)),
        ] {
            let expected = Concerned {
                node,
                interfaces,
                pods,
            };
            assert_eq!(Concerned::by(due), expected, "{due:?}");
        }
    }
}
