//! The plugin's service. Translation only; a handler holds no resource.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use veni_api::failure::{CniFailure, code};
use veni_api::server::Caller;
use veni_api::v1;
use veni_api::v1::cni_server::CniServer;

use super::port_mappings;
use crate::attachment::{AttachmentKey, PodName, mac_text};
use crate::endpoints::{AddOrder, Endpoints, PodRoute, gateways, pod_routes};
use crate::journal::endpoint::Record;

/// HTTP/2's own window, bytes: a larger one would be told to every plugin in a
/// frame of its own, for calls of a few hundred bytes.
const WINDOW: u32 = 65_535;

struct CniService {
    endpoints: Arc<Endpoints>,
}

#[tonic::async_trait]
impl v1::cni_server::Cni for CniService {
    async fn add(
        &self,
        request: Request<v1::AddRequest>,
    ) -> Result<Response<v1::AddResponse>, Status> {
        let pod: PodName = request.get_ref().pod.clone().unwrap_or_default().into();
        let order = order_of(request).inspect_err(|refused| {
            tracing::warn!(
                pod.namespace = pod.namespace,
                pod.name = pod.name,
                code = refused.code,
                error = refused.message,
                "pod not added: the request was refused"
            );
        })?;
        let record = self.endpoints.add(order).await?;
        Ok(Response::new(add_response(&record)))
    }

    async fn del(
        &self,
        request: Request<v1::DelRequest>,
    ) -> Result<Response<v1::DelResponse>, Status> {
        let namespace = namespace_of(&request);
        let key = key_of(request.into_inner().attachment)?;
        let existed = self.endpoints.delete_from(&key, namespace).await?;
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

/// What an ADD asks for.
fn order_of(request: Request<v1::AddRequest>) -> Result<AddOrder, CniFailure> {
    let namespace = namespace_of(&request).ok_or_else(|| {
        CniFailure::new(
            code::INVALID_ENVIRONMENT,
            "the pod's network namespace did not come with the request",
            "the plugin passes it in front of the connection; is it veni-cni that calls?",
        )
    })?;
    let request = request.into_inner();
    Ok(AddOrder {
        key: key_of(request.attachment)?,
        pod: request.pod.unwrap_or_default().into(),
        namespace,
        mtu: request.mtu,
        is_default_gateway: request.is_default_gateway,
        port_mappings: port_mappings::read(request.port_mappings)?,
        bandwidth: super::bandwidth::asked_for(request.bandwidth)?,
    })
}

/// The answer to the ADD that has made an endpoint.
pub fn add_response(record: &Record) -> v1::AddResponse {
    let addresses = record.cidrs().into_iter();
    let gateways = gateways(record).into_iter();
    v1::AddResponse {
        addresses: addresses.map(|cidr| cidr.to_string()).collect(),
        gateways: gateways.map(|gateway| gateway.to_string()).collect(),
        routes: pod_routes(record).into_iter().map(route).collect(),
        host_interface: record.plan.host_link.clone(),
        host_mac: mac_text(record.plan.host_mac),
        pod_mac: mac_text(record.plan.pod_mac),
        mtu: record.plan.mtu,
        cloud_interface: record.cloud_interface.clone(),
    }
}

fn route(route: PodRoute) -> v1::Route {
    v1::Route {
        destination: route.destination.to_string(),
        gateway: route
            .gateway
            .map_or_else(String::new, |hop| hop.to_string()),
        table: route.table,
        priority: route.priority,
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
