//! The rules of Azure: the batches of Azure's own plugin.

use veni_pool::{Scheme, max_pods};

use super::{CloudRules, PodLimits};
use crate::config::{CloudProfile, TargetSettings};

/// The rules of Azure.
pub const AZURE: CloudRules = CloudRules {
    profile: CloudProfile::Azure,
    scheme,
    followed,
    max_pods,
    instead_of_ipv6: "set ENABLE_IPv6=false",
};

fn scheme(targets: &TargetSettings) -> Scheme {
    Scheme::Azure {
        batch: targets.batch,
        request_percent: targets.request_percent,
        release_percent: targets.release_percent,
    }
}

fn followed(targets: &TargetSettings) -> Vec<(&'static str, u32)> {
    vec![
        ("VENI_POOL_BATCH", targets.batch),
        ("VENI_POOL_REQUEST_PERCENT", targets.request_percent),
        ("VENI_POOL_RELEASE_PERCENT", targets.release_percent),
    ]
}

fn max_pods(limits: &PodLimits<'_>) -> u32 {
    max_pods::azure(limits.targets.mode, false).pods
}
