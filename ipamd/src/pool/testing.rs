//! A pool of one interface, for the tests of its parts.

use std::time::Duration;

use tokio::time::Instant;
use veni_nouns::{Family, InterfaceId, InterfaceState, SlotKind, SubnetId};
use veni_provider::{Capabilities, Interface, Limits, Mac, Node, SourceRouting};

use super::holdings::Holdings;

/// The MAC of the primary interface.
pub(super) const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// How long a change takes to show in an inventory.
pub(super) const SETTLE: Duration = Duration::from_secs(5);

/// The primary interface `eni-1` with 10.0.0.4 of its own, and 10.0.0.9 for pods.
pub(super) fn interface() -> Interface {
    Interface {
        id: InterfaceId::new("eni-1"),
        mac: MAC,
        device_index: 0,
        network_card: 0,
        primary: true,
        managed: true,
        made_for_pods: false,
        for_pods: true,
        state: InterfaceState::Attached,
        subnet: SubnetId::new("subnet-a"),
        subnet_cidrs: Vec::new(),
        gateways: Vec::new(),
        own_addresses: vec!["10.0.0.4".parse().expect("an address")],
        addresses: vec!["10.0.0.9".parse().expect("an address")],
        prefixes: Vec::new(),
    }
}

/// A pool without interfaces.
pub(super) fn empty() -> Holdings {
    let node = Node {
        instance_id: "i-1".to_owned(),
        instance_type: "m5.large".to_owned(),
        zone: String::new(),
        limits: Limits {
            interfaces: 3,
            ipv4_per_interface: 10,
            ipv6_per_interface: 0,
            vcpus: 2,
        },
        network_cidrs: Vec::new(),
    };
    let capabilities = Capabilities {
        attach_while_running: true,
        ipv4_prefixes: true,
        ipv6_prefixes: false,
        ipv6_addresses: false,
        source_routing: SourceRouting::BySource,
        release: true,
        batch: 50,
        lists_own_alone: false,
        settle_time: SETTLE,
    };
    Holdings::new(
        node,
        capabilities,
        vec![Family::V4],
        SlotKind::Address,
        Duration::from_secs(120),
    )
}

/// A pool of that interface.
pub(super) fn holdings() -> Holdings {
    let mut holdings = empty();
    holdings.add_attached(interface(), Instant::now());
    holdings
}
