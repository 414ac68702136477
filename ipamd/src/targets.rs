//! From settings and node to the pool's targets.

use veni_pool::{Scheme, SlotKind, Targets};
use veni_provider::{Capabilities, Family, Node};

use crate::clock::millis;
use crate::cloud_rules::{CloudRules, PodLimits};
use crate::config::{Config, NodeFacts, TargetSettings};
use crate::pool::PoolSettings;

/// Refuses settings that this node cannot follow at all, and says which it
/// follows in part.
///
/// # Errors
/// IPv6 on an instance type that has neither prefixes nor single addresses of it for
/// pods.
pub(crate) fn check(
    config: &Config,
    rules: &CloudRules,
    node: &Node,
    can: &Capabilities,
) -> anyhow::Result<()> {
    let kind = &node.instance_type;
    anyhow::ensure!(
        !config.network.ipv6 || can.ipv6_prefixes || can.ipv6_addresses,
        "ENABLE_IPv6=true: instance type {kind} takes no IPv6 prefixes; {}",
        rules.instead_of_ipv6
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

/// The settings, as far as this node can follow them.
fn targets_on(config: &Config, can: &Capabilities) -> TargetSettings {
    TargetSettings {
        mode: mode_of(&config.targets, can),
        ..config.targets.clone()
    }
}

/// What the pool shall hold on this node.
pub(crate) fn pool_settings(
    config: &Config,
    rules: &CloudRules,
    node: &Node,
    can: &Capabilities,
) -> PoolSettings {
    let targets = &targets_on(config, can);
    let custom = config.custom_network.is_some();
    let with_delay = |mode, scheme| Targets {
        release_delay_ms: millis(targets.release_delay),
        detach_age_ms: millis(targets.detach_age),
        provisioning: targets.provisioning,
        ..Targets::with(mode, scheme)
    };
    PoolSettings {
        targets: with_delay(targets.mode, (rules.scheme)(targets)),
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
        max_pods: targets.max_pods.unwrap_or_else(|| {
            (rules.max_pods)(&PodLimits {
                node,
                targets,
                custom_networking: custom,
            })
        }),
        max_interfaces: targets.max_eni,
        cooldown: config.timing.cooldown,
        inventory_interval: config.timing.inventory,
        denied_retry: config.timing.denied_retry,
        subnet_retry: config.timing.subnet_retry,
        doubt_time: config.timing.doubt,
        local_view_interval: config.timing.local_view,
        interface_mtu: config.network.interface_mtu,
        families: families(config),
    }
}

/// What the node has told, for the settings in force.
pub(crate) fn facts(rules: &CloudRules, node: &Node, settings: &PoolSettings) -> NodeFacts {
    NodeFacts {
        profile: rules.profile,
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

/// The targets in force on this node, each as `NAME=value`.
pub(crate) fn targets_in_words(
    config: &Config,
    rules: &CloudRules,
    can: &Capabilities,
) -> Vec<String> {
    let targets = &targets_on(config, can);
    let followed = (rules.followed)(targets).into_iter();
    let followed = followed.map(|(name, value)| format!("{name}={value}"));
    let mut words: Vec<String> = followed.collect();
    if targets.mode == SlotKind::Prefix {
        words.push("ENABLE_PREFIX_DELEGATION=true".to_owned());
    }
    if config.custom_network.is_some() {
        words.push("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true".to_owned());
    }
    if !targets.provisioning {
        words.push("DISABLE_NETWORK_RESOURCE_PROVISIONING=true".to_owned());
    }
    words
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use veni_provider::{Limits, SourceRouting};

    use super::*;
    use crate::cloud_rules::{AWS, AZURE};

    fn config(pairs: &[(&str, &str)]) -> Config {
        let lookup = |name: &str| {
            let mut all = pairs.iter().chain(&[("VENI_PROVIDER", "mock")]);
            let found = all.find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Config::try_new(&crate::app::providers(), &lookup, "i-1").expect("the settings are valid")
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

    /// What EC2 can do for a node, where single IPv6 addresses are the node's own.
    fn can(prefixes: bool) -> Capabilities {
        Capabilities {
            attach_while_running: true,
            ipv4_prefixes: prefixes,
            ipv6_prefixes: prefixes,
            ipv6_addresses: false,
            source_routing: SourceRouting::BySource,
            release: true,
            batch: 50,
            lists_own_alone: false,
            settle_time: Duration::ZERO,
        }
    }

    #[test]
    fn prefix_delegation_falls_back_to_addresses_where_the_type_has_no_prefixes() {
        let config = config(&[("ENABLE_PREFIX_DELEGATION", "true")]);
        let of = |prefixes| pool_settings(&config, &AWS, &old_node(), &can(prefixes));
        assert_eq!(of(true).targets.mode, SlotKind::Prefix);
        // 2 × (10 − 1) × 16 + 2: what is recommended is kubelet's business.
        assert_eq!(of(true).max_pods, 290);
        assert_eq!(of(false).targets.mode, SlotKind::Address);
        // 2 × (10 − 1) + 2, and what is said is what is done.
        assert_eq!(of(false).max_pods, 20);
        let words = targets_in_words(&config, &AWS, &can(false));
        assert_eq!(words, ["WARM_ENI_TARGET=1"]);
        let checked = check(&config, &AWS, &old_node(), &can(false));
        checked.expect("single addresses do");
    }

    #[test]
    fn ipv6_is_refused_where_the_type_has_no_prefixes() {
        let config = config(&[("ENABLE_IPv6", "true")]);
        let of = |prefixes| check(&config, &AWS, &old_node(), &can(prefixes));
        let error = of(false).expect_err("is refused");
        let text = error.to_string();
        assert!(
            text.starts_with("ENABLE_IPv6=true: ") && text.contains("m4.large"),
            "{text}"
        );
        of(true).expect("Nitro does");
        let singles = Capabilities {
            ipv6_addresses: true,
            ..can(false)
        };
        let checked = check(&config, &AZURE, &old_node(), &singles);
        checked.expect("Azure has single addresses");
    }

    #[cfg(feature = "aws")]
    #[test]
    fn custom_networking_takes_the_primary_interface_out_of_the_number_of_pods() {
        let with = |custom| {
            config(&[
                ("VENI_PROVIDER", "aws"),
                ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", custom),
            ])
        };
        let max_pods =
            |custom| pool_settings(&with(custom), &AWS, &old_node(), &can(true)).max_pods;
        assert_eq!(max_pods("false"), 20);
        assert_eq!(max_pods("true"), 11);
        let said = "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true".to_owned();
        assert!(targets_in_words(&with("true"), &AWS, &can(true)).contains(&said));
    }
}
