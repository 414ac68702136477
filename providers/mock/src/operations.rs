//! Changes that the cloud carries out on its own, for minutes: accepted at once, made
//! when their time has come, and asked about by their operation's id.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use veni_provider::{
    ChangeRequest, ChangeResult, ErrorClass, InterfaceId, InterfaceState, OperationId, Progress,
    Running,
};

use crate::refusal::Refusal;
use crate::state::State;

/// Of the time that a change takes: how often the cloud wants to be asked.
const QUESTIONS: u32 = 10;
/// Of the time that a change takes: after so many times as much it has ended for sure.
const SURELY: u32 = 3;

/// All changes that were ever accepted.
#[derive(Debug, Default)]
pub(crate) struct Operations(BTreeMap<OperationId, Accepted>);

#[derive(Debug, Clone)]
struct Accepted {
    instance: String,
    change: ChangeRequest,
    ends: Instant,
    /// What came of it, once it has ended.
    result: Option<Result<ChangeResult, Refusal>>,
}

impl State {
    /// Accepts a change that ends after `lasts`. An attachment that was accepted before
    /// is known by its token.
    pub(crate) fn accept(
        &mut self,
        instance: &str,
        change: &ChangeRequest,
        lasts: Duration,
    ) -> Result<Progress, Refusal> {
        if let Some(known) = self.accepted_before(instance, change) {
            return self.progress(instance, &known);
        }
        if let Some(id) = change.interface() {
            self.begin_update(instance, id)?;
        }
        let number = self.operations.0.len() + 1;
        let operation = OperationId::new(format!("operation-{number:08}"));
        let accepted = Accepted {
            instance: instance.to_owned(),
            change: change.clone(),
            ends: self.now() + lasts,
            result: None,
        };
        self.operations.0.insert(operation.clone(), accepted);
        self.progress(instance, &operation)
    }

    /// Tells how far a change of this node is.
    pub(crate) fn progress(
        &self,
        instance: &str,
        operation: &OperationId,
    ) -> Result<Progress, Refusal> {
        let known = self.operations.0.get(operation);
        let Some(known) = known.filter(|known| known.instance == instance) else {
            return Err(Refusal::new(
                ErrorClass::NotFound,
                format!("OperationNotFound: there is no operation {operation}"),
            ));
        };
        match known.result.clone() {
            Some(result) => Ok(Progress::Done(result?)),
            None => {
                let left = known.ends.saturating_duration_since(self.now());
                Ok(Progress::Running(Running {
                    operation: operation.clone(),
                    ask_again: (left / QUESTIONS).max(Duration::from_millis(1)),
                    at_most: left * SURELY,
                }))
            }
        }
    }

    /// Makes the changes whose time has come.
    pub(crate) fn end_operations(&mut self) {
        let now = self.now();
        let all = self.operations.0.iter();
        let due = all.filter(|(_, one)| one.result.is_none() && one.ends <= now);
        let due: Vec<(OperationId, Accepted)> =
            due.map(|(id, one)| (id.clone(), one.clone())).collect();
        for (id, one) in due {
            if let Some(interface) = one.change.interface() {
                self.show_state(&one.instance, interface, InterfaceState::Attached);
            }
            let result = self.make(&one.instance, &one.change);
            if let Some(accepted) = self.operations.0.get_mut(&id) {
                accepted.result = Some(result);
            }
        }
    }

    fn accepted_before(&self, instance: &str, change: &ChangeRequest) -> Option<OperationId> {
        let ChangeRequest::Attach(_) = change else {
            return None;
        };
        let mut all = self.operations.0.iter();
        let known = all.find(|(_, one)| one.instance == instance && one.change == *change);
        known.map(|(id, _)| id.clone())
    }

    fn begin_update(&mut self, instance: &str, id: &InterfaceId) -> Result<(), Refusal> {
        let Ok(interface) = self.interface(instance, id) else {
            // What is not there is decided when the change is made.
            self.node(instance)?;
            return Ok(());
        };
        if interface.state == InterfaceState::Updating {
            return Err(Refusal::new(
                ErrorClass::Transient,
                format!("AnotherOperationInProgress: a change of {id} is under way"),
            ));
        }
        self.show_state(instance, id, InterfaceState::Updating);
        Ok(())
    }

    fn make(&mut self, instance: &str, change: &ChangeRequest) -> Result<ChangeResult, Refusal> {
        match change {
            ChangeRequest::Attach(request) => {
                let made = self.attach(instance, request, None);
                made.map(ChangeResult::Attached)
            }
            ChangeRequest::Detach { interface } => {
                let gone = self.detach(instance, interface);
                gone.map(|()| ChangeResult::Detached)
            }
            ChangeRequest::Assign { interface, slots } => {
                let grant = self.assign(instance, interface, *slots, None);
                grant.map(ChangeResult::Assigned)
            }
            ChangeRequest::Release { interface, grant } => {
                let gone = self.release(instance, interface, grant);
                gone.map(|()| ChangeResult::Released)
            }
        }
    }
}
