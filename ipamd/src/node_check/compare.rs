//! Which facts are a difference. Pure: it asks nobody, and knows neither clock nor kernel.

mod host_ports;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use veni_dataplane::plan::INTERFACE_TABLES;
use veni_dataplane::{Aspect, Difference, Repair, RepairKind, SourceRouting};

use super::facts::{Facts, Found, InterfaceFacts};
use super::finding::{Cure, Finding, Kind};
use crate::attachment::AttachmentKey;
use crate::journal::endpoint::{Record, RecordState};
use crate::pool::CloudDifference;

/// Pods that a sentence names one by one.
const NAMED: usize = 3;

/// All differences, those of the node first.
pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = node(facts);
    found.extend(
        facts
            .interfaces
            .iter()
            .flat_map(|one| interface(facts, one)),
    );
    found.extend(endpoints(facts));
    found.extend(orphans(facts));
    found.extend(journal(facts));
    found.extend(leases(facts));
    let carried = facts.beliefs[1].carried.iter().cloned();
    found.extend(carried.map(|text| Finding::sentence(Kind::NodeAddress, text)));
    found.extend(facts.interferers.iter().map(|one| Finding {
        kind: Kind::Host,
        what: one.what.clone(),
        breaks: one.consequence.to_owned(),
        cure: Cure::Operator(format!("see {} of Veni's source", one.page())),
    }));
    let host = facts.host.iter().cloned();
    found.extend(host.map(|text| Finding::sentence(Kind::Host, text)));
    found.extend(facts.beliefs[1].cloud.iter().map(cloud));
    found
}

fn node(facts: &Facts) -> Vec<Finding> {
    let Some(report) = &facts.node else {
        return Vec::new();
    };
    let repairs = report.repairs.iter().map(|repair| mended(facts, repair));
    let foreign = report.foreign_rules.iter().map(|rule| Finding {
        kind: Kind::ForeignRule,
        what: format!(
            "{} of another program is at a priority of Veni's",
            rule.text
        ),
        breaks: "of two rules of one priority the older one counts: packets of pods, or to \
                 them, may go where the other program wants them"
            .to_owned(),
        cure: Cure::Operator(format!(
            "give it another priority where its program is configured, or remove it: {}",
            rule.removal
        )),
    });
    let warnings = report.warnings.iter().cloned();
    let warnings = warnings.map(|text| Finding::sentence(Kind::Node, text));
    repairs.chain(foreign).chain(warnings).collect()
}

/// What the daemon's own comparison would mend.
fn mended(facts: &Facts, repair: &Repair) -> Finding {
    Finding {
        kind: repair.kind.into(),
        what: repair.now(),
        breaks: repair.breaks.to_owned(),
        cure: by_daemon(facts, repair.kind),
    }
}

fn by_daemon(facts: &Facts, kind: RepairKind) -> Cure {
    match facts.contested.contains(&kind) {
        true => Cure::Contested,
        false => Cure::Daemon,
    }
}

fn interface(facts: &Facts, one: &InterfaceFacts) -> Vec<Finding> {
    let believed = &one.believed;
    // What the pool changes at this moment is no difference.
    let now = facts.beliefs[1].interfaces.iter();
    let steady = now.into_iter().any(|now| now == believed);
    let report = match &one.found {
        Found::NoLink if !believed.young => return vec![without_link(one)],
        Found::Link(report) if steady && believed.settled => report,
        _ => return Vec::new(),
    };
    let repairs = report.repairs.iter().map(|repair| mended(facts, repair));
    repairs.chain(without_next_hop(one)).collect()
}

fn without_link(one: &InterfaceFacts) -> Finding {
    let (id, mac) = (&one.believed.id, one.believed.mac);
    Finding {
        kind: Kind::Interface,
        what: format!("interface {id} has no link on the node (MAC {mac})"),
        breaks: "pods with addresses of it reach nobody outside of the node, and no pod gets \
                 another"
            .to_owned(),
        cure: Cure::Operator(format!(
            "see whether another program has changed its MAC, renamed it into another \
             namespace or detached it (ip -d link; dmesg), and have it leave the link alone: \
             the daemon uses it as soon as a link has the MAC {mac}"
        )),
    }
}

/// Addresses of pods that no default route leads out.
fn without_next_hop(one: &InterfaceFacts) -> Option<Finding> {
    let plan = &one.believed.plan;
    let SourceRouting::BySource(sources) = &plan.source_routing else {
        return None;
    };
    let has = |v4: bool| plan.gateways.iter().any(|gateway| gateway.is_ipv4() == v4);
    let lost = sources
        .iter()
        .find(|source| !has(source.addr().is_ipv4()))?;
    let (id, table) = (&one.believed.id, plan.table);
    Some(Finding {
        kind: Kind::Route,
        what: format!("table {table} of interface {id} has no default route for {lost}"),
        breaks: "pods with addresses of it reach nobody outside of the node".to_owned(),
        cure: Cure::Operator(
            "the cloud names no next hop for the interface's subnet: see whether the subnet \
             has a range of that family"
                .to_owned(),
        ),
    })
}

fn endpoints(facts: &Facts) -> Vec<Finding> {
    let differences: BTreeMap<&str, &[Difference]> = facts
        .endpoints
        .differences
        .iter()
        .map(|(id, all)| (id.as_str(), all.as_slice()))
        .collect();
    let ready = facts
        .endpoints
        .steady()
        .filter(|record| record.state == RecordState::Ready);
    ready
        .flat_map(|record| {
            let all = differences.get(record.id.as_str()).copied();
            endpoint(facts, record, all.unwrap_or_default())
        })
        .collect()
}

fn endpoint(facts: &Facts, record: &Record, differences: &[Difference]) -> Vec<Finding> {
    let label = record.label();
    if differences.iter().any(|one| one.aspect == Aspect::Link) {
        let addresses = record.addresses_text();
        let link = &record.plan.host_link;
        return vec![Finding {
            kind: Kind::PodLink,
            what: format!("{label} holds {addresses}, and its link {link} is gone"),
            breaks: "nobody else gets the address, and a pod that still runs has no network"
                .to_owned(),
            cure: by_daemon(facts, RepairKind::PodRoute),
        }];
    }
    differences
        .iter()
        .map(|one| {
            let (kind, breaks, cure) = of_aspect(facts, record, one.aspect);
            Finding {
                kind,
                what: format!("{label}: {}", one.text),
                breaks: breaks.to_owned(),
                cure,
            }
        })
        .collect()
}

fn of_aspect(facts: &Facts, record: &Record, aspect: Aspect) -> (Kind, &'static str, Cure) {
    let link = &record.plan.host_link;
    match aspect {
        Aspect::Route => (
            Kind::PodRoute,
            "the pod is not reached, or its packets go to another one",
            by_daemon(facts, RepairKind::PodRoute),
        ),
        Aspect::HostPort => (
            Kind::Nftables,
            "the pod is not reached by its ports of the node (hostPort)",
            by_daemon(facts, RepairKind::PodRoute),
        ),
        Aspect::LinkMac => (
            Kind::PodLink,
            "what the pod sends is dropped: it sends to the MAC that the link had",
            by_daemon(facts, RepairKind::PodRoute),
        ),
        Aspect::LinkDown => (
            Kind::PodLink,
            "the pod has no network",
            by_daemon(facts, RepairKind::PodRoute),
        ),
        Aspect::LinkMtu => (
            Kind::PodLink,
            "packets of the pod or to it are lost where they are larger than one end takes",
            Cure::Operator(format!(
                "ip link set dev {link} mtu {}, and have the program that changed it leave the \
                 links of pods alone",
                record.plan.mtu
            )),
        ),
        Aspect::LinkGroup => (
            Kind::PodLink,
            "the pod's packets are not marked and not translated, and may be dropped",
            Cure::Operator(format!(
                "ip link set dev {link} group {}",
                veni_dataplane::plan::POD_GROUP
            )),
        ),
        Aspect::Limit => (
            Kind::PodLink,
            "the pod gets or sends more than its limit, or nothing of what it sends leaves it",
            by_daemon(facts, RepairKind::Limit),
        ),
        Aspect::LinkName | Aspect::Link | Aspect::Pod => (
            Kind::PodLink,
            "the daemon cannot mend the routes of a link that it does not find by its name",
            Cure::Operator(format!(
                "ip link set dev NAME name {link}, with the name that it has now, and have the \
                 program that renamed it (udev, systemd-networkd) leave the links of pods alone"
            )),
        ),
    }
}

/// What is Veni's in the kernel and belongs to no endpoint and no interface.
fn orphans(facts: &Facts) -> Vec<Finding> {
    let Some(observed) = &facts.observed else {
        return Vec::new();
    };
    let records: Vec<&Record> = facts.endpoints.all().collect();
    let links: BTreeSet<u32> = records
        .iter()
        .filter_map(|record| record.links.map(|links| links.host_index))
        .collect();
    let names: BTreeSet<&str> = records
        .iter()
        .map(|record| record.plan.host_link.as_str())
        .collect();
    let routed: BTreeSet<IpAddr> = records
        .iter()
        .flat_map(|record| record.plan.routed())
        .map(|pod| pod.address)
        .collect();
    let tables: BTreeSet<u32> = facts
        .beliefs
        .iter()
        .flat_map(|one| one.tables.iter().copied())
        .collect();
    let of_links = observed.links.iter().filter(|link| {
        !link.dying && !links.contains(&link.index) && !names.contains(link.name.as_str())
    });
    let of_links = of_links.map(|link| Finding {
        kind: Kind::Orphan,
        what: format!(
            "link {} in the pods' group belongs to no endpoint",
            link.name
        ),
        breaks: "nothing removes it, and its pod, if there is one, is unknown to the daemon"
            .to_owned(),
        cure: next_start(),
    });
    let of_routes = observed.endpoints.iter();
    let of_routes = of_routes.filter(|route| !routed.contains(&route.address));
    let of_routes = of_routes.map(|route| Finding {
        kind: Kind::Orphan,
        what: format!(
            "route to {} in the pods' table belongs to no endpoint (link {})",
            route.address, route.link_index
        ),
        breaks: "a pod that gets the address may not be reached".to_owned(),
        cure: Cure::Operator(format!(
            "ip route del {} table {}",
            route.address,
            veni_dataplane::plan::POD_TABLE
        )),
    });
    let of_tables = observed.interface_tables.iter();
    let of_tables = of_tables.filter(|table| {
        INTERFACE_TABLES.contains(table) && !tables.contains(table) && !tables.is_empty()
    });
    let of_tables = of_tables.map(|table| Finding {
        kind: Kind::Orphan,
        what: format!("table {table} has rules or routes of Veni's, and no interface has it"),
        breaks: "packets of pods may leave by an interface that is not theirs any more".to_owned(),
        cure: next_start(),
    });
    let of_ifbs = observed.stray_ifbs.iter().map(|index| Finding {
        kind: Kind::Orphan,
        what: format!("ifb device {index} of Veni's limits no pod's bandwidth any more"),
        breaks: "nothing: it only takes memory".to_owned(),
        cure: Cure::Daemon,
    });
    let of_ports = host_ports::orphans(&records, observed);
    let others = of_routes.chain(of_tables).chain(of_ifbs).chain(of_ports);
    of_links.chain(others).collect()
}

fn next_start() -> Cure {
    Cure::Operator(
        "the daemon's next start settles it: restart the daemon (pods keep their network)"
            .to_owned(),
    )
}

fn journal(facts: &Facts) -> Vec<Finding> {
    let Some(written) = &facts.journal else {
        return Vec::new();
    };
    let lacking = facts.endpoints.steady().filter(|record| {
        record.state != RecordState::Dying && !written.contains(record.id.as_str())
    });
    lacking
        .map(|record| Finding {
            kind: Kind::Journal,
            what: format!("{} has no entry in the journal", record.label()),
            breaks: "a daemon that starts again knows the pod's address and link, but not the \
                     pod: it deletes nothing of it, and CHECK and DEL do not find it"
                .to_owned(),
            cure: Cure::Operator(
                "veni check --repair writes it again; find what removes files below the run \
                 folder's journal"
                    .to_owned(),
            ),
        })
        .collect()
}

/// Who has which address, as the pool and the endpoints say.
fn leases(facts: &Facts) -> Vec<Finding> {
    let [before, after] = &facts.beliefs;
    let known: BTreeSet<&AttachmentKey> = facts.endpoints.all().map(|record| &record.key).collect();
    let held_before: BTreeSet<_> = before.leases.iter().collect();
    let leaked = after
        .leases
        .iter()
        .filter(|lease| held_before.contains(lease));
    let leaked = leaked.filter(|(_, key)| !known.contains(key));
    let leaked = leaked.map(|(address, key)| Finding {
        kind: Kind::Lease,
        what: format!("address {address} is held for {key}, which is no endpoint"),
        breaks: "no pod gets the address".to_owned(),
        cure: Cure::Operator("restart the daemon (pods keep their network)".to_owned()),
    });
    let held = after.leases.iter().map(|(address, key)| (*address, key));
    let holders: BTreeMap<IpAddr, &AttachmentKey> = held.collect();
    let ready = facts
        .endpoints
        .steady()
        .filter(|record| record.state == RecordState::Ready);
    let unheld = ready.flat_map(|record| {
        let addresses = record.addresses().into_iter();
        let unheld = addresses.filter(|address| holders.get(address) != Some(&&record.key));
        unheld.map(|address| Finding {
            kind: Kind::Lease,
            what: format!(
                "{} has {address}, which the pool does not hold for it",
                record.label()
            ),
            breaks: "another pod may get the same address".to_owned(),
            cure: Cure::Operator(
                "restart the daemon (pods keep their network), and recreate the pod if another \
                 one has the address"
                    .to_owned(),
            ),
        })
    });
    leaked.chain(unheld).collect()
}

fn cloud(difference: &CloudDifference) -> Finding {
    let refreshed = "the pool learns of it with its next inventory; at once: veni check --repair";
    let agrees = "the pool drops it when a second inventory, minutes after the first, agrees; \
                  whoever took it away in the cloud can assign it again";
    let (what, breaks, cure) = match difference {
        CloudDifference::UnknownInterface(id) => (
            format!("the cloud lists interface {id}, which the pool does not know"),
            "its addresses serve nobody".to_owned(),
            refreshed,
        ),
        CloudDifference::LackingInterface(id) => (
            format!("the cloud does not list interface {id} of the pool"),
            "pods with addresses of it may have no network".to_owned(),
            agrees,
        ),
        CloudDifference::UnknownRange { interface, range } => (
            format!("the cloud lists {range} on {interface}, which the pool does not know"),
            "it serves nobody".to_owned(),
            refreshed,
        ),
        CloudDifference::LackingRange {
            interface,
            range,
            pods,
        } => (
            format!("the cloud does not list {range} on {interface}, which the pool holds"),
            match pods.as_slice() {
                [] => "a pod that gets an address of it has no network".to_owned(),
                pods => format!("the cloud drops the packets of {}", names(pods)),
            },
            agrees,
        ),
        CloudDifference::DescribedOtherwise(id) => (
            format!(
                "the cloud describes interface {id} with other addresses or next hops of its own"
            ),
            "rules and routes of the interface may be wrong".to_owned(),
            refreshed,
        ),
    };
    Finding {
        kind: Kind::Cloud,
        what,
        breaks,
        cure: Cure::Operator(cure.to_owned()),
    }
}

fn names(pods: &[String]) -> String {
    let named = pods.iter().take(NAMED).cloned().collect::<Vec<_>>();
    let named = named.join(", ");
    match pods.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
