//! The way of pods' packets beside what others put into the main table: routes by
//! secondary interfaces are nothing for pods, all others are. Each test looks at the
//! same packets without our rules or copies, where they are lost.

use std::net::SocketAddr;

use veni_dataplane::{DataPlane, NodePlan};

use crate::node;
use crate::traffic::{SERVICE, SILENCE, Site, seen};
use crate::world::{
    Namespace, exchange, in_new_node, ip, ip_json, nft, nft_json, plug, receive, routes, rules,
    text,
};

/// The table of our copies of the main table's routes.
const COPIES: u32 = 0x5601;

/// One family's addresses of a pod on the primary interface, and of whom it talks to.
struct Family {
    flag: &'static str,
    pod: &'static str,
    gateway: &'static str,
    outside: &'static str,
    subnet: &'static str,
    floating: &'static str,
    /// What the world outside sees the pod as.
    seen_as: &'static str,
}

const IPV4: Family = Family {
    flag: "-4",
    pod: "10.0.0.40",
    gateway: "10.0.0.1",
    outside: "198.51.100.9",
    subnet: "10.0.0.0/24",
    floating: "10.0.0.77/24",
    seen_as: "10.0.0.5",
};

const IPV6: Family = Family {
    flag: "-6",
    pod: "fd00::40",
    gateway: "fd00::1",
    outside: "2001:db8::9",
    subnet: "fd00::/64",
    floating: "fd00::77/64",
    seen_as: "fd00::5",
};

/// A pod of the primary interface and one of the secondary, on a node whose primary
/// interface has routes of a high metric, as a network manager makes them.
struct Beside {
    site: Site,
    plan: NodePlan,
    primary: Namespace,
    secondary: Namespace,
}

impl Beside {
    async fn new() -> Self {
        let mut plan = node::plan();
        plan.primary_gateways = vec![seen("10.0.0.1"), seen("fd00::1")];
        Self::prepared(plan).await
    }

    async fn prepared(plan: NodePlan) -> Self {
        let site = Site::prepared(&plan).await;
        for command in [
            "route add 10.0.0.40 via 10.0.0.5",
            "-6 route add fd00::40 via fd00::5",
            "address add 2001:db8::9/128 dev lo nodad",
        ] {
            site.cloud.ip(command);
        }
        site.cloud.within(|| nft(SOURCE_CHECK));
        for command in [
            "route add 10.0.0.0/24 dev eth0 metric 512",
            "route add default via 10.0.0.1 dev eth0 metric 512",
            "route delete default metric 0",
            "route delete 10.0.0.0/24 dev eth0 metric 0",
            "-6 route add fd00::/64 dev eth0 metric 512",
            "-6 route delete fd00::/64 dev eth0 metric 256",
            "-6 route add default via fd00::1 dev eth0 metric 512",
        ] {
            ip(command);
        }
        let (primary, _) = site.pod(1, &["10.0.0.40", "fd00::40"]).await;
        let (secondary, _) = site.pod(2, &["10.0.1.7"]).await;
        let beside = Self {
            site,
            plan,
            primary,
            secondary,
        };
        beside.prepare().await;
        beside
    }

    async fn prepare(&self) {
        let prepared = self.site.kernel.prepare_node(&self.plan).await;
        prepared.expect("prepared");
    }

    /// Packets that the cloud dropped because they came by the wrong interface.
    fn dropped(&self) -> u64 {
        let objects = self.site.cloud.within(|| nft_json("inet source_check"));
        let mut counters = objects.iter().filter_map(|object| object.get("counter"));
        let counter = counters.next().expect("the counter");
        counter["packets"].as_u64().expect("a number")
    }

    /// The pod of the primary interface talks to its network and to the world.
    fn primary_talks(&self, family: &Family) {
        let before = self.dropped();
        for (to, expected) in [
            (family.gateway, family.pod),
            (family.outside, family.seen_as),
        ] {
            let server = self.site.cloud.socket(&at(to, 7000));
            let client = self.primary.socket(&at(family.pod, 0));
            let (from, answered) = exchange(&client, &at(to, 7000), &server);
            assert_eq!((from, answered), (seen(expected), seen(to)));
        }
        assert_eq!(self.dropped(), before);
    }

    /// It does not: the packet leaves by the wrong interface.
    fn primary_is_lost(&self, family: &Family) {
        let before = self.dropped();
        for to in [family.gateway, family.outside] {
            let server = self.site.cloud.socket(&at(to, 7000));
            server.set_read_timeout(Some(SILENCE)).expect("a timeout");
            let client = self.primary.socket(&at(family.pod, 0));
            client.send_to(b"lost", at(to, 7000)).expect("sent");
            assert!(receive(&server, &mut [0; 16]).is_err(), "{to} hears it");
        }
        assert_eq!(self.dropped(), before + 2);
    }
}

/// What a cloud does: addresses of the primary interface come by it alone.
const SOURCE_CHECK: &str = "table inet source_check {
    counter wrong { }
    chain arrivals {
        type filter hook prerouting priority -300;
        iifname cloud1 ip saddr { 10.0.0.5, 10.0.0.40 } counter name wrong drop
        iifname cloud1 ip6 saddr { fd00::5, fd00::40 } counter name wrong drop
    }
}";

fn at(address: &str, port: u16) -> String {
    SocketAddr::new(seen(address), port).to_string()
}

/// The link that a packet from a pod leaves by.
fn way(from: &str, link: &str, to: &str) -> String {
    let asked = format!("route get {to} from {from} iif {link}");
    text(&ip_json(&asked)[0]["dev"])
}

/// What a DHCP client or a person does to a secondary interface. Its router is a
/// neighbour by it already: what is sent that way is seen to come.
fn disturb(beside: &Beside, family: &Family) {
    let (flag, gateway, floating) = (family.flag, family.gateway, family.floating);
    let router = &beside.site.cloud.ip_json("link show cloud1")[0];
    let mac = text(&router["address"]);
    ip(&format!(
        "address add {floating} dev eth1 {}",
        nodad(family)
    ));
    ip(&format!(
        "neighbour replace {gateway} lladdr {mac} dev eth1 nud permanent"
    ));
    ip(&format!(
        "{flag} route add default via {gateway} dev eth1 metric 1"
    ));
}

fn nodad(family: &Family) -> &'static str {
    if family.flag == "-6" { "nodad" } else { "" }
}

/// As if Veni had no rules for what is forwarded.
fn without_rules(family: &Family) {
    for priority in [32763, 32764] {
        ip(&format!("{} rule delete priority {priority}", family.flag));
    }
}

async fn pods_of_the_primary_interface_keep_their_way(family: Family) {
    let beside = Beside::new().await;
    beside.primary_talks(&family);
    disturb(&beside, &family);
    // At once, and when the daemon has looked again.
    beside.primary_talks(&family);
    beside.prepare().await;
    beside.primary_talks(&family);
    without_rules(&family);
    beside.primary_is_lost(&family);
    beside.prepare().await;
    beside.primary_talks(&family);
}

#[test]
fn ipv4_routes_by_a_secondary_interface_are_not_for_pods_of_the_primary_one() {
    in_new_node(|| pods_of_the_primary_interface_keep_their_way(IPV4));
}

#[test]
fn ipv6_routes_by_a_secondary_interface_are_not_for_pods_of_the_primary_one() {
    in_new_node(|| pods_of_the_primary_interface_keep_their_way(IPV6));
}

async fn a_replaced_default_route_takes_no_pod_along(family: Family) {
    let beside = Beside::new().await;
    let Family { flag, gateway, .. } = family;
    disturb(&beside, &family);
    ip(&format!("{flag} route delete default dev eth0"));
    beside.prepare().await;
    beside.primary_talks(&family);
    without_rules(&family);
    beside.primary_is_lost(&family);
    // The host's own way out counts more than what the cloud's network would have.
    ip(&format!(
        "{flag} route add default via {gateway} dev eth0 metric 700"
    ));
    beside.prepare().await;
    let copies = routes(flag, COPIES);
    let mut defaults = copies.iter().filter(|route| route.starts_with("default"));
    let default = defaults.next().expect("a default route");
    assert!(default.contains("metric 700"), "{copies:?}");
    assert_eq!(defaults.next(), None);
}

#[test]
fn pods_leave_by_the_primary_interface_also_when_the_only_ipv4_default_route_does_not() {
    in_new_node(|| a_replaced_default_route_takes_no_pod_along(IPV4));
}

#[test]
fn pods_leave_by_the_primary_interface_also_when_the_only_ipv6_default_route_does_not() {
    in_new_node(|| a_replaced_default_route_takes_no_pod_along(IPV6));
}

#[test]
fn a_next_hop_is_found_by_its_own_link_also_where_a_secondary_interface_s_route_hides_it() {
    in_new_node(|| async {
        let beside = Beside::new().await;
        for family in [IPV4, IPV6] {
            let (flag, gateway, subnet) = (family.flag, family.gateway, family.subnet);
            ip(&format!("{flag} route delete {subnet} dev eth0"));
            ip(&format!(
                "{flag} route replace default via {gateway} dev eth0 metric 512 onlink"
            ));
            disturb(&beside, &family);
            ip(&format!("{flag} route flush table {COPIES}"));
            assert_eq!(warned(&beside).await.len(), 1, "the default route's");
            beside.primary_talks(&family);
            ip(&format!("{flag} route delete default dev eth1"));
        }
    });
}

#[test]
fn what_the_node_itself_sends_goes_as_the_main_table_says() {
    in_new_node(|| async {
        let beside = Beside::new().await;
        let own = |to: &str| text(&ip_json(&format!("route get {to}"))[0]["dev"]);
        for family in [IPV4, IPV6] {
            assert_eq!(own(family.outside), "eth0");
            disturb(&beside, &family);
            assert_eq!(own(family.outside), "eth1");
            assert_eq!(own(family.gateway), "eth1");
            assert_eq!(way(family.pod, "eni1", family.outside), "eth0");
        }
    });
}

#[test]
fn answers_for_pods_pass_a_strict_check_of_the_reverse_path() {
    in_new_node(|| async {
        let beside = Beside::new().await;
        disturb(&beside, &IPV4);
        for link in ["eth0", "eni1", "all"] {
            let setting = format!("/proc/sys/net/ipv4/conf/{link}/rp_filter");
            std::fs::write(setting, "1").expect("a setting");
        }
        beside.primary_talks(&IPV4);
    });
}

#[test]
fn pods_of_a_secondary_interface_reach_the_world_by_the_primary_one() {
    in_new_node(|| async {
        let beside = Beside::new().await;
        disturb(&beside, &IPV4);
        beside.prepare().await;
        let server = beside.site.cloud.socket("198.51.100.9:7000");
        let client = beside.secondary.socket("0.0.0.0:0");
        let (from, answered) = exchange(&client, "198.51.100.9:7000", &server);
        assert_eq!((from, answered), (seen("10.0.0.5"), seen("198.51.100.9")));
        // With the main table as it is, it leaves by the secondary interface.
        ip("rule delete priority 1024");
        ip("rule add priority 1024 fwmark 0x80/0x80 lookup main");
        let before = beside.dropped();
        server.set_read_timeout(Some(SILENCE)).expect("a timeout");
        client.send_to(b"lost", "198.51.100.9:7000").expect("sent");
        assert!(receive(&server, &mut [0; 16]).is_err(), "it passes");
        assert_eq!(beside.dropped(), before + 1);
    });
}

#[test]
fn a_node_port_answers_a_client_of_the_subnet_by_the_primary_interface() {
    in_new_node(|| async {
        nft(SERVICE);
        let beside = Beside::new().await;
        disturb(&beside, &IPV4);
        beside.prepare().await;
        let server = beside.secondary.socket("10.0.1.7:7000");
        let client = beside.site.cloud.socket("10.0.0.1:0");
        let (from, answered) = exchange(&client, "10.0.0.5:30080", &server);
        assert_eq!((from, answered), (seen("10.0.0.1"), seen("10.0.0.5")));
        without_rules(&IPV4);
        let before = beside.dropped();
        client.set_read_timeout(Some(SILENCE)).expect("a timeout");
        client.send_to(b"lost", "10.0.0.5:30080").expect("sent");
        let (_, who) = receive(&server, &mut [0; 16]).expect("the question");
        server.send_to(b"answer", who).expect("sent");
        assert!(receive(&client, &mut [0; 16]).is_err(), "it is answered");
        // By its own interface, which the answer's address does not belong to.
        assert!(beside.dropped() > before);
    });
}

#[test]
fn external_services_are_reached_by_no_secondary_interface_s_route() {
    in_new_node(|| async {
        let mut plan = node::plan();
        plan.source_nat = false;
        plan.external_services = vec!["10.0.7.0/24".parse().expect("a range")];
        let beside = Beside::prepared(plan).await;
        disturb(&beside, &IPV4);
        assert_eq!(way("10.0.1.7", "eni2", "10.0.7.9"), "eth0");
        assert_eq!(way("10.0.1.7", "eni2", "10.0.8.9"), "eth1", "its own way");
        without_rules(&IPV4);
        ip("rule delete priority 1536");
        assert_eq!(way("10.0.1.7", "eni2", "10.0.7.9"), "eth1");
    });
}

/// A VPN of the operator's: a link that is no cloud's, and a route by it.
fn vpn() -> Namespace {
    let beyond = Namespace::new();
    ip(&format!(
        "link add vpn0 type veth peer name vpn1 netns {}",
        beyond.path()
    ));
    for command in [
        "link set vpn0 up",
        "address add 10.9.0.1/30 dev vpn0",
        "-6 address add fd09::1/64 dev vpn0 nodad",
    ] {
        ip(command);
    }
    for command in [
        "link set vpn1 up",
        "address add 10.9.0.2/30 dev vpn1",
        "address add 10.9.3.9/32 dev lo",
        "route add default via 10.9.0.1",
        "-6 address add fd09::2/64 dev vpn1 nodad",
        "-6 address add fd09:3::9/128 dev lo nodad",
        "-6 route add default via fd09::1",
    ] {
        beyond.ip(command);
    }
    ip("route add 10.9.0.0/16 via 10.9.0.2 dev vpn0");
    ip("-6 route add fd09::/16 via fd09::2 dev vpn0");
    beyond
}

#[test]
fn static_routes_by_other_links_keep_serving_pods() {
    in_new_node(|| async {
        let mut plan = node::plan();
        plan.source_nat = false;
        let beside = Beside::prepared(plan).await;
        let beyond = vpn();
        for (family, to, narrower) in [
            (IPV4, "10.9.3.9", "10.9.3.0/24"),
            (IPV6, "fd09:3::9", "fd09:3::/32"),
        ] {
            let server = beyond.socket(&at(to, 7000));
            let talks = || {
                let client = beside.primary.socket(&at(family.pod, 0));
                let (from, answered) = exchange(&client, &at(to, 7000), &server);
                assert_eq!((from, answered), (seen(family.pod), seen(to)));
            };
            talks();
            // A secondary interface's narrower route hides the operator's.
            ip(&format!("{} route add {narrower} dev eth1", family.flag));
            beside.prepare().await;
            talks();
            assert_eq!(way(family.pod, "eni1", to), "vpn0");
            // It is the copy that serves.
            ip(&format!("{} route flush table {COPIES}", family.flag));
            assert_eq!(way(family.pod, "eni1", to), "eth1");
        }
    });
}

#[test]
fn the_copies_follow_the_main_table_and_are_of_ours_alone() {
    in_new_node(|| async {
        let beside = Beside::new().await;
        let _beyond = vpn();
        ip("route add 203.0.113.0/24 dev lo table 22017 protocol static");
        for family in [IPV4, IPV6] {
            let copies = || routes(family.flag, COPIES);
            beside.prepare().await;
            let first = copies();
            let own: Vec<&String> = first
                .iter()
                .filter(|one| one.contains("proto 86"))
                .collect();
            assert!(
                own.iter().any(|route| route.starts_with(family.subnet)),
                "{first:?}"
            );
            assert!(own.iter().any(|route| route.contains("vpn0")), "{first:?}");
            beside.prepare().await;
            assert_eq!(copies(), first, "a second time changes nothing");
            disturb(&beside, &family);
            beside.prepare().await;
            assert_eq!(copies(), first, "nothing by a secondary interface");
            ip(&format!("{} route delete default dev eth0", family.flag));
            ip(&format!(
                "{} route add default via {} dev eth0 metric 9",
                family.flag, family.gateway
            ));
            beside.prepare().await;
            let changed = copies().join("\n");
            assert!(
                changed.contains("metric 9")
                    && !changed.contains("default via 10.0.0.1 dev eth0 proto 86 metric 512"),
                "{changed}"
            );
        }
        ip("link delete vpn0");
        beside.prepare().await;
        let left = routes("-4", COPIES).join("\n");
        assert!(
            !left.contains("vpn0") && left.contains("203.0.113.0/24"),
            "{left}"
        );
    });
}

#[test]
fn an_interface_that_others_have_configured_first_takes_no_pod_along_once_it_is_in_service() {
    in_new_node(|| async {
        let beside = Beside::new().await;
        ip("link set eth1 group 0");
        for family in [IPV4, IPV6] {
            disturb(&beside, &family);
            beside.prepare().await;
            assert_eq!(
                way(family.pod, "eni1", family.outside),
                "eth1",
                "not known yet"
            );
        }
        beside.site.serve().await;
        for family in [IPV4, IPV6] {
            assert_eq!(way(family.pod, "eni1", family.outside), "eth0");
            beside.primary_talks(&family);
        }
    });
}

#[test]
fn a_rule_that_others_removed_comes_back_and_is_gone_to_again() {
    in_new_node(|| async {
        let beside = Beside::new().await;
        for family in [IPV4, IPV6] {
            let ours = || {
                let mut present = rules(family.flag);
                present.retain(|rule| rule.contains("proto 86"));
                present.sort();
                present
            };
            let before = ours();
            for priority in [1024, 32763, 32764] {
                ip(&format!("{} rule delete priority {priority}", family.flag));
                assert_eq!(ours().len(), before.len() - 1);
                beside.prepare().await;
                assert_eq!(ours(), before);
            }
        }
        disturb(&beside, &IPV4);
        let server = beside.site.cloud.socket("198.51.100.9:7000");
        let client = beside.secondary.socket("0.0.0.0:0");
        exchange(&client, "198.51.100.9:7000", &server);
    });
}

/// What the node is warned of, besides its own business.
async fn warned(beside: &Beside) -> Vec<String> {
    let prepared = beside.site.kernel.prepare_node(&beside.plan).await;
    prepared.expect("prepared").warnings
}

#[test]
fn what_still_can_take_pods_another_way_is_named_with_the_cure() {
    in_new_node(|| async {
        let beside = Beside::new().await;
        let wire = Namespace::new();
        plug("eth2", "02:00:00:00:00:12", &wire, "wire2");
        ip("link set eth2 up");
        assert_eq!(warned(&beside).await, Vec::<String>::new());
        for (made, removed, words) in [
            (
                "route add default via 10.0.0.1 dev eth1 metric 1 onlink",
                "route delete default metric 1",
                ["default route", "secondary interface eth1"],
            ),
            (
                "route add default metric 1 nexthop via 10.0.0.1 dev eth0 nexthop via 10.0.0.1 dev eth1 onlink",
                "route delete default metric 1",
                ["next hops", "default"],
            ),
            (
                "route add 10.0.9.0/24 dev eth2",
                "route delete 10.0.9.0/24 dev eth2",
                ["does not manage", "ip route del 10.0.9.0/24 dev eth2"],
            ),
            (
                "rule add priority 200 lookup 77",
                "rule delete priority 200",
                ["200: from all lookup 77", "ip rule del priority 200"],
            ),
            (
                "rule add priority 1024 fwmark 0x80/0x80 lookup 77",
                "rule delete priority 1024 table 77",
                ["fwmark 0x80/0x80", "eth2"],
            ),
            (
                "rule add priority 30400 from 10.0.0.40 lookup 77",
                "rule delete priority 30400",
                ["from 10.0.0.40/32", "eth2"],
            ),
            (
                "rule add priority 300 to 10.0.0.0/8 prohibit",
                "rule delete priority 300",
                ["300: ", "refuses"],
            ),
        ] {
            ip("route replace default dev eth2 table 77");
            ip(made);
            let found = warned(&beside).await;
            assert_eq!(found.len(), 1, "{made}: {found:?}");
            for word in words {
                assert!(found[0].contains(word), "{made}: {found:?}");
            }
            ip(removed);
            assert_eq!(warned(&beside).await, Vec::<String>::new(), "{removed}");
        }
    });
}

#[test]
fn what_takes_no_pod_another_way_is_not_warned_of() {
    in_new_node(|| async {
        let beside = Beside::new().await;
        let _beyond = vpn();
        for command in [
            "route add default via 10.9.0.2 dev vpn0 table 52",
            "route add default via 10.0.0.1 dev eth0 table 53",
            "route add 10.0.0.1 dev eth1 table 54",
            "route add default via 10.0.0.1 dev eth1 table 54",
            "rule add priority 5270 to 100.64.0.0/10 lookup 52",
            "rule add priority 220 lookup 220",
            "rule add priority 300 iif lo lookup 52",
            "rule add priority 301 iif vpn0 lookup 52",
            "rule add priority 302 fwmark 0x4000/0x4000 lookup 52",
            "rule add priority 303 from 192.0.2.0/24 lookup 52",
            "rule add priority 304 lookup 53",
            "rule add priority 512 from 10.0.0.6 lookup 54",
            "rule add priority 513 from 10.0.1.7 lookup 54",
        ] {
            ip(command);
        }
        assert_eq!(warned(&beside).await, Vec::<String>::new());
    });
}

#[test]
fn a_main_table_of_thousands_of_routes_is_copied_as_a_whole() {
    in_new_node(|| async {
        let beside = Beside::new().await;
        let before = routes("-4", COPIES).len();
        let more: usize = 4000;
        let batch: String = (0..more)
            .map(|number| {
                let (high, low) = (number / 250, number % 250);
                format!("route add 198.18.{high}.{low} dev eth0\n")
            })
            .collect();
        let file = std::env::temp_dir().join(format!("veni-routes-{}", std::process::id()));
        std::fs::write(&file, batch).expect("a file");
        ip(&format!("-batch {}", file.display()));
        std::fs::remove_file(&file).expect("it is there");
        let report = beside.site.kernel.prepare_node(&beside.plan).await;
        assert_eq!(report.expect("prepared").warnings, Vec::<String>::new());
        assert_eq!(routes("-4", COPIES).len(), before + more);
        ip("route flush root 198.18.0.0/16");
        beside.prepare().await;
        assert_eq!(routes("-4", COPIES).len(), before);
    });
}
