//! What the tests on the real kernel share: a lab with the real daemon on every node, the
//! real plugin, readers of the kernel's state, and an auditor.
//!
//! This crate never links the data plane. It looks at what Veni has made with `ip -j` and
//! `nft -j`, and [`kernel`] repeats the numbers by which one recognises Veni's objects, as
//! an operator would read them in the documentation. A failure panics with what was
//! expected, what is there, and the daemon's log.

pub mod api_server;
pub mod audit;
mod bed;
pub mod binaries;
pub mod cluster;
pub mod cnitool;
mod daemon;
#[cfg(feature = "aws")]
pub mod ec2;
mod evidence;
pub mod kernel;
pub mod kube_proxy;
pub mod plugin;
pub mod throughput;
pub mod traffic;
mod waiting;

pub use bed::{Bed, BedCloud, BedConfig, TestPod};
pub use daemon::{Daemon, Death};
pub use plugin::{Added, CniError};
pub use waiting::{PATIENCE, eventually};

/// The lab that a [`Bed`] is built on.
pub use veni_cloudlab as cloudlab;
