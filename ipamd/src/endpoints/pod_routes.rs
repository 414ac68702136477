//! The routes of a pod's namespace, as runtimes are told of them.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use veni_dataplane::DefaultRoute;

use crate::journal::endpoint::Record;

/// A route in the pod's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PodRoute {
    pub(crate) destination: IpNet,
    /// Next hop; none for a route to what is on the link itself.
    pub(crate) gateway: Option<IpAddr>,
    /// Table; 0 is the main table.
    pub(crate) table: u32,
    /// Metric; 0 leaves it to the kernel.
    pub(crate) priority: u32,
}

/// Next hop of each address's default route, in the order of the addresses.
pub(crate) fn gateways(record: &Record) -> Vec<IpAddr> {
    record.addresses().into_iter().map(gateway_of).collect()
}

/// The pod's routes by its next hops, as the data plane makes them.
pub(crate) fn pod_routes(record: &Record) -> Vec<PodRoute> {
    let gateways = gateways(record).into_iter();
    gateways
        .flat_map(|gateway| routes_by(record, gateway))
        .collect()
}

fn routes_by(record: &Record, gateway: IpAddr) -> Vec<PodRoute> {
    let any = match gateway {
        IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
    };
    let hop = |table: u32, priority: u32| PodRoute {
        destination: gateway.into(),
        gateway: None,
        table,
        priority,
    };
    let everything = |table: u32| PodRoute {
        destination: any,
        gateway: Some(gateway),
        table,
        priority: 0,
    };
    let index = record.links.map_or(0, |links| links.pod_index);
    let Some(table) = record.plan.own_table(index) else {
        return vec![hop(0, 0), everything(0)];
    };
    let mut routes = vec![hop(0, table), hop(table, 0), everything(table)];
    if record.plan.default_route == DefaultRoute::InFront {
        routes.push(everything(0));
    }
    routes
}

/// The next hop that a pod has for an address.
fn gateway_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => veni_dataplane::plan::GATEWAY_V4.into(),
        IpAddr::V6(_) => veni_dataplane::plan::GATEWAY_V6.into(),
    }
}
