//! What a packet costs by its verdict, for policies of 1, 100 and 10,000 rules. Runs the
//! programs by BPF_PROG_TEST_RUN, in a network namespace that the caller makes:
//!
//! ```console
//! $ sudo unshare -nm target/release/examples/packet_cost
//! ```
//!
//! A loopback link stands in for the pod's; the same packet again is an established flow.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;

use veni_bpf::{Endpoint, Enforcer, NodeRules, Program, Settings, TestPacket};
use veni_policy::{Class, PodPolicy, PortRange, Ports, Protocol, RuleSet, Side};

/// Runs of one packet, and how often their mean is taken; the least is told.
const RUNS: u32 = 200_000;
const TAKEN: usize = 5;
/// Index of `lo`, which every namespace has.
const LINK: u32 = 1;
const POD: [u8; 4] = [10, 0, 0, 2];
const MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pin_dir = std::env::temp_dir().join(format!("veni-packet-cost-{}", std::process::id()));
    let settings = Settings {
        pin_dir: pin_dir.join("veni"),
        block_numbers: (8_600_001, 8_600_002),
        flows: 1 << 18,
        holder: "venihold".to_owned(),
    };
    let enforcer = Enforcer::start(&settings)?;
    enforcer.set_node(&NodeRules {
        records_per_second: 0,
        ..NodeRules::default()
    })?;
    enforcer.admit(&endpoint())?;
    let mut report = String::new();
    for rules in [0, 1, 100, 10_000] {
        let ingress = if rules == 0 {
            Side::Open
        } else {
            isolated(rules)
        };
        let egress = Side::Open;
        enforcer.set_policy(LINK, &PodPolicy { ingress, egress })?;
        for (what, port) in [("established", 80), ("dropped by policy", 81)] {
            if rules == 0 && port == 81 {
                continue;
            }
            let cost = cost(&enforcer, Program::ToPod, &packet([10, 8, 0, 1], POD, port))?;
            writeln!(report, "{rules:>6} rules, to the pod, {what}: {cost} ns")?;
        }
    }
    let own = packet(POD, [192, 0, 2, 1], 443);
    let cost_from = cost(&enforcer, Program::FromPod, &own)?;
    writeln!(report, "from the pod, established: {cost_from} ns")?;
    let spoofed = packet([10, 0, 0, 3], [192, 0, 2, 1], 443);
    let cost_of = cost(&enforcer, Program::FromPod, &spoofed)?;
    writeln!(report, "from the pod, another's address: {cost_of} ns")?;
    io::stdout().write_all(report.as_bytes())?;
    Ok(())
}

fn endpoint() -> Endpoint {
    Endpoint {
        host_index: LINK,
        addresses: vec![IpAddr::from(POD)],
        pod_mac: MAC,
        generation: 1,
        metadata: true,
        further_sources: Vec::new(),
        mark: None,
        policy_known: true,
        audit: false,
        redirect: None,
    }
}

/// Peers with an address each; all may talk to port 80.
fn isolated(rules: u32) -> Side {
    let peer = |n: u32| IpAddr::from((0x0a08_0001 + n).to_be_bytes());
    let peers: BTreeMap<_, _> = (0..rules).map(|n| (peer(n).into(), 0)).collect();
    let ports = Ports::Some {
        protocol: Protocol::Tcp,
        first: 80,
        last: 80,
    };
    Side::Isolated(Arc::new(RuleSet {
        peers,
        classes: vec![Class {
            ports: vec![PortRange { ports, origin: 0 }],
        }],
        origins: vec!["shop/web".to_owned()],
    }))
}

/// A segment of TCP that opens nothing.
fn packet(source: [u8; 4], destination: [u8; 4], port: u16) -> Vec<u8> {
    let mut bytes = [[2; 6], MAC].concat();
    bytes.extend([8, 0, 0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0]);
    bytes.extend([source, destination].concat());
    bytes.extend([0x10, 0x00]);
    bytes.extend(port.to_be_bytes());
    bytes.extend([0; 8]);
    bytes.extend([0x50, 0x10, 0, 0, 0, 0, 0, 0]);
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

fn cost(enforcer: &Enforcer, program: Program, bytes: &[u8]) -> Result<u128, veni_bpf::Error> {
    let packet = TestPacket {
        bytes,
        link: LINK,
        ingress_link: 2,
        mark: 0,
    };
    let mut least = u128::MAX;
    for _ in 0..TAKEN {
        let verdict = enforcer.test_run(program, &packet, RUNS)?;
        least = least.min(verdict.duration.as_nanos());
    }
    Ok(least)
}
