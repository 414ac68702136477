//! Long-running operations: accepted at once, carried out when their time has come, asked
//! about by their URL.
//! <https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations>

use std::collections::BTreeMap;

use serde_json::json;
use tokio::time::Instant;

use crate::message::Response;
use crate::nic::Goal;
use crate::refusal::Refusal;
use crate::state::State;

/// A write that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    /// The NIC's name, in lower case.
    pub(crate) nic: String,
    pub(crate) goal: Goal,
    pub(crate) ends: Instant,
    /// It will fail so, whatever the rules say.
    pub(crate) fails: Option<Refusal>,
    /// What came of it.
    pub(crate) result: Option<Result<(), Refusal>>,
}

/// All operations.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    known: BTreeMap<String, Operation>,
    begun: u64,
}

impl Operations {
    pub(crate) fn add(&mut self, operation: Operation) -> String {
        self.begun += 1;
        let id = format!("00000000-0000-0000-0000-{:012x}", self.begun);
        self.known.insert(id.clone(), operation);
        id
    }

    /// How many writes were ever accepted.
    pub(crate) fn begun(&self) -> u64 {
        self.begun
    }

    /// Nobody knows of any operation any more; those under way go on.
    pub(crate) fn forget_ended(&mut self) {
        self.known.retain(|_, one| one.result.is_none());
    }
}

impl State {
    /// Carries out the operations whose time has come, in their order.
    pub(crate) fn end_operations(&mut self, now: Instant) {
        let all = self.operations.known.iter();
        let due = all.filter(|(_, one)| one.result.is_none() && one.ends <= now);
        let mut due: Vec<(Instant, String)> = due.map(|(id, one)| (one.ends, id.clone())).collect();
        due.sort();
        for (_, id) in due {
            let Some(operation) = self.operations.known.get(&id).cloned() else {
                continue;
            };
            let result = self.carry_out(&operation, now);
            if let Some(known) = self.operations.known.get_mut(&id) {
                known.result = Some(result);
            }
        }
    }

    /// What the URL in `Azure-AsyncOperation` answers.
    pub(crate) fn operation_status(&self, id: &str) -> Response {
        let Some(operation) = self.operations.known.get(id) else {
            return unknown(id).response();
        };
        let status = match &operation.result {
            None => json!({"status": "InProgress"}),
            Some(Ok(())) => json!({"status": "Succeeded"}),
            Some(Err(refusal)) => json!({"status": "Failed", "error": refusal.error()}),
        };
        let answer = Response::json(200, &status);
        match operation.result {
            None => answer.with("Retry-After", self.config.retry_after_seconds()),
            Some(_) => answer,
        }
    }

    /// What the URL in `Location` answers.
    pub(crate) fn operation_result(&self, id: &str, host: &str) -> Response {
        let Some(operation) = self.operations.known.get(id) else {
            return unknown(id).response();
        };
        match &operation.result {
            None => Response::empty(202)
                .with("Location", self.operation_url(id, "operationResults", host))
                .with("Retry-After", self.config.retry_after_seconds()),
            Some(Ok(())) => match self.nics.get(&operation.nic) {
                Some(nic) => Response::json(200, &nic.show(true)),
                None => Response::empty(204),
            },
            Some(Err(refusal)) => refusal.response(),
        }
    }

    pub(crate) fn operation_url(&self, id: &str, kind: &str, host: &str) -> String {
        let (subscription, location) = (&self.config.subscription, &self.config.location);
        format!(
            "https://{host}/subscriptions/{subscription}/providers/Microsoft.Network/locations/\
             {location}/{kind}/{id}?api-version=2024-05-01"
        )
    }
}

fn unknown(id: &str) -> Refusal {
    let message = format!("The operation '{id}' was not found.");
    Refusal::new(404, "OperationNotFound", message)
}
