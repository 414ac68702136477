//! What an audit finds: endpoints whose pod is gone, host routes and ports that somebody
//! removed, and what the kernel once refused to undo.
//!
//! Pure: [`super::Endpoints`] carries out what is found.

use veni_dataplane::{HostPort, LinkKey, Observed, ObservedLink, PodAddress};

use crate::journal::endpoint::{Record, RecordState};

/// What an audit finds of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// Its link is gone, or about to go: its pod has ended.
    Vanished {
        /// Whether another link has its index by now.
        index_of_another: bool,
    },
    /// Its link lives and lacks something on the host, in words.
    HostSide(String),
    /// It is neither made nor gone: the kernel refused when it was undone or deleted. Its
    /// link, if it has one that its record does not know.
    Stuck { unknown_link: Option<u32> },
}

/// What links of endpoints are asked for by.
pub(super) fn link_keys(records: &[Record]) -> Vec<LinkKey> {
    records.iter().map(Record::link_key).collect()
}

/// What is wrong with an endpoint; `None` where nothing is.
pub(super) fn finding(record: &Record, observed: &Observed) -> Option<Finding> {
    let link = record.link_in(observed);
    if record.state != RecordState::Ready {
        let unknown = link.filter(|_| record.links.is_none());
        let unknown_link = unknown.map(|link| link.index);
        return Some(Finding::Stuck { unknown_link });
    }
    match link.filter(|link| !link.dying) {
        Some(link) => missing(record, link, observed).map(Finding::HostSide),
        None => Some(Finding::Vanished {
            index_of_another: link.is_none() && is_another_s(record, observed),
        }),
    }
}

fn is_another_s(record: &Record, observed: &Observed) -> bool {
    let index = record.links.map(|links| links.host_index);
    observed.links.iter().any(|link| Some(link.index) == index)
}

/// What an endpoint whose link lives lacks on the host, in words.
fn missing(record: &Record, link: &ObservedLink, observed: &Observed) -> Option<String> {
    let leads_to_it = |pod: &PodAddress| observed.leads(pod.address, link.index);
    if !record.plan.routed().iter().all(leads_to_it) {
        return Some("host routes were missing".to_owned());
    }
    if let Some(missing) = missing_host_ports(record, link, observed) {
        return Some(missing);
    }
    (link.mac != record.plan.host_mac).then(|| {
        let name = &record.plan.host_link;
        format!("the MAC of {name} had been changed, which the pod sends to")
    })
}

/// What the ports of the node lack that lead to an endpoint.
fn missing_host_ports(record: &Record, link: &ObservedLink, observed: &Observed) -> Option<String> {
    let wanted = record.plan.host_ports();
    let missing: Vec<String> = wanted
        .iter()
        .filter(|port| !observed.host_ports.contains(port))
        .map(HostPort::to_string)
        .collect();
    if !missing.is_empty() {
        return Some(format!("host ports were missing: {}", missing.join(", ")));
    }
    let by_loopback = wanted.iter().any(HostPort::serves_loopback);
    (by_loopback && !link.routes_loopback).then(|| {
        let name = &link.name;
        format!("net.ipv4.conf.{name}.route_localnet had been switched off")
    })
}

#[cfg(test)]
mod tests {
    use veni_dataplane::{EndpointLinks, ObservedEndpoint, PortMapping, PortProtocol};

    use super::super::fixtures;
    use super::*;

    const INDEX: u32 = 7;

    fn record(state: RecordState, links: bool) -> Record {
        let mut record = fixtures::record("a");
        record.state = state;
        record.links = links.then_some(EndpointLinks {
            host_index: INDEX,
            pod_index: 2,
            namespace_cookie: 1,
        });
        record
    }

    /// A kernel that has all of an endpoint.
    fn whole(record: &Record) -> Observed {
        let routed = record.plan.routed();
        let routes = routed.iter().map(|pod| ObservedEndpoint {
            address: pod.address,
            link_index: INDEX,
        });
        Observed {
            links: vec![ObservedLink {
                index: INDEX,
                name: record.plan.host_link.clone(),
                mac: record.plan.host_mac,
                dying: false,
                routes_loopback: true,
            }],
            endpoints: routes.collect(),
            host_ports: record.plan.host_ports(),
            ..Observed::default()
        }
    }

    #[test]
    fn an_endpoint_that_the_kernel_has_as_it_was_made_is_no_finding() {
        let ready = record(RecordState::Ready, true);
        assert_eq!(finding(&ready, &whole(&ready)), None);
    }

    #[test]
    fn an_endpoint_whose_link_is_gone_or_dying_has_vanished() {
        let ready = record(RecordState::Ready, true);
        let vanished = |index_of_another| Some(Finding::Vanished { index_of_another });
        assert_eq!(finding(&ready, &Observed::default()), vanished(false));
        let mut dying = whole(&ready);
        dying.links[0].dying = true;
        assert_eq!(finding(&ready, &dying), vanished(false), "it is its own");
        let mut another = Observed {
            endpoints: Vec::new(),
            ..whole(&ready)
        };
        another.links[0].name = "eni-b".to_owned();
        another.links[0].mac = [2, 9, 9, 9, 9, 9];
        assert_eq!(finding(&ready, &another), vanished(true));
    }

    #[test]
    fn a_missing_route_and_a_changed_mac_are_told_of_an_endpoint_that_lives() {
        let ready = record(RecordState::Ready, true);
        let mut unrouted = whole(&ready);
        unrouted.endpoints.clear();
        let routes = "host routes were missing".to_owned();
        assert_eq!(finding(&ready, &unrouted), Some(Finding::HostSide(routes)));
        let mut changed = whole(&ready);
        changed.links[0].mac = [2, 9, 9, 9, 9, 9];
        let Some(Finding::HostSide(said)) = finding(&ready, &changed) else {
            panic!("the MAC is a finding");
        };
        assert!(said.starts_with("the MAC of eni-a"), "{said}");
    }

    #[test]
    fn a_missing_port_of_the_node_and_a_link_that_keeps_loopback_out_are_told() {
        let mut ready = record(RecordState::Ready, true);
        ready.plan.port_mappings = vec![PortMapping {
            protocol: PortProtocol::Tcp,
            host_port: 8080,
            pod_port: 80,
            host_address: None,
        }];
        assert_eq!(finding(&ready, &whole(&ready)), None);
        let mut without = whole(&ready);
        without.host_ports.clear();
        let said = "host ports were missing: tcp 8080 to 10.0.0.9 port 80".to_owned();
        assert_eq!(finding(&ready, &without), Some(Finding::HostSide(said)));
        let mut switched_off = whole(&ready);
        switched_off.links[0].routes_loopback = false;
        let said = "net.ipv4.conf.eni-a.route_localnet had been switched off".to_owned();
        assert_eq!(
            finding(&ready, &switched_off),
            Some(Finding::HostSide(said))
        );
        ready.plan.port_mappings.clear();
        assert_eq!(finding(&ready, &switched_off), None);
    }

    #[test]
    fn an_endpoint_that_is_not_ready_is_stuck_and_its_unknown_link_is_told() {
        for state in [RecordState::Adding, RecordState::Dying] {
            let (known, unknown) = (record(state, true), record(state, false));
            let stuck = |unknown_link| Some(Finding::Stuck { unknown_link });
            assert_eq!(finding(&known, &whole(&known)), stuck(None));
            assert_eq!(finding(&unknown, &whole(&unknown)), stuck(Some(INDEX)));
            assert_eq!(finding(&unknown, &Observed::default()), stuck(None));
        }
    }
}
