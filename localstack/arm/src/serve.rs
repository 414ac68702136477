//! The ARM and a machine's instance metadata over HTTP.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{self, HeaderMap, Method, Uri};
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::arm::Arm;
use crate::message::{Request, Response};

/// Serves the ARM on a listener, or the instance metadata of a machine where one is named,
/// until it is cancelled. It speaks HTTP without TLS. The URLs in its answers say https, as
/// ARM's do: a client that calls it by http calls those by http as well.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    arm: Arm,
    machine: Option<String>,
    listener: TcpListener,
    cancellation: CancellationToken,
) -> io::Result<()> {
    let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        let (arm, machine) = (arm.clone(), machine.clone());
        async move {
            let request = request(&method, &uri, &headers, &body);
            let answer = match &machine {
                Some(machine) => arm.handle_metadata(machine, &request).await,
                None => arm.handle(&request).await,
            };
            http_response(answer)
        }
    };
    let router = Router::new().fallback(answer);
    axum::serve(listener, router)
        .with_graceful_shutdown(cancellation.cancelled_owned())
        .await
}

/// Serves the instance metadata of all machines on a listener until it is cancelled. Who asks
/// is known by its address, which must be the primary one of a machine's NIC: others are not
/// answered, as in Azure.
///
/// # Errors
/// The listener failed.
pub async fn serve_metadata(
    arm: Arm,
    listener: TcpListener,
    cancellation: CancellationToken,
) -> io::Result<()> {
    let answer = move |ConnectInfo(caller): ConnectInfo<SocketAddr>,
                       method: Method,
                       uri: Uri,
                       headers: HeaderMap,
                       body: Bytes| {
        let arm = arm.clone();
        async move {
            let machine = match caller.ip().to_canonical() {
                IpAddr::V4(address) => arm.machine_at(address),
                IpAddr::V6(_) => None,
            };
            let request = request(&method, &uri, &headers, &body);
            http_response(match machine {
                Some(machine) => arm.handle_metadata(&machine, &request).await,
                None => None,
            })
        }
    };
    let router = Router::new().fallback(answer);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(cancellation.cancelled_owned())
        .await
}

fn request(method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Request {
    let headers: BTreeMap<String, String> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect();
    Request {
        method: method.to_string(),
        host: headers.get("host").cloned().unwrap_or_default(),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers,
        body: body.to_vec(),
    }
}

/// An answer that is lost breaks off within its body: the connection is useless then.
fn http_response(answer: Option<Response>) -> http::Response<Body> {
    let Some(answer) = answer else {
        let lost = futures::stream::once(async { Err::<Bytes, _>(io::Error::other("lost")) });
        return Body::from_stream(lost).into_response();
    };
    let mut response = http::Response::new(Body::from(answer.body));
    *response.status_mut() =
        http::StatusCode::from_u16(answer.status).unwrap_or(http::StatusCode::IM_A_TEAPOT);
    for (name, value) in answer.headers {
        let name = http::HeaderName::try_from(name);
        let value = http::HeaderValue::try_from(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
