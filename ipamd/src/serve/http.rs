//! One HTTP server on a TCP address or on a unix socket. An address that cannot be
//! had is no reason to be without it for good: it is told and tried again.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use axum::Router;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use crate::config::IntrospectionAddress;
use crate::host::HostWatch;
use crate::retry::Pauses;

/// First pause before an address is tried again; it doubles with each try.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// What is served, and what an operator can do about its address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served {
    /// In words: `metrics`.
    pub(super) what: &'static str,
    /// Setting of the address.
    pub(super) address: &'static str,
    /// Setting that switches it off.
    pub(super) disable: &'static str,
}

/// Serves until `shutdown`, from when on the address can be had. The watch is told
/// how that stands.
pub(super) async fn keep_serving(
    served: Served,
    address: IntrospectionAddress,
    router: Router,
    watch: HostWatch,
    shutdown: CancellationToken,
) {
    let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut said = String::new();
    while !shutdown.is_cancelled() {
        let error = match listen(&address) {
            Ok(listening) => {
                let place = listening.place(served.what, &address);
                if !said.is_empty() || place.is_some() {
                    tracing::info!(%address, place, "{} are served", served.what);
                    said.clear();
                }
                watch.set_service(served.what, place);
                pauses.succeeded();
                let ended = listening.serve(router.clone(), shutdown.clone()).await;
                if shutdown.is_cancelled() {
                    return;
                }
                ended
                    .err()
                    .unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
            }
            Err(error) => error,
        };
        let problem = problem(served, &address, &error);
        if problem != said {
            tracing::warn!("{problem}");
            said.clone_from(&problem);
        }
        watch.set_service(served.what, Some(problem));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pauses.after_failure()) => {}
        }
    }
}

fn problem(served: Served, address: &IntrospectionAddress, error: &io::Error) -> String {
    format!(
        "no {} for now: {address} cannot be had: {error}; it is tried again: free it, set {} to \
         another, or {}",
        served.what, served.address, served.disable
    )
}

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    /// Where it is served, should that not be the address that was asked for.
    fn place(&self, what: &str, asked: &IntrospectionAddress) -> Option<String> {
        let (Self::Tcp(listener), IntrospectionAddress::Tcp(asked)) = (self, asked) else {
            return None;
        };
        let place = listener.local_addr().ok()?;
        (place.ip() != asked.ip())
            .then(|| format!("{what} are served on {place}: the node has no IPv6 for {asked}"))
    }

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// Connections cannot be accepted.
    pub(super) async fn serve(self, router: Router, shutdown: CancellationToken) -> io::Result<()> {
        let stopped = shutdown.cancelled_owned();
        match self {
            Self::Tcp(listener) => {
                axum::serve(listener, router)
                    .with_graceful_shutdown(stopped)
                    .await
            }
            Self::Unix(listener) => {
                axum::serve(listener, router)
                    .with_graceful_shutdown(stopped)
                    .await
            }
        }
    }
}

/// Listens on an address; on a node without IPv6 on the IPv4 address that stands
/// for the same.
///
/// # Errors
/// The address cannot be had.
pub(super) fn listen(address: &IntrospectionAddress) -> io::Result<Listening> {
    match address {
        IntrospectionAddress::Tcp(address) => bind_either(*address, bind_tcp).map(Listening::Tcp),
        IntrospectionAddress::Unix(path) => bind_unix(path).map(Listening::Unix),
    }
}

pub(super) fn bind_either<T>(
    address: SocketAddr,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    bind(address).or_else(|error| match in_ipv4(address) {
        Some(instead) if lacks_ipv6(&error) => bind(instead),
        _ => Err(error),
    })
}

/// The kernel was built or started without IPv6, or no link has an address of it.
fn lacks_ipv6(error: &io::Error) -> bool {
    let unknown = Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(unknown)
}

fn in_ipv4(address: SocketAddr) -> Option<SocketAddr> {
    let IpAddr::V6(v6) = address.ip() else {
        return None;
    };
    let v4 = match v6 {
        any if any.is_unspecified() => Ipv4Addr::UNSPECIFIED,
        loopback if loopback.is_loopback() => Ipv4Addr::LOCALHOST,
        other => other.to_ipv4_mapped()?,
    };
    Some((v4, address.port()).into())
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    // What the daemon before had is free at once.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // `[::]` means both families, whatever net.ipv6.bindv6only says.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A socket that root alone may use. One that a dead daemon has left is
/// replaced; anything else in its place stays.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)?;
    }
    let left_over = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err();
    if left_over {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[cfg(test)]
mod tests;
