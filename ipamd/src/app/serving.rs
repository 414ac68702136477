//! A daemon that runs: its servers, and the order in which it ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::App;
use crate::host::HostWatch;
use crate::host::install::{Order, keep_trying};
use crate::introspection;
use crate::noted_dels::work_off_notes;
use crate::operator::{OperatorDesk, Ready};
use crate::rpc::serve_cni;
use crate::run_dir::ReadyMark;

/// How long ADDs and DELs may go on after the daemon was told to stop.
const GRACE: Duration = Duration::from_secs(2);
/// How long the pool and the reaper may take after that.
const CORE_GRACE: Duration = Duration::from_millis(2300);
/// Between two tries to write the mark of readiness.
const MARK_AGAIN: Duration = Duration::from_secs(5);
/// How long answers that are ready may take to go out.
const ANSWERS: Duration = Duration::from_millis(300);

impl App {
    /// Serves the plugin, operators, metrics and introspection until `shutdown`,
    /// then ends in order:
    /// no new request, ADDs and DELs under way, the pool.
    ///
    /// # Errors
    /// The plugin's socket cannot be made.
    pub(crate) async fn serve(
        mut self,
        desk: OperatorDesk,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let cni = self.run_dir.listen(veni_api::CNI_SOCKET)?;
        // Listening, then notes, then answering: a plugin that finds nobody
        // leaves a note before there is a socket, or is answered after.
        let (folder, boot) = (self.run_dir.folder(), self.run_dir.boot());
        work_off_notes(folder, boot, &self.endpoints).await;
        let mut servers = JoinSet::new();
        servers.spawn(serve_cni(
            cni,
            Arc::clone(&self.endpoints),
            shutdown.clone(),
        ));
        self.serve_http(&mut servers, desk.watch(), &shutdown);
        if let Err(error) = self.run_dir.ready_mark().set() {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::warn!(
                error,
                "pods are served, but STATUS will call the node not ready while the daemon is down"
            );
            servers.spawn(mark_when_possible(
                self.run_dir.ready_mark(),
                shutdown.clone(),
            ));
        }
        let ready = Ready {
            pool: self.pool.clone(),
            endpoints: Arc::clone(&self.endpoints),
            events: self.events.clone(),
            settings: self.settings.clone(),
        };
        let watch = desk.watch().clone();
        desk.ready(ready, &mut servers).await;
        if let Some(order) = Order::try_new(&self.config, self.run_dir.folder()) {
            let shutdown = shutdown.clone();
            servers.spawn(async move {
                keep_trying(order, watch, shutdown).await;
                Ok(())
            });
        } else {
            tracing::info!(
                "nothing is installed on the host: there is no /host/opt/cni/bin or \
                 /host/etc/cni/net.d as in a container; a service of the node sets \
                 HOST_CNI_BIN_PATH=/opt/cni/bin and HOST_CNI_CONFDIR_PATH=/etc/cni/net.d"
            );
        }
        tracing::info!(run_dir = %self.run_dir.folder().display(), "ready");
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(died) = self.tasks.join_next() => {
                    died.context("a task of the daemon has died")?;
                    anyhow::bail!("a task of the daemon has ended by itself");
                }
                // Installing the plugin and setting the mark of readiness end.
                Some(ended) = servers.join_next() => {
                    ended.context("a server of the daemon has died")??;
                }
            }
        }
        tracing::info!("stopping");
        self.stop().await;
        // Answers go out in a moment; streams of events do not end by themselves.
        let answered = async { while servers.join_next().await.is_some() {} };
        drop(tokio::time::timeout(ANSWERS, answered).await);
        servers.shutdown().await;
        Ok(())
    }

    /// Metrics and introspection.
    fn serve_http(
        &self,
        servers: &mut JoinSet<anyhow::Result<()>>,
        watch: &HostWatch,
        shutdown: &CancellationToken,
    ) {
        if let Some(address) = self.config.metrics {
            let metrics = Arc::clone(&self.metrics);
            let (watch, shutdown) = (watch.clone(), shutdown.clone());
            servers.spawn(async move {
                introspection::serve_metrics(address, metrics, watch, shutdown).await;
                Ok(())
            });
        }
        if let Some(address) = self.config.introspection.clone() {
            let (watch, shutdown) = (watch.clone(), shutdown.clone());
            let shown = introspection::Shown {
                pool: self.pool.clone(),
                endpoints: Arc::clone(&self.endpoints),
                settings: self.settings.clone(),
                custom: self.config.custom_network.clone(),
                place: self.place.clone(),
            };
            servers.spawn(async move {
                introspection::serve(address, shown, watch, shutdown).await;
                Ok(())
            });
        }
    }

    /// Ends what is under way, journalled; pods keep their network.
    pub async fn stop(mut self) {
        self.pool.close();
        if tokio::time::timeout(GRACE, self.endpoints.drained())
            .await
            .is_err()
        {
            tracing::warn!("some adds or dels did not end in time; the next start undoes them");
        }
        self.stop_pool.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(CORE_GRACE, ended).await.is_err() {
            tracing::warn!("some of the daemon's tasks did not end in time");
        }
    }
}

/// Marks the daemon as ready as soon as the run folder can be written to.
async fn mark_when_possible(mark: ReadyMark, shutdown: CancellationToken) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(MARK_AGAIN.mul_f64(rand::random_range(0.5..1.0))) => {}
        }
        if mark.set().is_ok() {
            tracing::info!("the run folder can be written to again: marked as ready");
            return Ok(());
        }
    }
}
