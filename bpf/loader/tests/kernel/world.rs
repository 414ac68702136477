//! A node in a network namespace of its own, with pods in theirs and the programs on their
//! links. Looks at them with `ip -j` and `tc -j`.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use veni_bpf::{Endpoint, Enforcer, Settings};

use crate::sys;

/// Longer than any answer takes on a busy machine; only failing tests wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Blocks of the tests; each namespace has its own.
pub(crate) const BLOCKS: (u32, u32) = (8_600_001, 8_600_002);

/// Runs a test on a thread in a network namespace of its own.
pub(crate) fn in_new_node(test: impl FnOnce(Settings) + Send + 'static) {
    assert!(
        std::env::var_os("VENI_TEST_NAMESPACES").is_some(),
        "start this through tests/tools/in-namespaces, as cargo does"
    );
    let runs = std::thread::spawn(move || {
        sys::leave_network().expect("a network namespace: run as root");
        ip("link set lo up");
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{setting}"), "1").expect("a setting");
        }
        test(settings());
    });
    if let Err(panic) = runs.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Settings with a folder for pins that no other test has.
fn settings() -> Settings {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("bpf-{number}"));
    Settings {
        pin_dir: folder.join("veni"),
        block_numbers: BLOCKS,
        flows: 16384,
        holder: "venihold".to_owned(),
    }
}

pub(crate) fn start(settings: &Settings) -> Enforcer {
    let describe = |error: veni_bpf::Error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text += &format!("\n  {error}");
            cause = error.source();
        }
        text
    };
    Enforcer::start(settings)
        .map_err(describe)
        .unwrap_or_else(|text| panic!("{text}"))
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

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([&format!("--net={}", self.path()), "--", program]);
        command
    }

    pub(crate) fn ip(&self, arguments: &str) {
        succeed(self.command("ip").args(arguments.split_whitespace()));
    }

    pub(crate) fn path(&self) -> String {
        let process = std::process::id();
        format!("/proc/{process}/fd/{}", self.0.as_raw_fd())
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
        self.within(|| {
            let address: SocketAddr = address.parse().expect("an address with a port");
            let socket = UdpSocket::bind(address).expect("bind");
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            socket
        })
    }

    /// Whether one echo request is answered within three seconds.
    pub(crate) fn pings(&self, address: &str) -> bool {
        run(self.command("ping").args(["-n", "-c1", "-W3", address]))
            .status
            .success()
    }
}

/// A pod with a veth pair as Veni makes it.
pub(crate) struct Pod {
    pub(crate) inside: Namespace,
    pub(crate) endpoint: Endpoint,
    pub(crate) link: String,
}

/// What the node's ends are called by pods.
pub(crate) const GATEWAY: [u8; 6] = [0x02, 0, 0, 0, 2, 1];

impl Pod {
    /// Its links are down: nobody is enforced yet.
    pub(crate) fn new(number: u8) -> Self {
        let (inside, link) = (Namespace::new(), format!("pod{number}"));
        let endpoint = Endpoint {
            host_index: 0,
            addresses: vec![v4(number), v6(number)],
            pod_mac: [0x02, 0, 0, 0, 1, number],
            generation: 1000 + u64::from(number),
            metadata: true,
            further_sources: Vec::new(),
            mark: None,
            policy_known: true,
            audit: false,
            redirect: None,
        };
        ip(&format!(
            "link add {link} address {} type veth peer name eth0 address {} netns {}",
            mac(GATEWAY),
            mac(endpoint.pod_mac),
            inside.path()
        ));
        let host_index = index(&link);
        Self {
            inside,
            endpoint: Endpoint {
                host_index,
                ..endpoint
            },
            link,
        }
    }

    /// One that is enforced and up.
    pub(crate) fn admitted(enforcer: &Enforcer, number: u8) -> Self {
        let pod = Self::new(number);
        enforcer.admit(&pod.endpoint).expect("admitted");
        pod.up();
        pod
    }

    /// Brings the links up, with addresses and routes.
    pub(crate) fn up(&self) {
        let inside = &self.inside;
        inside.ip("link set eth0 up");
        ip(&format!("link set {} up", self.link));
        for address in &self.endpoint.addresses {
            let (family, length, gateway) = match address {
                IpAddr::V4(_) => ("-4", 32, "169.254.1.1"),
                IpAddr::V6(_) => ("-6", 128, "fe80::1"),
            };
            let nodad = if address.is_ipv6() { "nodad" } else { "" };
            inside.ip(&format!("addr add {address}/{length} dev eth0 {nodad}"));
            let lladdr = mac(GATEWAY);
            inside.ip(&format!("neigh replace {gateway} lladdr {lladdr} dev eth0"));
            inside.ip(&format!(
                "{family} route add default via {gateway} dev eth0 onlink"
            ));
            ip(&format!(
                "{family} route add {address}/{length} dev {}",
                self.link
            ));
            let lladdr = mac(self.endpoint.pod_mac);
            ip(&format!(
                "neigh replace {address} lladdr {lladdr} dev {}",
                self.link
            ));
        }
    }
}

/// The IPv4 address of a pod.
pub(crate) fn v4(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

/// The IPv6 address of a pod.
pub(crate) fn v6(number: u8) -> IpAddr {
    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)])
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// Index of a link of the test's own namespace.
pub(crate) fn index(link: &str) -> u32 {
    let found = ip_json(&format!("link show {link}"))[0]["ifindex"].as_u64();
    u32::try_from(found.expect("an index")).expect("an index")
}

/// Gives the test's own namespace an address that pods can talk to.
pub(crate) fn node_address(address: &str) {
    ip(&format!("addr add {address} dev lo"));
}

fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

pub(crate) fn succeed(command: &mut Command) -> Vec<u8> {
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
    value.as_array().cloned().unwrap_or_default()
}

/// Runs `ip` in the test's own namespace.
pub(crate) fn ip(arguments: &str) {
    succeed(Command::new("ip").args(arguments.split_whitespace()));
}

pub(crate) fn ip_json(arguments: &str) -> Vec<Value> {
    let mut command = Command::new("ip");
    json(&succeed(
        command.arg("-j").args(arguments.split_whitespace()),
    ))
}

/// What `tc -j` lists, or nothing where it fails.
pub(crate) fn tc(arguments: &str) -> Vec<Value> {
    let output = run(Command::new("tc")
        .arg("-j")
        .args(arguments.split_whitespace()));
    if output.status.success() {
        json(&output.stdout)
    } else {
        Vec::new()
    }
}

/// Names of the filters on a block, by `tc`.
pub(crate) fn filters_of_block(block: u32) -> Vec<String> {
    tc(&format!("filter show block {block}"))
        .iter()
        .filter_map(|filter| Some(filter["options"]["bpf_name"].as_str()?.to_owned()))
        .collect()
}

/// Waits until something is so.
pub(crate) fn await_that(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where the pins of settings are.
pub(crate) fn pins(settings: &Settings) -> PathBuf {
    settings.pin_dir.join(format!("v{}", veni_bpf::LAYOUT))
}
