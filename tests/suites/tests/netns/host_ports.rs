//! Ports of the node that lead to pods: who reaches them and whom they see, who is refused,
//! and what brings them back.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use veni_testbed::cloudlab::enter;
use veni_testbed::traffic::SILENCE;
use veni_testbed::{Added, Bed, BedConfig, CniError, Death, PATIENCE, TestPod, eventually, kernel};

use super::traffic::interface_of;

const HOST_PORT: u16 = 8080;
const WITHIN: Duration = Duration::from_secs(2);

/// ADD with ports of the node, as a runtime passes them.
async fn add(bed: &Bed, pod: &TestPod, mappings: Value) -> Result<Added, CniError> {
    let mut call = bed.call("ADD", pod);
    call.config["runtimeConfig"] = json!({ "portMappings": mappings });
    bed.run(pod.node(), &call).await.map(Added::read)
}

fn web(host: &str) -> Value {
    json!([{ "hostPort": HOST_PORT, "containerPort": 80, "protocol": "tcp", "hostIP": host }])
}

/// A pod on a secondary interface of the first node whose web server tells whom it sees.
async fn server(bed: &Bed) -> (TestPod, TestPod) {
    // Takes the only further address of the primary interface.
    let (first, _) = bed.running(0, "first").await;
    let pod = bed.pod(0, "web").await;
    let added = add(bed, &pod, web("")).await.expect("is served");
    assert!(!interface_of(bed, added.address()).interface.primary);
    serve(&pod).await;
    (pod, first)
}

async fn serve(pod: &TestPod) {
    let listener = enter(pod.path(), || TcpListener::bind(("0.0.0.0", 80))).await;
    let listener = listener.expect("a pod can listen");
    std::thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            // A caller that has given up needs no answer.
            let _unheard = stream.write_all(from.ip().to_string().as_bytes());
        }
    });
}

/// Whom the server behind a port sees, if it answers.
async fn seen(from: &Path, node: IpAddr, patience: Duration) -> Option<IpAddr> {
    let port = SocketAddr::new(node, HOST_PORT);
    let said = enter(from, move || {
        let mut stream = TcpStream::connect_timeout(&port, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    said.await.ok()?.parse().ok()
}

/// The elements of the maps, as `nft` lists them.
async fn elements(bed: &Bed) -> Vec<String> {
    kernel::host_ports(bed.node(0)).await
}

fn bed() -> BedConfig {
    BedConfig::new(2)
        .instance_type("t3.micro")
        .set("VENI_AUDIT_INTERVAL", "3600")
}

#[tokio::test]
async fn everybody_reaches_the_pod_and_is_seen_by_the_address_that_it_answers() {
    for support in ["true", "false"] {
        let bed = Bed::start(bed().set("AWS_VPC_CNI_NODE_PORT_SUPPORT", support)).await;
        let (web, first) = server(&bed).await;
        let (remote, remote_added) = bed.running(1, "remote").await;
        let node = bed.node_address(0);
        let loopback = IpAddr::from([127, 0, 0, 1]);
        for (from, to, expected) in [
            (bed.node(1), node, bed.node_address(1)),
            (remote.path(), node, remote_added.address()),
            (bed.node(0), node, node),
            (bed.node(0), loopback, node),
            (web.path(), node, node),
        ] {
            let saw = seen(from, to, PATIENCE).await;
            assert_eq!(saw, Some(expected), "from {} to {to}", from.display());
        }
        bed.sound(&[&first, &web, &remote]).await;
        bed.end().await;
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_with_its_owner_and_free_after_the_del() {
    let bed = Bed::start(bed()).await;
    let pod = bed.pod(0, "web").await;
    let added = add(&bed, &pod, web("")).await.expect("is served");
    let other = bed.pod(0, "other").await;
    let one = web(&bed.node_address(0).to_string());
    let error = add(&bed, &other, one.clone()).await.expect_err("refused");
    assert_eq!(error.code, 103, "{error}");
    assert!(error.message.contains("test/web"), "{error}");
    let error = add(&bed, &other, web("::1")).await.expect_err("refused");
    assert!(error.code == 7 && error.message.contains("::1"), "{error}");
    bed.nothing_in(&other).await;
    assert_eq!(elements(&bed).await.len(), 1);
    // What is missing comes back. That a CHECK names it, the data plane's tests show.
    bed.check(&pod, &added).await.expect("it is whole");
    let gone = "delete element inet veni_host_ports all_v4 { tcp . 8080 }";
    nft(&bed, gone).await;
    eventually("the element", async || match elements(&bed).await.len() {
        1 => Ok(()),
        count => Err(format!("{count} elements")),
    })
    .await;
    bed.del(&pod).await.expect("deleted");
    assert_eq!(elements(&bed).await, Vec::<String>::new());
    add(&bed, &other, one).await.expect("it is free");
    bed.end().await;
}

async fn nft(bed: &Bed, text: &str) {
    let ran = kernel::run(bed.node(0), "nft", &[text]).await;
    ran.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn ports_outlive_the_daemon_and_come_back_when_everything_was_flushed() {
    let bed = Bed::start(bed()).await;
    let (_web, _first) = server(&bed).await;
    let node = bed.node_address(0);
    let before = elements(&bed).await;
    assert_eq!(before.len(), 1);
    let daemon = bed.daemon(0);
    daemon.kill().await;
    assert!(
        seen(bed.node(1), node, PATIENCE).await.is_some(),
        "without a daemon"
    );
    daemon.start().await;
    daemon.ready().await;
    assert_eq!(elements(&bed).await, before);
    assert_eq!(daemon.terminate().await, Death::Exited(0));
    nft(&bed, "flush ruleset").await;
    assert_eq!(seen(bed.node(1), node, SILENCE).await, None);
    daemon.start().await;
    daemon.ready().await;
    assert_eq!(elements(&bed).await, before, "before any pod is served");
    for damage in ["flush ruleset", "flush map inet veni_host_ports all_v4"] {
        nft(&bed, damage).await;
        let began = Instant::now();
        eventually("the elements", async || {
            let now = elements(&bed).await;
            (now == before).then_some(()).ok_or(now.join(", "))
        })
        .await;
        assert!(began.elapsed() < WITHIN, "{damage}: {:?}", began.elapsed());
        let saw = seen(bed.node(1), node, PATIENCE).await;
        assert_eq!(saw, Some(bed.node_address(1)));
    }
    bed.end().await;
}
