//! Connections: HTTP/1.1 on accepted streams, and how far an answer travels.
//!
//! The answer to a request for a token leaves with the instance's hop limit as its
//! packets' time to live, so a router drops it when it is forwarded too often. All
//! other answers leave with the system's default.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderValue, SERVER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::net::sockopt::{ip_ttl, set_ip_ttl, set_ipv6_unicast_hops};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::exchange::{Answer, LIFE};
use super::service::Service;

/// The `Server` header of the real service.
const NAME: &str = "EC2ws";
/// Pause after a failed accept: the process may have run out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until told to stop.
pub(super) async fn serve(service: Service, listener: TcpListener, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(talk(service.clone(), stream, peer.ip()));
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection to instance metadata");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    connections.shutdown().await;
}

async fn talk(service: Service, stream: TcpStream, peer: IpAddr) {
    let reach = match Reach::of(&stream, peer) {
        Ok(reach) => Arc::new(reach),
        Err(error) => {
            tracing::warn!(%error, %peer, "failed to prepare a connection to instance metadata");
            return;
        }
    };
    let answering = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (service, reach) = (service.clone(), Arc::clone(&reach));
        async move {
            let (head, _body) = request.into_parts();
            let answer = service.answer(peer, &head).await;
            // If the hop limit cannot be set, send no token: one that travels too far would
            // break the promise of the limit.
            reach.limit(answer.hop_limit)?;
            Ok::<_, io::Error>(response(answer))
        }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answering);
    if let Err(error) = connection.await {
        tracing::debug!(%error, %peer, "a connection to instance metadata broke");
    }
}

fn response(answer: Answer) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.text));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static(NAME));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if let Some(life) = answer.token_life {
        headers.insert(LIFE, HeaderValue::from(life));
    }
    response
}

/// How many hops the packets of a connection travel.
#[derive(Debug)]
struct Reach {
    socket: OwnedFd,
    ipv4: bool,
    /// What the system gives a connection over IPv4.
    normal: u32,
}

impl Reach {
    fn of(stream: &TcpStream, peer: IpAddr) -> io::Result<Self> {
        let ipv4 = peer.to_canonical().is_ipv4();
        Ok(Self {
            socket: stream.as_fd().try_clone_to_owned()?,
            ipv4,
            normal: if ipv4 { ip_ttl(stream)? } else { 0 },
        })
    }

    fn limit(&self, hops: Option<u8>) -> io::Result<()> {
        if self.ipv4 {
            set_ip_ttl(&self.socket, hops.map_or(self.normal, u32::from))?;
        } else {
            set_ipv6_unicast_hops(&self.socket, hops)?;
        }
        Ok(())
    }
}
