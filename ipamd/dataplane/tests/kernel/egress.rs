//! Node-local addresses: flows leave the node translated and come back, and nobody
//! opens one to them.

use std::net::UdpSocket;

use veni_dataplane::DataPlane;

use crate::node;
use crate::traffic::{SILENCE, Site, seen};
use crate::world::{Namespace, await_that, exchange, in_new_node, ip, nft, pod_plan};

/// A family that pods have no addresses of but node-local ones.
struct Other {
    /// The pods' own addresses are of the other family.
    own: [&'static str; 2],
    egress: [&'static str; 2],
    any: &'static str,
    node: &'static str,
    server: &'static str,
    range: &'static str,
}

const IPV4: Other = Other {
    own: ["fd00:0:0:1::7", "fd00:0:0:1::8"],
    egress: ["169.254.172.1", "169.254.175.254"],
    any: "0.0.0.0:0",
    node: "10.0.0.5",
    server: "198.51.100.9:7000",
    range: "169.254.172.0/22",
};

const IPV6: Other = Other {
    own: ["10.0.1.7", "10.0.1.8"],
    egress: ["fd00::ac:1", "fd00::ac:3fe"],
    any: "[::]:0",
    node: "fd00::5",
    server: "[2001:db8::9]:7000",
    range: "fd00::ac:0/118",
};

impl Other {
    /// A node whose pods have addresses of the other family alone.
    async fn site(&self) -> Site {
        let mut plan = node::plan();
        plan.egress = Some(seen(self.node));
        match seen(self.node).is_ipv4() {
            true => plan.node_v4 = None,
            false => plan.node_v6 = None,
        }
        // A gateway that translates the pods' own addresses knows none of these.
        plan.source_nat = false;
        let site = Site::prepared(&plan).await;
        site.cloud.ip("address add 2001:db8::9/128 dev lo nodad");
        ip("-6 route add default via fd00::1");
        site
    }

    async fn pods(&self, site: &Site) -> [Namespace; 2] {
        let mut pods = Vec::new();
        for number in 0..2 {
            let pod = Namespace::new();
            let mut plan = pod_plan(number + 1, &[self.own[usize::from(number)]]);
            plan.egress = Some(seen(self.egress[usize::from(number)]));
            plan.node_addresses = vec![seen("10.0.0.5"), seen("fd00::5")];
            let added = site.kernel.add_endpoint(&plan, Some(pod.descriptor()));
            added.await.expect("an endpoint");
            pods.push(pod);
        }
        pods.try_into().unwrap_or_else(|_| panic!("two pods"))
    }

    /// A socket's address on the first pod.
    fn target(&self) -> String {
        std::net::SocketAddr::new(seen(self.egress[0]), 7000).to_string()
    }
}

async fn flows_leave_translated(other: Other) {
    let site = other.site().await;
    let pods = other.pods(&site).await;
    let server = site.cloud.socket(other.server);
    for pod in &pods {
        let (from, answered) = exchange(&pod.socket(other.any), other.server, &server);
        assert_eq!(from, seen(other.node));
        let host: std::net::SocketAddr = other.server.parse().expect("an address");
        assert_eq!(answered, host.ip());
    }
    // The node answers its pods, and its pods it.
    let node = std::net::SocketAddr::new(seen(other.node), 7001).to_string();
    let (from, _) = exchange(
        &pods[0].socket(other.any),
        &node,
        &crate::world::socket(&node),
    );
    assert_eq!(from, seen(other.egress[0]));
}

#[test]
fn pods_with_ipv6_alone_open_ipv4_flows_with_the_nodes_address() {
    in_new_node(|| async { flows_leave_translated(IPV4).await });
}

#[test]
fn pods_with_ipv4_alone_open_ipv6_flows_with_the_nodes_address() {
    in_new_node(|| async { flows_leave_translated(IPV6).await });
}

async fn nobody_opens_a_flow(other: Other) {
    let site = other.site().await;
    let [pod, neighbour] = other.pods(&site).await;
    site.cloud
        .ip(&format!("route add {} via {}", other.range, other.node));
    let server = pod.socket(&other.target());
    let strangers = [
        ("another machine", site.cloud.socket(other.any)),
        ("another pod", neighbour.socket(other.any)),
    ];
    server.set_read_timeout(Some(SILENCE)).expect("a timeout");
    let is_heard = |who: &str, stranger: &UdpSocket| {
        // The refusal of one question is an error of the next.
        while stranger.send_to(who.as_bytes(), other.target()).is_err() {}
        let mut said = [0; 32];
        let heard = server.recv_from(&mut said);
        heard.is_ok_and(|(length, _)| &said[..length] == who.as_bytes())
    };
    for (who, stranger) in &strangers {
        assert!(!is_heard(who, stranger), "{who} is heard");
    }
    // It is our chain alone that keeps them away.
    nft("flush chain inet veni egress");
    for (who, stranger) in &strangers {
        await_that(who, || is_heard(who, stranger));
    }
}

#[test]
fn nobody_opens_an_ipv4_flow_to_a_node_local_address() {
    in_new_node(|| async { nobody_opens_a_flow(IPV4).await });
}

#[test]
fn nobody_opens_an_ipv6_flow_to_a_node_local_address() {
    in_new_node(|| async { nobody_opens_a_flow(IPV6).await });
}
