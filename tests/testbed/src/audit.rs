//! The auditor: the invariants that cloud, kernel, journal and daemon must keep whenever
//! nothing is under way. It shares no code with the daemon and does not know how the
//! daemon does its work.
//!
//! For each invariant the netns lane plants a defect, which shows that the auditor sees
//! it.

mod asked;
mod facts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use veni_cloudlab::mock::dump::InterfaceDump;

use crate::kernel::{DYING_GROUP, FROM_INTERFACES, FROM_PODS, Link, POD_GROUP, PROTOCOL, Rule};

pub use facts::{AskedPort, Endpoint, Entry, Evidence, NodeEvidence, PodEvidence};

/// The invariants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No address is on two pods.
    OneAddressOnePod,
    /// Every pod's address is assigned by the cloud to an interface of its node.
    AddressesAreTheNodesOwn,
    /// Every route of the pod table leads to a pod's link.
    RoutesLeadToPods,
    /// Every link of the pods' group has an endpoint, and none stays in the dying group.
    LinksHaveEndpoints,
    /// Every route of the pod table has an endpoint.
    RoutesHaveEndpoints,
    /// Every rule for a range leads to the table of the interface that holds the range.
    RulesHaveInterfaces,
    /// Pods on secondary interfaces have the rule that leads out of them.
    PodsHaveRules,
    /// Every endpoint has its link and its routes.
    EndpointsAreComplete,
    /// A pod's namespace has what its endpoint says, or nothing.
    PodsAreWhole,
    /// Every endpoint's address is leased.
    EndpointsHaveLeases,
    /// Every leased address belongs to an endpoint.
    LeasesHaveEndpoints,
    /// The cloud holds nothing for the node that the daemon does not know.
    NothingIsForgotten,
    /// The daemon knows nothing that the cloud does not hold.
    NothingIsImagined,
    /// Endpoints and the journal's entries are the same.
    JournalMatches,
    /// The nftables table with marks and source NAT exists exactly once.
    TranslationIsThere,
    /// No note of a DEL is left.
    NotesAreWorkedOff,
    /// Every port of the node that a pod asked for leads to it.
    PortsLeadToPods,
    /// Every port of the node that leads somewhere was asked for by an endpoint.
    PortsHaveEndpoints,
    /// Every pod has the limits that were asked for, and no others.
    LimitsAreAsAsked,
}

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The invariant.
    pub invariant: Invariant,
    /// The node and the object, in words.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.text)
    }
}

/// All violations.
pub fn audit(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Found::default();
    one_address_one_pod(evidence, &mut found);
    for node in &evidence.nodes {
        found.node.clone_from(&node.instance);
        let held = node.attached.as_slice();
        one_node_local_address_one_pod(node, &mut found);
        addresses(node, held, &mut found);
        links_and_routes(node, &mut found);
        rules(node, held, &mut found);
        endpoints(node, &mut found);
        pods(node, &mut found);
        leases(node, &mut found);
        inventory(node, held, &mut found);
        journal(node, &mut found);
        asked::host_ports(node, &mut found);
        asked::limits(node, &mut found);
        let tables = node
            .tables
            .iter()
            .filter(|table| *table == "inet veni")
            .count();
        found.unless(tables == 1, Invariant::TranslationIsThere, || {
            format!("{tables} tables of Veni")
        });
        found.unless(node.notes == 0, Invariant::NotesAreWorkedOff, || {
            format!("{} notes", node.notes)
        });
    }
    found.violations
}

#[derive(Default)]
struct Found {
    node: String,
    violations: Vec<Violation>,
}

impl Found {
    fn unless(&mut self, holds: bool, invariant: Invariant, text: impl FnOnce() -> String) {
        if !holds {
            let text = format!("{}: {}", self.node, text());
            self.violations.push(Violation { invariant, text });
        }
    }
}

fn one_address_one_pod(evidence: &Evidence, found: &mut Found) {
    let mut owners: BTreeMap<IpAddr, BTreeSet<&str>> = BTreeMap::new();
    for node in &evidence.nodes {
        for pod in &node.pods {
            for address in &pod.addresses {
                owners.entry(*address).or_default().insert(&pod.container);
            }
        }
        for endpoint in &node.endpoints {
            // Recovery has made up the name of an endpoint whose journal entry was lost.
            let known = node
                .pods
                .iter()
                .any(|pod| pod.container == endpoint.container);
            for address in endpoint.addresses.iter().filter(|_| known) {
                owners
                    .entry(*address)
                    .or_default()
                    .insert(&endpoint.container);
            }
        }
    }
    for (address, owners) in owners {
        found.unless(owners.len() == 1, Invariant::OneAddressOnePod, || {
            format!("{address} is of {owners:?}")
        });
    }
}

/// Node-local addresses must be unique on each node; other nodes have the same ones.
fn one_node_local_address_one_pod(node: &NodeEvidence, found: &mut Found) {
    let mut owners: BTreeMap<IpAddr, BTreeSet<&str>> = BTreeMap::new();
    let of_pods = node.pods.iter().flat_map(|pod| {
        let addresses = pod.egress.iter();
        addresses.map(|address| (*address, pod.container.as_str()))
    });
    // The daemon may not have forgotten a dying endpoint yet, but no other may have its
    // address.
    let of_entries = node
        .journal
        .iter()
        .filter_map(|entry| Some((entry.egress?, entry.container.as_str())));
    for (address, owner) in of_pods.chain(of_entries) {
        owners.entry(address).or_default().insert(owner);
    }
    for (address, owners) in owners {
        found.unless(owners.len() == 1, Invariant::OneAddressOnePod, || {
            format!("{address} is of {owners:?}")
        });
    }
}

fn holds(interface: &InterfaceDump, address: IpAddr) -> bool {
    let interface = &interface.interface;
    interface.addresses.contains(&address)
        || interface
            .prefixes
            .iter()
            .any(|prefix| prefix.contains(&address))
}

fn addresses(node: &NodeEvidence, held: &[InterfaceDump], found: &mut Found) {
    let of_pods = node.pods.iter().flat_map(|pod| &pod.addresses);
    let of_endpoints = node
        .endpoints
        .iter()
        .flat_map(|endpoint| &endpoint.addresses);
    let all: BTreeSet<&IpAddr> = of_pods.chain(of_endpoints).collect();
    for address in all {
        let assigned = held.iter().any(|interface| holds(interface, *address));
        found.unless(assigned, Invariant::AddressesAreTheNodesOwn, || {
            format!("{address} is assigned to no interface of this node")
        });
    }
}

/// Whether a link is an endpoint's: its host's end, or the ifb device that is named after
/// the index of that.
fn is_of_an_endpoint(node: &NodeEvidence, link: &Link) -> bool {
    let mut of_endpoints = node.links.iter().filter(|one| {
        let mut endpoints = node.endpoints.iter();
        endpoints.any(|endpoint| endpoint.host_link == one.name)
    });
    of_endpoints.any(|host_end| {
        host_end.name == link.name || link.name == format!("veni-{}", host_end.index)
    })
}

fn links_and_routes(node: &NodeEvidence, found: &mut Found) {
    for link in node
        .links
        .iter()
        .filter(|link| link.group == POD_GROUP || link.group == DYING_GROUP)
    {
        let known = is_of_an_endpoint(node, link);
        found.unless(
            known && link.group == POD_GROUP,
            Invariant::LinksHaveEndpoints,
            || {
                format!(
                    "link {} (group {}) is of no endpoint",
                    link.name, link.group
                )
            },
        );
    }
    for route in &node.pod_routes {
        let link = node.links.iter().find(|link| link.name == route.dev);
        found.unless(
            link.is_some_and(|link| link.group == POD_GROUP),
            Invariant::RoutesLeadToPods,
            || format!("the route to {} leads to {}", route.dst, route.dev),
        );
        let mut all = node.endpoints.iter();
        let known = all.any(|endpoint| {
            route
                .address()
                .is_some_and(|to| endpoint.addresses.contains(&to) || endpoint.egress == Some(to))
        });
        found.unless(known, Invariant::RoutesHaveEndpoints, || {
            format!(
                "the route to {} on {} is of no endpoint",
                route.dst, route.dev
            )
        });
    }
}

/// Whether a rule is for something that an interface holds, and its table leads out of
/// that interface's link.
fn may_lead_out(node: &NodeEvidence, interface: &InterfaceDump, rule: &Rule) -> bool {
    let interface = &interface.interface;
    let Some(source) = rule.source else {
        return false;
    };
    let way_out = node.ways_out.get(&rule.table);
    let link = way_out.and_then(|dev| node.links.iter().find(|link| link.name == *dev));
    let leads_out = link.is_some_and(|link| link.address == interface.mac.to_string());
    let sources: Vec<IpNet> = match rule.priority {
        FROM_INTERFACES => interface
            .own_addresses
            .iter()
            .map(|own| IpNet::from(*own))
            .collect(),
        _ => {
            let single = interface
                .addresses
                .iter()
                .map(|address| IpNet::from(*address));
            single.chain(interface.prefixes.iter().copied()).collect()
        }
    };
    leads_out && sources.contains(&source)
}

fn rules(node: &NodeEvidence, held: &[InterfaceDump], found: &mut Found) {
    let ours: Vec<&Rule> = node
        .rules
        .iter()
        .filter(|rule| rule.protocol == PROTOCOL)
        .collect();
    for rule in ours
        .iter()
        .filter(|rule| matches!(rule.priority, FROM_PODS | FROM_INTERFACES))
    {
        let explained = held
            .iter()
            .any(|interface| may_lead_out(node, interface, rule));
        found.unless(explained, Invariant::RulesHaveInterfaces, || {
            format!("rule '{rule}' is for nothing that an interface holds")
        });
    }
    for address in node
        .endpoints
        .iter()
        .flat_map(|endpoint| &endpoint.addresses)
    {
        let Some(interface) = held.iter().find(|interface| holds(interface, *address)) else {
            continue; // told already
        };
        let leads = |rule: &&Rule| {
            let covers = rule.source.is_some_and(|source| source.contains(address));
            rule.priority == FROM_PODS && covers && may_lead_out(node, interface, rule)
        };
        let fine = interface.interface.primary || ours.iter().any(leads);
        found.unless(fine, Invariant::PodsHaveRules, || {
            format!("no rule leads {address} out of {}", interface.interface.id)
        });
    }
}

fn endpoints(node: &NodeEvidence, found: &mut Found) {
    for endpoint in &node.endpoints {
        let name = &endpoint.container;
        found.unless(
            endpoint.state == "ready",
            Invariant::EndpointsAreComplete,
            || format!("{name} is {}", endpoint.state),
        );
        let link = node
            .links
            .iter()
            .find(|link| link.name == endpoint.host_link);
        let up = link.is_some_and(|link| link.flags.iter().any(|flag| flag == "UP"));
        found.unless(up, Invariant::EndpointsAreComplete, || {
            format!("{name} has no link {} that is up", endpoint.host_link)
        });
        for address in endpoint.addresses.iter().chain(&endpoint.egress) {
            let mut all = node.pod_routes.iter();
            let routed = all
                .any(|route| route.address() == Some(*address) && route.dev == endpoint.host_link);
            found.unless(routed, Invariant::EndpointsAreComplete, || {
                format!("{name} has no route to {address} on {}", endpoint.host_link)
            });
        }
    }
}

fn pods(node: &NodeEvidence, found: &mut Found) {
    for pod in &node.pods {
        let name = &pod.container;
        let of_pod: Vec<&Endpoint> = node
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.container == *name)
            .collect();
        if of_pod.is_empty() {
            found.unless(pod.links.is_empty(), Invariant::PodsAreWhole, || {
                format!(
                    "{name} is no endpoint and has {:?} with {:?}",
                    pod.links, pod.addresses
                )
            });
            continue;
        }
        let told_of = |endpoint: &'_ &&Endpoint| {
            let told = endpoint.addresses.iter().chain(&endpoint.egress);
            told.copied().collect::<Vec<IpAddr>>()
        };
        let has: BTreeSet<_> = pod.addresses.iter().chain(&pod.egress).copied().collect();
        let told: BTreeSet<_> = of_pod.iter().flat_map(|one| told_of(&one)).collect();
        found.unless(has == told, Invariant::PodsAreWhole, || {
            format!("{name} has {has:?} and not {told:?}")
        });
        // An interface beside the pod's first has its default route in a table of its own.
        let first = of_pod.iter().filter(|one| one.interface == "eth0");
        let by_first: usize = first.map(|one| told_of(&one).len()).sum();
        found.unless(
            pod.default_routes == by_first,
            Invariant::PodsAreWhole,
            || format!("{name} has {} default routes", pod.default_routes),
        );
    }
}

fn leases(node: &NodeEvidence, found: &mut Found) {
    let used: BTreeSet<&IpAddr> = node
        .endpoints
        .iter()
        .flat_map(|endpoint| &endpoint.addresses)
        .collect();
    for address in &used {
        found.unless(
            node.leased.contains(address),
            Invariant::EndpointsHaveLeases,
            || format!("{address} is a pod's and not leased"),
        );
    }
    for address in &node.leased {
        found.unless(
            used.contains(address),
            Invariant::LeasesHaveEndpoints,
            || format!("{address} is leased to nobody"),
        );
    }
}

fn inventory(node: &NodeEvidence, held: &[InterfaceDump], found: &mut Found) {
    let mut truth: BTreeSet<(String, IpNet)> = BTreeSet::new();
    for InterfaceDump { interface, .. } in held {
        let single = interface
            .addresses
            .iter()
            .map(|address| IpNet::from(*address));
        let all = single.chain(interface.prefixes.iter().copied());
        truth.extend(all.map(|cidr| (interface.id.to_string(), cidr)));
    }
    for (interface, cidr) in truth.difference(&node.held) {
        found.unless(false, Invariant::NothingIsForgotten, || {
            format!("{cidr} on {interface} is not in the pool")
        });
    }
    for (interface, cidr) in node.held.difference(&truth) {
        found.unless(false, Invariant::NothingIsImagined, || {
            format!("the cloud has no {cidr} on {interface}")
        });
    }
}

fn journal(node: &NodeEvidence, found: &mut Found) {
    let identify = |container: &str, addresses: &[IpAddr], egress: Option<IpAddr>| {
        let all: Vec<IpAddr> = addresses.iter().copied().chain(egress).collect();
        (container.to_owned(), all)
    };
    let told: BTreeSet<_> = node
        .endpoints
        .iter()
        .map(|one| identify(&one.container, &one.addresses, one.egress))
        .collect();
    let alive = node.journal.iter().filter(|entry| entry.state != "dying");
    let written: BTreeSet<_> = alive
        .map(|one| identify(&one.container, &one.addresses, one.egress))
        .collect();
    for (container, addresses) in told.symmetric_difference(&written) {
        found.unless(false, Invariant::JournalMatches, || {
            format!("{container} with {addresses:?} is in one of daemon and journal alone")
        });
    }
}
