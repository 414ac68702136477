//! One HTTP server on a TCP address or on a unix socket.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::Path;

use axum::Router;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use crate::config::IntrospectionAddress;

/// Serves until `shutdown`.
///
/// # Errors
/// The address cannot be had.
pub(super) async fn serve(
    address: &IntrospectionAddress,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let stopped = async move { shutdown.cancelled().await };
    match address {
        IntrospectionAddress::Tcp(address) => {
            let listener = TcpListener::bind(address).await?;
            axum::serve(listener, router)
                .with_graceful_shutdown(stopped)
                .await
        }
        IntrospectionAddress::Unix(path) => {
            let listener = listen(path)?;
            axum::serve(listener, router)
                .with_graceful_shutdown(stopped)
                .await
        }
    }
}

/// A socket that root alone may use. One that a dead daemon has left is
/// replaced; anything else in its place stays.
fn listen(path: &Path) -> io::Result<UnixListener> {
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
