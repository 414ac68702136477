//! News of objects one by one lead where reading all of them anew leads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use veni_policy::objects::{Object, ObjectName, Reference};
use veni_policy::{Cluster, Needed, PodPolicy, RuleSet, Side, delta};

use crate::generated::{NAMESPACES, PODS, POLICIES, config, namespace, pod, policy};
use crate::verdicts::{Sorted, read};

#[derive(Debug, Clone)]
enum News {
    Apply(Value),
    Delete(Reference),
    Follow(ObjectName),
    Unfollow(ObjectName),
}

fn any_pod_name() -> impl Strategy<Value = ObjectName> {
    (select(&NAMESPACES[..]), select(&PODS[..]))
        .prop_map(|(namespace, name)| ObjectName::new(namespace, name))
}

fn any_news() -> impl Strategy<Value = Vec<News>> {
    let policy_name = (select(&NAMESPACES[..]), select(&POLICIES[..]));
    let news = prop_oneof![
        6 => pod().prop_map(News::Apply),
        2 => namespace().prop_map(News::Apply),
        4 => policy().prop_map(News::Apply),
        2 => any_pod_name().prop_map(|name| News::Delete(Reference::Pod(name))),
        1 => select(&NAMESPACES[..]).prop_map(|name| News::Delete(Reference::Namespace(name.to_owned()))),
        1 => policy_name.prop_map(|(namespace, name)| {
            News::Delete(Reference::NetworkPolicy(ObjectName::new(namespace, name)))
        }),
        4 => any_pod_name().prop_map(News::Follow),
        1 => any_pod_name().prop_map(News::Unfollow),
    ];
    vec(news, 1..60)
}

/// What one knows who keeps all objects and compiles every pod anew.
#[derive(Default)]
struct Rebuilt {
    objects: BTreeMap<Reference, Object>,
    followed: BTreeSet<ObjectName>,
}

impl Rebuilt {
    fn policies(&self, needed: &Needed) -> BTreeMap<ObjectName, PodPolicy> {
        let followed = |name: &ObjectName| self.followed.contains(name);
        // A bounded watch tells of no pods that are not needed, but of the node's own.
        let told = self
            .objects
            .values()
            .filter(|object| match (object, needed) {
                (Object::Pod(pod), Needed::Of(namespaces)) => {
                    namespaces.contains(&pod.name.namespace) || followed(&pod.name)
                }
                _ => true,
            });
        let sorted = Sorted::new(told.cloned());
        let pods = sorted.pods.iter().filter(|pod| followed(&pod.name));
        pods.map(|pod| (pod.name.clone(), sorted.compile(pod)))
            .collect()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn news_one_by_one_lead_where_a_rebuild_leads(all in any_news()) {
        let mut cluster = Cluster::default();
        let mut rebuilt = Rebuilt::default();
        let mut before = BTreeMap::new();
        for news in all {
            let mut said = BTreeSet::new();
            match news {
                News::Apply(value) => {
                    let object = read(&value);
                    rebuilt.objects.insert(object.reference(), object.clone());
                    said = cluster.apply(object);
                }
                News::Delete(reference) => {
                    rebuilt.objects.remove(&reference);
                    said = cluster.delete(&reference);
                }
                News::Follow(name) => {
                    rebuilt.followed.insert(name.clone());
                    cluster.follow(name.clone());
                    said.insert(name);
                }
                News::Unfollow(name) => {
                    rebuilt.followed.remove(&name);
                    cluster.unfollow(&name);
                    said.insert(name);
                }
            }
            let after = rebuilt.policies(&cluster.needed());
            for name in NAMESPACES.into_iter().flat_map(|namespace| PODS.map(|pod| ObjectName::new(namespace, pod))) {
                prop_assert_eq!(cluster.policy(&name), after.get(&name).cloned(), "{}", name);
                let changed = before.get(&name) != after.get(&name);
                prop_assert!(!changed || said.contains(&name), "{} changed, and nobody said so", name);
            }
            before = after;
        }
    }

    #[test]
    fn a_delta_makes_the_newer_set_of_the_older_one(all in any_news()) {
        let mut cluster = Cluster::default();
        let mut older: BTreeMap<ObjectName, Arc<RuleSet>> = BTreeMap::new();
        for pod in NAMESPACES.into_iter().flat_map(|namespace| PODS.map(|pod| ObjectName::new(namespace, pod))) {
            cluster.follow(pod);
        }
        for news in all {
            let changed = match news {
                News::Apply(value) => cluster.apply(read(&value)),
                News::Delete(reference) => cluster.delete(&reference),
                News::Follow(_) | News::Unfollow(_) => BTreeSet::new(),
            };
            for name in changed {
                let Some(PodPolicy { ingress: Side::Isolated(new), .. }) = cluster.policy(&name) else {
                    continue;
                };
                let old = older.insert(name, Arc::clone(&new)).unwrap_or_default();
                match delta(&old, &new) {
                    Some(delta) => {
                        let mut peers = old.peers.clone();
                        for range in &delta.removed {
                            prop_assert!(peers.remove(range).is_some(), "{} was not there", range);
                        }
                        for &(range, class) in &delta.put {
                            prop_assert_ne!(peers.insert(range, class), Some(class), "{} was there", range);
                        }
                        prop_assert_eq!(&peers, &new.peers);
                    }
                    None => prop_assert!(old.classes != new.classes || old.origins != new.origins),
                }
            }
        }
    }
}

fn pod_at(name: &str, app: &str, address: &str) -> Object {
    read(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "a", "name": name, "labels": {"app": app}},
        "status": {"podIPs": [{"ip": address}]},
    }))
}

fn ingress_from(namespace: &str, peer: Value) -> Object {
    read(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": "x"},
        "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"from": [peer]}]},
    }))
}

fn namespace_with(name: &str, labels: Value) -> Object {
    read(
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
    )
}

fn ingress(cluster: &Cluster, pod: &str) -> Arc<RuleSet> {
    match cluster
        .policy(&ObjectName::new("a", pod))
        .expect("known")
        .ingress
    {
        Side::Isolated(rules) => rules,
        Side::Open => panic!("{pod} is open"),
    }
}

/// Two databases, of which web pods are peers.
fn databases() -> Cluster {
    let mut cluster = Cluster::default();
    for name in ["db-0", "db-1"] {
        cluster.follow(ObjectName::new("a", name));
    }
    cluster.apply(pod_at("db-0", "db", "10.0.0.1"));
    cluster.apply(pod_at("db-1", "db", "10.0.0.2"));
    cluster.apply(ingress_from(
        "a",
        json!({"podSelector": {"matchLabels": {"app": "web"}}}),
    ));
    cluster
}

#[test]
fn pods_of_equal_isolation_share_one_set() {
    let mut cluster = databases();
    cluster.apply(pod_at("web", "web", "10.0.0.3"));
    assert!(Arc::ptr_eq(
        &ingress(&cluster, "db-0"),
        &ingress(&cluster, "db-1")
    ));
}

#[test]
fn a_peers_news_are_news_of_the_pods_that_it_may_reach() {
    let mut cluster = databases();
    let both = ["db-0", "db-1"]
        .map(|name| ObjectName::new("a", name))
        .into();
    assert_eq!(cluster.apply(pod_at("web", "web", "10.0.0.3")), both);
    let peers = |cluster: &Cluster| ingress(cluster, "db-0").peers.len();
    assert_eq!(peers(&cluster), 1);
    assert_eq!(
        cluster.delete(&Reference::Pod(ObjectName::new("a", "web"))),
        both
    );
    assert_eq!(peers(&cluster), 0);
}

#[test]
fn news_that_change_no_rule_concern_no_pod() {
    let mut cluster = databases();
    cluster.apply(pod_at("web", "web", "10.0.0.3"));
    let before = ingress(&cluster, "db-0");
    let unselected = pod_at("batch", "batch", "10.0.0.4");
    let again = pod_at("web", "web", "10.0.0.3");
    let elsewhere = ingress_from("b", json!({"podSelector": {}}));
    let labels = namespace_with("a", json!({"team": "1"}));
    for object in [unselected, again, elsewhere, labels] {
        let reference = object.reference();
        assert_eq!(cluster.apply(object), BTreeSet::new(), "{reference}");
    }
    assert!(
        Arc::ptr_eq(&before, &ingress(&cluster, "db-0")),
        "the set was not even copied"
    );
}

#[test]
fn rules_that_somebody_holds_stay_as_they_were() {
    let mut cluster = databases();
    let before = ingress(&cluster, "db-0");
    cluster.apply(pod_at("web", "web", "10.0.0.3"));
    assert_eq!(
        (before.peers.len(), ingress(&cluster, "db-0").peers.len()),
        (0, 1)
    );
}

#[test]
fn pods_of_no_namespace_are_needed_without_policies() {
    let mut cluster = Cluster::default();
    cluster.follow(ObjectName::new("a", "db-0"));
    cluster.apply(pod_at("db-0", "db", "10.0.0.1"));
    assert_eq!(cluster.needed(), Needed::Of(BTreeSet::new()));
    // Nor with one that selects none of the followed pods.
    cluster.apply(ingress_from("b", json!({"namespaceSelector": {}})));
    assert_eq!(cluster.needed(), Needed::Of(BTreeSet::new()));
}

#[test]
fn pods_are_needed_of_the_namespaces_that_selectors_match() {
    let mut cluster = databases();
    for (name, team) in [("b", "1"), ("c", "2")] {
        cluster.apply(namespace_with(name, json!({"team": team})));
    }
    let team = json!({"namespaceSelector": {"matchLabels": {"team": "1"}}});
    let cases = [
        (
            json!({"ipBlock": {"cidr": "10.0.0.0/8"}}),
            Needed::Of(BTreeSet::new()),
        ),
        (
            json!({"podSelector": {}}),
            Needed::Of(["a".to_owned()].into()),
        ),
        (team, Needed::Of(["b".to_owned()].into())),
        (json!({"namespaceSelector": {}}), Needed::Everywhere),
    ];
    for (peer, expected) in cases {
        cluster.apply(ingress_from("a", peer.clone()));
        assert_eq!(cluster.needed(), expected, "{peer}");
    }
}

#[test]
fn a_named_port_of_egress_to_everybody_needs_all_pods() {
    let mut cluster = databases();
    let spec = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": "web"}]}]});
    cluster.apply(read(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "a", "name": "y"}, "spec": spec,
    })));
    assert_eq!(cluster.needed(), Needed::Everywhere);
}

#[test]
fn pods_are_needed_only_while_a_followed_pod_is_isolated() {
    let none = Needed::Of(BTreeSet::new());
    let mut cluster = databases();
    assert_ne!(cluster.needed(), none);
    cluster.unfollow(&ObjectName::new("a", "db-0"));
    assert_ne!(cluster.needed(), none);
    // It has another label now, by which the policy does not select it.
    cluster.apply(pod_at("db-1", "cache", "10.0.0.2"));
    assert_eq!(cluster.needed(), none);

    let mut cluster = databases();
    for name in ["db-0", "db-1"] {
        cluster.unfollow(&ObjectName::new("a", name));
    }
    assert_eq!(cluster.needed(), none);
}
