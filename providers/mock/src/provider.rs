//! A node's view of the cloud in this process. Each call passes permission,
//! faults and the account's budget, takes its time, is applied in the middle
//! of it, and answers at its end: a caller that goes away in the second half
//! leaves a change behind, as with a real cloud.

use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::time::sleep;
use veni_provider::change::carry_out;
use veni_provider::{
    AddressSlots, AttachRequest, Capabilities, ChangeRequest, ErrorClass, Grant, Interface,
    InterfaceId, Inventory, LocalView, Node, Operation, OperationId, Progress, Provider,
    ProviderError,
};

use crate::cloud::MockCloud;
use crate::config::Profile;
use crate::faults::FaultKind;
use crate::refusal::Refusal;
use crate::state::State;

/// Longer than anybody waits for an answer.
const HANG: Duration = Duration::from_secs(300);

/// What was decided about a call when it arrived.
struct Admission {
    latency: Duration,
    refused: Option<Refusal>,
    fault: Option<FaultKind>,
}

/// The cloud as one node sees it.
#[derive(Debug, Clone)]
pub struct MockProvider {
    cloud: MockCloud,
    instance: String,
    capabilities: Capabilities,
    profile: Profile,
    by_hand: bool,
}

impl MockProvider {
    pub(crate) fn new(cloud: MockCloud, instance: &str) -> Self {
        Self {
            capabilities: cloud.capabilities(),
            profile: cloud.config().profile,
            cloud,
            instance: instance.to_owned(),
            by_hand: false,
        }
    }

    /// The same, for a test that changes something itself: its calls take no time, meet no
    /// fault, cost no budget and need no permission.
    #[must_use]
    pub fn by_hand(self) -> Self {
        Self {
            by_hand: true,
            ..self
        }
    }

    async fn call<T>(
        &self,
        operation: Operation,
        apply: impl FnOnce(&mut State, Option<u32>) -> Result<T, Refusal>,
    ) -> Result<T, ProviderError> {
        if self.by_hand {
            let made = apply(&mut self.cloud.lock(), None);
            return made.map_err(|refusal| refusal.named(self.profile.operation_name(operation)));
        }
        let admission = self.admit(operation);
        pause(admission.latency / 2).await;
        let answer = match admission.refused {
            Some(refusal) => Err(refusal),
            None => self.perform(admission.fault, operation, apply).await,
        };
        let answer =
            answer.map_err(|refusal| refusal.named(self.profile.operation_name(operation)));
        let outcome = answer.as_ref().map_or_else(|e| e.class.label(), |_| "ok");
        self.cloud.lock().count(&self.instance, operation, outcome);
        tracing::trace!(instance = self.instance, %operation, outcome, "mock cloud call");
        pause(admission.latency / 2).await;
        answer
    }

    fn admit(&self, operation: Operation) -> Admission {
        let mut state = self.cloud.lock();
        let state = &mut *state;
        let now = state.now();
        let quantile = state.rng.random();
        let latency = state.config.latency.of(operation).at(quantile);
        let budget = state.budget.as_mut();
        let refused = if state.denied.contains(&operation) {
            Some(Refusal::new(
                ErrorClass::Denied,
                "UnauthorizedOperation: you are not authorized to perform this operation",
            ))
        } else {
            budget
                .and_then(|budget| budget.take(operation.mutates(), now).err())
                .map(|wait| self.throttled(wait))
        };
        // What is refused at the door meets no fault and uses none up.
        let fault = if refused.is_none() {
            let faults = &mut state.faults;
            faults.meet(&self.instance, operation, now, &mut state.rng)
        } else {
            None
        };
        Admission {
            latency,
            refused,
            fault,
        }
    }

    fn throttled(&self, wait: Duration) -> Refusal {
        let (retry_after, text) = match self.profile {
            // EC2 gives no hint.
            Profile::Aws => (None, "RequestLimitExceeded: request limit exceeded"),
            Profile::Azure => (Some(wait), "TooManyRequests: the request was throttled"),
        };
        Refusal::new(ErrorClass::Throttled { retry_after }, text)
    }

    async fn perform<T>(
        &self,
        fault: Option<FaultKind>,
        operation: Operation,
        apply: impl FnOnce(&mut State, Option<u32>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let no_answer = || {
            let class = if operation.mutates() {
                ErrorClass::OutcomeUnknown
            } else {
                ErrorClass::Transient
            };
            Refusal::new(class, "the connection broke before the answer came")
        };
        match fault {
            None => apply(&mut self.cloud.lock(), None),
            Some(FaultKind::Partial { at_most }) => apply(&mut self.cloud.lock(), Some(at_most)),
            Some(FaultKind::Error { class, reason }) => Err(Refusal::new(class, reason)),
            Some(FaultKind::AnswerLost) => {
                apply(&mut self.cloud.lock(), None)?;
                Err(no_answer())
            }
            Some(FaultKind::Timeout { applied }) => {
                if applied {
                    apply(&mut self.cloud.lock(), None)?;
                }
                sleep(HANG).await;
                Err(no_answer())
            }
        }
    }
}

async fn pause(duration: Duration) {
    if duration > Duration::ZERO {
        sleep(duration).await;
    }
}

#[async_trait]
impl Provider for MockProvider {
    fn name(&self) -> &'static str {
        "mock"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn node(&self) -> Result<Node, ProviderError> {
        self.call(Operation::Node, |state, _| {
            state.describe_node(&self.instance)
        })
        .await
    }

    async fn inventory(&self) -> Result<Inventory, ProviderError> {
        self.call(Operation::Inventory, |state, _| {
            state.inventory(&self.instance)
        })
        .await
    }

    /// Lags as the inventory does, costs nothing and never fails while there is
    /// such a node.
    async fn local_view(&self) -> Option<LocalView> {
        let mut state = self.cloud.lock();
        let seen = state.inventory(&self.instance).ok()?;
        let interfaces = seen.interfaces.iter();
        let ranges = state.config.vpc_cidrs.iter();
        Some(LocalView {
            interfaces: interfaces.map(|one| (one.mac, one.ranges())).collect(),
            marks: ranges.map(ToString::to_string).collect(),
        })
    }

    async fn attach_interface(&self, request: &AttachRequest) -> Result<Interface, ProviderError> {
        self.call(Operation::AttachInterface, |state, at_most| {
            let made = state.attach(&self.instance, request, at_most)?;
            match self.by_hand {
                true => state.make_unmarked(&self.instance, made),
                false => Ok(made),
            }
        })
        .await
    }

    async fn detach_interface(&self, interface: &InterfaceId) -> Result<(), ProviderError> {
        self.call(Operation::DetachInterface, |state, _| {
            state.detach(&self.instance, interface)
        })
        .await
    }

    async fn assign(
        &self,
        interface: &InterfaceId,
        slots: AddressSlots,
    ) -> Result<Grant, ProviderError> {
        self.call(Operation::Assign, |state, at_most| {
            state.assign(&self.instance, interface, slots, at_most)
        })
        .await
    }

    async fn release(&self, interface: &InterfaceId, grant: &Grant) -> Result<(), ProviderError> {
        self.call(Operation::Release, |state, _| {
            state.release(&self.instance, interface, grant)
        })
        .await
    }

    async fn begin(&self, change: &ChangeRequest) -> Result<Progress, ProviderError> {
        let lasts = self.cloud.lock().config.long_changes;
        if let Some(lasts) = lasts {
            let accept = |state: &mut State, _| state.accept(&self.instance, change, lasts);
            return self.call(change.operation(), accept).await;
        }
        carry_out(self, change).await
    }

    /// Costs what a look at the node costs, and counts as one.
    async fn resume(&self, operation: &OperationId) -> Result<Progress, ProviderError> {
        self.call(Operation::Node, |state, _| {
            state.progress(&self.instance, operation)
        })
        .await
    }
}
