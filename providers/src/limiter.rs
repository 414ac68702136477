//! What stands in front of any provider: one budget of calls per API family
//! that slows down when the cloud throttles, a deadline per call, and a report
//! of each call to an observer. It never repeats a call.

mod budget;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout};

use crate::{
    AddressSlots, ApiFamily, AttachRequest, Capabilities, ChangeRequest, ErrorClass, Grant,
    Interface, InterfaceId, Inventory, LocalView, Node, Operation, OperationId, Progress, Provider,
    ProviderError,
};
pub use budget::Budget;

/// Told of every call that came to an end, and of budgets that changed. A call
/// whose future is dropped is not told of.
pub trait CallObserver: Send + Sync + 'static {
    /// A call ended. It waited for its budget, then took its time at the cloud.
    fn call(
        &self,
        operation: Operation,
        outcome: Result<(), &ErrorClass>,
        waited: Duration,
        took: Duration,
    );

    /// A family's budget is now so many calls per second.
    fn budget(&self, family: ApiFamily, per_second: f64);
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl CallObserver for NoObserver {
    fn call(&self, _: Operation, _: Result<(), &ErrorClass>, _: Duration, _: Duration) {}

    fn budget(&self, _: ApiFamily, _: f64) {}
}

/// The budget of a family while the cloud does not throttle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Calls per second, more than 0.
    pub per_second: f64,
    /// Calls that pass at once after a quiet time, at least 1.
    pub burst: u32,
}

/// How a budget follows what the cloud lets pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adaptation {
    /// No budget gets slower than this, in calls per second.
    pub slowest: f64,
    /// What a throttled answer leaves of a budget, between 0 and 1.
    pub decrease: f64,
    /// What a budget that is used up fully gains back per second, in calls per
    /// second.
    pub increase: f64,
    /// A wait is longer by a random share of itself of up to this, so that
    /// nodes that were throttled together do not come back together.
    pub jitter: f64,
}

impl Default for Adaptation {
    fn default() -> Self {
        Self {
            slowest: 0.1,
            decrease: 0.5,
            increase: 0.5,
            jitter: 0.25,
        }
    }
}

/// Settings of the limiter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimiterConfig {
    /// The budget of reads.
    pub describe: Rate,
    /// The budget of assigning addresses and prefixes.
    pub addresses: Rate,
    /// The budget of attaching interfaces.
    pub interfaces: Rate,
    /// The budget of what goes back: releases and detachments.
    pub returns: Rate,
    /// What throttling does to them.
    pub adaptation: Adaptation,
    /// Longest time of a call at the cloud, where the provider does not say another one
    /// ([`Provider::deadline`]).
    pub deadline: Duration,
}

impl Default for LimiterConfig {
    /// Generous for one node, and a small part of what an account of AWS or a
    /// subscription of Azure grants.
    fn default() -> Self {
        let rate = |per_second, burst| Rate { per_second, burst };
        Self {
            describe: rate(10.0, 20),
            addresses: rate(5.0, 10),
            interfaces: rate(2.0, 5),
            returns: rate(3.0, 10),
            adaptation: Adaptation::default(),
            deadline: Duration::from_secs(30),
        }
    }
}

impl LimiterConfig {
    fn rate(&self, family: ApiFamily) -> Rate {
        match family {
            ApiFamily::Describe => self.describe,
            ApiFamily::Addresses => self.addresses,
            ApiFamily::Interfaces => self.interfaces,
            ApiFamily::Returns => self.returns,
        }
    }
}

/// A provider behind budgets.
pub struct Limited {
    inner: Arc<dyn Provider>,
    observer: Arc<dyn CallObserver>,
    budgets: [Budget; ApiFamily::ALL.len()],
    deadline: Duration,
}

impl std::fmt::Debug for Limited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limited")
            .field("provider", &self.inner.name())
            .field("budgets", &self.budgets)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Limited {
    /// Puts a provider behind budgets, and tells the observer what they are.
    pub fn new(
        inner: Arc<dyn Provider>,
        config: &LimiterConfig,
        observer: Arc<dyn CallObserver>,
    ) -> Self {
        let budgets =
            ApiFamily::ALL.map(|family| Budget::new(config.rate(family), &config.adaptation));
        for (family, budget) in ApiFamily::ALL.into_iter().zip(&budgets) {
            observer.budget(family, budget.per_second());
        }
        Self {
            inner,
            observer,
            budgets,
            deadline: config.deadline,
        }
    }

    /// The budget of a family now, in calls per second.
    pub fn budget(&self, family: ApiFamily) -> f64 {
        self.budgets[family as usize].per_second()
    }

    async fn call<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let asked = Instant::now();
        let (answer, started) = self.paced(operation, call).await;
        let outcome = answer.as_ref().map(|_| ()).map_err(|error| &error.class);
        let waited = started.duration_since(asked);
        self.observer
            .call(operation, outcome, waited, started.elapsed());
        answer
    }

    /// Makes a call when its family's budget allows, and tells when it left. The cloud
    /// has the deadline of this kind of call for its answer.
    async fn paced<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> (Result<T, ProviderError>, Instant) {
        let family = operation.family();
        let budget = &self.budgets[family as usize];
        budget.wait().await;
        let started = Instant::now();
        let deadline = self.deadline_of(operation);
        let answer = timeout(deadline, call)
            .await
            .unwrap_or_else(|_| Err(overdue(operation, deadline)));
        let adjusted = match &answer {
            Err(ProviderError {
                class: ErrorClass::Throttled { retry_after },
                ..
            }) => budget.throttled(started, *retry_after),
            _ => budget.passed(),
        };
        if let Some(per_second) = adjusted {
            self.observer.budget(family, per_second);
        }
        (answer, started)
    }

    fn deadline_of(&self, operation: Operation) -> Duration {
        self.inner.deadline(operation).unwrap_or(self.deadline)
    }
}

fn overdue(operation: Operation, deadline: Duration) -> ProviderError {
    let class = if operation.mutates() {
        ErrorClass::OutcomeUnknown
    } else {
        ErrorClass::Transient
    };
    let reason = format!("no answer within {deadline:?}");
    ProviderError::new(class, operation.label(), reason)
}

#[async_trait]
impl Provider for Limited {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn node(&self) -> Result<Node, ProviderError> {
        self.call(Operation::Node, self.inner.node()).await
    }

    async fn inventory(&self) -> Result<Inventory, ProviderError> {
        self.call(Operation::Inventory, self.inner.inventory())
            .await
    }

    /// Costs the cloud nothing, so it waits for no budget.
    async fn local_view(&self) -> Option<LocalView> {
        timeout(self.deadline, self.inner.local_view()).await.ok()?
    }

    async fn attach_interface(&self, request: &AttachRequest) -> Result<Interface, ProviderError> {
        let call = self.inner.attach_interface(request);
        self.call(Operation::AttachInterface, call).await
    }

    async fn detach_interface(&self, interface: &InterfaceId) -> Result<(), ProviderError> {
        let call = self.inner.detach_interface(interface);
        self.call(Operation::DetachInterface, call).await
    }

    async fn assign(
        &self,
        interface: &InterfaceId,
        slots: AddressSlots,
    ) -> Result<Grant, ProviderError> {
        let call = self.inner.assign(interface, slots);
        self.call(Operation::Assign, call).await
    }

    async fn release(&self, interface: &InterfaceId, grant: &Grant) -> Result<(), ProviderError> {
        let call = self.inner.release(interface, grant);
        self.call(Operation::Release, call).await
    }

    async fn begin(&self, change: &ChangeRequest) -> Result<Progress, ProviderError> {
        self.call(change.operation(), self.inner.begin(change))
            .await
    }

    /// Paid as a read. The observer is told of the change when it begins, and of no
    /// question after it.
    async fn resume(&self, operation: &OperationId) -> Result<Progress, ProviderError> {
        let asked = self.inner.resume(operation);
        self.paced(Operation::Inventory, asked).await.0
    }

    fn deadline(&self, operation: Operation) -> Option<Duration> {
        Some(self.deadline_of(operation))
    }
}

#[cfg(test)]
mod tests;
