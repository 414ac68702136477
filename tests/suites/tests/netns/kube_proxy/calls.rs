//! Who calls whom, and whom a server must see.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use veni_provider::Family;
use veni_testbed::kernel;
use veni_testbed::kube_proxy::ProxyMode;

use super::cluster::Cluster;
use super::connections::PORT;
use super::services::{EARLY, FAR, LOCAL, OUTSIDE, Service, WEB};

/// Port of the node that leads to the pod on the secondary interface, by Veni.
pub(super) const HOST_PORT: u16 = 8080;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Somebody who calls, and the addresses by which a server may see it.
pub(super) struct Call {
    pub(super) name: String,
    pub(super) from: PathBuf,
    pub(super) to: SocketAddr,
    pub(super) seen: Vec<IpAddr>,
}

impl Cluster {
    /// All calls that must be answered.
    pub(super) async fn calls(&self) -> Vec<Call> {
        let (node, other) = (self.node(0), self.node(1));
        // kube-proxy chooses an address of the node by itself where the link has none.
        let of_node = kernel::addresses(self.bed.node(0)).await.into_iter();
        let of_node: Vec<IpAddr> = of_node.map(|(_, address)| address).collect();
        let of_node = of_node.as_slice();
        let [first, web, far] = [&self.first, &self.web, &self.far];
        let outside = self.bed.lab().internet().path();
        let paths = [
            ("first", first.0.path()),
            ("web", web.0.path()),
            ("far", far.0.path()),
            ("node", self.bed.node(0)),
            ("other", self.bed.node(1)),
            ("outside", outside),
        ];
        let call = |from: &str, to: (IpAddr, u16), seen: &[IpAddr]| {
            let (_, path) = paths.iter().find(|(name, _)| *name == from).expect("known");
            Call {
                name: format!("{from} to {}:{}", to.0, to.1),
                from: path.to_path_buf(),
                to: to.into(),
                seen: seen.to_vec(),
            }
        };
        let cluster = |service: Service| (service.address(self.family), 80);
        let port = |service: Service| (node, service.port());
        let mut calls = vec![
            // A service by its address: every caller keeps its own.
            call("first", cluster(WEB), &[first.1]),
            call("web", cluster(FAR), &[web.1]),
            call("web", cluster(EARLY), &[web.1]),
            call("node", cluster(WEB), &[node]),
            call("node", cluster(FAR), &[node]),
            // Hairpin.
            call("web", cluster(WEB), of_node),
            call("web", port(WEB), of_node),
            call("web", port(LOCAL), of_node),
            // A node port, whose source kube-proxy translates.
            call("outside", port(WEB), of_node),
            call("other", port(WEB), of_node),
            call("far", port(WEB), of_node),
            call("first", port(WEB), of_node),
            call("node", port(WEB), of_node),
            call("outside", port(FAR), &[node]),
            call("other", port(FAR), &[node]),
            call("web", port(FAR), of_node),
            // One that keeps the source.
            call("outside", port(LOCAL), &[self.internet]),
            call("other", port(LOCAL), &[other]),
            call("far", port(LOCAL), &[far.1]),
            // Probes, without a service.
            call("node", (web.1, PORT), &[node]),
            call("node", (first.1, PORT), &[node]),
            // Out of the VPC, with and without a service: translated, and once.
            call("first", (self.internet, PORT), &[node]),
            call("web", (self.internet, PORT), &[node]),
            call("first", cluster(OUTSIDE), &[node]),
            call("web", cluster(OUTSIDE), &[node]),
            call("web", port(OUTSIDE), &[node]),
            call("outside", port(OUTSIDE), &[node]),
            // Past kube-proxy.
            call("web", (far.1, PORT), &[web.1]),
            call("far", (web.1, PORT), &[far.1]),
            // A port of the node that is Veni's.
            call("outside", (node, HOST_PORT), &[self.internet]),
            call("far", (node, HOST_PORT), &[far.1]),
            call("web", (node, HOST_PORT), &[node]),
        ];
        if self.family == Family::V4 {
            calls.push(call("node", (LOOPBACK, HOST_PORT), &[node]));
        }
        if self.mode != ProxyMode::Nftables {
            calls.push(call("node", (LOOPBACK, WEB.port()), of_node));
        }
        calls
    }
}
