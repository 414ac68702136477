//! An Azure Resource Manager with rules, for tests and labs: the NICs of virtual machines,
//! virtual networks and subnets with real free space, long-running operations, etags,
//! buckets of calls, tokens, and the instance metadata of each machine.
//!
//! Its answers follow from rules and from its state; none is recorded. A rule cites
//! Microsoft's document where there is one, and says so where there is none and the harsher
//! possibility was taken. What it does not know it refuses with 404, as ARM does.
//!
//! It is used in process ([`Arm::handle`], on a paused clock as well) or served over HTTP
//! ([`serve`]). It speaks for no real Azure: what no document says is unproven there.

mod addresses;
mod allocation;
mod arm;
mod buckets;
mod config;
mod faults;
mod held;
mod message;
mod metadata;
mod nic;
mod operations;
mod paths;
mod population;
mod reads;
mod refusal;
mod serve;
mod state;
mod tokens;
mod writes;

pub use arm::Arm;
pub use buckets::{Bucket, Buckets};
pub use config::{Config, NodeConfig, PollingStyle};
pub use faults::{Fault, FaultKind, Matcher};
pub use held::HeldNic;
pub use message::{Request, Response};
pub use population::UnknownResource;
pub use serve::{serve, serve_metadata};
