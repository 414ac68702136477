//! What the daemons' role permits, beside what the API server has been asked, and what is
//! refused to a daemon all the same.

use std::collections::BTreeSet;

use serde_json::{Value, json};
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
    writes_to_its_own_node_alone(&cluster).await;
}

/// With what a daemon's pod has in its hand, its own node can be changed and no other.
async fn writes_to_its_own_node_alone(cluster: &Cluster) {
    let other = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "other" } });
    cluster.apply(&other).await;
    let daemon = veni::daemon_of(cluster, cluster.node(0)).await;
    let daemon = daemon.expect("a daemon serves");
    let account = ["create", "token", "veni", "--namespace", veni::NAMESPACE];
    let bound = ["--bound-object-kind=Pod", "--bound-object-name", &daemon];
    let token = cluster.must(&[&account[..], &bound].concat()).await;
    let token = format!("--token={}", token.trim());
    let written = async |node: &str| {
        let patch = r#"{"metadata":{"annotations":{"example.com/written":"yes"}}}"#;
        let line = ["patch", "node", node, "--type=merge", "--patch", patch];
        cluster.kubectl(&[&line[..], &[&token]].concat()).await
    };
    written("node1").await.expect("it is the daemon's own");
    let refused = written("other").await.expect_err("it is another's");
    let words = "may write to its own node (node1) and not to other";
    assert!(refused.contains(words), "{refused}");
}
