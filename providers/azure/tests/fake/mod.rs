//! The fake Resource Manager as a cloud for tests: in this process, without a socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request, StatusCode};
use veni_arm::{Arm, Config, Fault, FaultKind, Matcher, NodeConfig};
use veni_provider::conformance::{Fixture, TestNode};
use veni_provider::{InterfaceId, Operation, SubnetId};
use veni_provider_azure::{AzureProvider, AzureSettings};

/// The subnet of all nodes.
pub(crate) const SUBNET: &str = "nodes-a";

/// Carries requests of one machine to the fake.
#[derive(Debug)]
pub(crate) struct InProcess {
    pub(crate) arm: Arm,
    pub(crate) machine: String,
}

#[async_trait]
impl HttpClient for InProcess {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let url = request.url();
        let headers: BTreeMap<String, String> = request
            .headers()
            .iter()
            .map(|(name, value)| {
                (
                    name.as_str().to_ascii_lowercase(),
                    value.as_str().to_owned(),
                )
            })
            .collect();
        let body = match request.body() {
            Body::Bytes(bytes) => bytes.to_vec(),
            Body::SeekableStream(_) => Vec::new(),
        };
        let host = url.host_str().unwrap_or_default().to_owned();
        let asked = veni_arm::Request {
            method: request.method().to_string(),
            host: host.clone(),
            path: url.path().to_owned(),
            query: url.query().unwrap_or_default().to_owned(),
            headers,
            body,
        };
        let answer = match host.as_str() {
            "169.254.169.254" => self.arm.handle_metadata(&self.machine, &asked).await,
            _ => self.arm.handle(&asked).await,
        };
        let broke = || azure_core::Error::with_message(ErrorKind::Io, "the connection broke");
        let answer = answer.ok_or_else(broke)?;
        let mut headers = Headers::new();
        for (name, value) in answer.headers {
            headers.insert(HeaderName::from(name.to_ascii_lowercase()), value);
        }
        let status = StatusCode::from(answer.status);
        Ok(AsyncRawResponse::from_bytes(status, headers, answer.body))
    }
}

/// A cloud in this process. Each test has one of its own.
pub(crate) struct Cloud {
    pub(crate) arm: Arm,
    nodes: AtomicU32,
}

#[allow(
    dead_code,
    reason = "each test binary has its own copy of this module and uses a part of it"
)]
impl Cloud {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            arm: Arm::new(config),
            nodes: AtomicU32::new(0),
        }
    }

    /// Makes a machine, and returns its name and its NIC's.
    pub(crate) fn machine(&self, change: impl FnOnce(&mut NodeConfig)) -> (String, String) {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        let mut node = NodeConfig::new(&format!("node-{number}"), SUBNET);
        change(&mut node);
        let names = (node.name.clone(), format!("{}-nic", node.name));
        self.arm.add_node(node).expect("there is room");
        names
    }

    /// What a provider of a machine is told.
    pub(crate) fn settings(&self, machine: &str) -> AzureSettings {
        let transport = InProcess {
            arm: self.arm.clone(),
            machine: machine.to_owned(),
        };
        AzureSettings {
            transport: Some(Arc::new(transport)),
            ..AzureSettings::default()
        }
    }

    /// A provider on a machine of its own.
    pub(crate) async fn provider(&self) -> AzureProvider {
        let (machine, _) = self.machine(|_| {});
        let provider = AzureProvider::connect(self.settings(&machine)).await;
        provider.expect("must connect")
    }

    pub(crate) fn subnet(&self) -> SubnetId {
        SubnetId::new(self.arm.subnet_id(SUBNET))
    }
}

#[async_trait]
impl Fixture for Cloud {
    async fn node(&self) -> TestNode {
        TestNode {
            provider: Arc::new(self.provider().await),
            subnet: self.subnet(),
        }
    }

    async fn neighbour(&self, _: &TestNode) -> Option<TestNode> {
        Some(self.node().await)
    }

    fn unknown_interface(&self) -> InterfaceId {
        let group = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network";
        InterfaceId::new(format!("{group}/networkInterfaces/of-nobody"))
    }

    async fn fill(&self, _: &SubnetId, leave_free: u32) -> bool {
        self.arm.fill(SUBNET, leave_free).is_ok()
    }

    async fn fragment(&self, _: &SubnetId) -> bool {
        self.arm.fragment(SUBNET).is_ok()
    }

    async fn lose_answer(&self, _: &TestNode, operation: Operation) -> bool {
        // Every change of a NIC is a PUT.
        let of = Matcher::new("PUT", "networkInterfaces");
        self.arm.inject(Fault::next(of, FaultKind::LoseAnswer));
        operation.mutates()
    }

    async fn finish(&self, node: TestNode) {
        drop(node);
    }
}
