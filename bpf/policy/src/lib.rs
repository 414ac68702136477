//! Kubernetes' NetworkPolicies, resolved.
//!
//! [`resolved`] is what comes out: for each pod and direction, which addresses it may talk to
//! by which ports. No selector and no name is left in it, so that a packet's addresses and
//! ports decide.

pub mod folder;
pub mod objects;
pub mod resolved;

pub use resolved::{Class, Direction, PodPolicy, PortRange, Ports, Protocol, RuleSet, Side};
