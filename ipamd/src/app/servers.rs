//! What serves others while the daemon runs: the plugin, operators, metrics and
//! introspection; and what is done once for them, the installation of the plugin and the
//! mark of readiness.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::IntrospectionAddress;
use crate::endpoints::Endpoints;
use crate::events::Events;
use crate::host::HostWatch;
use crate::host::install::{Order, keep_installed};
use crate::retry::half_to_whole;
use crate::run_dir::ReadyMark;
use crate::serve::cni::serve_cni;
use crate::serve::metrics::Asked;
use crate::serve::operator::{OperatorServer, Ready};
use crate::serve::{introspection, metrics};

/// Between two tries to write the mark of readiness.
const MARK_AGAIN: Duration = Duration::from_secs(5);
/// How long answers that are ready may take to go out.
const ANSWERS: Duration = Duration::from_millis(300);

/// The servers.
pub(super) struct Servers {
    running: JoinSet<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Servers {
    /// None yet. All take no new request after `shutdown`.
    pub(super) fn new(shutdown: CancellationToken) -> Self {
        Self {
            running: JoinSet::new(),
            shutdown,
        }
    }

    /// Serves the plugin.
    pub(super) fn cni(&mut self, listener: UnixListener, endpoints: Arc<Endpoints>) {
        let shutdown = self.shutdown.clone();
        self.running.spawn(serve_cni(listener, endpoints, shutdown));
    }

    /// Tells operators all that they ask for from now on.
    pub(super) async fn operators(&mut self, server: OperatorServer, ready: Ready) {
        self.running.spawn(server.ready(ready).await);
    }

    /// Serves metrics.
    pub(super) fn metrics(&mut self, address: SocketAddr, asked: Asked, watch: HostWatch) {
        let shutdown = self.shutdown.clone();
        self.spawn(metrics::serve(address, asked, watch, shutdown));
    }

    /// Serves introspection.
    pub(super) fn introspection(
        &mut self,
        address: IntrospectionAddress,
        shown: introspection::Shown,
        watch: HostWatch,
    ) {
        let shutdown = self.shutdown.clone();
        self.spawn(introspection::serve(address, shown, watch, shutdown));
    }

    /// Marks the daemon as ready, as soon as the run folder can be written to.
    pub(super) fn mark_ready(&mut self, mark: ReadyMark) {
        if let Err(error) = mark.set() {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::warn!(
                error,
                "pods are served, but STATUS will call the node not ready while the daemon is down"
            );
            self.spawn(mark_when_possible(mark, self.shutdown.clone()));
        }
    }

    /// Installs the plugin on the host, as soon as that is possible.
    pub(super) fn install(&mut self, order: Option<Order>, watch: HostWatch, events: Events) {
        let shutdown = self.shutdown.clone();
        match order {
            Some(order) => self.spawn(keep_installed(order, watch, events, shutdown)),
            None => tracing::info!(
                "nothing is installed on the host: there is no /host/opt/cni/bin or \
                 /host/etc/cni/net.d as in a container; a service of the node sets \
                 HOST_CNI_BIN_PATH=/opt/cni/bin and HOST_CNI_CONFDIR_PATH=/etc/cni/net.d"
            ),
        }
    }

    fn spawn(&mut self, server: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(async move {
            server.await;
            Ok(())
        });
    }

    /// Waits until one has failed or died, and says so. That one ends is no failure: the
    /// installation and the mark of readiness do.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        loop {
            match self.running.join_next().await {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(failure))) => return failure,
                Some(Err(error)) => {
                    return anyhow::Error::from(error).context("a server of the daemon has died");
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Lets answers go out, but not for long: streams of events do not end by themselves.
    pub(super) async fn end(mut self) {
        let answered = async { while self.running.join_next().await.is_some() {} };
        drop(tokio::time::timeout(ANSWERS, answered).await);
        self.running.shutdown().await;
    }
}

async fn mark_when_possible(mark: ReadyMark, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(half_to_whole(MARK_AGAIN)) => {}
        }
        if mark.set().is_ok() {
            tracing::info!("the run folder can be written to again: marked as ready");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn servers() -> (Servers, CancellationToken) {
        let shutdown = CancellationToken::new();
        (Servers::new(shutdown.clone()), shutdown)
    }

    /// What the servers fail with, if they do before a minute is over.
    async fn failure(servers: &mut Servers) -> Option<String> {
        let failed = tokio::time::timeout(Duration::from_secs(60), servers.failed()).await;
        failed.ok().map(|error| error.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn that_one_ends_is_no_failure_and_that_one_dies_is() {
        let (mut servers, _shutdown) = servers();
        servers.spawn(async {});
        assert_eq!(failure(&mut servers).await, None);
        servers.spawn(async { panic!("a defect") });
        let died = failure(&mut servers).await;
        assert_eq!(died.as_deref(), Some("a server of the daemon has died"));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_go_out_before_the_end_and_endless_ones_are_cut() {
        for (takes, awaited) in [
            (ANSWERS / 2, ANSWERS / 2),
            (Duration::from_secs(60), ANSWERS),
        ] {
            let (mut servers, _shutdown) = servers();
            servers.spawn(tokio::time::sleep(takes));
            let ending = Instant::now();
            servers.end().await;
            assert_eq!(ending.elapsed(), awaited);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_mark_of_readiness_is_set_as_soon_as_the_folder_can_be_written_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("run");
        let (mut servers, _shutdown) = servers();
        let mark = ReadyMark::new(&place, "boot");
        servers.mark_ready(mark.clone());
        assert!(!mark.is_set(), "there is no folder");
        std::fs::create_dir(&place).expect("a folder");
        tokio::time::sleep(2 * MARK_AGAIN).await;
        assert!(mark.is_set());
    }
}
