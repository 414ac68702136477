//! The thread that hears the kernel's notifications.
//!
//! It reads with raw sockets and looks at a few bytes of each message, because most
//! messages on a busy node are of no interest: pods come and go, and a service proxy
//! rewrites tables of megabytes. It lets them gather for a moment before it reads, so
//! that a storm costs some twenty wake-ups a second, not one a message. A socket that
//! is full loses messages and says so: then anything may have changed.

pub(crate) mod read;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use libc::{MSG_DONTWAIT, MSG_TRUNC};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::pipe::{PipeFlags, pipe_with};

use super::worker::Ports;
use crate::watch::{Changes, Teller};

/// For how long messages gather after the first one.
const GATHERING: Duration = Duration::from_millis(50);
/// The kernel never notifies with larger datagrams.
const DATAGRAM: usize = 64 * 1024;
/// Bytes that may wait to be read. Each message counts with the memory it takes, a
/// kilobyte or more.
const ROUTE_BUFFER: usize = 2 << 20;
const NFTABLES_BUFFER: usize = 8 << 20;
/// Datagrams that are read before what they say is told, should they never end.
const AT_ONCE: usize = 10_000;

/// Groups of rtnetlink (`rtnetlink.h`): links, qdiscs and filters, addresses,
/// routes, rules and settings.
const ROUTE_GROUPS: [u32; 10] = [
    1,  // RTNLGRP_LINK
    4,  // RTNLGRP_TC
    5,  // RTNLGRP_IPV4_IFADDR
    7,  // RTNLGRP_IPV4_ROUTE
    8,  // RTNLGRP_IPV4_RULE
    9,  // RTNLGRP_IPV6_IFADDR
    11, // RTNLGRP_IPV6_ROUTE
    19, // RTNLGRP_IPV6_RULE
    24, // RTNLGRP_IPV4_NETCONF
    25, // RTNLGRP_IPV6_NETCONF
];
/// NFNLGRP_NFTABLES (`nfnetlink.h`).
const NFTABLES_GROUP: u32 = 7;

/// A running watch; the thread ends with it.
pub(crate) struct Listener {
    teller: Arc<Teller>,
    _alive: OwnedFd,
}

impl Listener {
    /// Listens in the calling thread's network namespace. Changes that sockets of the
    /// ports `own` ask for are not told.
    ///
    /// # Errors
    /// No socket or no thread. A kernel that tells nothing of nftables is no error.
    pub(crate) fn try_new(own: &[Ports]) -> io::Result<Self> {
        let mut sources = vec![Source {
            socket: listen(NETLINK_ROUTE, &ROUTE_GROUPS, ROUTE_BUFFER)?,
            own: own.iter().map(|ports| ports.route).collect(),
            read: read::route,
        }];
        match listen(NETLINK_NETFILTER, &[NFTABLES_GROUP], NFTABLES_BUFFER) {
            Ok(socket) => sources.push(Source {
                socket,
                own: own.iter().map(|ports| ports.netfilter).collect(),
                read: read::nftables,
            }),
            Err(error) => tracing::warn!(
                %error,
                "the kernel does not tell of changes in nftables: they are noticed by the slow audit alone"
            ),
        }
        let (ended, alive) = pipe_with(PipeFlags::CLOEXEC)?;
        let teller = Arc::new(Teller::default());
        let told = Arc::clone(&teller);
        thread::Builder::new()
            .name("veni-watch".to_owned())
            .spawn(move || run(sources, &ended, &told))?;
        Ok(Self {
            teller,
            _alive: alive,
        })
    }

    pub(crate) fn teller(&self) -> &Teller {
        &self.teller
    }
}

fn listen(protocol: isize, groups: &[u32], buffer: usize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    // Beyond the machine's limit, which is one of ordinary programs; else up to it.
    if sockopt::set_socket_recv_buffer_size_force(&socket, buffer).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, buffer)?;
    }
    socket.bind(&SocketAddr::new(0, 0))?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok(socket)
}

/// A socket, and what its messages say.
struct Source {
    socket: Socket,
    /// Ports of our own sockets of its kind.
    own: Vec<u32>,
    read: fn(&[u8], &[u32]) -> Changes,
}

fn run(mut sources: Vec<Source>, ended: &OwnedFd, teller: &Teller) {
    let mut buffer = Vec::with_capacity(DATAGRAM);
    loop {
        if waits(&sources, ended, None) || waits(&[], ended, Some(GATHERING)) {
            return;
        }
        let mut changes = Changes::NONE;
        sources.retain(|source| match source.drain(&mut buffer) {
            Ok(said) => {
                changes |= said;
                true
            }
            Err(error) => {
                tracing::error!(
                    %error,
                    "failed to read the kernel's notifications: what others change is noticed later, by the slow audit"
                );
                changes = Changes::ANYTHING;
                false
            }
        });
        teller.tell(changes);
    }
}

/// Waits for a message, or for so long; says whether nobody listens any more.
fn waits(sources: &[Source], ended: &OwnedFd, longest: Option<Duration>) -> bool {
    let mut watched = vec![PollFd::new(ended, PollFlags::IN)];
    let sockets = sources.iter();
    watched.extend(
        sockets.map(|source| PollFd::from_borrowed_fd(source.socket.as_fd(), PollFlags::IN)),
    );
    let longest = longest.and_then(|longest| Timespec::try_from(longest).ok());
    match poll(&mut watched, longest.as_ref()) {
        Err(Errno::INTR) | Ok(_) => !watched[0].revents().is_empty(),
        Err(error) => {
            tracing::error!(%error, "failed to wait for the kernel's notifications");
            true
        }
    }
}

impl Source {
    /// Reads what has come.
    fn drain(&self, buffer: &mut Vec<u8>) -> io::Result<Changes> {
        let mut changes = Changes::NONE;
        for _ in 0..AT_ONCE {
            buffer.clear();
            match self.socket.recv(buffer, MSG_DONTWAIT | MSG_TRUNC) {
                Ok(length) if length > buffer.len() => changes = Changes::ANYTHING,
                Ok(_) => {
                    for message in read::messages(buffer) {
                        changes |= (self.read)(message, &self.own);
                    }
                }
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::AGAIN) => break,
                    Some(Errno::INTR) => {}
                    Some(Errno::NOBUFS) => changes = Changes::ANYTHING,
                    _ => return Err(error),
                },
            }
        }
        Ok(changes)
    }
}
