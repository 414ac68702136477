//! The nouns that the planner, the providers and the daemon share: an interface's id
//! and state, a subnet's id, the address family, and what a range of addresses is
//! worth to pods.
//!
//! Plain data and arithmetic: no cloud, no kernel, no policy. Each noun is defined
//! here once, so that a plan and a cloud call never need a translation.

mod family;
mod id;
pub mod range;
mod slot;
mod state;

pub use family::Family;
pub use id::{InterfaceId, OperationId, SubnetId};
pub use slot::SlotKind;
pub use state::InterfaceState;

/// The network card that the primary interface is on. Pods get addresses of
/// interfaces on this card alone, and only these count against the node's limit.
pub const DEFAULT_NETWORK_CARD: u32 = 0;
