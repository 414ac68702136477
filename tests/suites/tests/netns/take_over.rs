//! Another network's configuration that the runtime would use in place of Veni's, and a
//! running daemon of the AWS plugin, whatever it shows of itself.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use veni_api::v1::{EventsRequest, PoolRequest};
use veni_testbed::{Bed, BedConfig, Daemon, Death, eventually};

const OURS: &str = "10-veni.conflist";

/// A bed whose daemon finds a runtime's folder with these files.
async fn bed_with(files: &[&str]) -> (Bed, PathBuf) {
    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let folder = bed.folder().join("net.d");
    fs::create_dir(&folder).expect("makes the folder");
    for name in files {
        put(&folder.join(name));
    }
    (bed, folder)
}

fn put(path: &Path) {
    let list = json!({"cniVersion": "1.0.0", "name": "other", "plugins": [{"type": "ptp"}]});
    fs::write(path, list.to_string()).expect("writes");
}

async fn start(daemon: &Daemon, folder: &Path, further: &[(&str, &str)]) {
    let text = folder.to_str().expect("utf-8");
    let mut settings = vec![("HOST_CNI_CONFDIR_PATH", text)];
    settings.extend(further);
    daemon.start_with(&settings).await;
    daemon.ready().await;
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |entry: fs::DirEntry| entry.file_name().display().to_string();
    let mut names: Vec<String> = entries.map(|entry| name(entry.expect("one"))).collect();
    names.sort();
    names
}

async fn warnings(daemon: &Daemon) -> Vec<String> {
    let mut operator = daemon.operator().await.expect("the daemon answers");
    let pool = operator.pool(PoolRequest {}).await.expect("the pool");
    pool.into_inner().host_warnings
}

/// What the daemon remembers to have changed on the host.
async fn host_events(daemon: &Daemon) -> Vec<String> {
    let mut operator = daemon.operator().await.expect("the daemon answers");
    let request = EventsRequest {
        remembered: true,
        ends: true,
    };
    let mut stream = operator.events(request).await.expect("events").into_inner();
    let mut found = Vec::new();
    while let Some(event) = stream.message().await.expect("an event") {
        if event.kind == "host" {
            found.push(event.message);
        }
    }
    found
}

#[tokio::test]
async fn a_configuration_that_comes_first_is_named_and_ours_is_installed_when_it_has_gone() {
    let (bed, folder) = bed_with(&["05-cilium.conflist"]).await;
    let daemon = bed.daemon(0);
    start(daemon, &folder, &[]).await;
    eventually("the refusal", async || {
        let all = warnings(daemon).await;
        let told = |one: &&String| {
            let parts = ["not installed", "05-cilium.conflist", "VENI_TAKE_OVER"];
            parts.iter().all(|part| one.contains(part))
        };
        match all.iter().filter(told).count() {
            1 => Ok(()),
            _ => Err(format!("{all:?}")),
        }
    })
    .await;
    assert_eq!(names(&folder), ["05-cilium.conflist"], "nothing is touched");
    // Pods that runtimes ask for are served all the same.
    let (pod, _) = bed.running(0, "web").await;
    fs::remove_file(folder.join("05-cilium.conflist")).expect("removes");
    eventually("our configuration", async || {
        match names(&folder) == [OURS] && warnings(daemon).await.is_empty() {
            true => Ok(()),
            false => Err(format!("{:?} {:?}", names(&folder), warnings(daemon).await)),
        }
    })
    .await;
    bed.sound(&[&pod]).await;
    bed.end().await;
}

#[tokio::test]
async fn one_that_comes_later_is_told_of_while_the_daemon_runs() {
    let (bed, folder) = bed_with(&[]).await;
    let daemon = bed.daemon(0);
    start(daemon, &folder, &[]).await;
    eventually("our configuration", async || {
        fs::metadata(folder.join(OURS)).map(drop)
    })
    .await;
    assert_eq!(warnings(daemon).await, Vec::<String>::new());
    put(&folder.join("10-aws.conflist"));
    let told = warnings(daemon).await;
    assert!(
        told.len() == 1 && told[0].contains("10-aws.conflist") && told[0].contains("--take-over"),
        "{told:?}"
    );
    bed.end().await;
}

#[tokio::test]
async fn who_is_told_to_take_over_renames_it_says_so_and_does_so_after_a_start_again() {
    let (bed, folder) = bed_with(&["05-cilium.conflist", "20-later.conflist"]).await;
    let daemon = bed.daemon(0);
    let aside = "05-cilium.conflist.veni_bak";
    for life in 1..=2 {
        start(daemon, &folder, &[("VENI_TAKE_OVER", "true")]).await;
        eventually("the folder", async || {
            match names(&folder) == [aside, OURS, "20-later.conflist"] {
                true => Ok(()),
                false => Err(format!("{:?}", names(&folder))),
            }
        })
        .await;
        eventually("the event", async || {
            let told = host_events(daemon).await;
            match &told[..] {
                [one] if one.contains("05-cilium.conflist is now") => Ok(()),
                _ => Err(format!("in life {life}: {told:?}")),
            }
        })
        .await;
        assert_eq!(warnings(daemon).await, Vec::<String>::new());
        assert_eq!(daemon.terminate().await, Death::Exited(0));
        // As another plugin's init container does at each of its starts.
        put(&folder.join("05-cilium.conflist"));
    }
    bed.end().await;
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn an_aws_daemon_that_serves_only_tcp_is_refused_and_another_program_there_is_not() {
    use tonic::transport::Server;
    use tonic::transport::server::TcpIncoming;
    use veni_cloudlab::enter;

    let bed = Bed::start_without_daemons(BedConfig::new(1)).await;
    let root = bed.folder().join("host");
    fs::create_dir_all(&root).expect("makes the folder");
    let settings = [
        ("VENI_PROVIDER", "aws"),
        ("VENI_HOST_ROOT", root.to_str().expect("utf-8")),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9"),
        ("VENI_TAKE_OVER", "true"),
    ];
    let listener = enter(bed.node(0), || {
        std::net::TcpListener::bind("127.0.0.1:50051")
    })
    .await;
    let listener = listener.expect("the address is free");
    listener.set_nonblocking(true).expect("a socket");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
    let (reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder().add_service(health);
    let server = tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let daemon = bed.daemon(0);
    daemon.start_with(&settings).await;
    // It starts beside some other program.
    super::host::until_told(daemon, "waiting for AWS to tell which node this is").await;
    daemon.terminate().await;
    let serving = tonic_health::ServingStatus::NotServing;
    let name = "grpc.health.v1.aws-node";
    reporter.set_service_status(name, serving).await;
    daemon.start_with(&settings).await;
    eventually("the refusal", async || match daemon.has_died().await {
        Some(Death::Exited(1)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let log = daemon.log_tail();
    for part in [name, "127.0.0.1:50051", "docs/migration-aws.md"] {
        assert!(log.contains(part), "{part} is missing:\n{log}");
    }
    server.abort();
    bed.end().await;
}
