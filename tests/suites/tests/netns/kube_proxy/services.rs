//! Services of the cluster beside which a node stands, as the API server tells of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use serde_json::json;
use veni_provider::Family;
use veni_testbed::api_server::{ApiServer, Kind};

use super::connections::PORT;

/// Ports of the node that lead to services.
pub(super) const NODE_PORTS: RangeInclusive<u16> = 30080..=30085;

/// A service by its number: it has the address 172.20.0.NUMBER or fd00:20::NUMBER, and
/// the node port 30080 + NUMBER, for TCP and UDP.
#[derive(Clone, Copy)]
pub(super) struct Service {
    number: u8,
    pub(super) name: &'static str,
    /// `externalTrafficPolicy`.
    policy: &'static str,
}

/// Served by a host on the other node, from before Veni's start.
pub(super) const EARLY: Service = Service::new(0, "test/early", "Cluster");
/// Served by the pod on the secondary interface.
pub(super) const WEB: Service = Service::new(1, "test/web", "Cluster");
/// The same, for callers from outside only on the node that they call.
pub(super) const LOCAL: Service = Service::new(2, "test/local", "Local");
/// Served by a pod of the other node.
pub(super) const FAR: Service = Service::new(3, "test/far", "Cluster");
/// The same, for callers from outside only on that node.
pub(super) const FAR_LOCAL: Service = Service::new(4, "test/far-local", "Local");
/// Served by a host outside of the VPC.
pub(super) const OUTSIDE: Service = Service::new(5, "test/outside", "Cluster");

impl Service {
    const fn new(number: u8, name: &'static str, policy: &'static str) -> Self {
        Self {
            number,
            name,
            policy,
        }
    }

    pub(super) fn address(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(172, 20, 0, self.number).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, self.number.into()).into(),
        }
    }

    pub(super) fn port(self) -> u16 {
        NODE_PORTS.start() + u16::from(self.number)
    }

    /// Has the API server know it with these endpoints, and the nodes that these are on.
    pub(super) fn put(self, api: &ApiServer, family: Family, endpoints: &[(IpAddr, Option<&str>)]) {
        let (namespace, name) = self.name.split_once('/').expect("of a namespace");
        let address = self.address(family).to_string();
        let kind = match family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        let endpoints = endpoints.iter().map(|(address, node)| {
            json!({
                "addresses": [address], "nodeName": node,
                "conditions": { "ready": true, "serving": true, "terminating": false },
            })
        });
        let slice = json!({
            "metadata": {
                "name": name, "namespace": namespace,
                "labels": { "kubernetes.io/service-name": name },
            },
            "addressType": kind,
            "ports": [
                { "name": "tcp", "port": PORT, "protocol": "TCP" },
                { "name": "udp", "port": PORT, "protocol": "UDP" },
            ],
            "endpoints": endpoints.collect::<Vec<_>>(),
        });
        let port = |protocol: &str| {
            json!({
                "name": protocol.to_lowercase(), "protocol": protocol,
                "port": 80, "targetPort": PORT, "nodePort": self.port(),
            })
        };
        let service = json!({
            "metadata": { "name": name, "namespace": namespace },
            "spec": {
                "type": "NodePort", "clusterIP": address, "clusterIPs": [address],
                "ipFamilies": [kind], "ipFamilyPolicy": "SingleStack",
                "externalTrafficPolicy": self.policy, "internalTrafficPolicy": "Cluster",
                "sessionAffinity": "None",
                "ports": [port("TCP"), port("UDP")],
            },
        });
        api.put(Kind::EndpointSlice, slice);
        api.put(Kind::Service, service);
    }
}
