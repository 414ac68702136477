//! The node itself: what the kernel is told to make of it, at the start and
//! again and again.

use std::net::IpAddr;

use ipnet::IpNet;
use veni_dataplane::NodePlan;
use veni_provider::{Family, Inventory, Node};

use crate::cloud_rules::CloudRules;
use crate::cluster::{Place, region_of};
use crate::config::Config;
use crate::journal::CloudMemory;
use crate::targets::families;

/// The primary interface's own addresses, IPv4 first.
pub(crate) fn own_addresses(inventory: &Inventory) -> Vec<IpAddr> {
    let primary = inventory.interfaces.iter().find(|i| i.primary);
    let mut own = primary.map_or_else(Vec::new, |i| i.own_addresses.clone());
    own.sort_by_key(IpAddr::is_ipv6);
    own
}

/// Where the node is, as far as its cloud tells.
pub(crate) fn place(config: &Config, node: &Node) -> Place {
    Place {
        region: region_of(&node.zone),
        zone: node.zone.clone(),
        instance_type: node.instance_type.clone(),
        node_name: config.name().to_owned(),
    }
}

/// Where pods keep their own address: in the network, and in further ranges.
pub(crate) fn untranslated(network: Vec<IpNet>, further: &[IpNet]) -> Vec<IpNet> {
    network.into_iter().chain(further.iter().copied()).collect()
}

/// The node's own address that node-local addresses of pods are translated to; `None`
/// where pods get none.
pub(crate) fn egress(config: &Config, own: &[IpAddr]) -> Option<IpAddr> {
    let family = config.kernel.egress?;
    let found = own.iter().find(|address| Family::of(**address) == family);
    if found.is_none() {
        let setting = match family {
            Family::V4 => "ENABLE_V4_EGRESS",
            Family::V6 => "ENABLE_V6_EGRESS",
        };
        tracing::warn!(
            setting,
            "switched off: the node has no address of that family on its primary interface, so \
             pods open no flows of it"
        );
    }
    found.copied()
}

/// The node's own address that the node-local addresses of pods are translated to
/// that run already. What the settings say of new pods must not end their flows.
pub(crate) fn egress_of_pods(
    node_local: impl IntoIterator<Item = IpAddr>,
    own: &[IpAddr],
) -> Option<IpAddr> {
    node_local.into_iter().find_map(|pods| {
        let same = |address: &&IpAddr| address.is_ipv4() == pods.is_ipv4();
        own.iter().find(same).copied()
    })
}

pub(crate) fn node_plan(
    config: &Config,
    rules: &CloudRules,
    memory: &CloudMemory,
    own: &[IpAddr],
    egress: Option<IpAddr>,
) -> NodePlan {
    let primary = memory.inventory.interfaces.iter().find(|i| i.primary);
    let network = memory.node.network_cidrs.clone();
    let wanted = families(config);
    NodePlan {
        primary_mac: primary.map_or([0; 6], |interface| interface.mac.0),
        primary_gateways: primary.map_or_else(Vec::new, |interface| interface.gateways.clone()),
        primary_mtu: Some(config.network.interface_mtu),
        node_v4: own.iter().find_map(|address| match address {
            IpAddr::V4(address) if wanted.contains(&Family::V4) => Some(*address),
            _ => None,
        }),
        node_v6: own.iter().find_map(|address| match address {
            IpAddr::V6(address) if wanted.contains(&Family::V6) => Some(*address),
            _ => None,
        }),
        untranslated: untranslated(network, &config.network.untranslated),
        source_nat: config.network.source_nat,
        source_nat_ports: config.network.source_nat_ports,
        node_ports: config.network.node_ports,
        mark: config.kernel.mark,
        external_services: config.kernel.external_services.clone(),
        no_tcp_early_demux: config.kernel.no_tcp_early_demux,
        egress,
        closed_to_pods: match config.network.metadata_closed {
            true => rules.metadata.to_vec(),
            false => Vec::new(),
        },
        veth_prefix: config.network.veth_prefix.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str]) -> Vec<IpAddr> {
        let parsed = texts.iter().map(|text| text.parse());
        parsed.map(|address| address.expect("an address")).collect()
    }

    #[test]
    fn pods_that_have_node_local_addresses_keep_their_way_out() {
        let own = all(&["10.0.0.4", "2600::4"]);
        let of = |pods: &[&str], own: &[IpAddr]| egress_of_pods(all(pods), own);
        assert_eq!(of(&["169.254.172.9"], &own), Some(own[0]));
        assert_eq!(of(&["fd00::ac:9"], &own), Some(own[1]));
        assert_eq!(of(&["fd00::ac:9"], &own[..1]), None, "the node has none");
        assert_eq!(of(&[], &own), None);
    }
}
