//! Interfaces of a pod beside its first, as Multus asks for them: `net1` beside an `eth0`
//! of Veni's own or of another plugin's.

use std::net::IpAddr;
use std::path::Path;

use serde_json::{Value, json};
use veni_testbed::cloudlab::mock::CloudConfig;
use veni_testbed::cloudlab::with_ipv6;
use veni_testbed::cnitool::Cnitool;
use veni_testbed::plugin::CniError;
use veni_testbed::traffic::{Stream, is_silent, reaches};
use veni_testbed::{Added, Bed, BedConfig, TestPod, binaries, eventually, kernel};

/// Calls the plugin for an interface of a pod, with fields of the configuration.
async fn call(
    bed: &Bed,
    pod: &TestPod,
    command: &'static str,
    interface: &str,
    fields: Value,
) -> Result<Value, CniError> {
    let mut call = bed.call(command, pod);
    interface.clone_into(&mut call.interface);
    for (name, value) in fields.as_object().expect("an object") {
        call.config[name] = value.clone();
    }
    bed.run(pod.node(), &call).await
}

async fn add(bed: &Bed, pod: &TestPod, interface: &str) -> Added {
    let added = call(bed, pod, "ADD", interface, json!({})).await;
    Added::read(added.unwrap_or_else(|error| panic!("ADD of {interface}: {error}")))
}

async fn check(bed: &Bed, pod: &TestPod, interface: &str, added: &Added) -> Result<(), CniError> {
    let previous = json!({ "prevResult": added.answer });
    let checked = call(bed, pod, "CHECK", interface, previous).await;
    checked.map(drop)
}

async fn del(bed: &Bed, pod: &TestPod, interface: &str) {
    let deleted = call(bed, pod, "DEL", interface, json!({})).await;
    deleted.unwrap_or_else(|error| panic!("DEL of {interface}: {error}"));
}

/// Packets that have left by a link of a pod.
async fn sent_by(pod: &TestPod, link: &str) -> u64 {
    let shown = kernel::ip_json(pod.path(), &["-s", "link", "show", "dev", link]).await;
    let packets = shown[0]["stats64"]["tx"]["packets"].as_u64();
    packets.expect("a link counts its packets")
}

/// The links that a pod's default routes of the main table lead to.
async fn defaults(pod: &TestPod) -> Vec<String> {
    let routes = kernel::routes(pod.path(), "main").await.into_iter();
    let defaults = routes.filter(|route| route.dst == "default");
    defaults.map(|route| route.dev).collect()
}

/// Rules in a pod that are Veni's.
async fn rules(pod: &TestPod) -> Vec<String> {
    let rules = kernel::rules(pod.path()).await.into_iter();
    let ours = rules.filter(|rule| rule.protocol == kernel::PROTOCOL);
    ours.map(|rule| rule.to_string()).collect()
}

/// Asserts that a pod answers by the interface that was asked, and by no other.
async fn answers_by(pod: &TestPod, peer: &Path, address: IpAddr, link: &str, other: &str) {
    count_answers(pod, &[link, other]).await;
    assert!(reaches(peer, address).await, "{address} does not answer");
    assert!(answers(pod, link).await > 0, "no answer left by {link}");
    assert_eq!(answers(pod, other).await, 0, "an answer left by {other}");
}

/// Counts from now on the echo replies that leave by each of these links. A link's own
/// counter counts what IPv6 says of its groups, too.
async fn count_answers(pod: &TestPod, links: &[&str]) {
    let mut script = "add table inet answers; delete table inet answers; add table inet answers; \
         add chain inet answers out { type filter hook output priority 0; }"
        .to_owned();
    for link in links {
        script += &format!("; add counter inet answers {link}");
        for kind in ["icmp", "icmpv6"] {
            script += &format!(
                "; add rule inet answers out oifname {link} {kind} type echo-reply counter name {link}"
            );
        }
    }
    let loaded = kernel::run(pod.path(), "nft", &[&script]).await;
    loaded.expect("answers can be counted");
}

async fn answers(pod: &TestPod, link: &str) -> u64 {
    let listed = ["-j", "list", "counter", "inet", "answers", link];
    let listed = kernel::run(pod.path(), "nft", &listed).await;
    let listed: Value = serde_json::from_str(&listed.expect("a counter")).expect("JSON");
    let objects = listed["nftables"].as_array().expect("a list");
    let mut counts = objects
        .iter()
        .filter_map(|one| one["counter"]["packets"].as_u64());
    counts.next().expect("a counter has packets")
}

async fn a_second_interface_serves(config: BedConfig) {
    let bed = Bed::start(config.set("VENI_AUDIT_INTERVAL", "3600")).await;
    let (peer, peer_added) = bed.running(1, "peer").await;
    let (pod, eth0) = bed.running(0, "pod").await;
    let net1 = add(&bed, &pod, "net1").await;
    assert_eq!(add(&bed, &pod, "net1").await, net1, "repeated");
    let families = net1.addresses.len();
    assert_eq!(defaults(&pod).await, vec!["eth0"; families]);
    assert_eq!(rules(&pod).await.len(), families);
    for (own, other) in net1.addresses.iter().zip(&eth0.addresses) {
        answers_by(&pod, peer.path(), *own, "net1", "eth0").await;
        answers_by(&pod, peer.path(), *other, "eth0", "net1").await;
    }
    assert!(reaches(pod.path(), peer_added.address()).await);
    for (interface, added) in [("eth0", &eth0), ("net1", &net1)] {
        let checked = check(&bed, &pod, interface, added).await;
        checked.unwrap_or_else(|error| panic!("CHECK of {interface}: {error}"));
    }
    bed.sound(&[&peer, &pod]).await;

    bed.daemon(0).kill().await;
    bed.daemon(0).start().await;
    answers_by(&pod, peer.path(), net1.address(), "net1", "eth0").await;
    bed.sound(&[&peer, &pod]).await;

    let stream = Stream::start(peer.path(), eth0.address()).await;
    del(&bed, &pod, "net1").await;
    assert!(is_silent(peer.path(), net1.address()).await);
    assert_eq!(rules(&pod).await, Vec::<String>::new());
    check(&bed, &pod, "eth0", &eth0)
        .await
        .expect("eth0 is whole");
    stream.lost_nothing().await;

    let again = add(&bed, &pod, "net1").await;
    let stream = Stream::start(peer.path(), again.address()).await;
    del(&bed, &pod, "eth0").await;
    assert!(is_silent(peer.path(), eth0.address()).await);
    check(&bed, &pod, "net1", &again)
        .await
        .expect("net1 is whole");
    stream.lost_nothing().await;
    del(&bed, &pod, "net1").await;
    bed.nothing_of_pods(0).await;
    bed.nothing_in(&pod).await;
    bed.sound(&[&peer, &pod]).await;
    bed.end().await;
}

#[tokio::test]
async fn a_second_interface_beside_venis_own_answers_by_itself_and_goes_by_itself() {
    a_second_interface_serves(BedConfig::new(2)).await;
}

#[tokio::test]
async fn a_second_interface_with_both_families_answers_by_itself_in_each() {
    let cloud = with_ipv6(CloudConfig::aws().instant());
    let config = BedConfig::new(2).cloud(cloud).set("ENABLE_IPv6", "true");
    a_second_interface_serves(config).await;
}

#[tokio::test]
async fn a_check_names_the_rule_that_a_second_interface_has_lost() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (pod, _) = bed.running(0, "pod").await;
    let net1 = add(&bed, &pod, "net1").await;
    check(&bed, &pod, "net1", &net1).await.expect("it is whole");
    kernel::ip(pod.path(), "rule del priority 1536").await;
    let refused = check(&bed, &pod, "net1", &net1).await;
    let refused = refused.expect_err("a rule is missing");
    let lost = format!("rule 1536 from {}/32", net1.address());
    assert!(refused.details.contains(&lost), "{refused}");
    bed.end().await;
}

/// Calls the reference plugin ptp for an interface of a pod, which gets these routes.
async fn ptp(
    bed: &Bed,
    pod: &TestPod,
    command: &'static str,
    (interface, routes): (&str, &Value),
    previous: Option<&Value>,
) -> Value {
    let mut call = bed.call(command, pod);
    interface.clone_into(&mut call.interface);
    call.config = json!({
        "cniVersion": "1.0.0", "name": "other", "type": "ptp",
        "ipam": {
            "type": "host-local", "dataDir": bed.folder().join("host-local"),
            "subnet": "192.0.2.0/24", "routes": routes,
        },
    });
    if let Some(previous) = previous {
        call.config["prevResult"] = previous.clone();
    }
    let folder = binaries::reference_plugins();
    let ptp = bed.exec(0, folder.join("ptp"));
    let done = call.run_with_path(ptp, &folder).await;
    done.unwrap_or_else(|error| panic!("{command} by ptp: {error}"))
}

/// Gives a pod an `eth0` by the reference plugin ptp, with a default route.
async fn add_ptp(bed: &Bed, pod: &TestPod) {
    let default = json!([{ "dst": "0.0.0.0/0" }]);
    ptp(bed, pod, "ADD", ("eth0", &default), None).await;
}

#[tokio::test]
async fn a_second_interface_beside_another_plugins_answers_by_itself_as_multus_asks_for_it() {
    let bed = Bed::start(BedConfig::new(2)).await;
    let (peer, _) = bed.running(1, "peer").await;
    let pod = bed.pod(0, "pod").await;
    add_ptp(&bed, &pod).await;
    let before = kernel::routes(pod.path(), "main").await;
    // Multus' own configurations say 0.3.1.
    let network = format!("{}-net1", bed.lab().name());
    let client = Cnitool::new(bed.folder(), &network, "0.3.1", bed.daemon(0).run_dir());
    let run = async |command: &str| {
        let node = |program: &Path| {
            let mut command = bed.exec(0, program);
            command.env("CNI_IFNAME", "net1");
            command
        };
        let done = client.run(command, pod.path(), node).await;
        done.unwrap_or_else(|error| panic!("{command}: {error}"))
    };
    let net1 = Added::read(run("add").await);
    assert_eq!(defaults(&pod).await, ["eth0"]);
    answers_by(&pod, peer.path(), net1.address(), "net1", "eth0").await;
    run("del").await;
    eventually("the routes of before", async || {
        let now = kernel::routes(pod.path(), "main").await;
        if now == before {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    assert_eq!(rules(&pod).await, Vec::<String>::new());
    bed.nothing_of_pods(0).await;
    bed.end().await;
}

#[tokio::test]
async fn an_interface_that_is_the_default_gateway_takes_the_packets_of_the_pod_until_it_goes() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let internet = bed.lab().cloud().config().internet[0];
    let pod = bed.pod(0, "pod").await;
    add_ptp(&bed, &pod).await;
    let asked = json!({ "isDefaultGateway": true });
    let added = call(&bed, &pod, "ADD", "net1", asked).await;
    let net1 = Added::read(added.expect("ADD"));
    assert_eq!(defaults(&pod).await, ["net1", "eth0"]);
    let before = sent_by(&pod, "net1").await;
    assert!(reaches(pod.path(), internet).await);
    assert!(sent_by(&pod, "net1").await > before);
    check(&bed, &pod, "net1", &net1).await.expect("it is whole");
    del(&bed, &pod, "net1").await;
    assert_eq!(defaults(&pod).await, ["eth0"]);
    bed.end().await;
}

#[tokio::test]
async fn an_eth0_beside_another_default_route_is_refused_with_the_setting_and_leaves_nothing() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let pod = bed.pod(0, "pod").await;
    kernel::ip(pod.path(), "link add other type veth peer name other2").await;
    kernel::ip(pod.path(), "link set other up").await;
    kernel::ip(pod.path(), "route add default dev other").await;
    let refused = bed.add(&pod).await.expect_err("a default route is there");
    assert!(refused.details.contains("isDefaultGateway"), "{refused}");
    bed.nothing_of_pods(0).await;
    let without = json!({ "isDefaultGateway": false });
    let added = call(&bed, &pod, "ADD", "eth0", without).await;
    added.expect("beside it");
    assert_eq!(defaults(&pod).await, ["other"]);
    bed.end().await;
}

#[tokio::test]
async fn as_the_default_network_ours_stays_whole_beside_another_plugins_interface_and_goes_alone() {
    let bed = Bed::start(BedConfig::new(2)).await;
    let (peer, peer_added) = bed.running(1, "peer").await;
    let (pod, eth0) = bed.running(0, "pod").await;
    let routes = json!([{ "dst": "198.51.100.0/24", "gw": "192.0.2.1" }]);
    let net1 = ptp(&bed, &pod, "ADD", ("net1", &routes), None).await;
    assert_eq!(defaults(&pod).await, ["eth0"]);
    check(&bed, &pod, "eth0", &eth0).await.expect("it is whole");
    ptp(&bed, &pod, "CHECK", ("net1", &routes), Some(&net1)).await;
    assert!(reaches(pod.path(), peer_added.address()).await);
    assert!(reaches(peer.path(), eth0.address()).await);
    super::check::check(&bed, &[]).await.sound("beside net1");

    // Another plugin's interface comes and goes, and ours does not notice.
    let stream = Stream::start(peer.path(), eth0.address()).await;
    let mut net1 = net1;
    for _ in 0..3 {
        ptp(&bed, &pod, "DEL", ("net1", &routes), Some(&net1)).await;
        check(&bed, &pod, "eth0", &eth0).await.expect("it is whole");
        net1 = ptp(&bed, &pod, "ADD", ("net1", &routes), None).await;
    }
    stream.lost_nothing().await;

    // Ours goes, and another plugin's stays whole.
    del(&bed, &pod, "eth0").await;
    ptp(&bed, &pod, "CHECK", ("net1", &routes), Some(&net1)).await;
    bed.nothing_of_pods(0).await;
    assert_eq!(defaults(&pod).await, Vec::<String>::new());
    let links = kernel::links(pod.path()).await;
    assert!(links.iter().any(|link| link.name == "net1"), "{links:?}");
    ptp(&bed, &pod, "DEL", ("net1", &routes), Some(&net1)).await;
    bed.nothing_in(&pod).await;
    bed.sound(&[&peer, &pod]).await;
    bed.end().await;
}
