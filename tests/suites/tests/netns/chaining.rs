//! The reference plugins `bandwidth`, `tuning` and `firewall` behind Veni's in a chain, driven
//! by the CNI project's own client.

use std::path::Path;

use serde_json::{Value, json};
use veni_testbed::cnitool::Cnitool;
use veni_testbed::traffic::reaches;
use veni_testbed::{Added, Bed, BedConfig, TestPod, kernel};

use super::check::check;

/// What a runtime passes to plugins with the capability `bandwidth`; bits.
const LIMITS: &str = r#"{"bandwidth": {"ingressRate": 80000000, "ingressBurst": 8000000,
    "egressRate": 40000000, "egressBurst": 4000000}}"#;

struct Chain<'a> {
    bed: &'a Bed,
    client: Cnitool,
}

impl<'a> Chain<'a> {
    /// Who of both is told of limits: ours, and the reference plugin.
    fn new(bed: &'a Bed, version: &str, (ours, theirs): (bool, bool)) -> Self {
        let network = format!("{}-{}", bed.lab().name(), version.replace('.', "-"));
        let capabilities = |has: bool| json!({ "bandwidth": has });
        let plugins = [
            json!({
                "type": "veni-cni", "runDir": bed.daemon(0).run_dir(),
                "capabilities": capabilities(ours),
            }),
            json!({ "type": "bandwidth", "capabilities": capabilities(theirs) }),
            json!({ "type": "tuning", "sysctl": { "net.core.somaxconn": "517" } }),
            json!({ "type": "firewall", "backend": "iptables" }),
        ];
        let client = Cnitool::chained(bed.folder(), &network, version, &plugins);
        Self { bed, client }
    }

    async fn run(&self, command: &str, pod: &TestPod) -> Result<Value, String> {
        let node = |program: &Path| {
            let mut command = self.bed.exec(0, program);
            command.env("CAP_ARGS", LIMITS);
            command
        };
        self.client.run(command, pod.path(), node).await
    }

    async fn succeeds(&self, command: &str, pod: &TestPod) -> Value {
        let done = self.run(command, pod).await;
        done.unwrap_or_else(|error| panic!("{command}: {error}"))
    }
}

/// The limits on the node, one line each: the kind of link and the rate.
async fn limits(bed: &Bed) -> Vec<String> {
    let shown = kernel::run(bed.node(0), "tc", &["qdisc", "show"]).await;
    let shown = shown.expect("tc lists");
    let tbf = shown.lines().filter(|line| line.contains("qdisc tbf"));
    let mut found: Vec<String> = tbf
        .filter_map(|line| {
            let link = line.split("dev ").nth(1)?.get(..3)?;
            let rate = line.split("rate ").nth(1)?.split(' ').next()?;
            Some(format!("{link} {rate}"))
        })
        .collect();
    found.sort();
    found
}

/// What the reference plugins have on the node because of a pod.
async fn of_reference_plugins(bed: &Bed, added: &Added) -> Vec<String> {
    let address = added.address().to_string();
    let rules = kernel::run(bed.node(0), "nft", &["list", "ruleset"]).await;
    let rules = rules.expect("nft lists");
    let mut found: Vec<String> = rules
        .lines()
        .filter(|line| line.contains(&address))
        .map(|line| line.trim().to_owned())
        .collect();
    let links = kernel::links(bed.node(0)).await.into_iter();
    found.extend(
        links
            .map(|link| link.name)
            .filter(|name| name.starts_with("bwp")),
    );
    found
}

async fn somaxconn(pod: &TestPod) -> String {
    let name = "/proc/sys/net/core/somaxconn";
    let text = kernel::run(pod.path(), "cat", &[name]).await;
    text.expect("it can be read").trim().to_owned()
}

async fn a_chain_serves(bed: &Bed, peer: &TestPod, version: &str) {
    let chain = Chain::new(bed, version, (false, true));
    let pod = bed.pod(0, "pod").await;
    let added = Added::read(chain.succeeds("add", &pod).await);
    // The last plugin of the chain answers with what ours has said, and with what they added.
    let interfaces = added.answer["interfaces"].as_array().expect("a list");
    let sandbox = pod.path().display().to_string();
    let names: Vec<&str> = interfaces
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert!(added.host_link.starts_with("eni"), "{}", added.answer);
    assert!(names.contains(&"eth0"), "{names:?}");
    let in_pod = |one: &Value| one["sandbox"] == sandbox.as_str() && one["name"] == "eth0";
    assert!(interfaces.iter().any(in_pod), "{}", added.answer);
    assert!(
        names.iter().any(|name| name.starts_with("bwp")),
        "{names:?}"
    );
    assert_eq!(added.answer["cniVersion"], version);

    assert_eq!(limits(bed).await, ["bwp 40Mbit", "eni 80Mbit"]);
    assert_eq!(somaxconn(&pod).await, "517");
    assert!(of_reference_plugins(bed, &added).await.len() >= 3);
    assert!(reaches(pod.path(), bed.node_address(1)).await);
    assert!(reaches(peer.path(), added.address()).await);
    chain.succeeds("check", &pod).await;
    // Neither a look at everything nor a start of the daemon takes what is theirs.
    check(bed, &[]).await.sound("beside reference plugins");
    bed.daemon(0).kill().await;
    bed.daemon(0).start().await;
    check(bed, &[]).await.sound("after a start");
    assert_eq!(limits(bed).await, ["bwp 40Mbit", "eni 80Mbit"]);
    chain.succeeds("check", &pod).await;
    assert!(reaches(peer.path(), added.address()).await);

    // A check of the chain sees what ours has lost.
    let lost = format!("address del {}/32 dev eth0", added.address());
    kernel::ip(pod.path(), &lost).await;
    let refused = chain.run("check", &pod).await;
    let refused = refused.expect_err("an address is missing");
    assert!(refused.contains(&added.address().to_string()), "{refused}");
    chain.succeeds("del", &pod).await;
    chain.succeeds("del", &pod).await;
    bed.nothing_of_pods(0).await;
    bed.nothing_in(&pod).await;
    let left = of_reference_plugins(bed, &added).await;
    assert_eq!(left, Vec::<String>::new());

    let added = Added::read(chain.succeeds("add", &pod).await);
    assert!(reaches(peer.path(), added.address()).await);
    // The client deletes what it knows and is not told to keep.
    chain.succeeds("gc", &pod).await;
    bed.nothing_of_pods(0).await;
    let left = of_reference_plugins(bed, &added).await;
    assert_eq!(left, Vec::<String>::new());
    bed.sound(&[peer, &pod]).await;
}

#[tokio::test]
async fn bandwidth_tuning_and_firewall_work_behind_ours_and_leave_nothing() {
    let bed = Bed::start(BedConfig::new(2)).await;
    let (peer, _) = bed.running(1, "peer").await;
    for version in ["0.4.0", "1.0.0"] {
        a_chain_serves(&bed, &peer, version).await;
    }
    bed.end().await;
}

#[tokio::test]
async fn limits_that_ours_keeps_stand_beside_a_bandwidth_plugin_that_is_told_of_none() {
    let bed = Bed::start(BedConfig::new(2)).await;
    let (peer, _) = bed.running(1, "peer").await;
    let chain = Chain::new(&bed, "1.0.0", (true, false));
    let pod = bed.pod(0, "pod").await;
    let added = Added::read(chain.succeeds("add", &pod).await);
    assert_eq!(limits(&bed).await, ["eni 80Mbit", "ven 40Mbit"]);
    assert!(reaches(peer.path(), added.address()).await);
    // No CHECK of the chain: that of the reference plugin panics where it is told of no limits.
    check(&bed, &[]).await.sound("beside a bandwidth plugin");
    chain.succeeds("del", &pod).await;
    bed.nothing_of_pods(0).await;
    assert_eq!(limits(&bed).await, Vec::<String>::new());
    bed.sound(&[&peer, &pod]).await;
    bed.end().await;
}

#[tokio::test]
async fn two_plugins_that_are_told_of_the_same_limits_fail_and_leave_nothing() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let chain = Chain::new(&bed, "1.0.0", (true, true));
    let pod = bed.pod(0, "pod").await;
    let refused = chain.run("add", &pod).await;
    let refused = refused.expect_err("the link has a limit already");
    assert!(refused.contains("qdisc"), "{refused}");
    assert_eq!(limits(&bed).await, ["eni 80Mbit", "ven 40Mbit"]);
    // As every runtime does after an ADD that failed.
    chain.succeeds("del", &pod).await;
    bed.nothing_of_pods(0).await;
    bed.nothing_in(&pod).await;
    assert_eq!(limits(&bed).await, Vec::<String>::new());
    bed.sound(&[&pod]).await;
    bed.end().await;
}
