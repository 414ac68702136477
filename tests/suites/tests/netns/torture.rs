//! Pods come and go while the daemon dies, namespaces vanish, and somebody deletes what Veni
//! made in the kernel, for as long as it is told: `make torture MINUTES=30`. Afterwards the
//! auditor finds everything as it should be. That it sees what is not, a defect of each kind
//! shows that is planted on the same node.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use veni_testbed::cloudlab::mock::{CloudConfig, Fault, FaultKind};
use veni_testbed::{Bed, BedConfig, TestPod, kernel};

use super::auditor;

/// Runtimes that start and delete pods at the same time.
const RUNTIMES: u64 = 4;
/// Pods of each runtime, at most.
const PODS: usize = 4;
/// Without an argument.
const SHORT: Duration = Duration::from_secs(20);
/// Without an argument in CI.
const IN_CI: Duration = Duration::from_secs(120);

fn number(name: &str) -> Option<u64> {
    let given = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        given
            .parse()
            .unwrap_or_else(|_| panic!("{name}={given} is no number")),
    )
}

/// One runtime: every pod is a container of its own, as a kubelet makes them.
struct Runtime<'a> {
    bed: &'a Bed,
    random: StdRng,
    name: u64,
    made: u32,
    pods: Vec<TestPod>,
}

impl Runtime<'_> {
    async fn run(mut self, until: Instant) -> Vec<TestPod> {
        while Instant::now() < until {
            let some = self.random.random_range(0..self.pods.len().max(1));
            match self.random.random_range(0..10) {
                0..5 if self.pods.len() < PODS => self.bring_up().await,
                5..8 if !self.pods.is_empty() => {
                    let pod = self.pods.swap_remove(some);
                    self.take_down(&pod).await;
                }
                // The sandbox dies, and no DEL tells of it.
                8 if !self.pods.is_empty() => self.pods.swap_remove(some).vanish().await,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        self.pods
    }

    /// A failed ADD is followed by DELs, until one succeeds.
    async fn bring_up(&mut self) {
        self.made += 1;
        let name = format!("r{}-{}", self.name, self.made);
        let pod = self.bed.pod(0, &name).await.asking_for(self.wishes());
        match self.bed.add(&pod).await {
            Ok(_) => self.pods.push(pod),
            Err(error) => {
                // 101: somebody deleted what the ADD was making. 103: another pod has the port.
                let expected = matches!(error.code, 5 | 11 | 101 | 103);
                assert!(expected, "ADD of {name}: {error}");
                self.take_down(&pod).await;
            }
        }
    }

    /// Ports of the node and limits that a pod asks for: often one that another pod has.
    fn wishes(&mut self) -> serde_json::Value {
        let mut wishes = json!({});
        if self.random.random_bool(0.5) {
            let port = self.random.random_range(8080..8084);
            let mapping = json!({ "hostPort": port, "containerPort": 80, "protocol": "tcp" });
            wishes["portMappings"] = json!([mapping]);
        }
        if self.random.random_bool(0.5) {
            let rate = 1_000_000 * self.random.random_range(1..100);
            wishes["bandwidth"] = match self.random.random_range(0..3) {
                0 => json!({ "ingressRate": rate }),
                1 => json!({ "egressRate": rate }),
                _ => json!({ "ingressRate": rate, "egressRate": rate }),
            };
        }
        wishes
    }

    async fn take_down(&self, pod: &TestPod) {
        let begun = Instant::now();
        while let Err(error) = self.bed.del(pod).await {
            assert!(matches!(error.code, 5 | 11 | 101), "DEL: {error}");
            let patience = begun.elapsed() < Duration::from_secs(30);
            assert!(patience, "{} is never deleted: {error}", pod.name());
        }
    }
}

/// Somebody deletes what Veni made, by hand.
async fn sabotage(bed: &Bed, mut random: StdRng, until: Instant) -> u32 {
    let node = bed.node(0);
    let mut done = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1500))).await;
        let links = kernel::links(node).await;
        let names = links.iter().map(|link| &link.name);
        let (pods, ifbs): (Vec<&String>, Vec<&String>) = names
            .filter(|name| name.starts_with("eni") || name.starts_with("veni-"))
            .partition(|name| name.starts_with("eni"));
        let (pod, ifb) = (pods.choose(&mut random), ifbs.choose(&mut random));
        let Some(command) = deletion(&mut random, pod.copied(), ifb.copied()) else {
            continue;
        };
        let mut words = command.split(' ');
        let program = words.next().unwrap_or_default();
        let arguments: Vec<&str> = words.collect();
        // What is gone already cannot be deleted again.
        done += u32::from(kernel::run(node, program, &arguments).await.is_ok());
    }
    done
}

/// A command that deletes something of Veni's, perhaps of this pod's link or of this ifb
/// device.
fn deletion(random: &mut StdRng, pod: Option<&String>, ifb: Option<&String>) -> Option<String> {
    let table = "inet veni_host_ports";
    Some(match random.random_range(0..14) {
        0 => "ip rule flush".to_owned(),
        1 => "ip route flush table 22016".to_owned(),
        2 => "nft flush ruleset".to_owned(),
        3 => "ip rule del pref 512".to_owned(),
        4 => format!("nft delete table {table}"),
        5 => format!("nft flush map {table} all_v4"),
        6 => format!("nft flush set {table} pods_v4"),
        7 => {
            let port = random.random_range(8080..8084);
            format!("nft delete element {table} all_v4 {{ tcp . {port} }}")
        }
        8 => format!("tc qdisc del dev {} root", pod?),
        9 => format!("tc qdisc del dev {} clsact", pod?),
        10 => format!("tc qdisc del dev {} root", ifb?),
        11 => format!("ip link del {}", ifb?),
        _ => format!("ip link del {}", pod?),
    })
}

async fn kill(bed: &Bed, mut random: StdRng, until: Instant) -> u32 {
    let mut deaths = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(random.random_range(300..4000))).await;
        bed.daemon(0).kill().await;
        bed.daemon(0).start().await;
        deaths += 1;
    }
    deaths
}

#[tokio::test]
async fn whatever_dies_vanishes_or_is_deleted_by_hand_the_node_ends_as_journal_and_cloud_say() {
    let minutes = number("MINUTES").map(|minutes| Duration::from_secs(60 * minutes));
    let seed = number("SEED").unwrap_or(1);
    let config = BedConfig::new(1)
        .cloud(CloudConfig::aws().instant())
        .set("WARM_IP_TARGET", "2")
        .set("IP_COOLDOWN_PERIOD", "2")
        .set("VENI_RELEASE_DELAY", "1")
        .set("VENI_DOUBT_TIME", "5")
        .set("VENI_AUDIT_INTERVAL", "2");
    let bed = Bed::start(config).await;
    let faults = [
        Fault::random(0.1, FaultKind::AnswerLost),
        Fault::random(0.1, FaultKind::Partial { at_most: 1 }),
    ];
    for fault in faults {
        bed.lab().cloud().inject(fault);
    }
    let random = |of: u64| StdRng::seed_from_u64(seed.wrapping_mul(1000) + of);
    let short = std::env::var_os("CI").map_or(SHORT, |_| IN_CI);
    let until = Instant::now() + minutes.unwrap_or(short);
    let runtimes = (0..RUNTIMES).map(|name| {
        let runtime = Runtime {
            bed: &bed,
            random: random(name),
            name,
            made: 0,
            pods: Vec::new(),
        };
        runtime.run(until)
    });
    let (pods, deleted, deaths) = tokio::join!(
        futures::future::join_all(runtimes),
        sabotage(&bed, random(100), until),
        kill(&bed, random(101), until),
    );
    assert!(
        deleted > 0 && deaths > 0,
        "{deleted} deletions, {deaths} deaths"
    );
    bed.lab().cloud().clear_faults();
    let pods: Vec<TestPod> = pods.into_iter().flatten().collect();
    let all: Vec<&TestPod> = pods.iter().collect();
    bed.sound(&all).await;
    for pod in &pods {
        bed.del(pod).await.expect("DEL");
    }
    bed.nothing_of_pods(0).await;
    bed.sound(&all).await;
    for pod in pods {
        pod.vanish().await;
    }
    let pods = auditor::pods_on_two_interfaces(&bed).await;
    auditor::sees_defects_of_each_kind(&bed, &pods).await;
    bed.end().await;
}
