//! Kubernetes' NetworkPolicies, resolved.
//!
//! [`resolved`] is what comes out: for each pod and direction, which addresses it may talk to
//! by which ports. No selector and no name is left in it, so that a packet's addresses and
//! ports decide.

mod blocks;
mod cluster;
mod compile;
mod delta;
pub mod folder;
mod lookup;
pub mod objects;
mod ports;
pub mod resolved;
mod set;
mod state;
mod subject;
mod terms;

pub use cluster::{Cluster, Needed};
pub use compile::compile;
pub use delta::{Delta, delta};
pub use lookup::Verdict;
pub use resolved::{Class, Direction, PodPolicy, PortRange, Ports, Protocol, RuleSet, Side};
