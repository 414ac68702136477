//! What the daemons' role permits, beside what the API server has been asked.

use std::collections::BTreeSet;

use serde_json::Value;
use veni_testbed::cluster::{Cluster, ClusterConfig, eventually};

use crate::objects::{deployment, idle};
use crate::veni;

/// API group, resource with its subresource, and verb.
type Right = (String, String, String);

fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let texts = items.iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// What the role grants.
async fn granted(cluster: &Cluster) -> BTreeSet<Right> {
    let role = cluster
        .must(&["get", "clusterrole", "veni", "--output", "json"])
        .await;
    let role: Value = serde_json::from_str(&role).expect("is JSON");
    let rules = role["rules"].as_array().expect("rules");
    let mut rights = BTreeSet::new();
    for rule in rules {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    rights.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    rights
}

/// What the daemons have asked for, of objects.
fn used(cluster: &Cluster) -> BTreeSet<Right> {
    let log = cluster.audit_log();
    let of_objects = log
        .iter()
        .filter(|one| one["objectRef"]["resource"].is_string());
    let mut rights = BTreeSet::new();
    for one in of_objects {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &one["objectRef"];
        let resource = match object["subresource"].as_str() {
            Some(part) => format!("{}/{part}", text(&object["resource"])),
            None => text(&object["resource"]),
        };
        let (group, verb) = (text(&object["apiGroup"]), text(&one["verb"]));
        // A patch that makes its object, as server-side apply does, needs both rights.
        if verb == "patch" && one["responseStatus"]["code"] == 201 {
            rights.insert((group.clone(), resource.clone(), "create".to_owned()));
        }
        rights.insert((group, resource, verb));
    }
    rights
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_permits_what_the_daemons_ask_for_and_no_more() {
    let cluster = Cluster::start(ClusterConfig::new(1)).await;
    let taint = ["taint", "nodes", "--all", "veni.dev/not-ready=:NoSchedule"];
    cluster.must(&taint).await;
    veni::install(&cluster, &[("MAX_PODS", "1")]).await;
    // One more than get an address: the daemon tells of it, and again as the kubelet tries.
    cluster.apply(&deployment("crowd", 2, None, idle())).await;
    let granted = granted(&cluster).await;
    eventually("a request by every right of the role", async || {
        let used = used(&cluster);
        let unused: Vec<&Right> = granted.difference(&used).collect();
        match unused.is_empty() {
            true => Ok(()),
            false => Err(format!("{unused:?}")),
        }
    })
    .await;
    let lacking: Vec<Right> = used(&cluster).difference(&granted).cloned().collect();
    assert_eq!(lacking, [], "asked for without a right");
    veni::assert_nothing_refused(&cluster);
}
