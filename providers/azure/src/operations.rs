//! Changes that ARM carries out on its own: what a later daemon needs to ask for one, and
//! what an answer means.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use veni_provider::{
    ChangeResult, ErrorClass, Grant, OperationId, Progress, ProviderError, Running, Scarcity,
};

use crate::actions::Action;
use crate::client::{Answer, refusal};
use crate::configurations::{ChangeId, Configuration, Nic, Provisioning};
use crate::failure::{Context, Failure};
use crate::provider::Core;

/// The hint where ARM gives none, and its bounds.
const ASK_AGAIN: Duration = Duration::from_secs(5);
const SOONEST: Duration = Duration::from_millis(20);
const LATEST: Duration = Duration::from_secs(30);

/// How ARM is asked for an operation.
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Poll {
    /// By the URL of `Azure-AsyncOperation`.
    Operation(String),
    /// By the URL of `Location`.
    Location(String),
    /// By the resource's own state.
    Resource,
}

/// What a change was, for the time after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Asked {
    Addresses,
    Blocks,
    Release,
}

/// An operation's id, read: everything that is needed to ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accepted {
    /// The change, as its configurations' names carry it.
    pub(crate) change: String,
    pub(crate) asked: Asked,
    pub(crate) poll: Poll,
}

impl Accepted {
    fn id(&self) -> OperationId {
        OperationId::new(serde_json::to_string(self).unwrap_or_default())
    }

    fn of(id: &OperationId) -> Option<(Self, ChangeId)> {
        let read: Self = serde_json::from_str(id.as_str()).ok()?;
        let change = read.change.parse().ok()?;
        Some((read, change))
    }

    /// It goes on.
    pub(crate) fn running(&self, hint: Option<Duration>, at_most: Duration) -> Progress {
        Progress::Running(Running {
            operation: self.id(),
            ask_again: pause(hint),
            at_most,
        })
    }
}

/// When to ask again.
pub(crate) fn pause(hint: Option<Duration>) -> Duration {
    hint.unwrap_or(ASK_AGAIN).clamp(SOONEST, LATEST)
}

/// How far an operation is.
enum State {
    Underway(Option<Duration>),
    Succeeded,
    Failed(Failure),
}

impl Poll {
    /// What an accepted write says of how to ask for it.
    pub(crate) fn of(answer: &Answer) -> Self {
        match (&answer.operation, &answer.location) {
            (Some(url), _) => Self::Operation(url.clone()),
            (None, Some(url)) => Self::Location(url.clone()),
            (None, None) => Self::Resource,
        }
    }
}

impl Core {
    /// Asks how far a change is.
    pub(crate) async fn progress(&self, id: &OperationId) -> Result<Progress, ProviderError> {
        let Some((accepted, change)) = Accepted::of(id) else {
            let reason = format!("{id} is no operation of this provider");
            let operation = Action::GetOperation.label();
            return Err(ProviderError::new(ErrorClass::NotFound, operation, reason));
        };
        match self.state(&accepted.poll).await? {
            State::Underway(hint) => Ok(accepted.running(hint, self.settings.operation_patience)),
            State::Succeeded => self.result(&accepted, change).await,
            State::Failed(failure) => Err(self.ended_badly(&failure, accepted.asked)),
        }
    }

    async fn state(&self, poll: &Poll) -> Result<State, ProviderError> {
        match poll {
            Poll::Operation(url) => {
                let answer = self.client.ask(url).await;
                Ok(status(
                    &answer.map_err(|failure| unanswered(failure.error(None)))?,
                ))
            }
            Poll::Location(url) => match self.client.ask(url).await {
                Ok(answer) if answer.status == 202 => Ok(State::Underway(answer.retry_after)),
                Ok(_) => Ok(State::Succeeded),
                // Its own failure comes as the answer, those of the question as well: a
                // refusal with another status and another code than those is the operation's.
                Err(failure) if matches!(failure.status, None | Some(401 | 408 | 429 | 500..)) => {
                    Err(unanswered(failure.error(None)))
                }
                Err(failure) => match failure.class(None) {
                    ErrorClass::Throttled { .. } | ErrorClass::NotFound | ErrorClass::Denied => {
                        Err(unanswered(failure.error(None)))
                    }
                    _ if failure.code.is_empty() => Err(unanswered(failure.error(None))),
                    _ => Ok(State::Failed(failure)),
                },
            },
            Poll::Resource => {
                let nic = self.nic().await.map_err(unanswered)?;
                Ok(match nic.state {
                    Provisioning::Succeeded => State::Succeeded,
                    Provisioning::Underway => State::Underway(None),
                    Provisioning::Failed => {
                        let message = "the NIC's provisioningState is Failed";
                        State::Failed(Failure::unanswered(Action::PutNic, message, true))
                    }
                })
            }
        }
    }

    /// What a change that has succeeded has brought: the configurations of its name that
    /// have an address and `Succeeded`. It goes on where somebody else's write makes one of
    /// them show another state: a grant without it would leave it with nobody.
    pub(crate) async fn result(
        &self,
        accepted: &Accepted,
        change: ChangeId,
    ) -> Result<Progress, ProviderError> {
        if accepted.asked == Asked::Release {
            return Ok(Progress::Done(ChangeResult::Released));
        }
        let nic = self.nic().await.map_err(unanswered)?;
        let mut own = nic.configurations.iter();
        let unfinished =
            |one: &Configuration| one.ours == Some(change) && one.state != Provisioning::Succeeded;
        if nic.state == Provisioning::Underway && own.any(unfinished) {
            return Ok(accepted.running(None, self.settings.operation_patience));
        }
        let grant = granted(&nic, change);
        if grant.is_empty() {
            let reason = format!("the NIC shows no address of the change {change}");
            let operation = Action::PutNic.label();
            return Err(ProviderError::new(
                ErrorClass::OutcomeUnknown,
                operation,
                reason,
            ));
        }
        self.remember(&nic);
        Ok(Progress::Done(ChangeResult::Assigned(grant)))
    }

    /// The error of a change by the failure of its write. A release needs nothing of the
    /// subnet and no slot: if one of them was lacking, another change of the same write has
    /// failed it.
    pub(crate) fn told_as(&self, failure: &Failure, asked: Asked) -> ProviderError {
        let scarcity = match asked {
            Asked::Blocks => Scarcity::Prefixes,
            Asked::Addresses => Scarcity::Addresses,
            Asked::Release => {
                let mut error = failure.error(None);
                if matches!(error.class, ErrorClass::LimitReached { .. }) {
                    error.class = ErrorClass::Transient;
                }
                return error;
            }
        };
        failure.error(Some(Context {
            subnet: &self.subnet,
            scarcity,
        }))
    }

    /// The error of a change that has failed. To ask again helps for none of them, so what
    /// would say so is told as doubt.
    fn ended_badly(&self, failure: &Failure, asked: Asked) -> ProviderError {
        let mut error = self.told_as(failure, asked);
        if matches!(
            error.class,
            ErrorClass::Throttled { .. } | ErrorClass::Transient
        ) {
            error.class = ErrorClass::OutcomeUnknown;
        }
        error
    }
}

/// A question that has failed: the change goes on, whatever the reason.
fn unanswered(mut error: ProviderError) -> ProviderError {
    let told = matches!(
        error.class,
        ErrorClass::Throttled { .. } | ErrorClass::NotFound
    );
    if !told {
        error.class = ErrorClass::Transient;
    }
    error
}

fn status(answer: &Answer) -> State {
    match answer.body.get("status").and_then(Value::as_str) {
        Some("Succeeded") => State::Succeeded,
        Some(status @ ("Failed" | "Canceled")) => {
            let mut failure = refusal(Action::PutNic, &answer.body);
            // The operation's own code decides; a status of the question says nothing.
            failure.status = Some(400);
            if failure.code.is_empty() {
                failure.code = status.to_owned();
                failure.in_doubt = status == "Failed";
            }
            State::Failed(failure)
        }
        _ => State::Underway(answer.retry_after),
    }
}

fn granted(nic: &Nic, change: ChangeId) -> Grant {
    let mut grant = Grant::default();
    let all = nic.configurations.iter();
    let own = all.filter(|one| one.ours == Some(change) && one.state == Provisioning::Succeeded);
    for range in own.filter_map(|one| one.range) {
        add(&mut grant, range);
    }
    grant
}

/// Puts a range where it belongs.
pub(crate) fn add(grant: &mut Grant, range: IpNet) {
    match range.prefix_len() == range.max_prefix_len() {
        true => grant.addresses.push(range.addr()),
        false => grant.prefixes.push(range),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operation_s_id_says_everything_that_a_later_daemon_needs() {
        let accepted = Accepted {
            change: "0a1b2c3d".to_owned(),
            asked: Asked::Blocks,
            poll: Poll::Operation("https://management.azure.com/operations/1".to_owned()),
        };
        let (read, change) = Accepted::of(&accepted.id()).expect("is one");
        assert_eq!(
            (read, change.to_string()),
            (accepted, "0a1b2c3d".to_owned())
        );
        for other in [
            "",
            "operation-1",
            "{}",
            r#"{"change":"x","asked":"release","poll":"resource"}"#,
        ] {
            assert!(Accepted::of(&OperationId::new(other)).is_none(), "{other}");
        }
    }

    #[test]
    fn the_hint_of_when_to_ask_again_is_kept_within_bounds() {
        assert_eq!(pause(None), ASK_AGAIN);
        assert_eq!(pause(Some(Duration::ZERO)), SOONEST);
        assert_eq!(pause(Some(Duration::from_secs(3600))), LATEST);
    }

    #[test]
    fn a_failed_operation_keeps_its_code() {
        let answer = |body| Answer {
            status: 200,
            body,
            operation: None,
            location: None,
            retry_after: None,
        };
        let failed = json!({"status": "Failed", "error": {"code": "SubnetIsFull"}});
        let State::Failed(failure) = status(&answer(failed)) else {
            panic!("it has failed");
        };
        assert_eq!(failure.code, "SubnetIsFull");
        assert!(matches!(
            status(&answer(json!({"status": "InProgress"}))),
            State::Underway(None)
        ));
        // Without a code nobody knows what is left of it.
        let State::Failed(failure) = status(&answer(json!({"status": "Failed"}))) else {
            panic!("it has failed");
        };
        assert!(failure.in_doubt);
    }
}
