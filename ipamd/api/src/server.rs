//! The daemon's side of the plugin's socket: accepts connections of root, reads
//! the preamble with the pod's namespace, and hands both on to gRPC.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::preamble;

/// How long a connection may take to send its preamble.
const PREAMBLE_DEADLINE: Duration = Duration::from_secs(2);

/// Connections that wait for gRPC to take them.
const BACKLOG: usize = 256;

/// What is known of a connection; a request finds it among its extensions.
#[derive(Debug, Clone)]
pub struct Caller {
    namespace: Arc<Mutex<Option<OwnedFd>>>,
}

impl Caller {
    /// Takes the pod's namespace that came with the connection. The first
    /// caller gets it; the descriptor closes when it is dropped.
    pub fn take_namespace(&self) -> Option<OwnedFd> {
        self.namespace
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// A connection whose preamble has been read.
#[derive(Debug)]
pub struct CniStream {
    stream: UnixStream,
    caller: Caller,
}

impl Connected for CniStream {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for CniStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CniStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Accepts connections of root until the returned stream is dropped.
///
/// A connection that is not root's, or does not send a preamble within two
/// seconds, is closed; `refused` is told why.
pub fn incoming(
    listener: UnixListener,
    refused: impl Fn(io::Error) + Send + Sync + 'static,
) -> ReceiverStream<io::Result<CniStream>> {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let refused = Arc::new(refused);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                biased;
                () = sender.closed() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, say: the connection stays in the
                    // kernel's queue, so give the others time to finish.
                    refused(error);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let (sender, refused) = (sender.clone(), Arc::clone(&refused));
            tokio::spawn(async move {
                match tokio::time::timeout(PREAMBLE_DEADLINE, admit(stream)).await {
                    // Nobody listens any more when this fails: shutting down.
                    Ok(Ok(stream)) => drop(sender.send(Ok(stream)).await),
                    Ok(Err(error)) => refused(error),
                    Err(_) => refused(io::ErrorKind::TimedOut.into()),
                }
            });
        }
    });
    ReceiverStream::new(receiver)
}

async fn admit(stream: UnixStream) -> io::Result<CniStream> {
    let user = stream.peer_cred()?.uid();
    if user != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("user {user} may not use the plugin's socket, only root may"),
        ));
    }
    let namespace = stream
        .async_io(Interest::READABLE, || receive_preamble(&stream))
        .await?;
    Ok(CniStream {
        stream,
        caller: Caller {
            namespace: Arc::new(Mutex::new(namespace)),
        },
    })
}

fn receive_preamble(stream: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut bytes = [0; preamble::LENGTH];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    // Eight bytes written at once into an empty unix socket arrive at once.
    if received.bytes != bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let carries_namespace = preamble::decode(bytes)?;
    let namespace = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    if carries_namespace && namespace.is_none() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the namespace's descriptor did not arrive",
        ));
    }
    Ok(namespace)
}
