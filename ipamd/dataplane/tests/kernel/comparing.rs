//! A comparison of the node finds what others have changed, one thing at a time, and
//! leaves all of it as it is.

use std::process::Command;

use veni_dataplane::{DataPlane, Kernel, NodeReport};

use crate::node::plan;
use crate::world::{Namespace, in_new_node, ip, nft, plug};

/// What the kernel has of the node, as its own tools show it.
fn state() -> String {
    let shown = |line: &str| {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a program");
        let output = Command::new(program).args(words).output().expect("runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let settings = ["ipv4/ip_forward", "ipv4/conf/eth0/rp_filter"];
    let settings = settings.map(|name| {
        let path = format!("/proc/sys/net/{name}");
        std::fs::read_to_string(path).expect("a setting")
    });
    let lists = [
        "ip -4 rule",
        "ip -6 rule",
        "ip -4 route show table 22017",
        "nft list ruleset",
    ];
    settings.into_iter().chain(lists.map(shown)).collect()
}

fn texts(report: &NodeReport) -> Vec<String> {
    report.repairs.iter().map(|repair| repair.now()).collect()
}

fn set(name: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{name}"), value).expect("a setting");
}

#[test]
fn each_difference_of_the_node_is_told_and_left_and_then_mended() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        ip("link set eth0 up");
        ip("address add 10.0.0.5/24 dev eth0");
        ip("route add default via 10.0.0.1");
        kernel.prepare_node(&plan()).await.expect("prepared");
        let sound = kernel.compare_node(&plan()).await.expect("compared");
        assert_eq!(texts(&sound), Vec::<String>::new());
        assert_eq!(sound.foreign_rules, []);
        let plants: [(&dyn Fn(), &str); 6] = [
            (
                &|| ip("rule del priority 512"),
                "rule 512 from all lookup 22016 is missing",
            ),
            (
                &|| ip("-6 rule del priority 1024"),
                "rule -6 1024 from all fwmark 0x80/0x80 goto 32763 is missing",
            ),
            (
                &|| set("ipv4/ip_forward", "0"),
                "setting net/ipv4/ip_forward is 0 instead of 1",
            ),
            (
                &|| set("ipv4/conf/eth0/rp_filter", "1"),
                "setting net/ipv4/conf/eth0/rp_filter is 1 instead of 2",
            ),
            (
                &|| nft("delete table inet veni"),
                "nftables table inet veni is changed by another program",
            ),
            (
                &|| ip("route flush table 22017"),
                "table 22017, which copies the main table's routes for pods, is different from \
                 it in 2 routes",
            ),
        ];
        for (plant, told) in plants {
            plant();
            let planted = state();
            for _ in 0..2 {
                let found = kernel.compare_node(&plan()).await.expect("compared");
                assert_eq!(texts(&found), [told]);
            }
            assert_eq!(state(), planted, "a comparison changes nothing");
            kernel.prepare_node(&plan()).await.expect("prepared");
            let mended = kernel.compare_node(&plan()).await.expect("compared");
            assert_eq!(texts(&mended), Vec::<String>::new(), "{told}");
        }
    });
}

#[test]
fn rules_of_others_at_our_priorities_are_told_with_what_removes_them() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        kernel.prepare_node(&plan()).await.expect("prepared");
        // As the AWS plugin makes them, and one of another priority.
        ip("rule add priority 512 from all to 10.0.1.7 lookup main");
        ip("rule add priority 32765 from 10.0.0.6 lookup 1");
        ip("rule add priority 513 from all to 10.0.1.7 lookup main");
        let found = kernel.compare_node(&plan()).await.expect("compared");
        let rules = found.foreign_rules.iter();
        let told: Vec<&str> = rules.map(|rule| rule.text.as_str()).collect();
        let expected = [
            "IPv4 rule \"512: from all to 10.0.1.7/32 lookup 254\"",
            "IPv4 rule \"32765: from 10.0.0.6/32 lookup 1\"",
        ];
        assert_eq!(told, expected);
        for rule in &found.foreign_rules {
            ip(rule.removal.strip_prefix("ip ").expect("a line of ip"));
        }
        let found = kernel.compare_node(&plan()).await.expect("compared");
        assert_eq!(found.foreign_rules, []);
        assert_eq!(texts(&found), Vec::<String>::new(), "ours stay");
    });
}

#[test]
fn a_firewall_of_the_old_tables_is_found_by_its_policy() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:10", &wire, "wire0");
        kernel.prepare_node(&plan()).await.expect("prepared");
        let policy = |policy: &str| {
            let arguments = ["-P", "FORWARD", policy];
            let ran = Command::new("iptables-legacy").args(arguments).status();
            assert!(ran.expect("iptables-legacy runs").success());
        };
        policy("DROP");
        let found = kernel.compare_node(&plan()).await.expect("compared");
        let text = found.warnings.join("\n");
        assert!(text.contains("chain FORWARD of iptables-legacy"), "{text}");
        let cure = "(iptables-legacy -P FORWARD ACCEPT)";
        assert!(text.contains(cure), "{text}");
        policy("ACCEPT");
        let found = kernel.compare_node(&plan()).await.expect("compared");
        assert_eq!(found.warnings, Vec::<String>::new());
    });
}
