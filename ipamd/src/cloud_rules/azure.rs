//! The rules of Azure: the batches of Azure's own plugin.

use std::net::{IpAddr, Ipv4Addr};

use veni_dataplane::plan::ClosedAddress;
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
    metadata: &[INSTANCE_METADATA, WIRE_SERVER],
};

/// Gives tokens of the machine's managed identity.
const INSTANCE_METADATA: ClosedAddress = ClosedAddress {
    address: IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    but_port: None,
};

/// Tells agents of the machine what the host wants of them, with its certificates. Its DNS
/// serves pods as well: [what is it](https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16).
const WIRE_SERVER: ClosedAddress = ClosedAddress {
    address: IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    but_port: Some(53),
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
