//! The daemon and its host: its answers before it is ready, the AWS plugin beside it, what
//! it installs, where it logs, and introspection.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tonic::codegen::http::Uri;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use veni_api::client::{ORIGIN, connect};
use veni_api::v1::PoolRequest;
use veni_provider::ErrorClass;
use veni_testbed::cloudlab::mock::{Fault, FaultKind};
use veni_testbed::{Bed, BedConfig, Daemon, Death, eventually};

/// What operators are told; the pool's host warnings when the daemon is ready.
async fn asked(daemon: &Daemon) -> Result<Vec<String>, String> {
    let mut operator = daemon.operator().await?;
    let answered = operator.pool(PoolRequest {}).await;
    let pool = answered.map_err(|status| status.message().to_owned())?;
    Ok(pool.into_inner().host_warnings)
}

/// The daemon's health as a probe sees it.
async fn health(daemon: &Daemon) -> Result<&'static str, String> {
    let socket = daemon.run_dir().join("operator.sock");
    let connection = connect(&socket).await.map_err(|error| error.to_string())?;
    let mut client = HealthClient::with_origin(connection, Uri::from_static(ORIGIN));
    let request = HealthCheckRequest::default();
    let answered = client.check(request).await;
    let answer = answered.map_err(|status| status.message().to_owned())?;
    Ok(answer.into_inner().status().as_str_name())
}

/// Waits until operators are told something with these words.
pub(super) async fn until_told(daemon: &Daemon, words: &str) {
    eventually(words, async || match asked(daemon).await {
        Err(told) if told.contains(words) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_daemon_that_waits_for_its_cloud_says_so_to_operators_and_probes() {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    bed.lab().cloud().inject(Fault::always(FaultKind::Error {
        class: ErrorClass::Transient,
        reason: "the cloud is away".to_owned(),
    }));
    let daemon = bed.daemon(0);
    daemon.start_with(&[]).await;
    until_told(daemon, "waiting for the cloud to describe this node: ").await;
    until_told(daemon, "the cloud is away").await;
    assert_eq!(health(daemon).await, Ok("NOT_SERVING"));
    let plugins = daemon.run_dir().join("cni.sock");
    let refused = UnixStream::connect(&plugins).await.map(drop);
    refused.expect_err("the plugin is not served yet");
    bed.lab().cloud().clear_faults();
    daemon.ready().await;
    assert_eq!(health(daemon).await, Ok("SERVING"));
    let served = UnixStream::connect(&plugins).await.map(drop);
    served.expect("the plugin is served now");
    bed.end().await;
}

#[tokio::test]
async fn the_plugin_is_installed_as_soon_as_its_folders_are_there_and_stays() {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let (bin, net) = (bed.folder().join("bin"), bed.folder().join("net.d"));
    let text = |path: &Path| path.to_str().expect("utf-8").to_owned();
    let daemon = bed.daemon(0);
    daemon
        .start_with(&[
            ("HOST_CNI_BIN_PATH", &text(&bin)),
            ("HOST_CNI_CONFDIR_PATH", &text(&net)),
            ("POD_MTU", "1400"),
        ])
        .await;
    daemon.ready().await;
    eventually("the reason", async || match asked(daemon).await {
        Ok(warnings) if warnings.iter().any(|w| w.contains("is not installed")) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    std::fs::create_dir(&bin).expect("makes the folder");
    std::fs::create_dir(&net).expect("makes the folder");
    let conflist = net.join("10-veni.conflist");
    eventually("the configuration", async || {
        std::fs::metadata(&conflist).map(drop)
    })
    .await;
    eventually("no warning", async || match asked(daemon).await {
        Ok(warnings) if warnings.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let list: Value =
        serde_json::from_slice(&std::fs::read(&conflist).expect("reads")).expect("json");
    assert_eq!(list["plugins"][0]["runDir"], text(daemon.run_dir()));
    assert_eq!(list["plugins"][0]["mtu"], 1400);
    assert_eq!(list["plugins"].as_array().map(Vec::len), Some(1));
    assert!(bin.join("veni-cni").exists());
    assert_eq!(daemon.terminate().await, Death::Exited(0));
    assert!(conflist.exists(), "pods must be deletable meanwhile");
    bed.end().await;
}

/// Asks over a unix socket, as `curl --unix-socket` does.
async fn get(socket: &Path, path: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn body(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    serde_json::from_str(body).expect("json")
}

#[tokio::test]
async fn introspection_shows_a_pod_with_its_address_and_not_its_container() {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let socket = bed.folder().join("introspection.sock");
    let address = format!("unix:{}", socket.display());
    let daemon = bed.daemon(0);
    daemon
        .start_with(&[("INTROSPECTION_BIND_ADDRESS", &address)])
        .await;
    daemon.ready().await;
    let (pod, added) = bed.running(0, "web").await;
    let list = body(&get(&socket, "/").await.expect("answers"));
    assert_eq!(list["AvailableCommands"][0], "/v1/enis");
    let answer = get(&socket, "/v1/enis").await.expect("answers");
    assert!(!answer.contains(pod.container()), "{answer}");
    let shown = &body(&answer)["0"];
    assert_eq!(shown["AssignedIPs"], 1);
    let address = added.address().to_string();
    let enis = shown["ENIs"].as_object().expect("an object");
    let found = enis.values().any(|eni| {
        let ranges = eni["AvailableIPv4Cidrs"].as_object().expect("an object");
        let used = |range: &Value| range["IPAddresses"][&address]["IPAMMetadata"].is_object();
        ranges.values().any(used)
    });
    assert!(found, "{address} is not in {shown}");
    let answer = get(&socket, "/v1/pods").await.expect("answers");
    assert!(!answer.contains(pod.container()), "{answer}");
    let pods = body(&answer);
    let mut pods = pods.as_object().expect("an object").values();
    assert!(pods.any(|pod| pod["IP"] == address.as_str()), "{answer}");
    let unknown = get(&socket, "/v1/policies").await.expect("answers");
    assert!(unknown.starts_with("HTTP/1.1 404"), "{unknown}");
    bed.end().await;
}

#[tokio::test]
async fn the_log_goes_on_in_a_new_file_after_a_rotation_and_sighup() {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let log = bed.folder().join("logs/ipamd.log");
    let rotated = bed.folder().join("logs/ipamd.log.1");
    let daemon = bed.daemon(0);
    let name = log.to_str().expect("utf-8");
    daemon
        .start_with(&[("AWS_VPC_K8S_CNI_LOG_FILE", name)])
        .await;
    daemon.ready().await;
    std::fs::rename(&log, &rotated).expect("rotates");
    let pid = daemon.pid().await.expect("it runs");
    let pid = Pid::from_raw(i32::try_from(pid).expect("small")).expect("not 0");
    kill_process(pid, Signal::HUP).expect("signals");
    eventually("a new file", async || std::fs::metadata(&log).map(drop)).await;
    assert_eq!(daemon.terminate().await, Death::Exited(0));
    let text = |path: &Path| std::fs::read_to_string(path).expect("reads");
    assert!(text(&rotated).contains("effective configuration"));
    assert!(text(&log).contains("stopping"), "{}", text(&log));
    bed.end().await;
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn beside_a_running_aws_plugin_the_daemon_ends_and_names_the_page() {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let root = bed.folder().join("host");
    let place = root.join("run/aws-node");
    std::fs::create_dir_all(&place).expect("makes the folder");
    let socket = place.join("ipamd.sock");
    let settings = [
        ("VENI_PROVIDER", "aws"),
        ("VENI_HOST_ROOT", root.to_str().expect("utf-8")),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9"),
    ];
    let daemon = bed.daemon(0);
    let aws_plugin = std::os::unix::net::UnixListener::bind(&socket).expect("listens");
    daemon.start_with(&settings).await;
    eventually("the refusal", async || match daemon.has_died().await {
        Some(Death::Exited(1)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let log = daemon.log_tail();
    for part in ["run/aws-node/ipamd.sock answers", "docs/migration-aws.md"] {
        assert!(log.contains(part), "{part} is missing:\n{log}");
    }
    assert!(!daemon.run_dir().join("operator.sock").exists());
    // A socket that it has left behind does not keep Veni away.
    drop(aws_plugin);
    daemon.start_with(&settings).await;
    until_told(daemon, "waiting for AWS to tell which node this is").await;
    daemon.terminate().await;
    bed.end().await;
}
