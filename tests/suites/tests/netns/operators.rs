//! What operators and probes ask a running daemon for: levels of its log, events, endpoints,
//! a report that is drawn again, and health on a TCP address.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;

use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use veni_provider::ErrorClass;
use veni_testbed::cloudlab::enter;
use veni_testbed::cloudlab::mock::{Fault, FaultKind};
use veni_testbed::{Bed, BedConfig, PATIENCE, binaries, eventually};

const HEALTH: &str = "127.0.0.1:50051";

fn veni(bed: &Bed, line: &str) -> Command {
    let mut command = bed.exec(0, binaries::veni());
    command.args(line.split_whitespace());
    command.arg("--run-dir").arg(bed.daemon(0).run_dir());
    command
}

/// What a line prints; its error where it fails.
async fn told(bed: &Bed, line: &str) -> Result<String, String> {
    let output = veni(bed, line).output().await.expect("veni runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

#[tokio::test]
async fn a_subsystem_s_level_is_set_while_the_daemon_runs_and_shown_until_it_is_reset() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let debug = || {
        let log = bed.daemon(0).log();
        log.lines().filter(|line| line.contains(" DEBUG ")).count()
    };
    let (_one, _) = bed.running(0, "one").await;
    assert_eq!(debug(), 0, "info is the default");
    let wrong = told(&bed, "log-level pol=debug")
        .await
        .expect_err("refused");
    assert!(
        wrong.contains("no such subsystem") && wrong.contains("pool"),
        "{wrong}"
    );
    let set = told(&bed, "log-level debug").await.expect("set");
    assert!(
        set.starts_with("in force: debug\nconfigured: info"),
        "{set}"
    );
    let status = told(&bed, "status").await.expect("told");
    assert!(
        status.contains("Log: debug, which is not the configured level"),
        "{status}"
    );
    bed.running(0, "two").await;
    eventually("a line of debugging", async || match debug() {
        0 => Err(bed.daemon(0).log_tail()),
        _ => Ok(()),
    })
    .await;
    let reset = told(&bed, "log-level --reset").await.expect("reset");
    assert!(reset.contains("as configured"), "{reset}");
    let status = told(&bed, "status").await.expect("told");
    assert!(!status.contains("Log: "), "{status}");
    bed.end().await;
}

#[tokio::test]
async fn events_are_remembered_and_followed_until_ctrl_c() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (one, added) = bed.running(0, "one").await;
    let past = told(&bed, "events").await.expect("told");
    let last = past
        .lines()
        .rfind(|line| line.contains("  add  "))
        .expect("its ADD");
    assert!(last.contains(&added.address().to_string()), "{past}");
    let mut following = veni(&bed, "events --follow --json")
        .stdout(Stdio::piped())
        .spawn()
        .expect("veni runs");
    let mut lines = BufReader::new(following.stdout.take().expect("its output")).lines();
    let mut until = async |kind: &str| {
        let next = async {
            while let Some(line) = lines.next_line().await.expect("lines") {
                let event: Value = serde_json::from_str(&line).expect("an object");
                if event["kind"] == kind {
                    return event;
                }
            }
            panic!("it has ended");
        };
        timeout(PATIENCE, next).await.expect("an event in time")
    };
    until("add").await;
    bed.del(&one).await.expect("deleted");
    let event = until("del").await;
    assert!(
        event["message"]
            .as_str()
            .is_some_and(|text| text.contains("gave back"))
    );
    interrupt(&following);
    let ended = timeout(PATIENCE, following.wait()).await.expect("it ends");
    assert_eq!(ended.expect("it can be waited for").code(), Some(0));
    bed.end().await;
}

fn interrupt(child: &tokio::process::Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let pid = id.and_then(Pid::from_raw).expect("it runs");
    kill_process(pid, Signal::INT).expect("it takes signals");
}

#[tokio::test]
async fn a_report_is_drawn_again_when_a_pod_comes_and_ends_cleanly() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let mut watching = veni(&bed, "status --watch")
        .stdout(Stdio::piped())
        .spawn()
        .expect("veni runs");
    let mut output = watching.stdout.take().expect("its output");
    let mut shown = String::new();
    let mut until = async |words: &str| {
        let read = async {
            let mut bytes = [0; 4096];
            while !shown.contains(words) {
                let count = output.read(&mut bytes).await.expect("it can be read");
                assert_ne!(count, 0, "it has ended: {shown}");
                shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        };
        timeout(PATIENCE, read).await.expect("it is shown in time");
    };
    until("Endpoints\n  none").await;
    let (_newcomer, _) = bed.running(0, "newcomer").await;
    until("newcomer").await;
    interrupt(&watching);
    let ended = timeout(PATIENCE, watching.wait()).await.expect("it ends");
    assert_eq!(ended.expect("it can be waited for").code(), Some(0));
    // Nobody reads any more, and nothing happens that it could fail to write.
    let mut unread = veni(&bed, "status --watch")
        .stdout(Stdio::piped())
        .spawn()
        .expect("veni runs");
    drop(unread.stdout.take());
    let ended = timeout(PATIENCE, unread.wait()).await.expect("it ends");
    assert_eq!(ended.expect("it can be waited for").code(), Some(0));
    bed.end().await;
}

#[tokio::test]
async fn endpoints_are_chosen_by_pod_and_by_address() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let (_one, _) = bed.running(0, "one").await;
    let (_two, added) = bed.running(0, "two").await;
    let by_address = format!("endpoints --address {} --json", added.address());
    for line in [by_address.as_str(), "endpoints --pod two --json"] {
        let text = told(&bed, line).await.expect("told");
        let all: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(all.as_array().map(Vec::len), Some(1), "{line}: {text}");
        assert_eq!(all[0]["pod"]["name"], "two");
    }
    let none = told(&bed, "endpoints --pod three").await.expect("told");
    assert_eq!(none, "none of the node's 2 endpoints is so\n");
    bed.end().await;
}

#[tokio::test]
async fn an_add_that_fails_is_a_line_with_pod_reason_and_time() {
    let config = BedConfig::new(1)
        .set("VENI_ADD_WAIT", "1")
        .set("MAX_PODS", "1");
    let bed = Bed::start(config).await;
    let (_one, _) = bed.running(0, "one").await;
    let refused = bed.pod(0, "refused").await;
    bed.add(&refused)
        .await
        .expect_err("no room for a second pod");
    let log = bed.daemon(0).log();
    let line = log.lines().find(|line| line.contains("pod not added"));
    let line = line.unwrap_or_else(|| panic!("no such line in {log}"));
    for part in [
        " WARN ",
        "pod.name=\"refused\"",
        "code=",
        "error=",
        "micros=",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    bed.end().await;
}

/// The daemon's health as a probe on the node sees it.
async fn health(bed: &Bed) -> Result<&'static str, String> {
    health_of(bed, "").await
}

/// The health of one of the daemon's services.
async fn health_of(bed: &Bed, service: &str) -> Result<&'static str, String> {
    let connect = move || {
        let address: SocketAddr = HEALTH.parse().expect("an address");
        let stream = TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(stream)
    };
    let stream = enter(bed.node(0), connect).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let stream = tokio::net::TcpStream::from_std(stream).expect("a stream");
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let stream = stream.take();
        async move { stream.ok_or_else(|| std::io::Error::other("it is used")) }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(connector).await;
    let channel = channel.map_err(|error| error.to_string())?;
    let service = service.to_owned();
    let answered = HealthClient::new(channel)
        .check(HealthCheckRequest { service })
        .await;
    let answer = answered.map_err(|status| status.message().to_owned())?;
    Ok(answer.into_inner().status().as_str_name())
}

#[tokio::test]
async fn health_is_told_on_the_address_that_is_asked_for_from_the_start_on() {
    let bed =
        Bed::start_without_daemons(BedConfig::new(1).set("VENI_HEALTH_ADDRESS", HEALTH)).await;
    let taken = enter(bed.node(0), || TcpListener::bind(HEALTH)).await;
    let taken = taken.expect("the address is free");
    bed.lab().cloud().inject(Fault::always(FaultKind::Error {
        class: ErrorClass::Transient,
        reason: "the cloud is away".to_owned(),
    }));
    let daemon = bed.daemon(0);
    daemon.start_with(&[]).await;
    eventually("the problem in the log", async || {
        let log = daemon.log();
        match log.contains("127.0.0.1:50051 cannot be had") {
            true => Ok(()),
            false => Err(log),
        }
    })
    .await;
    drop(taken);
    eventually("a daemon that is not ready", async || {
        match health(&bed).await {
            Ok("NOT_SERVING") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let live = health_of(&bed, "live").await;
    assert_eq!(live, Ok("SERVING"), "it waits, and runs");
    let unknown = health_of(&bed, "none").await;
    unknown.expect_err("no such service is seen");
    bed.lab().cloud().clear_faults();
    daemon.ready().await;
    assert_eq!(health(&bed).await, Ok("SERVING"));
    bed.end().await;
}

#[tokio::test]
async fn nobody_is_told_of_health_by_tcp_unless_it_is_asked_for() {
    let bed = Bed::start(BedConfig::new(1)).await;
    let refused = health(&bed).await.expect_err("nobody listens");
    assert!(refused.contains("refused"), "{refused}");
    bed.end().await;
}
