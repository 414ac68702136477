//! The two services: what the plugin and what operators ask. Translation only;
//! a handler holds no resource.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context;
use futures::Stream;
use tokio::net::UnixListener;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{BroadcastStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use veni_api::failure::{CniFailure, code};
use veni_api::server::Caller;
use veni_api::v1;
use veni_api::v1::cni_server::CniServer;
use veni_api::v1::operator_server::OperatorServer;

use crate::attachment::AttachmentKey;
use crate::config::Setting;
use crate::endpoints::{AddOrder, Endpoints};
use crate::events::Events;
use crate::host::HostWatch;
use crate::pool::Pool;

/// HTTP/2's own window, bytes: a larger one would be told to every plugin in a
/// frame of its own, for calls of a few hundred bytes.
const WINDOW: u32 = 65_535;

/// The plugin's service.
pub struct CniService {
    /// Endpoints.
    pub endpoints: Arc<Endpoints>,
}

#[tonic::async_trait]
impl v1::cni_server::Cni for CniService {
    async fn add(
        &self,
        request: Request<v1::AddRequest>,
    ) -> Result<Response<v1::AddResponse>, Status> {
        let namespace = namespace_of(&request).ok_or_else(|| {
            CniFailure::new(
                code::INVALID_ENVIRONMENT,
                "the pod's network namespace did not come with the request",
                "the plugin passes it in front of the connection; is it veni-cni that calls?",
            )
        })?;
        let request = request.into_inner();
        let order = AddOrder {
            key: key_of(request.attachment)?,
            pod: request.pod.unwrap_or_default().into(),
            namespace,
            mtu: request.mtu,
        };
        let record = self.endpoints.add(order).await?;
        Ok(Response::new(record.response()))
    }

    async fn del(
        &self,
        request: Request<v1::DelRequest>,
    ) -> Result<Response<v1::DelResponse>, Status> {
        let key = key_of(request.into_inner().attachment)?;
        let existed = self.endpoints.delete(&key).await?;
        Ok(Response::new(v1::DelResponse { existed }))
    }

    async fn check(
        &self,
        request: Request<v1::CheckRequest>,
    ) -> Result<Response<v1::CheckResponse>, Status> {
        let namespace = namespace_of(&request);
        let request = request.into_inner();
        let key = key_of(request.attachment)?;
        let differences = self
            .endpoints
            .check(&key, &request.expected_addresses, namespace)
            .await?;
        Ok(Response::new(v1::CheckResponse { differences }))
    }

    async fn gc(
        &self,
        request: Request<v1::GcRequest>,
    ) -> Result<Response<v1::GcResponse>, Status> {
        let request = request.into_inner();
        if request.network.is_empty() {
            return Err(invalid("the network's name is empty").into());
        }
        let valid: HashSet<(String, String)> = request
            .valid
            .into_iter()
            .map(|attachment| (attachment.container_id, attachment.interface_name))
            .collect();
        let released = self
            .endpoints
            .collect_garbage(&request.network, &valid)
            .await?;
        Ok(Response::new(v1::GcResponse { released }))
    }

    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        // The socket is only served once the daemon is ready. An exhausted pool
        // or an unreachable cloud must not make the node NotReady.
        Ok(Response::new(v1::StatusResponse {
            daemon_version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }
}

fn namespace_of<T>(request: &Request<T>) -> Option<OwnedFd> {
    request.extensions().get::<Caller>()?.take_namespace()
}

/// The attachment of a request; an empty part would mix up containers.
fn key_of(attachment: Option<v1::Attachment>) -> Result<AttachmentKey, CniFailure> {
    let key: AttachmentKey = attachment.unwrap_or_default().into();
    let parts = [
        ("network", &key.network),
        ("container id", &key.container_id),
        ("interface name", &key.interface_name),
    ];
    let missing: Vec<&str> = parts
        .iter()
        .filter(|(_, text)| text.is_empty())
        .map(|(part, _)| *part)
        .collect();
    if missing.is_empty() {
        Ok(key)
    } else {
        Err(invalid(&format!(
            "the attachment has no {}",
            missing.join(" and no ")
        )))
    }
}

fn invalid(message: &str) -> CniFailure {
    CniFailure::new(
        code::INVALID_ENVIRONMENT,
        message,
        "the runtime must pass it; see the CNI specification",
    )
}

/// The operators' service.
pub struct OperatorService {
    /// Pool.
    pub pool: Pool,
    /// Endpoints.
    pub endpoints: Arc<Endpoints>,
    /// Events.
    pub events: Events,
    /// The host.
    pub watch: HostWatch,
    /// Settings in force.
    pub settings: Vec<Setting>,
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
        let mut report = self.pool.report().await.ok_or_else(closing)?;
        let labels = self.endpoints.labels();
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
        report.host_warnings = tokio::task::spawn_blocking(move || watch.warnings())
            .await
            .unwrap_or_default();
        Ok(Response::new(report))
    }

    async fn endpoints(
        &self,
        _request: Request<v1::EndpointsRequest>,
    ) -> Result<Response<v1::EndpointsResponse>, Status> {
        let records = self.endpoints.list();
        let endpoints = records.iter().map(|record| record.report()).collect();
        Ok(Response::new(v1::EndpointsResponse { endpoints }))
    }

    async fn plan(
        &self,
        _request: Request<v1::PlanRequest>,
    ) -> Result<Response<v1::PlanResponse>, Status> {
        let plan = self.pool.plan().await.ok_or_else(closing)?;
        Ok(Response::new(plan))
    }

    async fn settings(
        &self,
        _request: Request<v1::SettingsRequest>,
    ) -> Result<Response<v1::SettingsResponse>, Status> {
        let settings = self.settings.iter().map(Setting::report).collect();
        Ok(Response::new(v1::SettingsResponse { settings }))
    }

    async fn events(
        &self,
        _request: Request<v1::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        // A reader that falls behind is told so by an error and may come again.
        let stream = BroadcastStream::new(self.events.subscribe()).map(|event| {
            event.map_err(|lagged| Status::data_loss(format!("events were missed: {lagged}")))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

/// Serves the plugin's socket until `shutdown`.
pub(crate) async fn serve_cni(
    listener: UnixListener,
    endpoints: Arc<Endpoints>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let incoming = veni_api::server::incoming(listener, |error| {
        tracing::warn!(%error, "refused a connection to the plugin's socket");
    });
    tonic::transport::Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(CniServer::new(CniService { endpoints }))
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
        .await
        .context("failed to serve the plugin's socket")
}

/// Serves the operators' socket and health probes until `shutdown`.
pub(crate) async fn serve_operator(
    listener: UnixListener,
    service: OperatorService,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_serving::<OperatorServer<OperatorService>>()
        .await;
    let incoming = UnixListenerStream::new(listener);
    tonic::transport::Server::builder()
        .add_service(health_service)
        .add_service(OperatorServer::new(service))
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
        .await
        .context("failed to serve the operators' socket")
}
