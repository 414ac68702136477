//! The node's ENIConfig with and without an answer of instance metadata.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::routing::{get, put};
use tempfile::TempDir;
use tokio::net::TcpListener;
use veni_provider::{Inventory, Limits, Node};

use super::*;
use crate::app::observers::Observers;
use crate::app::provider::aws::AwsChoice;
use crate::cloud_metrics::RequestMetrics;
use crate::cluster::ObjectName;
use crate::cluster::files::Files;

const CONFIGS: &str = r#"{ "kind": "List", "apiVersion": "v1", "items": [
    { "kind": "ENIConfig", "apiVersion": "crd.k8s.amazonaws.com/v1alpha1",
      "metadata": { "name": "eu-west-1a" },
      "spec": { "subnet": "subnet-pods", "securityGroups": ["sg-pods"] } } ] }"#;
/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:1";

fn with_configs() -> (TempDir, Config) {
    let folder = tempfile::tempdir().expect("temp folder");
    let path = folder.path().join("eniconfigs.json");
    std::fs::write(&path, CONFIGS).expect("writes");
    let config = config(&path);
    (folder, config)
}

fn config(path: &Path) -> Config {
    let lookup = |name: &str| {
        let value = match name {
            "VENI_PROVIDER" => "aws",
            "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG" => "true",
            "ENI_CONFIG_LABEL_DEF" => "topology.kubernetes.io/zone",
            "VENI_ENI_CONFIG_FILE" => path.to_str()?,
            _ => return None,
        };
        Some(value.to_owned())
    };
    Config::try_new(&crate::app::providers(), &lookup, "node-1").expect("the settings are valid")
}

fn settings(config: &Config, metadata: &str) -> AwsSettings {
    let choice = config.provider.settings::<AwsChoice>();
    let choice = choice.expect("the provider is AWS");
    AwsSettings {
        metadata_endpoint: Some(metadata.to_owned()),
        ..super::super::settings(config, choice, &RequestMetrics::default())
    }
}

/// Instance metadata of a node in a zone; its address.
async fn metadata(zone: &'static str) -> String {
    let ttl = [("x-aws-ec2-metadata-token-ttl-seconds", "21600")];
    let router = Router::new()
        .route(
            "/latest/api/token",
            put(move || async move { (ttl, "token") }),
        )
        .fallback(get(move |uri: Uri| async move {
            match uri.path() {
                "/latest/meta-data/instance-type" => (StatusCode::OK, "m5.large"),
                "/latest/meta-data/placement/availability-zone" => (StatusCode::OK, zone),
                _ => (StatusCode::NOT_FOUND, ""),
            }
        }));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn memory(zone: &str) -> CloudMemory {
    CloudMemory {
        node: Node {
            instance_id: "i-1".to_owned(),
            instance_type: "m5.large".to_owned(),
            zone: zone.to_owned(),
            limits: Limits {
                interfaces: 3,
                ipv4_per_interface: 10,
                ipv6_per_interface: 10,
                vcpus: 2,
            },
            network_cidrs: Vec::new(),
        },
        inventory: Inventory {
            interfaces: Vec::new(),
            subnets: Vec::new(),
        },
        capabilities: None,
        as_of_ms: 0,
    }
}

/// Reads the files, and finds what the provider is told.
async fn found(
    config: &Config,
    settings: &AwsSettings,
    remembered: Option<&CloudMemory>,
) -> anyhow::Result<Option<CustomNetwork>> {
    let observers = Observers::default();
    let files = config.custom_network.clone().map(Files::new);
    files.expect("it is on").begin(&observers.cluster)?;
    let start = Start {
        config,
        remembered,
        followed: None,
        observers: &observers,
    };
    find(&start, settings).await?;
    Ok(lookup(&observers.eni_config)())
}

/// Settings of a node without files of ENIConfigs, on which a cluster's API is watched.
fn of_the_api(metadata: &str) -> (Config, AwsSettings) {
    let mut config = config(Path::new("/nowhere/eniconfigs.json"));
    let custom = config.custom_network.as_mut();
    custom.expect("it is on").configs = None;
    let settings = settings(&config, metadata);
    (config, settings)
}

#[tokio::test]
async fn a_new_node_waits_until_the_cluster_has_an_eni_config_for_it() {
    let (config, settings) = of_the_api(&metadata("eu-west-1a").await);
    let observers = Observers::default();
    let start = Start {
        config: &config,
        remembered: None,
        followed: None,
        observers: &observers,
    };
    let tell = async {
        let cluster = &observers.cluster;
        cluster.update(|view| view.node.uid = "u".to_owned());
        cluster.update(|view| view.eni_configs.origin = "the cluster's API".to_owned());
        let is_said = || {
            let said = observers.progress.text();
            said.contains("no ENIConfig eu-west-1a")
        };
        let said = async {
            while !is_said() {
                tokio::task::yield_now().await;
            }
        };
        let said = tokio::time::timeout(Duration::from_secs(30), said).await;
        said.expect("it says what it waits for");
        observers.progress.waits_for("nothing that is new");
        let pod = ObjectName {
            namespace: "shop".to_owned(),
            name: "web-0".to_owned(),
        };
        cluster.update(|view| view.expected_pods.extend([pod]));
        for _ in 0..100 {
            // Whoever looks at the view is of the same task.
            tokio::task::yield_now().await;
        }
        assert!(!is_said(), "a pod changes nothing about it");
        let spec = serde_json::json!({ "subnet": "subnet-api" });
        cluster.update(|view| {
            let specs = &mut view.eni_configs.specs;
            specs.insert("eu-west-1a".to_owned(), spec);
        });
    };
    let (found, ()) = tokio::join!(find(&start, &settings), tell);
    found.expect("is found in the end");
    let followed = lookup(&observers.eni_config)().map(|network| network.subnet);
    assert_eq!(followed, Some(SubnetId::new("subnet-api")));
}

#[tokio::test]
async fn a_node_that_followed_an_eni_config_before_waits_for_no_api() {
    let (config, settings) = of_the_api(NOBODY);
    let observers = Observers::default();
    let start = Start {
        config: &config,
        remembered: None,
        followed: Some(EniConfig {
            subnet: "subnet-before".to_owned(),
            security_groups: Vec::new(),
        }),
        observers: &observers,
    };
    find(&start, &settings).await.expect("is known");
    let followed = lookup(&observers.eni_config)().map(|network| network.subnet);
    assert_eq!(followed, Some(SubnetId::new("subnet-before")));
}

#[tokio::test]
async fn a_new_node_learns_its_zone_from_instance_metadata() {
    let (_folder, config) = with_configs();
    let settings = settings(&config, &metadata("eu-west-1a").await);
    let found = found(&config, &settings, None).await.expect("is found");
    let expected = CustomNetwork {
        subnet: veni_provider::SubnetId::new("subnet-pods"),
        security_groups: vec!["sg-pods".to_owned()],
    };
    assert_eq!(found, Some(expected));
}

#[tokio::test]
async fn a_node_that_is_remembered_needs_no_answer() {
    let (_folder, config) = with_configs();
    let settings = settings(&config, NOBODY);
    let memory = memory("eu-west-1a");
    let found = found(&config, &settings, Some(&memory)).await;
    assert!(found.expect("is found").is_some());
}

#[tokio::test]
async fn a_node_without_a_config_does_not_start_and_says_which_there_are() {
    let (_folder, config) = with_configs();
    let settings = settings(&config, &metadata("eu-west-1c").await);
    let error = found(&config, &settings, None)
        .await
        .expect_err("there is none");
    let error = error.to_string();
    assert!(error.contains("no ENIConfig eu-west-1c"), "{error}");
    assert!(error.ends_with("it has eu-west-1a"), "{error}");
}

#[tokio::test]
async fn a_missing_file_shows_before_anybody_is_asked() {
    let config = config(Path::new("/nowhere/eniconfigs.json"));
    let settings = settings(&config, NOBODY);
    let error = found(&config, &settings, None)
        .await
        .expect_err("is missing");
    assert!(error.to_string().contains("/nowhere/eniconfigs.json"));
}
