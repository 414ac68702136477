//! The one writer of the node's NIC. Changes wait in a line; whoever has the turn reads the
//! NIC, takes all that wait by then, and writes them at once. A write that somebody else's
//! has overtaken is computed anew from what that one left.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::{Instant, sleep};
use veni_provider::{ErrorClass, ProviderError, random};

use crate::actions::Action;
use crate::configurations::{Nic, Provisioning, edit};
use crate::operations::{Asked, Poll, pause};
use crate::plan::{Verdict, Wanted, plan};
use crate::provider::Core;

/// So often a write that was overtaken is computed anew.
const TRIES: u32 = 8;
/// The longest pause before one, in seconds.
const LONGEST_PAUSE: f64 = 2.0;

/// What became of a change.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// It is part of a write that was accepted.
    Begun {
        poll: Poll,
        /// The hint of when to ask.
        hint: Option<Duration>,
        /// The write has ended with its answer.
        ended: bool,
    },
    /// There was nothing to do.
    Done,
    /// Another change of the NIC is under way, anybody's.
    Busy(Duration),
    /// It was refused, or nobody knows.
    Failed(ProviderError),
}

struct Waiting {
    wanted: Wanted,
    answer: oneshot::Sender<Outcome>,
}

impl Waiting {
    fn asked(&self) -> Asked {
        match self.wanted {
            Wanted::Assign { block: true, .. } => Asked::Blocks,
            Wanted::Assign { block: false, .. } => Asked::Addresses,
            Wanted::Release { .. } => Asked::Release,
        }
    }
}

/// The line of changes.
#[derive(Default)]
pub(crate) struct Writer {
    waiting: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("waiting", &self.line().len())
            .finish_non_exhaustive()
    }
}

impl Writer {
    fn line(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The changes of one write. If the caller that writes goes away before anything was sent,
/// they go back to the head of the line, where the next one takes them.
struct Taken<'a> {
    writer: &'a Writer,
    all: Vec<Waiting>,
    sent: bool,
}

impl Taken<'_> {
    /// Takes what has come to the line, and lets go of what nobody waits for any more.
    fn take(&mut self) {
        self.all.append(&mut self.writer.line());
        self.all.retain(|one| !one.answer.is_closed());
    }

    fn tell(&mut self, outcome: &Outcome) {
        tell(std::mem::take(&mut self.all), outcome);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.sent {
            let all = std::mem::take(&mut self.all);
            self.writer.line().splice(0..0, all);
        }
    }
}

/// Tells everybody the same.
fn tell(all: Vec<Waiting>, outcome: &Outcome) {
    for one in all {
        // Who does not wait any more looks at the NIC.
        let _ = one.answer.send(outcome.clone());
    }
}

impl Core {
    /// Waits for its turn, and writes a change together with the others.
    pub(crate) async fn submit(&self, wanted: Wanted) -> Outcome {
        let (answer, mut receiver) = oneshot::channel();
        self.writer.line().push(Waiting { wanted, answer });
        let turn = self.writer.turn.lock().await;
        // Whoever had the turn before may have written it, or have gone while it was written.
        match receiver.try_recv() {
            Ok(outcome) => return outcome,
            Err(TryRecvError::Closed) => return left_alone(),
            Err(TryRecvError::Empty) => {}
        }
        self.write_all().await;
        drop(turn);
        receiver.await.unwrap_or_else(|_| left_alone())
    }

    /// Submits a change until nobody else's is under way, for a while.
    pub(crate) async fn submit_patiently(&self, wanted: &Wanted) -> Outcome {
        let deadline = Instant::now() + self.settings.operation_patience;
        loop {
            let outcome = self.submit(wanted.clone()).await;
            match outcome {
                Outcome::Busy(wait) if Instant::now() < deadline => sleep(wait).await,
                outcome => return outcome,
            }
        }
    }

    async fn write_all(&self) {
        let mut taken = Taken {
            writer: &self.writer,
            all: Vec::new(),
            sent: false,
        };
        for number in 0..TRIES {
            let read = self
                .client
                .get(Action::GetNic, &self.nic_id, crate::inventory::VERSION);
            let read = read.await;
            taken.take();
            if taken.all.is_empty() {
                return;
            }
            let read = read.map_err(|failure| failure.error(None));
            let nic = read.and_then(|answer| Ok((Nic::of(&answer.body)?, answer.body)));
            let (nic, document) = match nic {
                Ok(read) => read,
                Err(error) => return taken.tell(&Outcome::Failed(nothing_changed(error))),
            };
            if nic.state == Provisioning::Underway {
                return taken.tell(&Outcome::Busy(pause(Some(Duration::from_secs(1)))));
            }
            let document = match self.arrange(&nic, document, &mut taken.all) {
                Ok(Some(document)) => document,
                Ok(None) => return,
                Err(error) => return taken.tell(&Outcome::Failed(error)),
            };
            taken.sent = true;
            let answer = self.put(&document).await;
            taken.sent = false;
            match answer {
                Ok(outcome) => return taken.tell(&outcome),
                Err(failure) if failure.status == Some(412) => {
                    let most = LONGEST_PAUSE.min(0.05 * f64::from(1 << number));
                    sleep(Duration::from_secs_f64(random::within(0.0..most))).await;
                }
                Err(failure) if is_lock(&failure.code) => {
                    return taken.tell(&Outcome::Busy(pause(failure.retry_after)));
                }
                Err(failure) => return self.tell_failure(std::mem::take(&mut taken.all), &failure),
            }
        }
        let reason = format!("somebody else wrote the NIC {TRIES} times in between");
        let operation = Action::PutNic.label();
        let error = ProviderError::new(ErrorClass::Transient, operation, reason);
        taken.tell(&Outcome::Failed(error));
    }

    /// Answers the changes that need no write, and returns what is to be written for those
    /// that are left.
    fn arrange(
        &self,
        nic: &Nic,
        mut document: Value,
        all: &mut Vec<Waiting>,
    ) -> Result<Option<Value>, ProviderError> {
        let changes: Vec<Wanted> = all.iter().map(|one| one.wanted.clone()).collect();
        let plan = plan(nic, &changes);
        let mut written = Vec::new();
        for (one, verdict) in std::mem::take(all).into_iter().zip(&plan.verdicts) {
            let outcome = match verdict {
                Verdict::Written => {
                    written.push(one);
                    continue;
                }
                Verdict::Done => Outcome::Done,
                Verdict::Refused(class, reason) => {
                    let operation = Action::PutNic.label();
                    Outcome::Failed(ProviderError::new(class.clone(), operation, reason))
                }
            };
            tell(vec![one], &outcome);
        }
        *all = written;
        if !plan.writes() {
            return Ok(None);
        }
        let listed = document.pointer_mut("/properties/ipConfigurations");
        let listed = listed.and_then(Value::as_array_mut);
        match listed.and_then(|listed| edit(listed, &plan.gone, &plan.new)) {
            Some(()) => Ok(Some(document)),
            None => {
                let reason = format!("{} has no primary configuration", nic.id);
                let operation = Action::PutNic.label();
                Err(ProviderError::new(ErrorClass::Transient, operation, reason))
            }
        }
    }

    async fn put(&self, document: &Value) -> Result<Outcome, crate::failure::Failure> {
        // Without an etag nothing is written: somebody else's change would be undone.
        let etag = document
            .get("etag")
            .and_then(Value::as_str)
            .unwrap_or("W/\"none\"");
        let version = crate::inventory::VERSION;
        let answer = self
            .client
            .put(Action::PutNic, &self.nic_id, version, etag, document);
        let answer = answer.await?;
        let poll = Poll::of(&answer);
        let state = answer.body.pointer("/properties/provisioningState");
        let ended = poll == Poll::Resource && state.and_then(Value::as_str) == Some("Succeeded");
        Ok(Outcome::Begun {
            poll,
            hint: answer.retry_after,
            ended,
        })
    }

    fn tell_failure(&self, all: Vec<Waiting>, failure: &crate::failure::Failure) {
        for one in all {
            let error = self.told_as(failure, one.asked());
            tell(vec![one], &Outcome::Failed(error));
        }
    }
}

/// The caller that wrote for several went away while the write was on its way.
fn left_alone() -> Outcome {
    let reason = "the caller that wrote for several went away";
    let operation = Action::PutNic.label();
    Outcome::Failed(ProviderError::new(
        ErrorClass::OutcomeUnknown,
        operation,
        reason,
    ))
}

/// A read that failed changed nothing.
fn nothing_changed(mut error: ProviderError) -> ProviderError {
    if error.class == ErrorClass::OutcomeUnknown {
        error.class = ErrorClass::Transient;
    }
    error
}

/// Another write of the NIC is under way.
fn is_lock(code: &str) -> bool {
    matches!(
        code,
        "AnotherOperationInProgress" | "RetryableErrorDueToAnotherOperation"
    )
}
