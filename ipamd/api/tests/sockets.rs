//! The client's connections against real sockets: calls and streams of the
//! operators' socket, what the plugin's socket refuses, a daemon that is away.
#![allow(
    clippy::expect_used,
    reason = "a test that cannot go on says where and ends"
)]

use std::io;
use std::path::Path;
use std::pin::Pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};
use veni_api::client::{ConnectError, connect_cni, connect_operator};
use veni_api::server::incoming;
use veni_api::v1::operator_server::{Operator, OperatorServer};
use veni_api::v1::{
    CheckNodeRequest, CheckNodeResponse, EndpointsRequest, EndpointsResponse, Event, EventsRequest,
    LogLevelRequest, LogLevelResponse, PlanRequest, PlanResponse, PoolRequest, PoolResponse,
    SettingsRequest, SettingsResponse,
};

struct Daemon;

#[tonic::async_trait]
impl Operator for Daemon {
    async fn pool(&self, _: Request<PoolRequest>) -> Result<Response<PoolResponse>, Status> {
        Ok(Response::new(PoolResponse {
            node: "node-1".into(),
            ..PoolResponse::default()
        }))
    }

    async fn endpoints(
        &self,
        _: Request<EndpointsRequest>,
    ) -> Result<Response<EndpointsResponse>, Status> {
        Ok(Response::new(EndpointsResponse::default()))
    }

    async fn plan(&self, _: Request<PlanRequest>) -> Result<Response<PlanResponse>, Status> {
        Err(Status::internal("no plan"))
    }

    async fn settings(
        &self,
        _: Request<SettingsRequest>,
    ) -> Result<Response<SettingsResponse>, Status> {
        Ok(Response::new(SettingsResponse::default()))
    }

    type EventsStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn check_node(
        &self,
        _: Request<CheckNodeRequest>,
    ) -> Result<Response<CheckNodeResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn log_level(
        &self,
        _: Request<LogLevelRequest>,
    ) -> Result<Response<LogLevelResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn events(
        &self,
        _: Request<EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let events = ["one", "two"].map(|message| {
            Ok(Event {
                message: message.into(),
                ..Event::default()
            })
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(events))))
    }
}

fn serve_operators(socket: &Path) {
    let listener = UnixListener::bind(socket).expect("a socket");
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(OperatorServer::new(Daemon))
            .serve_with_incoming(UnixListenerStream::new(listener)),
    );
}

#[tokio::test]
async fn calls_errors_and_streams_share_one_connection_to_the_operators_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("operator.sock");
    serve_operators(&socket);
    let client = connect_operator(&socket).await.expect("a connection");

    let (mut first, mut second) = (client.clone(), client.clone());
    let (pool, plan) = tokio::join!(first.pool(PoolRequest {}), second.plan(PlanRequest {}));
    assert_eq!(pool.expect("the pool").into_inner().node, "node-1");
    assert_eq!(plan.expect_err("an error").message(), "no plan");

    let mut client = client;
    let events = client
        .events(EventsRequest::default())
        .await
        .expect("a stream");
    let messages: Vec<String> = events
        .into_inner()
        .map(|event| event.expect("an event").message)
        .collect()
        .await;
    assert_eq!(messages, ["one", "two"]);
}

#[tokio::test]
async fn a_daemon_that_is_away_is_told_apart_by_the_kind_of_the_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("cni.sock");
    let missing = connect_cni(&socket, None).await.expect_err("no socket");
    assert_eq!(kind(missing), io::ErrorKind::NotFound);

    drop(UnixListener::bind(&socket).expect("a socket"));
    let left = connect_cni(&socket, None).await.expect_err("no listener");
    assert_eq!(kind(left), io::ErrorKind::ConnectionRefused);
}

fn kind(error: ConnectError) -> io::ErrorKind {
    match error {
        ConnectError::Connect { source, .. } => source.kind(),
        other => panic!("another error: {other}"),
    }
}

#[tokio::test]
async fn what_speaks_another_protocol_is_refused_on_the_plugins_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("cni.sock");
    let (sender, refusals) = mpsc::channel(4);
    let listener = UnixListener::bind(&socket).expect("a socket");
    let mut admitted = incoming(listener, move |error| {
        drop(sender.try_send(error));
    });
    let mut stream = UnixStream::connect(&socket).await.expect("a connection");
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .expect("bytes are taken");
    let refusal = ReceiverStream::new(refusals)
        .next()
        .await
        .expect("a refusal");
    // Without root the user is refused before the bytes are looked at.
    assert!(
        matches!(
            refusal.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::PermissionDenied
        ),
        "{refusal}"
    );
    let mut rest = Vec::new();
    // Bytes that nobody read make the end a reset.
    if let Ok(length) = stream.read_to_end(&mut rest).await {
        assert_eq!(length, 0, "closed without an answer");
    }
    drop(stream);
    let nothing = tokio::time::timeout(std::time::Duration::from_millis(50), admitted.next());
    assert!(nothing.await.is_err(), "nothing was admitted");
}
