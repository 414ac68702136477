//! The node daemon as a library: `main` and the tests start the same
//! [`app::App`], the tests with an in-memory kernel where they pause the clock.
//!
//! One owner task holds the pool ([`pool`]); endpoints are made and taken away
//! by tasks of their own ([`endpoints`]); what must not be forgotten stands in
//! the [`journal`].

pub mod app;
mod assigned;
pub mod attachment;
mod cloud;
pub mod config;
pub mod crash;
pub mod endpoints;
pub mod eni_config;
pub mod events;
pub mod host;
mod introspection;
pub mod journal;
pub mod logging;
pub mod metrics;
mod node;
mod node_addresses;
pub mod node_warnings;
mod noted_dels;
pub mod operator;
pub mod pool;
pub mod progress;
mod reconcile;
mod recovery;
mod repairs;
pub mod rpc;
pub mod run_dir;
mod targets;
