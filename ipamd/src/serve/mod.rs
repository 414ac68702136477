//! How others talk to the daemon: the plugin ([`cni`]) and operators ([`operator`]) by
//! gRPC, scripts ([`introspection`]) and Prometheus ([`metrics`]) by HTTP;
//! probes ask for health ([`health`]) by gRPC on an address of its own.
//!
//! Translation only: here alone the core's own types become protobuf, JSON and text, and
//! requests become the core's types. Nothing here decides or keeps anything of the pool.

mod bandwidth;
pub mod cni;
#[cfg(test)]
pub(crate) mod fixtures;
pub(crate) mod health;
mod http;
pub(crate) mod introspection;
pub(crate) mod metrics;
mod names;
pub mod operator;
mod port_mappings;

use std::time::Duration;

/// Whole seconds, rounded up: 0 means that it is over.
fn seconds_up(left: Duration) -> u32 {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
