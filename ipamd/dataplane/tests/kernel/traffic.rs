//! Where packets go. The cloud is a namespace that, as a cloud does, drops what
//! comes from an interface that does not own the source address: strict reverse
//! path filtering there.

use std::time::Duration;

use veni_dataplane::{DataPlane, EndpointPlan, InterfacePlan, Kernel, NodePlan, SourceRouting};

use crate::node;
use crate::world::{Namespace, exchange, in_new_node, ip, nft, plug, pod_plan, socket};

/// Long enough for a packet on this machine to come, if it comes.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

/// A node with two interfaces in a cloud. Pods of 10.0.1.0/24 belong to the second.
pub(crate) struct Site {
    pub(crate) kernel: Kernel,
    pub(crate) cloud: Namespace,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::prepared(&node::plan()).await
    }

    pub(crate) async fn prepared(plan: &NodePlan) -> Self {
        let cloud = Namespace::new();
        plug("eth0", "02:00:00:00:00:10", &cloud, "cloud0");
        plug("eth1", "02:00:00:00:00:11", &cloud, "cloud1");
        ip("address add 10.0.0.5/24 dev eth0");
        ip("address add fd00::5/64 dev eth0 nodad");
        ip("link set eth0 up");
        ip("route add default via 10.0.0.1");
        cloud.within(|| {
            for link in ["all", "cloud0", "cloud1"] {
                let setting = format!("/proc/sys/net/ipv4/conf/{link}/rp_filter");
                std::fs::write(setting, "1").expect("a setting");
            }
        });
        for command in [
            "address add 10.0.0.1/24 dev cloud0",
            "address add fd00::1/64 dev cloud0 nodad",
            "address add 198.51.100.9/32 dev lo",
            "route add 10.0.0.6/32 dev cloud1",
            "neighbour add 10.0.0.6 lladdr 02:00:00:00:00:11 dev cloud1",
            "route add 10.0.1.0/24 via 10.0.0.6 dev cloud1 onlink",
            "route add fd00:0:0:1::/64 via fd00::5",
        ] {
            cloud.ip(command);
        }
        let kernel = Kernel::try_new().expect("sockets");
        kernel.prepare_node(plan).await.expect("prepared");
        let site = Self { kernel, cloud };
        site.serve().await;
        site
    }

    /// Brings the second interface into service.
    pub(crate) async fn serve(&self) {
        let interface = InterfacePlan {
            mac: [0x02, 0, 0, 0, 0, 0x11],
            primary: false,
            table: 0x5611,
            own_addresses: vec!["10.0.0.6".parse().expect("v4")],
            gateways: vec!["10.0.0.1".parse().expect("v4")],
            source_routing: SourceRouting::BySource(vec!["10.0.1.0/24".parse().expect("a prefix")]),
            mtu: None,
        };
        let ensured = self.kernel.ensure_interface(&interface).await;
        ensured.expect("in service");
    }

    pub(crate) async fn pod(&self, number: u8, addresses: &[&str]) -> (Namespace, EndpointPlan) {
        let pod = Namespace::new();
        let mut plan = pod_plan(number, addresses);
        plan.node_addresses = vec![
            "10.0.0.5".parse().expect("v4"),
            "fd00::5".parse().expect("v6"),
        ];
        self.kernel
            .add_endpoint(&plan, Some(pod.descriptor()))
            .await
            .expect("an endpoint");
        (pod, plan)
    }
}

pub(crate) fn seen(address: &str) -> std::net::IpAddr {
    address.parse().expect("an address")
}

#[test]
fn a_pod_and_its_node_reach_each_other_over_ipv4_and_ipv6() {
    in_new_node(|| async {
        let site = Site::new().await;
        let (pod, _) = site.pod(1, &["10.0.1.7", "fd00:0:0:1::7"]).await;
        for (node, node_address, pod_address) in [
            ("0.0.0.0:0", "10.0.0.5", "10.0.1.7"),
            ("[::]:0", "fd00::5", "fd00:0:0:1::7"),
        ] {
            let bound = |address: &str| match address.contains(':') {
                true => format!("[{address}]:7000"),
                false => format!("{address}:7000"),
            };
            let server = pod.socket(&bound(pod_address));
            let (client_seen, _) = exchange(&socket(node), &bound(pod_address), &server);
            assert_eq!(
                client_seen,
                seen(node_address),
                "the node's preferred source"
            );
            let server = socket(&bound(node_address));
            let (client_seen, _) = exchange(&pod.socket(node), &bound(node_address), &server);
            assert_eq!(client_seen, seen(pod_address));
        }
    });
}

#[test]
fn without_the_rule_of_all_pods_the_node_does_not_reach_them() {
    in_new_node(|| async {
        let site = Site::new().await;
        let (pod, _) = site.pod(1, &["10.0.1.7"]).await;
        let server = pod.socket("10.0.1.7:7000");
        exchange(&socket("0.0.0.0:0"), "10.0.1.7:7000", &server);
        ip("rule delete priority 512");
        server.set_read_timeout(Some(SILENCE)).expect("a timeout");
        socket("0.0.0.0:0")
            .send_to(b"lost", "10.0.1.7:7000")
            .expect("sent");
        assert!(
            server.recv_from(&mut [0; 16]).is_err(),
            "there is another way"
        );
    });
}

#[test]
fn pods_of_a_node_reach_each_other_with_their_own_addresses() {
    in_new_node(|| async {
        let site = Site::new().await;
        let (one, _) = site.pod(1, &["10.0.1.7", "fd00:0:0:1::7"]).await;
        let (two, _) = site.pod(2, &["10.0.1.8", "fd00:0:0:1::8"]).await;
        let (from, _) = exchange(
            &one.socket("0.0.0.0:0"),
            "10.0.1.8:7000",
            &two.socket("10.0.1.8:7000"),
        );
        assert_eq!(from, seen("10.0.1.7"));
        let (from, _) = exchange(
            &one.socket("[::]:0"),
            "[fd00:0:0:1::8]:7000",
            &two.socket("[fd00:0:0:1::8]:7000"),
        );
        assert_eq!(from, seen("fd00:0:0:1::7"));
    });
}

#[test]
fn a_pod_reaches_the_network_by_its_own_interface_with_its_own_address() {
    in_new_node(|| async {
        let site = Site::new().await;
        let (pod, _) = site.pod(1, &["10.0.1.7"]).await;
        let server = site.cloud.socket("10.0.0.1:7000");
        let (from, _) = exchange(&pod.socket("0.0.0.0:0"), "10.0.0.1:7000", &server);
        assert_eq!(from, seen("10.0.1.7"));
        // Without its rule it leaves by the primary interface, and the cloud drops it.
        ip("rule delete priority 1536");
        server.set_read_timeout(Some(SILENCE)).expect("a timeout");
        pod.socket("0.0.0.0:0")
            .send_to(b"lost", "10.0.0.1:7000")
            .expect("sent");
        assert!(
            server.recv_from(&mut [0; 16]).is_err(),
            "the cloud let it pass"
        );
    });
}

#[test]
fn a_pod_reaches_beyond_the_network_with_the_nodes_address() {
    in_new_node(|| async {
        let site = Site::new().await;
        let (pod, _) = site.pod(1, &["10.0.1.7"]).await;
        let server = site.cloud.socket("198.51.100.9:7000");
        let (from, answered) = exchange(&pod.socket("0.0.0.0:0"), "198.51.100.9:7000", &server);
        assert_eq!(from, seen("10.0.0.5"));
        assert_eq!(answered, seen("198.51.100.9"));
        // Without the rule for marked traffic it leaves by the second interface.
        ip("rule delete priority 1024");
        server.set_read_timeout(Some(SILENCE)).expect("a timeout");
        pod.socket("0.0.0.0:0")
            .send_to(b"lost", "198.51.100.9:7000")
            .expect("sent");
        assert!(
            server.recv_from(&mut [0; 16]).is_err(),
            "the cloud let it pass"
        );
    });
}

#[test]
fn a_pod_reaches_beyond_the_network_with_another_mark() {
    in_new_node(|| async {
        let mut plan = node::plan();
        plan.mark = 0x300;
        let site = Site::prepared(&plan).await;
        let (pod, _) = site.pod(1, &["10.0.1.7"]).await;
        let server = site.cloud.socket("198.51.100.9:7000");
        let (from, answered) = exchange(&pod.socket("0.0.0.0:0"), "198.51.100.9:7000", &server);
        assert_eq!(from, seen("10.0.0.5"));
        assert_eq!(answered, seen("198.51.100.9"));
    });
}

#[test]
fn what_a_pod_sends_to_an_external_service_follows_the_nodes_own_routes() {
    in_new_node(|| async {
        let mut plan = node::plan();
        plan.source_nat = false;
        plan.external_services = vec!["10.0.7.0/24".parse().expect("a range")];
        let site = Site::prepared(&plan).await;
        let (_pod, _) = site.pod(1, &["10.0.1.7"]).await;
        let way = |to: &str| {
            let asked = format!("route get {to} from 10.0.1.7 iif eni1");
            crate::world::text(&crate::world::ip_json(&asked)[0]["dev"])
        };
        assert_eq!(way("10.0.7.9"), "eth0");
        assert_eq!(way("10.0.8.9"), "eth1", "what is no external service");
    });
}

/// What kube-proxy does for a service 10.96.0.1 and a node port 30080, both with
/// the pod 10.0.1.7 behind them.
pub(crate) const SERVICE: &str = "table ip proxy {
    chain services {
        type nat hook prerouting priority -100;
        ip daddr 10.96.0.1 udp dport 80 dnat to 10.0.1.7:7000
        fib daddr type local udp dport 30080 dnat to 10.0.1.7:7000
    }
    chain translate {
        type nat hook postrouting priority 100;
        meta mark & 0x4000 == 0x4000 masquerade
    }
}";

async fn services_work(site: &Site) {
    let (pod, _) = site.pod(1, &["10.0.1.7"]).await;
    let (other, _) = site.pod(2, &["10.0.1.8"]).await;
    let server = pod.socket("10.0.1.7:7000");
    let client = site.cloud.socket("198.51.100.9:0");
    let (from, answered) = exchange(&client, "10.0.0.5:30080", &server);
    assert_eq!(
        from,
        seen("198.51.100.9"),
        "a node port keeps the client's address"
    );
    assert_eq!(
        answered,
        seen("10.0.0.5"),
        "and answers by the primary interface"
    );
    let (from, answered) = exchange(&other.socket("0.0.0.0:0"), "10.96.0.1:80", &server);
    assert_eq!(
        from,
        seen("10.0.1.8"),
        "a service within the network is not translated"
    );
    assert_eq!(answered, seen("10.96.0.1"));
}

#[test]
fn node_ports_and_services_work_with_rules_of_a_proxy_that_came_first() {
    in_new_node(|| async {
        nft(SERVICE);
        services_work(&Site::new().await).await;
    });
}

#[test]
fn node_ports_and_services_work_with_rules_of_a_proxy_that_came_later() {
    in_new_node(|| async {
        let site = Site::new().await;
        nft(SERVICE);
        services_work(&site).await;
    });
}

#[test]
fn bits_of_others_in_a_mark_are_kept() {
    in_new_node(|| async {
        let site = Site::new().await;
        nft("table inet theirs {
            counter kept { }
            chain early { type filter hook prerouting priority -140;
                iifname \"eni1\" meta mark set 0x4001 ct mark set 0x2; }
            chain late { type filter hook postrouting priority 50;
                meta mark == 0x4081 ct mark == 0x82 counter name kept; }
        }");
        let (pod, _) = site.pod(1, &["10.0.1.7"]).await;
        let server = site.cloud.socket("198.51.100.9:7000");
        exchange(&pod.socket("0.0.0.0:0"), "198.51.100.9:7000", &server);
        let objects = crate::world::nft_json("inet theirs");
        let counter = objects.iter().find_map(|object| object.get("counter"));
        assert_eq!(counter.expect("the counter")["packets"], 1);
    });
}
