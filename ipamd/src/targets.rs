//! From settings and node to the pool's targets.

use std::time::Duration;

use veni_pool::max_pods::{self, Machine, Settings};
use veni_pool::{Scheme, SlotKind, Targets};
use veni_provider::{Capabilities, Family, Node};

use crate::config::{CloudProfile, Config, NodeFacts, TargetSettings};
use crate::pool::PoolSettings;

/// Refuses settings that this node cannot follow at all, and says which it
/// follows in part.
///
/// # Errors
/// IPv6 on an instance type of AWS without delegated prefixes.
pub(crate) fn check(
    config: &Config,
    profile: CloudProfile,
    node: &Node,
    can: &Capabilities,
) -> anyhow::Result<()> {
    let kind = &node.instance_type;
    let of_aws = profile == CloudProfile::Aws;
    anyhow::ensure!(
        !(of_aws && config.network.ipv6 && !can.ipv6_prefixes),
        "ENABLE_IPv6=true: instance type {kind} takes no IPv6 prefixes; use a type that runs on \
         the Nitro hypervisor or on bare metal, or set ENABLE_IPv6=false"
    );
    if config.targets.mode != mode_of(&config.targets, can) {
        tracing::warn!(
            instance_type = %kind,
            "ENABLE_PREFIX_DELEGATION=true is not followed: this instance type takes no prefixes, \
             only those on the Nitro hypervisor and on bare metal do; single addresses are held"
        );
    }
    Ok(())
}

/// What slots are filled with: prefixes only where the cloud has them.
fn mode_of(targets: &TargetSettings, can: &Capabilities) -> SlotKind {
    match targets.mode {
        SlotKind::Prefix if can.ipv4_prefixes => SlotKind::Prefix,
        _ => SlotKind::Address,
    }
}

/// What the pool shall hold on this node.
pub(crate) fn pool_settings(
    config: &Config,
    profile: CloudProfile,
    node: &Node,
    can: &Capabilities,
) -> PoolSettings {
    let targets = &TargetSettings {
        mode: mode_of(&config.targets, can),
        ..config.targets.clone()
    };
    let custom = config.custom_network.is_some();
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
        targets_in_words: in_words(targets, custom, profile),
        node_name: config.node_name.clone().unwrap_or_default(),
        max_pods: max_pods_of(targets, custom, profile, node),
        max_interfaces: targets.max_eni,
        cooldown: config.timing.cooldown,
        inventory_interval: config.timing.inventory,
        denied_retry: config.timing.denied_retry,
        subnet_retry: config.timing.subnet_retry,
        doubt_time: config.timing.doubt,
        glance_interval: config.timing.glance,
        interface_mtu: config.network.interface_mtu,
        families: families(config),
    }
}

/// What the node has told, for the settings in force.
pub(crate) fn facts(profile: CloudProfile, node: &Node, settings: &PoolSettings) -> NodeFacts {
    NodeFacts {
        profile,
        instance_type: node.instance_type.clone(),
        max_interfaces: node.limits.interfaces,
        max_pods: settings.max_pods,
        prefixes: settings.targets.mode == SlotKind::Prefix,
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

fn max_pods_of(
    targets: &TargetSettings,
    custom_networking: bool,
    profile: CloudProfile,
    node: &Node,
) -> u32 {
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
                custom_networking,
                // The recommendation is for who sets kubelet's number. Here it would
                // refuse pods that kubelet has been told to take.
                uncapped: true,
                ..Settings::new(targets.mode)
            };
            max_pods::aws(&machine, &settings).pods
        }
        CloudProfile::Azure => max_pods::azure(targets.mode, false).pods,
    }
}

fn in_words(
    targets: &TargetSettings,
    custom_networking: bool,
    profile: CloudProfile,
) -> Vec<String> {
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
    if custom_networking {
        words.push("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true".to_owned());
    }
    if !targets.provisioning {
        words.push("DISABLE_NETWORK_RESOURCE_PROVISIONING=true".to_owned());
    }
    words
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use veni_provider::Limits;

    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        let lookup = |name: &str| {
            let mut all = pairs.iter().chain(&[("VENI_PROVIDER", "mock")]);
            let found = all.find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Config::try_new(&lookup, "i-1").expect("the settings are valid")
    }

    /// An m4.large: Xen, two interfaces of ten addresses.
    fn old_node() -> Node {
        Node {
            instance_id: "i-1".to_owned(),
            instance_type: "m4.large".to_owned(),
            zone: String::new(),
            limits: Limits {
                interfaces: 2,
                ipv4_per_interface: 10,
                ipv6_per_interface: 10,
                vcpus: 2,
            },
            network_cidrs: Vec::new(),
        }
    }

    fn can(prefixes: bool) -> Capabilities {
        Capabilities {
            attach_while_running: true,
            ipv4_prefixes: prefixes,
            ipv6_prefixes: prefixes,
            ipv6_addresses: true,
            source_routing: true,
            release: true,
            batch: 50,
            settle_time: Duration::ZERO,
        }
    }

    #[test]
    fn prefix_delegation_falls_back_to_addresses_where_the_type_has_no_prefixes() {
        let config = config(&[("ENABLE_PREFIX_DELEGATION", "true")]);
        let of = |prefixes| pool_settings(&config, CloudProfile::Aws, &old_node(), &can(prefixes));
        assert_eq!(of(true).targets.mode, SlotKind::Prefix);
        // 2 × (10 − 1) × 16 + 2: what is recommended is kubelet's business.
        assert_eq!(of(true).max_pods, 290);
        assert_eq!(of(false).targets.mode, SlotKind::Address);
        // 2 × (10 − 1) + 2, and what is said is what is done.
        assert_eq!(of(false).max_pods, 20);
        assert_eq!(of(false).targets_in_words, ["WARM_ENI_TARGET=1"]);
        let checked = check(&config, CloudProfile::Aws, &old_node(), &can(false));
        checked.expect("single addresses do");
    }

    #[test]
    fn ipv6_is_refused_where_the_type_has_no_prefixes() {
        let config = config(&[("ENABLE_IPv6", "true")]);
        let of = |profile, prefixes| check(&config, profile, &old_node(), &can(prefixes));
        let error = of(CloudProfile::Aws, false).expect_err("is refused");
        let text = error.to_string();
        assert!(
            text.starts_with("ENABLE_IPv6=true: ") && text.contains("m4.large"),
            "{text}"
        );
        of(CloudProfile::Aws, true).expect("Nitro does");
        of(CloudProfile::Azure, false).expect("Azure has no prefixes at all");
    }

    #[cfg(feature = "aws")]
    #[test]
    fn custom_networking_takes_the_primary_interface_out_of_the_number_of_pods() {
        let of = |custom| {
            let config = config(&[
                ("VENI_PROVIDER", "aws"),
                ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", custom),
            ]);
            pool_settings(&config, CloudProfile::Aws, &old_node(), &can(true))
        };
        assert_eq!(of("false").max_pods, 20);
        let custom = of("true");
        assert_eq!(custom.max_pods, 11);
        let said = "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true".to_owned();
        assert!(custom.targets_in_words.contains(&said));
    }
}
