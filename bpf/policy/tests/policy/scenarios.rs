//! Golden files: objects and what packets between them meet, in `tests/scenarios`.
//!
//! A packet is a line `FROM -> TO PROTOCOL/PORT VERDICT`. An end is a pod, with each of its
//! addresses, or an address. Compiler, followed cluster and model must say what the file says, with
//! the objects in the order of the file and in the opposite one.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;
use veni_policy::objects::{Object, ObjectName, Pod};
use veni_policy::{Cluster, PodPolicy};

use crate::model::{Flow, Model};
use crate::verdicts::{Sorted, direction, number, read};

struct Scenario {
    objects: Vec<Value>,
    packets: Vec<Packet>,
}

#[derive(Debug)]
struct Packet {
    line: String,
    from: End,
    to: End,
    protocol: &'static str,
    port: u64,
    verdict: String,
}

#[derive(Debug, Clone)]
enum End {
    Pod(ObjectName),
    Address(IpAddr),
}

impl End {
    fn new(text: &str) -> Self {
        match text.split_once('/') {
            Some((namespace, name)) => Self::Pod(ObjectName::new(namespace, name)),
            None => Self::Address(text.parse().expect("an address")),
        }
    }
}

impl Packet {
    fn new(line: &str) -> Self {
        let words: Vec<_> = line.split_whitespace().collect();
        let [from, "->", to, traffic, verdict @ ..] = &words[..] else {
            panic!("no packet: {line}");
        };
        let (protocol, port) = traffic.split_once('/').unwrap_or((traffic, "0"));
        let protocol = match protocol {
            "tcp" => "TCP",
            "udp" => "UDP",
            "sctp" => "SCTP",
            "icmp" => "ICMP",
            other => panic!("protocol {other}"),
        };
        Self {
            line: line.to_owned(),
            from: End::new(from),
            to: End::new(to),
            protocol,
            port: port.parse().expect("a port"),
            verdict: verdict.join(" "),
        }
    }
}

impl Scenario {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("readable");
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        let (packets, mut objects): (Vec<_>, Vec<_>) = documents
            .into_iter()
            .partition(|document| document["kind"].is_null());
        // As the API server completes what it is given.
        for object in &mut objects {
            if object["kind"] == "Namespace" {
                let name = object["metadata"]["name"].clone();
                object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            }
            if let Some(address) = object.pointer("/status/podIP").cloned() {
                object["status"]["podIPs"] = serde_json::json!([{"ip": address}]);
            }
        }
        let packets = packets[0]["packets"].as_array().expect("packets");
        let packets = packets
            .iter()
            .map(|line| Packet::new(line.as_str().expect("text")));
        Self {
            objects,
            packets: packets.collect(),
        }
    }
}

/// What `passes` says of each direction, as the files write it; the sender comes first.
fn verdict(
    packet: &Packet,
    pods: &BTreeMap<ObjectName, Pod>,
    passes: impl Fn(&ObjectName, Flow) -> bool,
) -> Vec<String> {
    let addresses = |end: &End| match end {
        End::Pod(name) => pods[name].addresses.clone(),
        End::Address(address) => vec![*address],
    };
    let mut verdicts = Vec::new();
    for from in addresses(&packet.from) {
        let to = addresses(&packet.to)
            .into_iter()
            .filter(|to| to.is_ipv4() == from.is_ipv4());
        for to in to {
            let flow = |direction, peer| Flow {
                direction,
                peer,
                protocol: packet.protocol,
                port: packet.port,
            };
            let leaves = match &packet.from {
                End::Pod(name) => passes(name, flow("Egress", to)),
                End::Address(_) => true,
            };
            let enters = match &packet.to {
                End::Pod(name) => passes(name, flow("Ingress", from)),
                End::Address(_) => true,
            };
            verdicts.push(match (leaves, enters) {
                (false, _) => "denied by egress".to_owned(),
                (true, false) => "denied by ingress".to_owned(),
                (true, true) => "allowed".to_owned(),
            });
        }
    }
    assert!(
        !verdicts.is_empty(),
        "no address of one family: {}",
        packet.line
    );
    verdicts
}

fn check(name: &str, order: &str, objects: Vec<Value>, packets: &[Packet]) {
    let read: Vec<Object> = objects.iter().map(read).collect();
    let mut cluster = Cluster::default();
    for object in &read {
        cluster.apply(object.clone());
        if let Object::Pod(pod) = object {
            cluster.follow(pod.name.clone());
        }
    }
    let sorted = Sorted::new(read);
    let pods: BTreeMap<_, _> = sorted
        .pods
        .iter()
        .map(|pod| (pod.name.clone(), pod.clone()))
        .collect();
    let model = Model { objects };
    let in_model = |name: &ObjectName| {
        let same = |object: &&Value| {
            let metadata = &object["metadata"];
            object["kind"] == "Pod"
                && metadata["namespace"] == name.namespace[..]
                && metadata["name"] == name.name[..]
        };
        model.objects.iter().find(same).expect("a pod")
    };
    let passes = |policy: &PodPolicy, flow: Flow| {
        policy
            .lookup(
                direction(flow),
                flow.peer,
                number(flow.protocol),
                flow.port as u16,
            )
            .passes()
    };
    for packet in packets {
        let said = [
            (
                "compiler",
                verdict(packet, &pods, |pod, flow| {
                    passes(&sorted.compile(&pods[pod]), flow)
                }),
            ),
            (
                "cluster",
                verdict(packet, &pods, |pod, flow| {
                    passes(&cluster.policy(pod).expect("known"), flow)
                }),
            ),
            (
                "model",
                verdict(packet, &pods, |pod, flow| model.allows(in_model(pod), flow)),
            ),
        ];
        for (who, verdicts) in said {
            for verdict in verdicts {
                assert_eq!(
                    verdict, packet.verdict,
                    "{who}, {name}, {order}: {}",
                    packet.line
                );
            }
        }
    }
}

#[test]
fn packets_of_the_scenarios_meet_the_verdicts_written_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut packets = 0;
    for entry in fs::read_dir(folder).expect("scenarios") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let scenario = Scenario::read(&path);
        check(
            &name,
            "in the file's order",
            scenario.objects.clone(),
            &scenario.packets,
        );
        let backwards = scenario.objects.into_iter().rev().collect();
        check(&name, "backwards", backwards, &scenario.packets);
        packets += scenario.packets.len();
    }
    assert!(packets >= 90, "only {packets} packets were found");
}
