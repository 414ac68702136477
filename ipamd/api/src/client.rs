//! Connections to the daemon, for the plugin and the operator's tool.
//!
//! gRPC runs directly on one HTTP/2 connection. tonic's own channel would put
//! reconnection, a buffer task and load balancing in front of it; the plugin
//! makes one call in its life, and every task and allocation counts there.

use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, sendmsg,
};
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};

use crate::preamble;
use crate::v1::cni_client::CniClient;
use crate::v1::operator_client::OperatorClient;

/// Authority of every request; a unix socket has none of its own.
pub const ORIGIN: &str = "http://localhost";

/// Bytes in flight without an acknowledgement (RFC 9113, 6.9.2).
const WINDOW: u32 = 65_535;

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket does not answer.
    #[error("failed to connect to {path}")]
    Connect {
        /// The socket.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// The preamble could not be sent.
    #[error("failed to pass the pod's namespace to {path}")]
    Preamble {
        /// The socket.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// gRPC did not start on the connection.
    #[error("failed to start grpc on {path}")]
    Grpc {
        /// The socket.
        path: String,
        /// The reason.
        source: hyper::Error,
    },
}

/// One HTTP/2 connection to the daemon. It is not made again when it breaks:
/// every later call on it fails.
#[derive(Debug, Clone)]
pub struct Connection {
    requests: SendRequest<Body>,
}

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.requests.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.requests.send_request(request))
    }
}

/// Connects to the plugin's socket, with the pod's namespace in front where
/// the command has one.
///
/// Never waits: a socket whose queue is full is an error of kind `WouldBlock`.
///
/// # Errors
/// See [`ConnectError`]; a daemon that is down is `Connect`.
pub async fn connect_cni(
    socket: &Path,
    namespace: Option<BorrowedFd<'_>>,
) -> Result<CniClient<Connection>, ConnectError> {
    let stream = open(socket)?;
    send_preamble(&stream, namespace).map_err(|source| ConnectError::Preamble {
        path: socket.display().to_string(),
        source,
    })?;
    let connection = start_grpc(stream, socket).await?;
    Ok(CniClient::with_origin(
        connection,
        http::Uri::from_static(ORIGIN),
    ))
}

/// Connects to the operators' socket. Never waits.
///
/// # Errors
/// See [`ConnectError`]; a daemon that is down is `Connect`.
pub async fn connect_operator(socket: &Path) -> Result<OperatorClient<Connection>, ConnectError> {
    Ok(OperatorClient::with_origin(
        connect(socket).await?,
        http::Uri::from_static(ORIGIN),
    ))
}

/// Connects to a socket for another service than the two of this contract
/// (gRPC health on the operators' socket); its client needs [`ORIGIN`]. Never waits.
///
/// # Errors
/// See [`ConnectError`]; a daemon that is down is `Connect`.
pub async fn connect(socket: &Path) -> Result<Connection, ConnectError> {
    start_grpc(open(socket)?, socket).await
}

/// A non-blocking stream from the start: a blocking connect would wait without
/// end for a daemon that has stopped accepting.
fn open(socket: &Path) -> Result<StdUnixStream, ConnectError> {
    let connect = || {
        let stream = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?)?;
        Ok(StdUnixStream::from(stream))
    };
    connect().map_err(|source: io::Error| ConnectError::Connect {
        path: socket.display().to_string(),
        source,
    })
}

fn send_preamble(stream: &StdUnixStream, namespace: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let bytes = preamble::encode(namespace.is_some());
    let descriptors: Vec<BorrowedFd<'_>> = namespace.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let sent = sendmsg(
        stream,
        &[IoSlice::new(&bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

async fn start_grpc(stream: StdUnixStream, socket: &Path) -> Result<Connection, ConnectError> {
    let path = || socket.display().to_string();
    let stream = UnixStream::from_std(stream).map_err(|source| ConnectError::Connect {
        path: path(),
        source,
    })?;
    let (requests, driver) = http2::Builder::new(TokioExecutor::new())
        // HTTP/2's own windows: larger ones would be told in frames of their own,
        // and cost both ends of a call that fits into one packet.
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|source| ConnectError::Grpc {
            path: path(),
            source,
        })?;
    // Ends when the last sender is dropped; what breaks it also fails the call.
    tokio::spawn(async move { drop(driver.await) });
    Ok(Connection { requests })
}
