//! A daemon that starts again while neither EC2 nor instance metadata answers.
//! The daemon before it ran on the mock cloud: the journal does not tell.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use veni_dataplane::memory::MemoryKernel;
use veni_provider::{ErrorClass, Mac};
use veni_provider_mock::MockSettings;

use super::*;
use crate::app::{App, Metrics};
use crate::attachment::{AttachmentKey, PodName};
use crate::cloud_rules::AWS;
use crate::endpoints::AddOrder;
use crate::journal::Journal;
use crate::run_dir::RunDir;
use crate::start::first_inventory::remembered;

const PRIMARY: Mac = Mac([2, 0, 0, 0, 0, 0x10]);
/// Nobody listens on this port.
const NOBODY: &str = "http://127.0.0.1:1";
/// For what takes a moment.
const PATIENCE: Duration = Duration::from_secs(60);

fn config() -> Config {
    let lookup = |name: &str| match name {
        "VENI_PROVIDER" => Some("mock".to_owned()),
        "WARM_IP_TARGET" => Some("2".to_owned()),
        _ => None,
    };
    Config::try_new(&crate::app::providers(), &lookup, "i-1").expect("the settings are valid")
}

fn run_dir(folder: &Path) -> RunDir {
    RunDir::try_new(folder).expect("the run folder is free")
}

async fn start(folder: &Path, provider: Arc<dyn Provider>, kernel: &MemoryKernel) -> App {
    let never = CancellationToken::new();
    let mut config = config();
    config.state_dir = folder.join("state");
    let started = App::start(
        config,
        &AWS,
        run_dir(folder),
        provider,
        Arc::new(kernel.clone()),
        &never,
    );
    let app = timeout(PATIENCE, started).await.expect("starts in time");
    app.expect("starts").expect("nobody stops it")
}

async fn add(app: &App, kernel: &MemoryKernel, container: &str) -> IpAddr {
    let (namespace, _) = kernel.namespace().expect("a namespace");
    let order = AddOrder {
        namespace,
        pod: PodName {
            namespace: "default".to_owned(),
            name: container.to_owned(),
            uid: String::new(),
        },
        key: AttachmentKey {
            network: "veni".to_owned(),
            container_id: container.to_owned(),
            interface_name: "eth0".to_owned(),
        },
        mtu: 0,
        is_default_gateway: None,
        bandwidth: veni_dataplane::Bandwidth::default(),
        port_mappings: Vec::new(),
    };
    let record = app.endpoints.add(order).await.expect("is served");
    record.addresses()[0]
}

/// A daemon on a mock cloud serves a pod and leaves two addresses warm.
async fn first_life(folder: &Path, kernel: &MemoryKernel) {
    let mut settings = MockSettings::new("i-1");
    settings.primary_mac = Some(PRIMARY);
    let cloud = settings.cloud().expect("a cloud");
    let app = start(folder, Arc::new(cloud.provider("i-1")), kernel).await;
    add(&app, kernel, "first").await;
    let warm = async {
        while app
            .metrics
            .text()
            .expect("is text")
            .lines()
            .all(|line| line != "veni_pool_addresses{state=\"free\"} 2")
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, warm).await.expect("the pool is filled");
    app.stop().await;
}

fn unreachable_aws() -> AwsSettings {
    let choice = AwsChoice {
        cluster_name: None,
        additional_tags: Default::default(),
        manage_untagged: true,
        subnet_discovery: true,
        leak_cleanup: true,
        leak_interval: Duration::from_secs(3600),
        metadata_only: false,
        ec2_endpoint: Some(NOBODY.to_owned()),
        http_timeout: Duration::from_secs(10),
    };
    AwsSettings {
        metadata_endpoint: Some(NOBODY.to_owned()),
        ..settings(&config(), &choice, &RequestMetrics::default())
    }
}

#[tokio::test]
async fn a_daemon_that_starts_again_without_ec2_and_metadata_serves_pods_from_its_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    let kernel = MemoryKernel::new();
    kernel.plug("eth0", PRIMARY.0);
    first_life(folder.path(), &kernel).await;
    let memory = {
        let dir = run_dir(folder.path());
        let journal = Journal::new(dir.folder(), dir.boot());
        remembered(&journal)
            .expect("can be read")
            .expect("is there")
    };
    let progress = Progress::default();
    let provider = timeout(
        PATIENCE,
        connect(unreachable_aws(), Some(&memory), &progress),
    );
    let provider = provider.await.expect("waits for nobody");
    assert!(provider.capabilities().ipv4_prefixes);
    let error = provider.node().await.expect_err("nobody answers");
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    let app = start(folder.path(), provider, &kernel).await;
    let held: Vec<IpAddr> = memory.inventory.interfaces[0].addresses.clone();
    let address = add(&app, &kernel, "second").await;
    assert!(held.contains(&address), "{address} of {held:?}");
    app.stop().await;
}

#[test]
fn every_action_of_ec2_counts_from_the_start() {
    let metrics = Metrics::default();
    let _meter = RequestMeter::new(metrics.requests.clone());
    let text = metrics.text().expect("is text");
    for action in Action::ALL {
        for counter in ["awscni_ec2api_req_count", "awscni_ec2api_error_count"] {
            let line = format!("{counter}{{fn=\"{action}\"}} 0");
            assert!(text.lines().any(|one| one == line), "{line}");
        }
    }
}
