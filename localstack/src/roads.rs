//! A road out of a namespace: a TCP port there whose connections lead to an
//! address in the namespace of this process.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::error::LabError;
use crate::namespace::enter;

/// An open road. Dropping the value closes it with all its connections.
#[derive(Debug)]
pub(crate) struct Road {
    _forwarding: AbortOnDropHandle<()>,
}

impl Road {
    /// Opens a road from a port in the namespace at a path.
    ///
    /// # Errors
    /// `Io` when the port cannot be opened there.
    pub(crate) async fn open(
        namespace: &Path,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Result<Self, LabError> {
        let operation = format!("open {from}, which leads to {to}");
        let listener = enter(namespace, move || {
            let listener = TcpListener::bind(from)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .await
        .map_err(LabError::io(operation.clone()))?;
        let listener =
            tokio::net::TcpListener::from_std(listener).map_err(LabError::io(operation))?;
        Ok(Self {
            _forwarding: AbortOnDropHandle::new(tokio::spawn(forward(listener, to))),
        })
    }
}

async fn forward(listener: tokio::net::TcpListener, to: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(carry(stream, to));
                }
                Err(error) => {
                    tracing::warn!(%error, %to, "failed to accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection. If it breaks, both ends are closed, and that is all the error
/// that anybody needs.
async fn carry(mut here: TcpStream, to: SocketAddr) {
    match TcpStream::connect(to).await {
        Ok(mut there) => {
            let _broken = copy_bidirectional(&mut here, &mut there).await;
        }
        Err(error) => tracing::debug!(%error, %to, "nobody listens at the end of the road"),
    }
}
