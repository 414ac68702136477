//! A node that boots again: the pods, all links of theirs and all that Veni had made in the
//! kernel are gone, and the cloud's interfaces still hold their addresses.

use std::net::IpAddr;

use veni_testbed::kernel::{self, ip};
use veni_testbed::traffic::reaches;
use veni_testbed::{Added, Bed, BedConfig, TestPod, eventually};

use super::check::check;

const NEW_BOOT: &str = "11111111-2222-4333-8444-555555555555";

/// What the cloud has assigned to the first node: each interface with its addresses.
fn held(bed: &Bed) -> Vec<(String, Vec<IpAddr>)> {
    let dump = bed.lab().cloud().dump();
    let node = dump.node(bed.lab().node(0).instance_id());
    let interfaces = &node.expect("the node").interfaces;
    let mut all: Vec<(String, Vec<IpAddr>)> = interfaces
        .iter()
        .map(|one| {
            let mut addresses = one.interface.addresses.clone();
            addresses.sort();
            (one.interface.id.to_string(), addresses)
        })
        .collect();
    all.sort();
    all
}

/// Leaves of the node's kernel what a boot finds: the interfaces, of which the system
/// configures the primary one alone.
async fn forget_everything(bed: &Bed, run_folder_survives: bool) {
    let node = bed.node(0);
    for family in ["-4", "-6"] {
        ip(node, &format!("{family} rule flush")).await;
        for (priority, table) in [("32766", "main"), ("32767", "default")] {
            // IPv6 has no table `default`.
            if family == "-4" || table == "main" {
                let rule = format!("{family} rule add priority {priority} lookup {table}");
                ip(node, &rule).await;
            }
        }
    }
    for route in kernel::routes(node, "all").await {
        let ours = route.protocol == kernel::PROTOCOL;
        let family = if route.dst.contains(':') { "-6" } else { "-4" };
        if ours && !route.table.is_empty() {
            ip(node, &format!("{family} route flush table {}", route.table)).await;
        }
    }
    for link in kernel::links(node).await {
        if link.name.starts_with("eth") && link.name != "eth0" {
            ip(node, &format!("address flush dev {}", link.name)).await;
            ip(node, &format!("link set dev {} down", link.name)).await;
        }
    }
    kernel::run(node, "nft", &["flush", "ruleset"])
        .await
        .expect("flushes");
    for setting in [
        "net.ipv4.ip_forward=0",
        "net.ipv4.conf.all.rp_filter=1",
        "net.ipv4.conf.eth0.rp_filter=1",
    ] {
        kernel::run(node, "sysctl", &["-qw", setting])
            .await
            .expect("sets");
    }
    if !run_folder_survives {
        for entry in std::fs::read_dir(bed.daemon(0).run_dir()).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.ends_with("state") {
                continue;
            }
            let removed = match path.is_dir() {
                true => std::fs::remove_dir_all(&path),
                false => std::fs::remove_file(&path),
            };
            removed.expect("a tmpfs is empty after a boot");
        }
    }
}

/// What Veni has in the node's kernel.
async fn of_veni(bed: &Bed) -> Vec<String> {
    let node = bed.node(0);
    let mut found = kernel::of_pods(node).await;
    let rules = kernel::rules(node).await.into_iter();
    let rules = rules.filter(|rule| rule.protocol == kernel::PROTOCOL);
    found.extend(rules.map(|rule| format!("rule {rule}")));
    let routes = kernel::routes(node, "all").await.into_iter();
    let routes = routes.filter(|route| route.protocol == kernel::PROTOCOL);
    found.extend(routes.map(|route| format!("route {} in {}", route.dst, route.table)));
    found.extend(kernel::nft_tables(node).await);
    found
}

async fn four_pods(bed: &Bed, name: &str) -> Vec<(TestPod, Added)> {
    let mut pods = Vec::new();
    for number in 1..=4 {
        pods.push(bed.running(0, &format!("{name}{number}")).await);
    }
    pods
}

async fn boots_again(run_folder_survives: bool) {
    // Two interfaces with three addresses for pods each: four pods need both.
    let config = BedConfig::new(2)
        .instance_type("t3.small")
        .set("WARM_IP_TARGET", "1")
        .set("VENI_RELEASE_DELAY", "3600");
    let bed = Bed::start(config).await;
    let (peer, peer_added) = bed.running(1, "peer").await;
    let before = four_pods(&bed, "before").await;
    let all: Vec<&TestPod> = before.iter().map(|(pod, _)| pod).chain([&peer]).collect();
    bed.sound(&all).await;
    let addresses = held(&bed);
    assert_eq!(addresses.len(), 2, "{addresses:?}");

    bed.daemon(0).kill().await;
    let there = of_veni(&bed).await;
    for kind in ["link", "rule", "route", "inet veni"] {
        let seen = there.iter().any(|one| one.starts_with(kind));
        assert!(seen, "the look sees no {kind} in {there:?}");
    }
    let mut dels = Vec::new();
    for (pod, _) in before {
        let mut del = bed.call("DEL", &pod);
        del.netns = String::new();
        dels.push(del);
        pod.vanish().await;
    }
    forget_everything(&bed, run_folder_survives).await;
    assert_eq!(of_veni(&bed).await, Vec::<String>::new());
    bed.daemon(0).boot_again(NEW_BOOT);
    bed.daemon(0).start().await;
    bed.nothing_of_pods(0).await;
    bed.sound(&[&peer]).await;
    // All that is held cools once as a caution, so a warm address may be bought beside it.
    let now = held(&bed);
    assert_eq!(addresses.len(), now.len(), "{now:?}");
    for ((interface, addresses), (same, now)) in addresses.iter().zip(&now) {
        assert_eq!(interface, same);
        let kept = addresses.iter().all(|address| now.contains(address));
        assert!(kept, "{addresses:?} on {interface} are now {now:?}");
    }

    // The runtime cleans up after the sandboxes that it remembers, without their namespaces.
    for del in &dels {
        bed.run(0, del).await.expect("DEL of an earlier boot");
    }
    let after = four_pods(&bed, "after").await;
    let internet = bed.lab().cloud().config().internet[0];
    for (pod, added) in &after {
        for to in [peer_added.address(), bed.node_address(1), internet] {
            assert!(reaches(pod.path(), to).await, "{} to {to}", pod.name());
        }
        assert!(reaches(peer.path(), added.address()).await);
    }
    let all: Vec<&TestPod> = after.iter().map(|(pod, _)| pod).chain([&peer]).collect();
    bed.sound(&all).await;
    eventually("nothing differs", async || {
        match check(&bed, &[]).await.findings() {
            found if found.is_empty() => Ok(()),
            found => Err(format!("{found:#?}")),
        }
    })
    .await;
    bed.end().await;
}

#[tokio::test]
async fn a_boot_that_empties_the_run_folder_keeps_addresses_and_serves_new_pods() {
    boots_again(false).await;
}

#[tokio::test]
async fn a_boot_that_leaves_the_run_folder_releases_the_pods_of_the_boot_before() {
    boots_again(true).await;
}
