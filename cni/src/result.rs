//! What ADD prints, in the format of each version of the specification
//! (section "ADD Success"; in 0.1.0 and 0.2.0 `ip4` and `ip6`).
//!
//! Interfaces are told as they are: the host's end of the veth pair without a
//! sandbox, the container's end with it. Nothing else hides in these fields.

use serde_json::{Map, Value, json};
use veni_api::v1::{AddResponse, Route};

use crate::netconf::Netconf;
use crate::version::SpecVersion;

/// The result of an ADD for the container's interface `interface_name` in `netns`.
///
/// When an earlier plugin of the chain has returned a result, ours is added to
/// it: a chained plugin passes on what came before, and positions of interfaces
/// stay true.
pub fn of_add(
    response: &AddResponse,
    netconf: &Netconf,
    interface_name: &str,
    netns: &str,
) -> Value {
    let previous = netconf.previous.clone().unwrap_or_default();
    if !netconf.version.has_lists() {
        return of_add_by_family(response, netconf, &previous.dns);
    }
    let mut interfaces = previous.interfaces;
    let container = interfaces.len() + 1;
    interfaces.push(interface(
        &response.host_interface,
        &response.host_mac,
        None,
        response.mtu,
        netconf.version,
    ));
    interfaces.push(interface(
        interface_name,
        &response.pod_mac,
        Some(netns),
        response.mtu,
        netconf.version,
    ));

    let mut ips = previous.ips;
    ips.extend(
        response
            .addresses
            .iter()
            .enumerate()
            .map(|(position, address)| {
                let gateway = response.gateways.get(position).map_or("", String::as_str);
                ip(address, gateway, container, netconf.version)
            }),
    );

    let mut routes = previous.routes;
    routes.extend(
        response
            .routes
            .iter()
            .filter_map(|one| route(one, netconf.version)),
    );
    json!({
        "cniVersion": netconf.version.as_str(),
        "interfaces": interfaces,
        "ips": ips,
        "routes": routes,
        "dns": dns(netconf, &previous.dns),
    })
}

/// The result in 0.1.0 and 0.2.0: one address per family, with its routes.
fn of_add_by_family(
    response: &AddResponse,
    netconf: &Netconf,
    earlier_dns: &Map<String, Value>,
) -> Value {
    let mut result = json!({
        "cniVersion": netconf.version.as_str(),
        "dns": dns(netconf, earlier_dns),
    });
    for (position, address) in response.addresses.iter().enumerate() {
        let is_ipv6 = address.contains(':');
        let routes = response.routes.iter();
        let routes = routes.filter(|route| route.destination.contains(':') == is_ipv6);
        let mut family = json!({
            "ip": address,
            "routes": routes.filter_map(|one| route(one, netconf.version)).collect::<Vec<Value>>(),
        });
        if let Some(gateway) = response
            .gateways
            .get(position)
            .filter(|hop| !hop.is_empty())
        {
            family["gateway"] = Value::from(gateway.as_str());
        }
        result[if is_ipv6 { "ip6" } else { "ip4" }] = family;
    }
    result
}

/// A route, `None` for one that the version has no words for: before 1.1.0 a route of
/// another table than the main one would read as one of that.
fn route(route: &Route, version: SpecVersion) -> Option<Value> {
    let has_tables = version >= SpecVersion::V1_1_0;
    let mut object = json!({ "dst": route.destination });
    if !route.gateway.is_empty() {
        object["gw"] = Value::from(route.gateway.as_str());
    }
    if has_tables && route.table != 0 {
        object["table"] = Value::from(route.table);
    }
    if has_tables && route.priority != 0 {
        object["priority"] = Value::from(route.priority);
    }
    (has_tables || route.table == 0).then_some(object)
}

/// The configuration's own settings come before those of an earlier plugin.
fn dns<'a>(netconf: &'a Netconf, earlier: &'a Map<String, Value>) -> &'a Map<String, Value> {
    if netconf.dns.is_empty() {
        earlier
    } else {
        &netconf.dns
    }
}

fn interface(
    name: &str,
    mac: &str,
    sandbox: Option<&str>,
    mtu: u32,
    version: SpecVersion,
) -> Value {
    let mut object = json!({ "name": name, "mac": mac });
    if version >= SpecVersion::V1_1_0 && mtu > 0 {
        object["mtu"] = Value::from(mtu);
    }
    if let Some(path) = sandbox {
        object["sandbox"] = Value::from(path);
    }
    object
}

fn ip(address: &str, gateway: &str, interface: usize, version: SpecVersion) -> Value {
    let mut object = Map::new();
    if version < SpecVersion::V1_0_0 {
        let family = if address.contains(':') { "6" } else { "4" };
        object.insert("version".to_owned(), Value::from(family));
    }
    object.insert("interface".to_owned(), Value::from(interface));
    object.insert("address".to_owned(), Value::from(address));
    if !gateway.is_empty() {
        object.insert("gateway".to_owned(), Value::from(gateway));
    }
    Value::Object(object)
}
