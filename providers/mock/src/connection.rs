//! A user's connection to a served cloud: requests multiplexed by id, made
//! anew when it broke. Whoever asks learns whether a request without an answer
//! may have been read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::task::AbortOnDropHandle;

use crate::wire::{Asked, Message, Request, Told, codec};

/// Longest time for connecting.
const CONNECT: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The request never left: nothing was changed.
    #[error("cannot reach the mock cloud at {path}: {reason}; is it being served there?")]
    Unreachable {
        /// The socket that was tried.
        path: PathBuf,
        /// Why it cannot be reached.
        reason: String,
    },
    /// The connection broke before the answer: the request may have been carried out.
    #[error("the connection to the mock cloud at {path} broke before the answer came")]
    Broken {
        /// The socket that was tried.
        path: PathBuf,
    },
}

/// Where the messages about open requests go; `None` once the connection broke.
type Open = Mutex<Option<HashMap<u64, mpsc::UnboundedSender<Message>>>>;

#[derive(Debug)]
struct Live {
    outgoing: mpsc::UnboundedSender<Asked>,
    open: Arc<Open>,
    _task: AbortOnDropHandle<()>,
}

/// A connection that is made when it is needed.
#[derive(Debug)]
pub(crate) struct Connection {
    path: PathBuf,
    last_id: AtomicU64,
    live: tokio::sync::Mutex<Option<Arc<Live>>>,
}

/// An open request.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    id: u64,
    path: PathBuf,
    live: Arc<Live>,
    messages: mpsc::UnboundedReceiver<Message>,
}

impl Connection {
    /// Does not connect yet.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            last_id: AtomicU64::new(0),
            live: tokio::sync::Mutex::new(None),
        }
    }

    /// Sends a request, connecting first where needed.
    pub(crate) async fn ask(&self, request: Request) -> Result<OpenRequest, ConnectionError> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, messages) = mpsc::unbounded_channel();
        let live = self.register(id, sender).await?;
        let open = OpenRequest {
            id,
            path: self.path.clone(),
            live,
            messages,
        };
        // If the task has ended meanwhile, its end shows as a missing answer.
        let _ = open.live.outgoing.send(Asked { id, request });
        Ok(open)
    }

    /// Sends a request and waits for its one answer.
    pub(crate) async fn answer(&self, request: Request) -> Result<Message, ConnectionError> {
        let mut open = self.ask(request).await?;
        open.next().await.ok_or(ConnectionError::Broken {
            path: self.path.clone(),
        })
    }

    async fn register(
        &self,
        id: u64,
        sender: mpsc::UnboundedSender<Message>,
    ) -> Result<Arc<Live>, ConnectionError> {
        let mut live = self.live.lock().await;
        if let Some(current) = live.as_ref()
            && let Some(open) = lock(&current.open).as_mut()
        {
            open.insert(id, sender);
            return Ok(Arc::clone(current));
        }
        *live = None;
        let stream = self.connect().await?;
        let made = Arc::new(Live::start(stream, HashMap::from([(id, sender)])));
        *live = Some(Arc::clone(&made));
        Ok(made)
    }

    async fn connect(&self) -> Result<UnixStream, ConnectionError> {
        let reason = match tokio::time::timeout(CONNECT, UnixStream::connect(&self.path)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {CONNECT:?}"),
        };
        Err(ConnectionError::Unreachable {
            path: self.path.clone(),
            reason,
        })
    }
}

impl OpenRequest {
    /// The next message about it; `None` when the connection broke.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        self.messages.recv().await
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if let Some(open) = lock(&self.live.open).as_mut() {
            open.remove(&self.id);
        }
    }
}

impl Live {
    fn start(stream: UnixStream, first: HashMap<u64, mpsc::UnboundedSender<Message>>) -> Self {
        let open: Arc<Open> = Arc::new(Mutex::new(Some(first)));
        let (outgoing, requests) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(stream, requests, Arc::clone(&open)));
        Self {
            outgoing,
            open,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

async fn run(stream: UnixStream, mut requests: mpsc::UnboundedReceiver<Asked>, open: Arc<Open>) {
    let (reader, writer) = stream.into_split();
    let mut lines = FramedRead::new(reader, codec());
    let mut answers = FramedWrite::new(writer, codec());
    let write = async {
        while let Some(asked) = requests.recv().await {
            let Ok(line) = serde_json::to_string(&asked) else {
                continue;
            };
            if answers.send(line).await.is_err() {
                return;
            }
        }
    };
    let read = async {
        while let Some(Ok(line)) = lines.next().await {
            match serde_json::from_str::<Told>(&line) {
                Ok(told) => pass_on(&open, told),
                Err(error) => {
                    tracing::warn!(%error, "message of the mock cloud not understood");
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
    // Dropping the senders tells everybody who waits.
    lock(&open).take();
}

fn pass_on(open: &Open, told: Told) {
    if let Some(open) = lock(open).as_ref()
        && let Some(sender) = open.get(&told.id)
    {
        // Whoever asked may have gone away.
        let _ = sender.send(told.message);
    }
}

fn lock(open: &Open) -> MutexGuard<'_, Option<HashMap<u64, mpsc::UnboundedSender<Message>>>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
