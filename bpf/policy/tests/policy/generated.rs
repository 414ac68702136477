//! Made-up objects. Their names, labels, addresses and ports come from small stocks, so that
//! they meet each other often.

use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::RngSeed;
use serde_json::{Map, Value, json};

pub(crate) const NAMESPACES: [&str; 3] = ["a", "b", "c"];
pub(crate) const PODS: [&str; 4] = ["p", "q", "r", "s"];
pub(crate) const POLICIES: [&str; 3] = ["x", "y", "z"];
pub(crate) const ADDRESSES: [&str; 8] = [
    "10.0.0.1",
    "10.0.1.5",
    "10.0.1.6",
    "10.0.2.1",
    "fd00::1",
    "fd00::5",
    "fd01::1",
    "192.0.2.1",
];
const RANGES: [&str; 14] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/22",
    "10.0.1.0/24",
    "10.0.1.4/30",
    "10.0.1.5/32",
    "10.0.1.6/31",
    "10.0.2.9/24",
    "::/0",
    "fc00::/7",
    "fd00::/16",
    "fd00::/64",
    "fd00::5/128",
    "fd00::4/127",
];
const NAMES: [&str; 2] = ["web", "dns"];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// The seed is fixed, so a run is repeatable; `VENI_POLICY_SEED` and `PROPTEST_CASES` widen the search.
pub(crate) fn config() -> ProptestConfig {
    let variable = |name| std::env::var(name).ok();
    let seed = variable("VENI_POLICY_SEED").and_then(|seed| seed.parse().ok());
    let cases = variable("PROPTEST_CASES").and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(120),
        rng_seed: RngSeed::Fixed(seed.unwrap_or(20_261)),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

pub(crate) fn any_objects() -> impl Strategy<Value = Vec<Value>> {
    (
        vec(namespace(), 0..4),
        vec(pod(), 1..8),
        vec(policy(), 1..9),
    )
        .prop_map(|(a, b, c)| {
            let mut named = std::collections::BTreeMap::new();
            for object in a.into_iter().chain(b).chain(c) {
                let metadata = &object["metadata"];
                let name = format!(
                    "{} {} {}",
                    object["kind"], metadata["namespace"], metadata["name"]
                );
                named.insert(name, object);
            }
            named.into_values().collect()
        })
}

pub(crate) fn namespace() -> impl Strategy<Value = Value> {
    (select(&NAMESPACES[..]), labels()).prop_map(|(name, labels)| {
        let mut object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
        object
    })
}

pub(crate) fn pod() -> impl Strategy<Value = Value> {
    let port = (select(&NAMES[..]), select(&[80, 81, 53][..]), protocol());
    let port = port.prop_map(|(name, number, protocol)| {
        without_nulls(json!({"name": name, "containerPort": number, "protocol": protocol}))
    });
    (
        namespace_name(),
        select(&PODS[..]),
        labels(),
        subsequence(&ADDRESSES[..], 0..3),
        weighted(0.1, Just(true)),
        select(&["Running", "Running", "Running", "Pending", "Succeeded", "Failed"][..]),
        vec(port, 0..3),
    )
        .prop_map(|(namespace, name, labels, addresses, host, phase, ports)| {
            let addresses: Vec<_> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
            without_nulls(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": namespace, "name": name, "labels": labels},
                "spec": without_nulls(json!({"hostNetwork": host, "containers": [{"ports": ports}]})),
                "status": {"podIPs": addresses, "phase": phase},
            }))
        })
}

pub(crate) fn policy() -> impl Strategy<Value = Value> {
    let types = subsequence(&["Ingress", "Egress"][..], 0..3);
    (
        namespace_name(),
        select(&POLICIES[..]),
        prop_oneof![Just(json!({})), selector()],
        of(types),
        weighted(0.9, vec(rule("from"), 0..4)),
        weighted(0.8, vec(rule("to"), 0..4)),
    )
        .prop_map(|(namespace, name, pods, types, ingress, egress)| {
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"namespace": namespace, "name": name},
                "spec": without_nulls(json!({
                    "podSelector": pods, "policyTypes": types, "ingress": ingress, "egress": egress,
                })),
            })
        })
}

fn rule(peers: &'static str) -> impl Strategy<Value = Value> {
    (
        weighted(0.9, vec(peer(), 0..5)),
        weighted(0.8, vec(port(), 0..4)),
    )
        .prop_map(move |(who, ports)| without_nulls(json!({peers: who, "ports": ports})))
}

/// Most are of one namespace, where policies meet pods.
fn namespace_name() -> impl Strategy<Value = &'static str> {
    prop_oneof![2 => Just(NAMESPACES[0]), 1 => select(&NAMESPACES[..])]
}

fn peer() -> impl Strategy<Value = Value> {
    let wide = select(&[RANGES[1], RANGES[2], RANGES[9]][..]);
    let block = (
        prop_oneof![wide, select(&RANGES[..])],
        subsequence(&RANGES[..], 0..8),
    )
        .prop_map(|(cidr, except)| {
            let outer: ipnet::IpNet = cidr.parse().expect("a range");
            let except: Vec<_> = except
                .into_iter()
                .filter(|text| {
                    let part: ipnet::IpNet = text.parse().expect("a range");
                    outer.contains(&part) && outer.prefix_len() < part.prefix_len()
                })
                .collect();
            json!({"ipBlock": {"cidr": cidr, "except": except}})
        });
    prop_oneof![
        2 => block,
        1 => selector().prop_map(|pods| json!({"podSelector": pods})),
        1 => selector().prop_map(|namespaces| json!({"namespaceSelector": namespaces})),
        1 => (selector(), selector()).prop_map(|(namespaces, pods)| {
            json!({"namespaceSelector": namespaces, "podSelector": pods})
        }),
    ]
}

fn port() -> impl Strategy<Value = Value> {
    let number = select(&[80, 53, 79, 1][..]);
    let numbers = (number, weighted(0.5, 0..3), protocol()).prop_map(|(first, more, protocol)| {
        let last = more.map(|more| first + more);
        without_nulls(json!({"port": first, "endPort": last, "protocol": protocol}))
    });
    let named = (select(&NAMES[..]), protocol())
        .prop_map(|(name, protocol)| without_nulls(json!({"port": name, "protocol": protocol})));
    let all = protocol().prop_map(|protocol| without_nulls(json!({"protocol": protocol})));
    prop_oneof![numbers, named, all]
}

fn selector() -> impl Strategy<Value = Value> {
    let expression = prop_oneof![
        (key(), select(&["In", "NotIn"][..]), subsequence(&["1", "2"][..], 1..3)).prop_map(
            |(key, operator, values)| json!({"key": key, "operator": operator, "values": values})
        ),
        (key(), select(&["Exists", "DoesNotExist"][..]))
            .prop_map(|(key, operator)| json!({"key": key, "operator": operator})),
    ];
    prop_oneof![
        1 => Just(json!({})),
        2 => (key(), select(&["1", "2"][..])).prop_map(|(key, value)| json!({"matchLabels": {key: value}})),
        1 => (weighted(0.3, labels()), vec(expression, 0..3)).prop_map(|(labels, expressions)| {
            without_nulls(json!({"matchLabels": labels, "matchExpressions": expressions}))
        }),
    ]
}

fn labels() -> impl Strategy<Value = Value> {
    vec((key(), select(&["1", "2"][..])), 0..3).prop_map(|pairs| {
        let pairs = pairs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()));
        Value::Object(pairs.collect::<Map<_, _>>())
    })
}

fn key() -> impl Strategy<Value = &'static str> {
    select(&["app", "tier"][..])
}

fn protocol() -> impl Strategy<Value = Option<&'static str>> {
    of(select(&PROTOCOLS[..]))
}

fn without_nulls(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    value
}
