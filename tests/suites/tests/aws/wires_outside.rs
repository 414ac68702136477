//! Pods' packets out of the VPC, and to instance metadata.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use veni_testbed::cloudlab::{address_seen_by_internet, enter};
use veni_testbed::traffic::is_silent;
use veni_testbed::{Bed, BedConfig, Death, PATIENCE, eventually, kernel};

use crate::wires::{all, end_well, forged, until_secondary};

const METADATA: &str = "169.254.169.254:80";
const TOKEN: &str = "PUT /latest/api/token HTTP/1.1\r\nHost: metadata\r\n\
                     X-aws-ec2-metadata-token-ttl-seconds: 60\r\nConnection: close\r\n\r\n";

/// Packets that the VPC has dropped because the internet cannot answer them.
async fn untranslatable(bed: &Bed) -> u64 {
    let counters = bed.lab().counters().await.expect("counters");
    counters
        .values()
        .map(|dropped| dropped.untranslatable)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_internet_sees_pods_of_all_interfaces_with_their_node_s_address() {
    let bed = Bed::start(BedConfig::localstack(1).instance_type("t3.small")).await;
    let pods = until_secondary(&bed, 0, "p").await;
    let internet = bed.lab().internet_addresses()[0];
    for (pod, _) in &pods {
        let seen = address_seen_by_internet(pod.path(), internet, PATIENCE).await;
        assert_eq!(seen.expect("the internet answers"), bed.node_address(0));
    }
    assert_eq!((forged(&bed).await, untranslatable(&bed).await), (0, 0));

    // The twin: with source NAT left to a gateway that does not exist, packets are dropped.
    let daemon = bed.daemon(0);
    assert_eq!(daemon.terminate().await, Death::Exited(0));
    let external = [("AWS_VPC_K8S_CNI_EXTERNALSNAT", "true")];
    daemon.start_with(&external).await;
    daemon.ready().await;
    let (last, _) = &pods[pods.len() - 1];
    assert!(is_silent(last.path(), internet).await);
    assert_ne!(untranslatable(&bed).await, 0, "the check sees it");
    end_well(bed, &all(&[pods])).await;
}

/// Asks for a token from inside a namespace.
async fn ask_for_token(namespace: &Path) -> TcpStream {
    let metadata: SocketAddr = METADATA.parse().expect("an address");
    let asked = enter(namespace, move || {
        let mut stream = TcpStream::connect_timeout(&metadata, PATIENCE)?;
        stream.write_all(TOKEN.as_bytes())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    });
    asked.await.expect("instance metadata accepts connections")
}

/// The first line of the answer.
async fn answer(mut stream: TcpStream) -> String {
    let read = tokio::task::spawn_blocking(move || {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    });
    let answer = read.await.expect("no panic").expect("an answer");
    answer.lines().next().unwrap_or_default().to_owned()
}

/// Packets that a node did not forward because they had travelled enough.
async fn died_at(node: &Path) -> u64 {
    let told = kernel::run(node, "cat", &["/proc/net/snmp"]).await;
    let told = told.expect("the kernel's counters");
    let mut lines = told.lines().filter(|line| line.starts_with("Icmp:"));
    let mut next = || lines.next().expect("a line").split(' ');
    let mut counters = next().zip(next());
    let found = counters.find(|(name, _)| *name == "OutTimeExcds");
    found.expect("the counter").1.parse().expect("a number")
}

async fn with_hop_limit(limit: u8) -> Bed {
    let config = BedConfig::localstack(1).ec2(|mut config| {
        config.metadata_hop_limit = limit;
        config
    });
    Bed::start(config).await
}

const GIVEN: &str = "HTTP/1.1 200 OK";

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_no_token_of_instance_metadata_that_may_travel_one_hop() {
    let bed = with_hop_limit(1).await;
    let (pod, _) = bed.running(0, "pod").await;
    assert_eq!(answer(ask_for_token(bed.node(0)).await).await, GIVEN);
    assert_eq!(died_at(bed.node(0)).await, 0);
    let stream = ask_for_token(pod.path()).await;
    eventually("the answer dies at the node", async || {
        match died_at(bed.node(0)).await {
            0 => Err("nothing died there"),
            _ => Ok(()),
        }
    })
    .await;
    stream.set_nonblocking(true).expect("a socket");
    let nothing = (&stream).read(&mut [0; 16]).expect_err("no token");
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    bed.sound(&[&pod]).await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_a_token_of_instance_metadata_that_may_travel_two_hops() {
    let bed = with_hop_limit(2).await;
    let (pod, _) = bed.running(0, "pod").await;
    assert_eq!(answer(ask_for_token(pod.path()).await).await, GIVEN);
    assert_eq!(died_at(bed.node(0)).await, 0);
    end_well(bed, &[&pod]).await;
}
