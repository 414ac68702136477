//! What may go wrong on purpose: which calls a fault meets, how often, when,
//! and what it does to them.

use std::time::Duration;

use rand::Rng;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use veni_provider::{ErrorClass, Operation};

use crate::dump::FaultDump;

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// It fails and changes nothing.
    Error {
        /// With this class.
        class: ErrorClass,
        /// And this text.
        reason: String,
    },
    /// No answer comes, for longer than anybody waits.
    Timeout {
        /// Whether the change was made all the same.
        applied: bool,
    },
    /// The change is made, and the connection breaks before the answer:
    /// [`ErrorClass::OutcomeUnknown`] (for a read: [`ErrorClass::Transient`]).
    AnswerLost,
    /// At most so many addresses or prefixes come, at least one.
    Partial {
        /// The most addresses or prefixes that come.
        at_most: u32,
    },
}

/// A fault and the calls it meets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Only calls of this node.
    pub instance: Option<String>,
    /// Only this operation.
    pub operation: Option<Operation>,
    /// What it does.
    pub kind: FaultKind,
    /// Chance per matching call, 0 to 1.
    pub chance: f64,
    /// Matching calls that pass before it begins.
    pub skip: u32,
    /// Calls that it meets before it is used up; `None` is without end.
    pub count: Option<u32>,
    /// When it begins, from the injection on.
    pub starts_after: Duration,
    /// How long it stays from then on; `None` is until it is cleared.
    pub lasts: Option<Duration>,
}

impl Fault {
    /// Meets every call.
    pub fn always(kind: FaultKind) -> Self {
        Self {
            instance: None,
            operation: None,
            kind,
            chance: 1.0,
            skip: 0,
            count: None,
            starts_after: Duration::ZERO,
            lasts: None,
        }
    }

    /// Meets the next call of an operation, once.
    pub fn next(operation: Operation, kind: FaultKind) -> Self {
        Self::always(kind).on(operation).times(1)
    }

    /// Meets calls by chance.
    pub fn random(chance: f64, kind: FaultKind) -> Self {
        Self {
            chance,
            ..Self::always(kind)
        }
    }

    /// Only this operation.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Only this node.
    #[must_use]
    pub fn of(mut self, instance: &str) -> Self {
        self.instance = Some(instance.to_owned());
        self
    }

    /// Only so many calls.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.count = Some(count);
        self
    }
}

/// Names an injected fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(pub u64);

#[derive(Debug)]
struct Active {
    id: FaultId,
    fault: Fault,
    from: Instant,
    until: Option<Instant>,
    seen: u32,
    met: u32,
}

/// The faults in force.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    active: Vec<Active>,
    last: u64,
}

impl Faults {
    pub(crate) fn inject(&mut self, fault: Fault, now: Instant) -> FaultId {
        self.last += 1;
        let id = FaultId(self.last);
        let from = now + fault.starts_after;
        self.active.push(Active {
            id,
            until: fault.lasts.map(|lasts| from + lasts),
            fault,
            from,
            seen: 0,
            met: 0,
        });
        id
    }

    pub(crate) fn remove(&mut self, id: FaultId) {
        self.active.retain(|active| active.id != id);
    }

    pub(crate) fn clear(&mut self) {
        self.active.clear();
    }

    /// Those that may still meet a call.
    pub(crate) fn dump(&self, now: Instant) -> Vec<FaultDump> {
        let lives = |active: &&Active| {
            active.until.is_none_or(|until| now < until)
                && active.fault.count.is_none_or(|count| active.met < count)
        };
        let live = self.active.iter().filter(lives);
        live.map(|active| FaultDump {
            fault: active.fault.clone(),
            met: active.met,
        })
        .collect()
    }

    /// What meets this call: the oldest fault that matches.
    pub(crate) fn meet(
        &mut self,
        instance: &str,
        operation: Operation,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<FaultKind> {
        self.active
            .retain(|active| active.until.is_none_or(|until| now < until));
        for active in &mut self.active {
            let fault = &active.fault;
            let matches = now >= active.from
                && fault.instance.as_deref().is_none_or(|id| id == instance)
                && fault.operation.is_none_or(|wanted| wanted == operation);
            if !matches {
                continue;
            }
            active.seen += 1;
            if active.seen <= fault.skip || fault.count.is_some_and(|count| active.met >= count) {
                continue;
            }
            if fault.chance >= 1.0 || rng.random_bool(fault.chance.clamp(0.0, 1.0)) {
                active.met += 1;
                return Some(fault.kind.clone());
            }
        }
        None
    }
}
