//! Real packets between pods, the node and what is beyond it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;

use veni_bpf::{Enforcer, MetadataAddress, NodeRules, Reason};
use veni_policy::{Direction, PodPolicy, Ports, Side};

use crate::bed::{allowing, closed, tcp_port};
use crate::world::{
    Namespace, PATIENCE, Pod, await_that, in_new_node, index, ip, node_address, start,
};

/// How many packets were dropped for a reason, on their way from pods.
fn dropped(enforcer: &Enforcer, wanted: Reason) -> u64 {
    let counters = enforcer.counters().expect("counters");
    let found = counters
        .drops
        .iter()
        .find(|(direction, reason, _)| *direction == Direction::Egress && *reason == wanted);
    found.expect("a counter").2
}

/// Whether one packet from a socket arrives at another.
fn arrives(from: &UdpSocket, to: &UdpSocket) -> bool {
    let address = to.local_addr().expect("an address");
    from.send_to(b"x", address).expect("sent");
    to.recv_from(&mut [0; 8]).is_ok()
}

#[test]
fn pods_reach_each_other_and_the_node_by_both_families() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let (one, _two) = (Pod::admitted(&enforcer, 1), Pod::admitted(&enforcer, 2));
        node_address("10.9.0.1/32");
        for address in ["10.0.0.2", "fd00::2", "10.9.0.1"] {
            await_that(address, || one.inside.pings(address));
        }
    });
}

#[test]
fn a_pod_without_neighbours_asks_for_them() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let pod = Pod::admitted(&enforcer, 1);
        std::fs::write("/proc/sys/net/ipv4/conf/pod1/proxy_arp", "1").expect("a setting");
        node_address("10.9.0.1/32");
        ip("addr add fe80::1/64 dev pod1 nodad");
        for gateway in ["169.254.1.1", "fe80::1"] {
            pod.inside.ip(&format!("neigh del {gateway} dev eth0"));
        }
        ip("neigh flush dev pod1");
        ip("neigh del 10.0.0.1 dev pod1");
        pod.inside.ip("route add 169.254.1.1 dev eth0");
        node_address("169.254.1.1/32");
        await_that("an answer by ARP", || pod.inside.pings("10.9.0.1"));
        await_that("an answer by neighbour discovery", || {
            pod.inside.pings("fe80::1%eth0")
        });
    });
}

#[test]
fn a_packet_with_another_pods_address_is_dropped() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let (one, two) = (Pod::admitted(&enforcer, 1), Pod::admitted(&enforcer, 2));
        let server = two.inside.socket("10.0.0.2:7000");
        one.inside.ip("addr add 10.0.0.9/32 dev eth0");
        let thief = one.inside.socket("10.0.0.9:7000");
        thief.send_to(b"x", "10.0.0.2:7000").expect("sent");
        await_that("the drop", || dropped(&enforcer, Reason::SourceAddress) > 0);
        let honest = one.inside.socket("10.0.0.1:7000");
        honest.send_to(b"own", "10.0.0.2:7000").expect("sent");
        let mut buffer = [0; 8];
        let (_, from) = server.recv_from(&mut buffer).expect("the honest packet");
        assert_eq!(from.to_string(), "10.0.0.1:7000", "and nothing before it");
    });
}

#[test]
fn a_further_source_is_allowed_until_it_is_taken_away() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let (mut one, two) = (Pod::admitted(&enforcer, 1), Pod::admitted(&enforcer, 2));
        let server = two.inside.socket("10.0.0.2:7000");
        one.inside.ip("addr add 192.168.7.9/32 dev eth0");
        let sender = one.inside.socket("192.168.7.9:7000");
        ip("route add 192.168.7.0/24 dev pod1");
        one.endpoint.further_sources = vec!["192.168.7.0/24".parse().expect("a prefix")];
        enforcer.admit(&one.endpoint).expect("admitted");
        assert!(arrives(&sender, &server));
        one.endpoint.further_sources.clear();
        enforcer.admit(&one.endpoint).expect("admitted");
        sender.send_to(b"x", "10.0.0.2:7000").expect("sent");
        await_that("the drop", || dropped(&enforcer, Reason::SourceAddress) > 0);
    });
}

#[test]
fn instance_metadata_is_closed_to_a_pod_that_may_not_reach_it() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let address = "169.254.169.254";
        node_address("169.254.169.254/32");
        node_address("169.254.170.23/32");
        enforcer
            .set_node(&NodeRules {
                metadata: vec![MetadataAddress {
                    address: address.parse().expect("an address"),
                    except_dns: false,
                }],
                ..NodeRules::default()
            })
            .expect("set");
        let mut pod = Pod::admitted(&enforcer, 1);
        await_that("an open address", || pod.inside.pings(address));
        pod.endpoint.metadata = false;
        enforcer.admit(&pod.endpoint).expect("admitted");
        assert!(!pod.inside.pings(address));
        assert!(dropped(&enforcer, Reason::Metadata) > 0);
        assert!(pod.inside.pings("169.254.170.23"), "its neighbour is open");
    });
}

#[test]
fn a_link_whose_endpoint_was_dismissed_carries_nothing() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let pod = Pod::admitted(&enforcer, 1);
        node_address("10.9.0.1/32");
        await_that("an answer", || pod.inside.pings("10.9.0.1"));
        for _ in 0..2 {
            let link = pod.endpoint.host_index;
            enforcer.dismiss(link).expect("dismissed");
        }
        assert!(!pod.inside.pings("10.9.0.1"));
        assert!(dropped(&enforcer, Reason::UnknownInterface) > 0);
    });
}

#[test]
fn enforcement_goes_on_when_the_process_has_ended() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let (one, two) = (Pod::admitted(&enforcer, 1), Pod::admitted(&enforcer, 2));
        enforcer.stop();
        let server = two.inside.socket("10.0.0.2:7000");
        one.inside.ip("addr add 10.0.0.9/32 dev eth0");
        let thief = one.inside.socket("10.0.0.9:7000");
        thief.send_to(b"x", "10.0.0.2:7000").expect("sent");
        let honest = one.inside.socket("10.0.0.1:7000");
        honest.send_to(b"own", "10.0.0.2:7000").expect("sent");
        let (_, from) = server.recv_from(&mut [0; 8]).expect("a packet");
        assert_eq!(from.to_string(), "10.0.0.1:7000");
    });
}

#[test]
fn restarts_under_ping_lose_nothing() {
    in_new_node(|settings| {
        let mut enforcer = start(&settings);
        let (one, _two) = (Pod::admitted(&enforcer, 1), Pod::admitted(&enforcer, 2));
        await_that("an answer", || one.inside.pings("10.0.0.2"));
        let arguments = ["-n", "-q", "-c", "500", "-i", "0.002", "10.0.0.2"];
        let mut ping = one
            .inside
            .command("ping")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("ping starts");
        let mut restarts = 0;
        while ping.try_wait().expect("a state").is_none() {
            enforcer.stop();
            enforcer = start(&settings);
            restarts += 1;
        }
        let summary = ping.wait_with_output().expect("ping ends").stdout;
        let summary = String::from_utf8_lossy(&summary);
        assert!(summary.contains("500 received"), "{restarts}: {summary}");
        assert!(restarts > 0, "the ping was over before");
    });
}

#[test]
fn a_pod_reaches_a_machine_beyond_an_uplink_and_is_answered() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let pod = Pod::admitted(&enforcer, 1);
        let wire = Namespace::new();
        ip(&format!(
            "link add uplink type veth peer name wire netns {}",
            wire.path()
        ));
        ip("addr add 10.1.0.1/24 dev uplink");
        ip("link set uplink up");
        for arguments in [
            "link set wire up",
            "addr add 10.1.0.2/24 dev wire",
            "route add 10.0.0.0/24 via 10.1.0.1",
        ] {
            wire.ip(arguments);
        }
        enforcer.attach_uplink(index("uplink")).expect("attached");
        await_that("an answer", || pod.inside.pings("10.1.0.2"));
    });
}

#[test]
fn what_a_limited_pod_sends_passes_its_ifb_device_once() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let mut pod = Pod::admitted(&enforcer, 1);
        node_address("10.9.0.1/32");
        ip("link add limit type ifb");
        ip("link set limit up");
        let carried = || {
            let links = crate::world::ip_json("-s link show limit");
            links[0]["stats64"]["tx"]["packets"]
                .as_u64()
                .expect("a counter")
        };
        await_that("an answer", || pod.inside.pings("10.9.0.1"));
        assert_eq!(carried(), 0);
        pod.endpoint.redirect = Some(index("limit"));
        enforcer.admit(&pod.endpoint).expect("admitted");
        let link = pod.endpoint.host_index;
        let judged = || enforcer.counters().expect("counters").endpoints[&link].passed[1];
        let before = judged();
        assert!(pod.inside.pings("10.9.0.1"));
        let (carried, judged) = (carried(), judged() - before);
        assert!(carried > 0);
        // Neighbour discovery is judged and not led through the device.
        assert!(
            judged >= carried && judged < 2 * carried + 32,
            "{judged}, {carried}"
        );
    });
}

/// A policy that lets pod 1 talk to port 7000 of pod 2 changes under a stream, and then
/// forbids it.
#[test]
fn a_stream_goes_on_while_its_policy_changes_and_ends_when_that_forbids_it() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let (one, two) = (Pod::admitted(&enforcer, 1), Pod::admitted(&enforcer, 2));
        await_that("an answer", || one.inside.pings("10.0.0.2"));
        let set = |ingress: Side| {
            let policy = PodPolicy {
                ingress,
                egress: closed(),
            };
            let link = two.endpoint.host_index;
            enforcer.set_policy(link, &policy).expect("a policy");
        };
        let ports = [tcp_port(7000), tcp_port(7001)];
        set(allowing(&[("10.0.0.1/32", &ports[..1])]));
        let listener = two
            .inside
            .within(|| TcpListener::bind("10.0.0.2:7000").expect("listen"));
        let mut sender = one
            .inside
            .within(|| TcpStream::connect("10.0.0.2:7000").expect("connect"));
        let (mut receiver, _) = listener.accept().expect("accept");
        let (mut block, mut echo) = ([7; 4096], [0; 4096]);
        sender.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        for turn in 0..100 {
            set(allowing(&[("10.0.0.1/32", &ports[..1 + turn % 2])]));
            sender.write_all(&block).expect("sent");
            receiver.read_exact(&mut echo).expect("received");
            receiver.write_all(&echo).expect("answered");
            sender.read_exact(&mut block).expect("the answer");
        }
        set(allowing(&[("10.0.0.1/32", &ports[1..])]));
        let before = dropped_by_policy(&enforcer);
        sender.write_all(&block).expect("into the socket's buffer");
        await_that("the drop", || dropped_by_policy(&enforcer) > before);
        receiver.set_nonblocking(true).expect("set");
        let nothing = receiver.read(&mut echo).expect_err("nothing arrives");
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    });
}

fn dropped_by_policy(enforcer: &Enforcer) -> u64 {
    let counters = enforcer.counters().expect("counters");
    let of = |(_, reason, count): &(Direction, Reason, u64)| match reason {
        Reason::PolicyIngress => *count,
        _ => 0,
    };
    counters.drops.iter().map(of).sum()
}

#[test]
fn large_packets_arrive_in_fragments_by_both_families() {
    in_new_node(|settings| {
        let enforcer = start(&settings);
        let (one, two) = (Pod::admitted(&enforcer, 1), Pod::admitted(&enforcer, 2));
        for (pod, peer) in [
            (&one, ["10.0.0.2/32", "fd00::2/128"]),
            (&two, ["10.0.0.1/32", "fd00::1/128"]),
        ] {
            let rules = || allowing(&[(peer[0], &[Ports::All]), (peer[1], &[Ports::All])]);
            let policy = PodPolicy {
                ingress: rules(),
                egress: rules(),
            };
            let link = pod.endpoint.host_index;
            enforcer.set_policy(link, &policy).expect("a policy");
        }
        let block = vec![7; 20_000];
        for (from, to) in [
            ("10.0.0.1:7000", "10.0.0.2:7000"),
            ("[fd00::1]:7000", "[fd00::2]:7000"),
        ] {
            let (sender, receiver) = (one.inside.socket(from), two.inside.socket(to));
            sender.send_to(&block, to).expect("sent");
            let mut buffer = vec![0; 30_000];
            let (length, _) = receiver.recv_from(&mut buffer).expect("received");
            assert_eq!(length, block.len(), "{to}");
        }
    });
}
