//! The provider for Amazon EC2: elastic network interfaces, their secondary
//! addresses and delegated prefixes, through Amazon's own SDK.
//!
//! What may be given to a pod comes from a change's own answer or from a
//! Describe. A call is sent once, after waiting for its budget: the SDK repeats
//! nothing, so that every call is counted and seen.

mod actions;
mod attach;
mod budgets;
mod connect;
mod debris;
mod denials;
mod detach;
mod ec2;
mod failure;
mod iam;
mod identity;
mod imds;
mod instance_types;
mod interfaces;
mod inventory;
mod maintenance;
mod memory;
mod metadata;
mod network;
mod optional;
mod ownership;
mod pace;
mod placement;
mod provider;
mod requests;
mod resume;
mod settings;
mod slots;
mod subnets;
mod tags;

pub use actions::{Action, ActionCall, ActionObserver, NoActionObserver, Undeleted};
pub use connect::connect;
pub use iam::policy as iam_policy;
pub use instance_types::{TypeFacts, TypeLookup};
#[cfg(feature = "fuzz")]
pub use metadata::read_interface;
pub use placement::{Placement, placement};
pub use provider::AwsProvider;
pub use resume::{Remembered, resume};
pub use settings::{AwsSettings, CustomNetwork, CustomNetworkLookup, InstanceOverrides};
