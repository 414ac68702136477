//! The daemon's own tasks: the pool, the reaper, and what is compared with the
//! kernel again and again.

use std::sync::Arc;

use veni_dataplane::{DataPlane, NodePlan, Watch};

use super::App;
use crate::endpoints::Reaper;
use crate::node_addresses::follow;
use crate::node_warnings::NodeWarnings;
use crate::pool::PoolTask;
use crate::reconcile::Reconciler;
use crate::repairs::Repairs;

impl App {
    pub(super) fn spawn_core(&mut self, task: PoolTask, reaper: Reaper) {
        let stop = self.stop_pool.clone();
        self.tasks.spawn(task.run(stop.clone()));
        self.tasks.spawn(reaper.run(stop));
    }

    /// What links of the node carry is followed from the start to the end.
    pub(super) fn spawn_node_addresses(&mut self, kernel: Arc<dyn DataPlane>) {
        let stop = self.stop_pool.clone();
        self.tasks.spawn(follow(kernel, self.pool.clone(), stop));
    }

    /// Compares what is ours in the kernel, when it tells of changes and in slow rounds.
    pub(super) fn spawn_reconciler(
        &mut self,
        kernel: Arc<dyn DataPlane>,
        watch: Watch,
        (plan, warnings): (NodePlan, NodeWarnings),
        repairs: Repairs,
    ) {
        let reconciler = Reconciler {
            kernel,
            pool: self.pool.clone(),
            endpoints: Arc::clone(&self.endpoints),
            repairs,
            plan,
            warnings,
            further: self.config.network.untranslated.clone(),
            interval: self.config.timing.audit,
            folder: self.run_dir.folder().to_owned(),
            boot: self.run_dir.boot().to_owned(),
        };
        let stop = self.stop_pool.clone();
        self.tasks.spawn(reconciler.run(watch, stop));
    }
}
