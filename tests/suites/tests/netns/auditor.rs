//! Shows that the auditor can fail: it must see one planted defect per invariant. Otherwise
//! its silence in other tests would prove nothing.

use std::net::IpAddr;

use serde_json::json;
use veni_provider::{AddressSlots, Family, Grant, Provider};
use veni_testbed::audit::{Invariant, Violation, audit};
use veni_testbed::kernel::Rule;
use veni_testbed::{Added, Bed, BedConfig, TestPod, kernel};

/// A bed whose daemons repair nothing, with pods on both interfaces.
async fn unattended() -> (Bed, Vec<(TestPod, Added)>) {
    let config = BedConfig::new(1)
        .instance_type("t3.small")
        // So that an interface has room for what somebody else assigns.
        .set("WARM_IP_TARGET", "1")
        .set("VENI_AUDIT_INTERVAL", "3600");
    let config = config
        .set("VENI_INVENTORY_INTERVAL", "3600")
        .set("VENI_DOUBT_TIME", "5");
    let bed = Bed::start(config).await;
    let pods = pods_on_two_interfaces(&bed).await;
    (bed, pods)
}

/// Pods until one has an address of a secondary interface. The first asks for a port of the
/// node and for limits.
pub(super) async fn pods_on_two_interfaces(bed: &Bed) -> Vec<(TestPod, Added)> {
    let first = bed.pod(0, "p0").await.asking_for(json!({
        "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }],
        "bandwidth": { "ingressRate": 10_000_000, "egressRate": 5_000_000 },
    }));
    let added = bed.add(&first).await.expect("ADD");
    let mut pods = vec![(first, added)];
    while rule_of(bed, &pods).await.is_none() || pods.len() < 4 {
        assert!(
            pods.len() < 20,
            "no pod has an address of another interface"
        );
        pods.push(bed.running(0, &format!("p{}", pods.len())).await);
    }
    pods
}

/// A rule that leads a pod's packets out of a secondary interface.
async fn rule_of(bed: &Bed, pods: &[(TestPod, Added)]) -> Option<Rule> {
    let mut rules = kernel::source_rules(bed.node(0)).await.into_iter();
    let of_a_pod = |source: &ipnet::IpNet| {
        let mut addresses = pods.iter().map(|(_, added)| added.address());
        addresses.any(|address| source.contains(&address))
    };
    rules.find(|rule| rule.source.as_ref().is_some_and(of_a_pod))
}

/// Plants one defect of each kind, each undone before the next. `pods` are all pods, as
/// [`pods_on_two_interfaces`] makes them.
pub(super) async fn sees_defects_of_each_kind(bed: &Bed, pods: &[(TestPod, Added)]) {
    sees_defects_of_the_kernel(bed, pods).await;
    sees_defects_of_ports_and_limits(bed, pods).await;
    sees_defects_of_cloud_daemon_and_journal(bed, pods).await;
}

/// A defect that the daemon would repair at once.
async fn seen_unmended(
    bed: &Bed,
    pods: &[&TestPod],
    (invariant, defect): (Invariant, &str),
    plant: impl AsyncFnOnce(),
    undo: impl AsyncFnOnce(),
) {
    let found = bed.violations_unseen(pods, plant, undo).await;
    assert_seen(&found.expect("evidence"), invariant, defect);
}

fn assert_seen(found: &[Violation], invariant: Invariant, defect: &str) {
    assert!(
        found.iter().any(|one| one.invariant == invariant),
        "'{defect}' is not seen in {found:?}"
    );
}

#[tokio::test]
async fn the_auditor_sees_a_defect_of_each_kind_in_the_kernel() {
    let (bed, pods) = unattended().await;
    sees_defects_of_the_kernel(&bed, &pods).await;
    bed.end().await;
}

async fn sees_defects_of_the_kernel(bed: &Bed, pods: &[(TestPod, Added)]) {
    use Invariant::{
        AddressesAreTheNodesOwn, EndpointsAreComplete, LinksHaveEndpoints, OneAddressOnePod,
        PodsAreWhole, PodsHaveRules, RoutesHaveEndpoints, RoutesLeadToPods, RulesHaveInterfaces,
    };
    let all: Vec<&TestPod> = pods.iter().map(|(pod, _)| pod).collect();
    bed.sound(&all).await;
    let node = bed.node(0).to_owned();
    let inside = pods[1].0.path().to_owned();
    let (first, link): (IpAddr, _) = (pods[2].1.address(), &pods[2].1.host_link);
    let rule = rule_of(bed, pods).await;
    let rule = rule.expect("a pod is on the second interface");
    let lead = format!(
        "priority 1536 from {} lookup {} protocol 86",
        rule.source.expect("a source"),
        rule.table
    );
    let plants = [
        (
            OneAddressOnePod,
            &inside,
            format!("address add {first}/32 dev eth0"),
            format!("address del {first}/32 dev eth0"),
        ),
        (
            AddressesAreTheNodesOwn,
            &inside,
            "address add 10.9.9.9/32 dev eth0".into(),
            "address del 10.9.9.9/32 dev eth0".into(),
        ),
        (
            PodsAreWhole,
            &inside,
            "route del default".into(),
            "route add default via 169.254.1.1 dev eth0 onlink".into(),
        ),
        (
            RoutesLeadToPods,
            &node,
            "route add 10.9.9.9 dev eth0 table 22016".into(),
            "route del 10.9.9.9 table 22016".into(),
        ),
        (
            RoutesHaveEndpoints,
            &node,
            format!("route add 10.9.9.9 dev {link} table 22016"),
            "route del 10.9.9.9 table 22016".into(),
        ),
        (
            LinksHaveEndpoints,
            &node,
            "link add planted group 22096 type veth peer name planted2".into(),
            "link del planted".into(),
        ),
        (
            LinksHaveEndpoints,
            &node,
            "link add planted group 22085 type veth peer name planted2".into(),
            "link del planted".into(),
        ),
        (
            LinksHaveEndpoints,
            &node,
            "link add veni-99999 group 22096 type ifb".into(),
            "link del veni-99999".into(),
        ),
        (
            RulesHaveInterfaces,
            &node,
            "rule add priority 1536 from 10.9.9.9 lookup 22033 protocol 86".into(),
            "rule del priority 1536 from 10.9.9.9".into(),
        ),
        (
            PodsHaveRules,
            &node,
            format!("rule del {lead}"),
            format!("rule add {lead}"),
        ),
        // The route goes with the link, so make it again by hand.
        (
            EndpointsAreComplete,
            &node,
            format!("link set {link} group default down"),
            format!(
                "link set {link} group 22096 up; route replace {first} dev {link} table 22016 protocol 86"
            ),
        ),
    ];
    for (invariant, place, plant, undo) in &plants {
        let change = async || drop(kernel::ip(place, plant).await);
        let back = async || {
            for command in undo.split("; ") {
                kernel::ip(place, command).await;
            }
        };
        seen_unmended(bed, &all, (*invariant, plant), change, back).await;
        bed.sound(&all).await;
    }
}

#[tokio::test]
async fn the_auditor_sees_a_defect_of_each_kind_in_cloud_daemon_journal_and_tables() {
    let (bed, pods) = unattended().await;
    sees_defects_of_cloud_daemon_and_journal(&bed, &pods).await;
    bed.end().await;
}

async fn sees_defects_of_cloud_daemon_and_journal(bed: &Bed, pods: &[(TestPod, Added)]) {
    let all: Vec<&TestPod> = pods.iter().map(|(pod, _)| pod).collect();
    bed.sound(&all).await;

    let provider = bed.lab().cloud().provider(bed.lab().node(0).instance_id());
    let inventory = provider.inventory().await.expect("the inventory");
    let given = std::cell::RefCell::new(None);
    seen_unmended(
        bed,
        &all,
        (
            Invariant::NothingIsForgotten,
            "an address that the daemon does not know",
        ),
        async || {
            let slots = AddressSlots::Addresses {
                family: Family::V4,
                count: 1,
            };
            for interface in &inventory.interfaces {
                if let Ok(grant) = provider.assign(&interface.id, slots).await {
                    given.replace(Some((interface.id.clone(), grant)));
                    return;
                }
            }
            panic!("no interface has room");
        },
        async || {
            let (interface, grant) = given.take().expect("it was given");
            let released = provider.release(&interface, &grant).await;
            released.expect("released again");
        },
    )
    .await;
    bed.sound(&all).await;
    let used: Vec<IpAddr> = pods.iter().map(|(_, added)| added.address()).collect();
    let mut held = inventory
        .interfaces
        .iter()
        .flat_map(|one| one.addresses.iter().map(|address| (&one.id, *address)));
    let (interface, free) = held
        .find(|(_, address)| !used.contains(address))
        .expect("a free address");
    let grant = Grant {
        addresses: vec![free],
        prefixes: Vec::new(),
    };
    seen_unmended(
        bed,
        &all,
        (Invariant::NothingIsImagined, "an address that is gone"),
        async || {
            let released = provider.release(interface, &grant).await;
            released.expect("released behind the daemon's back");
        },
        async || (),
    )
    .await;
    let daemon = bed.daemon(0);
    daemon.terminate().await;
    daemon.start().await;
    bed.sound(&all).await;

    let evidence = bed.evidence(&all).await.expect("evidence");
    let judge = |change: &dyn Fn(&mut veni_testbed::audit::NodeEvidence)| {
        let mut changed = evidence.clone();
        change(&mut changed.nodes[0]);
        audit(&changed)
            .into_iter()
            .map(|one| one.invariant)
            .collect::<Vec<_>>()
    };
    assert_eq!(judge(&|_| ()), []);
    let lost = judge(&|node| assert!(node.leased.remove(&used[0])));
    assert_eq!(lost, [Invariant::EndpointsHaveLeases]);
    let shared = judge(&|node| {
        for pod in &mut node.pods {
            pod.egress
                .push("169.254.172.9".parse().expect("an address"));
        }
    });
    assert!(shared.contains(&Invariant::OneAddressOnePod), "{shared:?}");
    assert!(shared.contains(&Invariant::PodsAreWhole), "{shared:?}");
    let stray = judge(&|node| assert!(node.leased.insert(free)));
    assert_eq!(stray, [Invariant::LeasesHaveEndpoints]);

    let (entry, aside) = (bed.journal_entry(all[0]), bed.folder().join("entry"));
    seen_unmended(
        bed,
        &all,
        (Invariant::JournalMatches, "an entry that is gone"),
        async || std::fs::rename(&entry, &aside).expect("the entry can be moved"),
        async || std::fs::rename(&aside, &entry).expect("and back"),
    )
    .await;
    let note = daemon.run_dir().join("pending/0.json");
    std::fs::create_dir_all(note.parent().expect("a folder")).expect("the folder can be made");
    seen_unmended(
        bed,
        &all,
        (Invariant::NotesAreWorkedOff, "a note"),
        async || std::fs::write(&note, "{}").expect("a note can be left"),
        async || std::fs::remove_file(&note).expect("the note can be removed"),
    )
    .await;
    bed.sound(&all).await;
    seen_unmended(
        bed,
        &all,
        (Invariant::TranslationIsThere, "a table that is gone"),
        async || {
            let deleted = kernel::run(bed.node(0), "nft", &["delete", "table", "inet", "veni"]);
            deleted.await.expect("the table can be deleted");
        },
        async || (),
    )
    .await;
    bed.sound(&all).await;
}

#[tokio::test]
async fn the_auditor_sees_a_defect_of_each_kind_in_ports_and_limits() {
    let (bed, pods) = unattended().await;
    sees_defects_of_ports_and_limits(&bed, &pods).await;
    bed.end().await;
}

async fn sees_defects_of_ports_and_limits(bed: &Bed, pods: &[(TestPod, Added)]) {
    use Invariant::{LimitsAreAsAsked, PortsHaveEndpoints, PortsLeadToPods};
    let all: Vec<&TestPod> = pods.iter().map(|(pod, _)| pod).collect();
    bed.sound(&all).await;
    let added = &pods[0].1;
    let node = bed.node(0);
    let (pod, link, free) = (added.address(), &added.host_link, &pods[1].1.host_link);
    let links = kernel::links(node).await;
    let index = links.iter().find(|one| one.name == *link).expect("a link");
    let ifb = format!("veni-{}", index.index);
    let table = "inet veni_host_ports";
    let (port, pair) = (
        format!("all_v4 {{ tcp . 8080 : {pod} . 80 }}"),
        format!("pods_v4 {{ {pod} . {pod} }}"),
    );
    let stray = format!("all_v4 {{ udp . 53 : {pod} . 53 }}");
    let bucket = |link: &str, rate: u32| {
        format!("tc qdisc replace dev {link} root tbf rate {rate}mbit burst 100kb limit 300kb")
    };
    let plants = [
        (
            PortsLeadToPods,
            format!("nft delete element {table} all_v4 {{ tcp . 8080 }}"),
            format!("nft add element {table} {port}"),
        ),
        (
            PortsLeadToPods,
            format!("nft delete element {table} {pair}"),
            format!("nft add element {table} {pair}"),
        ),
        (
            PortsHaveEndpoints,
            format!("nft add element {table} {stray}"),
            format!("nft delete element {table} all_v4 {{ udp . 53 }}"),
        ),
        (
            PortsHaveEndpoints,
            format!("nft add element {table} pods_v4 {{ 10.9.9.9 . 10.9.9.9 }}"),
            format!("nft delete element {table} pods_v4 {{ 10.9.9.9 . 10.9.9.9 }}"),
        ),
        (
            LimitsAreAsAsked,
            format!("tc qdisc del dev {link} root"),
            bucket(link, 10),
        ),
        (LimitsAreAsAsked, bucket(&ifb, 20), bucket(&ifb, 5)),
        (
            LimitsAreAsAsked,
            bucket(free, 20),
            format!("tc qdisc del dev {free} root"),
        ),
        // The daemon redirects again what it finds without.
        (
            LimitsAreAsAsked,
            format!("tc filter del dev {link} ingress"),
            String::new(),
        ),
    ];
    for (invariant, plant, undo) in &plants {
        let run = async |command: &str| {
            let (program, arguments) = command.split_once(' ').expect("arguments");
            let words: Vec<&str> = arguments.split(' ').collect();
            let ran = kernel::run(node, program, &words).await;
            ran.unwrap_or_else(|error| panic!("{command}: {error}"));
        };
        let back = async || {
            if !undo.is_empty() {
                run(undo).await;
            }
        };
        let change = async || run(plant).await;
        seen_unmended(bed, &all, (*invariant, plant), change, back).await;
        bed.sound(&all).await;
    }
}
