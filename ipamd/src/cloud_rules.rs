//! What differs between clouds beside the calls: which settings size the pool, how many
//! pods a node may run, what an operator is advised. A provider's adapter names the rules of its
//! cloud (`app/<provider>.rs`); the daemon asks them and never which cloud it is.
//!
//! What depends on the node as well is a [`veni_provider::Capabilities`], which the
//! provider itself tells: whether interfaces can be attached while the node runs,
//! prefixes, routing by source.

mod aws;
mod azure;

pub use aws::AWS;
pub use azure::AZURE;
use veni_dataplane::plan::ClosedAddress;
use veni_pool::Scheme;
use veni_provider::Node;

use crate::config::{CloudProfile, TargetSettings};

/// The rules of one cloud.
#[derive(Debug, Clone, Copy)]
pub struct CloudRules {
    /// Whose settings size the pool; those of the other profile are not used.
    pub profile: CloudProfile,
    /// Makes the planner's scheme out of these settings.
    pub scheme: fn(&TargetSettings) -> Scheme,
    /// Returns the settings that the scheme follows, by name, with their values.
    pub followed: fn(&TargetSettings) -> Vec<(&'static str, u32)>,
    /// Returns how many pods the node may run where `MAX_PODS` does not say it.
    pub max_pods: fn(&PodLimits<'_>) -> u32,
    /// What to do where IPv6 is refused because the instance type has no IPv6 for pods.
    pub instead_of_ipv6: &'static str,
    /// Where the cloud serves the node itself, by address, and the port that pods may reach
    /// all the same: what is closed to pods if the settings say so.
    pub metadata: &'static [ClosedAddress],
}

/// What limits the pods of a node.
#[derive(Debug, Clone, Copy)]
pub struct PodLimits<'a> {
    /// The node.
    pub node: &'a Node,
    /// The settings, with the mode that the node can follow.
    pub targets: &'a TargetSettings,
    /// Pods have addresses of other subnets: the primary interface gives none.
    pub custom_networking: bool,
}
