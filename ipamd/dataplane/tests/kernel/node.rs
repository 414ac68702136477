//! What the node as a whole gets: settings, rules, and our nftables table.

use serde_json::Value;
use veni_dataplane::plan::{PRIMARY_MARK, SourceNatPorts};
use veni_dataplane::{DataPlane, Kernel, NodePlan, RepairKind};

use crate::world::{
    Namespace, in_new_node, in_new_node_with_mounts, ip, link_names, make_settings_read_only, nft,
    nft_json, plug, pod_plan, rules, text,
};

/// A node with the primary address 10.0.0.5 in a network 10.0.0.0/16.
pub(crate) fn plan() -> NodePlan {
    NodePlan {
        primary_mac: [0x02, 0, 0, 0, 0, 0x10],
        primary_gateways: Vec::new(),
        primary_mtu: None,
        node_v4: Some("10.0.0.5".parse().expect("v4")),
        node_v6: Some("fd00::5".parse().expect("v6")),
        untranslated: vec![
            "10.0.0.0/16".parse().expect("v4"),
            "fd00::/16".parse().expect("v6"),
        ],
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

/// A setting of the test's own namespace: the kernel shows those of who reads.
fn setting(name: &str) -> String {
    let value = std::fs::read_to_string(format!("/proc/sys/net/{name}"));
    value.expect("a setting").trim().to_owned()
}

fn set(name: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{name}"), value).expect("a setting");
}

fn chains(table: &str) -> Vec<(String, i64)> {
    let objects = nft_json(table);
    let chains = objects.iter().filter_map(|object| object.get("chain"));
    chains
        .map(|chain| {
            (
                text(&chain["hook"]),
                chain["prio"].as_i64().unwrap_or_default(),
            )
        })
        .collect()
}

#[test]
fn a_prepared_node_forwards_and_has_the_rules_of_all_pods() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        let report = kernel.prepare_node(&plan()).await.expect("prepared");
        assert_eq!(report.primary_link, "eth0");
        assert_eq!(report.warnings, Vec::<String>::new());
        assert_eq!(setting("ipv4/ip_forward"), "1");
        assert_eq!(setting("ipv4/conf/eth0/rp_filter"), "2");
        assert_eq!(setting("ipv6/conf/all/forwarding"), "1");
        assert_eq!(setting("ipv6/conf/eth0/accept_ra"), "2");
        for family in ["-4", "-6"] {
            let present = rules(family).join("\n");
            assert!(
                present.contains("512 from all lookup 22016 proto 86"),
                "{present}"
            );
            for wanted in [
                "1024 from all fwmark 0x80/0x80 goto 32763 proto 86",
                "32763 not from all iif lo lookup 254 suppress_ifgroup 22099 proto 86",
                "32764 not from all iif lo lookup 22017 proto 86",
            ] {
                assert!(present.contains(wanted), "{present}");
            }
        }
    });
}

#[test]
fn preparing_again_changes_nothing_and_an_old_default_of_ours_is_replaced() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        ip("rule add priority 512 from all lookup 77 protocol 86");
        ip("rule add priority 512 from all lookup 78 protocol 4");
        kernel.prepare_node(&plan()).await.expect("prepared");
        let first = (rules("-4"), rules("-6"), nft_json("inet veni"));
        let words = first.0.join("\n");
        assert!(!words.contains("lookup 77"), "{words}");
        assert!(words.contains("lookup 78"), "{words}");
        let report = kernel.prepare_node(&plan()).await.expect("prepared");
        assert_eq!(report.warnings, Vec::<String>::new());
        assert_eq!((rules("-4"), rules("-6"), nft_json("inet veni")), first);
    });
}

#[test]
fn external_services_have_rules_that_follow_the_plan_and_others_rules_stay() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        ip("rule add priority 1535 to 192.0.2.0/24 lookup 99");
        ip("rule add priority 1535 to 192.0.2.0/24 lookup main protocol 4");
        let services = |texts: &[&str]| {
            let mut plan = plan();
            let ranges = texts.iter().map(|text| text.parse().expect("a range"));
            plan.external_services = ranges.collect();
            plan
        };
        let present = |family| {
            let mut rules = rules(family);
            rules.retain(|rule| rule.starts_with("1535") && rule.contains("proto 86"));
            rules
        };
        let both = services(&["203.0.113.7/24", "203.0.113.0/24", "2001:db8::/32"]);
        for _ in 0..2 {
            let report = kernel.prepare_node(&both).await.expect("prepared");
            assert_eq!(report.warnings, Vec::<String>::new());
            assert_eq!(
                present("-4"),
                ["1535 from all to 203.0.113.0/24 goto 32763 proto 86"]
            );
            assert_eq!(
                present("-6"),
                ["1535 from all to 2001:db8::/32 goto 32763 proto 86"]
            );
        }
        // A later start with other ranges.
        let later = Kernel::try_new().expect("sockets");
        let other = services(&["198.51.100.0/24"]);
        later.prepare_node(&other).await.expect("prepared");
        assert_eq!(
            present("-4"),
            ["1535 from all to 198.51.100.0/24 goto 32763 proto 86"]
        );
        assert_eq!(present("-6"), Vec::<String>::new());
        ip("rule del priority 1535 to 198.51.100.0/24");
        assert_eq!(present("-4"), Vec::<String>::new());
        later.prepare_node(&other).await.expect("prepared");
        assert_eq!(present("-4").len(), 1, "the audit makes it again");
        later.prepare_node(&plan()).await.expect("prepared");
        let left = rules("-4").join("\n");
        assert_eq!(left.matches("1535 ").count(), 2, "{left}");
        assert!(left.contains("lookup 99"), "{left}");
    });
}

#[test]
fn another_mark_leaves_no_rule_of_the_one_before() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        kernel.prepare_node(&plan()).await.expect("prepared");
        ip("rule add priority 1024 fwmark 0x80/0x80 lookup 99");
        let mut other = plan();
        other.mark = 0x300;
        let later = Kernel::try_new().expect("sockets");
        later.prepare_node(&other).await.expect("prepared");
        let mut present = rules("-4");
        present.retain(|rule| rule.contains("fwmark"));
        present.sort();
        assert_eq!(
            present,
            [
                "1024 from all fwmark 0x300/0x300 goto 32763 proto 86",
                "1024 from all fwmark 0x80/0x80 lookup 99"
            ]
        );
        let table = serde_json::to_string(&nft_json("inet veni")).expect("JSON");
        assert!(table.contains("768"), "{table}");
        assert!(!table.contains("128"), "{table}");
    });
}

#[test]
fn early_demultiplexing_is_switched_off_when_asked_and_else_left_alone() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        kernel.prepare_node(&plan()).await.expect("prepared");
        assert_eq!(setting("ipv4/tcp_early_demux"), "1");
        let mut off = plan();
        off.no_tcp_early_demux = true;
        kernel.prepare_node(&off).await.expect("prepared");
        assert_eq!(setting("ipv4/tcp_early_demux"), "0");
        set("ipv4/tcp_early_demux", "1");
        kernel.prepare_node(&off).await.expect("prepared");
        assert_eq!(
            setting("ipv4/tcp_early_demux"),
            "0",
            "the audit sets it again"
        );
        kernel.prepare_node(&plan()).await.expect("prepared");
        assert_eq!(setting("ipv4/tcp_early_demux"), "0");
    });
}

#[test]
fn our_chains_have_priorities_that_nobody_else_uses() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        kernel.prepare_node(&plan()).await.expect("prepared");
        let mut present = chains("inet veni");
        present.sort();
        assert_eq!(
            present,
            [
                ("postrouting".into(), 111),
                ("prerouting".into(), -137),
                ("prerouting".into(), -87)
            ]
        );
        let mut present = chains("inet veni_host_ports");
        present.retain(|(hook, _)| !hook.is_empty());
        present.sort();
        assert_eq!(
            present,
            [
                ("output".into(), -127),
                ("postrouting".into(), 93),
                ("prerouting".into(), -143),
                ("prerouting".into(), -127),
                ("prerouting".into(), -89),
            ]
        );
    });
}

#[test]
fn a_changed_plan_replaces_the_table_and_leaves_those_of_others() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        nft("table inet theirs { chain mine { type filter hook prerouting priority -137; }; }");
        let theirs = nft_json("inet theirs");
        kernel.prepare_node(&plan()).await.expect("prepared");
        assert_eq!(chains("inet veni").len(), 3);
        let mut without = plan();
        without.source_nat = false;
        kernel.prepare_node(&without).await.expect("prepared");
        assert_eq!(chains("inet veni").len(), 2);
        without.node_ports = false;
        kernel.prepare_node(&without).await.expect("prepared");
        assert_eq!(nft_json("inet veni"), Vec::<Value>::new());
        assert_eq!(nft_json("inet theirs"), theirs);
        // Traffic of host ports is marked all the same.
        assert!(rules("-4").join("\n").contains("fwmark"));
    });
}

#[test]
fn a_table_that_another_program_deleted_is_loaded_again() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        kernel.prepare_node(&plan()).await.expect("prepared");
        nft("flush ruleset");
        let report = kernel.prepare_node(&plan()).await.expect("prepared");
        assert_eq!(chains("inet veni").len(), 3);
        let kinds: Vec<RepairKind> = report.repairs.iter().map(|repair| repair.kind).collect();
        assert_eq!(kinds, [RepairKind::Nftables; 2], "{:?}", report.repairs);
    });
}

#[test]
fn every_way_of_choosing_ports_is_loaded() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        for (ports, flag) in [
            (SourceNatPorts::FullyRandom, "fully-random"),
            (SourceNatPorts::Random, "random"),
            (SourceNatPorts::Keep, ""),
        ] {
            let mut plan = plan();
            plan.source_nat_ports = ports;
            kernel.prepare_node(&plan).await.expect("prepared");
            let objects = nft_json("inet veni");
            let rules = objects.iter().filter_map(|object| object.get("rule"));
            let snat = rules
                .flat_map(|rule| rule["expr"].as_array().cloned().unwrap_or_default())
                .find_map(|part| part.get("snat").cloned())
                .expect("a rule that translates");
            assert_eq!(snat["addr"], "10.0.0.5");
            assert_eq!(text(&snat["flags"]), flag);
        }
    });
}

#[test]
fn a_firewall_that_drops_forwarded_packets_is_warned_of_with_its_cure() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        nft(
            "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }",
        );
        let report = kernel.prepare_node(&plan()).await.expect("prepared");
        assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
        let cure = "nft chain ip filter FORWARD '{ policy accept; }'";
        let told = &report.warnings[0];
        assert!(told.contains(&format!("({cure})")), "{told}");
        nft("chain ip filter FORWARD { policy accept; }");
        let report = kernel.prepare_node(&plan()).await.expect("prepared");
        assert_eq!(report.warnings, Vec::<String>::new());
    });
}

#[test]
fn a_default_route_by_a_secondary_interface_is_warned_of() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        plug("eth1", "02:00:00:00:00:11", &wire, "wire1");
        ip("link set eth0 up");
        ip("link set eth1 up");
        ip("route add default dev eth0 metric 100");
        let report = kernel.prepare_node(&plan()).await.expect("prepared");
        assert_eq!(report.warnings, Vec::<String>::new());
        ip("route add default dev eth1 metric 50");
        let report = kernel.prepare_node(&plan()).await.expect("prepared");
        assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
        assert!(
            report.warnings[0].contains("default route"),
            "{:?}",
            report.warnings
        );
    });
}

#[test]
fn a_setting_that_every_pod_needs_and_cannot_be_made_is_an_error_with_a_command() {
    in_new_node_with_mounts(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        make_settings_read_only();
        let kernel_inside = Kernel::try_new().expect("sockets");
        drop(kernel);
        let error = kernel_inside
            .prepare_node(&plan())
            .await
            .expect_err("read-only");
        let words = error.to_string();
        assert!(words.contains("sysctl -w net/ipv4/ip_forward=1"), "{words}");
    });
}

#[test]
fn settings_that_are_right_already_need_not_be_writable() {
    in_new_node_with_mounts(|| async {
        let wire = Namespace::new();
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        set("ipv4/ip_forward", "1");
        set("ipv6/conf/all/forwarding", "1");
        set("ipv4/conf/eth0/rp_filter", "1");
        set("ipv6/conf/eth0/accept_ra", "1");
        make_settings_read_only();
        let (kernel, pod) = (Kernel::try_new().expect("sockets"), Namespace::new());
        let mut plan = plan();
        plan.no_tcp_early_demux = true;
        let report = kernel.prepare_node(&plan).await.expect("prepared");
        let warnings = report.warnings.join("\n");
        assert!(
            warnings.contains("sysctl -w net/ipv6/conf/eth0/accept_ra=2"),
            "{warnings}"
        );
        assert!(
            warnings.contains("sysctl -w net/ipv4/conf/eth0/rp_filter=2"),
            "{warnings}"
        );
        assert!(
            warnings.contains("sysctl -w net/ipv4/tcp_early_demux=0"),
            "{warnings}"
        );
        assert_eq!(report.warnings.len(), 3, "{warnings}");
        // Links that forward ignore router advertisements as they are.
        let plan = pod_plan(1, &["10.0.1.7"]);
        let added = kernel.add_endpoint(&plan, Some(pod.descriptor())).await;
        added.expect("an endpoint");
    });
}

#[test]
fn a_pod_that_could_give_its_node_a_default_route_is_refused() {
    in_new_node_with_mounts(|| async {
        set("ipv6/conf/all/forwarding", "0");
        make_settings_read_only();
        let (kernel, pod) = (Kernel::try_new().expect("sockets"), Namespace::new());
        let plan = pod_plan(1, &["10.0.1.7"]);
        let error = kernel.add_endpoint(&plan, Some(pod.descriptor())).await;
        let words = error.expect_err("refused").to_string();
        assert!(words.contains("net.ipv6.conf.eni1.accept_ra=0"), "{words}");
        assert_eq!(link_names(), ["lo"]);
    });
}

#[test]
fn host_ports_that_portmap_has_left_are_warned_of_until_they_are_gone() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        nft("table ip nat {
            chain CNI-DN-0123 { tcp dport 80 dnat to 10.0.1.7:80; }
            chain CNI-HOSTPORT-DNAT { tcp dport 80 jump CNI-DN-0123; }
        }");
        let report = kernel.prepare_node(&plan()).await.expect("prepared");
        let said = report.warnings.join("\n");
        assert!(said.contains("portmap has 1 host ports"), "{said}");
        nft("flush chain ip nat CNI-HOSTPORT-DNAT");
        let report = kernel.prepare_node(&plan()).await.expect("prepared");
        assert_eq!(report.warnings, Vec::<String>::new());
    });
}
