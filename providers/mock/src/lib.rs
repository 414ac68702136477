//! A cloud with rules, for tests, the lab and the demo: subnets with real free
//! space and fragmentation, limits per instance type, eventual consistency,
//! latency, throttling, faults and permissions. Deterministic by seed under a
//! paused clock, in process or served to several processes.
//!
//! It is a fake, not a mock: it keeps the rules of the clouds it stands for
//! and asserts nothing about its callers.

pub mod admin;
pub mod allocator;
pub mod change;
pub mod client;
pub mod cloud;
pub mod config;
mod connection;
pub mod dump;
pub mod faults;
pub mod instances;
mod node;
mod operations;
mod population;
pub mod provider;
mod refusal;
pub mod server;
pub mod settings;
mod slots;
mod state;
mod subnet;
mod throttle;
mod visibility;
pub mod wire;

pub use admin::{AdminClient, AdminError, FollowError, Follower};
pub use change::Change;
pub use client::RemoteMock;
pub use cloud::{CloudError, MockCloud};
pub use config::{CloudConfig, Latencies, Latency, NodeConfig, Profile, SubnetConfig, Throttle};
pub use connection::ConnectionError;
pub use dump::{CloudDump, FaultDump};
pub use faults::{Fault, FaultId, FaultKind};
pub use provider::MockProvider;
pub use server::{Server, serve};
pub use settings::{MockSettings, connect};
