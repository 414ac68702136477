//! gRPC health on a TCP address, for probes that cannot use a unix socket.

use std::net::SocketAddr;

use axum::Router;
use tokio_util::sync::CancellationToken;

use super::http::{Served, keep_serving};
use crate::config::IntrospectionAddress;
use crate::host::HostWatch;

/// For messages.
const HEALTH: Served = Served {
    what: "answers to health probes",
    address: "VENI_HEALTH_ADDRESS",
    disable: "unset it",
};

/// Serves until `shutdown`. While the address is taken probes get no answer, and pods are
/// served all the same.
pub(crate) async fn serve(
    address: SocketAddr,
    probes: Router,
    watch: HostWatch,
    shutdown: CancellationToken,
) {
    let address = IntrospectionAddress::Tcp(address);
    keep_serving(HEALTH, address, probes, watch, shutdown).await;
}
