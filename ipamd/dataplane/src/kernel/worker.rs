//! A thread that does the kernel's work, and its visits of pods' namespaces.
//!
//! A request blocks inside the kernel for as long as another holds its network
//! lock, so none is made on the async runtime's threads. A job that was started is
//! finished whatever happens to the future that waits for it: nobody can leave a
//! change half made by dropping a future.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;

use super::errno;
use super::netlink::Socket;
use super::nft_elements::SetElements;
use super::sys;
use crate::{Enforcement, KernelError};

type Job = Box<dyn FnOnce(&mut Host) + Send>;

/// A thread that does one job after the other.
pub(crate) struct Worker {
    sender: mpsc::Sender<Job>,
    ports: Ports,
}

/// Netlink ports by which the kernel knows who asked for a change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// Of rtnetlink.
    pub(crate) route: u32,
    /// Of netfilter.
    pub(crate) netfilter: u32,
}

impl Worker {
    /// Starts the thread in the calling thread's network namespace.
    pub(crate) fn try_new(name: &'static str, enforcement: &dyn Enforcement) -> io::Result<Self> {
        Self::with(name, Socket::try_new()?, enforcement)
    }

    /// The same, whose jobs tell what differs and change nothing of the node.
    pub(crate) fn try_comparing(
        name: &'static str,
        enforcement: &dyn Enforcement,
    ) -> io::Result<Self> {
        Self::with(name, Socket::try_new()?.comparing(), enforcement)
    }

    fn with(name: &'static str, socket: Socket, enforcement: &dyn Enforcement) -> io::Result<Self> {
        let (sender, queue) = mpsc::channel();
        let host = Host {
            socket,
            elements: SetElements::try_new()?,
            home: File::open("/proc/thread-self/ns/net")?.into(),
            lost: false,
            redirects_by_itself: enforcement.redirects(),
        };
        let ports = Ports {
            route: host.socket.port()?,
            netfilter: host.elements.port()?,
        };
        start(name, host, queue)?;
        Ok(Self { sender, ports })
    }

    /// Netlink ports by which the kernel knows that it asked for a change.
    pub(crate) fn ports(&self) -> Ports {
        self.ports
    }

    /// Starts a job that nobody waits for.
    pub(crate) fn start(&self, job: impl FnOnce(&mut Host) + Send + 'static) {
        if self.sender.send(Box::new(job)).is_err() {
            tracing::error!("the kernel's worker has ended");
        }
    }

    /// Runs a job to its end and returns its answer.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Host) -> Result<T, KernelError> + Send + 'static,
    ) -> Result<T, KernelError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |host| {
            // Nobody waits any more when the caller was cancelled.
            let _ = answer.send(job(host));
        });
        let ended = || {
            errno::refused(
                "reach the kernel's worker",
                io::Error::other("it has ended"),
            )
        };
        self.sender.send(job).map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

fn start(name: &'static str, mut host: Host, queue: mpsc::Receiver<Job>) -> io::Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // A replacement is started by a thread that could not go home.
            if let Err(error) = host.go_home() {
                tracing::error!(%error, "kernel worker cannot enter its network namespace");
                return;
            }
            while let Ok(job) = queue.recv() {
                // The caller sees the missing answer; the panic itself is on stderr.
                let _ = catch_unwind(AssertUnwindSafe(|| job(&mut host)));
                if host.lost {
                    tracing::error!("kernel worker is lost in a pod's network namespace");
                    host.lost = false;
                    if let Err(error) = start(name, host, queue) {
                        tracing::error!(%error, "failed to replace the lost kernel worker");
                    }
                    return;
                }
            }
        })?;
    Ok(())
}

/// What a job works with: the node's namespace, and a way into others.
pub(crate) struct Host {
    /// Socket of the node's own namespace, whatever namespace the thread is in.
    pub(crate) socket: Socket,
    /// Way to nftables and conntrack of that namespace.
    pub(crate) elements: SetElements,
    home: OwnedFd,
    /// The thread is not in its own namespace and must not run another job.
    lost: bool,
    /// Whether the enforcement leads limited pods' packets to their ifb devices.
    pub(crate) redirects_by_itself: bool,
}

/// A pod's namespace while its network is changed. It keeps the namespace alive,
/// so it ends with the job.
pub(crate) struct Pod {
    pub(crate) socket: Socket,
    pub(crate) cookie: u64,
}

impl Host {
    /// Opens a socket in a pod's namespace, and does something small there.
    pub(crate) fn enter<T>(
        &mut self,
        namespace: BorrowedFd<'_>,
        visit: impl FnOnce() -> T,
    ) -> Result<(Pod, T), KernelError> {
        self.within(namespace, || {
            let socket = Socket::try_new()?;
            let cookie = sys::namespace_cookie(&socket)?;
            Ok((Pod { socket, cookie }, visit()))
        })
    }

    /// Does something small inside a pod's namespace.
    pub(crate) fn within<T>(
        &mut self,
        namespace: BorrowedFd<'_>,
        visit: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, KernelError> {
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
            .map_err(errno::entering)?;
        self.lost = true; // also if the visit should panic
        let visited = visit();
        match self.go_home() {
            Ok(()) => self.lost = false,
            Err(error) => tracing::error!(%error, "failed to leave a pod's network namespace"),
        }
        visited.map_err(|error| errno::refused("work in the pod's network namespace", error))
    }

    fn go_home(&self) -> io::Result<()> {
        move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }
}
