//! The contract between daemon, plugin and operator's tool: the generated gRPC
//! types, how a pod's namespace travels in front of a connection
//! ([`preamble`]), and how CNI errors travel inside gRPC ones ([`failure`]).
//!
//! It knows nothing of pools, clouds or the kernel.

pub mod failure;
pub mod file_names;
pub mod preamble;

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod server;
pub mod timestamp;

/// The generated types and services of `proto/veni.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the contract's comments become its documentation"
)]
pub mod v1 {
    tonic::include_proto!("veni.v1");
}

/// Folder of the daemon's sockets and journal unless told otherwise.
pub const DEFAULT_RUN_DIR: &str = "/run/veni";

/// Name of the plugin's socket inside the run folder.
pub const CNI_SOCKET: &str = "cni.sock";

/// Name of the operators' socket inside the run folder.
pub const OPERATOR_SOCKET: &str = "operator.sock";

/// Name of the folder, inside the run folder, of the notes that the plugin
/// leaves about DELs while the daemon is down.
pub const PENDING_DIR: &str = "pending";

/// Folder, inside the run folder, of the daemon's journal of endpoints: a file for
/// each, whose name begins as [`file_names::entry_prefix`] says.
pub const ENDPOINTS_DIR: &str = "journal/endpoints";

/// Name of the file, inside the run folder, that the daemon writes when it has
/// become ready to serve ADD. It holds the boot's id
/// (`/proc/sys/kernel/random/boot_id`); STATUS relies on it while the daemon is down.
pub const READY_FILE: &str = "ready";
