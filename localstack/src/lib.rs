//! The cloud on a laptop: a VPC made of network namespaces, the mock cloud or
//! LocalStack's EC2 as its control plane, and nodes whose interfaces are plugged
//! in and pulled as the control plane says.
//!
//! [`Lab::start`] brings one up inside the calling process; `veni lab` and the
//! tests use the same calls. What a lab makes in the kernel lives in unnamed
//! namespaces. They end with the process that made them, even if it is killed. Files
//! stay in one folder, which the next start of the same lab empties.
//!
//! The VPC checks sources as a cloud does: it forwards a packet only if the control
//! plane has assigned the packet's source address to the interface that it came
//! from. So a wrong route or a lost address loses packets here, too.
//!
//! The wires follow a change some 20 ms after the control plane has made it.
//! LocalStack holds its answer until then. An operation of the Resource Manager ends before
//! its caller asks for the end. The mock cloud makes a change in the middle
//! of a call's latency, so the wires are ready before the answer comes. If your mock
//! cloud has no latency, await [`Lab::settled`] after a change.

mod arm;
mod command;
mod config;
#[cfg(feature = "aws")]
mod ec2;
mod emulator;
mod error;
mod feed;
mod folder;
mod internet;
mod lab;
mod last_words;
pub mod metadata;
mod namespace;
mod node;
mod plane;
mod ports;
mod probe;
mod processes;
mod rewiring;
#[cfg(feature = "aws")]
mod roads;
mod security_groups;
mod source_check;
mod vpc;
mod wiring;

pub use arm::{ArmCloud, ArmConfig};
pub use config::{LabConfig, PlaneConfig, with_ipv6};
#[cfg(feature = "aws")]
pub use ec2::{Ec2Cloud, Ec2Config, Ec2Subnet, LocalStack};
pub use emulator::{Control, Emulator, Fill};
pub use error::LabError;
pub use folder::{LabFolder, default_folder};
pub use internet::{INTERNET_V6, RESPONDER_PORT, address_seen_by_internet};
pub use lab::Lab;
pub use last_words::end_of_log;
pub use namespace::{Namespace, command_in, enter};
pub use node::{Node, Pod};
pub use probe::{PingStream, ping, ping_until};
pub use processes::Processes;
pub use rewiring::Wires;
pub use source_check::Dropped;
pub use wiring::{Peers, SecurityRule, WiredInterface, Wiring};

/// The Resource Manager with rules: its configuration and its faults.
pub use veni_arm;
pub use veni_provider::{Operation, SubnetId};
/// The control plane: the mock cloud, its configuration, faults and dump.
pub use veni_provider_mock as mock;

/// Amazon's SDK, as an administrator of a lab's EC2 uses it.
#[cfg(feature = "aws")]
pub use aws_sdk_ec2 as sdk;
