//! The auditor sees one planted defect per invariant; without it, "nothing is
//! wrong" would mean nothing.

use std::net::IpAddr;

use veni_provider::{AddressSlots, Family, Grant, Provider};
use veni_testbed::audit::{Invariant, Violation, audit};
use veni_testbed::{Added, Bed, BedConfig, TestPod, kernel};

/// A bed in which nobody repairs anything, with pods on both interfaces.
async fn unattended() -> (Bed, Vec<(TestPod, Added)>) {
    let config = BedConfig::new(1)
        .instance_type("t3.small")
        .set("VENI_AUDIT_INTERVAL", "3600");
    let config = config
        .set("VENI_INVENTORY_INTERVAL", "3600")
        .set("VENI_DOUBT_TIME", "5");
    let bed = Bed::start(config).await;
    let mut pods = Vec::new();
    for number in 1..=4 {
        pods.push(bed.running(0, &format!("p{number}")).await);
    }
    (bed, pods)
}

async fn seen(bed: &Bed, pods: &[&TestPod], invariant: Invariant, defect: &str) {
    let found = bed.violations(pods).await.expect("evidence");
    assert_seen(&found, invariant, defect);
}

/// A defect that the daemon would mend at once.
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
    use Invariant::{
        AddressesAreTheNodesOwn, EndpointsAreComplete, LinksHaveEndpoints, OneAddressOnePod,
        PodsAreWhole, PodsHaveRules, RoutesHaveEndpoints, RoutesLeadToPods, RulesHaveInterfaces,
    };
    let (bed, pods) = unattended().await;
    let all: Vec<&TestPod> = pods.iter().map(|(pod, _)| pod).collect();
    bed.sound(&all).await;
    let node = bed.node(0).to_owned();
    let inside = pods[1].0.path().to_owned();
    let (first, link): (IpAddr, _) = (pods[0].1.address(), &pods[0].1.host_link);
    let rule = kernel::source_rules(&node)
        .await
        .first()
        .cloned()
        .expect("a pod is on the second interface");
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
        // The route goes with the link, and comes back by hand.
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
        seen_unmended(&bed, &all, (*invariant, plant), change, back).await;
        bed.sound(&all).await;
    }
    bed.end().await;
}

#[tokio::test]
async fn the_auditor_sees_a_defect_of_each_kind_in_cloud_daemon_journal_and_tables() {
    let (bed, pods) = unattended().await;
    let all: Vec<&TestPod> = pods.iter().map(|(pod, _)| pod).collect();
    bed.sound(&all).await;

    let provider = bed.lab().cloud().provider(bed.lab().node(0).instance_id());
    let inventory = provider.inventory().await.expect("the inventory");
    let with_room = inventory
        .interfaces
        .iter()
        .find(|interface| interface.addresses.len() < 3);
    if let Some(interface) = with_room {
        let slots = AddressSlots::Addresses {
            family: Family::V4,
            count: 1,
        };
        let grant = provider
            .assign(&interface.id, slots)
            .await
            .expect("an address behind the daemon's back");
        seen(
            &bed,
            &all,
            Invariant::NothingIsForgotten,
            "an address that the daemon does not know",
        )
        .await;
        provider
            .release(&interface.id, &grant)
            .await
            .expect("released again");
        bed.sound(&all).await;
    }
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
    provider
        .release(interface, &grant)
        .await
        .expect("released behind the daemon's back");
    seen(
        &bed,
        &all,
        Invariant::NothingIsImagined,
        "an address that is gone",
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
        &bed,
        &all,
        (Invariant::JournalMatches, "an entry that is gone"),
        async || std::fs::rename(&entry, &aside).expect("the entry can be moved"),
        async || std::fs::rename(&aside, &entry).expect("and back"),
    )
    .await;
    let note = daemon.run_dir().join("pending/0.json");
    std::fs::create_dir_all(note.parent().expect("a folder")).expect("the folder can be made");
    seen_unmended(
        &bed,
        &all,
        (Invariant::NotesAreWorkedOff, "a note"),
        async || std::fs::write(&note, "{}").expect("a note can be left"),
        async || std::fs::remove_file(&note).expect("the note can be removed"),
    )
    .await;
    bed.sound(&all).await;
    seen_unmended(
        &bed,
        &all,
        (Invariant::TranslationIsThere, "a table that is gone"),
        async || {
            let deleted = kernel::run(bed.node(0), "nft", &["delete", "table", "inet", "veni"]);
            deleted.await.expect("the table can be deleted");
        },
        async || (),
    )
    .await;
    bed.end().await;
}
