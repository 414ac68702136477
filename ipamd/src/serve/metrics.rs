//! Metrics over HTTP, on an address of their own.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::http::{Served, keep_serving};
use crate::config::IntrospectionAddress;
use crate::host::HostWatch;
use crate::metrics::exposition;
use crate::node_metrics::Sampler;
use crate::pool::Pool;

/// For messages.
const METRICS: Served = Served {
    what: "metrics",
    address: "VENI_METRICS_ADDRESS",
    disable: "DISABLE_METRICS=true",
};

/// What is asked when metrics are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) registry: Arc<Registry>,
    pub(crate) sampler: Sampler,
    pub(crate) pool: Pool,
}

/// Serves `/metrics` until `shutdown`. While the address is taken the node is
/// without metrics, not without pods.
pub(crate) async fn serve(
    address: SocketAddr,
    asked: Asked,
    watch: HostWatch,
    shutdown: CancellationToken,
) {
    let answer = move || {
        let asked = asked.clone();
        async move {
            asked.sampler.sample(&asked.pool).await;
            match exposition::text(&asked.registry) {
                Ok(text) => {
                    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()
                }
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
    };
    let router = Router::new().route("/metrics", get(answer));
    let address = IntrospectionAddress::Tcp(address);
    keep_serving(METRICS, address, router, watch, shutdown).await;
}
