//! The view as it is watched, the choice as operators know it, and every mistake in the
//! files by its error.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::eni_config::{Choice, EXTERNAL_LABEL, choose};
use super::files::Files;
use super::*;
use crate::config::CustomNetworkSettings;

const KEY: &str = "k8s.amazonaws.com/eniConfig";

fn node(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> NodeObject {
    let map = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    NodeObject {
        labels: map(labels),
        annotations: map(annotations),
        ..NodeObject::default()
    }
}

#[test]
fn only_what_differs_wakes_those_who_watch() {
    let cluster = Cluster::default();
    let watch = cluster.watch();
    cluster.update(|view| view.node.unschedulable = false);
    assert!(!watch.has_changed().expect("there is a source"));
    cluster.update(|view| view.node.unschedulable = true);
    assert!(watch.has_changed().expect("there is a source"));
    assert!(watch.borrow().node.unschedulable);
}

#[test]
fn the_external_label_wins_over_annotation_over_label_over_default() {
    let zone = "topology.kubernetes.io/zone";
    let external = (EXTERNAL_LABEL, "from-external");
    let by_zone = (zone, "eu-west-1a");
    let annotation: &[(&str, &str)] = &[(KEY, "from-annotation")];
    for (labels, annotations, expected) in [
        (vec![external, by_zone], annotation, "from-external"),
        (vec![by_zone], annotation, "from-annotation"),
        (vec![by_zone], &[], "eu-west-1a"),
        (vec![(zone, "")], &[], "default"),
        (vec![(KEY, "a label is no annotation")], &[], "default"),
    ] {
        let choice = choose(KEY, zone, &node(&labels, annotations));
        assert_eq!(choice.name, expected, "{labels:?} {annotations:?}");
    }
}

fn config(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "crd.k8s.amazonaws.com/v1alpha1",
        "kind": "ENIConfig",
        "metadata": { "name": name, "resourceVersion": "17" },
        "spec": spec,
    })
}

fn list(items: &[Value]) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": items, "metadata": {} })
}

fn good() -> Value {
    list(&[
        config(
            "eu-west-1a",
            json!({ "subnet": "subnet-a", "securityGroups": ["sg-1", "sg-2"] }),
        ),
        config("eu-west-1b", json!({ "subnet": "subnet-b" })),
        config("broken", json!({})),
        config(
            "default",
            json!({ "subnet": "subnet-d", "securityGroups": null }),
        ),
    ])
}

/// A node in eu-west-1a with files of its own.
struct Site {
    folder: TempDir,
    settings: CustomNetworkSettings,
}

impl Site {
    fn new(configs: &str) -> Self {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("eniconfigs.json");
        std::fs::write(&path, configs).expect("writes");
        Self {
            folder,
            settings: CustomNetworkSettings {
                configs: Some(path),
                node: None,
                annotation: KEY.to_owned(),
                label: "topology.kubernetes.io/zone".to_owned(),
            },
        }
    }

    fn with_node(mut self, node: &Value) -> Self {
        let path = self.folder.path().join("node.json");
        std::fs::write(&path, node.to_string()).expect("writes");
        self.settings.node = Some(path);
        self
    }

    fn view(&self) -> anyhow::Result<ClusterView> {
        let cluster = Cluster::default();
        Files::new(self.settings.clone()).begin(&cluster)?;
        Ok(cluster.view())
    }

    fn find(&self) -> anyhow::Result<(Choice, EniConfig)> {
        let place = Place {
            zone: "eu-west-1a".to_owned(),
            region: "eu-west-1".to_owned(),
            instance_type: "m5.large".to_owned(),
            node_name: "node-1".to_owned(),
        };
        Ok(self.view()?.eni_config(&self.settings, &place)?)
    }

    fn found(&self) -> EniConfig {
        self.find().expect("must be found").1
    }

    /// The error in words, its reasons included.
    fn refused(&self) -> String {
        let error = self.find().expect_err("must be refused");
        format!("{error:#}")
    }
}

#[test]
fn a_list_as_kubectl_prints_it_serves_the_node_by_its_zone() {
    let found = Site::new(&good().to_string()).found();
    assert_eq!(found.subnet, "subnet-a");
    assert_eq!(found.security_groups, ["sg-1", "sg-2"]);
}

#[test]
fn a_single_object_serves_too_and_may_leave_the_groups_to_the_primary_interface() {
    let object = config("eu-west-1a", json!({ "subnet": "subnet-b" }));
    let found = Site::new(&object.to_string()).found();
    assert_eq!(found.subnet, "subnet-b");
    assert!(found.security_groups.is_empty());
}

#[test]
fn every_label_of_the_node_s_place_can_name_the_config() {
    for (label, value) in [
        ("topology.kubernetes.io/zone", "eu-west-1a"),
        ("failure-domain.beta.kubernetes.io/zone", "eu-west-1a"),
        ("topology.kubernetes.io/region", "eu-west-1"),
        ("node.kubernetes.io/instance-type", "m5.large"),
        ("kubernetes.io/hostname", "node-1"),
    ] {
        let object = config(value, json!({ "subnet": "subnet-x" }));
        let mut site = Site::new(&object.to_string());
        site.settings.label = label.to_owned();
        assert_eq!(site.found().subnet, "subnet-x", "{label}");
    }
}

#[test]
fn the_node_s_own_object_adds_labels_and_annotations() {
    let node =
        |metadata: Value| json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata });
    let annotated = node(json!({ "name": "node-1", "annotations": { KEY: "eu-west-1b" } }));
    let site = Site::new(&good().to_string()).with_node(&annotated);
    assert_eq!(site.found().subnet, "subnet-b");
    let labelled = node(json!({ "labels": { EXTERNAL_LABEL: "default" } }));
    let site = Site::new(&good().to_string()).with_node(&labelled);
    assert_eq!(site.found().subnet, "subnet-d");
    let moved = node(json!({ "labels": { "topology.kubernetes.io/zone": "eu-west-1b" } }));
    let site = Site::new(&good().to_string()).with_node(&moved);
    assert_eq!(
        site.found().subnet,
        "subnet-b",
        "what Kubernetes says counts"
    );
}

#[test]
fn a_file_that_is_missing_is_named_with_what_writes_one() {
    let mut site = Site::new("");
    site.settings.configs = Some(PathBuf::from("/nowhere/eniconfigs.json"));
    let error = site.refused();
    assert!(error.starts_with("VENI_ENI_CONFIG_FILE=/nowhere/eniconfigs.json: "));
    assert!(error.contains("kubectl get eniconfigs -o json"), "{error}");
    assert!(error.contains("No such file"), "{error}");
    let mut site = Site::new(&good().to_string());
    site.settings.node = Some(PathBuf::from("/nowhere/node.json"));
    let error = site.refused();
    assert!(
        error.starts_with("VENI_NODE_FILE=/nowhere/node.json: "),
        "{error}"
    );
}

#[test]
fn a_file_of_yaml_is_refused_as_no_json() {
    let error = Site::new("apiVersion: v1\nkind: List\n").refused();
    assert!(error.contains("is not JSON"), "{error}");
}

#[test]
fn a_check_finds_what_is_wrong_with_other_nodes_configs() {
    let site = Site::new(&good().to_string());
    assert!(site.find().is_ok());
    let problems = Files::new(site.settings.clone()).problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    let error = problems[0].to_string();
    assert!(
        error.contains("ENIConfig broken: spec.subnet is missing"),
        "{error}"
    );
}

#[test]
fn a_name_that_no_config_has_is_refused_with_the_names_that_there_are() {
    let mut site = Site::new(&good().to_string());
    site.settings.label = "kubernetes.io/hostname".to_owned();
    let error = site.refused();
    let told = "no ENIConfig node-1, which is meant because of label kubernetes.io/hostname; \
                it has broken, default, eu-west-1a, eu-west-1b";
    assert!(error.contains(told), "{error}");
}

#[test]
fn a_config_that_is_wrong_is_refused_with_its_name_and_reason() {
    let wrong = |spec: Value| Site::new(&config("eu-west-1a", spec).to_string()).refused();
    for (spec, reason) in [
        (json!({}), "ENIConfig eu-west-1a: spec.subnet is missing"),
        (json!({ "subnet": "net-1" }), "spec.subnet is \"net-1\""),
        (
            json!({ "subnet": "subnet-1", "securityGroups": "sg-1" }),
            "spec.securityGroups is \"sg-1\", and no list",
        ),
        (
            json!({ "subnet": "subnet-1", "securityGroups": ["default"] }),
            "spec.securityGroups has \"default\"",
        ),
    ] {
        let error = wrong(spec);
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn objects_of_other_kinds_and_names_that_are_there_twice_are_refused() {
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web" } });
    let error = Site::new(&list(std::slice::from_ref(&pod)).to_string()).refused();
    assert!(error.contains("web: must be an ENIConfig"), "{error}");
    let twice = config("a", json!({ "subnet": "subnet-1" }));
    let error = Site::new(&list(&[twice.clone(), twice]).to_string()).refused();
    assert!(error.contains("ENIConfig a: is there twice"), "{error}");
    let error = Site::new(&list(&[json!("text")]).to_string()).refused();
    assert!(error.contains("item 1: is no Kubernetes object"), "{error}");
    let error = Site::new(&good().to_string()).with_node(&pod).refused();
    assert!(error.contains("must be a Node of v1"), "{error}");
}

#[test]
fn taints_of_the_node_and_its_cordon_are_in_the_view() {
    let object = json!({ "apiVersion": "v1", "kind": "Node", "metadata": {}, "spec": {
        "unschedulable": true,
        "taints": [{ "key": "example.com/gpu", "effect": "NoSchedule" }],
    } });
    let site = Site::new(&good().to_string()).with_node(&object);
    let node = site.view().expect("is read").node;
    let taint = Taint {
        key: "example.com/gpu".to_owned(),
        value: String::new(),
        effect: "NoSchedule".to_owned(),
    };
    assert_eq!((node.unschedulable, node.taints), (true, vec![taint]));
}
