//! What an endpoint is made of, and what is left of it.

use std::os::fd::OwnedFd;

use serde_json::Value;
use veni_dataplane::plan::{DYING_GROUP, POD_GROUP, POD_TABLE};
use veni_dataplane::{DataPlane, DefaultRoute, Kernel, KernelError};

use crate::world::{Namespace, in_new_node, ip, ip_json, link_names, pod_plan, routes, text};

fn has_flag(link: &Value, flag: &str) -> bool {
    let flags = link["flags"].as_array().cloned().unwrap_or_default();
    flags.iter().any(|present| present == flag)
}

#[test]
fn a_pod_gets_its_addresses_routes_and_neighbour() {
    in_new_node(|| async {
        let (kernel, pod) = (Kernel::try_new().expect("sockets"), Namespace::new());
        let plan = pod_plan(1, &["10.0.1.7", "fd00::7"]);
        let links = kernel
            .add_endpoint(&plan, Some(pod.descriptor()))
            .await
            .expect("an endpoint");

        let link = &pod.ip_json("-d link show eth0")[0];
        assert_eq!(link["ifindex"], links.pod_index);
        assert_eq!(link["address"], "02:00:00:00:01:01");
        assert_eq!(link["mtu"], 1400);
        assert!(has_flag(link, "LOWER_UP"), "{link}");
        let addresses: Vec<String> = pod.ip_json("address show dev eth0")[0]["addr_info"]
            .as_array()
            .expect("addresses")
            .iter()
            .map(|address| format!("{}/{}", text(&address["local"]), address["prefixlen"]))
            .collect();
        assert_eq!(addresses, ["10.0.1.7/32", "fd00::7/128"]);
        let tentative = pod.ip_json("-6 address show dev eth0 tentative");
        assert!(tentative.is_empty(), "{tentative:?}");
        let neighbours = pod.ip_json("neighbour show nud permanent dev eth0");
        let neighbours: Vec<String> = neighbours
            .iter()
            .map(|hop| format!("{} {}", text(&hop["dst"]), text(&hop["lladdr"])))
            .collect();
        assert!(
            neighbours.contains(&"169.254.1.1 02:00:00:00:02:01".into()),
            "{neighbours:?}"
        );
        assert!(
            neighbours.contains(&"fe80::1 02:00:00:00:02:01".into()),
            "{neighbours:?}"
        );
        let ways: Vec<String> = pod
            .ip_json("route show")
            .iter()
            .chain(&pod.ip_json("-6 route show default"))
            .map(|route| format!("{} {}", text(&route["dst"]), text(&route["gateway"])))
            .collect();
        assert_eq!(
            ways,
            ["default 169.254.1.1", "169.254.1.1 ", "default fe80::1"]
        );
    });
}

#[test]
fn the_hosts_end_is_in_our_group_and_carries_the_pods_routes() {
    in_new_node(|| async {
        let (kernel, pod) = (Kernel::try_new().expect("sockets"), Namespace::new());
        ip("address add 10.0.0.5/32 dev lo");
        ip("address add fd00::5/128 dev lo nodad");
        let mut plan = pod_plan(1, &["10.0.1.7", "fd00::7"]);
        plan.node_addresses = vec![
            "10.0.0.5".parse().expect("v4"),
            "fd00::5".parse().expect("v6"),
        ];
        let links = kernel
            .add_endpoint(&plan, Some(pod.descriptor()))
            .await
            .expect("an endpoint");

        let link = &ip_json("-d -N link show eni1")[0];
        assert_eq!(link["ifindex"], links.host_index);
        assert_eq!(link["address"], "02:00:00:00:02:01");
        assert_eq!(text(&link["group"]), POD_GROUP.to_string());
        assert!(has_flag(link, "LOWER_UP"), "{link}");
        let accepts = std::fs::read_to_string("/proc/sys/net/ipv6/conf/eni1/accept_ra");
        // The file is of the namespace of whoever reads it.
        assert_eq!(accepts.expect("a setting").trim(), "0");
        let own = ip_json("address show dev eni1");
        let own: Vec<String> = own[0]["addr_info"]
            .as_array()
            .expect("addresses")
            .iter()
            .map(|address| text(&address["local"]))
            .collect();
        assert_eq!(own, ["fe80::1"]);
        assert_eq!(
            routes("-4", POD_TABLE),
            ["10.0.1.7 dev eni1 proto 86 scope 253 src 10.0.0.5"]
        );
        assert_eq!(
            routes("-6", POD_TABLE),
            ["fd00::7 dev eni1 proto 86 src fd00::5 metric 1024 pref medium"]
        );
    });
}

#[test]
fn a_pod_whose_runtime_switched_ipv6_off_gets_its_ipv6_address() {
    in_new_node(|| async {
        let (kernel, pod) = (Kernel::try_new().expect("sockets"), Namespace::new());
        pod.within(|| {
            std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").expect("a setting");
        });
        let plan = pod_plan(1, &["fd00::7"]);
        kernel
            .add_endpoint(&plan, Some(pod.descriptor()))
            .await
            .expect("an endpoint");
        let addresses = pod.ip_json("-6 address show dev eth0");
        assert_eq!(addresses[0]["addr_info"][0]["local"], "fd00::7");
    });
}

#[test]
fn a_pod_without_ipv6_has_it_off_for_all_links_and_those_to_come() {
    in_new_node(|| async {
        let (kernel, pod) = (Kernel::try_new().expect("sockets"), Namespace::new());
        let mut plan = pod_plan(1, &["10.0.1.7"]);
        plan.no_ipv6 = true;
        let links = kernel
            .add_endpoint(&plan, Some(pod.descriptor()))
            .await
            .expect("an endpoint");
        pod.ip("link add later type veth peer name later2");
        let switch = |link: &str| {
            pod.within(|| {
                let file = format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
                std::fs::read_to_string(file).expect("a setting")
            })
        };
        for link in ["all", "default", "lo", "eth0", "later"] {
            assert_eq!(switch(link).trim(), "1", "{link}");
        }
        assert!(pod.ip_json("-6 address show").is_empty());
        let own = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
        assert_eq!(
            own.expect("a setting").trim(),
            "0",
            "the node keeps its own"
        );
        pod.within(|| {
            std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "0").expect("a setting");
        });
        let found = kernel
            .check_endpoint(&plan, &links, Some(pod.descriptor()))
            .await
            .expect("checked");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].text.contains("net.ipv6.conf.eth0.disable_ipv6"),
            "{found:?}"
        );
    });
}

#[test]
fn a_removed_pod_has_no_route_and_a_dying_link_until_it_is_reaped() {
    in_new_node(|| async {
        let (kernel, pod) = (Kernel::try_new().expect("sockets"), Namespace::new());
        let plan = pod_plan(1, &["10.0.1.7", "fd00::7"]);
        let links = kernel
            .add_endpoint(&plan, Some(pod.descriptor()))
            .await
            .expect("an endpoint");
        assert_eq!(routes("-4", POD_TABLE).len(), 1);
        kernel
            .remove_endpoint(&plan.addresses, &[], Some(links.host_index))
            .await
            .expect("removed");
        assert!(routes("-4", POD_TABLE).is_empty());
        assert!(routes("-6", POD_TABLE).is_empty());
        let link = &ip_json("-N -d link show eni1")[0];
        assert_eq!(text(&link["group"]), DYING_GROUP.to_string());
        assert!(!has_flag(link, "UP"), "{link}");

        let left = kernel.reap(&[links.host_index]).await.expect("reaped");
        assert!(left.is_empty());
        assert_eq!(link_names(), ["lo"]);
    });
}

#[test]
fn a_hundred_pods_are_reaped_in_one_request() {
    in_new_node(|| async {
        let kernel = Kernel::try_new().expect("sockets");
        let pods: Vec<Namespace> = (0..100).map(|_| Namespace::new()).collect();
        let mut indexes = Vec::new();
        for (number, pod) in (0..100).zip(&pods) {
            let plan = pod_plan(number, &[&format!("10.0.2.{number}")]);
            let links = kernel
                .add_endpoint(&plan, Some(pod.descriptor()))
                .await
                .expect("an endpoint");
            kernel
                .remove_endpoint(&plan.addresses, &[], Some(links.host_index))
                .await
                .expect("removed");
            indexes.push(links.host_index);
        }
        assert_eq!(link_names().len(), 101);
        assert!(kernel.reap(&indexes).await.expect("reaped").is_empty());
        assert_eq!(link_names(), ["lo"]);
    });
}

#[test]
fn links_routes_and_rules_of_others_are_left_alone() {
    in_new_node(|| async {
        let (kernel, pod) = (Kernel::try_new().expect("sockets"), Namespace::new());
        ip("link add theirs type veth peer name theirs2");
        ip("link set theirs up");
        ip("route add 10.9.0.0/16 dev theirs table 22016 metric 7");
        ip("route add 10.0.1.7/32 dev theirs");
        ip("rule add priority 512 from 10.9.9.9 lookup 99");
        let before = (routes("-4", 254), crate::world::rules("-4"));
        let plan = pod_plan(1, &["10.0.1.7"]);
        let links = kernel
            .add_endpoint(&plan, Some(pod.descriptor()))
            .await
            .expect("an endpoint");
        kernel
            .remove_endpoint(&plan.addresses, &[], Some(links.host_index))
            .await
            .expect("removed");
        kernel.reap(&[links.host_index]).await.expect("reaped");
        let theirs = ip_json("link show theirs")[0]["ifindex"]
            .as_u64()
            .expect("an index");
        // An index that is somebody else's by now.
        kernel
            .remove_endpoint(
                &plan.addresses,
                &[],
                Some(u32::try_from(theirs).expect("an index")),
            )
            .await
            .expect("nothing to remove");
        assert_eq!((routes("-4", 254), crate::world::rules("-4")), before);
        assert_eq!(routes("-4", POD_TABLE).len(), 1);
        assert_eq!(text(&ip_json("-N link show theirs")[0]["group"]), "0");
    });
}

async fn refused(plan: &veni_dataplane::EndpointPlan, namespace: OwnedFd) -> KernelError {
    let kernel = Kernel::try_new().expect("sockets");
    let outcome = kernel.add_endpoint(plan, Some(namespace)).await;
    outcome.expect_err("the kernel refuses")
}

#[test]
fn whatever_step_fails_nothing_is_left() {
    in_new_node(|| async {
        let pod = Namespace::new();
        let good = pod_plan(1, &["10.0.1.7", "fd00::7"]);
        let mut failing = Vec::new();
        let mut plan = good.clone();
        plan.host_link = "a-name-beyond-15-bytes".into();
        failing.push(plan);
        let mut plan = good.clone();
        plan.pod_link = "no/slash".into();
        failing.push(plan);
        let mut plan = good.clone();
        plan.host_mac = [1, 0, 0, 0, 0, 0]; // a group's address
        failing.push(plan);
        let mut plan = good.clone();
        plan.mtu = 70_000;
        failing.push(plan);
        let mut plan = good.clone();
        plan.addresses.push(plan.addresses[0]); // the second of a family
        failing.push(plan);
        let mut plan = good.clone();
        plan.node_addresses = vec!["10.8.8.8".parse().expect("v4")]; // not the node's
        failing.push(plan);
        for plan in failing {
            let error = refused(&plan, pod.descriptor()).await;
            assert!(
                matches!(error, KernelError::Refused { .. }),
                "{plan:?}: {error}"
            );
            assert_eq!(link_names(), ["lo"], "{plan:?}");
            assert_eq!(pod.ip_json("link show").len(), 1, "{plan:?}");
            assert!(routes("-4", POD_TABLE).is_empty(), "{plan:?}");
        }
        let kernel = Kernel::try_new().expect("sockets");
        let outcome = kernel.add_endpoint(&good, Some(pod.descriptor())).await;
        outcome.expect("the good plan still works");
        assert_eq!(link_names().len(), 2);
    });
}

/// Destination, next hop, link and metric of each route of a table, and each rule.
fn ways(pod: &Namespace, family: &str, table: &str) -> Vec<String> {
    let mut ways: Vec<String> = pod
        .ip_json(&format!("{family} route show table {table} proto 86"))
        .iter()
        .map(|route| {
            let part = |name: &str| text(&route[name]);
            let (to, hop, link) = (part("dst"), part("gateway"), part("dev"));
            format!("{to} {hop} {link} {}", route["metric"])
        })
        .collect();
    ways.sort();
    ways
}

#[test]
fn a_further_interface_has_a_table_and_rules_of_its_own_and_leaves_the_first_alone() {
    in_new_node(|| async {
        let (kernel, pod) = (Kernel::try_new().expect("sockets"), Namespace::new());
        let eth0 = pod_plan(1, &["10.0.1.7", "fd00::7"]);
        kernel
            .add_endpoint(&eth0, Some(pod.descriptor()))
            .await
            .expect("an endpoint");
        let before = (ways(&pod, "-4", "main"), ways(&pod, "-6", "main"));
        let mut net1 = pod_plan(2, &["10.0.2.8", "fd00::8"]);
        net1.pod_link = "net1".into();
        net1.default_route = DefaultRoute::None;
        let links = kernel
            .add_endpoint(&net1, Some(pod.descriptor()))
            .await
            .expect("an endpoint");
        let table = (0x5700 + links.pod_index).to_string();

        let hop = [
            format!("169.254.1.1  net1 {table}"),
            format!("fe80::1  net1 {table}"),
        ];
        let mut after = (ways(&pod, "-4", "main"), ways(&pod, "-6", "main"));
        assert!(after.0.contains(&hop[0]), "{after:?}");
        assert!(after.1.contains(&hop[1]), "{after:?}");
        after.0.retain(|way| *way != hop[0]);
        after.1.retain(|way| *way != hop[1]);
        assert_eq!(after, before);
        assert_eq!(
            ways(&pod, "-4", &table),
            ["169.254.1.1  net1 null", "default 169.254.1.1 net1 null"]
        );
        assert_eq!(
            ways(&pod, "-6", &table),
            ["default fe80::1 net1 1024", "fe80::1  net1 1024"]
        );
        for (family, source) in [("-4", "10.0.2.8"), ("-6", "fd00::8")] {
            let rules = pod.ip_json(&format!("{family} rule show priority 1536"));
            assert_eq!(rules.len(), 1, "{rules:?}");
            assert_eq!(text(&rules[0]["src"]), source);
            assert_eq!(text(&rules[0]["table"]), table);
        }
        // Where packets really go: by their source, and by the first without one.
        for (to, from, link) in [
            ("192.0.2.1", "from 10.0.2.8", "net1"),
            ("192.0.2.1", "from 10.0.1.7", "eth0"),
            ("192.0.2.1", "", "eth0"),
            ("2001:db8::1", "from fd00::8", "net1"),
            ("2001:db8::1", "", "eth0"),
        ] {
            let route = &pod.ip_json(&format!("route get {to} {from}"))[0];
            assert_eq!(text(&route["dev"]), link, "{to} {from}: {route}");
        }
        // As Multus does for `default-route`.
        pod.ip("route del default dev eth0");
        pod.ip("route add default via 169.254.1.1 dev net1");
        let route = &pod.ip_json("route get 192.0.2.1")[0];
        assert_eq!(text(&route["dev"]), "net1", "{route}");
    });
}

#[test]
fn a_default_route_in_front_takes_all_packets_without_a_source() {
    in_new_node(|| async {
        let (kernel, pod) = (Kernel::try_new().expect("sockets"), Namespace::new());
        pod.ip("link add eth0 type veth peer name other");
        pod.ip("link set eth0 up");
        pod.ip("link set other up");
        pod.ip("address add 192.0.2.9/24 dev eth0");
        pod.ip("address add 2001:db8::9/64 dev eth0 nodad");
        pod.ip("route add default via 192.0.2.1");
        pod.ip("-6 route add default via 2001:db8::1");
        let mut net1 = pod_plan(2, &["10.0.2.8", "fd00::8"]);
        net1.pod_link = "net1".into();
        net1.default_route = DefaultRoute::InFront;
        let links = kernel
            .add_endpoint(&net1, Some(pod.descriptor()))
            .await
            .expect("an endpoint");
        let link_to = |to: &str| text(&pod.ip_json(&format!("route get {to}"))[0]["dev"]);
        assert_eq!(link_to("198.51.100.1"), "net1");
        assert_eq!(link_to("2001:db8:1::1"), "net1");
        kernel
            .remove_endpoint(&net1.addresses, &[], Some(links.host_index))
            .await
            .expect("removed");
        kernel
            .clear_namespace(&net1, &links, pod.descriptor())
            .await
            .expect("cleared");
        // The link still waits for the reaper.
        assert_eq!(pod.ip_json("link show net1").len(), 1);
        assert_eq!(link_to("198.51.100.1"), "eth0");
        assert_eq!(link_to("2001:db8:1::1"), "eth0");
    });
}

#[test]
fn a_route_that_the_pod_has_already_is_refused_and_named() {
    in_new_node(|| async {
        let pod = Namespace::new();
        pod.ip("link add other type veth peer name other2");
        pod.ip("link set other up");
        pod.ip("route add default dev other");
        let error = refused(&pod_plan(1, &["10.0.1.7"]), pod.descriptor()).await;
        let words = error.to_string();
        assert!(
            words.contains("add route 0.0.0.0/0 via 169.254.1.1 on eth0"),
            "{words}"
        );
        assert_eq!(link_names(), ["lo"]);
    });
}

#[test]
fn a_descriptor_that_is_no_namespace_means_that_it_is_gone() {
    in_new_node(|| async {
        let file = std::fs::File::open("/proc/self/status").expect("a file");
        let error = refused(&pod_plan(1, &["10.0.1.7"]), file.into()).await;
        assert!(matches!(error, KernelError::NamespaceGone), "{error}");
    });
}

#[test]
fn a_dropped_future_leaves_what_a_repeated_add_completes() {
    in_new_node(|| async {
        let (kernel, pod) = (Kernel::try_new().expect("sockets"), Namespace::new());
        let plan = pod_plan(1, &["10.0.1.7"]);
        let mut adding = Box::pin(kernel.add_endpoint(&plan, Some(pod.descriptor())));
        // Polled once, so it is under way, and dropped.
        let first = poll_once(adding.as_mut()).await;
        drop(adding);
        let links = kernel
            .add_endpoint(&plan, Some(pod.descriptor()))
            .await
            .expect("an endpoint");
        assert!(first.is_none_or(|first| first.is_ok_and(|first| first == links)));
        assert_eq!(routes("-4", POD_TABLE).len(), 1);
        assert_eq!(link_names().len(), 2);
    });
}

/// Polls a future a single time.
async fn poll_once<T>(
    mut future: std::pin::Pin<&mut (impl Future<Output = T> + ?Sized)>,
) -> Option<T> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
