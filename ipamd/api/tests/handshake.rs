//! Clients of the plugin's socket that do not behave: none of them keeps a good one waiting,
//! and none leaves a descriptor behind.
#![allow(
    clippy::expect_used,
    reason = "a test that cannot go on says where and ends"
)]

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use veni_api::preamble::encode;
use veni_api::server::{CniStream, incoming};

/// A good client is admitted at once; this is for a slow machine.
const SOON: Duration = Duration::from_secs(1);
const IDLE: usize = 1000;

struct Place {
    _folder: tempfile::TempDir,
    socket: PathBuf,
    admitted: ReceiverStream<io::Result<CniStream>>,
    refusals: mpsc::UnboundedReceiver<io::ErrorKind>,
}

fn place() -> Place {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("cni.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let (sender, refusals) = mpsc::unbounded_channel();
    let admitted = incoming(listener, move |error| {
        // Nobody listens any more when the test is over.
        let _ = sender.send(error.kind());
    });
    Place {
        _folder: folder,
        socket,
        admitted,
        refusals,
    }
}

impl Place {
    async fn client(&self) -> UnixStream {
        UnixStream::connect(&self.socket)
            .await
            .expect("a connection")
    }

    async fn refused(&mut self) -> io::ErrorKind {
        let refusal = timeout(Duration::from_secs(5), self.refusals.recv()).await;
        refusal.expect("in time").expect("a refusal")
    }

    /// A client that behaves, with the namespace that came with it.
    async fn good_client(&mut self) -> File {
        let client = self.client().await;
        let file = File::open("/proc/self/ns/net").expect("a namespace");
        send(&client, &encode(true), &[file.as_fd()]);
        let admitted = timeout(SOON, self.admitted.next()).await;
        let stream = admitted.expect("at once").expect("one").expect("no error");
        let caller = tonic::transport::server::Connected::connect_info(&stream);
        let namespace = caller.take_namespace().expect("a namespace");
        namespace.into()
    }
}

fn send(client: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let sent = sendmsg(
        client,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::empty(),
    );
    assert_eq!(sent.expect("is sent"), bytes.len());
}

fn open() -> usize {
    fs::read_dir("/proc/self/fd").expect("lists").count()
}

/// Waits until no more descriptors are open than before.
async fn none_is_left(before: usize) {
    for _ in 0..500 {
        if open() <= before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} descriptors are open, {before} were before", open());
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// One test: descriptors are counted for the whole process.
#[tokio::test]
async fn clients_that_do_not_behave_keep_nobody_waiting_and_leave_nothing_open() {
    if !is_root() {
        println!("not tried: only root may use the socket");
        return;
    }
    nothing_or_half_of_it_is_said().await;
    garbage_and_descriptors_too_few_or_too_many_are_sent().await;
}

async fn nothing_or_half_of_it_is_said() {
    let before = open();
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the hard limit");
    let mut place = place();
    let mut silent = Vec::new();
    for number in 0..IDLE {
        let mut client = place.client().await;
        if number % 2 == 1 {
            client.write_all(b"V").await.expect("a byte");
        }
        silent.push(client);
    }
    drop(place.good_client().await);
    for _ in 0..IDLE {
        let kind = place.refused().await;
        let expected = [io::ErrorKind::TimedOut, io::ErrorKind::UnexpectedEof];
        assert!(expected.contains(&kind), "{kind}");
    }
    drop(place.good_client().await);
    drop((silent, place));
    none_is_left(before).await;
}

async fn garbage_and_descriptors_too_few_or_too_many_are_sent() {
    let before = open();
    let mut place = place();
    let file = File::open(Path::new("/dev/null")).expect("a file");
    let (one, three) = ([file.as_fd()], [file.as_fd(); 3]);
    let clients: [(&[u8], &[BorrowedFd<'_>]); 4] = [
        (b"GET / HTTP/1.1\r\n\r\n", &[]),
        (b"GET / HTTP/1.1\r\n\r\n", &three),
        (b"VENI", &one),
        // Promised, and not sent.
        (&encode(true), &[]),
    ];
    for (bytes, descriptors) in clients {
        let client = place.client().await;
        send(&client, bytes, descriptors);
        let kind = place.refused().await;
        let expected = [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof];
        assert!(expected.contains(&kind), "{kind}");
    }
    // More than were promised: the first is the namespace, the others are closed.
    let client = place.client().await;
    send(&client, &encode(true), &three);
    let admitted = timeout(SOON, place.admitted.next()).await;
    drop(admitted.expect("at once").expect("one").expect("no error"));
    drop((client, place, file));
    none_is_left(before).await;
}
