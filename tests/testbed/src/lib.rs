//! What the tests of the kernel lanes share: a lab with the real daemon on every
//! node, the real plugin, readers of what the kernel says, and an auditor.
//!
//! It never links the data plane: what Veni has made is looked at with `ip -j`
//! and `nft -j`, and the numbers by which Veni's things are known stand here once
//! more ([`kernel`]), as an operator would read them out of the documentation.
//! A failure panics with what was expected, what is there and the daemon's log.

pub mod audit;
mod bed;
pub mod binaries;
pub mod cnitool;
mod daemon;
#[cfg(feature = "aws")]
pub mod ec2;
mod evidence;
pub mod kernel;
pub mod plugin;
pub mod traffic;
mod waiting;

pub use bed::{Bed, BedCloud, BedConfig, TestPod};
pub use daemon::{Daemon, Death};
pub use plugin::{Added, CniError};
pub use waiting::{PATIENCE, eventually};

/// The lab that a [`Bed`] is built on.
pub use veni_cloudlab as cloudlab;
