//! The operators' service: what people, `veni` and probes ask, from the start of
//! the daemon on. Before it is ready it says what it waits for.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use futures::Stream;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{BroadcastStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use veni_api::v1;
use veni_api::v1::operator_server::OperatorServer;

use crate::config::Setting;
use crate::endpoints::Endpoints;
use crate::events::Events;
use crate::host::HostWatch;
use crate::pool::Pool;
use crate::progress::Progress;

/// The whole daemon in the words of gRPC health.
const OVERALL: &str = "";

/// What can be told once the daemon is ready.
pub struct Ready {
    /// Pool.
    pub pool: Pool,
    /// Endpoints.
    pub endpoints: Arc<Endpoints>,
    /// Events.
    pub events: Events,
    /// Settings in force.
    pub settings: Vec<Setting>,
}

/// The operators' service.
pub struct OperatorService {
    /// Set when the daemon is ready.
    pub ready: Arc<OnceLock<Ready>>,
    /// What it waits for until then.
    pub progress: Progress,
    /// The settings as far as the environment alone tells.
    pub settings: Vec<Setting>,
    /// The host.
    pub watch: HostWatch,
}

impl OperatorService {
    fn ready(&self) -> Result<&Ready, Status> {
        let not_yet = || Status::unavailable(format!("not ready: {}", self.progress.text()));
        self.ready.get().ok_or_else(not_yet)
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
        let mut report = ready.pool.report().await.ok_or_else(closing)?;
        let labels = ready.endpoints.labels();
        let single = report.interfaces.iter_mut().flat_map(|interface| {
            let in_prefixes = interface.prefixes.iter_mut().flat_map(|p| &mut p.used);
            interface.addresses.iter_mut().chain(in_prefixes)
        });
        for address in single {
            if let Some(label) = labels.get(&address.owner) {
                address.owner.clone_from(label);
            }
        }
        let watch = self.watch.clone();
        // Reads files. Without an answer, which only a panic can prevent, nothing is said.
        let warnings = tokio::task::spawn_blocking(move || watch.warnings()).await;
        report.host_warnings.extend(warnings.unwrap_or_default());
        Ok(Response::new(report))
    }

    async fn endpoints(
        &self,
        _request: Request<v1::EndpointsRequest>,
    ) -> Result<Response<v1::EndpointsResponse>, Status> {
        let records = self.ready()?.endpoints.list();
        let endpoints = records.iter().map(|record| record.report()).collect();
        Ok(Response::new(v1::EndpointsResponse { endpoints }))
    }

    async fn plan(
        &self,
        _request: Request<v1::PlanRequest>,
    ) -> Result<Response<v1::PlanResponse>, Status> {
        let plan = self.ready()?.pool.plan().await.ok_or_else(closing)?;
        Ok(Response::new(plan))
    }

    async fn settings(
        &self,
        _request: Request<v1::SettingsRequest>,
    ) -> Result<Response<v1::SettingsResponse>, Status> {
        let in_force = self
            .ready
            .get()
            .map_or(&self.settings, |ready| &ready.settings);
        let settings = in_force.iter().map(Setting::report).collect();
        Ok(Response::new(v1::SettingsResponse { settings }))
    }

    async fn events(
        &self,
        _request: Request<v1::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        // A reader that falls behind is told so by an error and may come again.
        let stream = BroadcastStream::new(self.ready()?.events.subscribe()).map(|event| {
            event.map_err(|lagged| Status::data_loss(format!("events were missed: {lagged}")))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

/// The operators' socket, served.
pub(crate) struct OperatorDesk {
    ready: Arc<OnceLock<Ready>>,
    progress: Progress,
    health: HealthReporter,
    watch: HostWatch,
    server: JoinSet<anyhow::Result<()>>,
}

impl OperatorDesk {
    /// Serves operators and health probes on `listener` until `shutdown`, at
    /// first with the word that the daemon is not ready.
    pub(crate) async fn open(
        listener: UnixListener,
        settings: Vec<Setting>,
        watch: HostWatch,
        shutdown: &CancellationToken,
    ) -> Self {
        let (health, health_service) = tonic_health::server::health_reporter();
        let service = OperatorService {
            ready: Arc::default(),
            progress: Progress::default(),
            settings,
            watch: watch.clone(),
        };
        let (ready, progress) = (Arc::clone(&service.ready), service.progress.clone());
        let mut server = JoinSet::new();
        let serving = tonic::transport::Server::builder()
            .add_service(health_service)
            .add_service(OperatorServer::new(service))
            .serve_with_incoming_shutdown(
                UnixListenerStream::new(listener),
                shutdown.clone().cancelled_owned(),
            );
        set_health(&health, ServingStatus::NotServing).await;
        server.spawn(async move {
            serving
                .await
                .context("failed to serve the operators' socket")
        });
        Self {
            ready,
            progress,
            health,
            watch,
            server,
        }
    }

    /// What the start waits for.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The host under watch.
    pub(crate) fn watch(&self) -> &HostWatch {
        &self.watch
    }

    /// The daemon is ready: everything can be asked from now on. The server goes
    /// on as one of `servers`.
    pub(crate) async fn ready(mut self, ready: Ready, servers: &mut JoinSet<anyhow::Result<()>>) {
        // Nobody else sets it.
        drop(self.ready.set(ready));
        set_health(&self.health, ServingStatus::Serving).await;
        servers.spawn(async move {
            match self.server.join_next().await {
                Some(ended) => ended.context("the operators' server has died")?,
                None => Ok(()),
            }
        });
    }
}

async fn set_health(health: &HealthReporter, status: ServingStatus) {
    let name = <OperatorServer<OperatorService> as tonic::server::NamedService>::NAME;
    for service in [OVERALL, name] {
        health.set_service_status(service, status).await;
    }
}
