//! A node for the plugin's tests: a run folder, a daemon that answers as it is
//! told and writes down what it was asked, and the plugin's process.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status};
use veni_api::failure::CniFailure;
use veni_api::server::{Caller, incoming};
use veni_api::v1::cni_server::{Cni, CniServer};
use veni_api::v1::{
    AddRequest, AddResponse, Attachment, CheckRequest, CheckResponse, DelRequest, DelResponse,
    GcRequest, GcResponse, Route, StatusRequest, StatusResponse,
};

/// How the daemon behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    /// Every call fails with this.
    pub(crate) refusal: Option<CniFailure>,
    /// What CHECK finds.
    pub(crate) differences: Vec<String>,
    /// So many connections are closed before anything is answered.
    pub(crate) dropped_connections: usize,
}

/// What the daemon was asked.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// ADDs.
    pub(crate) adds: Vec<AddRequest>,
    /// DELs.
    pub(crate) dels: Vec<DelRequest>,
    /// CHECKs.
    pub(crate) checks: Vec<CheckRequest>,
    /// GCs.
    pub(crate) gcs: Vec<GcRequest>,
    /// Inode of the namespace that came with each call.
    pub(crate) namespaces: Vec<Option<u64>>,
    /// `grpc-timeout` of each ADD.
    pub(crate) deadlines: Vec<String>,
}

#[derive(Debug, Clone)]
struct Daemon {
    answers: Answers,
    seen: Arc<Mutex<Seen>>,
}

impl Daemon {
    fn take<T>(&self, request: &Request<T>) -> Result<MutexGuard<'_, Seen>, Status> {
        let namespace = request
            .extensions()
            .get::<Caller>()
            .and_then(Caller::take_namespace)
            .map(|descriptor| {
                rustix::fs::fstat(descriptor.as_fd())
                    .expect("a descriptor that can be looked at")
                    .st_ino
            });
        let mut seen = self.seen.lock().expect("no test panicked with it");
        seen.namespaces.push(namespace);
        match &self.answers.refusal {
            Some(refusal) => Err(refusal.clone().into()),
            None => Ok(seen),
        }
    }
}

#[tonic::async_trait]
impl Cni for Daemon {
    async fn add(&self, request: Request<AddRequest>) -> Result<Response<AddResponse>, Status> {
        let mut seen = self.take(&request)?;
        if let Some(deadline) = request.metadata().get("grpc-timeout") {
            let text = deadline.to_str().expect("ascii").to_owned();
            seen.deadlines.push(text);
        }
        seen.adds.push(request.into_inner());
        Ok(Response::new(an_answer_to_add()))
    }

    async fn del(&self, request: Request<DelRequest>) -> Result<Response<DelResponse>, Status> {
        self.take(&request)?.dels.push(request.into_inner());
        Ok(Response::new(DelResponse { existed: true }))
    }

    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        self.take(&request)?.checks.push(request.into_inner());
        Ok(Response::new(CheckResponse {
            differences: self.answers.differences.clone(),
        }))
    }

    async fn gc(&self, request: Request<GcRequest>) -> Result<Response<GcResponse>, Status> {
        self.take(&request)?.gcs.push(request.into_inner());
        Ok(Response::new(GcResponse { released: 0 }))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        drop(self.take(&request)?);
        Ok(Response::new(StatusResponse {
            daemon_version: "test".into(),
        }))
    }
}

fn an_answer_to_add() -> AddResponse {
    AddResponse {
        addresses: vec!["10.0.1.7/32".into()],
        gateways: vec!["169.254.1.1".into()],
        routes: vec![Route {
            destination: "0.0.0.0/0".into(),
            gateway: "169.254.1.1".into(),
            ..Route::default()
        }],
        host_interface: "eni1".into(),
        host_mac: "0a:00:00:00:00:01".into(),
        pod_mac: "0a:00:00:00:00:02".into(),
        mtu: 1400,
        cloud_interface: "eni-1".into(),
    }
}

/// The attachment of the plugin's calls.
pub(crate) fn attachment(interface_name: &str) -> Attachment {
    Attachment {
        network: "veni".into(),
        container_id: "c1".into(),
        interface_name: interface_name.into(),
    }
}

/// A run folder, with or without a daemon.
pub(crate) struct Node {
    folder: TempDir,
    seen: Arc<Mutex<Seen>>,
    runtime: Option<Runtime>,
}

impl Node {
    /// One without a daemon.
    pub(crate) fn down() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests need root: the daemon's socket serves root alone"
        );
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            seen: Arc::default(),
            runtime: None,
        }
    }

    /// One with a daemon.
    pub(crate) fn serving(answers: Answers) -> Self {
        let mut node = Self::down();
        node.serve(answers);
        node
    }

    /// Starts the daemon; its socket is there when this returns.
    pub(crate) fn serve(&mut self, answers: Answers) {
        let runtime = Runtime::new().expect("a runtime");
        let socket = self.run_dir().join("cni.sock");
        let dropped = AtomicUsize::new(answers.dropped_connections);
        let daemon = Daemon {
            answers,
            seen: Arc::clone(&self.seen),
        };
        let guard = runtime.enter();
        let listener = UnixListener::bind(socket).expect("a socket");
        let connections = incoming(listener, |_| {}).filter(move |_| {
            dropped
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_err()
        });
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(CniServer::new(daemon))
                .serve_with_incoming(connections),
        );
        drop(guard);
        self.runtime = Some(runtime);
    }

    /// Puts an entry for an attachment into the daemon's journal.
    pub(crate) fn journal(&self, attachment: &Attachment) {
        let folder = self.run_dir().join("journal/endpoints");
        std::fs::create_dir_all(&folder).expect("a folder");
        let name = veni_api::file_names::entry_prefix(veni_api::file_names::parts(attachment));
        let file = folder.join(format!("{name}0123456789ab-01234567.json"));
        std::fs::write(file, "{}").expect("a file");
    }

    /// The run folder.
    pub(crate) fn run_dir(&self) -> &Path {
        self.folder.path()
    }

    /// What the daemon was asked so far.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no test panicked with it")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A network namespace that lives as long as this value.
pub(crate) struct Namespace {
    holder: Child,
    path: String,
}

impl Namespace {
    /// Makes one.
    pub(crate) fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo made; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (util-linux) starts");
        let mut line = String::new();
        let output = holder.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert_eq!(line, "made\n", "making a network namespace needs root");
        let path = format!("/proc/{}/ns/net", holder.id());
        Self { holder, path }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Its inode number.
    pub(crate) fn inode(&self) -> u64 {
        std::fs::metadata(&self.path)
            .expect("the namespace lives")
            .ino()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

/// One execution of the plugin.
pub(crate) struct Plugin {
    command: Command,
    config: Map<String, Value>,
    input: Option<String>,
}

impl Plugin {
    /// With the variables and the configuration of a pod's `eth0`.
    pub(crate) fn new(node: &Node, command: &str) -> Self {
        let mut plugin = Self::bare(node, command);
        plugin
            .command
            .env("CNI_CONTAINERID", "c1")
            .env("CNI_IFNAME", "eth0")
            .env(
                "CNI_ARGS",
                "K8S_POD_UID=u-1;IgnoreUnknown=1;K8S_POD_NAME=web-0;odd;K8S_POD_NAMESPACE=default",
            );
        plugin
    }

    /// With the variables of a command that is about no container.
    pub(crate) fn bare(node: &Node, command: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_veni-cni"));
        process.env_clear().env("CNI_COMMAND", command);
        let config = json!({
            "cniVersion": "1.0.0", "name": "veni", "type": "veni-cni", "mtu": 1400,
            "dns": {"nameservers": ["10.0.0.2"]}, "runDir": node.run_dir(), "unknown": [1],
        });
        let Value::Object(config) = config else {
            unreachable!("the literal above is an object")
        };
        Self {
            command: process,
            config,
            input: None,
        }
    }

    /// Sets a variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the pod's namespace.
    pub(crate) fn netns(self, namespace: &Namespace) -> Self {
        self.variable("CNI_NETNS", namespace.path())
    }

    /// Sets a field of the configuration.
    pub(crate) fn config(mut self, name: &str, value: Value) -> Self {
        self.config.insert(name.to_owned(), value);
        self
    }

    /// Takes a field out of the configuration.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.config.remove(name);
        self
    }

    /// Passes this instead of the configuration.
    pub(crate) fn input(mut self, input: &str) -> Self {
        self.input = Some(input.to_owned());
        self
    }

    /// Starts it.
    pub(crate) fn spawn(mut self) -> Running {
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the plugin starts");
        self.feed(&mut child);
        Running(child)
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Outcome {
        self.spawn().finish()
    }

    /// Runs it with a standard output that nobody reads; the exit code.
    pub(crate) fn run_with_closed_output(mut self) -> Option<i32> {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(writer)
            .stderr(Stdio::null())
            .spawn()
            .expect("the plugin starts");
        self.feed(&mut child);
        child.wait().expect("the plugin ends").code()
    }

    fn feed(&self, child: &mut Child) {
        let input = match &self.input {
            Some(input) => input.clone(),
            None => Value::from(self.config.clone()).to_string(),
        };
        let mut pipe = child.stdin.take().expect("a pipe");
        pipe.write_all(input.as_bytes())
            .expect("the plugin reads its input");
    }
}

/// A plugin that was started.
pub(crate) struct Running(Child);

impl Running {
    /// Waits for its end.
    pub(crate) fn finish(self) -> Outcome {
        let output = self.0.wait_with_output().expect("the plugin ends");
        Outcome {
            code: output.status.code().expect("no signal ended the plugin"),
            output: String::from_utf8(output.stdout).expect("utf-8"),
            log: String::from_utf8(output.stderr).expect("utf-8"),
        }
    }
}

/// How an execution ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) output: String,
    /// Standard error.
    pub(crate) log: String,
}

impl Outcome {
    /// Standard output as the JSON that it must be.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.output).expect("standard output is json")
    }

    /// The code of the error that must have been printed.
    pub(crate) fn error_code(&self) -> u64 {
        assert_eq!(self.code, 1, "{self:?}");
        self.json()["code"].as_u64().expect("an error has a code")
    }

    /// The details of the error that must have been printed.
    pub(crate) fn details(&self) -> String {
        let error = self.json();
        let details = error["details"].as_str();
        details.expect("the error has details").to_owned()
    }
}
