//! What can be looked at over HTTP: metrics for Prometheus on an address of
//! their own, and the pool and the settings as JSON, under the AWS plugin's
//! paths and names, for people and scripts on the node.

mod enis;
mod serving;
mod settings;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::config::{CustomNetworkSettings, IntrospectionAddress, Setting};
use crate::endpoints::Endpoints;
use crate::eni_config::{EniConfigError, EniConfigs, Place};
use crate::host::HostWatch;
use crate::metrics::Metrics;
use crate::metrics::exposition::CONTENT_TYPE;
use crate::pool::Pool;
use serving::{Served, keep_serving};

/// The paths of the AWS plugin.
const PATHS: [&str; 4] = [
    "/v1/enis",
    "/v1/eni-configs",
    "/v1/networkutils-env-settings",
    "/v1/ipamd-env-settings",
];

/// Metrics, for messages.
const METRICS: Served = Served {
    what: "metrics",
    address: "VENI_METRICS_ADDRESS",
    disable: "DISABLE_METRICS=true",
};
/// The AWS plugin's paths, for messages.
const INTROSPECTION: Served = Served {
    what: "introspection answers",
    address: "INTROSPECTION_BIND_ADDRESS",
    disable: "DISABLE_INTROSPECTION=true",
};

/// Serves `/metrics` until `shutdown`. While the address is taken the node is
/// without metrics, not without pods.
pub(crate) async fn serve_metrics(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    watch: HostWatch,
    shutdown: CancellationToken,
) {
    let answer = move || {
        let metrics = Arc::clone(&metrics);
        async move {
            match metrics.text() {
                Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
    };
    let router = Router::new().route("/metrics", get(answer));
    let address = IntrospectionAddress::Tcp(address);
    keep_serving(METRICS, address, router, watch, shutdown).await;
}

/// What introspection shows.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) pool: Pool,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) settings: Vec<Setting>,
    pub(crate) custom: Option<CustomNetworkSettings>,
    pub(crate) place: Place,
}

/// Serves the AWS plugin's paths until `shutdown`, with the same patience about
/// an address that is taken.
pub(crate) async fn serve(
    address: IntrospectionAddress,
    shown: Shown,
    watch: HostWatch,
    shutdown: CancellationToken,
) {
    keep_serving(INTROSPECTION, address, router(shown), watch, shutdown).await;
}

fn router(shown: Shown) -> Router {
    let network = settings::of_network(&shown.settings);
    let ipamd = settings::of_ipamd(&shown.settings);
    let (custom, place) = (shown.custom.clone(), shown.place.clone());
    let list = || json!({ "AvailableCommands": PATHS });
    let [enis_path, configs_path, network_path, ipamd_path] = PATHS;
    Router::new()
        .route("/", get(async move || Json(list())))
        .route(enis_path, get(async move || enis(&shown).await))
        .route(
            configs_path,
            get(async move || eni_config(custom, place).await),
        )
        .route(network_path, get(async move || Json(network)))
        .route(ipamd_path, get(async move || Json(ipamd)))
        .fallback(async move || (StatusCode::NOT_FOUND, Json(list())))
}

async fn enis(shown: &Shown) -> Response {
    match shown.pool.report().await {
        Some(report) => {
            let endpoints: Vec<_> = shown.endpoints.list();
            let endpoints = endpoints.iter().map(|record| record.report()).collect();
            Json(enis::of(&report, endpoints)).into_response()
        }
        None => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is shutting down",
        ),
    }
}

/// The name of the node's ENIConfig, as in the AWS plugin.
async fn eni_config(custom: Option<CustomNetworkSettings>, place: Place) -> Response {
    let Some(custom) = custom else {
        return refusal(StatusCode::NOT_FOUND, "custom networking is off");
    };
    // Reads files.
    let found = tokio::task::spawn_blocking(move || {
        let (choice, _) = EniConfigs::try_new(&custom)?.of_node(&place)?;
        Ok::<_, EniConfigError>(choice.name)
    });
    match found.await {
        Ok(Ok(name)) => Json(name).into_response(),
        Ok(Err(error)) => refusal(StatusCode::NOT_FOUND, &error.to_string()),
        Err(_) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed to read the files",
        ),
    }
}

fn refusal(status: StatusCode, reason: &str) -> Response {
    let body: Json<Value> = Json(json!({ "error": reason }));
    (status, body).into_response()
}

#[cfg(test)]
mod tests;
