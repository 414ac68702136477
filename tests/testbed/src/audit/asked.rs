//! What runtimes asked for beside addresses: ports of the node and limits of bandwidth.

use std::collections::BTreeSet;

use super::facts::{Endpoint, Entry, NodeEvidence};
use super::{Found, Invariant};
use crate::kernel::{Link, host_port_in_words};

/// Living entries of the journal, each with its endpoint.
fn living(node: &NodeEvidence) -> impl Iterator<Item = (&Entry, &Endpoint)> {
    let alive = node.journal.iter().filter(|entry| entry.state == "ready");
    alive.filter_map(|entry| {
        let same = |endpoint: &&Endpoint| endpoint.container == entry.container;
        let mut of_container = node.endpoints.iter().filter(same);
        let endpoint = of_container.find(|one| one.addresses == entry.addresses)?;
        Some((entry, endpoint))
    })
}

/// Ports of the node lead to the pods that asked for them, and to nobody else.
pub(super) fn host_ports(node: &NodeEvidence, found: &mut Found) {
    let (mut wanted, mut pods) = (BTreeSet::new(), BTreeSet::new());
    for (entry, _) in living(node) {
        for mapping in &entry.ports {
            let all = |host: &str| host == "0.0.0.0" || host == "::";
            let host = mapping.host.as_deref();
            let of_family = entry
                .addresses
                .iter()
                .filter(|address| host.is_none_or(|host| host.contains(':') == address.is_ipv6()));
            for address in of_family {
                let pod = address.to_string();
                let host = host.filter(|host| !all(host));
                let port = (mapping.protocol.as_str(), mapping.host_port);
                wanted.insert(host_port_in_words(
                    port.0,
                    port.1,
                    host,
                    &pod,
                    mapping.pod_port,
                ));
                pods.insert(*address);
            }
        }
    }
    let led = &node.host_ports;
    for port in wanted.difference(&led.ports) {
        found.unless(false, Invariant::PortsLeadToPods, || {
            format!("no port {port}")
        });
    }
    for pod in pods.difference(&led.pods) {
        found.unless(false, Invariant::PortsLeadToPods, || {
            format!("{pod} is in no set of pods that ports lead to")
        });
    }
    for port in led.ports.difference(&wanted) {
        found.unless(false, Invariant::PortsHaveEndpoints, || {
            format!("port {port} is of no endpoint")
        });
    }
    for pod in led.pods.difference(&pods) {
        found.unless(false, Invariant::PortsHaveEndpoints, || {
            format!("{pod} is in a set of pods that ports lead to, and asked for none")
        });
    }
}

/// Limits are as they were asked for, and nobody else has one.
pub(super) fn limits(node: &NodeEvidence, found: &mut Found) {
    for (entry, endpoint) in living(node) {
        let (to_pod, from_pod) = entry.limits;
        let (name, link) = (&endpoint.container, endpoint.host_link.as_str());
        let has = node.limits.rates.get(link).copied();
        found.unless(has == to_pod, Invariant::LimitsAreAsAsked, || {
            format!("{name} gets {has:?} bit/s and not {to_pod:?}")
        });
        let Some(index) = index_of(&node.links, link) else {
            continue; // told already
        };
        let ifb = format!("veni-{index}");
        let has = node.limits.rates.get(&ifb).copied();
        found.unless(has == from_pod, Invariant::LimitsAreAsAsked, || {
            format!("{name} sends {has:?} bit/s and not {from_pod:?}")
        });
        let redirects = node.limits.redirects.get(link);
        let redirected = redirects.is_some_and(|to| to.contains(&ifb));
        let as_asked = redirected == from_pod.is_some();
        found.unless(as_asked, Invariant::LimitsAreAsAsked, || {
            format!("what {name} sends is led to {redirects:?}")
        });
    }
}

fn index_of(links: &[Link], name: &str) -> Option<u32> {
    let link = links.iter().find(|link| link.name == name);
    link.map(|link| link.index)
}
