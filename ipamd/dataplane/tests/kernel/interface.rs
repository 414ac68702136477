//! A cloud's interface: its table, its rules, and whose things stay.

use veni_dataplane::{DataPlane, InterfacePlan, Kernel, KernelError, Mark, SourceRouting};

use crate::world::{
    Namespace, advertise, advertisements, await_that, in_new_node, ip, ip_json, plug, routes,
    rules, text,
};

const TABLE: u32 = 0x5611;

fn plan(sources: &[&str]) -> InterfacePlan {
    InterfacePlan {
        mac: [0x02, 0, 0, 0, 0, 0x11],
        primary: false,
        table: TABLE,
        own_addresses: vec![
            "10.0.0.6".parse().expect("v4"),
            "fd00::6".parse().expect("v6"),
        ],
        gateways: vec![
            "10.0.0.1".parse().expect("v4"),
            "fe80::99".parse().expect("v6"),
        ],
        source_routing: SourceRouting::BySource(
            sources
                .iter()
                .map(|source| source.parse().expect("a prefix"))
                .collect(),
        ),
        mtu: Some(1400),
    }
}

#[test]
fn an_interface_gets_its_table_rules_and_own_addresses() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth1", "02:00:00:00:00:11", &wire, "wire1");
        let plan = plan(&["10.0.1.16/28", "fd00:1::/80"]);
        let name = kernel
            .ensure_interface(&plan)
            .await
            .expect("in service")
            .link;
        assert_eq!(name, "eth1");
        assert_eq!(
            routes("-4", TABLE),
            [
                "default via 10.0.0.1 dev eth1 proto 86",
                "10.0.0.1 dev eth1 proto 86 scope 253"
            ]
        );
        assert_eq!(
            routes("-6", TABLE),
            ["default via fe80::99 dev eth1 proto 86 metric 1024 pref medium"]
        );
        let present = rules("-4");
        for wanted in [
            "1536: from 10.0.1.16/28 lookup 22033 proto 86",
            "32765: from 10.0.0.6 lookup 22033 proto 86",
        ] {
            assert!(spaced(&present).contains(&wanted.into()), "{present:?}");
        }
        let present = rules("-6");
        for wanted in [
            "1536: from fd00:1::/80 lookup 22033 proto 86",
            "32765: from fd00::6 lookup 22033 proto 86",
        ] {
            assert!(spaced(&present).contains(&wanted.into()), "{present:?}");
        }
        let link = &ip_json("address show dev eth1")[0];
        assert_eq!(link["mtu"], 1400);
        assert_eq!(link["addr_info"][0]["local"], "10.0.0.6");
    });
}

fn spaced(lines: &[String]) -> Vec<String> {
    let one = |line: &String| {
        let words = line.replacen(' ', ": ", 1);
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    lines.iter().map(one).collect()
}

/// Rules of pods, as short lines of both families.
fn of_pods() -> Vec<String> {
    let all = spaced(&[rules("-4"), rules("-6")].concat()).into_iter();
    all.filter(|rule| rule.starts_with("1536:")).collect()
}

/// The link that the kernel chooses for a packet of a pod.
fn way_of(mark: &str) -> String {
    let route = &ip_json(&format!("route get 192.0.2.1 {mark}"))[0];
    text(&route["dev"])
}

#[test]
fn an_interface_has_one_rule_for_its_mark_however_many_pods_it_has() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth1", "02:00:00:00:00:11", &wire, "wire1");
        let by_source = plan(&["10.0.1.16/28", "fd00:1::/80", "10.0.1.32/28"]);
        let mark = Mark {
            value: 0x20000,
            mask: 0xff0000,
        };
        let by_mark = InterfacePlan {
            source_routing: SourceRouting::ByMark(mark),
            ..by_source.clone()
        };
        let none = InterfacePlan {
            source_routing: SourceRouting::None,
            ..by_source.clone()
        };
        let ensure = async |plan: &InterfacePlan| {
            let report = kernel.ensure_interface(plan).await;
            report.expect("in service").repairs
        };
        ensure(&by_source).await;
        assert_eq!(of_pods().len(), 3);
        ensure(&by_mark).await;
        let rule = "1536: from all fwmark 0x20000/0xff0000 lookup 22033 proto 86";
        assert_eq!(of_pods(), [rule, rule], "one for each family");
        assert_eq!(ensure(&by_mark).await, [], "all is as planned");
        ip("route add default via 10.9.9.9 dev lo onlink");
        assert_eq!(way_of("mark 0x20000"), "eth1");
        assert_eq!(way_of("mark 0x20080"), "eth1", "other bits are not its own");
        assert_eq!(way_of("mark 0x30000"), "lo", "another interface's mark");
        assert_eq!(way_of(""), "lo", "no mark");
        ensure(&none).await;
        assert_eq!(of_pods(), Vec::<String>::new());
        ensure(&by_source).await;
        assert_eq!(of_pods().len(), 3);
    });
}

#[test]
fn rules_that_are_not_in_the_plan_any_more_go_and_others_stay() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth1", "02:00:00:00:00:11", &wire, "wire1");
        ip("rule add priority 1536 from 10.7.0.0/16 lookup 22033");
        ip("route add 10.7.0.0/16 dev lo table 22033");
        kernel
            .ensure_interface(&plan(&["10.0.1.7/32", "10.0.1.8/32"]))
            .await
            .expect("in service");
        let with = rules("-4").len();
        kernel
            .ensure_interface(&plan(&["10.0.1.8/32"]))
            .await
            .expect("in service");
        let present = rules("-4").join("\n");
        assert_eq!(rules("-4").len(), with - 1, "{present}");
        assert!(!present.contains("10.0.1.7"), "{present}");
        assert!(present.contains("10.0.1.8"), "{present}");
        assert!(present.contains("10.7.0.0/16"), "{present}");

        kernel
            .remove_interface(TABLE)
            .await
            .expect("out of service");
        let present = rules("-4").join("\n");
        assert!(!present.contains("10.0.1.8"), "{present}");
        assert!(present.contains("10.7.0.0/16"), "{present}");
        assert_eq!(routes("-4", TABLE), ["10.7.0.0/16 dev lo scope 253"]);
        kernel.remove_interface(TABLE).await.expect("nothing to do");
    });
}

#[test]
fn a_second_ensure_changes_nothing() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth1", "02:00:00:00:00:11", &wire, "wire1");
        let plan = plan(&["10.0.1.16/28"]);
        let picture = || {
            (
                rules("-4"),
                rules("-6"),
                routes("-4", TABLE),
                routes("-6", TABLE),
            )
        };
        kernel.ensure_interface(&plan).await.expect("in service");
        let first = picture();
        kernel.ensure_interface(&plan).await.expect("in service");
        assert_eq!(picture(), first);
    });
}

#[test]
fn an_address_that_another_tool_put_there_is_kept() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth1", "02:00:00:00:00:11", &wire, "wire1");
        ip("address add 10.0.0.6/24 dev eth1");
        ip("address add 10.0.0.77/24 dev eth1");
        kernel
            .ensure_interface(&plan(&[]))
            .await
            .expect("in service");
        let mut moved = plan(&[]);
        moved.own_addresses = vec!["10.0.0.8".parse().expect("v4")];
        kernel.ensure_interface(&moved).await.expect("in service");
        let addresses = ip_json("-4 address show dev eth1");
        let addresses: Vec<String> = addresses[0]["addr_info"]
            .as_array()
            .expect("addresses")
            .iter()
            .map(|address| {
                format!(
                    "{}/{}",
                    crate::world::text(&address["local"]),
                    address["prefixlen"]
                )
            })
            .collect();
        assert_eq!(addresses, ["10.0.0.6/24", "10.0.0.8/32", "10.0.0.77/24"]);
    });
}

/// An interface that the kernel brought up before we came: its router has been heard.
fn heard(wire: &Namespace) {
    plug("eth1", "02:00:00:00:00:11", wire, "wire1");
    ip("link set eth1 up");
    wire.ip("address add fe80::99/64 dev wire1 nodad");
    again(wire);
    // Its default route, the prefix on the link, and an address out of that.
    await_that("what the router advertises", || learnt().len() == 3);
}

/// One more advertisement has come. Some are lost while the link gets its carrier.
fn again(wire: &Namespace) {
    let before = advertisements();
    await_that("the advertisement", || {
        wire.within(|| advertise("wire1", [0x20, 1, 0xd, 0xb8, 0, 0, 0, 7]));
        advertisements() > before
    });
}

/// What the node has of the router: routes of the main table, and addresses.
fn learnt() -> Vec<String> {
    let mut found = routes("-6", 254);
    for link in ip_json("-6 address show dev eth1 scope global") {
        let addresses = link["addr_info"].as_array().cloned();
        let addresses = addresses.unwrap_or_default().into_iter();
        found.extend(addresses.map(|one| crate::world::text(&one["local"])));
    }
    found.retain(|one| one.starts_with("default via fe80::99") || one.starts_with("2001:db8:0:7:"));
    found
}

#[test]
fn what_a_router_advertises_on_a_secondary_interface_is_taken_back_and_not_heard_again() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        heard(&wire);
        // A DHCP client's address stays.
        ip("-6 address add 2001:db8:0:9::77/128 dev eth1 nodad");
        ip("-6 route add 2001:db8:a::/48 via fe80::99 dev eth1 proto dhcp table 99");
        ip("-6 address add 2001:db8:0:8::1/64 dev eth1 nodad valid_lft 900 preferred_lft 900");
        for _ in 0..2 {
            kernel
                .ensure_interface(&plan(&[]))
                .await
                .expect("in service");
            assert_eq!(learnt(), Vec::<String>::new());
            again(&wire);
            assert_eq!(learnt(), Vec::<String>::new());
        }
        let accepts = std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth1/accept_ra");
        assert_eq!(accepts.expect("a setting").trim(), "0");
        for theirs in ["2001:db8:0:9::77", "2001:db8:0:8::1"] {
            let kept = ip_json(&format!("-6 address show dev eth1 to {theirs}"));
            assert!(!kept.is_empty(), "another program's {theirs} is gone");
        }
        let main = routes("-6", 254).join("\n");
        assert!(main.contains("2001:db8:0:8::/64"), "{main}");
        assert_eq!(routes("-6", 99).len(), 1, "another program's route is gone");
    });
}

#[test]
fn the_primary_interface_goes_on_hearing_its_router() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        heard(&wire);
        let mut primary = plan(&[]);
        primary.primary = true;
        kernel.ensure_interface(&primary).await.expect("in service");
        assert_eq!(learnt().len(), 3);
        let accepts = std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth1/accept_ra");
        assert_eq!(accepts.expect("a setting").trim(), "1");
    });
}

#[test]
fn links_that_share_the_mac_are_not_taken_for_the_interface() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        // The virtual function comes first and is part of the synthetic interface.
        ip("link add name control type bridge");
        plug("virtual", "02:00:00:00:00:11", &wire, "wire0");
        ip("link set virtual master control");
        ip("link set control address 02:00:00:00:00:11");
        let name = kernel
            .ensure_interface(&plan(&[]))
            .await
            .expect("in service");
        assert_eq!(name.link, "control");
    });
}

#[test]
fn an_interface_that_has_not_appeared_is_named_by_its_mac() {
    in_new_node(|| async {
        let kernel = Kernel::try_new().expect("sockets");
        let error = kernel
            .ensure_interface(&plan(&[]))
            .await
            .expect_err("no link");
        assert!(matches!(error, KernelError::NoSuchLink(_)));
        assert_eq!(error.to_string(), "no link with MAC 02:00:00:00:00:11");
    });
}

#[test]
fn the_primary_interface_gets_neither_table_nor_rules() {
    in_new_node(|| async {
        let (kernel, wire) = (Kernel::try_new().expect("sockets"), Namespace::new());
        plug("eth0", "02:00:00:00:00:11", &wire, "wire0");
        let before = (rules("-4"), rules("-6"));
        let mut plan = plan(&[]);
        plan.primary = true;
        kernel.ensure_interface(&plan).await.expect("in service");
        assert_eq!((rules("-4"), rules("-6")), before);
        assert!(routes("-4", TABLE).is_empty());
    });
}
