//! What news of pods cost where one policy selects very many of them.
//!
//! `cargo run --release -p veni-policy --example peers [PODS]`: 250 pods of this node accept from every
//! pod of the cluster with a label. Pods come and go; after each batch the caller asks for all
//! policies, and for the difference that a kernel has to be told. Times are the processor's.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use veni_policy::objects::{Object, ObjectName, Reference};
use veni_policy::{Cluster, PodPolicy, RuleSet, Side, delta};

const LOCAL: u32 = 250;
const BATCHES: u32 = 50;

fn pod(index: u32) -> Object {
    let app = if index < LOCAL { "db" } else { "web" };
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + index);
    object(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": "shop", "name": format!("{app}-{index}"),
            "labels": {"app": app, "pod-template-hash": "5d4f8c7b9"},
        },
        "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"podIPs": [{"ip": address}], "phase": "Running"},
    }))
}

fn object(value: Value) -> Object {
    match Object::read(value).remove(0) {
        Ok(object) => object,
        Err(invalid) => panic!("{invalid}"),
    }
}

fn local(index: u32) -> ObjectName {
    ObjectName::new("shop", format!("db-{index}"))
}

/// All local pods' policies; one set of rules for all.
fn ask(cluster: &Cluster) -> Arc<RuleSet> {
    let policies: Vec<_> = (0..LOCAL)
        .filter_map(|index| cluster.policy(&local(index)))
        .collect();
    match policies.into_iter().next() {
        Some(PodPolicy {
            ingress: Side::Isolated(rules),
            ..
        }) => rules,
        other => panic!("not isolated: {other:?}"),
    }
}

fn resident_mib() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap_or("");
    let number = line
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.parse::<u64>().ok());
    Ok(number.unwrap_or(0) / 1024)
}

/// Of this thread, so that what else runs on the machine counts little.
fn processor_time() -> io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text
        .split_whitespace()
        .next()
        .and_then(|text| text.parse().ok());
    Ok(Duration::from_nanos(nanoseconds.unwrap_or(0)))
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let pods: u32 = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(158_000);
    let mut cluster = Cluster::default();
    let started = resident_mib()?;
    for index in 0..pods {
        cluster.apply(pod(index));
    }
    for index in 0..LOCAL {
        cluster.follow(local(index));
    }
    let read = resident_mib()?;
    writeln!(out, "{pods} pods take {} MiB", read - started)?;
    let begin = processor_time()?;
    cluster.apply(object(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": "db"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "db"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}],
        },
    })));
    let mut rules = ask(&cluster);
    writeln!(
        out,
        "{} peers, {} MiB more",
        rules.peers.len(),
        resident_mib()? - read
    )?;
    writeln!(
        out,
        "first policy for {LOCAL} pods: {:.1?}",
        (processor_time()? - begin)
    )?;
    for size in [1, 10, 100] {
        let (mut applying, mut asking, mut comparing) =
            (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for batch in 0..BATCHES {
            let news: Vec<_> = (0..size)
                .map(|item| pod(LOCAL + (batch * size + item) / 2))
                .collect();
            let begin = processor_time()?;
            for (item, object) in news.into_iter().enumerate() {
                match item % 2 {
                    0 if size > 1 || batch % 2 == 0 => cluster.delete(&object.reference()),
                    _ => cluster.apply(object),
                };
            }
            applying += processor_time()? - begin;
            let begin = processor_time()?;
            let newer = ask(&cluster);
            asking += processor_time()? - begin;
            let begin = processor_time()?;
            let changes = delta(&rules, &newer).expect("the classes stay");
            assert!(!changes.put.is_empty() || !changes.removed.is_empty() || size > 1);
            comparing += processor_time()? - begin;
            rules = newer;
        }
        writeln!(
            out,
            "a batch of {size}: {:.2?} to apply, {:.2?} to ask for all policies, {:.2?} to compare",
            applying / BATCHES,
            asking / BATCHES,
            comparing / BATCHES
        )?;
    }
    let reference = Reference::Pod(ObjectName::new("shop", "web-300"));
    let begin = processor_time()?;
    drop(rules);
    for _ in 0..1000 {
        cluster.delete(&reference);
        cluster.apply(pod(300));
    }
    writeln!(
        out,
        "a change while nobody holds the rules: {:.1?}",
        (processor_time()? - begin) / 2000
    )
}
