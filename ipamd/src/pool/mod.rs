//! The pool's owner: one task that holds what the pool knows, asks the planner
//! after every change, and starts what the plan says. Everybody else sends it
//! commands through a [`Pool`].
//!
//! [`task`] is the loop. Each of its parts keeps its own state: [`holdings`] what the node
//! has, [`queue`] who waits, [`expected`] who will come, [`refresh`] when the inventory is asked for, [`changes`] what
//! is changed in the cloud (with [`releases`] and [`backoff`]), [`interface_setup`] what
//! the kernel is asked for, [`planning`] the plans, [`memory`] what a restart needs,
//! [`news`] what operators are told. [`reconcile`] compares the holdings with an inventory,
//! and [`apply`] does what follows.

mod answers;
mod apply;
mod backends;
mod backoff;
mod beliefs;
mod call_kind;
mod change;
mod changes;
mod choice;
mod consequences;
mod difference;
mod expected;
mod handle;
mod held_back;
mod holdings;
mod interface;
mod interface_setup;
mod learned_limits;
mod leases;
mod local_view;
mod memory;
mod metrics;
mod news;
mod node_addresses;
mod operations;
mod origin;
mod planning;
mod presence;
mod queue;
mod rechecks;
mod reconcile;
mod refresh;
mod releases;
mod report;
mod routing_tables;
mod seed;
mod settings;
mod snapshot;
mod subnets;
mod task;
#[cfg(test)]
mod testing;
mod tombstones;

pub(crate) use backends::Backends;
pub(crate) use beliefs::{Beliefs, BelievedInterface, CloudDifference};
#[cfg(feature = "kube")]
pub(crate) use call_kind::CallKind;
#[cfg(test)]
pub(crate) use change::Cause;
pub use choice::Lease;
#[cfg(test)]
pub(crate) use handle::Command;
pub(crate) use handle::Wishes;
pub use handle::{AcquireError, Attempt, Pool, Wear};
#[cfg(any(test, feature = "kube"))]
pub(crate) use held_back::HeldBack;
pub(crate) use leases::Holder;
pub(crate) use metrics::PoolMetrics;
pub(crate) use operations::Operations;
pub(crate) use origin::Recalled;
pub use refresh::{REFRESH_AT_REST, REFRESH_WITH_LOCAL_VIEW};
pub(crate) use report::{
    ActionReport, AddressReport, AddressState, InterfaceReport, InterfaceState, PrefixReport,
    SubnetReport,
};
#[cfg(test)]
pub(crate) use report::{ExhaustionReport, LevelCounts, Remark, Why};
pub use report::{PlanReport, PoolReport};
pub(crate) use routing_tables::FoundTables;
pub(crate) use seed::{Dying, Found, Living, Seed};
pub(crate) use settings::PoolSettings;
pub(crate) use task::PoolTask;
