//! Network namespaces for one test: a node, its pods, and a machine beyond it.
//! Looks at them with `ip -j` and `nft -j`.

use std::fs::File;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use veni_dataplane::{Bandwidth, DefaultRoute, EndpointPlan, PodAddress};

use crate::sys;

/// Longer than any answer takes on a busy machine; only failing tests wait for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test on a thread in a network namespace of its own. No test can reach the
/// machine's: the thread that runs it has left that.
pub(crate) fn in_new_node<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    on_a_thread(sys::leave_network, test);
}

/// As [`in_new_node`]; the test may mount what it likes as well.
pub(crate) fn in_new_node_with_mounts<F: Future<Output = ()>>(
    test: impl FnOnce() -> F + Send + 'static,
) {
    on_a_thread(sys::leave_network_and_mounts, test);
}

/// Nothing below `/proc/sys` can be written from now on, as in a container.
pub(crate) fn make_settings_read_only() {
    for arguments in [
        "--make-rprivate /",
        "--bind /proc/sys /proc/sys",
        "-o remount,bind,ro /proc/sys",
    ] {
        succeed(Command::new("mount").args(arguments.split_whitespace()));
    }
}

fn on_a_thread<F: Future<Output = ()>>(
    leave: fn() -> io::Result<()>,
    test: impl FnOnce() -> F + Send + 'static,
) {
    let runs = std::thread::spawn(move || {
        leave().expect("a network namespace: run as root or under unshare -Urn");
        ip("link set lo up");
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(test());
    });
    if let Err(panic) = runs.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Another network namespace.
pub(crate) struct Namespace(OwnedFd);

impl Namespace {
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            sys::leave_network()?;
            Ok::<_, io::Error>(Self(File::open("/proc/thread-self/ns/net")?.into()))
        });
        let namespace = made.join().expect("the thread ends").expect("a namespace");
        namespace.ip("link set lo up");
        namespace
    }

    /// A descriptor as a runtime passes it.
    pub(crate) fn descriptor(&self) -> OwnedFd {
        self.0.try_clone().expect("a descriptor")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let path = format!(
            "--net=/proc/{}/fd/{}",
            std::process::id(),
            self.0.as_raw_fd()
        );
        command.args([&path, "--", program]);
        command
    }

    pub(crate) fn ip(&self, arguments: &str) {
        succeed(self.command("ip").args(arguments.split_whitespace()));
    }

    pub(crate) fn ip_json(&self, arguments: &str) -> Vec<Value> {
        json(&succeed(
            self.command("ip")
                .arg("-j")
                .args(arguments.split_whitespace()),
        ))
    }

    /// Path for `ip link set … netns`.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Does something on a thread inside.
    pub(crate) fn within<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let visit = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("enter the namespace");
                inside()
            });
            visit.join().expect("the visit ends well")
        })
    }

    /// A socket inside that is bound to an address.
    pub(crate) fn socket(&self, address: &str) -> UdpSocket {
        self.within(|| socket(address))
    }
}

/// A socket of the test's own namespace.
pub(crate) fn socket(address: &str) -> UdpSocket {
    let address: SocketAddr = address.parse().expect("an address with a port");
    let socket = UdpSocket::bind(address).expect("bind");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// Sends from one socket to another and back; returns whom each saw.
pub(crate) fn exchange(client: &UdpSocket, to: &str, server: &UdpSocket) -> (IpAddr, IpAddr) {
    let mut buffer = [0; 16];
    client.send_to(b"question", to).expect("send the question");
    let (_, seen) = receive(server, &mut buffer).expect("the question arrives");
    server.send_to(b"answer", seen).expect("send the answer");
    let (_, answered) = receive(client, &mut buffer).expect("the answer arrives");
    (seen.ip(), answered.ip())
}

/// What comes next. A signal, such as a debugger's, is no packet and no silence.
pub(crate) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn succeed(command: &mut Command) -> Vec<u8> {
    let output = run(command);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {words}");
    output.stdout
}

fn json(output: &[u8]) -> Vec<Value> {
    if output.iter().all(u8::is_ascii_whitespace) {
        return Vec::new();
    }
    let value: Value = serde_json::from_slice(output).expect("JSON");
    let objects = value.as_array().cloned().unwrap_or_default();
    objects
        .into_iter()
        .filter(|object| object.as_object().is_some_and(|fields| !fields.is_empty()))
        .collect()
}

/// Runs `ip` in the test's own namespace.
pub(crate) fn ip(arguments: &str) {
    succeed(Command::new("ip").args(arguments.split_whitespace()));
}

/// The objects that `ip -j` lists in the test's own namespace.
pub(crate) fn ip_json(arguments: &str) -> Vec<Value> {
    json(&succeed(
        Command::new("ip")
            .arg("-j")
            .args(arguments.split_whitespace()),
    ))
}

/// Runs `tc` in the test's own namespace; what `tc -j` lists, or nothing when it fails.
pub(crate) fn tc(arguments: &str) -> Option<Vec<Value>> {
    let output = run(Command::new("tc").args(arguments.split_whitespace()));
    output.status.success().then(|| json(&output.stdout))
}

/// Loads an nftables text.
pub(crate) fn nft(text: &str) {
    succeed(Command::new("nft").arg(text));
}

/// The objects of an nftables table; none when there is no such table.
pub(crate) fn nft_json(table: &str) -> Vec<Value> {
    let listing = run(Command::new("nft")
        .args(["-j", "list", "table"])
        .args(table.split(' ')));
    if !listing.status.success() {
        return Vec::new();
    }
    let value: Value = serde_json::from_slice(&listing.stdout).expect("JSON");
    value["nftables"].as_array().cloned().unwrap_or_default()
}

/// Names of the links in the test's own namespace.
pub(crate) fn link_names() -> Vec<String> {
    let links = ip_json("link show");
    links.iter().map(|link| text(&link["ifname"])).collect()
}

/// The string of a JSON value.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Rules as short lines: `512 from all lookup 22016 proto 86`.
pub(crate) fn rules(family: &str) -> Vec<String> {
    let listed = succeed(Command::new("ip").args([family, "-N", "rule", "show"]));
    let listed = String::from_utf8(listed).expect("text");
    listed
        .lines()
        .map(|line| line.replace(":\t", " ").trim().to_owned())
        .collect()
}

/// Routes of a table as `ip` prints them, with numbers instead of names.
pub(crate) fn routes(family: &str, table: u32) -> Vec<String> {
    let table = table.to_string();
    let mut command = Command::new("ip");
    command.args([family, "-N", "route", "show", "table", &table]);
    let output = run(&mut command);
    // A table without routes does not exist.
    let listed = String::from_utf8(output.stdout).expect("text");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    listed.lines().map(words).collect()
}

/// A plan of a pod with a number of its own.
pub(crate) fn pod_plan(number: u8, addresses: &[&str]) -> EndpointPlan {
    EndpointPlan {
        pod: None,
        pod_link: "eth0".into(),
        host_link: format!("eni{number}"),
        pod_mac: [0x02, 0, 0, 0, 1, number],
        host_mac: [0x02, 0, 0, 0, 2, number],
        mtu: 1400,
        addresses: addresses
            .iter()
            .map(|address| PodAddress {
                address: address.parse().expect("an address"),
            })
            .collect(),
        node_addresses: Vec::new(),
        egress: None,
        no_ipv6: false,
        default_route: DefaultRoute::Only,
        bandwidth: Bandwidth::default(),
        port_mappings: Vec::new(),
    }
}

/// Sends a router's advertisement by a link of the calling thread's namespace: a
/// default route, and a prefix to make addresses of (RFC 4861, RFC 4862).
pub(crate) fn advertise(link: &str, prefix: [u8; 8]) {
    let mut message = vec![134, 0, 0, 0, 64, 0];
    message.extend(1800_u16.to_be_bytes()); // how long it is a router, seconds
    message.extend([0; 8]);
    message.extend([3, 4, 64, 0xc0]); // a prefix of 64 bits: on this link, for addresses
    message.extend(86_400_u32.to_be_bytes());
    message.extend(86_400_u32.to_be_bytes());
    message.extend([0; 4]);
    message.extend(prefix);
    message.extend([0; 8]);
    let index = ip_json(&format!("link show {link}"))[0]["ifindex"].as_u64();
    let index = u32::try_from(index.expect("an index")).expect("an index");
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET6,
        rustix::net::SocketType::RAW,
        Some(rustix::net::ipproto::ICMPV6),
    )
    .expect("a socket");
    rustix::net::sockopt::set_ipv6_multicast_hops(&socket, 255).expect("an option");
    let all_nodes = "ff02::1".parse().expect("an address");
    let everybody = std::net::SocketAddrV6::new(all_nodes, 0, 0, index);
    let flags = rustix::net::SendFlags::empty();
    rustix::net::sendto(&socket, &message, flags, &everybody).expect("sent");
}

/// How many router advertisements the test's own namespace has been sent.
pub(crate) fn advertisements() -> u64 {
    let counters = std::fs::read_to_string("/proc/thread-self/net/snmp6").expect("counters");
    let line = counters
        .lines()
        .find_map(|line| line.strip_prefix("Icmp6InRouterAdvertisements"));
    line.expect("the counter").trim().parse().expect("a number")
}

/// Waits until something is so.
pub(crate) fn await_that(what: &str, so: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An uplink of the node: a veth whose other end is in another namespace, as a
/// cloud's interface would be.
pub(crate) fn plug(name: &str, mac: &str, wire: &Namespace, wire_link: &str) {
    ip(&format!(
        "link add {name} address {mac} type veth peer name {wire_link} netns {}",
        wire.path()
    ));
    wire.ip(&format!("link set {wire_link} up"));
}
