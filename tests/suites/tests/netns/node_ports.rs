//! Node ports, as kube-proxy makes them without translating the source: whoever
//! answers, the answer leaves by the interface that the question came in by.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use veni_testbed::cloudlab::enter;
use veni_testbed::traffic::SILENCE;
use veni_testbed::{Bed, BedConfig, PATIENCE, TestPod, kernel};

const NODE_PORT: u16 = 30080;

/// Answers connections in a pod, for as long as the test runs.
async fn serve(pod: &TestPod) {
    let listener = enter(pod.path(), || TcpListener::bind(("0.0.0.0", 80))).await;
    let listener = listener.expect("a pod can listen");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            // A caller that has given up needs no answer.
            let _unheard = stream.write_all(b"hello");
        }
    });
}

async fn answers(from: &Path, node: IpAddr, patience: Duration) -> bool {
    let port = SocketAddr::new(node, NODE_PORT);
    let said = enter(from, move || {
        let mut stream = TcpStream::connect_timeout(&port, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    said.await.is_ok_and(|text| text == "hello")
}

/// A node port for a pod on a secondary interface: whether another node is answered.
async fn is_answered(support: &str, patience: Duration) -> bool {
    let config = BedConfig::new(2).instance_type("t3.micro");
    let bed = Bed::start(config.set("AWS_VPC_CNI_NODE_PORT_SUPPORT", support)).await;
    let (_first, _) = bed.running(0, "first").await;
    let (pod, added) = bed.running(0, "second").await;
    let rules = kernel::source_rules(bed.node(0)).await;
    let secondary = rules.iter().any(|rule| {
        rule.source
            .is_some_and(|source| source.contains(&added.address()))
    });
    assert!(
        secondary,
        "the second pod is on the second interface: {rules:?}"
    );
    serve(&pod).await;
    let table = format!(
        "table ip proxy {{ chain ports {{ type nat hook prerouting priority -100; \
         tcp dport {NODE_PORT} dnat to {}:80; }}; }}",
        added.address()
    );
    let loaded = kernel::run(bed.node(0), "nft", &[&table]).await;
    loaded.expect("the proxy's table loads");
    let answered = answers(bed.node(1), bed.node_address(0), patience).await;
    bed.end().await;
    answered
}

#[tokio::test]
async fn a_node_port_of_a_pod_on_a_secondary_interface_is_answered_by_the_primary_one() {
    assert!(is_answered("true", PATIENCE).await);
}

#[tokio::test]
async fn without_node_port_support_the_answer_leaves_by_the_wrong_interface_and_is_lost() {
    assert!(!is_answered("false", SILENCE).await);
}
