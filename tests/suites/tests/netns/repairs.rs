//! What others change of Veni's in a node's kernel comes back at once, operators learn of
//! it, and the daemon backs off from a program that goes on. The slow audit is switched
//! off, so that only the kernel's notifications can be the reason.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;
use veni_api::v1::EventsRequest;
use veni_testbed::cloudlab::enter;
use veni_testbed::kernel::{self, PROTOCOL};
use veni_testbed::{Bed, BedConfig, TestPod, eventually};

/// Time within which everything must be back.
const WITHIN: Duration = Duration::from_secs(2);

/// A node with pods on its primary interface and on a second one.
async fn bed() -> (Bed, Vec<TestPod>) {
    let config = BedConfig::new(1)
        .instance_type("t3.small")
        .set("MAX_ENI", "2")
        .set("WARM_IP_TARGET", "1")
        .set("VENI_AUDIT_INTERVAL", "3600")
        .set("AWS_VPC_K8S_CNI_LOGLEVEL", "debug")
        .set("VENI_METRICS_ADDRESS", "127.0.0.1:61678");
    let bed = Bed::start(config).await;
    let mut pods = Vec::new();
    for number in 1..=4 {
        pods.push(bed.running(0, &format!("p{number}")).await.0);
    }
    let node = bed.node(0);
    // One address of a pod and one that is kept warm, and no more to come.
    eventually("a second interface in service", async || {
        let all = state(node).await;
        match all.contains("in 22033") && all.matches("1536: from").count() == 2 {
            true => Ok(()),
            false => Err(all),
        }
    })
    .await;
    (bed, pods)
}

const SETTINGS: [&str; 3] = [
    "ipv4/ip_forward",
    "ipv4/conf/eth0/rp_filter",
    "ipv4/conf/eth1/rp_filter",
];

/// Everything of Veni's that others can change, as the kernel's own tools show it.
async fn state(node: &Path) -> String {
    let mut lines = Vec::new();
    for rule in kernel::rules(node).await {
        if rule.protocol == PROTOCOL {
            lines.push(format!("{rule}"));
        }
    }
    for route in kernel::routes(node, "all").await {
        if route.protocol == PROTOCOL {
            let gateway = route.gateway.unwrap_or_default();
            lines.push(format!(
                "{} {gateway} dev {} in {}",
                route.dst, route.dev, route.table
            ));
        }
    }
    for link in kernel::links(node).await {
        let up = link.flags.iter().any(|flag| flag == "UP");
        lines.push(format!("{} up={up}", link.name));
    }
    for name in SETTINGS {
        let path = format!("/proc/sys/net/{name}");
        let value = enter(node, move || std::fs::read_to_string(path)).await;
        lines.push(format!("{name}={}", value.unwrap_or_default().trim()));
    }
    lines.sort();
    let table = ["--stateless", "list", "table", "inet", "veni"];
    let table = kernel::run(node, "nft", &table).await;
    lines.push(table.unwrap_or_else(|error| error));
    lines.join("\n")
}

async fn set(node: &Path, name: &str, value: &'static str) {
    let path = format!("/proc/sys/net/{name}");
    let written = enter(node, move || std::fs::write(path, value)).await;
    written.expect("a setting");
}

async fn nft(node: &Path, arguments: &str) {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let ran = kernel::run(node, "nft", &arguments).await;
    ran.unwrap_or_else(|error| panic!("{error}"));
}

/// The repairs among the daemon's events.
struct Told {
    messages: Arc<Mutex<Vec<String>>>,
    _reader: AbortOnDropHandle<()>,
}

impl Told {
    async fn listen(bed: &Bed) -> Self {
        let mut client = bed.daemon(0).operator().await.expect("it runs");
        let events = client
            .events(EventsRequest::default())
            .await
            .expect("it answers");
        let mut events = events.into_inner();
        let messages: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&messages);
        let reader = tokio::spawn(async move {
            while let Ok(Some(event)) = events.message().await {
                if event.kind == "repair" {
                    kept.lock().expect("unpoisoned").push(event.message);
                }
            }
        });
        Self {
            messages,
            _reader: AbortOnDropHandle::new(reader),
        }
    }

    fn all(&self) -> Vec<String> {
        self.messages.lock().expect("unpoisoned").clone()
    }

    async fn of(&self, words: &str) {
        eventually("the event", async || {
            let all = self.all();
            match all.iter().any(|message| message.contains(words)) {
                true => Ok(()),
                false => Err(format!("nothing of '{words}' in {all:#?}")),
            }
        })
        .await;
    }
}

/// The counter of repairs, as Prometheus reads it.
async fn repairs(node: &Path) -> u64 {
    let answer = enter(node, || {
        let mut stream = TcpStream::connect("127.0.0.1:61678")?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    let text = answer.await.expect("metrics are served");
    let line = text
        .lines()
        .find(|line| line.starts_with("veni_repairs_total "));
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no counter in {text}"))
}

/// Waits until all is as it was; how long that took.
async fn back(node: &Path, before: &str, what: &str) -> Duration {
    let began = Instant::now();
    eventually(what, async || {
        let now = state(node).await;
        match now == before {
            true => Ok(()),
            false => Err(format!("it is\n{now}\nand was\n{before}")),
        }
    })
    .await;
    began.elapsed()
}

#[tokio::test]
async fn whatever_is_flushed_is_back_within_two_seconds_and_told() {
    let (bed, pods) = bed().await;
    let node = bed.node(0).to_owned();
    let told = Told::listen(&bed).await;
    let before = state(&node).await;
    let links = kernel::links(&node).await;
    let of_pod = links.iter().find(|link| link.group == kernel::POD_GROUP);
    let pods_link = format!("link set {} down", of_pod.expect("a pod's link").name);
    for (program, command, words) in [
        (
            "ip",
            "-4 rule flush protocol 86",
            "rule 512 from all lookup 22016",
        ),
        ("ip", "route flush table 22016", "host routes were missing"),
        ("ip", "route flush table 22033", "in table 22033 on eth1"),
        ("nft", "delete table inet veni", "nftables table inet veni"),
        (
            "nft",
            "delete chain inet veni source_nat",
            "nftables table inet veni",
        ),
        ("nft", "flush ruleset", "nftables table inet veni"),
        ("ipv4/ip_forward", "0", "net/ipv4/ip_forward was 0"),
        ("ipv4/conf/eth0/rp_filter", "1", "conf/eth0/rp_filter was 1"),
        ("ipv4/conf/eth1/rp_filter", "1", "conf/eth1/rp_filter was 1"),
        ("ip", "link set eth1 down", "eth1 was down"),
        ("ip", pods_link.as_str(), "host routes were missing"),
    ] {
        let counted = repairs(&node).await;
        match program {
            "ip" => drop(kernel::ip(&node, command).await),
            "nft" => nft(&node, command).await,
            setting => set(&node, setting, if command == "0" { "0" } else { "1" }).await,
        }
        let took = back(&node, &before, command).await;
        assert!(took < WITHIN, "{program} {command}: {took:?}");
        told.of(words).await;
        // It is counted a moment after the kernel has it.
        eventually("the count", async || match repairs(&node).await > counted {
            true => Ok(()),
            false => Err(command),
        })
        .await;
    }
    let all: Vec<&TestPod> = pods.iter().collect();
    bed.sound(&all).await;
    bed.end().await;
}

/// The kernel removes routes with a link's last address and notifies only of the address.
#[tokio::test]
async fn routes_that_go_with_the_node_s_address_are_back_within_two_seconds_of_it() {
    let (bed, pods) = bed().await;
    let node = bed.node(0).to_owned();
    let words = async |arguments: &str| kernel::ip(&node, arguments).await;
    let shown = words("-4 -brief address show dev eth0").await;
    let address = shown.split_whitespace().find(|word| word.contains('/'));
    let address = address.expect("an address").to_owned();
    let main = words("-4 route show table main").await;
    let copies = async || -> Vec<String> {
        let all = kernel::routes(&node, "all").await;
        let ours = all.into_iter().filter(|route| route.protocol == PROTOCOL);
        let by_address = ours.filter(|route| matches!(route.table.as_str(), "22016" | "22017"));
        let mut all: Vec<String> = by_address
            .map(|route| format!("{} dev {} in {}", route.dst, route.dev, route.table))
            .collect();
        all.sort();
        all
    };
    let before = copies().await;
    for table in ["22016", "22017"] {
        assert!(before.iter().any(|one| one.ends_with(table)), "{before:?}");
    }
    words(&format!("address del {address} dev eth0")).await;
    assert_ne!(copies().await, before, "the kernel has removed them");
    words(&format!("address add {address} dev eth0")).await;
    for route in main.lines().filter(|line| !line.contains("proto kernel")) {
        words(&format!("-4 route replace {route}")).await;
    }
    let began = Instant::now();
    eventually("the routes", async || {
        let now = copies().await;
        match now == before {
            true => Ok(()),
            false => Err(format!("it is\n{now:#?}\nand was\n{before:#?}")),
        }
    })
    .await;
    assert!(began.elapsed() < WITHIN, "{:?}", began.elapsed());
    let all: Vec<&TestPod> = pods.iter().collect();
    bed.sound(&all).await;
    bed.end().await;
}

#[tokio::test]
async fn what_is_not_ours_is_neither_repaired_nor_told() {
    let (bed, _pods) = bed().await;
    let node = bed.node(0).to_owned();
    let told = Told::listen(&bed).await;
    let (before, counted) = (state(&node).await, repairs(&node).await);
    for command in [
        "rule add from 192.0.2.0/24 priority 1536 lookup 100",
        "rule delete from 192.0.2.0/24 priority 1536 lookup 100",
        "route add 192.0.2.7 dev eth1 table 22016 protocol static",
        "route delete 192.0.2.7 table 22016",
        "link add foreign0 type veth peer name foreign1",
        "address add 192.0.2.1/24 dev foreign0",
        "link delete foreign0",
    ] {
        kernel::ip(&node, command).await;
    }
    nft(&node, "add table inet veni_of_another_tool").await;
    nft(&node, "delete table inet veni_of_another_tool").await;
    // Last, remove routes of Veni's. The daemon must report these and none of the changes
    // before them.
    kernel::ip(&node, "route flush table 22016").await;
    back(&node, &before, "pods' routes").await;
    told.of("host routes were missing").await;
    let all = told.all();
    let ours = all.iter().all(|message| message.contains("host routes"));
    assert!(ours, "{all:?}");
    let of_pods = u64::try_from(all.len()).expect("few");
    assert_eq!(repairs(&node).await, counted + of_pods);
    bed.end().await;
}

#[tokio::test]
async fn who_keeps_deleting_is_backed_off_from_and_named() {
    let (bed, _pods) = bed().await;
    let node = bed.node(0).to_owned();
    let told = Told::listen(&bed).await;
    let fight = async {
        loop {
            let tables = kernel::nft_tables(&node).await;
            if tables.iter().any(|table| table == "inet veni") {
                nft(&node, "delete table inet veni").await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let named = told.of("somebody else on the node keeps changing the nftables table");
    tokio::select! {
        () = fight => unreachable!("it goes on"),
        () = named => {}
    }
    let log = bed.daemon(0).log();
    assert!(log.contains("keeps changing what is ours"), "{log}");
    let others = state(&node).await;
    kernel::ip(&node, "route flush table 22033").await;
    let began = Instant::now();
    eventually("a route, meanwhile", async || {
        match state(&node).await.contains("dev eth1 in 22033") {
            true => Ok(()),
            false => Err(&others),
        }
    })
    .await;
    assert!(began.elapsed() < WITHIN, "only the contested kind waits");
    bed.end().await;
}

/// Services of the cluster.
const SERVICES: usize = 10_000;

/// What kube-proxy has in nftables: per service a chain and one of its endpoint, and a
/// map from addresses to chains.
fn services(which: std::ops::Range<usize>) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("table ip kube-proxy {\n");
    for number in which {
        let (high, low) = (number / 250, number % 250 + 1);
        let _ = writeln!(
            text,
            "chain endpoint-{number} {{ ip saddr 10.0.{high}.{low} meta mark set 0x4000\n\
             meta l4proto tcp dnat to 10.0.{high}.{low}:8080; }}\n\
             chain service-{number} {{ ip daddr 172.20.{high}.{low} tcp dport 80 \
             ip saddr != 10.0.0.0/16 meta mark set 0x4000\n\
             numgen random mod 1 vmap {{ 0 : goto endpoint-{number} }}; }}"
        );
    }
    text.push_str("}\n");
    text
}

/// The rules of some services, anew: what a change of endpoints makes of them.
fn rewritten(which: std::ops::Range<usize>) -> String {
    let flushes = which.clone().map(|number| {
        format!(
            "flush chain ip kube-proxy service-{number}\n\
             flush chain ip kube-proxy endpoint-{number}\n"
        )
    });
    flushes.collect::<String>() + &services(which)
}

/// Processor time of a process and the programs that it ran, seconds.
fn processor_time(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let behind = text.rsplit_once(')').expect("a name").1;
    let fields: Vec<&str> = behind.split_whitespace().collect();
    // utime, stime, cutime, cstime (proc(5)), in hundredths of a second.
    let ticks = fields[11..15]
        .iter()
        .map(|field| field.parse::<f64>().expect("a number"));
    ticks.sum::<f64>() / 100.0
}

#[tokio::test]
async fn repairs_keep_their_time_beside_ten_thousand_services_that_change_all_the_time() {
    let (bed, pods) = bed().await;
    let node = bed.node(0).to_owned();
    let before = state(&node).await;
    let file = |name: &str, text: String| {
        let path = bed.folder().join(name);
        std::fs::write(&path, text).expect("a file");
        format!("-f {}", path.display())
    };
    let everything = file("all.nft", services(0..SERVICES));
    let batch = 100;
    let batches: Vec<String> = (0..SERVICES / batch)
        .map(|at| {
            let text = rewritten(at * batch..(at + 1) * batch);
            file(&format!("{at}.nft"), text)
        })
        .collect();
    // A daemon that gets a processor in time could read as fast as it is told.
    bed.daemon(0).pause().await;
    nft(&node, &everything).await;
    bed.daemon(0).resume().await;
    let overrun = "the kernel could not tell all that changed";
    eventually("a full socket", async || {
        match bed.daemon(0).log().contains(overrun) {
            true => Ok(()),
            false => Err("nothing of it in the log"),
        }
    })
    .await;
    let pid = bed.daemon(0).pid().await.expect("it runs");
    let (used, began) = (processor_time(pid), Instant::now());
    let storm = async {
        for batch in batches.iter().cycle() {
            nft(&node, batch).await;
        }
    };
    let damages = async {
        for (program, command) in [
            ("ip", "-4 rule flush protocol 86"),
            ("ip", "route flush table 22033"),
            ("ip", "route flush table 22016"),
            ("nft", "delete table inet veni"),
            ("sysctl", ""),
        ] {
            match program {
                "ip" => drop(kernel::ip(&node, command).await),
                "nft" => nft(&node, command).await,
                _ => set(&node, "ipv4/ip_forward", "0").await,
            }
            let took = back(&node, &before, command).await;
            assert!(took < WITHIN, "{program} {command}: {took:?}");
        }
    };
    tokio::select! {
        () = storm => unreachable!("it goes on"),
        () = damages => {}
    }
    // A comparison of everything takes two programs of some 30 ms and a few lists, at
    // most once a second; with it and what the five repairs take, a quarter of one
    // processor is plenty on a machine that is busy with other things.
    let used = processor_time(pid) - used;
    let bound = 0.25 * began.elapsed().as_secs_f64() + 1.0;
    assert!(used < bound, "{used} s of {:?}", began.elapsed());
    let all: Vec<&TestPod> = pods.iter().collect();
    bed.sound(&all).await;
    bed.end().await;
}
