//! The operators' service: what people, `veni` and probes ask, from the start of
//! the daemon on. Before it is ready it says what it waits for.

mod answers;
mod check;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use futures::Stream;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{BroadcastStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use veni_api::v1;
use veni_api::v1::operator_server::OperatorServer as GrpcOperatorServer;

use crate::cluster::node_targets::TargetsInForce;
use crate::config::EffectiveSetting;
use crate::endpoints::Endpoints;
use crate::events::Events;
use crate::host::HostWatch;
use crate::log_levels::{LogLevels, subsystems};
use crate::node_check::Checker;
use crate::pool::Pool;
use crate::progress::Progress;
use crate::serve::health;

pub use answers::{Beside, plan as plan_response, pool as pool_response};

/// The whole daemon in the words of gRPC health.
const OVERALL: &str = "";

/// The process alone, whatever its start waits for: to kill a daemon that waits for the
/// cloud would not help it.
const LIVE: &str = "live";

/// What can be told once the daemon is ready.
pub(crate) struct Ready {
    pub(crate) pool: Pool,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) events: Events,
    pub(crate) checker: Checker,
    /// The settings in force on this node.
    pub(crate) settings: Vec<EffectiveSetting>,
    /// The node's name in its cluster, where the daemon was told.
    pub(crate) node_name: Option<String>,
    /// Targets in force.
    pub(crate) targets: TargetsInForce,
}

/// What can be told from the first moment.
pub(crate) struct Known {
    /// The settings as far as the environment alone tells.
    pub(crate) settings: Vec<EffectiveSetting>,
    pub(crate) watch: HostWatch,
    pub(crate) levels: LogLevels,
}

/// The operators' service.
struct OperatorService {
    /// Set when the daemon is ready.
    ready: Arc<OnceLock<Ready>>,
    /// What it waits for until then.
    progress: Progress,
    known: Known,
}

impl OperatorService {
    fn ready(&self) -> Result<&Ready, Status> {
        let not_yet = || Status::unavailable(format!("not ready: {}", self.progress.text()));
        self.ready.get().ok_or_else(not_yet)
    }

    /// The log filter in force, should it not be the configured one.
    fn changed_level(&self) -> Option<String> {
        let in_force = self.known.levels.in_force();
        (in_force != self.known.levels.configured()).then_some(in_force)
    }
}

fn closing() -> Status {
    Status::unavailable("the daemon is shutting down")
}

#[tonic::async_trait]
impl v1::operator_server::Operator for OperatorService {
    type EventsStream = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

    async fn pool(
        &self,
        _request: Request<v1::PoolRequest>,
    ) -> Result<Response<v1::PoolResponse>, Status> {
        let ready = self.ready()?;
        let report = ready.pool.report().await.ok_or_else(closing)?;
        let watch = self.known.watch.clone();
        // Reads files. Without an answer, which only a panic can prevent, nothing is said.
        let warnings = tokio::task::spawn_blocking(move || watch.warnings()).await;
        let beside = Beside {
            labels: ready.endpoints.labels(),
            cloud_calls: ready.events.cloud_calls(),
            host_warnings: warnings.unwrap_or_default(),
            node_name: ready.node_name.clone().unwrap_or_default(),
            targets: ready.targets.get(),
            log_level: self.changed_level(),
        };
        Ok(Response::new(answers::pool(report, beside)))
    }

    async fn endpoints(
        &self,
        _request: Request<v1::EndpointsRequest>,
    ) -> Result<Response<v1::EndpointsResponse>, Status> {
        let records = self.ready()?.endpoints.list();
        let endpoints = records.iter().map(answers::endpoint).collect();
        Ok(Response::new(v1::EndpointsResponse { endpoints }))
    }

    async fn plan(
        &self,
        _request: Request<v1::PlanRequest>,
    ) -> Result<Response<v1::PlanResponse>, Status> {
        let plan = self.ready()?.pool.plan().await.ok_or_else(closing)?;
        Ok(Response::new(answers::plan(plan)))
    }

    async fn check_node(
        &self,
        request: Request<v1::CheckNodeRequest>,
    ) -> Result<Response<v1::CheckNodeResponse>, Status> {
        let (ready, asked) = (self.ready()?, check::asked(request.get_ref()));
        let (checker, watch) = (ready.checker.clone(), self.known.watch.clone());
        // Repairs that have begun are finished, also when whoever asked has gone.
        let checking = tokio::spawn(async move { checker.check(asked, &watch).await });
        let report = checking.await.map_err(|_| closing())?;
        Ok(Response::new(check::response(report)))
    }

    async fn settings(
        &self,
        _request: Request<v1::SettingsRequest>,
    ) -> Result<Response<v1::SettingsResponse>, Status> {
        let in_force = self
            .ready
            .get()
            .map_or(&self.known.settings, |ready| &ready.settings);
        let settings = in_force.iter().map(answers::setting).collect();
        Ok(Response::new(v1::SettingsResponse { settings }))
    }

    async fn log_level(
        &self,
        request: Request<v1::LogLevelRequest>,
    ) -> Result<Response<v1::LogLevelResponse>, Status> {
        let v1::LogLevelRequest { levels, reset } = request.into_inner();
        let all = &self.known.levels;
        if reset || !levels.is_empty() {
            all.set(&levels, reset).map_err(Status::invalid_argument)?;
        }
        Ok(Response::new(v1::LogLevelResponse {
            in_force: all.in_force(),
            configured: all.configured().to_owned(),
            subsystems: subsystems().map(str::to_owned).collect(),
        }))
    }

    async fn events(
        &self,
        request: Request<v1::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let v1::EventsRequest { remembered, ends } = request.into_inner();
        let (past, coming) = self.ready()?.events.with_past();
        let past = if remembered { past } else { Vec::new() };
        let past = past.into_iter().map(|event| Ok(answers::event(event)));
        let past = tokio_stream::iter(past);
        if ends {
            return Ok(Response::new(Box::pin(past)));
        }
        // A reader that falls behind is told so by an error and may come again.
        let coming = BroadcastStream::new(coming).map(|event| match event {
            Ok(event) => Ok(answers::event(event)),
            Err(lagged) => Err(Status::data_loss(format!("events were missed: {lagged}"))),
        });
        Ok(Response::new(Box::pin(past.chain(coming))))
    }
}

/// The operators' socket, served.
pub(crate) struct OperatorServer {
    ready: Arc<OnceLock<Ready>>,
    progress: Progress,
    health: HealthReporter,
    /// Health alone, for an address of its own.
    probes: axum::Router,
    watch: HostWatch,
    server: JoinSet<anyhow::Result<()>>,
}

impl OperatorServer {
    /// Serves operators and health probes on `listener` until `shutdown`, at
    /// first with the word that the daemon is not ready.
    pub(crate) async fn open(
        listener: UnixListener,
        known: Known,
        shutdown: &CancellationToken,
    ) -> Self {
        let (health, health_service) = tonic_health::server::health_reporter();
        let watch = known.watch.clone();
        let service = OperatorService {
            ready: Arc::default(),
            progress: Progress::default(),
            known,
        };
        let (ready, progress) = (Arc::clone(&service.ready), service.progress.clone());
        let mut server = JoinSet::new();
        let serving = tonic::transport::Server::builder()
            .add_service(health_service.clone())
            .add_service(GrpcOperatorServer::new(service))
            .serve_with_incoming_shutdown(
                UnixListenerStream::new(listener),
                shutdown.clone().cancelled_owned(),
            );
        set_health(&health, ServingStatus::NotServing).await;
        let live = ServingStatus::Serving;
        health.set_service_status(LIVE, live).await;
        server.spawn(async move {
            serving
                .await
                .context("failed to serve the operators' socket")
        });
        Self {
            ready,
            progress,
            health,
            probes: Routes::new(health_service).into_axum_router(),
            watch,
            server,
        }
    }

    /// Serves health on an address of its own as well, from when on that can be had.
    pub(crate) fn serve_health(&mut self, address: SocketAddr, shutdown: CancellationToken) {
        let serving = health::serve(address, self.probes.clone(), self.watch.clone(), shutdown);
        self.server.spawn(async move {
            serving.await;
            Ok(())
        });
    }

    /// What the start waits for.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The host under watch.
    pub(crate) fn watch(&self) -> &HostWatch {
        &self.watch
    }

    /// The daemon is ready: everything can be asked from now on. The answer is the server's
    /// further run.
    pub(crate) async fn ready(
        mut self,
        ready: Ready,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        // Nobody else sets it.
        drop(self.ready.set(ready));
        set_health(&self.health, ServingStatus::Serving).await;
        async move {
            while let Some(ended) = self.server.join_next().await {
                ended.context("the operators' server has died")??;
            }
            Ok(())
        }
    }
}

async fn set_health(health: &HealthReporter, status: ServingStatus) {
    let name = <GrpcOperatorServer<OperatorService> as tonic::server::NamedService>::NAME;
    for service in [OVERALL, name] {
        health.set_service_status(service, status).await;
    }
}
