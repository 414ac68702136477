//! The address pool's planner, and the arithmetic around it.
//!
//! `plan(&Snapshot, &Targets) -> Plan` decides which addresses, prefixes and
//! interfaces to get and which to give back. It is a pure function: no clock,
//! no environment, no I/O and no log; time is a number in the snapshot, and
//! what is under way is part of it.
//!
//! It reads from the outside in: [`snapshot`] and [`targets`] are what it is
//! told, `ledger` adds it up, `goal` says how much there should be, `grow` and
//! `shrink` say how to get there, and [`decide`] puts the [`plan`](mod@plan)
//! together, with its [`reasons`] as data. [`choose`] picks the address of a pod, [`max_pods`] does a node's
//! arithmetic.

pub mod choose;
mod consolidate;
mod counts;
pub mod decide;
mod goal;
mod grow;
pub mod instance_types;
mod ledger;
pub mod max_pods;
pub mod plan;
pub mod reasons;
mod shrink;
pub mod snapshot;
mod subnets;
pub mod targets;

pub use counts::{Counts, counts};
pub use decide::plan;
pub use plan::{Action, Plan, PlannedAction};
pub use reasons::{Hopeless, Note, Obstacle, Reason};
pub use snapshot::*;
pub use targets::{Scheme, Targets};
pub use veni_nouns::{Family, InterfaceId, InterfaceState, SlotKind, SubnetId};
