//! EC2's description of an interface as the trait's noun.

use std::net::IpAddr;

use aws_sdk_ec2::types::{AttachmentStatus, NetworkInterface};
use ipnet::IpNet;
use veni_provider::{Family, Interface, InterfaceId, InterfaceState, Mac, SubnetId};

use crate::ownership::{Claims, managed, ours};
use crate::subnets::Record;

/// Where an interface is, or is about to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) device_index: u32,
    pub(crate) card: i32,
    pub(crate) state: InterfaceState,
}

/// The place that EC2 tells; `None` for an interface that is not attached.
pub(crate) fn place_of(interface: &NetworkInterface) -> Option<Place> {
    let attachment = interface.attachment()?;
    let state = match attachment.status() {
        Some(AttachmentStatus::Attached) => InterfaceState::Attached,
        Some(AttachmentStatus::Attaching) => InterfaceState::Attaching,
        Some(AttachmentStatus::Detaching) => InterfaceState::Detaching,
        _ => return None,
    };
    Some(Place {
        device_index: u32::try_from(attachment.device_index()?).ok()?,
        card: attachment.network_card_index().unwrap_or(0),
        state,
    })
}

/// The id, if EC2 told one.
pub(crate) fn id_of(interface: &NetworkInterface) -> Option<InterfaceId> {
    interface.network_interface_id().map(InterfaceId::new)
}

/// The interface in the trait's words. `None` when EC2's description lacks what
/// no interface lacks.
///
/// All single IPv6 addresses of the primary interface are the node's own, and
/// pods get IPv6 out of prefixes alone: EC2 does not mark the node's address
/// there as it marks the primary IPv4 address, and the host may take any of
/// them by DHCP. `own_ipv6` is the one that EC2 tells as the instance's, which
/// on a node that was started without may be one that came later.
pub(crate) fn interface(
    described: &NetworkInterface,
    place: Place,
    subnet: Option<&Record>,
    claims: Claims<'_>,
    own_ipv6: Option<IpAddr>,
) -> Option<Interface> {
    let primary = place.device_index == 0 && place.card == 0;
    let (mut own_addresses, mut addresses) = (Vec::new(), Vec::new());
    for (address, own) in all_addresses(described) {
        if own || (primary && address.is_ipv6()) {
            own_addresses.push(address);
        } else {
            addresses.push(address);
        }
    }
    let mut prefixes = all_prefixes(described);
    own_first(&mut own_addresses, own_ipv6);
    addresses.sort_unstable();
    prefixes.sort_unstable();
    Some(Interface {
        id: id_of(described)?,
        mac: described.mac_address()?.parse::<Mac>().ok()?,
        device_index: place.device_index,
        network_card: u32::try_from(place.card).ok()?,
        primary,
        managed: managed(claims, described),
        made_for_pods: !primary && ours(claims.instance, described),
        for_pods: claims.for_pods(primary, subnet),
        state: place.state,
        subnet: SubnetId::new(described.subnet_id()?),
        subnet_cidrs: subnet
            .map(|record| record.cidrs.clone())
            .unwrap_or_default(),
        gateways: subnet.map(Record::gateways).unwrap_or_default(),
        own_addresses,
        addresses,
        prefixes,
    })
}

/// Puts own addresses in order: IPv4 first, and of IPv6 the instance's.
pub(crate) fn own_first(own: &mut [IpAddr], instance_ipv6: Option<IpAddr>) {
    own.sort_unstable_by_key(|address| {
        let another = instance_ipv6 != Some(*address);
        (Family::of(*address), another, *address)
    });
}

/// All single addresses, and whether EC2 calls them the interface's own.
fn all_addresses(described: &NetworkInterface) -> impl Iterator<Item = (IpAddr, bool)> {
    let ipv4 = described.private_ip_addresses().iter().filter_map(|one| {
        let address = one.private_ip_address()?.parse().ok()?;
        Some((address, one.primary() == Some(true)))
    });
    let ipv6 = described.ipv6_addresses().iter().filter_map(|one| {
        let address = one.ipv6_address()?.parse().ok()?;
        Some((address, one.is_primary_ipv6() == Some(true)))
    });
    ipv4.chain(ipv6)
}

fn all_prefixes(described: &NetworkInterface) -> Vec<IpNet> {
    let ipv4 = described.ipv4_prefixes().iter();
    let ipv6 = described.ipv6_prefixes().iter();
    ipv4.filter_map(|one| one.ipv4_prefix()?.parse().ok())
        .chain(ipv6.filter_map(|one| one.ipv6_prefix()?.parse().ok()))
        .collect()
}

/// Ids of the security groups, sorted.
pub(crate) fn groups_of(described: &NetworkInterface) -> Vec<String> {
    let groups = described.groups().iter();
    let mut ids: Vec<String> = groups
        .filter_map(|group| group.group_id().map(str::to_owned))
        .collect();
    ids.sort_unstable();
    ids
}
