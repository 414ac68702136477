//! What the programs have counted.

use std::collections::BTreeMap;
use std::path::Path;

use aya::maps::{MapData, PerCpuArray, PerCpuHashMap};
use veni_policy::Direction;

use crate::Error;
use crate::layout::{REASONS, Reason, RecordBudget, Verdicts};
use crate::maps;

/// Counts of one endpoint. Each pair is of what goes to the pod and of what comes from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointCounters {
    /// Packets that passed.
    pub passed: [u64; 2],
    /// Bytes of these, with Ethernet's header.
    pub passed_bytes: [u64; 2],
    /// Packets that were dropped.
    pub dropped: [u64; 2],
    /// Packets that passed for the audit alone.
    pub would_drop: [u64; 2],
}

/// All that is counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// By index of the node's end of the veth pair. They begin at 0 with each endpoint.
    pub endpoints: BTreeMap<u32, EndpointCounters>,
    /// Dropped packets since the node started, in the order of directions and reasons.
    pub drops: Vec<(Direction, Reason, u64)>,
    /// Records that were not told: more than the rate, or nobody read them in time.
    pub lost_records: u64,
}

/// The maps of counters.
pub(crate) struct Counting {
    verdicts: PerCpuHashMap<MapData, u32, Verdicts>,
    reasons: PerCpuArray<MapData, u64>,
    budgets: PerCpuArray<MapData, RecordBudget>,
}

impl Counting {
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        Ok(Self {
            verdicts: maps::per_cpu_hash(folder, "verdicts")?,
            reasons: maps::per_cpu_array(folder, "reasons")?,
            budgets: maps::per_cpu_array(folder, "budgets")?,
        })
    }

    pub(crate) fn read(&self) -> Result<Counters, Error> {
        let mut counters = Counters::default();
        for element in self.verdicts.iter() {
            let (link, per_cpu) = element.map_err(Error::map("read", "verdicts"))?;
            counters.endpoints.insert(link, sum(per_cpu.iter()));
        }
        for (at, direction) in (0..).zip([Direction::Ingress, Direction::Egress]) {
            for reason in Reason::ALL {
                let number = at * REASONS + u32::from(reason as u8);
                let per_cpu = self.reasons.get(&number, 0);
                let count = per_cpu.map_err(Error::map("read", "reasons"))?.iter().sum();
                counters.drops.push((direction, reason, count));
            }
        }
        let budgets = self.budgets.get(&0, 0);
        let budgets = budgets.map_err(Error::map("read", "budgets"))?;
        counters.lost_records = budgets.iter().map(|budget| budget.lost).sum();
        Ok(counters)
    }
}

fn sum<'a>(per_cpu: impl Iterator<Item = &'a Verdicts>) -> EndpointCounters {
    let mut sum = EndpointCounters::default();
    for cpu in per_cpu {
        for way in 0..2 {
            sum.passed[way] += cpu.passed[way];
            sum.passed_bytes[way] += cpu.passed_bytes[way];
            sum.dropped[way] += cpu.dropped[way];
            sum.would_drop[way] += cpu.would_drop[way];
        }
    }
    sum
}
