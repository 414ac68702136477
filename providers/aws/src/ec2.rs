//! One call to EC2: sent once when its budget allows, timed, told to the
//! observer, and its failure put into words. Whether a failed call can have reached EC2 is decided here.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId;
use tokio::time::Instant;

use crate::actions::{Action, ActionCall, ActionObserver};
use crate::budgets::Budgets;
use crate::denials::Denials;
use crate::failure::{Meaning, Refusal, meaning};

/// The client and who is told of its calls.
pub(crate) struct Ec2 {
    pub(crate) client: Client,
    pub(crate) denials: Denials,
    pub(crate) observer: Arc<dyn ActionObserver>,
    pub(crate) budgets: Budgets,
}

impl fmt::Debug for Ec2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ec2").finish_non_exhaustive()
    }
}

/// What came of a call that failed, before permissions are explained.
pub(crate) struct Failure {
    /// EC2's code, or what happened to the connection.
    pub(crate) outcome: String,
    meaning: Meaning,
    /// EC2's own words.
    pub(crate) text: String,
    request_id: Option<String>,
    status: Option<u16>,
}

impl Ec2 {
    /// Waits for the call's budget, sends it and waits for the answer.
    pub(crate) async fn call<T, E>(
        &self,
        action: Action,
        sent: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Refusal>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let waited = self.budgets.wait(action).await;
        let began = Instant::now();
        let answer = sent.await.map_err(|error| failure_of(&error));
        let took = began.elapsed();
        let failure = answer.as_ref().err();
        let throttled = failure.is_some_and(|failure| failure.meaning == Meaning::Throttled);
        if let Some(per_second) = self.budgets.ended(action, began, throttled) {
            self.observer.budget(action, per_second);
        }
        let call = ActionCall {
            action,
            outcome: failure.map_or(Ok(()), |failure| Err(&failure.outcome)),
            // A success has no other.
            status: failure.map_or(Some(200), |failure| failure.status),
            waited,
            took,
        };
        tracing::debug!(%action, outcome = ?call.outcome, ?waited, ?took, "ec2 call");
        self.observer.action(&call);
        match answer {
            Ok(answer) => {
                self.denials.allowed(action);
                Ok(answer)
            }
            Err(failure) => Err(self.refusal(action, failure).await),
        }
    }

    async fn refusal(&self, action: Action, failure: Failure) -> Refusal {
        let text = match failure.meaning {
            Meaning::Denied => self.denials.explain(action, &failure).await,
            _ => failure.text,
        };
        let mut reason = format!("{}: {text}", failure.outcome);
        if let Some(id) = failure.request_id {
            reason.push_str(&format!(" (request {id})"));
        }
        Refusal::new(action, failure.meaning, reason)
    }
}

fn failure_of<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let unanswered = |outcome: &str, meaning| Failure {
        outcome: outcome.to_owned(),
        meaning,
        text: chain(error),
        request_id: error.request_id().map(str::to_owned),
        status: error.raw_response().map(|raw| raw.status().as_u16()),
    };
    match error {
        SdkError::ServiceError(told) => {
            let code = told.err().code().unwrap_or_default();
            let message = told.err().message().unwrap_or_default();
            let status = told.raw().status().as_u16();
            let named = !code.is_empty();
            Failure {
                outcome: if named {
                    code.to_owned()
                } else {
                    format!("http status {status}")
                },
                meaning: meaning(code, message, status),
                text: message.to_owned(),
                request_id: error.request_id().map(str::to_owned),
                status: Some(status),
            }
        }
        SdkError::ConstructionFailure(_) => unanswered("request not built", Meaning::Invalid),
        SdkError::TimeoutError(_) if never_sent(error) => {
            unanswered("no connection", Meaning::Transient)
        }
        SdkError::TimeoutError(_) => unanswered("timeout", Meaning::NoAnswer),
        SdkError::DispatchFailure(_) => match credentials(error) {
            Some(meaning) => unanswered("no credentials", meaning),
            None if never_sent(error) => unanswered("no connection", Meaning::Transient),
            None => unanswered("connection broken", Meaning::NoAnswer),
        },
        _ => unanswered("answer unreadable", Meaning::NoAnswer),
    }
}

fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Whether no connection was made, so that EC2 cannot have seen the request.
fn never_sent(error: &(dyn Error + 'static)) -> bool {
    sources(error)
        .filter_map(|error| error.downcast_ref::<hyper_util::client::legacy::Error>())
        .any(hyper_util::client::legacy::Error::is_connect)
}

/// What it means that the request could not be signed.
fn credentials(error: &(dyn Error + 'static)) -> Option<Meaning> {
    let found = sources(error).find_map(|error| error.downcast_ref::<CredentialsError>())?;
    Some(match found {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
            Meaning::Denied
        }
        _ => Meaning::Transient,
    })
}

/// All texts of an error and its sources.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = sources(error).map(ToString::to_string).collect();
    texts.join(": ")
}
