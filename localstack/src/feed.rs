//! Turns a control plane's state into a wiring, which says what must be plugged in
//! where. Also makes the mock cloud and serves it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use veni_provider_mock::config::{Peer, SecurityGroup, SecurityRule as CloudRule};
use veni_provider_mock::dump::InterfaceDump;
use veni_provider_mock::server::Server;
use veni_provider_mock::{CloudConfig, MockCloud, NodeConfig};

use crate::error::LabError;
use crate::wiring::{Peers, SecurityRule, WiredInterface, Wiring};

/// Makes a cloud with its nodes.
pub(crate) fn cloud(config: CloudConfig, nodes: &[NodeConfig]) -> Result<MockCloud, LabError> {
    let refused = |error: veni_provider_mock::CloudError| LabError::Cloud {
        operation: "be made".to_owned(),
        reason: error.to_string(),
    };
    let cloud = MockCloud::new(config).map_err(refused)?;
    for node in nodes {
        cloud.add_node(node.clone()).map_err(refused)?;
    }
    Ok(cloud)
}

/// Serves a cloud on a unix socket until told to stop.
pub(crate) fn serve(
    cloud: &MockCloud,
    socket: &Path,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, LabError> {
    let server = Server::bind(cloud.clone(), socket).map_err(LabError::io(format!(
        "serve the mock cloud on {}",
        socket.display()
    )))?;
    Ok(tokio::spawn(server.run(stop)))
}

/// What must be plugged in when nodes of these numbers hold these interfaces.
pub(crate) fn wiring<'a>(
    held: impl IntoIterator<Item = (u32, &'a InterfaceDump)>,
    groups: &[SecurityGroup],
) -> Wiring {
    let wired: Vec<(&InterfaceDump, WiredInterface)> = held
        .into_iter()
        .map(|(number, held)| (held, wire(held, number)))
        .collect();
    let mut members: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (held, interface) in &wired {
        for group in &held.security_groups {
            members.entry(group).or_default().insert(interface.port());
        }
    }
    wired
        .iter()
        .map(|(held, interface)| {
            let mine = || {
                let mine = groups.iter();
                mine.filter(|group| held.security_groups.contains(&group.id))
            };
            let mut interface = interface.clone();
            interface.ingress = mine()
                .flat_map(|group| rules(&group.ingress, &members))
                .collect();
            interface.egress = mine()
                .flat_map(|group| rules(&group.egress, &members))
                .collect();
            interface
        })
        .collect()
}

fn wire(held: &InterfaceDump, node: u32) -> WiredInterface {
    let interface = &held.interface;
    WiredInterface {
        id: interface.id.clone(),
        node,
        device_index: interface.device_index,
        network_card: interface.network_card,
        mac: interface.mac,
        own_addresses: interface.own_addresses.clone(),
        sources: interface.ranges(),
        subnet_cidrs: interface.subnet_cidrs.clone(),
        gateways: interface.gateways.clone(),
        ingress: Vec::new(),
        egress: Vec::new(),
    }
}

fn rules<'a>(
    rules: &'a [CloudRule],
    members: &'a BTreeMap<&str, BTreeSet<String>>,
) -> impl Iterator<Item = SecurityRule> + 'a {
    rules.iter().map(|rule| SecurityRule {
        peers: match &rule.peer {
            Peer::Cidr(range) => Peers::Range(*range),
            Peer::Group(group) => {
                Peers::Ports(members.get(group.as_str()).cloned().unwrap_or_default())
            }
        },
        protocol: rule.protocol,
        ports: rule.ports,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_the_default_group_may_open_flows_to_each_other() {
        let config = CloudConfig::aws().instant();
        let groups = config.security_groups.clone();
        let nodes = ["i-1", "i-2"].map(|id| NodeConfig::new(id, "m5.large", "subnet-a"));
        let cloud = cloud(config, &nodes).expect("a cloud");
        let dump = cloud.dump();
        let held = (1..).zip(&dump.nodes);
        let held = held.flat_map(|(number, node)| node.interfaces.iter().map(move |i| (number, i)));
        let wiring = wiring(held, &groups);
        assert_eq!(wiring.0.keys().collect::<Vec<_>>(), ["n1e0", "n2e0"]);
        let [rule] = &wiring.0["n1e0"].ingress[..] else {
            panic!("one rule");
        };
        let expected = ["n1e0", "n2e0"].map(str::to_owned).into_iter().collect();
        assert_eq!(rule.peers, Peers::Ports(expected));
    }
}
