//! A daemon's operators' service made of canned answers, in which every name that
//! a pod, a cloud or a host can choose is hostile.

use std::path::Path;
use std::pin::Pin;

use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};
use veni_api::v1::operator_server::{Operator, OperatorServer};
use veni_api::v1::{
    Attachment, CheckNodeRequest, CheckNodeResponse, Endpoint, EndpointsRequest, EndpointsResponse,
    Event, EventsRequest, Finding, LogLevelRequest, LogLevelResponse, PlanAction, PlanRequest,
    PlanResponse, Pod, PoolInterface, PoolRequest, PoolResponse, PoolSubnet, Setting,
    SettingsRequest, SettingsResponse,
};

/// Clears the screen, begins a line of its own, turns the order round.
pub(crate) const HOSTILE: &str = "a\u{1b}[2J\nForged: 0\tb\u{202e}c";

/// The daemon. Ends with the value.
pub(crate) struct Node {
    folder: TempDir,
    server: JoinHandle<()>,
}

impl Node {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("operator.sock")).unwrap();
        let serving = tonic::transport::Server::builder()
            .add_service(OperatorServer::new(Canned))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let server = tokio::spawn(async move { serving.await.unwrap() });
        Self { folder, server }
    }

    pub(crate) fn socket(&self) -> String {
        let folder: &Path = self.folder.path();
        folder.join("operator.sock").display().to_string()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Canned;

fn hostile() -> String {
    HOSTILE.to_owned()
}

fn endpoint(name: &str) -> Endpoint {
    Endpoint {
        attachment: Some(Attachment::default()),
        pod: Some(Pod {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            uid: hostile(),
        }),
        addresses: vec!["10.0.0.7/32".to_owned()],
        host_interface: hostile(),
        cloud_interface: hostile(),
        state: "ready".to_owned(),
        ..Endpoint::default()
    }
}

#[tonic::async_trait]
impl Operator for Canned {
    type EventsStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn pool(&self, _: Request<PoolRequest>) -> Result<Response<PoolResponse>, Status> {
        let interface = PoolInterface {
            id: hostile(),
            link: hostile(),
            subnet: hostile(),
            state: hostile(),
            ..PoolInterface::default()
        };
        let subnet = PoolSubnet {
            id: hostile(),
            exhausted: hostile(),
            ..PoolSubnet::default()
        };
        Ok(Response::new(PoolResponse {
            node: hostile(),
            node_name: hostile(),
            provider: hostile(),
            instance_type: hostile(),
            daemon_version: hostile(),
            targets: vec![hostile()],
            cloud_error: hostile(),
            host_warnings: vec![hostile()],
            log_level: hostile(),
            interfaces: vec![interface],
            subnets: vec![subnet],
            ..PoolResponse::default()
        }))
    }

    async fn endpoints(
        &self,
        _: Request<EndpointsRequest>,
    ) -> Result<Response<EndpointsResponse>, Status> {
        let endpoints = vec![endpoint(HOSTILE), endpoint("web-0")];
        Ok(Response::new(EndpointsResponse { endpoints }))
    }

    async fn plan(&self, _: Request<PlanRequest>) -> Result<Response<PlanResponse>, Status> {
        let action = PlanAction {
            action: hostile(),
            reason: hostile(),
            in_flight: true,
        };
        Ok(Response::new(PlanResponse {
            actions: vec![action],
            notes: vec![hostile()],
            held_back: vec![hostile()],
        }))
    }

    async fn settings(
        &self,
        _: Request<SettingsRequest>,
    ) -> Result<Response<SettingsResponse>, Status> {
        let setting = Setting {
            name: "VENI_NODE_NAME".to_owned(),
            value: hostile(),
            source: "environment".to_owned(),
            why: hostile(),
            ..Setting::default()
        };
        let settings = vec![setting];
        Ok(Response::new(SettingsResponse { settings }))
    }

    async fn events(
        &self,
        request: Request<EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let past = tokio_stream::iter([Ok(Event {
            kind: hostile(),
            message: hostile(),
            ..Event::default()
        })]);
        match request.into_inner().ends {
            true => Ok(Response::new(Box::pin(past))),
            // Nothing more happens here.
            false => Ok(Response::new(Box::pin(past.chain(tokio_stream::pending())))),
        }
    }

    async fn check_node(
        &self,
        _: Request<CheckNodeRequest>,
    ) -> Result<Response<CheckNodeResponse>, Status> {
        let finding = Finding {
            kind: hostile(),
            what: hostile(),
            breaks: hostile(),
            cure: hostile(),
            mended_by_daemon: false,
        };
        Ok(Response::new(CheckNodeResponse {
            findings: vec![finding.clone()],
            mended: vec![finding],
            unchecked: vec![hostile()],
            ..CheckNodeResponse::default()
        }))
    }

    async fn log_level(
        &self,
        _: Request<LogLevelRequest>,
    ) -> Result<Response<LogLevelResponse>, Status> {
        Ok(Response::new(LogLevelResponse {
            in_force: hostile(),
            configured: hostile(),
            subsystems: vec![hostile()],
        }))
    }
}
