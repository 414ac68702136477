//! What the daemon's kernel threads do in a burst: work, wait for a processor, or wait
//! inside the kernel, with and without namespaces that are torn down meanwhile, and
//! whether a higher scheduling priority of those threads helps.
//!
//! The scheduler counts how long a thread ran and waited for a processor. How long it was
//! held inside the kernel, and at what, is sampled from its state and its kernel stack.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, getpriority_process, setpriority_process};
use veni_terminal::eprintln;

use crate::command::{ip, ip_in};
use crate::contender::Kind;
use crate::figures::{Samples, median_of, milliseconds, table};
use crate::starter::{Job, Order};
use crate::world::World;

/// Names of the threads that change the kernel's network.
const THREADS: [&str; 2] = ["veni-endpoint", "veni-kernel"];
/// ADDs at the same instant.
const ADDS: usize = 100;
/// Namespaces that are torn down during a burst, each with a link as a pod has it.
const TORN_DOWN: usize = 60;
/// How much nicer to itself a preferred thread is than the plugins.
const PREFERRED: i32 = -10;
/// Between two looks at the threads.
const EVERY: Duration = Duration::from_micros(500);
/// Functions on a stack that waits for the kernel's network lock.
const NETWORK_LOCK: [&str; 3] = ["rtnl_lock", "rtnl_net_lock", "rtnetlink_rcv"];

/// A burst under one condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    teardown: bool,
    /// The threads come before the plugins.
    preferred: bool,
}

impl Case {
    const fn new(teardown: bool, preferred: bool) -> Self {
        Self {
            teardown,
            preferred,
        }
    }
}

const CASES: [Case; 4] = [
    Case::new(false, false),
    Case::new(false, true),
    Case::new(true, false),
    Case::new(true, true),
];

/// What the threads did in one burst, ms.
#[derive(Debug, Default, Clone, Copy)]
struct Spent {
    wall: f64,
    running: f64,
    waiting_for_processor: f64,
    held: f64,
    held_by_network_lock: f64,
    longest_held: f64,
}

/// One thread under watch.
struct Watched {
    folder: PathBuf,
    /// When it was first seen to be held, without a break since.
    held_since: Option<Instant>,
}

/// Measures all cases in turns, and tells the figures as a table.
pub(crate) fn measure(world: &World, repeats: usize) -> anyhow::Result<String> {
    let mut found = CASES.map(|case| (case, Samples::default(), Vec::new()));
    for repeat in 1..=repeats {
        for (case, samples, spent) in &mut found {
            eprintln!("{}: {repeat} of {repeats}", name(*case));
            spent.push(one(world, *case, samples)?);
        }
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|(c, s, spent)| row(*c, s, spent))
        .collect();
    Ok(table(
        &[
            "100 ADDs at once (ms)",
            "p50",
            "p99",
            "wall",
            "thread runs",
            "no processor",
            "held",
            "of it network lock",
            "longest held",
        ],
        &rows,
    ))
}

fn name(case: Case) -> String {
    let meanwhile = match case.teardown {
        true => format!("{TORN_DOWN} namespaces torn down"),
        false => "alone".to_owned(),
    };
    match case.preferred {
        true => format!("{meanwhile}, nice {PREFERRED}"),
        false => meanwhile,
    }
}

fn row(case: Case, samples: &Samples, spent: &[Spent]) -> Vec<String> {
    let median = |field: fn(&Spent) -> f64| median_of(spent.iter().map(field).collect());
    let longest = spent.iter().map(|one| one.longest_held).fold(0.0, f64::max);
    let figures = [
        samples.median(),
        samples.quantile(0.99),
        median(|one| one.wall),
        median(|one| one.running),
        median(|one| one.waiting_for_processor),
        median(|one| one.held),
        median(|one| one.held_by_network_lock),
        longest,
    ];
    let figures = figures.iter().map(|figure| format!("{figure:.1}"));
    std::iter::once(name(case)).chain(figures).collect()
}

/// One burst of ADDs, watched, and its DELs.
fn one(world: &World, case: Case, samples: &mut Samples) -> anyhow::Result<Spent> {
    world.pool_settles(0)?;
    let mut threads = watched(world)?;
    // That of the plugins, which this program starts.
    let ours = getpriority_process(None)?;
    for thread in &threads {
        let nice = ours + if case.preferred { PREFERRED } else { 0 };
        setpriority_process(Some(thread.pid()?), nice)
            .context("the threads' priority cannot be changed")?;
    }
    let doomed = match case.teardown {
        true => doomed_namespaces(world)?,
        false => Vec::new(),
    };
    let contender = world.contender(Kind::Veni);
    let pods: Vec<usize> = (0..ADDS).collect();
    let adds: Vec<Job> = pods.iter().map(|pod| contender.add(*pod)).collect();
    let over = AtomicBool::new(false);
    let (added, spent) = thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&mut threads, &over));
        // One after the other, from the burst's beginning on.
        let tearing = scope.spawn(|| doomed.iter().try_for_each(|one| tear_down(one)));
        let added = world.start(Order::Burst, &adds);
        over.store(true, Ordering::Relaxed);
        let torn = tearing.join().map_err(|_| anyhow!("a thread has died"))?;
        let spent = watching.join().map_err(|_| anyhow!("a thread has died"))?;
        torn.map(|()| (added, spent))
    })?;
    let (added, mut spent) = (added?, spent?);
    let last = added.iter().map(|one| one.nanoseconds).max();
    spent.wall = milliseconds(last.unwrap_or_default());
    samples.extend(&added);
    world.verify_added(Kind::Veni, &pods, &added, ADDS)?;
    let dels: Vec<Job> = pods.iter().map(|pod| contender.del(*pod)).collect();
    world.start(Order::Burst, &dels)?;
    world.settle(Kind::Veni, &pods, 0)?;
    Ok(spent)
}

/// Namespaces, each with one end of a veth pair whose other end is the node's.
fn doomed_namespaces(world: &World) -> anyhow::Result<Vec<PathBuf>> {
    let folder = world.namespaces("doomed", TORN_DOWN)?;
    let all: Vec<PathBuf> = (0..TORN_DOWN).map(|n| folder.join(n.to_string())).collect();
    for (number, namespace) in all.iter().enumerate() {
        let there = namespace.display();
        ip(&format!(
            "link add doomed{number} type veth peer name eth0 netns {there}"
        ))?;
        ip(&format!("link set doomed{number} up"))?;
        ip_in(namespace, "link set eth0 up")?;
    }
    Ok(all)
}

fn tear_down(namespace: &Path) -> anyhow::Result<()> {
    unmount(namespace, UnmountFlags::DETACH)?;
    fs::remove_file(namespace)?;
    Ok(())
}

fn watched(world: &World) -> anyhow::Result<Vec<Watched>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(world.daemon.tasks())? {
        let folder = entry?.path();
        let name = fs::read_to_string(folder.join("comm"))?;
        if THREADS.contains(&name.trim()) {
            found.push(Watched {
                folder,
                held_since: None,
            });
        }
    }
    anyhow::ensure!(
        found.len() == THREADS.len(),
        "the daemon has {} threads of {THREADS:?}",
        found.len()
    );
    Ok(found)
}

/// Looks at the threads again and again until it is over.
fn watch(threads: &mut [Watched], over: &AtomicBool) -> anyhow::Result<Spent> {
    let mut spent = Spent::default();
    let before = counted(threads)?;
    let mut last = Instant::now();
    while !over.load(Ordering::Relaxed) {
        thread::sleep(EVERY);
        let now = Instant::now();
        let since_last = (now - last).as_secs_f64() * 1e3;
        last = now;
        for thread in threads.iter_mut() {
            if !thread.is_held()? {
                thread.held_since = None;
                continue;
            }
            spent.held += since_last;
            if thread.waits_for_network_lock() {
                spent.held_by_network_lock += since_last;
            }
            let since = *thread.held_since.get_or_insert(now);
            spent.longest_held = spent.longest_held.max((now - since).as_secs_f64() * 1e3);
        }
    }
    let after = counted(threads)?;
    spent.running = milliseconds(after.0 - before.0);
    spent.waiting_for_processor = milliseconds(after.1 - before.1);
    Ok(spent)
}

/// How long all of them together ran, and waited for a processor, ns.
fn counted(threads: &[Watched]) -> anyhow::Result<(u64, u64)> {
    let mut sums = (0, 0);
    for thread in threads {
        let text = fs::read_to_string(thread.folder.join("schedstat"))
            .context("the kernel counts no time by thread (CONFIG_SCHED_INFO)")?;
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let mut next = || numbers.next().context("schedstat has three numbers");
        sums.0 += next()??;
        sums.1 += next()??;
    }
    Ok(sums)
}

impl Watched {
    fn pid(&self) -> anyhow::Result<Pid> {
        let name = self.folder.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.parse().ok());
        number
            .and_then(Pid::from_raw)
            .context("a thread's folder has its id as its name")
    }

    /// Whether it sleeps inside the kernel and no signal can wake it.
    fn is_held(&self) -> anyhow::Result<bool> {
        let text = fs::read_to_string(self.folder.join("stat"))?;
        let state = text.rsplit_once(')').map(|(_, rest)| rest.trim_start());
        Ok(state.is_some_and(|state| state.starts_with('D')))
    }

    fn waits_for_network_lock(&self) -> bool {
        // Unreadable where the kernel was built without stack traces: then it is not told.
        let stack = fs::read_to_string(self.folder.join("stack")).unwrap_or_default();
        let first = stack.lines().take(3);
        first
            .into_iter()
            .any(|line| NETWORK_LOCK.iter().any(|name| line.contains(name)))
    }
}
