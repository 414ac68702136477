//! Serves a cloud on a unix socket, so that several processes share it. All
//! rules, latencies and faults are the cloud's own; nothing is added here.

use std::io;
use std::path::{Path, PathBuf};

use futures::{SinkExt, StreamExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use veni_provider::{Provider, ProviderError};

use crate::cloud::{CloudError, MockCloud};
use crate::wire::{AdminRequest, Answer, Asked, Message, Request, Told, codec};

/// Messages on their way to a user who does not read.
const OUTGOING: usize = 1024;

/// Serves a cloud on a socket until cancelled.
///
/// # Errors
/// The socket cannot be bound, or another process serves on it.
pub async fn serve(
    cloud: MockCloud,
    path: impl AsRef<Path>,
    cancellation: CancellationToken,
) -> io::Result<()> {
    Server::bind(cloud, path)?.run(cancellation).await;
    Ok(())
}

/// A bound server: users can connect from now on, and are answered while
/// [`Server::run`] runs.
#[derive(Debug)]
pub struct Server {
    cloud: MockCloud,
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Binds the socket; one that a dead process left behind is replaced.
    ///
    /// # Errors
    /// It cannot be bound, or another process serves on it.
    pub fn bind(cloud: MockCloud, path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            let text = format!("{} is served by another process", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self {
            listener: UnixListener::bind(&path)?,
            cloud,
            path,
        })
    }

    /// Answers until cancelled, then drops what is under way and removes the
    /// socket.
    pub async fn run(self, cancellation: CancellationToken) {
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = cancellation.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let user = User {
                        cloud: self.cloud.clone(),
                        tasks: tasks.clone(),
                        cancellation: cancellation.clone(),
                    };
                    tasks.spawn(user.attend(stream));
                }
                Err(error) => {
                    // Out of descriptors, most likely: others have to close some first.
                    tracing::warn!(%error, "mock cloud cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
        tasks.close();
        tasks.wait().await;
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "mock cloud's socket was gone already");
        }
    }
}

/// One connection.
#[derive(Clone)]
struct User {
    cloud: MockCloud,
    tasks: TaskTracker,
    cancellation: CancellationToken,
}

impl User {
    async fn attend(self, stream: UnixStream) {
        let cancellation = self.cancellation.clone();
        let (reader, writer) = stream.into_split();
        let (outgoing, messages) = mpsc::channel(OUTGOING);
        let read = self.read(FramedRead::new(reader, codec()), outgoing);
        let write = write(FramedWrite::new(writer, codec()), messages);
        tokio::select! {
            biased;
            () = cancellation.cancelled() => {}
            // Either end ends both, which a follower is waiting for; calls under
            // way go on without anybody to answer to.
            () = read => {}
            () = write => {}
        }
    }

    async fn read(
        self,
        mut lines: FramedRead<tokio::net::unix::OwnedReadHalf, tokio_util::codec::LinesCodec>,
        outgoing: mpsc::Sender<Told>,
    ) {
        while let Some(Ok(line)) = lines.next().await {
            match serde_json::from_str::<Asked>(&line) {
                Ok(asked) => self.start(asked, outgoing.clone()),
                Err(error) => {
                    let id = serde_json::from_str::<serde_json::Value>(&line)
                        .ok()
                        .and_then(|value| value["id"].as_u64())
                        .unwrap_or(0);
                    let message = Message::NotUnderstood(error.to_string());
                    if outgoing.send(Told { id, message }).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Carries a request out beside all others, to its end even if the user
    /// goes away.
    fn start(&self, asked: Asked, outgoing: mpsc::Sender<Told>) {
        let user = self.clone();
        self.tasks.spawn(async move {
            let cancellation = user.cancellation.clone();
            tokio::select! {
                biased;
                () = cancellation.cancelled() => {}
                () = user.carry_out(asked, outgoing) => {}
            }
        });
    }

    async fn carry_out(self, asked: Asked, outgoing: mpsc::Sender<Told>) {
        let id = asked.id;
        if let Request::Admin(AdminRequest::Follow) = asked.request {
            self.follow(id, outgoing).await;
            return;
        }
        let message = match asked.request {
            Request::Admin(request) => {
                administer(&self.cloud, request).map_or_else(Message::CloudError, Message::Answer)
            }
            request => call(&self.cloud, request)
                .await
                .map_or_else(Message::ProviderError, Message::Answer),
        };
        // A user who went away does not want to know.
        let _ = outgoing.send(Told { id, message }).await;
    }

    async fn follow(self, id: u64, outgoing: mpsc::Sender<Told>) {
        let (dump, mut changes) = self.cloud.follow();
        let mut message = Message::Answer(Answer::Dump(dump));
        loop {
            let last = matches!(message, Message::Lagged);
            if outgoing.send(Told { id, message }).await.is_err() || last {
                return;
            }
            message = tokio::select! {
                () = outgoing.closed() => return,
                change = changes.recv() => match change {
                    Ok(change) => Message::Change(change),
                    Err(RecvError::Lagged(_)) => Message::Lagged,
                    Err(RecvError::Closed) => return,
                },
            };
        }
    }
}

async fn write(
    mut lines: FramedWrite<tokio::net::unix::OwnedWriteHalf, tokio_util::codec::LinesCodec>,
    mut messages: mpsc::Receiver<Told>,
) {
    while let Some(told) = messages.recv().await {
        let line = match serde_json::to_string(&told) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(%error, "mock cloud cannot write an answer");
                continue;
            }
        };
        if lines.send(line).await.is_err() {
            return;
        }
    }
}

async fn call(cloud: &MockCloud, request: Request) -> Result<Answer, ProviderError> {
    match request {
        Request::Capabilities => Ok(Answer::Capabilities(cloud.capabilities())),
        Request::Node { instance } => {
            let node = cloud.provider(&instance).node().await;
            node.map(Answer::Node)
        }
        Request::Inventory { instance } => {
            let inventory = cloud.provider(&instance).inventory().await;
            inventory.map(Answer::Inventory)
        }
        Request::AttachInterface { instance, request } => {
            let provider = cloud.provider(&instance);
            let interface = provider.attach_interface(&request).await;
            interface.map(Answer::Interface)
        }
        Request::DetachInterface {
            instance,
            interface,
        } => {
            let provider = cloud.provider(&instance);
            let done = provider.detach_interface(&interface).await;
            done.map(|()| Answer::Done)
        }
        Request::Assign {
            instance,
            interface,
            slots,
        } => {
            let provider = cloud.provider(&instance);
            let grant = provider.assign(&interface, slots).await;
            grant.map(Answer::Grant)
        }
        Request::Release {
            instance,
            interface,
            grant,
        } => {
            let provider = cloud.provider(&instance);
            let done = provider.release(&interface, &grant).await;
            done.map(|()| Answer::Done)
        }
        Request::Begin { instance, change } => {
            let provider = cloud.provider(&instance);
            let begun = provider.begin(&change).await;
            begun.map(Answer::Progress)
        }
        Request::Resume {
            instance,
            operation,
        } => {
            let provider = cloud.provider(&instance);
            let progress = provider.resume(&operation).await;
            progress.map(Answer::Progress)
        }
        Request::Admin(request) => {
            let done = administer(cloud, request);
            done.map_err(|error| {
                let class = veni_provider::ErrorClass::Invalid;
                ProviderError::new(class, "admin", error.to_string())
            })
        }
    }
}

fn administer(cloud: &MockCloud, request: AdminRequest) -> Result<Answer, CloudError> {
    match request {
        AdminRequest::Config => return Ok(Answer::Config(Box::new(cloud.config()))),
        AdminRequest::Dump | AdminRequest::Follow => return Ok(Answer::Dump(cloud.dump())),
        AdminRequest::AddNode(node) => return cloud.add_node(node).map(Answer::Interface),
        AdminRequest::Inject(fault) => return Ok(Answer::Fault(cloud.inject(fault))),
        AdminRequest::TerminateNode(instance) => cloud.terminate_node(&instance)?,
        AdminRequest::RemoveFault(id) => cloud.remove_fault(id),
        AdminRequest::ClearFaults => cloud.clear_faults(),
        AdminRequest::FillSubnet { subnet, leave_free } => {
            cloud.fill_subnet(&subnet, leave_free)?
        }
        AdminRequest::FragmentSubnet(subnet) => cloud.fragment_subnet(&subnet)?,
        AdminRequest::Unfill(subnet) => cloud.unfill(&subnet)?,
        AdminRequest::SetLatency { operation, latency } => cloud.set_latency(operation, latency),
        AdminRequest::SetConsistencyDelay(delay) => cloud.set_consistency_delay(delay),
        AdminRequest::SetThrottle(throttle) => cloud.set_throttle(throttle),
        AdminRequest::Deny(operation) => cloud.deny(operation),
        AdminRequest::Allow(operation) => cloud.allow(operation),
    }
    Ok(Answer::Done)
}
