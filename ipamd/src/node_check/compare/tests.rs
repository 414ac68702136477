//! One planted difference per kind, and a sound node that has none.

use ipnet::IpNet;
use veni_dataplane::{
    Aspect, Difference, EndpointLinks, ForeignRule, HalfPort, HostPort, InterfacePlan,
    InterfaceReport, NodeReport, Observed, ObservedEndpoint, ObservedLink, PortProtocol,
};
use veni_provider::{InterfaceId, Mac};

use super::*;
use crate::endpoints::fixtures::record;
use crate::host::{Finding as HostFinding, Gravity};
use crate::node_check::facts::Endpoints;
use crate::pool::{Beliefs, BelievedInterface};

const TABLE: u32 = 22033;
const INDEX: u32 = 7;

fn endpoint() -> Record {
    let mut record = record("a");
    record.state = RecordState::Ready;
    record.links = Some(EndpointLinks {
        host_index: INDEX,
        pod_index: 2,
        namespace_cookie: 1,
    });
    record
}

fn address() -> IpAddr {
    endpoint().addresses()[0]
}

fn believed() -> BelievedInterface {
    let source = IpNet::from(address());
    BelievedInterface {
        id: InterfaceId::new("eni-2"),
        mac: Mac([2, 0, 0, 0, 0, 2]),
        plan: InterfacePlan {
            mac: [2, 0, 0, 0, 0, 2],
            primary: false,
            table: TABLE,
            own_addresses: vec!["10.0.0.6".parse().expect("an address")],
            gateways: vec!["10.0.0.1".parse().expect("an address")],
            source_routing: SourceRouting::BySource(vec![source]),
            mtu: None,
        },
        settled: true,
        young: false,
    }
}

fn with_link(repairs: Vec<Repair>) -> InterfaceFacts {
    InterfaceFacts {
        believed: believed(),
        found: Found::Link(InterfaceReport {
            link: "eth1".to_owned(),
            repairs,
        }),
    }
}

/// A node with one pod on a secondary interface, and all as it should be.
fn sound() -> Facts {
    let record = endpoint();
    let beliefs = Beliefs {
        interfaces: vec![believed()],
        tables: BTreeSet::from([TABLE]),
        leases: vec![(address(), record.key.clone())],
        ..Beliefs::default()
    };
    Facts {
        endpoints: Endpoints {
            before: vec![record.clone()],
            after: vec![record.clone()],
            differences: vec![(record.id.clone(), Vec::new())],
        },
        interfaces: vec![with_link(Vec::new())],
        beliefs: [beliefs.clone(), beliefs],
        node: Some(NodeReport::default()),
        observed: Some(Observed {
            endpoints: vec![ObservedEndpoint {
                address: address(),
                link_index: INDEX,
            }],
            links: vec![ObservedLink {
                index: INDEX,
                name: record.plan.host_link.clone(),
                mac: record.plan.host_mac,
                dying: false,
                routes_loopback: false,
            }],
            interface_tables: vec![TABLE],
            ..Observed::default()
        }),
        journal: Some(BTreeSet::from([record.id])),
        ..Facts::default()
    }
}

fn repair(kind: RepairKind, object: &str, state: &str) -> Repair {
    Repair {
        kind,
        object: object.to_owned(),
        state: state.to_owned(),
        breaks: "something",
    }
}

fn differs(facts: &mut Facts, aspect: Aspect, text: &str) {
    facts.endpoints.differences[0].1.push(Difference {
        aspect,
        text: text.to_owned(),
    });
}

fn observed(facts: &mut Facts) -> &mut Observed {
    facts.observed.as_mut().expect("was observed")
}

type Plant = fn(&mut Facts);

/// Each with the kind and the words that it must be told by.
const PLANTS: &[(&str, Kind, Plant)] = &[
    ("rule 512 is missing", Kind::Rule, |facts| {
        let report = facts.node.as_mut().expect("compared");
        report
            .repairs
            .push(repair(RepairKind::Rule, "rule 512", "missing"));
    }),
    ("ip_forward is 0 instead of 1", Kind::Setting, |facts| {
        let report = facts.node.as_mut().expect("compared");
        let wrong = repair(RepairKind::Setting, "setting ip_forward", "0 instead of 1");
        report.repairs.push(wrong);
    }),
    ("changed by another program", Kind::Nftables, |facts| {
        let report = facts.node.as_mut().expect("compared");
        let changed = "changed by another program";
        report
            .repairs
            .push(repair(RepairKind::Nftables, "table", changed));
    }),
    ("MTU of eth0 is 1500", Kind::Link, |facts| {
        let report = facts.node.as_mut().expect("compared");
        let wrong = repair(RepairKind::Link, "MTU of eth0", "1500 instead of 9001");
        report.repairs.push(wrong);
    }),
    ("at a priority of Veni's", Kind::ForeignRule, |facts| {
        let report = facts.node.as_mut().expect("compared");
        report.foreign_rules.push(ForeignRule {
            text: "IPv4 rule \"512: from all lookup 100\"".to_owned(),
            removal: "ip rule del priority 512 from all lookup 100".to_owned(),
        });
    }),
    ("policy drop", Kind::Node, |facts| {
        let report = facts.node.as_mut().expect("compared");
        report
            .warnings
            .push("policy drop: let it accept".to_owned());
    }),
    ("rule 1536 is missing", Kind::Rule, |facts| {
        facts.interfaces = vec![with_link(vec![repair(
            RepairKind::Rule,
            "rule 1536",
            "missing",
        )])];
    }),
    ("route default is missing", Kind::Route, |facts| {
        let missing = repair(RepairKind::Route, "route default", "missing");
        facts.interfaces = vec![with_link(vec![missing])];
    }),
    ("has no default route for", Kind::Route, |facts| {
        let mut one = with_link(Vec::new());
        one.believed.plan.gateways.clear();
        facts.beliefs[1].interfaces = vec![one.believed.clone()];
        facts.interfaces = vec![one];
    }),
    ("eni-2 has no link", Kind::Interface, |facts| {
        facts.interfaces[0].found = Found::NoLink;
    }),
    ("its link eni-a is gone", Kind::PodLink, |facts| {
        differs(facts, Aspect::Link, "link is missing");
        differs(facts, Aspect::Route, "route is missing");
    }),
    ("a: route is missing", Kind::PodRoute, |facts| {
        differs(facts, Aspect::Route, "route is missing");
    }),
    ("a: MTU is 1400", Kind::PodLink, |facts| {
        differs(facts, Aspect::LinkMtu, "MTU is 1400");
    }),
    ("link eni-x in the pods' group", Kind::Orphan, |facts| {
        observed(facts).links.push(ObservedLink {
            index: 99,
            name: "eni-x".to_owned(),
            mac: [2; 6],
            dying: false,
            routes_loopback: false,
        });
    }),
    ("route to 10.9.9.9", Kind::Orphan, |facts| {
        observed(facts).endpoints.push(ObservedEndpoint {
            address: IpAddr::from([10, 9, 9, 9]),
            link_index: 99,
        });
    }),
    ("table 22040 has rules", Kind::Orphan, |facts| {
        observed(facts).interface_tables.push(22040);
    }),
    ("ifb device 98", Kind::Orphan, |facts| {
        observed(facts).stray_ifbs.push(98);
    }),
    ("port tcp 8080 to 10.9.9.9 port 80", Kind::Orphan, |facts| {
        observed(facts).host_ports.push(HostPort {
            protocol: PortProtocol::Tcp,
            port: 8080,
            host: None,
            pod: IpAddr::from([10, 9, 9, 9]),
            pod_port: 80,
        });
    }),
    ("port tcp 8081 to 10.9.9.9 port 80", Kind::Orphan, |facts| {
        let port = HostPort {
            protocol: PortProtocol::Tcp,
            port: 8081,
            host: None,
            pod: IpAddr::from([10, 9, 9, 9]),
            pod_port: 80,
        };
        let half = HalfPort::WithoutPod(port);
        observed(facts).half_ports.push(half);
    }),
    ("10.9.9.9 is in the set pods_v4", Kind::Orphan, |facts| {
        let half = HalfPort::WithoutPort(IpAddr::from([10, 9, 9, 9]));
        observed(facts).half_ports.push(half);
    }),
    ("a: the limit of eni-a is missing", Kind::PodLink, |facts| {
        differs(facts, Aspect::Limit, "the limit of eni-a is missing");
    }),
    ("a: port tcp 80 is missing", Kind::Nftables, |facts| {
        differs(facts, Aspect::HostPort, "port tcp 80 is missing");
    }),
    ("has no entry in the journal", Kind::Journal, |facts| {
        facts.journal = Some(BTreeSet::new());
    }),
    ("is held for", Kind::Lease, |facts| {
        let mut other = endpoint().key;
        other.container_id = "nobody".to_owned();
        for beliefs in &mut facts.beliefs {
            beliefs
                .leases
                .push((IpAddr::from([10, 9, 9, 9]), other.clone()));
        }
    }),
    ("does not hold for it", Kind::Lease, |facts| {
        facts.beliefs[1].leases.clear();
    }),
    (
        "carries addresses of the pool",
        Kind::NodeAddress,
        |facts| {
            let text = "link eth1 carries addresses of the pool: remove them";
            facts.beliefs[1].carried.push(text.to_owned());
        },
    ),
    ("NetworkManager", Kind::Host, |facts| {
        facts.interferers.push(HostFinding {
            gravity: Gravity::Warning,
            what: "NetworkManager manages eth1".to_owned(),
            consequence: "it rewrites MACs",
            cure: "NetworkManager/veni.conf",
        });
    }),
    ("is not installed", Kind::Host, |facts| {
        facts
            .host
            .push("the plugin is not installed: make room".to_owned());
    }),
    (
        "the cloud does not list 10.0.0.9/32",
        Kind::Cloud,
        |facts| {
            facts.beliefs[1].cloud.push(CloudDifference::LackingRange {
                interface: InterfaceId::new("eni-2"),
                range: "10.0.0.9/32".parse().expect("a range"),
                pods: vec!["shop/web".to_owned()],
            });
        },
    ),
];

#[test]
fn a_sound_node_has_no_difference() {
    assert_eq!(findings(&sound()), []);
}

#[test]
fn each_planted_difference_is_the_only_finding_and_says_what_it_breaks_and_what_cures_it() {
    for (words, kind, plant) in PLANTS {
        let mut facts = sound();
        plant(&mut facts);
        let found = findings(&facts);
        let [one] = found.as_slice() else {
            panic!("{words}: {found:#?}");
        };
        assert_eq!(one.kind, *kind, "{one}");
        assert!(one.what.contains(words), "{words}: {one}");
        let said = one.cure == Cure::Said;
        assert_eq!(one.breaks.is_empty(), said, "{one}");
        assert_eq!(one.to_string().contains("; cure: "), !said, "{one}");
    }
}

#[test]
fn what_an_add_or_a_del_changes_meanwhile_is_no_difference() {
    // A pod that came: the kernel has it, and the first list had not.
    let mut facts = sound();
    facts.endpoints.before.clear();
    facts.endpoints.differences.clear();
    facts.journal = Some(BTreeSet::new());
    facts.beliefs[0].leases.clear();
    assert_eq!(findings(&facts), []);
    // One that went.
    let mut facts = sound();
    facts.endpoints.after.clear();
    differs(&mut facts, Aspect::Link, "link is missing");
    facts.beliefs[1].leases.clear();
    assert_eq!(findings(&facts), []);
    // An interface whose rules are being made.
    let mut facts = sound();
    facts.interfaces = vec![with_link(vec![repair(
        RepairKind::Rule,
        "rule 1536",
        "missing",
    )])];
    facts.beliefs[1].interfaces[0].settled = false;
    assert_eq!(findings(&facts), []);
    // One whose link appears in a moment.
    let mut facts = sound();
    facts.interfaces[0].found = Found::NoLink;
    facts.interfaces[0].believed.young = true;
    assert_eq!(findings(&facts), []);
    // A veth pair that waits to be deleted.
    let mut facts = sound();
    observed(&mut facts).links.push(ObservedLink {
        index: 99,
        name: "eni-x".to_owned(),
        mac: [2; 6],
        dying: true,
        routes_loopback: false,
    });
    assert_eq!(findings(&facts), []);
}

#[test]
fn what_somebody_keeps_changing_is_cured_by_finding_who_does() {
    let mut facts = sound();
    let report = facts.node.as_mut().expect("compared");
    report
        .repairs
        .push(repair(RepairKind::Rule, "rule 512", "missing"));
    assert_eq!(findings(&facts)[0].cure, Cure::Daemon);
    facts.contested = vec![RepairKind::Rule];
    assert_eq!(findings(&facts)[0].cure, Cure::Contested);
}

#[test]
fn what_could_not_be_asked_is_no_difference() {
    let mut facts = sound();
    (facts.node, facts.observed, facts.journal) = (None, None, None);
    facts.interfaces.clear();
    assert_eq!(findings(&facts), []);
}
