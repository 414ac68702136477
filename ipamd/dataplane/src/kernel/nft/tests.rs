//! The table's text, against a file that was read by people.

use super::*;
use crate::plan::PRIMARY_MARK;

fn plan() -> NodePlan {
    NodePlan {
        primary_mac: [2, 0, 0, 0, 0, 1],
        primary_gateways: Vec::new(),
        primary_mtu: None,
        node_v4: Some([10, 0, 0, 5].into()),
        node_v6: Some([0xfd00, 0, 0, 0, 0, 0, 0, 5].into()),
        untranslated: ["10.0.0.0/17", "10.0.128.0/17", "172.16.0.1/12", "fd00::/16"]
            .iter()
            .map(|range| range.parse().expect("a prefix"))
            .collect(),
        source_nat: true,
        source_nat_ports: SourceNatPorts::FullyRandom,
        node_ports: true,
        mark: PRIMARY_MARK,
        external_services: Vec::new(),
        no_tcp_early_demux: false,
        egress: None,
        closed_to_pods: Vec::new(),
        veth_prefix: "eni".into(),
    }
}

#[test]
fn the_whole_table_is_as_in_the_golden_file() {
    let text = table(&plan(), "eth0").expect("a table");
    assert_eq!(text, include_str!("golden.nft"), "{text}");
}

#[test]
fn another_mark_stands_wherever_the_usual_one_did() {
    let usual = table(&plan(), "eth0").expect("a table");
    let mut plan = plan();
    plan.mark = 0x300;
    let text = table(&plan, "eth0").expect("a table");
    assert!(usual.contains("0x80"), "{usual}");
    assert_eq!(text, usual.replace("0x80", "0x300"));
}

#[test]
fn node_local_addresses_are_translated_whatever_else_is() {
    let mut plan = plan();
    plan.source_nat = false;
    plan.node_ports = false;
    for (node, family, range) in [
        ("10.0.0.5", "ip", "169.254.172.0/22"),
        ("fd00::5", "ip6", "fd00::ac:0/118"),
    ] {
        plan.egress = Some(node.parse().expect("an address"));
        let text = table(&plan, "eth0").expect("a table");
        let translated = format!("{family} saddr {range} snat {family} to {node} fully-random\n");
        assert_eq!(text.matches(&translated).count(), 1, "{text}");
        let refused =
            format!("{family} daddr {range} ct state != {{ established, related }} reject");
        assert_eq!(text.matches(&refused).count(), 1, "{text}");
        assert!(!text.contains("ct mark set"), "{text}");
    }
}

#[test]
fn addresses_are_closed_to_pods_whatever_else_the_table_does() {
    let mut plan = plan();
    plan.source_nat = false;
    plan.node_ports = false;
    plan.closed_to_pods = [("169.254.169.254", None), ("168.63.129.16", Some(53))]
        .map(|(address, but_port)| ClosedAddress {
            address: address.parse().expect("an address"),
            but_port,
        })
        .to_vec();
    let text = table(&plan, "eth0").expect("a table");
    let pods_alone = "iifgroup != 0x5650 return\n";
    let (_, chain) = text.rsplit_once(pods_alone).expect("the chain");
    let rules: Vec<&str> = chain.lines().take(6).map(str::trim).collect();
    let expected = [
        "ip saddr 169.254.169.254 drop",
        "ip saddr 168.63.129.16 drop",
        "ct direction reply return",
        "ip daddr 169.254.169.254 reject with icmpx admin-prohibited",
        "ip daddr 168.63.129.16 meta l4proto { tcp, udp } th dport 53 return",
        "ip daddr 168.63.129.16 reject with icmpx admin-prohibited",
    ];
    assert_eq!(rules, expected, "{text}");
}

#[test]
fn a_plan_without_marks_and_translation_needs_no_table() {
    let mut plan = plan();
    plan.source_nat = false;
    plan.node_ports = false;
    assert_eq!(table(&plan, "eth0"), None);
}

#[test]
fn ipv6_is_translated_only_when_its_untranslated_ranges_are_named() {
    let mut plan = plan();
    plan.untranslated.retain(|range| !is_v6(range));
    let text = table(&plan, "eth0").expect("a table");
    assert!(!text.contains("snat ip6"), "{text}");
    assert!(text.contains("snat ip to 10.0.0.5 fully-random"), "{text}");
}

#[test]
fn without_translation_no_connection_of_pods_is_marked() {
    let mut plan = plan();
    plan.source_nat = false;
    let text = table(&plan, "eth0").expect("a table");
    assert!(!text.contains("snat"), "{text}");
    assert!(!text.contains("untranslated"), "{text}");
    let (_, of_pods) = text.split_once("chain marks").expect("its chain");
    assert!(!of_pods.contains("ct mark set"), "{text}");
    assert!(text.contains("ct mark set"), "the look sees one");
}
