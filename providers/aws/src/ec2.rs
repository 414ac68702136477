//! One call to EC2: sent once when its budget allows, timed, told to the
//! observer, and its failure put into words. Whether a failed call can have
//! reached EC2 is decided here.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId;
use tokio::time::Instant;

use crate::actions::{Action, ActionCall, ActionObserver, Undeleted};
use crate::budgets::Budgets;
use crate::denials::Denials;
use crate::failure::{Meaning, Refusal, meaning};
use crate::optional::{Optional, Sent};

/// The client and who is told of its calls.
pub(crate) struct Ec2 {
    pub(crate) client: Client,
    pub(crate) denials: Denials,
    pub(crate) observer: Arc<dyn ActionObserver>,
    pub(crate) budgets: Budgets,
    pub(crate) optional: Optional,
    /// Longest wait for a budget; what waits longer is not sent.
    pub(crate) patience: Duration,
    /// Whether calls that change something are sent: nobody who makes one has to
    /// ask for himself.
    pub(crate) changes: bool,
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
    /// Waits for the call's budget, sends it and waits for the answer. A call that
    /// would wait too long is refused as throttled, so that nobody has to doubt
    /// whether it was made.
    pub(crate) fn call<T, E>(
        &self,
        action: Action,
        sent: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> impl Future<Output = Result<T, Refusal>>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        // The SDK's futures take tens of kilobytes, which every caller's future would
        // take, too, and a thread's stack in a build for debugging.
        let sent = Box::pin(sent);
        async move {
            match self.send(action, sent).await? {
                Ok(answer) => Ok(answer),
                Err(failure) => Err(self.refusal(action, failure).await),
            }
        }
    }

    /// A call that is built with parameters that EC2 need not know. Where EC2 refuses
    /// one of them, the call is made once more without it.
    pub(crate) async fn call_with<T, E, F>(
        &self,
        action: Action,
        build: impl Fn(&Sent) -> F,
    ) -> Result<T, Refusal>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let sent = self.optional.of(action);
        match self.send(action, Box::pin(build(&sent))).await? {
            Ok(answer) => Ok(answer),
            Err(failure)
                if self
                    .optional
                    .refused(action, &sent, &failure.outcome, &failure.text) =>
            {
                self.call(action, build(&self.optional.of(action))).await
            }
            Err(failure) => Err(self.refusal(action, failure).await),
        }
    }

    /// What EC2 answers. A refusal means that nothing was sent.
    async fn send<T, E>(
        &self,
        action: Action,
        sent: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<Result<T, Failure>, Refusal>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        if action.mutates() && !self.changes {
            return Err(Refusal::no_change(action));
        }
        let Some(waited) = self.budgets.wait(action, self.patience).await else {
            return Err(self.not_sent(action));
        };
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
        if answer.is_ok() {
            self.denials.allowed(action);
        }
        Ok(answer)
    }

    /// Tells that an interface was not deleted.
    pub(crate) fn not_deleted(&self, which: Undeleted, refusal: &Refusal) {
        self.observer.not_deleted(which, &refusal.plain_class());
    }

    fn not_sent(&self, action: Action) -> Refusal {
        let reason = format!(
            "not sent: its turn has not come within {:?}, as this node makes {:.2} such calls per \
             second for now",
            self.patience,
            self.budgets.per_second(action),
        );
        tracing::debug!(%action, reason, "ec2 call");
        Refusal::new(action, Meaning::Throttled, reason)
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

/// What is at the bottom of an error.
pub(crate) fn last_source(error: &(dyn Error + 'static)) -> String {
    sources(error)
        .last()
        .map_or_else(String::new, ToString::to_string)
}

/// All texts of an error and its sources.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = sources(error).map(ToString::to_string).collect();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use aws_sdk_ec2::operation::assign_private_ip_addresses::AssignPrivateIpAddressesError;
    use veni_provider::ErrorClass;

    use super::*;
    use crate::actions::NoActionObserver;

    fn ec2(patience: Duration) -> Ec2 {
        let version = aws_config::BehaviorVersion::latest();
        let ec2 = aws_sdk_ec2::Config::builder().behavior_version(version);
        let sts = aws_sdk_sts::Config::builder().behavior_version(version);
        Ec2 {
            client: Client::from_conf(ec2.build()),
            denials: Denials::new(aws_sdk_sts::Client::from_conf(sts.build())),
            observer: Arc::new(NoActionObserver),
            budgets: Budgets::new(),
            optional: Optional::default(),
            patience,
            changes: true,
        }
    }

    #[tokio::test]
    async fn where_nothing_may_be_changed_no_change_is_sent_and_looks_are() {
        let ec2 = Ec2 {
            changes: false,
            ..ec2(Duration::ZERO)
        };
        for action in Action::ALL {
            let sent = AtomicU32::new(0);
            let call = ec2.call(action, async {
                sent.fetch_add(1, Ordering::Relaxed);
                Ok::<_, SdkError<AssignPrivateIpAddressesError, HttpResponse>>(())
            });
            let answer = call.await.map_err(|refusal| refusal.error().class);
            let expected = match action.mutates() {
                true => (Err(ErrorClass::Unsupported), 0),
                false => (Ok(()), 1),
            };
            assert_eq!((answer, sent.into_inner()), expected, "{action}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_turn_does_not_come_is_throttled_and_not_in_doubt() {
        // The first turn comes after 5 to 6.25 seconds, the next 2.5 later at least.
        let patience = Duration::from_secs(7);
        let ec2 = ec2(patience);
        let action = Action::AssignPrivateIpAddresses;
        for _ in 0..20 {
            ec2.budgets.ended(action, Instant::now(), true);
        }
        let sent = AtomicU32::new(0);
        let call = || {
            ec2.call(action, async {
                sent.fetch_add(1, Ordering::Relaxed);
                Ok::<_, SdkError<AssignPrivateIpAddressesError, HttpResponse>>(())
            })
        };
        let began = Instant::now();
        let (first, second, third) = tokio::join!(call(), call(), call());
        first.expect("its turn comes");
        for refused in [second, third] {
            let refused = refused.expect_err("its turn does not come in time");
            assert!(!refused.leaves_doubt());
            let error = refused.error();
            assert_eq!(error.class, ErrorClass::Throttled { retry_after: None });
            assert!(error.reason.starts_with("not sent: "), "{error}");
        }
        assert_eq!(sent.load(Ordering::Relaxed), 1);
        let took = began.elapsed();
        assert!(took < patience + Duration::from_secs(1), "{took:?}");
    }
}
