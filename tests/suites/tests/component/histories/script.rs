//! A history to come: settings and steps, drawn from a seed. Plain data, so that a part of
//! the steps can be left out.

use ipamd::crash;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use veni_provider::{ErrorClass, Operation};

use super::log::{Limits, Port};
use super::model::Promises;

/// Pods that a history knows.
pub(super) const PODS: u32 = 14;

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Add(u32),
    /// An ADD whose plugin is killed after so many milliseconds.
    AddCut(u32, u64),
    /// A DEL; a note of the plugin's where there is no daemon.
    Del(u32),
    Check(u32),
    /// A GC that keeps the pods with these numbers.
    Gc(Vec<u32>),
    /// The end of a pod's namespace.
    EndPod(u32),
    /// Milliseconds pass.
    Pass(u64),
    Kill,
    /// The daemon dies at this passage of this point.
    Trap(&'static str, u32),
    Stop,
    /// Starts a daemon where none runs.
    Start,
    Reboot,
    Fault(Option<Operation>, Kind, u32),
    Deny(Operation),
    AllowAll,
    /// Cloud calls take this many milliseconds in the middle.
    Latency(u64),
    /// Inventories lag for so many milliseconds.
    Lag(u64),
    Fragment,
    Fill(u32),
    Unfill,
    OtherAssigns(u32),
    OtherTakes(u32),
    OtherAttaches(u32),
    OtherDetaches,
    ClockSet(i64),
    FolderFull,
    FolderFree,
    /// Somebody takes the first ports of the node away.
    PortsTaken(usize),
    /// Somebody flushes all tables, as `nft flush ruleset` does.
    TablesFlushed,
    /// Somebody takes the limits of the pods on the first links away.
    LimitsTaken(usize),
    KernelFails(&'static str, u32),
    KernelSlow(&'static str, u64),
}

/// What a cloud call meets.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Throttled,
    Refused(ErrorClass),
    AnswerLost,
    Hangs { applied: bool },
    Partial,
}

/// What a pod asks for, each time that it is added.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Wants {
    pub(super) ports: Vec<Port>,
    pub(super) limits: Limits,
}

/// Settings and steps.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) seed: u64,
    /// By the pods' numbers.
    pub(super) wants: Vec<Wants>,
    pub(super) settings: Vec<(&'static str, String)>,
    pub(super) promises: Promises,
    pub(super) steps: Vec<Step>,
}

pub(super) const KERNEL_STEPS: &[&str] = &[
    "pair",
    "pod",
    "host",
    "remove",
    "interface",
    "reap",
    "limits",
    "unlimit",
];

impl Script {
    /// The history of a seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let warm: u32 = rng.random_range(1..=4);
        let cooldown: u64 = *[1, 3, 30].choose(&mut rng).expect("one of three");
        let inventory: u64 = *[7, 60, 600].choose(&mut rng).expect("one of three");
        let mut settings = vec![
            ("WARM_IP_TARGET", warm.to_string()),
            ("IP_COOLDOWN_PERIOD", cooldown.to_string()),
            ("VENI_RELEASE_DELAY", rng.random_range(3..=30).to_string()),
            ("VENI_INVENTORY_INTERVAL", inventory.to_string()),
            ("VENI_ADD_WAIT", rng.random_range(5..=60).to_string()),
        ];
        if rng.random_bool(0.5) {
            settings.push(("ENABLE_PREFIX_DELEGATION", "true".to_owned()));
        }
        let wants = (0..PODS).map(|_| wants(&mut rng)).collect();
        let count = rng.random_range(30..=90);
        let steps = (0..count).map(|_| step(&mut rng)).collect();
        Self {
            seed,
            wants,
            settings,
            promises: Promises {
                cooldown: cooldown * 1000,
                warm: warm.into(),
                budgets: vec![
                    ("describe", 10.0, 20.0),
                    ("addresses", 5.0, 10.0),
                    ("interfaces", 2.0, 5.0),
                    ("returns", 3.0, 10.0),
                ],
                // Twenty minutes, in which each inventory needs two reads.
                idle_calls: 2 * 1200 / inventory + 4,
            },
            steps,
        }
    }
}

/// Few ports, so that pods want the same one.
fn wants(rng: &mut StdRng) -> Wants {
    let count = *[0, 0, 1, 2].choose(rng).expect("not empty");
    let mut ports: Vec<Port> = (0..count).map(|_| port(rng)).collect();
    // A runtime is refused that asks for one port twice.
    ports.dedup_by_key(|port| (port.protocol.clone(), port.port));
    let mut limit = || {
        rng.random_bool(0.3)
            .then(|| rng.random_range(1..100) * 1_000_000)
    };
    let limits = (limit(), limit());
    Wants { ports, limits }
}

fn port(rng: &mut StdRng) -> Port {
    let protocol = *["tcp", "udp"].choose(rng).expect("not empty");
    let host = *["", "", "10.0.0.5", "10.0.0.6"]
        .choose(rng)
        .expect("not empty");
    Port {
        protocol: protocol.to_owned(),
        port: *[53, 80, 443].choose(rng).expect("not empty"),
        host: host.to_owned(),
        pod_port: rng.random_range(8000..8003),
    }
}

fn step(rng: &mut StdRng) -> Step {
    let pod = rng.random_range(0..PODS);
    match rng.random_range(0..1000) {
        0..280 => Step::Add(pod),
        280..295 => by_hand(rng),
        295..320 => Step::AddCut(pod, rng.random_range(0..2_000)),
        320..500 => Step::Del(pod),
        500..540 => Step::Check(pod),
        540..555 => Step::Gc((0..PODS).filter(|_| rng.random_bool(0.8)).collect()),
        555..580 => Step::EndPod(pod),
        580..720 => Step::Pass(rng.random_range(0..3_000)),
        720..750 => Step::Pass(rng.random_range(3_000..180_000)),
        750..850 => death(rng),
        850..920 => cloud(rng),
        920..945 => others(rng),
        945..960 => {
            let hours: i64 = rng.random_range(-3..=3);
            Step::ClockSet(hours * 3_600_000 + rng.random_range(-5_000..5_000))
        }
        960..970 => Step::FolderFull,
        970..985 => Step::FolderFree,
        985..995 => {
            let name = KERNEL_STEPS.choose(rng).expect("not empty");
            Step::KernelFails(name, rng.random_range(1..4))
        }
        _ => {
            let name = KERNEL_STEPS.choose(rng).expect("not empty");
            Step::KernelSlow(name, rng.random_range(0..300))
        }
    }
}

fn by_hand(rng: &mut StdRng) -> Step {
    match rng.random_range(0..5) {
        0..2 => Step::PortsTaken(rng.random_range(1..3)),
        2 => Step::TablesFlushed,
        _ => Step::LimitsTaken(rng.random_range(1..3)),
    }
}

fn death(rng: &mut StdRng) -> Step {
    match rng.random_range(0..100) {
        0..25 => Step::Kill,
        25..55 => {
            // A daemon stands still only where it can wait: not in the thread that writes files.
            let points = crash::POINTS
                .iter()
                .filter(|point| **point != "assigned.written");
            let points: Vec<&'static str> = points.copied().collect();
            let point = points.choose(rng).expect("not empty");
            Step::Trap(point, rng.random_range(1..4))
        }
        55..60 => Step::Stop,
        60..63 => Step::Reboot,
        _ => Step::Start,
    }
}

fn cloud(rng: &mut StdRng) -> Step {
    let changing = [
        Operation::Assign,
        Operation::Release,
        Operation::AttachInterface,
        Operation::DetachInterface,
    ];
    match rng.random_range(0..100) {
        0..45 => {
            let operation = rng
                .random_bool(0.5)
                .then(|| *changing.choose(rng).expect("not empty"));
            let kind = match rng.random_range(0..6) {
                0 => Kind::Throttled,
                1 => Kind::Refused(ErrorClass::Transient),
                2 | 3 => Kind::AnswerLost,
                4 => Kind::Hangs {
                    applied: rng.random_bool(0.5),
                },
                _ => Kind::Partial,
            };
            Step::Fault(operation, kind, rng.random_range(1..4))
        }
        45..52 => Step::Deny(*changing.choose(rng).expect("not empty")),
        52..65 => Step::AllowAll,
        65..75 => Step::Latency(*[0, 100, 1_000, 5_000].choose(rng).expect("not empty")),
        75..87 => Step::Lag(
            *[0, 400, 5_000, 60_000, 170_000]
                .choose(rng)
                .expect("not empty"),
        ),
        87..91 => Step::Fragment,
        91..94 => Step::Fill(rng.random_range(0..6)),
        _ => Step::Unfill,
    }
}

fn others(rng: &mut StdRng) -> Step {
    match rng.random_range(0..10) {
        0..4 => Step::OtherAssigns(rng.random_range(1..3)),
        4..7 => Step::OtherTakes(rng.random_range(1..3)),
        7..9 => Step::OtherAttaches(rng.random_range(0..2)),
        _ => Step::OtherDetaches,
    }
}
