//! The daemon's own tasks: the pool, the reaper, and what is compared with the
//! kernel again and again.

use std::sync::Arc;

use veni_dataplane::{DataPlane, NodePlan};

use super::App;
use crate::endpoints::Reaper;
use crate::node::{keep_node, untranslated};
use crate::node_addresses::follow;
use crate::node_warnings::NodeWarnings;
use crate::noted_dels::work_off_notes;
use crate::pool::PoolTask;

/// Audits of endpoints to one of the node's own rules, tables and settings.
const NODE_ROUNDS: u64 = 6;

impl App {
    pub(super) fn spawn_core(&mut self, task: PoolTask, reaper: Reaper) {
        let stop = self.stop_pool.clone();
        self.tasks.spawn(task.run(stop.clone()));
        self.tasks.spawn(reaper.run(stop));
    }

    /// Interfaces are compared with the kernel as soon as links of the node change.
    pub(super) fn spawn_watch(&mut self, kernel: &Arc<dyn DataPlane>) {
        let mut watch = kernel.watch();
        let (stop, pool) = (self.stop_pool.clone(), self.pool.clone());
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    changes = watch.changed() => {
                        if changes.links {
                            pool.recheck();
                        }
                    }
                }
            }
        });
    }

    /// What links of the node carry is followed from the start to the end.
    pub(super) fn spawn_node_addresses(&mut self, kernel: Arc<dyn DataPlane>) {
        let stop = self.stop_pool.clone();
        self.tasks.spawn(follow(kernel, self.pool.clone(), stop));
    }

    pub(super) fn spawn_audit(
        &mut self,
        kernel: Arc<dyn DataPlane>,
        mut plan: NodePlan,
        warnings: NodeWarnings,
    ) {
        let stop = self.stop_pool.clone();
        let pool = self.pool.clone();
        let further = self.config.network.untranslated.clone();
        let (endpoints, interval) = (Arc::clone(&self.endpoints), self.config.timing.audit);
        let (folder, boot) = (
            self.run_dir.folder().to_owned(),
            self.run_dir.boot().to_owned(),
        );
        self.tasks.spawn(async move {
            for round in 1_u64.. {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(interval) => {}
                }
                if let Err(error) = endpoints.audit().await {
                    tracing::warn!(%error, "failed to compare endpoints with the kernel");
                }
                work_off_notes(&folder, &boot, &endpoints).await;
                if round.is_multiple_of(NODE_ROUNDS) {
                    if let Some(network) = pool.network().await {
                        plan.untranslated = untranslated(network, &further);
                    }
                    keep_node(&kernel, &plan, &warnings).await;
                    pool.recheck();
                }
            }
        });
    }
}
