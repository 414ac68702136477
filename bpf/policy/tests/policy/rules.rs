//! The form of the rules: one for all that mean the same.

use proptest::prelude::*;
use serde_json::{Value, json};
use veni_policy::{PodPolicy, Ports, RuleSet, Side};

use crate::generated::{any_objects, config};
use crate::verdicts::{Sorted, read};

/// What the pod `db` may receive when policies with these ingress rules select it, with `web` beside it.
fn ingress(policies: &[(&str, Value)]) -> RuleSet {
    let pod = |name: &str, address: &str| {
        read(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "a", "name": name, "labels": {"app": name}},
            "status": {"podIPs": [{"ip": address}]},
        }))
    };
    let policies = policies.iter().map(|(name, rules)| {
        read(&json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": "a", "name": name},
            "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": rules},
        }))
    });
    let pods = [pod("db", "10.0.0.1"), pod("web", "10.0.0.2")];
    let sorted = Sorted::new(pods.into_iter().chain(policies));
    match sorted.compile(&sorted.pods[0]).ingress {
        Side::Isolated(rules) => RuleSet::clone(&rules),
        Side::Open => panic!("open"),
    }
}

/// A line per prefix: its ports, each with the policy that allows it.
fn lines(rules: &RuleSet) -> Vec<String> {
    let line = |(range, &class): (&ipnet::IpNet, &u32)| {
        let ports = rules.classes[class as usize].ports.iter().map(|range| {
            let ports = match range.ports {
                Ports::All => "all".to_owned(),
                Ports::Some {
                    protocol,
                    first,
                    last,
                } => format!("{protocol:?} {first}-{last}"),
            };
            format!("{ports} by {}", rules.origins[range.origin as usize])
        });
        format!("{range}: {}", ports.collect::<Vec<_>>().join(", "))
    };
    rules.peers.iter().map(line).collect()
}

#[test]
fn a_prefix_holds_what_the_ranges_around_it_allow() {
    let rules = json!([
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": 80}]},
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/24"}}], "ports": [{"port": 443}]},
        {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 53, "protocol": "UDP"}]},
    ]);
    let expected = [
        "10.0.0.0/8: Tcp 80-80 by a/x",
        "10.0.0.0/24: Tcp 80-80 by a/x, Tcp 443-443 by a/x",
        "10.0.0.2/32: Tcp 80-80 by a/x, Tcp 443-443 by a/x, Udp 53-53 by a/x",
        "10.1.0.0/16: ",
    ];
    assert_eq!(lines(&ingress(&[("x", rules)])), expected);
}

#[test]
fn a_prefix_that_adds_nothing_is_left_out() {
    let rules = json!([
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}, {"ipBlock": {"cidr": "10.0.0.0/16"}},
                  {"ipBlock": {"cidr": "10.0.0.2/32"}}, {"podSelector": {}}]},
    ]);
    assert_eq!(lines(&ingress(&[("x", rules)])), ["10.0.0.0/8: all by a/x"]);
}

#[test]
fn ports_inside_of_others_are_left_out_and_of_equal_ones_the_first_policys_stay() {
    let ports =
        |ports: Value| json!([{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": ports}]);
    let x = ports(
        json!([{"port": 80, "endPort": 90}, {"port": 85}, {"port": 80}, {"port": 53, "protocol": "UDP"}]),
    );
    let y = ports(
        json!([{"port": 80, "endPort": 90}, {"port": 88, "endPort": 95}, {"port": 7, "endPort": 9}]),
    );
    let expected =
        ["10.0.0.0/8: Tcp 7-9 by a/y, Tcp 80-90 by a/x, Tcp 88-95 by a/y, Udp 53-53 by a/x"];
    assert_eq!(lines(&ingress(&[("x", x), ("y", y.clone())])), expected);
    let everything = json!([{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]);
    let expected = ["10.0.0.0/8: all by a/z"];
    assert_eq!(lines(&ingress(&[("y", y), ("z", everything)])), expected);
}

#[test]
fn origins_are_all_policies_that_isolate() {
    let rules = ingress(&[("allows", json!([{}])), ("denies", json!([]))]);
    assert_eq!(rules.origins, ["a/allows", "a/denies"]);
    let expected = ["0.0.0.0/0: all by a/allows", "::/0: all by a/allows"];
    assert_eq!(lines(&rules), expected);
}

/// Every list of the policies backwards: none of them has an order.
fn backwards(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.reverse();
            items.iter_mut().for_each(backwards);
        }
        Value::Object(fields) => fields.values_mut().for_each(backwards),
        _ => {}
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_order_of_objects_and_lists_changes_nothing(objects in any_objects()) {
        let mut turned = Value::Array(objects.clone());
        backwards(&mut turned);
        let Value::Array(turned) = turned else { unreachable!() };
        let policies = |objects: &[Value]| {
            let sorted = Sorted::new(objects.iter().map(read));
            let mut pods: Vec<_> = sorted.pods.iter().collect();
            pods.sort_by_key(|pod| &pod.name);
            pods.into_iter().map(|pod| sorted.compile(pod)).collect::<Vec<PodPolicy>>()
        };
        prop_assert_eq!(policies(&objects), policies(&turned));
    }

    #[test]
    fn every_class_is_used_and_every_prefix_says_what_the_next_wider_does_not(objects in any_objects()) {
        let sorted = Sorted::new(objects.iter().map(read));
        for pod in &sorted.pods {
            let PodPolicy { ingress, egress } = sorted.compile(pod);
            for side in [ingress, egress] {
                let Side::Isolated(rules) = side else { continue };
                for (number, class) in (0..).zip(&rules.classes) {
                    prop_assert!(rules.peers.values().any(|used| *used == number), "{:?} is unused", class);
                }
                for (range, class) in &rules.peers {
                    let around = rules.peers.keys().filter(|other| *other != range && other.contains(range));
                    let around = around.max_by_key(|other| other.prefix_len());
                    let around = around.map(|other| rules.peers[other]);
                    let empty = rules.classes[*class as usize].ports.is_empty();
                    prop_assert_ne!(around, Some(*class), "{}", range);
                    prop_assert!(around.is_some() || !empty, "{} forbids what nothing allows", range);
                }
            }
        }
    }
}

#[test]
fn made_up_clusters_have_all_kinds_of_rules() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::new(config());
    let (mut open, mut empty, mut ranges, mut excepted, mut layered) = (0, 0, 0, 0, 0);
    for _ in 0..100 {
        let objects = any_objects()
            .new_tree(&mut runner)
            .expect("objects")
            .current();
        let sorted = Sorted::new(objects.iter().map(read));
        for pod in &sorted.pods {
            match sorted.compile(pod).ingress {
                Side::Open => open += 1,
                Side::Isolated(rules) if rules.peers.is_empty() => empty += 1,
                Side::Isolated(rules) => {
                    ranges += 1;
                    excepted +=
                        usize::from(rules.classes.iter().any(|class| class.ports.is_empty()));
                    layered += usize::from(rules.classes.len() > 2);
                }
            }
        }
    }
    let kinds = [open, empty, ranges, excepted, layered];
    assert!(kinds.iter().all(|&count| count >= 10), "{kinds:?}");
}
