//! Fills the node with one pod after the other. Measures what the thousandth ADD costs,
//! what packets cost, and how much memory the daemon takes.

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;

use anyhow::{Context, ensure};
use veni_terminal::eprintln;

use crate::arguments::Scale;
use crate::command::ip;
use crate::contender::Kind;
use crate::figures::Samples;
use crate::latency::{Place, RoundTrips};
use crate::node::GATEWAY;
use crate::starter::{Job, Order};
use crate::verify;
use crate::world::World;

/// ADDs that stand for the first and for the last.
const ENDS: usize = 50;
/// How often they are timed at either end.
const REPEATS: usize = 3;
/// DELs at the same instant when the node is emptied.
const EMPTYING: usize = 50;

/// The node with so many pods.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Pods, with the one that packets are timed with.
    pub(crate) pods: usize,
    /// Round trips between that pod and the cloud network.
    pub(crate) packets: Samples,
    /// The control: round trips that do not pass the node. They show what else moves the
    /// figures.
    pub(crate) control: Samples,
    /// Resident memory of the daemon, KiB.
    pub(crate) resident_kib: u64,
    /// Of that, anonymous.
    pub(crate) anonymous_kib: u64,
}

/// The figures.
#[derive(Debug)]
pub(crate) struct Ramp {
    /// By number of pods.
    pub(crate) stages: Vec<Stage>,
    /// The first ADDs, before and after the ramp.
    pub(crate) first: Samples,
    /// The last ADDs.
    pub(crate) last: Samples,
    /// ADDs of the floor on the empty node, before and after the ramp.
    pub(crate) floor_first: Samples,
    /// ADDs of the floor on the full node.
    pub(crate) floor_last: Samples,
    /// Rules that prefixes of secondary interfaces have.
    pub(crate) prefix_rules: usize,
    /// Round trips on the full node with two more rules per pod. They show that the
    /// measurement would see a difference if there was one.
    pub(crate) with_rules: Samples,
}

/// Measures, and empties the node again.
pub(crate) fn measure(world: &World, scale: &Scale) -> anyhow::Result<Ramp> {
    let full = scale.stages.iter().copied().max().unwrap_or(1);
    ensure!(
        full >= 2 * ENDS,
        "the ramp needs at least {} pods",
        2 * ENDS
    );
    world.pool_settles(0)?;
    let mut floor_first = Samples::default();
    // The floor is measured at both ends too: it shows what the machine, and not Veni, does
    // to the figures.
    floor_adds(world, &mut floor_first)?;
    let mut first = Samples::default();
    again_and_again(world, 0..ENDS, &mut first)?;
    let mut stages = Vec::new();
    let mut pods = 0;
    for stage in &scale.stages {
        while pods < *stage {
            // In steps, so that the last ones can be timed apart.
            let next = match pods < full - ENDS {
                true => (*stage).min(full - ENDS),
                false => *stage,
            };
            add(world, pods..next, &mut Samples::default())?;
            pods = next;
        }
        eprintln!("packets with {pods} pods on the node");
        stages.push(at(world, scale, pods)?);
    }
    let prefix_rules = verify::prefixes_have_rules(&world.daemon.pool()?)?;
    let with_rules = with_rules(world, scale, pods)?;
    let (mut last, mut floor_last) = (Samples::default(), Samples::default());
    empty(world, full - ENDS..full)?;
    again_and_again(world, full - ENDS..full, &mut last)?;
    floor_adds(world, &mut floor_last)?;
    empty(world, 0..full - ENDS)?;
    // Once more on the empty node, because the load of the machine may have changed.
    again_and_again(world, 0..ENDS, &mut first)?;
    floor_adds(world, &mut floor_first)?;
    Ok(Ramp {
        stages,
        first,
        last,
        floor_first,
        floor_last,
        prefix_rules,
        with_rules,
    })
}

fn add(world: &World, pods: Range<usize>, samples: &mut Samples) -> anyhow::Result<()> {
    let present = pods.end;
    let pods: Vec<usize> = pods.collect();
    let veni = world.contender(Kind::Veni);
    let jobs: Vec<Job> = pods.iter().map(|pod| veni.add(*pod)).collect();
    let cpu = world.daemon.cpu_nanoseconds()?;
    let outcomes = world.start(Order::Series, &jobs)?;
    samples.daemon_cpu_nanoseconds += world.daemon.cpu_nanoseconds()? - cpu;
    samples.extend(&outcomes);
    world.verify_added(Kind::Veni, &pods, &outcomes, present)
}

fn floor_adds(world: &World, samples: &mut Samples) -> anyhow::Result<()> {
    let pods: Vec<usize> = (0..ENDS.min(world.peers_pods)).collect();
    let floor = world.contender(Kind::Floor);
    let adds: Vec<Job> = pods.iter().map(|pod| floor.add(*pod)).collect();
    let outcomes = world.start(Order::Series, &adds)?;
    samples.extend(&outcomes);
    world.verify_added(Kind::Floor, &pods, &outcomes, pods.len())?;
    let dels: Vec<Job> = pods.iter().map(|pod| floor.del(*pod)).collect();
    world.start(Order::Series, &dels)?;
    world.settle(Kind::Floor, &pods, 0)
}

fn at(world: &World, scale: &Scale, pods: usize) -> anyhow::Result<Stage> {
    let network = Place::new(Some(&world.node.network), GATEWAY.parse()?);
    Ok(Stage {
        pods,
        resident_kib: world.daemon.resident_kib()?,
        anonymous_kib: world.daemon.anonymous_kib()?,
        packets: packets(world, scale)?,
        control: RoundTrips::try_new(&network, &network)?.go(scale.round_trips)?,
    })
}

/// Between the first pod and the cloud network.
fn packets(world: &World, scale: &Scale) -> anyhow::Result<Samples> {
    let veni = world.contender(Kind::Veni);
    let first = world.first_address.get().context("no pod has been added")?;
    let pod = Place::new(Some(&veni.namespace(0)), first);
    let network = Place::new(Some(&world.node.network), GATEWAY.parse()?);
    RoundTrips::try_new(&network, &pod)?.go(scale.round_trips)
}

/// Adds a rule to and a rule from each pod, as the AWS plugin has them.
fn with_rules(world: &World, scale: &Scale, pods: usize) -> anyhow::Result<Samples> {
    eprintln!("packets with two more rules per pod");
    let change = |verb: &str| -> anyhow::Result<()> {
        let mut lines = String::new();
        for pod in 0..pods {
            let address = format!("198.18.{}.{}", pod / 256, pod % 256);
            writeln!(lines, "rule {verb} priority 500 to {address} lookup main")?;
            writeln!(
                lines,
                "rule {verb} priority 1500 from {address} lookup main"
            )?;
        }
        let file = world.node.folder.join("rules");
        fs::write(&file, lines)?;
        ip(&format!("-batch {}", file.display()))
    };
    change("add")?;
    let samples = packets(world, scale)?;
    change("delete")?;
    Ok(samples)
}

/// ADDs and DELs of the same pods; only the ADDs are timed.
fn again_and_again(world: &World, pods: Range<usize>, samples: &mut Samples) -> anyhow::Result<()> {
    for _ in 0..REPEATS {
        add(world, pods.clone(), samples)?;
        empty(world, pods.clone())?;
    }
    Ok(())
}

/// Removes the last pods.
fn empty(world: &World, pods: Range<usize>) -> anyhow::Result<()> {
    let left = pods.start;
    let pods: Vec<usize> = pods.collect();
    let veni = world.contender(Kind::Veni);
    for some in pods.chunks(EMPTYING) {
        let jobs: Vec<Job> = some.iter().map(|pod| veni.del(*pod)).collect();
        world.start(Order::Burst, &jobs)?;
    }
    world.settle(Kind::Veni, &pods, left)?;
    world.pool_settles(left)
}
