//! A port of the VPC: the veth pair behind one attached interface, and the
//! routes to what is assigned to it. Renders lines for `ip -batch`.
//!
//! Packets to an assigned address go to the interface's MAC, as in a cloud:
//! each next hop is a permanent neighbour, so nothing on the node has to answer
//! ARP for a pod.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use veni_provider::Mac;

use crate::wiring::WiredInterface;

/// MTU of a cloud's network with large frames (AWS), bytes.
pub(crate) const MTU: u32 = 9001;

/// Lines, for the VPC's namespace, that plug an interface into the node whose
/// namespace process `holder` lives in. It appears there as a hot-plugged interface
/// does: with its MAC, down and without an address.
pub(crate) fn plug(interface: &WiredInterface, holder: u32) -> Vec<String> {
    let (port, mac) = (interface.port(), interface.mac);
    let mut lines = vec![
        format!(
            "link add {port} mtu {MTU} type veth peer name {} address {mac} mtu {MTU} netns {holder}",
            interface.link()
        ),
        // By default the kernel delays a proxy's answer by up to 0.8 s.
        format!("ntable change name arp_cache dev {port} proxy_delay 0"),
        format!("link set {port} up"),
    ];
    // A cloud delivers by MAC and does not ask the node's ARP, so neither does the VPC.
    for hop in next_hops(interface) {
        lines.push(format!(
            "neigh replace {hop} lladdr {mac} dev {port} nud permanent"
        ));
    }
    // The router answers for IPv4 gateways on every port (see `vpc.rs`). IPv6 neighbour
    // discovery answers only for addresses of the port itself.
    for gateway in interface.gateways.iter().filter(|one| one.is_ipv6()) {
        lines.push(format!("address replace {gateway}/128 dev {port} nodad"));
    }
    lines.extend(add_routes(interface, interface.sources.iter()));
    lines
}

/// Lines that route sources to the interface.
pub(crate) fn add_routes<'a>(
    interface: &WiredInterface,
    sources: impl Iterator<Item = &'a IpNet>,
) -> Vec<String> {
    let port = interface.port();
    sources
        .map(
            |source| match next_hop(interface, source.addr().is_ipv4()) {
                // `onlink`, because the VPC has no subnet on the port that the hop is in.
                Some(hop) if IpNet::from(hop) != *source => {
                    format!("route replace {source} via {hop} dev {port} onlink")
                }
                _ => format!("route replace {source} dev {port}"),
            },
        )
        .collect()
}

/// Lines that take routes away.
pub(crate) fn remove_routes<'a>(
    interface: &WiredInterface,
    sources: impl Iterator<Item = &'a IpNet>,
) -> Vec<String> {
    let port = interface.port();
    sources
        .map(|source| format!("route del {source} dev {port}"))
        .collect()
}

/// Line, for the VPC's namespace, that pulls an interface. The node's end and all routes
/// go with it.
pub(crate) fn unplug(interface: &WiredInterface) -> String {
    format!("link del {}", interface.port())
}

/// Lines, for the node's namespace, that set its first interface up as a booted
/// node has it: address, subnet, default route.
pub(crate) fn boot(interface: &WiredInterface) -> Vec<String> {
    let link = interface.link();
    let mut lines = vec![format!("link set {link} up")];
    for address in &interface.own_addresses {
        if address.is_ipv4() {
            let length = interface
                .subnet_cidrs
                .iter()
                .find(|cidr| cidr.contains(address))
                .map_or(32, IpNet::prefix_len);
            lines.push(format!("address replace {address}/{length} dev {link}"));
        } else {
            lines.push(format!("address replace {address}/128 dev {link} nodad"));
        }
    }
    for gateway in &interface.gateways {
        if interface.own(gateway.is_ipv4()).is_some() {
            lines.push(format!(
                "route replace default via {gateway} dev {link} onlink"
            ));
        }
    }
    lines
}

/// The next hop for an interface's addresses: its own address, or, for IPv6, the
/// link-local address that follows from its MAC.
fn next_hop(interface: &WiredInterface, ipv4: bool) -> Option<IpAddr> {
    if ipv4 {
        interface.own(true)
    } else {
        Some(link_local(interface.mac).into())
    }
}

fn next_hops(interface: &WiredInterface) -> impl Iterator<Item = IpAddr> {
    let ipv6 = interface.gateways.iter().any(IpAddr::is_ipv6);
    let hops = [
        interface.own(true),
        interface.own(false),
        next_hop(interface, false),
    ];
    hops.into_iter()
        .flatten()
        .filter(move |hop| hop.is_ipv4() || ipv6)
}

/// The link-local address of a MAC (RFC 4291, appendix A).
fn link_local(Mac([a, b, c, d, e, f]): Mac) -> Ipv6Addr {
    let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        pair(a ^ 2, b),
        pair(c, 0xff),
        pair(0xfe, d),
        pair(e, f),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::tests::interface;

    #[test]
    fn a_prefix_is_routed_through_the_interface_s_own_address() {
        let one = interface(1, 0, &["10.0.0.16/28"]);
        let lines = add_routes(&one, one.sources.iter());
        assert_eq!(
            lines,
            [
                "route replace 10.0.0.10/32 dev n1e0",
                "route replace 10.0.0.16/28 via 10.0.0.10 dev n1e0 onlink",
            ]
        );
    }

    #[test]
    fn a_booted_node_has_its_address_with_the_subnet_s_length_and_a_default_route() {
        assert_eq!(
            boot(&interface(2, 0, &[])),
            [
                "link set eth0 up",
                "address replace 10.0.0.20/24 dev eth0",
                "route replace default via 10.0.0.1 dev eth0 onlink",
            ]
        );
    }

    #[test]
    fn a_mac_stands_for_the_link_local_address_that_the_kernel_would_make() {
        let expected: Ipv6Addr = "fe80::1034:56ff:fe78:9abc".parse().expect("an address");
        assert_eq!(
            link_local(Mac([0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc])),
            expected
        );
    }
}
