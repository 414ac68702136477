//! NodeLocal DNSCache beside Veni: its address is on a link of the node, its rules keep the
//! questions out of conntrack, and pods of any interface get their answers from it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;

use veni_testbed::cloudlab::enter;
use veni_testbed::kernel::{self, ip};
use veni_testbed::{Bed, BedConfig, PATIENCE, TestPod, eventually};

use super::check::check;
use super::traffic::{on_secondary, talks_to_everybody};

/// Where it listens, and the service of DNS whose packets it takes.
const LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 10);

/// What `node-cache` makes for one address (`cmd/node-cache/app/cache_app.go`).
fn rules(address: Ipv4Addr) -> [String; 2] {
    let mut raw = String::new();
    let mut filter = String::new();
    for protocol in ["tcp", "udp"] {
        let to = format!("-d {address}/32 -p {protocol} -m {protocol} --dport 53");
        let from = format!("-s {address}/32 -p {protocol} -m {protocol} --sport 53");
        let comment = "-m comment --comment \"NodeLocal DNS Cache:";
        raw += &format!("-A PREROUTING {to} {comment} skip conntrack\" -j NOTRACK\n");
        raw += &format!("-A OUTPUT {from} {comment} skip conntrack\" -j NOTRACK\n");
        raw += &format!("-A OUTPUT {to} {comment} skip conntrack\" -j NOTRACK\n");
        filter += &format!("-A INPUT {to} {comment} allow DNS traffic\" -j ACCEPT\n");
        filter += &format!("-A OUTPUT {from} {comment} allow DNS traffic\" -j ACCEPT\n");
    }
    [raw, filter]
}

async fn install(bed: &Bed) {
    let node = bed.node(0);
    // The kernel of tests has no dummy links.
    for command in [
        "link add nodelocaldns type veth peer name nodelocalend".to_owned(),
        "link set nodelocaldns up".to_owned(),
        "link set nodelocalend up".to_owned(),
        format!("address add {LOCAL}/32 dev nodelocaldns"),
        format!("address add {SERVICE}/32 dev nodelocaldns"),
    ] {
        ip(node, &command).await;
    }
    let [raw, filter] = rules(LOCAL);
    let [more_raw, more_filter] = rules(SERVICE);
    let all = format!("*raw\n{raw}{more_raw}COMMIT\n*filter\n{filter}{more_filter}COMMIT\n");
    let file = bed.folder().join("node-local-dns");
    std::fs::write(&file, all).expect("writes");
    let loaded = kernel::run(node, "iptables-nft-restore", &[&file.display().to_string()]).await;
    loaded.expect("its rules load");
}

/// A server that answers with the address that it was asked at, by UDP and TCP.
async fn serve(bed: &Bed, address: Ipv4Addr) {
    let bound = enter(bed.node(0), move || {
        let udp = UdpSocket::bind((address, 53))?;
        Ok((udp, TcpListener::bind((address, 53))?))
    });
    let (udp, tcp) = bound.await.expect("the address is on the node");
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((_, from)) = udp.recv_from(&mut question) {
            // A caller that has given up needs no answer.
            let _unheard = udp.send_to(address.to_string().as_bytes(), from);
        }
    });
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            let _unheard = stream.write_all(address.to_string().as_bytes());
        }
    });
}

/// What a resolver that is connected to the address hears; it takes no answer of another.
async fn asked(from: &Path, address: Ipv4Addr) -> [String; 2] {
    let place = SocketAddr::new(IpAddr::V4(address), 53);
    let said = enter(from, move || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(place)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(b"?")?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        let by_udp = String::from_utf8_lossy(&answer[..length]).into_owned();
        let mut stream = TcpStream::connect_timeout(&place, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut by_tcp = String::new();
        stream.read_to_string(&mut by_tcp)?;
        Ok([by_udp, by_tcp])
    });
    let said = said.await;
    said.unwrap_or_else(|error| panic!("{} asked {place}: {error}", from.display()))
}

/// Packets that its rules have kept out of conntrack.
async fn untracked(bed: &Bed) -> u64 {
    let list = ["-j", "list", "chain", "ip", "raw", "PREROUTING"];
    let text = kernel::run(bed.node(0), "nft", &list).await.expect("lists");
    let all: serde_json::Value = serde_json::from_str(&text).expect("nft -j prints JSON");
    let objects = all["nftables"].as_array().expect("a list");
    let expressions = objects
        .iter()
        .filter_map(|one| one["rule"]["expr"].as_array());
    let counters = expressions.flatten().map(|one| &one["counter"]["packets"]);
    counters.filter_map(serde_json::Value::as_u64).sum()
}

#[tokio::test]
async fn pods_of_any_interface_get_their_answers_from_the_node_local_server() {
    let config = BedConfig::new(2).instance_type("t3.small");
    let bed = Bed::start_without_daemons(config).await;
    install(&bed).await;
    bed.daemon(0).start().await;
    bed.daemon(1).start().await;
    serve(&bed, LOCAL).await;
    serve(&bed, SERVICE).await;
    let (peer, peer_added) = bed.running(1, "peer").await;
    let ((second, _), primary) = on_secondary(&bed, 0).await;
    let pods: Vec<&TestPod> = primary.iter().chain([&second]).collect();
    let before = untracked(&bed).await;
    for pod in &pods {
        for address in [LOCAL, SERVICE] {
            let said = asked(pod.path(), address).await;
            let expected = address.to_string();
            assert_eq!(said, [expected.clone(), expected], "{}", pod.name());
        }
        talks_to_everybody(&bed, pod, &[peer_added.address(), bed.node_address(0)]).await;
    }
    let seen = untracked(&bed).await - before;
    let least = 4 * pods.len() as u64;
    assert!(seen >= least, "only {seen} packets went past conntrack");
    eventually("nothing differs", async || {
        match check(&bed, &[]).await.findings() {
            found if found.is_empty() => Ok(()),
            found => Err(format!("{found:#?}")),
        }
    })
    .await;
    let all: Vec<&TestPod> = pods.into_iter().chain([&peer]).collect();
    bed.sound(&all).await;
    bed.end().await;
}
