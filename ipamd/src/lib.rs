//! The node daemon as a library: `main` and the tests start the same
//! [`app::App`], the tests with an in-memory kernel where they pause the clock.
//!
//! One owner task holds the pool ([`pool`]); endpoints are made and taken away
//! by tasks of their own ([`endpoints`]); what must not be forgotten stands in
//! the [`journal`].

pub mod app;
mod assigned;
pub mod attachment;
pub mod clock;
mod cloud;
mod cloud_metrics;
pub mod cloud_rules;
pub mod cluster;
pub mod config;
pub mod crash;
pub mod endpoints;
#[cfg(feature = "bpf")]
pub mod enforcement;
pub mod events;
pub mod host;
pub mod journal;
pub mod log_levels;
pub mod logging;
mod metrics;
mod node;
mod node_addresses;
mod node_check;
mod node_metrics;
pub mod node_warnings;
mod noted_dels;
pub mod pool;
mod private_file;
pub mod progress;
mod reconcile;
mod repairs;
#[cfg(feature = "replay")]
pub mod replay;
mod retry;
pub mod run_dir;
pub mod serve;
mod start;
mod targets;
