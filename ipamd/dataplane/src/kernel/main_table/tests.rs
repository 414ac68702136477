//! What is copied of a main table, and what is not.

use netlink_packet_route::route::RouteAddress;

use super::*;

const PRIMARY: u32 = 2;
const SECONDARY: u32 = 3;
const BRIDGE: u32 = 4;

fn route(to: Option<([u8; 4], u8)>, link: u32, metric: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.kind = RouteType::Unicast;
    message.header.protocol = RouteProtocol::Dhcp;
    message.header.flags = RouteFlags::Linkdown;
    message.attributes.push(RouteAttribute::Table(MAIN_TABLE));
    if let Some((address, length)) = to {
        message.header.destination_prefix_length = length;
        let address = RouteAddress::Inet(address.into());
        message
            .attributes
            .push(RouteAttribute::Destination(address));
    }
    message.attributes.push(RouteAttribute::Priority(metric));
    message.attributes.push(RouteAttribute::Oif(link));
    message
}

fn hop(link: u32) -> RouteNextHop {
    let mut hop = RouteNextHop::default();
    hop.interface_index = link;
    hop
}

fn by_several(links: &[u32]) -> RouteMessage {
    let mut message = route(None, 0, 5);
    message
        .attributes
        .retain(|attribute| !matches!(attribute, RouteAttribute::Oif(_)));
    let hops = links.iter().map(|link| hop(*link)).collect();
    message.attributes.push(RouteAttribute::MultiPath(hops));
    message
}

fn links_of(main: &[RouteMessage]) -> Vec<(String, Vec<u32>)> {
    copies(main, &[SECONDARY])
        .iter()
        .map(|message| (route::text(message), route::links(message)))
        .collect()
}

#[test]
fn routes_by_secondary_interfaces_are_left_out_and_all_others_copied() {
    let main = [
        route(None, SECONDARY, 1),
        route(None, PRIMARY, 100),
        route(Some(([10, 0, 16, 0], 20)), SECONDARY, 0),
        route(Some(([10, 0, 16, 0], 20)), PRIMARY, 100),
        route(Some(([172, 17, 0, 0], 16)), BRIDGE, 0),
        route(Some(([169, 254, 169, 254], 32)), PRIMARY, 0),
        route(Some(([224, 0, 0, 0], 4)), PRIMARY, 0),
    ];
    assert_eq!(
        links_of(&main),
        [
            ("default".into(), vec![PRIMARY]),
            ("10.0.16.0/20".into(), vec![PRIMARY]),
            ("172.17.0.0/16".into(), vec![BRIDGE]),
            ("169.254.169.254/32".into(), vec![PRIMARY]),
        ]
    );
}

#[test]
fn of_several_next_hops_those_by_other_links_are_left() {
    assert_eq!(
        links_of(&[by_several(&[PRIMARY, SECONDARY])]),
        [("default".into(), vec![PRIMARY])]
    );
    assert_eq!(
        links_of(&[by_several(&[PRIMARY, SECONDARY, BRIDGE])]),
        [("default".into(), vec![PRIMARY, BRIDGE])]
    );
    assert_eq!(links_of(&[by_several(&[SECONDARY, SECONDARY])]), []);
}

#[test]
fn a_copy_says_nothing_of_the_original_s_state_and_is_its_own_copy() {
    for original in [route(None, PRIMARY, 7), by_several(&[PRIMARY, BRIDGE])] {
        let copy = copy(&original);
        assert_eq!(route::table(&copy), PRIMARY_TABLE);
        assert_eq!(copy.header.protocol, RouteProtocol::from(PROTOCOL));
        assert_eq!(copy.header.flags, RouteFlags::empty());
        assert!(equal(&super::copy(&copy), &copy));
        assert!(!equal(&original, &copy));
    }
}

#[test]
fn a_default_route_is_hidden_only_where_there_is_none_but_by_secondary_interfaces() {
    let hidden = |main: &[RouteMessage]| is_default_hidden(main, &copies(main, &[SECONDARY]));
    assert!(hidden(&[route(None, SECONDARY, 1)]));
    assert!(!hidden(&[
        route(None, SECONDARY, 1),
        route(None, BRIDGE, 9)
    ]));
    assert!(!hidden(&[route(Some(([10, 0, 0, 0], 8)), SECONDARY, 1)]));
    assert!(!hidden(&[]), "a node that has none is given none");
}
