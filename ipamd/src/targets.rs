//! From settings and node to the pool's targets.

use std::time::Duration;

use veni_pool::max_pods::{self, Machine, Settings};
use veni_pool::{Scheme, SlotKind, Targets};
use veni_provider::{Family, Node};

use crate::config::{CloudProfile, Config, TargetSettings};
use crate::pool::PoolSettings;

/// What the pool shall hold on this node.
pub(crate) fn pool_settings(config: &Config, profile: CloudProfile, node: &Node) -> PoolSettings {
    let targets = &config.targets;
    let scheme = match profile {
        CloudProfile::Aws => Scheme::Aws {
            warm_eni: targets.warm_eni,
            warm_ip: targets.warm_ip,
            minimum_ip: targets.minimum_ip,
            warm_prefix: targets.warm_prefix,
        },
        CloudProfile::Azure => Scheme::Azure {
            batch: targets.batch,
            request_percent: targets.request_percent,
            release_percent: targets.release_percent,
        },
    };
    let with_delay = |mode, scheme| Targets {
        release_delay_ms: millis(targets.release_delay),
        detach_age_ms: millis(targets.detach_age),
        provisioning: targets.provisioning,
        ..Targets::with(mode, scheme)
    };
    PoolSettings {
        targets: with_delay(targets.mode, scheme),
        targets_v6: with_delay(
            SlotKind::Prefix,
            // A single /80 outlasts the node; none is needed to spare.
            Scheme::Aws {
                warm_eni: 0,
                warm_ip: None,
                minimum_ip: Some(1),
                warm_prefix: None,
            },
        ),
        targets_in_words: in_words(targets, profile),
        max_pods: max_pods_of(targets, profile, node),
        max_interfaces: targets.max_eni,
        cooldown: config.timing.cooldown,
        inventory_interval: config.timing.inventory,
        denied_retry: config.timing.denied_retry,
        subnet_retry: config.timing.subnet_retry,
        glance_interval: config.timing.glance,
        interface_mtu: config.network.interface_mtu,
        families: families(config),
    }
}

/// The families that pods get, IPv4 first.
pub(crate) fn families(config: &Config) -> Vec<Family> {
    let wanted = [
        (config.network.ipv4, Family::V4),
        (config.network.ipv6, Family::V6),
    ];
    wanted
        .into_iter()
        .filter_map(|(on, family)| on.then_some(family))
        .collect()
}

fn max_pods_of(targets: &TargetSettings, profile: CloudProfile, node: &Node) -> u32 {
    if let Some(pods) = targets.max_pods {
        return pods;
    }
    match profile {
        CloudProfile::Aws => {
            let machine = Machine {
                interfaces: node.limits.interfaces,
                addresses_per_interface: node.limits.ipv4_per_interface,
                vcpus: (node.limits.vcpus > 0).then_some(node.limits.vcpus),
            };
            let settings = Settings {
                max_interfaces: targets.max_eni,
                ..Settings::new(targets.mode)
            };
            max_pods::aws(&machine, &settings).pods
        }
        CloudProfile::Azure => max_pods::azure(targets.mode, false).pods,
    }
}

fn in_words(targets: &TargetSettings, profile: CloudProfile) -> Vec<String> {
    let mut words = Vec::new();
    let mut say = |name: &str, value: Option<u32>| {
        words.extend(value.map(|value| format!("{name}={value}")));
    };
    match profile {
        CloudProfile::Aws => {
            let by_addresses = targets.warm_ip.is_some() || targets.minimum_ip.is_some();
            say("WARM_IP_TARGET", targets.warm_ip);
            say("MINIMUM_IP_TARGET", targets.minimum_ip);
            if !by_addresses && targets.mode == SlotKind::Prefix {
                say("WARM_PREFIX_TARGET", targets.warm_prefix);
            }
            if !by_addresses && targets.mode == SlotKind::Address {
                say("WARM_ENI_TARGET", Some(targets.warm_eni));
            }
            say("MAX_ENI", targets.max_eni);
        }
        CloudProfile::Azure => {
            say("VENI_POOL_BATCH", Some(targets.batch));
            say("VENI_POOL_REQUEST_PERCENT", Some(targets.request_percent));
            say("VENI_POOL_RELEASE_PERCENT", Some(targets.release_percent));
        }
    }
    if targets.mode == SlotKind::Prefix {
        words.push("ENABLE_PREFIX_DELEGATION=true".to_owned());
    }
    if !targets.provisioning {
        words.push("DISABLE_NETWORK_RESOURCE_PROVISIONING=true".to_owned());
    }
    words
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
