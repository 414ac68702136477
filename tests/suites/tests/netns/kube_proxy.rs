//! Veni beside the real kube-proxy, in each of its modes: before Veni, behind it, and
//! reloaded while connections talk. Each test has one node and goes through all of that.
//!
//! Every call names whom the server must see. An observer's table on the node counts the
//! links that packets leave by and what becomes of marks; the VPC drops and counts packets
//! that leave by an interface which does not hold their source.

mod calls;
mod cluster;
mod connections;
mod observer;
mod services;

use std::path::Path;

use veni_provider::Family;
use veni_testbed::cloudlab::enter;
use veni_testbed::kernel;
use veni_testbed::kube_proxy::ProxyMode;

use super::check::check;
use cluster::Cluster;
use connections::talk_while;

async fn setting(node: &Path, link: &str) -> String {
    let path = format!("/proc/sys/net/ipv4/conf/{link}/rp_filter");
    let value = enter(node, move || std::fs::read_to_string(path)).await;
    value.expect("a setting").trim().to_owned()
}

/// The host's choice of strict reverse paths stays, but for the cloud's interfaces.
async fn reverse_paths_are_strict(node: &Path) {
    for link in kernel::links(node).await {
        if link.group == kernel::POD_GROUP {
            assert_eq!(setting(node, &link.name).await, "1", "{}", link.name);
        }
    }
    assert_eq!(setting(node, "all").await, "1");
}

async fn nft(node: &Path, words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    let ran = kernel::run(node, "nft", &words).await;
    ran.unwrap_or_else(|error| panic!("{error}"));
}

/// A firewall that drops what the node forwards is named with its cure; the cure helps.
async fn a_dropping_firewall_is_named(cluster: &Cluster) {
    let bed = &cluster.bed;
    let word = match cluster.family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let program = match cluster.mode {
        ProxyMode::IptablesLegacy => format!("{word}tables-legacy"),
        ProxyMode::Nftables | ProxyMode::Iptables => format!("{word}tables-nft"),
    };
    let drops = ["-P", "FORWARD", "DROP"];
    let dropped = kernel::run(bed.node(0), &program, &drops).await;
    dropped.unwrap_or_else(|error| panic!("{error}"));
    assert!(!cluster.crosses_the_border().await);
    let found = check(bed, &[]).await;
    found.names("node", "chain FORWARD of");
    let cure = match cluster.mode {
        ProxyMode::IptablesLegacy => format!("{program} -P FORWARD ACCEPT"),
        _ => format!("nft chain {word} filter FORWARD '{{ policy accept; }}'"),
    };
    found.names("node", &format!("({cure})"));
    let cured = kernel::run(bed.node(0), "sh", &["-c", &cure]).await;
    cured.unwrap_or_else(|error| panic!("{error}"));
    check(bed, &[]).await.sound("the firewall accepts");
    cluster.holds("the firewall accepts").await;
}

async fn stands_beside_kube_proxy(mode: ProxyMode, family: Family) {
    let mut cluster = Cluster::start((mode, None), family, &[]).await;
    let node = cluster.bed.node(0).to_owned();
    let tables = cluster.tables().await;
    let mut kept = cluster.holds("kube-proxy was there before Veni").await;
    check(&cluster.bed, &[]).await.sound("beside kube-proxy");

    talk_while(&mut kept, async {
        cluster.proxy.kill().await;
        cluster.proxy.start().await;
        cluster.proxied().await;
        cluster.holds("kube-proxy has started again").await;
    })
    .await;
    talk_while(&mut kept, async {
        cluster.proxy.kill().await;
        cluster.proxy.remove_rules().await;
        cluster.proxy.start().await;
        cluster.proxied().await;
        cluster.holds("kube-proxy came behind Veni").await;
    })
    .await;
    talk_while(&mut kept, async {
        // With other ranges in it, Veni's table is loaded anew.
        cluster.bed.daemon(0).kill().await;
        let ranges = ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "192.0.2.0/24");
        cluster.bed.daemon(0).start_with(&[ranges]).await;
        cluster.bed.daemon(0).ready().await;
        assert_ne!(cluster.tables().await, tables);
        cluster.holds("Veni's table was loaded anew").await;
        cluster.bed.daemon(0).kill().await;
        cluster.bed.daemon(0).start().await;
        assert_eq!(cluster.tables().await, tables);
    })
    .await;
    cluster.forget_masqueraded_outwards(&mut kept);
    talk_while(&mut kept, async {
        for table in ["veni", "veni_host_ports"] {
            nft(&node, &format!("delete table inet {table}")).await;
            cluster.tables_are(&tables).await;
        }
        cluster.holds("others deleted Veni's tables").await;
    })
    .await;

    // Without any rule, nothing translates what connections say: they are silent meanwhile.
    cluster.bed.daemon(0).kill().await;
    cluster.proxy.kill().await;
    cluster.proxy.remove_rules().await;
    nft(&node, "flush ruleset").await;
    cluster.bed.daemon(0).start().await;
    cluster.proxy.start().await;
    cluster.proxied().await;
    assert_eq!(cluster.tables().await, tables);
    cluster.observe().await;
    talk_while(&mut kept, async {
        cluster.holds("everything was flushed").await;
    })
    .await;

    reverse_paths_are_strict(&node).await;
    check(&cluster.bed, &[]).await.sound("in the end");
    a_dropping_firewall_is_named(&cluster).await;
    cluster.sound().await;
    cluster.end().await;
}

/// What the observer and the VPC count, they count only where packets go astray.
#[tokio::test]
async fn packets_that_leave_by_the_wrong_link_or_lose_a_mark_would_be_seen() {
    let settings = [
        ("AWS_VPC_CNI_NODE_PORT_SUPPORT", "false"),
        ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "true"),
    ];
    let cluster = Cluster::start((ProxyMode::Nftables, None), Family::V4, &settings).await;
    let node = cluster.bed.node(0).to_owned();
    let thief = "table inet thief { chain marks { type filter hook forward priority 0; \
                 meta mark set 0; ct mark set 0; }; }";
    let loaded = kernel::run(&node, "nft", &[thief]).await;
    loaded.expect("the table loads");
    let forged = cluster.forged().await;
    assert!(!cluster.crosses_the_border().await);
    assert!(cluster.forged().await > forged);
    let counters = observer::counters(&node).await;
    for (name, packets) in &counters {
        if observer::is_of_strays(name) {
            assert_ne!(*packets, 0, "{name} in {counters:?}");
        }
    }
    cluster.end().await;
}

#[tokio::test]
async fn services_and_pods_are_reached_beside_kube_proxy_s_nftables() {
    stands_beside_kube_proxy(ProxyMode::Nftables, Family::V4).await;
}

#[tokio::test]
async fn services_and_pods_are_reached_beside_kube_proxy_s_nftables_by_ipv6() {
    stands_beside_kube_proxy(ProxyMode::Nftables, Family::V6).await;
}

#[tokio::test]
async fn services_and_pods_are_reached_beside_kube_proxy_s_iptables() {
    stands_beside_kube_proxy(ProxyMode::Iptables, Family::V4).await;
}

#[tokio::test]
async fn services_and_pods_are_reached_beside_kube_proxy_s_iptables_legacy() {
    stands_beside_kube_proxy(ProxyMode::IptablesLegacy, Family::V4).await;
}

/// With the range it tells packets of pods from those of others, and translates otherwise.
#[tokio::test]
async fn services_and_pods_are_reached_beside_a_kube_proxy_that_knows_pods_by_their_range() {
    for mode in [ProxyMode::Nftables, ProxyMode::Iptables] {
        let cluster = Cluster::start((mode, Some("10.0.0.0/16")), Family::V4, &[]).await;
        let kept = cluster.holds("kube-proxy knows the pods' range").await;
        assert!(!kept.is_empty());
        check(&cluster.bed, &[]).await.sound("beside kube-proxy");
        cluster.sound().await;
        cluster.end().await;
    }
}
