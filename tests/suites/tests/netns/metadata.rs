//! Instance metadata, and the services of Azure's host for the node: closed to pods and to
//! nobody else where the settings say so. The internet host of the lab stands for them.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;

use veni_testbed::cloudlab::mock::CloudConfig;
use veni_testbed::cloudlab::{RESPONDER_PORT, enter};
use veni_testbed::{Bed, BedConfig, Death, PATIENCE, eventually, kernel};

use super::check::check;

const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
const WIRE_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16));
const DNS_PORT: u16 = 53;

const CLOSED: [(&str, &str); 1] = [("VENI_BLOCK_POD_METADATA", "true")];

/// Azure's rules, and an internet host that has also those two addresses.
fn azure() -> BedConfig {
    let mut cloud = CloudConfig::azure().instant();
    cloud.internet.extend([METADATA, WIRE_SERVER]);
    BedConfig::new(1)
        .cloud(cloud)
        .set("VENI_MOCK_PROFILE", "azure")
}

/// Whether a connection opens; it is refused at once where it is closed, and not silent.
async fn opens(from: &Path, address: IpAddr, port: u16) -> bool {
    let to = SocketAddr::new(address, port);
    let connected = enter(from, move || {
        match TcpStream::connect_timeout(&to, PATIENCE) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::HostUnreachable => Ok(false),
            Err(error) => Err(error),
        }
    });
    connected
        .await
        .unwrap_or_else(|error| panic!("{to}: {error}"))
}

/// Serves the internet host's port 53, by the kernel's backlog alone.
async fn dns(bed: &Bed) -> TcpListener {
    let internet = bed.lab().internet().path();
    let listener = enter(internet, || {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, DNS_PORT))
    });
    listener.await.expect("the port is free")
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_open_no_flows_to_metadata_where_that_is_closed_and_the_node_does() {
    let bed = Bed::start(azure().set(CLOSED[0].0, CLOSED[0].1)).await;
    let _dns = dns(&bed).await;
    let (pod, _) = bed.running(0, "pod").await;
    let elsewhere = bed.lab().cloud().config().internet[0];
    assert!(opens(pod.path(), elsewhere, RESPONDER_PORT).await);
    assert!(!opens(pod.path(), METADATA, RESPONDER_PORT).await);
    assert!(!opens(pod.path(), WIRE_SERVER, RESPONDER_PORT).await);
    assert!(
        opens(pod.path(), WIRE_SERVER, DNS_PORT).await,
        "Azure's DNS"
    );
    for address in [METADATA, WIRE_SERVER] {
        assert!(
            opens(bed.node(0), address, RESPONDER_PORT).await,
            "the node"
        );
    }
    bed.sound(&[&pod]).await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_open_to_pods_unless_it_is_closed_which_a_restart_may_change() {
    let bed = Bed::start(azure()).await;
    let (pod, _) = bed.running(0, "pod").await;
    for address in [METADATA, WIRE_SERVER] {
        assert!(opens(pod.path(), address, RESPONDER_PORT).await);
    }
    for (further, open) in [(&CLOSED[..], false), (&[], true)] {
        assert_eq!(bed.daemon(0).terminate().await, Death::Exited(0));
        bed.daemon(0).start_with(further).await;
        bed.daemon(0).ready().await;
        assert_eq!(opens(pod.path(), METADATA, RESPONDER_PORT).await, open);
    }
    bed.sound(&[&pod]).await;
    bed.end().await;
}

/// The service's flow is closed by where it leads, not by whom the pod calls.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_leads_to_metadata_does_not_open_it() {
    let bed = Bed::start(azure().set(CLOSED[0].0, CLOSED[0].1)).await;
    let (pod, _) = bed.running(0, "pod").await;
    let elsewhere = bed.lab().cloud().config().internet[0];
    let service: IpAddr = Ipv4Addr::new(172, 20, 0, 9).into();
    for (leads_to, open) in [(elsewhere, true), (METADATA, false)] {
        let table = format!(
            "add table ip services; flush table ip services; \
             add chain ip services pods {{ type nat hook prerouting priority -100; }}; \
             add rule ip services pods ip daddr {service} dnat to {leads_to}"
        );
        let loaded = kernel::run(bed.node(0), "nft", &[&table]).await;
        loaded.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(opens(pod.path(), service, RESPONDER_PORT).await, open);
    }
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_metadata_behind_the_daemon_s_back_finds_it_closed_again() {
    let bed = Bed::start(azure().set(CLOSED[0].0, CLOSED[0].1)).await;
    let (pod, _) = bed.running(0, "pod").await;
    let flushed = ["flush", "chain", "inet", "veni", "closed_to_pods"];
    let flushed = kernel::run(bed.node(0), "nft", &flushed).await;
    flushed.expect("the chain is there");
    eventually("it is closed again", async || {
        match opens(pod.path(), METADATA, RESPONDER_PORT).await {
            true => Err("open".to_owned()),
            false => Ok(()),
        }
    })
    .await;
    check(&bed, &[]).await.sound("closed again");
    let log = bed.daemon(0).log();
    assert!(log.contains("nftables table inet veni"), "{log}");
    bed.end().await;
}

/// Who could send as if it were metadata could make its own packets answers, which pass.
#[tokio::test(flavor = "multi_thread")]
async fn no_pod_sends_as_if_it_were_metadata() {
    let bed = Bed::start(azure().set(CLOSED[0].0, CLOSED[0].1)).await;
    let (forger, _) = bed.running(0, "forger").await;
    let (victim, added) = bed.running(0, "victim").await;
    let elsewhere = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 7));
    for address in [METADATA, WIRE_SERVER, elsewhere] {
        let address = format!("{address}/32");
        let forged = ["addr", "add", &address, "dev", "lo"];
        let forged = kernel::run(forger.path(), "ip", &forged).await;
        forged.expect("root in a namespace has any address");
    }
    let to = SocketAddr::new(added.address(), 4000);
    let listener = enter(victim.path(), move || {
        let listener = UdpSocket::bind(to)?;
        listener.set_read_timeout(Some(PATIENCE))?;
        Ok(listener)
    });
    let listener = listener.await.expect("the port is free");
    // In this order: when the last has come, the others would have.
    for from in [METADATA, WIRE_SERVER, elsewhere] {
        let sent = enter(forger.path(), move || {
            UdpSocket::bind(SocketAddr::new(from, 80))?.send_to(b"?", to)
        });
        sent.await.unwrap_or_else(|error| panic!("{from}: {error}"));
    }
    let (_, first) = listener.recv_from(&mut [0; 1]).expect("the last comes");
    assert_eq!(first.ip(), elsewhere);
    bed.end().await;
}
