//! The rules of AWS: the targets of the AWS VPC CNI.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use veni_dataplane::plan::ClosedAddress;
use veni_pool::max_pods::{self, Machine, Settings};
use veni_pool::{Scheme, SlotKind};

use super::{CloudRules, PodLimits};
use crate::config::{CloudProfile, TargetSettings};

/// The rules of AWS.
pub const AWS: CloudRules = CloudRules {
    profile: CloudProfile::Aws,
    scheme,
    followed,
    max_pods,
    instead_of_ipv6: "use a type that runs on the Nitro hypervisor or on bare metal, or set \
                      ENABLE_IPv6=false",
    metadata: &[
        closed(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254))),
        closed(IpAddr::V6(Ipv6Addr::new(
            0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254,
        ))),
    ],
};

const fn closed(address: IpAddr) -> ClosedAddress {
    ClosedAddress {
        address,
        but_port: None,
    }
}

fn scheme(targets: &TargetSettings) -> Scheme {
    Scheme::Aws {
        warm_eni: targets.warm_eni,
        warm_ip: targets.warm_ip,
        minimum_ip: targets.minimum_ip,
        warm_prefix: targets.warm_prefix,
    }
}

fn followed(targets: &TargetSettings) -> Vec<(&'static str, u32)> {
    let by_addresses = targets.warm_ip.is_some() || targets.minimum_ip.is_some();
    let prefixes = targets.mode == SlotKind::Prefix;
    let followed = [
        ("WARM_IP_TARGET", targets.warm_ip),
        ("MINIMUM_IP_TARGET", targets.minimum_ip),
        (
            "WARM_PREFIX_TARGET",
            targets.warm_prefix.filter(|_| !by_addresses && prefixes),
        ),
        (
            "WARM_ENI_TARGET",
            (!by_addresses && !prefixes).then_some(targets.warm_eni),
        ),
        ("MAX_ENI", targets.max_eni),
    ];
    let set = |(name, value): (&'static str, Option<u32>)| Some((name, value?));
    followed.into_iter().filter_map(set).collect()
}

fn max_pods(limits: &PodLimits<'_>) -> u32 {
    let of_type = &limits.node.limits;
    let machine = Machine {
        interfaces: of_type.interfaces,
        addresses_per_interface: of_type.ipv4_per_interface,
        vcpus: (of_type.vcpus > 0).then_some(of_type.vcpus),
    };
    let settings = Settings {
        max_interfaces: limits.targets.max_eni,
        custom_networking: limits.custom_networking,
        // The recommendation is for who sets kubelet's number. Here it would refuse pods
        // that kubelet has been told to take.
        uncapped: true,
        ..Settings::new(limits.targets.mode)
    };
    max_pods::aws(&machine, &settings).pods
}
