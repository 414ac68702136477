//! Measures ADDs and DELs of many pods at the same instant.

use std::collections::BTreeMap;

use veni_terminal::eprintln;

use crate::contender::Kind;
use crate::figures::{Samples, median_of, milliseconds};
use crate::starter::{Job, Order, Outcome};
use crate::world::World;

/// Pods of one contender, all at once, several times.
#[derive(Debug, Default)]
pub(crate) struct Together {
    /// Operations, all repetitions together.
    pub(crate) samples: Samples,
    walls: Vec<f64>,
}

impl Together {
    fn record(&mut self, outcomes: &[Outcome]) {
        self.samples.extend(outcomes);
        let last = outcomes.iter().map(|outcome| outcome.nanoseconds).max();
        self.walls.push(milliseconds(last.unwrap_or(0)));
    }

    /// From the common start to the last answer, ms; the median of the repetitions.
    pub(crate) fn wall(&self) -> f64 {
        median_of(self.walls.clone())
    }
}

/// The figures of one size.
#[derive(Debug)]
pub(crate) struct Burst {
    /// How many at once.
    pub(crate) size: usize,
    /// ADDs by contender.
    pub(crate) add: BTreeMap<Kind, Together>,
    /// DELs by contender.
    pub(crate) del: BTreeMap<Kind, Together>,
}

/// ADDs at the same instant, then their DELs at the same instant.
pub(crate) fn all_at_once(world: &World, size: usize, repeats: usize) -> anyhow::Result<Burst> {
    let mut burst = Burst {
        size,
        add: BTreeMap::new(),
        del: BTreeMap::new(),
    };
    let pods: Vec<usize> = (0..size).collect();
    for repeat in 1..=repeats {
        eprintln!("{size} at once: {repeat} of {repeats}");
        for kind in Kind::ALL {
            world.pool_settles(0)?;
            let contender = world.contender(kind);
            let adds: Vec<Job> = pods.iter().map(|pod| contender.add(*pod)).collect();
            let added = world.start(Order::Burst, &adds)?;
            burst.add.entry(kind).or_default().record(&added);
            world.verify_added(kind, &pods, &added, size)?;
            let dels: Vec<Job> = pods.iter().map(|pod| contender.del(*pod)).collect();
            let deleted = world.start(Order::Burst, &dels)?;
            burst.del.entry(kind).or_default().record(&deleted);
            world.settle(kind, &pods, 0)?;
        }
    }
    Ok(burst)
}

/// As many ADDs as DELs, all at the same instant.
pub(crate) fn mixed(world: &World, count: usize, repeats: usize) -> anyhow::Result<Burst> {
    let mut burst = Burst {
        size: count,
        add: BTreeMap::new(),
        del: BTreeMap::new(),
    };
    let old: Vec<usize> = (0..count).collect();
    let new: Vec<usize> = (count..2 * count).collect();
    for repeat in 1..=repeats {
        eprintln!("{count} ADDs with {count} DELs: {repeat} of {repeats}");
        for kind in Kind::ALL {
            world.pool_settles(0)?;
            let contender = world.contender(kind);
            let before: Vec<Job> = old.iter().map(|pod| contender.add(*pod)).collect();
            world.start(Order::Series, &before)?;
            let pairs = old.iter().zip(&new);
            let jobs: Vec<Job> = pairs
                .flat_map(|(old, new)| [contender.add(*new), contender.del(*old)])
                .collect();
            let outcomes = world.start(Order::Burst, &jobs)?;
            let added: Vec<Outcome> = outcomes.iter().step_by(2).cloned().collect();
            let deleted: Vec<Outcome> = outcomes.iter().skip(1).step_by(2).cloned().collect();
            burst.add.entry(kind).or_default().record(&added);
            burst.del.entry(kind).or_default().record(&deleted);
            world.settle(kind, &old, count)?;
            world.verify_added(kind, &new, &added, count)?;
            let after: Vec<Job> = new.iter().map(|pod| contender.del(*pod)).collect();
            world.start(Order::Series, &after)?;
            world.settle(kind, &new, 0)?;
        }
    }
    Ok(burst)
}
