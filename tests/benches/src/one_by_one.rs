//! Measures ADD and DEL one at a time. The contenders take turns with every ADD.

use std::collections::BTreeMap;

use veni_terminal::eprintln;

use crate::arguments::Scale;
use crate::contender::Kind;
use crate::daemon::Spent;
use crate::figures::Samples;
use crate::starter::{Job, Order};
use crate::world::World;

/// Pods that one contender has at a time.
const CHUNK: usize = 30;

/// The figures.
#[derive(Debug, Default)]
pub(crate) struct OneByOne {
    /// ADDs by contender.
    pub(crate) add: BTreeMap<Kind, Samples>,
    /// DELs by contender.
    pub(crate) del: BTreeMap<Kind, Samples>,
    /// Pods without and with a port of the node, in turns: ADDs and DELs of each.
    pub(crate) ports: Ports,
    /// `veni-cni` with VERSION: a process that reads its input and answers.
    pub(crate) version: Samples,
    /// `veni-cni` with STATUS: the same with one empty call to the daemon.
    pub(crate) status: Samples,
    /// The daemon's own clock, ADDs by phase.
    pub(crate) add_phases: BTreeMap<String, Spent>,
    /// DELs by phase.
    pub(crate) del_phases: BTreeMap<String, Spent>,
}

/// What a port of the node (`hostPort`) costs.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// ADDs without.
    pub(crate) add_without: Samples,
    /// ADDs with one.
    pub(crate) add_with: Samples,
    /// DELs without.
    pub(crate) del_without: Samples,
    /// DELs with one.
    pub(crate) del_with: Samples,
}

/// Measures all contenders in turns.
pub(crate) fn measure(world: &World, scale: &Scale) -> anyhow::Result<OneByOne> {
    let mut figures = OneByOne::default();
    let mut left = scale.rounds;
    while left > 0 {
        let pods: Vec<usize> = (0..left.min(CHUNK)).collect();
        left -= pods.len();
        eprintln!("one at a time: {} of {}", scale.rounds - left, scale.rounds);
        ask(world, pods.len(), &mut figures)?;
        add(world, &pods, &mut figures)?;
        for kind in Kind::ALL {
            delete(world, kind, &pods, &mut figures)?;
        }
        ports(world, &pods, &mut figures.ports)?;
    }
    Ok(figures)
}

/// Every other pod has a port of the node.
fn ports(world: &World, pods: &[usize], figures: &mut Ports) -> anyhow::Result<()> {
    let veni = world.contender(Kind::Veni);
    let with_port = |pod: usize| !pod.is_multiple_of(2);
    let add = |pod: &usize| match with_port(*pod) {
        true => veni.add_with_port(*pod),
        false => Ok(veni.add(*pod)),
    };
    let jobs: Vec<Job> = pods.iter().map(add).collect::<Result<_, _>>()?;
    let outcomes = world.start(Order::Series, &jobs)?;
    world.verify_added(Kind::Veni, pods, &outcomes, pods.len())?;
    world.verify_ports(pods.iter().copied().filter(|pod| with_port(*pod)))?;
    figures.add_without.extend(outcomes.iter().step_by(2));
    figures.add_with.extend(outcomes.iter().skip(1).step_by(2));
    let jobs: Vec<Job> = pods.iter().map(|pod| veni.del(*pod)).collect();
    let outcomes = world.start(Order::Series, &jobs)?;
    world.settle(Kind::Veni, pods, 0)?;
    world.verify_ports([].into_iter())?;
    figures.del_without.extend(outcomes.iter().step_by(2));
    figures.del_with.extend(outcomes.iter().skip(1).step_by(2));
    Ok(())
}

fn ask(world: &World, count: usize, figures: &mut OneByOne) -> anyhow::Result<()> {
    let veni = world.contender(Kind::Veni);
    let (version, status) = (veni.ask("VERSION"), veni.ask("STATUS"));
    let jobs: Vec<Job> = (0..count)
        .flat_map(|_| [version.clone(), status.clone()])
        .collect();
    let outcomes = world.start(Order::Series, &jobs)?;
    figures.version.extend(outcomes.iter().step_by(2));
    figures.status.extend(outcomes.iter().skip(1).step_by(2));
    Ok(())
}

fn add(world: &World, pods: &[usize], figures: &mut OneByOne) -> anyhow::Result<()> {
    let in_turn = |pod: &usize| Kind::ALL.map(|kind| world.contender(kind).add(*pod));
    let jobs: Vec<Job> = pods.iter().flat_map(in_turn).collect();
    let phases = world.daemon.phases("add")?;
    // The contenders' jobs are mixed, but the daemon works only for Veni's.
    let cpu = world.daemon.cpu_nanoseconds()?;
    let outcomes = world.start(Order::Series, &jobs)?;
    let cpu = world.daemon.cpu_nanoseconds()? - cpu;
    accumulate(
        &mut figures.add_phases,
        &phases,
        &world.daemon.phases("add")?,
    );
    for (position, kind) in Kind::ALL.into_iter().enumerate() {
        let own: Vec<_> = outcomes
            .iter()
            .skip(position)
            .step_by(Kind::ALL.len())
            .cloned()
            .collect();
        let samples = figures.add.entry(kind).or_default();
        samples.extend(&own);
        if kind == Kind::Veni {
            samples.daemon_cpu_nanoseconds += cpu;
        }
        world.verify_added(kind, pods, &own, pods.len())?;
    }
    Ok(())
}

fn delete(world: &World, kind: Kind, pods: &[usize], figures: &mut OneByOne) -> anyhow::Result<()> {
    let contender = world.contender(kind);
    let jobs: Vec<Job> = pods.iter().map(|pod| contender.del(*pod)).collect();
    let phases = world.daemon.phases("del")?;
    let cpu = world.daemon.cpu_nanoseconds()?;
    let outcomes = world.start(Order::Series, &jobs)?;
    let samples = figures.del.entry(kind).or_default();
    samples.extend(&outcomes);
    world.settle(kind, pods, 0)?;
    if kind == Kind::Veni {
        // Includes the work that the daemon does after its answer.
        samples.daemon_cpu_nanoseconds += world.daemon.cpu_nanoseconds()? - cpu;
        accumulate(
            &mut figures.del_phases,
            &phases,
            &world.daemon.phases("del")?,
        );
    }
    Ok(())
}

fn accumulate(
    sum: &mut BTreeMap<String, Spent>,
    before: &BTreeMap<String, Spent>,
    after: &BTreeMap<String, Spent>,
) {
    for (phase, after) in after {
        let before = before.get(phase).copied().unwrap_or_default();
        let spent = sum.entry(phase.clone()).or_default();
        spent.seconds += after.seconds - before.seconds;
        spent.count += after.count - before.count;
    }
}
