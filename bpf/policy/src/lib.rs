//! Kubernetes' NetworkPolicies, resolved. Pure: it watches nothing, and only [`folder`] reads files.
//!
//! [`objects`] are what comes in: policies, namespaces and pods, as the API has them. [`resolved`]
//! is what comes out: for each pod and direction, which addresses it may talk to by which
//! ports. No selector and no name is left in it, so that a packet's addresses and ports decide.
//!
//! [`compile`] is the function from the one to the other. A [`Cluster`] gives the same while objects
//! come and go, and says which pods are concerned. [`delta`] says what differs between two
//! sets; the kernel gets whole ones so far. What the node itself sends and receives is no matter of policies.

mod blocks;
mod cluster;
mod compile;
mod delta;
pub mod folder;
mod lookup;
pub mod objects;
mod once;
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
