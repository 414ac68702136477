//! Veni does not touch what is not Veni's, and leaves nothing of its own behind.

use std::path::Path;

use veni_testbed::kernel::{self, PROTOCOL};
use veni_testbed::{Bed, BedConfig, TestPod, eventually};

/// Tables with the hooks that Veni uses, before, between and after its priorities.
const FOREIGN_TABLES: &str = "
table inet foreign {
	chain marks { type filter hook prerouting priority -150; policy accept; meta mark set meta mark | 0x4000; }
	chain ports { type nat hook prerouting priority -100; policy accept; tcp dport 30080 dnat ip to 10.0.0.99:80; }
	chain translate { type nat hook postrouting priority 100; policy accept; ip saddr 192.0.2.0/24 masquerade; }
}
table ip veni_of_another_tool {
	chain forward { type filter hook forward priority 0; policy accept; ct mark & 0x100 == 0x100 accept; }
}
";

/// Everything on a node that is neither Veni's nor the kernel's own doing.
async fn foreign(node: &Path) -> String {
    let mut text = String::new();
    for table in ["inet foreign", "ip veni_of_another_tool"] {
        let mut arguments = vec!["list", "table"];
        arguments.extend(table.split(' '));
        text += &kernel::run(node, "nft", &arguments)
            .await
            .expect("the foreign table is there");
    }
    for rule in kernel::rules(node).await {
        if rule.protocol != PROTOCOL {
            text += &format!("{rule} {}\n", rule.protocol);
        }
    }
    for route in kernel::routes(node, "all").await {
        if route.protocol != PROTOCOL && route.protocol != "kernel" {
            text += &format!("{route:?}\n");
        }
    }
    for link in kernel::links(node).await {
        if link.name.contains("foreign") {
            text += &format!("{link:?}\n");
        }
    }
    text
}

#[tokio::test]
async fn foreign_routes_rules_links_and_tables_stay_as_they_are() {
    let config = BedConfig::new(1)
        .instance_type("t3.small")
        .set("WARM_IP_TARGET", "1");
    let bed = Bed::start_without_daemons(
        config
            .set("VENI_RELEASE_DELAY", "0")
            .set("VENI_DETACH_AGE", "0"),
    )
    .await;
    let node = bed.node(0).to_owned();
    let rules = bed.folder().join("foreign.nft");
    std::fs::write(&rules, FOREIGN_TABLES).expect("the file can be written");
    kernel::run(&node, "nft", &["-f", &rules.display().to_string()])
        .await
        .expect("the tables load");
    for command in [
        "link add enifforeign type veth peer name foreign0",
        "link set enifforeign up",
        "link set foreign0 up",
        "route add 192.0.2.0/24 dev enifforeign",
        "route add 192.0.2.7 dev enifforeign table 22016 protocol static",
        "route add default dev enifforeign table 22033 protocol static metric 99",
        "rule add from 192.0.2.0/24 priority 1536 lookup 100",
        "rule add to 192.0.2.0/24 priority 512 lookup 100",
        "rule add fwmark 0x80/0x80 priority 1024 lookup 100",
        "rule add from 192.0.2.9 priority 1536 lookup 22033",
    ] {
        kernel::ip(&node, command).await;
    }
    let before = foreign(&node).await;
    assert!(
        before.contains("192.0.2.9") && before.contains("enifforeign"),
        "the look sees them:\n{before}"
    );

    bed.daemon(0).start().await;
    let mut pods: Vec<TestPod> = Vec::new();
    for number in 1..=5 {
        pods.push(bed.running(0, &format!("p{number}")).await.0);
    }
    bed.daemon(0).kill().await;
    bed.daemon(0).start().await;
    for pod in &pods {
        bed.del(pod).await.expect("DEL");
    }
    only_the_primary_interface(&bed).await;
    bed.daemon(0).terminate().await;
    bed.daemon(0).start().await;
    assert_eq!(foreign(&node).await, before);
    bed.end().await;
}

/// Waits until the cloud has only the primary interface on the node.
async fn only_the_primary_interface(bed: &Bed) {
    eventually("the detachment of secondary interfaces", async || {
        let dump = bed.lab().cloud().dump();
        match dump.nodes[0].interfaces.len() {
            1 => Ok(()),
            count => Err(format!("{count} interfaces:\n{}", bed.daemon(0).log_tail())),
        }
    })
    .await;
}

/// Everything of Veni's on a node that must go with its pods.
async fn traces(bed: &Bed) -> Vec<String> {
    let node = bed.node(0);
    let mut found = kernel::of_pods(node).await;
    for rule in kernel::rules(node).await {
        let of_an_interface =
            rule.priority == kernel::FROM_PODS || rule.priority == kernel::FROM_INTERFACES;
        if rule.protocol == PROTOCOL && of_an_interface {
            found.push(format!("rule {rule}"));
        }
    }
    for route in kernel::routes(node, "all").await {
        let table: u32 = route.table.parse().unwrap_or_default();
        if route.protocol == PROTOCOL && table > kernel::INTERFACE_TABLES {
            found.push(format!("route {} in table {table}", route.dst));
        }
    }
    let journal = bed.daemon(0).run_dir().join("journal/endpoints");
    let files = std::fs::read_dir(journal)
        .expect("the journal can be listed")
        .count();
    if files > 0 {
        found.push(format!("{files} journal entries"));
    }
    found
}

#[tokio::test]
async fn nothing_of_veni_s_is_left_when_all_pods_are_deleted_and_their_interfaces_detached() {
    let config = BedConfig::new(1)
        .instance_type("t3.small")
        .set("WARM_IP_TARGET", "1");
    let bed = Bed::start(
        config
            .set("VENI_RELEASE_DELAY", "0")
            .set("VENI_DETACH_AGE", "0"),
    )
    .await;
    let mut pods = Vec::new();
    for number in 1..=5 {
        pods.push(bed.running(0, &format!("p{number}")).await.0);
    }
    let seen = traces(&bed).await;
    for what in [
        "link eni",
        "route 10.",
        "rule 1536",
        "rule 32765",
        "in table 22033",
        "journal entries",
    ] {
        assert!(
            seen.iter().any(|one| one.contains(what)),
            "the look sees no '{what}' in {seen:?}"
        );
    }
    for pod in &pods {
        bed.del(pod).await.expect("DEL");
    }
    only_the_primary_interface(&bed).await;
    eventually("the last trace's end", async || {
        let left = traces(&bed).await;
        if left.is_empty() {
            Ok(())
        } else {
            Err(left.join(", "))
        }
    })
    .await;
    let all: Vec<&TestPod> = pods.iter().collect();
    bed.sound(&all).await;
    for pod in &pods {
        assert_eq!(
            kernel::links(pod.path()).await.len(),
            1,
            "loopback alone is left in the pod"
        );
    }
    bed.end().await;
}
