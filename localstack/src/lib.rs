//! The cloud on a laptop: a VPC made of network namespaces, the mock cloud as
//! its control plane, and nodes whose interfaces are plugged in and pulled as
//! the control plane says.
//!
//! [`Lab::start`] brings one up inside the calling process; `veni lab` and the
//! tests use the same calls. What a lab makes in the kernel lives in unnamed
//! namespaces that end with the process that made them, also when it is killed;
//! files stay in one folder, which the next start of the same lab empties.
//!
//! The wires are honest: the VPC forwards a packet only if its source address
//! is one that the control plane has assigned to the interface it came from,
//! so a wrong route or a lost address loses packets here as it would in a cloud.
//!
//! The wires follow a change some 20 ms after the control plane has made it. The
//! mock cloud makes it in the middle of a call's latency, so it is there when the
//! answer is; with a cloud without latency, await [`Lab::settled`] first.

mod command;
mod config;
mod emulator;
mod error;
mod feed;
mod folder;
mod internet;
mod lab;
pub mod metadata;
mod namespace;
mod node;
mod ports;
mod probe;
mod processes;
mod security_groups;
mod source_check;
mod vpc;
mod wiring;

pub use config::{LabConfig, with_ipv6};
pub use emulator::{Control, Emulator, Fill};
pub use error::LabError;
pub use folder::{LabFolder, default_folder};
pub use internet::{INTERNET_V6, RESPONDER_PORT, address_seen_by_internet};
pub use lab::Lab;
pub use namespace::{Namespace, command_in, enter};
pub use node::{Node, Pod};
pub use probe::{PingStream, ping, ping_until};
pub use processes::Processes;
pub use source_check::Dropped;
pub use wiring::{Peers, SecurityRule, WiredInterface, Wiring};

pub use veni_provider::{Operation, SubnetId};
/// The control plane: the mock cloud, its configuration, faults and dump.
pub use veni_provider_mock as mock;
