//! The pool and the settings as JSON over HTTP, under the AWS plugin's paths and names,
//! for people and scripts on the node.

mod enis;
mod pods;
mod settings;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::http::{Served, keep_serving};
use crate::cluster::{Cluster, Place};
use crate::config::{CustomNetworkSettings, EffectiveSetting, IntrospectionAddress};
use crate::endpoints::Endpoints;
use crate::host::HostWatch;
use crate::journal::endpoint::Record;
use crate::pool::{Pool, PoolReport};

/// The paths of the AWS plugin, and one that it once had.
const PATHS: [&str; 5] = [
    "/v1/enis",
    "/v1/pods",
    "/v1/eni-configs",
    "/v1/networkutils-env-settings",
    "/v1/ipamd-env-settings",
];

/// The AWS plugin's paths, for messages.
const INTROSPECTION: Served = Served {
    what: "introspection answers",
    address: "INTROSPECTION_BIND_ADDRESS",
    disable: "DISABLE_INTROSPECTION=true",
};

/// What introspection shows.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) pool: Pool,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) settings: Vec<EffectiveSetting>,
    pub(crate) custom: Option<CustomNetworkSettings>,
    pub(crate) place: Place,
    pub(crate) cluster: Cluster,
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
    let (of_configs, of_pods) = (shown.clone(), shown.clone());
    let list = || json!({ "AvailableCommands": PATHS });
    let [enis_path, pods_path, configs_path, network_path, ipamd_path] = PATHS;
    Router::new()
        .route("/", get(async move || Json(list())))
        .route(enis_path, get(async move || enis(&shown).await))
        .route(pods_path, get(async move || pods(&of_pods).await))
        .route(configs_path, get(async move || eni_config(&of_configs)))
        .route(network_path, get(async move || Json(network)))
        .route(ipamd_path, get(async move || Json(ipamd)))
        .fallback(async move || (StatusCode::NOT_FOUND, Json(list())))
}

async fn enis(shown: &Shown) -> Response {
    of_pool(shown, enis::of).await
}

async fn pods(shown: &Shown) -> Response {
    of_pool(shown, pods::of).await
}

async fn of_pool(shown: &Shown, answer: fn(&PoolReport, &[Record]) -> Value) -> Response {
    match shown.pool.report().await {
        Some(report) => Json(answer(&report, &shown.endpoints.list())).into_response(),
        None => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is shutting down",
        ),
    }
}

/// The name of the node's ENIConfig, as in the AWS plugin.
fn eni_config(shown: &Shown) -> Response {
    let Some(custom) = &shown.custom else {
        return refusal(StatusCode::NOT_FOUND, "custom networking is off");
    };
    match shown.cluster.view().eni_config(custom, &shown.place) {
        Ok((choice, _)) => Json(choice.name).into_response(),
        Err(error) => refusal(StatusCode::NOT_FOUND, &error.to_string()),
    }
}

fn refusal(status: StatusCode, reason: &str) -> Response {
    let body: Json<Value> = Json(json!({ "error": reason }));
    (status, body).into_response()
}

#[cfg(test)]
mod tests;
