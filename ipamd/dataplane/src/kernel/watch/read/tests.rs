use super::*;
use crate::plan::INTERFACE_TABLE_BASE;

const OURS: u32 = 700;
const STRANGER: u32 = 900;

/// A message of a kind, by whom, with what stands before the attributes, and these.
fn message(kind: u16, flags: u16, by: u32, fixed: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut payload = fixed.to_vec();
    for (number, value) in attributes {
        let length = u16::try_from(4 + value.len()).expect("short");
        payload.extend(length.to_ne_bytes());
        payload.extend(number.to_ne_bytes());
        payload.extend(*value);
        payload.resize(payload.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(HEADER + payload.len()).expect("short");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(by.to_ne_bytes());
    bytes.extend(payload);
    bytes
}

fn told(message: &[u8]) -> Changes {
    route(message, &[1, OURS])
}

fn link_message(kind: u16, group: u32, flags: u32, changed: u32) -> Vec<u8> {
    link_message_by(STRANGER, kind, group, flags, changed)
}

fn link_message_by(by: u32, kind: u16, group: u32, flags: u32, changed: u32) -> Vec<u8> {
    let mut fixed = vec![0; 8];
    fixed.extend(flags.to_ne_bytes());
    fixed.extend(changed.to_ne_bytes());
    let name = (3, b"eth1\0".as_slice());
    let group = group.to_ne_bytes();
    message(kind, 0, by, &fixed, &[name, (27, &group)])
}

#[test]
fn links_of_the_node_are_told_and_those_of_pods_only_when_they_are_taken_down() {
    for kind in [kind::NEW_LINK, kind::DEL_LINK] {
        assert!(told(&link_message(kind, 0, UP, 0)).links);
    }
    let taken_down = told(&link_message(kind::NEW_LINK, POD_GROUP, 0, UP));
    assert_eq!((taken_down.pods, taken_down.links), (true, false));
    let up_again = |by| told(&link_message_by(by, kind::NEW_LINK, POD_GROUP, UP, UP)).pods;
    assert!(up_again(STRANGER), "its routes had gone");
    assert!(!up_again(0), "nobody says who it was, and as a rule we are");
    for (kind, group, flags, changed) in [
        (kind::NEW_LINK, POD_GROUP, 0, u32::MAX),
        (kind::NEW_LINK, POD_GROUP, 0, 0),
        (kind::DEL_LINK, POD_GROUP, 0, 0),
        (kind::NEW_LINK, DYING_GROUP, 0, UP),
        (kind::DEL_LINK, DYING_GROUP, 0, UP),
    ] {
        assert!(told(&link_message(kind, group, flags, changed)).is_empty());
    }
}

fn route_message(kind: u16, flags: u16, by: u32, protocol: u8, table: u32) -> Vec<u8> {
    let fixed = [AF_INET, 32, 0, 0, 0, protocol, 0, 1, 0, 0, 0, 0];
    message(kind, flags, by, &fixed, &[(15, &table.to_ne_bytes())])
}

#[test]
fn routes_of_ours_that_others_remove_or_replace_are_told() {
    let gone = |protocol, table| {
        told(&route_message(
            kind::DEL_ROUTE,
            0,
            STRANGER,
            protocol,
            table,
        ))
    };
    assert!(gone(PROTOCOL, POD_TABLE).pods);
    assert!(gone(PROTOCOL, INTERFACE_TABLE_BASE + 1).rules_and_routes);
    assert!(gone(3, POD_TABLE).is_empty(), "another program's route");
    assert!(gone(PROTOCOL, 254).is_empty());
    let put = |flags, table| told(&route_message(kind::NEW_ROUTE, flags, STRANGER, 3, table));
    assert!(put(NLM_F_REPLACE, POD_TABLE).pods);
    assert!(put(NLM_F_REPLACE, INTERFACE_TABLE_BASE + 2).rules_and_routes);
    assert!(put(0, POD_TABLE).is_empty(), "added beside ours");
}

#[test]
fn routes_that_others_make_or_remove_in_the_main_table_are_told() {
    for kind in [kind::NEW_ROUTE, kind::DEL_ROUTE] {
        let changes =
            |flags, protocol, table| told(&route_message(kind, flags, STRANGER, protocol, table));
        assert!(
            changes(0, 3, 254).main_table,
            "made at boot, by DHCP, by hand"
        );
        assert!(changes(NLM_F_REPLACE, 16, 254).main_table);
        assert!(changes(0, 2, 254).is_empty(), "comes with an address");
        assert!(changes(0, 3, 100).is_empty(), "of another table");
    }
}

#[test]
fn what_our_own_sockets_asked_for_is_not_told() {
    for by in [1, OURS] {
        let gone = route_message(kind::DEL_ROUTE, 0, by, PROTOCOL, POD_TABLE);
        assert!(told(&gone).is_empty());
    }
}

#[test]
fn rules_of_ours_that_go_are_told() {
    let rule =
        |kind, protocol: u8| told(&message(kind, 0, STRANGER, &[0; 12], &[(21, &[protocol])]));
    assert!(rule(kind::DEL_RULE, PROTOCOL).rules_and_routes);
    assert!(rule(kind::DEL_RULE, 3).is_empty());
    assert!(rule(32, PROTOCOL).is_empty(), "a new one");
    assert!(told(&message(kind::DEL_RULE, 0, STRANGER, &[0; 12], &[])).is_empty());
}

#[test]
fn addresses_are_told_but_not_those_that_ipv6_makes_by_itself() {
    for kind in [kind::NEW_ADDRESS, kind::DEL_ADDRESS] {
        let address = |family, scope| {
            told(&message(
                kind,
                0,
                0,
                &[family, 24, 0, scope, 2, 0, 0, 0],
                &[],
            ))
        };
        assert!(address(AF_INET, 0).addresses);
        assert!(address(AF_INET, SCOPE_LINK).addresses);
        assert!(address(AF_INET6, 0).addresses);
        assert!(address(AF_INET6, SCOPE_LINK).is_empty());
    }
}

fn setting_told(family: u8, link: i32, settings: &[(u16, i32)]) -> bool {
    let link = link.to_ne_bytes();
    let values: Vec<(u16, [u8; 4])> = settings
        .iter()
        .map(|(n, v)| (*n, v.to_ne_bytes()))
        .collect();
    let mut all: Vec<(u16, &[u8])> = vec![(1, &link)];
    all.extend(
        values
            .iter()
            .map(|(number, value)| (*number, value.as_slice())),
    );
    told(&message(kind::NEW_SETTING, 0, 0, &[family, 0, 0, 0], &all)).settings
}

#[test]
fn settings_are_told_where_they_stop_pods_traffic() {
    let (forwarding, rp_filter) = (2, 3);
    assert!(setting_told(AF_INET, -1, &[(forwarding, 0)]));
    assert!(!setting_told(AF_INET, -1, &[(forwarding, 1)]));
    assert!(setting_told(AF_INET, 2, &[(rp_filter, 1)]));
    assert!(
        setting_told(AF_INET, 2, &[(rp_filter, 0)]),
        "conf/all may be 1"
    );
    assert!(!setting_told(AF_INET, 2, &[(rp_filter, 2)]));
    assert!(
        !setting_told(AF_INET, -1, &[(rp_filter, 1)]),
        "the larger one counts"
    );
    assert!(setting_told(AF_INET6, -1, &[(forwarding, 0)]));
    assert!(!setting_told(AF_INET6, 2, &[(forwarding, 0)]));
    assert!(
        !setting_told(AF_INET, 2, &[(forwarding, 0), (rp_filter, 1)]),
        "a new link"
    );
}

fn nftables_told(kind: u16, family: u8, table: &[u8]) -> bool {
    nftables_told_of(STRANGER, kind, family, table)
}

fn nftables_told_of(asked_by: u32, kind: u16, family: u8, table: &[u8]) -> bool {
    let attributes: &[(u16, &[u8])] = &[(1, table), (2, b"chain\0")];
    let message = message(kind, 0, asked_by, &[family, 0, 0, 0], attributes);
    nftables(&message, &[NETFILTER_PORT]).nftables
}

/// Of our own socket.
const NETFILTER_PORT: u32 = 77;

#[test]
fn only_our_own_tables_of_nftables_are_told_and_what_we_do_ourselves_is_not() {
    let delete_chain = (NFTABLES << 8) | 5;
    let delete_element = (NFTABLES << 8) | 14;
    for table in OUR_TABLES {
        assert!(nftables_told(delete_chain, OUR_FAMILY, table));
        assert!(nftables_told(delete_element, OUR_FAMILY, table));
        let by_ourselves = nftables_told_of(NETFILTER_PORT, delete_element, OUR_FAMILY, table);
        assert!(!by_ourselves);
    }
    assert!(!nftables_told(
        delete_chain,
        OUR_FAMILY,
        b"veni_of_another_tool\0"
    ));
    assert!(!nftables_told(delete_chain, OUR_FAMILY, b"kube-proxy\0"));
    assert!(
        !nftables_told(delete_chain, AF_INET, b"veni\0"),
        "another family's"
    );
    assert!(!nftables_told(0x105, OUR_FAMILY, b"veni\0"), "conntrack");
}

#[test]
fn a_datagram_is_read_message_by_message_and_never_beyond_its_end() {
    let one = route_message(kind::DEL_ROUTE, 0, STRANGER, PROTOCOL, POD_TABLE);
    let two = [one.clone(), one.clone()].concat();
    assert_eq!(messages(&two).count(), 2);
    for cut in 0..one.len() {
        assert_eq!(messages(&two[..one.len() + cut]).count(), 1);
        let mut short = one[..cut].to_vec();
        if cut >= HEADER {
            short[..4].copy_from_slice(&u32::try_from(cut).expect("short").to_ne_bytes());
            assert!(messages(&short).all(|message| {
                let _ = nftables(message, &[]);
                !told(message).overrun
            }));
        }
    }
    assert_eq!(messages(&[0; 64]).count(), 0, "a length of 0 ends it");
}
