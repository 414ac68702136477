//! A plain HTTP client, and a fake behind sockets that it talks to.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use veni_arm::{Arm, Config, NodeConfig, serve};

/// The version of the API that is asked by.
pub(crate) const VERSION: &str = "2024-05-01";

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

/// A fake with one machine `node`, its sockets, and a token.
pub(crate) struct Served {
    pub(crate) arm: Arm,
    endpoint: String,
    metadata: String,
    client: Client<HttpConnector, Full<Bytes>>,
    pub(crate) token: String,
    cancellation: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.cancellation.cancel();
    }
}

/// Writes that take no time.
pub(crate) fn instant() -> Config {
    Config {
        latency: Duration::ZERO,
        operation_time: Duration::ZERO,
        metadata_lag: Duration::ZERO,
        ..Config::default()
    }
}

impl Served {
    pub(crate) async fn new(config: Config) -> Self {
        Self::with(config, |_| {}).await
    }

    pub(crate) async fn with(config: Config, change: impl FnOnce(&mut NodeConfig)) -> Self {
        let arm = Arm::new(config);
        let mut node = NodeConfig::new("node", "nodes-a");
        change(&mut node);
        arm.add_node(node).expect("there is room");
        let cancellation = CancellationToken::new();
        let listen = async |machine: Option<&str>| {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("must bind");
            let address = listener.local_addr().expect("is bound");
            let machine = machine.map(str::to_owned);
            tokio::spawn(serve(arm.clone(), machine, listener, cancellation.clone()));
            format!("http://{address}")
        };
        let mut served = Self {
            endpoint: listen(None).await,
            metadata: listen(Some("node")).await,
            arm: arm.clone(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            token: String::new(),
            cancellation,
        };
        served.renew().await;
        served
    }

    /// Takes a new token, if there is one to be had.
    pub(crate) async fn renew(&mut self) {
        let path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=arm";
        let answer = self.metadata(path, &[("Metadata", "true")]).await;
        let token = answer.body["access_token"].as_str();
        self.token = token.unwrap_or_default().to_owned();
    }

    pub(crate) async fn metadata(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let url = format!("{}{path}", self.metadata);
        self.send("GET", &url, headers, Vec::new()).await
    }

    /// The path of a resource of the group, by its type and name.
    pub(crate) fn path(resource: &str) -> String {
        let group = "/subscriptions/5a0e0b7c-4d4e-4f6a-9f0d-000000000001/resourceGroups/rg";
        format!("{group}/providers/{resource}")
    }

    pub(crate) fn nic() -> String {
        Self::path("Microsoft.Network/networkInterfaces/node-nic")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_by(path, VERSION).await
    }

    pub(crate) async fn get_by(&self, path: &str, version: &str) -> Answer {
        let url = format!("{}{path}?api-version={version}", self.endpoint);
        self.authorized("GET", &url, &[], Vec::new()).await
    }

    /// Follows a URL of an answer, which says https as ARM's do.
    pub(crate) async fn follow(&self, url: &str) -> Answer {
        let plain = url.replacen("https://", "http://", 1);
        self.authorized("GET", &plain, &[], Vec::new()).await
    }

    pub(crate) async fn put(&self, body: &Value, etag: Option<&str>) -> Answer {
        self.put_by(body, etag, VERSION).await
    }

    pub(crate) async fn put_by(&self, body: &Value, etag: Option<&str>, version: &str) -> Answer {
        let url = format!("{}{}?api-version={version}", self.endpoint, Self::nic());
        let headers: Vec<(&str, &str)> = etag.map(|etag| ("If-Match", etag)).into_iter().collect();
        let body = body.to_string().into_bytes();
        self.authorized("PUT", &url, &headers, body).await
    }

    /// Any request, with no more than it says.
    pub(crate) async fn bare(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let url = format!("{}{path}", self.endpoint);
        self.send(method, &url, headers, Vec::new()).await
    }

    async fn authorized(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        self.send(method, url, &all, body).await
    }

    async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body)).expect("a request");
        let response = self.client.request(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        }
    }
}
