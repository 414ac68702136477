//! What an ADD asks for, and the record of what is about to be made for it.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::time::Instant;
use veni_dataplane::{Bandwidth, DefaultRoute, EndpointPlan, PodAddress, PortMapping};
use veni_provider::random;

use super::settings::EndpointSettings;
use crate::attachment::{AttachmentKey, PodName, random_mac};
use crate::clock::{boot_millis, millis, unix_millis};
use crate::journal::endpoint::{Record, RecordState};
use crate::pool::Lease;

/// An ADD as the plugin asks for it.
#[derive(Debug)]
pub struct AddOrder {
    /// What is attached.
    pub key: AttachmentKey,
    /// The pod behind it, as far as the runtime told.
    pub pod: PodName,
    /// The pod's namespace.
    pub namespace: OwnedFd,
    /// MTU, bytes; 0 leaves it to the settings.
    pub mtu: u32,
    /// Whether it takes the pod's default route; `None` where nobody said.
    pub is_default_gateway: Option<bool>,
    /// Limits of its bandwidth.
    pub bandwidth: Bandwidth,
    /// Ports of the node that lead to the pod.
    pub port_mappings: Vec<PortMapping>,
}

impl AddOrder {
    /// The interface that a runtime makes first takes all packets. Those beside it, of
    /// Multus and its like, take those from their own addresses unless more is asked for.
    fn default_route(&self) -> DefaultRoute {
        match (self.key.is_first_interface(), self.is_default_gateway) {
            (true, None | Some(true)) => DefaultRoute::Only,
            (false, Some(true)) => DefaultRoute::InFront,
            (false, None) | (_, Some(false)) => DefaultRoute::None,
        }
    }
}

/// An order with addresses for it.
pub(super) struct Leased {
    pub(super) order: AddOrder,
    pub(super) lease: Lease,
    /// When the ADD began.
    pub(super) begun: Instant,
    /// How long it waited for the addresses.
    pub(super) waited: Duration,
}

/// The record of an ADD before anything is made. It has no node-local address yet.
pub(super) fn intent(leased: &Leased, host_link: String, settings: &EndpointSettings) -> Record {
    let order = &leased.order;
    let since = millis(leased.begun.elapsed());
    let created_ms = unix_millis().saturating_sub(since);
    let default_route = order.default_route();
    let addresses = leased.lease.addresses.iter();
    Record {
        id: new_id(&order.key, created_ms),
        key: order.key.clone(),
        pod: order.pod.clone(),
        state: RecordState::Adding,
        plan: EndpointPlan {
            pod: order.pod.label(),
            pod_link: order.key.interface_name.clone(),
            host_link,
            pod_mac: random_mac(),
            host_mac: random_mac(),
            mtu: match order.mtu {
                0 => settings.pod_mtu,
                mtu => mtu,
            },
            addresses: addresses
                .map(|address| PodAddress { address: *address })
                .collect(),
            node_addresses: settings.node_addresses.clone(),
            egress: None,
            // Another plugin may have given the pod IPv6 by another interface.
            no_ipv6: settings.no_ipv6 && default_route == DefaultRoute::Only,
            default_route,
            bandwidth: order.bandwidth,
            port_mappings: order.port_mappings.clone(),
        },
        links: None,
        cloud_interface: leased.lease.interface.to_string(),
        created_ms,
        created_boot_ms: boot_millis().saturating_sub(since),
        add_micros: 0,
        waited_micros: micros(leased.waited),
        released_boot_ms: None,
    }
}

/// Another for every ADD, also for two of one attachment within a millisecond and
/// under two daemons: the reaper of the first must not forget the second. The plugin
/// finds the entry by how it begins.
fn new_id(key: &AttachmentKey, created_ms: u64) -> String {
    let chance: u32 = random::any();
    let prefix = veni_api::file_names::entry_prefix(key.parts());
    format!("{prefix}{created_ms:012x}-{chance:08x}")
}

/// Whole microseconds.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::key;
    use super::*;

    #[test]
    fn each_add_has_an_id_of_its_own_that_begins_as_the_plugin_looks_for_it() {
        let (first, second) = (new_id(&key("a"), 1), new_id(&key("a"), 1));
        assert_ne!(first, second);
        let prefix = veni_api::file_names::entry_prefix(key("a").parts());
        assert!(first.starts_with(&prefix) && second.starts_with(&prefix));
    }

    #[test]
    fn durations_are_whole_microseconds_and_end_at_the_greatest() {
        assert_eq!(micros(std::time::Duration::from_nanos(1_999)), 1);
        assert_eq!(micros(std::time::Duration::MAX), u64::MAX);
    }
}
