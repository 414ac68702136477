//! Faults of the in-memory kernel: which step fails when, and how long steps take.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use crate::plan::KernelError;

/// What the in-memory kernel does one after the other, and where it can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The node's settings, rules and nftables.
    PrepareNode,
    /// An interface's table and rules.
    EnsureInterface,
    /// The removal of these.
    RemoveInterface,
    /// The first step of an ADD: the veth pair.
    CreatePair,
    /// The second: addresses, routes and neighbours in the pod.
    ConfigurePod,
    /// The third: the routes on the host.
    ConfigureHost,
    /// The removal of a pod's routes; its link goes down and into the dying group.
    RemoveEndpoint,
    /// A pod's limits, made again.
    EnsureLimits,
    /// The removal of what does not go with a pod's link of its limits.
    RemoveLimits,
    /// The removal of a pod's rules from its namespace.
    ClearNamespace,
    /// The comparison of a pod's network with its plan.
    Check,
    /// The listing of everything of ours.
    Observe,
    /// The listing of the addresses of the node's links.
    NodeAddresses,
    /// The deletion of the dying group.
    Reap,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    taken: HashMap<Step, u32>,
    delays: HashMap<Step, Duration>,
    /// Step, the count at which it fails, and how.
    planned: Vec<(Step, u32, io::ErrorKind)>,
}

impl Faults {
    pub(super) fn fail(&mut self, step: Step, nth: u32, error: io::ErrorKind) {
        let at = self.taken(step) + nth;
        self.planned.push((step, at, error));
    }

    pub(super) fn delay(&mut self, step: Step, by: Duration) {
        self.delays.insert(step, by);
    }

    pub(super) fn taken(&self, step: Step) -> u32 {
        self.taken.get(&step).copied().unwrap_or_default()
    }

    pub(super) fn begin(&mut self, step: Step) -> (Duration, Result<(), KernelError>) {
        let count = self.taken.entry(step).or_default();
        *count += 1;
        let count = *count;
        let due = self
            .planned
            .iter()
            .position(|(which, at, _)| (*which, *at) == (step, count));
        let outcome = due.map_or(Ok(()), |position| {
            let (_, _, error) = self.planned.swap_remove(position);
            Err(KernelError::Refused {
                operation: format!("take the step {step:?}"),
                reason: error.into(),
            })
        });
        (self.delays.get(&step).copied().unwrap_or_default(), outcome)
    }
}
