//! As much of the Container Runtime Interface as a kubelet needs for a pod's
//! network. Field numbers are those of `runtime.v1` in k8s.io/cri-api.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// The kubelet's own deadline is four minutes; a test has less patience.
const DEADLINE: Duration = Duration::from_secs(90);

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SandboxMetadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) uid: String,
    #[prost(string, tag = "3")]
    pub(crate) namespace: String,
    #[prost(uint32, tag = "4")]
    pub(crate) attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PortMapping {
    /// 0 is TCP.
    #[prost(int32, tag = "1")]
    pub(crate) protocol: i32,
    #[prost(int32, tag = "2")]
    pub(crate) container_port: i32,
    #[prost(int32, tag = "3")]
    pub(crate) host_port: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LinuxSandboxConfig {
    #[prost(string, tag = "1")]
    pub(crate) cgroup_parent: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SandboxConfig {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<SandboxMetadata>,
    #[prost(string, tag = "2")]
    pub(crate) hostname: String,
    #[prost(string, tag = "3")]
    pub(crate) log_directory: String,
    #[prost(message, repeated, tag = "5")]
    pub(crate) port_mappings: Vec<PortMapping>,
    #[prost(map = "string, string", tag = "6")]
    pub(crate) labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "7")]
    pub(crate) annotations: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    pub(crate) linux: Option<LinuxSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<SandboxConfig>,
}

/// Requests and answers that hold nothing but an id.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct SandboxNetwork {
    #[prost(string, tag = "1")]
    ip: String,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxStatus {
    #[prost(string, tag = "1")]
    id: String,
    /// 0 is ready.
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(message, optional, tag = "5")]
    network: Option<SandboxNetwork>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<SandboxStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    sandbox: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<SandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ExecRequest {
    #[prost(string, tag = "1")]
    container: String,
    #[prost(string, repeated, tag = "2")]
    command: Vec<String>,
    /// Seconds.
    #[prost(int64, tag = "3")]
    timeout: i64,
}

/// What a command in a container has said.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Executed {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) stdout: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) stderr: Vec<u8>,
    #[prost(int32, tag = "3")]
    pub(crate) exit_code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeCondition {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bool, tag = "2")]
    status: bool,
    #[prost(string, tag = "4")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<RuntimeCondition>,
}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<RuntimeStatus>,
}

/// A kubelet's connection to its runtime.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    channel: Channel,
}

impl Runtime {
    /// Connects lazily, and again whenever the runtime was restarted.
    pub(crate) fn new(socket: &Path) -> Self {
        let socket: PathBuf = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel =
            Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Self { channel }
    }

    /// Whether the runtime says that its network is ready, and what else it says.
    pub(crate) async fn network_ready(&self) -> Result<(), String> {
        let status: StatusResponse = self
            .call("Status", Nothing {})
            .await
            .map_err(|status| status.to_string())?;
        let conditions = status.status.unwrap_or_default().conditions;
        let network = conditions
            .into_iter()
            .find(|one| one.kind == "NetworkReady");
        match network {
            Some(condition) if condition.status => Ok(()),
            other => Err(format!("the network is not ready: {other:?}")),
        }
    }

    /// Makes a sandbox; its id.
    pub(crate) async fn run_sandbox(&self, config: &SandboxConfig) -> Result<String, Status> {
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
        };
        let id: Id = self.call("RunPodSandbox", request).await?;
        Ok(id.id)
    }

    /// A sandbox's address, empty while it has none, and whether it is ready.
    pub(crate) async fn sandbox(&self, id: &str) -> Result<(String, bool), Status> {
        let answer: SandboxStatusResponse = self.call("PodSandboxStatus", of(id)).await?;
        let status = answer.status.unwrap_or_default();
        let address = status.network.unwrap_or_default().ip;
        Ok((address, status.state == 0))
    }

    /// Stops a sandbox: its network goes.
    pub(crate) async fn stop_sandbox(&self, id: &str) -> Result<(), Status> {
        let _: Nothing = self.call("StopPodSandbox", of(id)).await?;
        Ok(())
    }

    /// Stops and removes a sandbox.
    pub(crate) async fn remove_sandbox(&self, id: &str) -> Result<(), Status> {
        self.stop_sandbox(id).await?;
        let _: Nothing = self.call("RemovePodSandbox", of(id)).await?;
        Ok(())
    }

    /// Starts a container in a sandbox; its id.
    pub(crate) async fn run_container(
        &self,
        sandbox: &str,
        sandbox_config: &SandboxConfig,
        command: &[&str],
    ) -> Result<String, Status> {
        let request = CreateContainerRequest {
            sandbox: sandbox.to_owned(),
            config: Some(ContainerConfig {
                metadata: Some(ContainerMetadata {
                    name: "main".to_owned(),
                }),
                image: Some(ImageSpec {
                    image: crate::containerd::IMAGE.to_owned(),
                }),
                command: command.iter().map(|word| (*word).to_owned()).collect(),
            }),
            sandbox_config: Some(sandbox_config.clone()),
        };
        let container: Id = self.call("CreateContainer", request).await?;
        let _: Nothing = self.call("StartContainer", of(&container.id)).await?;
        Ok(container.id)
    }

    /// Runs a command in a container to its end.
    pub(crate) async fn exec(&self, container: &str, command: &[&str]) -> Result<Executed, Status> {
        let request = ExecRequest {
            container: container.to_owned(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: 60,
        };
        self.call("ExecSync", request).await
    }

    async fn call<Q, A>(&self, method: &'static str, message: Q) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client
            .ready()
            .await
            .map_err(|error| Status::unavailable(format!("containerd: {error}")))?;
        let path = format!("/runtime.v1.RuntimeService/{method}");
        let path = PathAndQuery::try_from(path).expect("a method's name is a path");
        let mut request = Request::new(message);
        request.set_timeout(DEADLINE);
        let codec = ProstCodec::<Q, A>::default();
        let answer = client.unary(request, path, codec).await?;
        Ok(answer.into_inner())
    }
}

fn of(id: &str) -> Id {
    Id { id: id.to_owned() }
}
