//! Ports of the node that lead to pods, with packets. Pods of 10.0.1.0/24 belong to the
//! secondary interface, and the cloud drops what leaves by the wrong one.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use veni_dataplane::{
    DataPlane, EndpointLinks, EndpointPlan, HalfPort, PortMapping, PortProtocol, RepairKind,
};

use crate::node;
use crate::traffic::{SILENCE, Site, seen};
use crate::world::{
    Namespace, exchange, in_new_node, ip, nft, nft_json, pod_plan, receive, socket,
};

const TABLE: &str = "inet veni_host_ports";
const BOTH: [&str; 2] = ["10.0.1.7", "fd00:0:0:1::7"];

fn mapping(protocol: PortProtocol, host_port: u16, pod_port: u16, host: &str) -> PortMapping {
    PortMapping {
        protocol,
        host_port,
        pod_port,
        host_address: host.parse().ok(),
    }
}

fn udp(host_port: u16, pod_port: u16) -> PortMapping {
    mapping(PortProtocol::Udp, host_port, pod_port, "")
}

fn plan_with(number: u8, addresses: &[&str], mappings: &[PortMapping]) -> EndpointPlan {
    let mut plan = pod_plan(number, addresses);
    plan.node_addresses = vec![seen("10.0.0.5"), seen("fd00::5")];
    plan.port_mappings = mappings.to_vec();
    plan
}

/// A pod with ports of the node.
struct Pod {
    inside: Namespace,
    plan: EndpointPlan,
    links: EndpointLinks,
}

async fn pod(site: &Site, number: u8, addresses: &[&str], mappings: &[PortMapping]) -> Pod {
    let inside = Namespace::new();
    let plan = plan_with(number, addresses, mappings);
    let added = site.kernel.add_endpoint(&plan, Some(inside.descriptor()));
    let links = added.await.expect("an endpoint");
    Pod {
        inside,
        plan,
        links,
    }
}

async fn remove(site: &Site, pod: &Pod) {
    let (routed, ports) = (pod.plan.routed(), pod.plan.host_ports());
    let removed = site
        .kernel
        .remove_endpoint(&routed, &ports, Some(pod.links.host_index));
    removed.await.expect("removed");
}

/// Elements of a map or set, as `nft` lists them.
fn listed(name: &str) -> Value {
    let objects = nft_json(TABLE).into_iter();
    let mut named = objects.flat_map(|object| {
        let kinds = ["set", "map"].map(|kind| object[kind].clone());
        kinds.into_iter().filter(|one| one["name"] == name)
    });
    named.next().expect("it is there")["elem"].clone()
}

/// Asks over TCP from one place to another; returns whom the server saw, and whom the
/// client has connected to.
fn ask_by_tcp(client: impl FnOnce() -> TcpStream + Send, server: &TcpListener) -> (IpAddr, IpAddr) {
    std::thread::scope(|scope| {
        let asks = scope.spawn(move || {
            let mut stream = client();
            let mut answer = [0; 6];
            stream.read_exact(&mut answer).expect("an answer");
            assert_eq!(&answer, b"answer");
            stream.peer_addr().expect("a peer").ip()
        });
        let (mut stream, from) = server.accept().expect("a connection");
        stream.write_all(b"answer").expect("answered");
        (from.ip(), asks.join().expect("the client ends well"))
    })
}

fn connect(to: &str) -> TcpStream {
    let to: SocketAddr = to.parse().expect("an address with a port");
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(20)).expect("connected");
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).expect("a timeout");
    stream
}

/// Whether something arrives at all.
fn is_reached(client: &std::net::UdpSocket, to: &str, server: &std::net::UdpSocket) -> bool {
    server.set_read_timeout(Some(SILENCE)).expect("a timeout");
    // A port that nobody listens on answers with an error.
    let _ = client.send_to(b"hello", to);
    receive(server, &mut [0; 16]).is_ok()
}

#[test]
fn a_client_beyond_the_node_reaches_the_pod_by_tcp_and_keeps_its_address() {
    in_new_node(|| async {
        let site = Site::new().await;
        let web = mapping(PortProtocol::Tcp, 8080, 80, "");
        let pod = pod(&site, 1, &BOTH, &[web]).await;
        for (server, node, client) in [
            ("10.0.1.7:80", "10.0.0.5:8080", "10.0.0.1"),
            ("[fd00:0:0:1::7]:80", "[fd00::5]:8080", "fd00::1"),
        ] {
            let server = pod
                .inside
                .within(|| TcpListener::bind(server).expect("bound"));
            let from_outside = || site.cloud.within(|| connect(node));
            let (saw, answered) = ask_by_tcp(from_outside, &server);
            assert_eq!(saw, seen(client), "the source is kept");
            let node: SocketAddr = node.parse().expect("an address");
            assert_eq!(answered, node.ip());
        }
    });
}

#[test]
fn a_client_beyond_the_node_reaches_the_pod_by_udp_in_every_mode() {
    for (node_ports, source_nat) in [(true, true), (false, true), (false, false)] {
        in_new_node(move || async move {
            let mut plan = node::plan();
            (plan.node_ports, plan.source_nat) = (node_ports, source_nat);
            let site = Site::prepared(&plan).await;
            let pod = pod(&site, 1, &BOTH, &[udp(5353, 53), udp(5354, 54)]).await;
            for (server, client, node) in [
                ("10.0.1.7:53", "10.0.0.1:0", "10.0.0.5:5353"),
                ("10.0.1.7:54", "198.51.100.9:0", "10.0.0.5:5354"),
                ("[fd00:0:0:1::7]:53", "[fd00::1]:0", "[fd00::5]:5353"),
            ] {
                let server = pod.inside.socket(server);
                let client = site.cloud.socket(client);
                let own = client.local_addr().expect("an address").ip();
                let (saw, answered) = exchange(&client, node, &server);
                let node: SocketAddr = node.parse().expect("an address");
                assert_eq!((saw, answered), (own, node.ip()));
            }
        });
    }
}

#[test]
fn without_the_mark_the_answers_of_a_secondary_interface_are_lost() {
    in_new_node(|| async {
        let mut plan = node::plan();
        plan.node_ports = false;
        let site = Site::prepared(&plan).await;
        let pod = pod(&site, 1, &BOTH, &[udp(5353, 53)]).await;
        nft("flush chain inet veni_host_ports marks");
        let server = pod.inside.socket("10.0.1.7:53");
        let client = site.cloud.socket("10.0.0.1:0");
        client.send_to(b"question", "10.0.0.5:5353").expect("sent");
        let (_, from) = receive(&server, &mut [0; 16]).expect("it comes");
        server.send_to(b"answer", from).expect("sent");
        client.set_read_timeout(Some(SILENCE)).expect("a timeout");
        assert!(receive(&client, &mut [0; 16]).is_err());
    });
}

#[test]
fn the_node_and_its_pods_reach_a_pod_by_the_nodes_address() {
    in_new_node(|| async {
        let site = Site::new().await;
        let target = pod(&site, 1, &BOTH, &[udp(5353, 53)]).await;
        let other = pod(&site, 2, &["10.0.1.8", "fd00:0:0:1::8"], &[]).await;
        for (server, any, node, of_other, of_node) in [
            (
                "10.0.1.7:53",
                "0.0.0.0:0",
                "10.0.0.5",
                "10.0.1.8",
                "10.0.0.5",
            ),
            (
                "[fd00:0:0:1::7]:53",
                "[::]:0",
                "fd00::5",
                "fd00:0:0:1::8",
                "fd00::5",
            ),
        ] {
            let to = SocketAddr::new(seen(node), 5353).to_string();
            let server = target.inside.socket(server);
            let by_other = exchange(&other.inside.socket(any), &to, &server);
            assert_eq!(by_other, (seen(of_other), seen(node)), "the source is kept");
            let by_node = exchange(&socket(any), &to, &server);
            assert_eq!(by_node, (seen(of_node), seen(node)));
            let by_itself = exchange(&target.inside.socket(any), &to, &server);
            assert_eq!(
                by_itself,
                (seen(node), seen(node)),
                "else it would answer itself"
            );
        }
        let server = target.inside.socket("10.0.1.7:53");
        let by_loopback = exchange(&socket("127.0.0.1:0"), "127.0.0.1:5353", &server);
        assert_eq!(by_loopback, (seen("10.0.0.5"), seen("127.0.0.1")));
    });
}

#[test]
fn a_port_of_one_address_is_not_one_of_another() {
    in_new_node(|| async {
        let site = Site::new().await;
        ip("address add 10.0.0.99/32 dev eth0");
        site.cloud.ip("route add 10.0.0.99 dev cloud0");
        site.kernel
            .prepare_node(&node::plan())
            .await
            .expect("prepared");
        let one = mapping(PortProtocol::Udp, 5353, 53, "10.0.0.5");
        let loopback = mapping(PortProtocol::Udp, 5354, 53, "127.0.0.1");
        let all = mapping(PortProtocol::Udp, 5355, 53, "0.0.0.0");
        let pod = pod(&site, 1, &BOTH, &[one, loopback, all]).await;
        let server = pod.inside.socket("10.0.1.7:53");
        let outside = site.cloud.socket("10.0.0.1:0");
        let inside = socket("127.0.0.1:0");
        exchange(&outside, "10.0.0.5:5353", &server);
        assert!(!is_reached(&outside, "10.0.0.99:5353", &server));
        assert!(!is_reached(&inside, "127.0.0.1:5353", &server));
        assert!(is_reached(&inside, "127.0.0.1:5354", &server));
        assert!(!is_reached(&outside, "10.0.0.5:5354", &server));
        assert!(is_reached(&outside, "10.0.0.99:5355", &server));
        assert!(is_reached(&inside, "127.0.0.1:5355", &server));
    });
}

#[test]
fn elements_come_and_go_with_their_pod_and_route_localnet_is_only_where_it_is_needed() {
    in_new_node(|| async {
        let site = Site::new().await;
        let setting = |link: &str| {
            let path = format!("/proc/sys/net/ipv4/conf/{link}/route_localnet");
            std::fs::read_to_string(path)
                .expect("a setting")
                .trim()
                .to_owned()
        };
        let web = mapping(PortProtocol::Tcp, 8080, 80, "");
        let one = mapping(PortProtocol::Sctp, 9000, 90, "10.0.0.5");
        let first = pod(&site, 1, &BOTH, &[web]).await;
        let second = pod(&site, 2, &["10.0.1.8"], &[one]).await;
        assert_eq!((setting("eni1"), setting("eni2")), ("1".into(), "0".into()));
        assert_eq!(
            listed("all_v4"),
            json!([[{"concat": ["tcp", 8080]}, {"concat": ["10.0.1.7", 80]}]])
        );
        assert_eq!(
            listed("all_v6"),
            json!([[{"concat": ["tcp", 8080]}, {"concat": ["fd00:0:0:1::7", 80]}]])
        );
        assert_eq!(
            listed("one_v4"),
            json!([[{"concat": ["10.0.0.5", "sctp", 9000]}, {"concat": ["10.0.1.8", 90]}]])
        );
        remove(&site, &first).await;
        assert_eq!(
            (listed("all_v4"), listed("all_v6")),
            (Value::Null, Value::Null)
        );
        assert_eq!(
            listed("pods_v4"),
            json!([{"concat": ["10.0.1.8", "10.0.1.8"]}])
        );
        remove(&site, &second).await;
        remove(&site, &second).await;
        assert_eq!(
            (listed("one_v4"), listed("pods_v4")),
            (Value::Null, Value::Null)
        );
    });
}

#[test]
fn a_pod_does_not_reach_what_listens_on_the_nodes_loopback_addresses() {
    in_new_node(|| async {
        let site = Site::new().await;
        let pod = pod(&site, 1, &BOTH, &[udp(5353, 53)]).await;
        // In the pod, 127.0.0.1 is on the wire like any other address.
        pod.inside.ip("link set lo down");
        pod.inside.ip("route flush table local");
        pod.inside
            .ip("route add local 10.0.1.7 dev eth0 table local");
        pod.inside
            .ip("route add 127.0.0.1 via 169.254.1.1 dev eth0 onlink src 10.0.1.7");
        pod.inside.within(|| {
            for link in ["all", "eth0"] {
                let setting = format!("/proc/sys/net/ipv4/conf/{link}/route_localnet");
                std::fs::write(setting, "1").expect("a setting");
            }
        });
        let server = socket("127.0.0.1:7000");
        let client = pod.inside.socket("10.0.1.7:0");
        assert!(!is_reached(&client, "127.0.0.1:7000", &server));
        nft("flush chain inet veni_host_ports loopback");
        assert!(
            is_reached(&client, "127.0.0.1:7000", &server),
            "its packets come so far"
        );
    });
}

#[test]
fn flows_of_udp_follow_their_port_at_once() {
    in_new_node(|| async {
        let site = Site::new().await;
        let client = site.cloud.socket("10.0.0.1:0");
        client.connect("10.0.0.5:5353").expect("connected");
        // Nobody is there yet; the flow is one to the node itself.
        client.send(b"hello").expect("sent");
        let mut refusal = [0; 16];
        client.recv(&mut refusal).expect_err("refused");
        let first = pod(&site, 1, &BOTH, &[udp(5353, 53)]).await;
        answers(&client, &first.inside.socket("10.0.1.7:53"));
        remove(&site, &first).await;
        let second = pod(&site, 2, &["10.0.1.8"], &[udp(5353, 53)]).await;
        answers(&client, &second.inside.socket("10.0.1.8:53"));
        // As it would be by itself: the flow goes on where it was led first.
        let third = pod(&site, 3, &["10.0.1.9"], &[]).await;
        nft("delete element inet veni_host_ports all_v4 { udp . 5353 }");
        nft("add element inet veni_host_ports all_v4 { udp . 5353 : 10.0.1.9 . 53 }");
        let server = third.inside.socket("10.0.1.9:53");
        server.set_read_timeout(Some(SILENCE)).expect("a timeout");
        client.send(b"hello").expect("sent");
        assert!(receive(&server, &mut [0; 16]).is_err());
    });
}

/// The client's next packets come to this server, within the time that the kernel's other
/// thread takes.
fn answers(client: &std::net::UdpSocket, server: &std::net::UdpSocket) {
    server
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("a timeout");
    for _ in 0..200 {
        // What was refused before is told now.
        let _ = client.send(b"hello");
        if receive(server, &mut [0; 16]).is_ok() {
            return;
        }
    }
    panic!("the flow does not follow its port");
}

#[test]
fn the_address_of_a_service_is_not_the_nodes() {
    in_new_node(|| async {
        let site = Site::new().await;
        for (link, address) in [("kube-ipvs0", "10.96.0.10"), ("docker0", "172.17.0.1")] {
            ip(&format!("link add {link} type veth peer name x-{link}"));
            ip(&format!("address add {address}/32 dev {link}"));
            ip(&format!("link set {link} up"));
        }
        site.kernel
            .prepare_node(&node::plan())
            .await
            .expect("prepared");
        let target = pod(&site, 1, &BOTH, &[udp(5353, 53)]).await;
        let other = pod(&site, 2, &["10.0.1.8"], &[]).await;
        let server = target.inside.socket("10.0.1.7:53");
        for client in [other.inside.socket("10.0.1.8:0"), socket("10.0.0.5:0")] {
            exchange(&client, "172.17.0.1:5353", &server);
            let service = socket("10.96.0.10:5353");
            assert!(is_reached(&client, "10.96.0.10:5353", &service));
        }
    });
}

#[test]
fn rules_that_others_changed_come_back_and_elements_stay() {
    in_new_node(|| async {
        let site = Site::new().await;
        let pod = pod(&site, 1, &BOTH, &[udp(5353, 53)]).await;
        let (elements, server) = (listed("all_v4"), pod.inside.socket("10.0.1.7:53"));
        let outside = site.cloud.socket("10.0.0.1:0");
        // With the addresses that have come since.
        site.kernel
            .prepare_node(&node::plan())
            .await
            .expect("prepared");
        for damage in [
            "flush chain inet veni_host_ports host_ports",
            "add chain inet veni_host_ports theirs",
            "insert rule inet veni_host_ports prerouting counter accept",
        ] {
            nft(damage);
            let report = site
                .kernel
                .prepare_node(&node::plan())
                .await
                .expect("prepared");
            let kinds: Vec<RepairKind> = report.repairs.iter().map(|one| one.kind).collect();
            assert_eq!(kinds, [RepairKind::Nftables], "{damage}");
            assert_eq!(report.warnings, Vec::<String>::new());
            site.kernel
                .add_endpoint(&pod.plan, None)
                .await
                .expect("completed");
            assert_eq!(listed("all_v4"), elements);
            exchange(&outside, "10.0.0.5:5353", &server);
            let report = site
                .kernel
                .prepare_node(&node::plan())
                .await
                .expect("prepared");
            assert_eq!(report.repairs, [], "{damage}");
        }
    });
}

#[test]
fn a_table_that_was_declared_otherwise_is_made_anew() {
    in_new_node(|| async {
        nft("table inet veni_host_ports {
            map all_v4 { type inet_service : ipv4_addr; }
            chain prerouting { type filter hook prerouting priority 7; }
        }");
        let site = Site::new().await;
        let pod = pod(&site, 1, &BOTH, &[udp(5353, 53)]).await;
        let server = pod.inside.socket("10.0.1.7:53");
        exchange(&site.cloud.socket("10.0.0.1:0"), "10.0.0.5:5353", &server);
    });
}

#[test]
fn many_ports_of_one_pod_are_made_at_once() {
    in_new_node(|| async {
        let site = Site::new().await;
        let many: Vec<PortMapping> = (0..1000).map(|n| udp(20_000 + n, 20_000 + n)).collect();
        let pod = pod(&site, 1, &BOTH, &many).await;
        let observed = site.kernel.observe(&[]).await.expect("observed");
        assert_eq!(observed.host_ports, pod.plan.host_ports());
        remove(&site, &pod).await;
        assert_eq!(listed("all_v6"), Value::Null);
    });
}

#[test]
fn a_packet_of_sctp_is_led_to_the_pod() {
    in_new_node(|| async {
        let site = Site::new().await;
        let port = mapping(PortProtocol::Sctp, 9899, 98, "");
        let pod = pod(&site, 1, &BOTH, &[port]).await;
        let raw = |inside: &Namespace| {
            inside.within(|| {
                rustix::net::socket(
                    rustix::net::AddressFamily::INET,
                    rustix::net::SocketType::RAW,
                    rustix::net::Protocol::from_raw(std::num::NonZero::new(132).expect("not 0"))
                        .into(),
                )
                .expect("a raw socket")
            })
        };
        let (client, server) = (raw(&site.cloud), raw(&pod.inside));
        let timeout = Some(Duration::from_secs(20));
        let which = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&server, which, timeout).expect("a timeout");
        let packet = sctp_init(40_000, 9899);
        let to: std::net::SocketAddrV4 = "10.0.0.5:0".parse().expect("an address");
        let flags = rustix::net::SendFlags::empty();
        rustix::net::sendto(&client, &packet, flags, &to).expect("sent");
        let mut buffer = [0; 256];
        let flags = rustix::net::RecvFlags::empty();
        let (length, _) = rustix::net::recv(&server, &mut buffer, flags).expect("received");
        let received = &buffer[20..length];
        assert_eq!(received[..4], [0x9c, 0x40, 0, 98], "from 40000 to 98");
        assert_eq!(received[12..], packet[12..]);
    });
}

/// A packet that opens an association (RFC 9260, sections 3.1 and 3.3.2), with its CRC32c.
fn sctp_init(from: u16, to: u16) -> Vec<u8> {
    let mut packet = [from.to_be_bytes(), to.to_be_bytes()].concat();
    packet.extend([0; 8]); // no tag yet; the checksum follows
    packet.extend([1, 0, 0, 20]);
    packet.extend(7_u32.to_be_bytes()); // tag
    packet.extend(65_536_u32.to_be_bytes()); // window
    packet.extend([0, 1, 0, 1]); // streams
    packet.extend(1_u32.to_be_bytes()); // first number
    let mut crc = u32::MAX;
    for byte in &packet {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    packet[8..12].copy_from_slice(&(!crc).to_le_bytes());
    packet
}

#[test]
fn a_port_of_which_only_a_part_is_there_is_observed_as_that() {
    in_new_node(|| async {
        let site = Site::new().await;
        let pod = pod(&site, 1, &BOTH, &[udp(5353, 53)]).await;
        let ports = pod.plan.host_ports();
        let observed = async || site.kernel.observe(&[]).await.expect("observed");
        assert_eq!(observed().await.half_ports, []);
        nft("delete element inet veni_host_ports pods_v4 { 10.0.1.7 . 10.0.1.7 }");
        nft("add element inet veni_host_ports pods_v6 { fd00::9 . fd00::9 }");
        let seen = observed().await;
        let without_port = HalfPort::WithoutPort("fd00::9".parse().expect("an address"));
        assert_eq!(
            seen.half_ports,
            [HalfPort::WithoutPod(ports[0]), without_port]
        );
        assert_eq!(seen.host_ports, ports[1..]);
        // What leads to nobody is removed in part, too.
        let removed = site.kernel.remove_endpoint(&[], &ports[..1], None);
        removed.await.expect("removed");
        assert_eq!(observed().await.half_ports, [without_port]);
    });
}

#[test]
fn a_table_that_cannot_be_loaded_is_told_by_each_comparison() {
    in_new_node(|| async {
        let site = Site::new().await;
        // A table that another program owns is changed by nobody else.
        nft("delete table inet veni_host_ports");
        let mut owner = Command::new("nft")
            .arg("-i")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("nft starts");
        let mut commands = owner.stdin.take().expect("it reads commands");
        commands
            .write_all(b"add table inet veni_host_ports { flags owner; }\n")
            .expect("it takes the command");
        let began = Instant::now();
        let tables = || Command::new("nft").args(["list", "tables"]).output();
        let listed = || String::from_utf8(tables().expect("nft runs").stdout).expect("text");
        while !listed().contains(TABLE) {
            assert!(began.elapsed() < Duration::from_secs(30), "no table");
            std::thread::sleep(Duration::from_millis(10));
        }
        let plan = node::plan();
        let told = |warnings: &[String]| warnings.iter().any(|one| one.contains("(hostPort)"));
        let made = site
            .kernel
            .prepare_node(&plan)
            .await
            .expect("ready without");
        assert!(told(&made.warnings), "{:?}", made.warnings);
        for _ in 0..2 {
            let report = site.kernel.compare_node(&plan).await.expect("compared");
            assert!(told(&report.warnings), "{:?}", report.warnings);
        }
        drop(commands);
        owner.wait().expect("it ends with its input");
        let made = site.kernel.prepare_node(&plan).await.expect("ready");
        assert!(!told(&made.warnings), "{:?}", made.warnings);
        let report = site.kernel.compare_node(&plan).await.expect("compared");
        assert!(!told(&report.warnings), "{:?}", report.warnings);
    });
}
