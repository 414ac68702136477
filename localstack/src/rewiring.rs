//! The task that plugs interfaces in and pulls them as the control plane changes. It
//! answers one question: what is plugged in.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::error::LabError;
use crate::plane::{Follower, WiringUpdate};
use crate::vpc::Vpc;
use crate::wiring::Wiring;

/// What is plugged in, and whether that is what the cloud says.
#[derive(Debug, Clone)]
pub struct Wires {
    /// What is plugged in.
    pub wiring: Wiring,
    /// Why the cloud did not answer. The wires are then as it last said.
    pub silence: Option<String>,
}

/// A question for the wires, as the cloud says at the time of the question.
#[derive(Debug)]
pub(crate) struct Question {
    /// How long the cloud may take to answer.
    patience: Duration,
    reply: oneshot::Sender<Result<Wires, String>>,
}

impl Question {
    /// A question, and where its answer comes: the kernel's reason when it
    /// refused a change.
    pub(crate) fn new(patience: Duration) -> (Self, oneshot::Receiver<Result<Wires, String>>) {
        let (reply, answer) = oneshot::channel();
        (Self { patience, reply }, answer)
    }
}

/// Follows the cloud until told to stop. Never stops in the middle of a change, which
/// would leave half a wiring.
pub(crate) async fn rewire(
    mut vpc: Vpc,
    mut follower: Follower,
    holders: BTreeMap<u32, u32>,
    mut questions: mpsc::Receiver<Question>,
    stop: CancellationToken,
) -> Vpc {
    loop {
        let (look, reply) = tokio::select! {
            biased;
            () = stop.cancelled() => return vpc,
            Some(question) = questions.recv() => {
                let look = tokio::select! {
                    biased;
                    () = stop.cancelled() => return vpc,
                    look = now(&mut follower, question.patience) => look,
                };
                (look, Some(question.reply))
            }
            look = follower.changed() => match look {
                Some(look) => (Ok(look), None),
                None => return vpc,
            },
        };
        let outcome = plug(&mut vpc, look, &holders).await;
        if let Some(reply) = reply {
            // The caller may have gone.
            let _unheard = reply.send(outcome.map_err(|error| error.to_string()));
        }
    }
}

async fn now(follower: &mut Follower, patience: Duration) -> Result<WiringUpdate, LabError> {
    let silent = |_| LabError::Silent {
        operation: "what must be plugged in".to_owned(),
        reason: format!("no answer in {} s", patience.as_secs()),
    };
    timeout(patience, follower.now()).await.map_err(silent)?
}

/// Changes the wires as an update says. If the cloud did not answer, leaves them alone.
async fn plug(
    vpc: &mut Vpc,
    look: Result<WiringUpdate, LabError>,
    holders: &BTreeMap<u32, u32>,
) -> Result<Wires, LabError> {
    let (outcome, silence) = match look {
        Ok(look) => {
            let outcome = vpc.rewire(look.wiring, holders).await;
            if let Some(acted) = look.acted {
                // The follower's other end may be gone; nobody waits then.
                let _unheard = acted.send(());
            }
            (outcome, None)
        }
        Err(LabError::Silent { reason, .. }) => (Ok(Vec::new()), Some(reason)),
        Err(error) => (Err(error), None),
    };
    match &outcome {
        Ok(done) => {
            for step in done {
                tracing::info!(%step, "rewired");
            }
        }
        Err(error) => {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, "failed to bring the wires to what the cloud says");
        }
    }
    outcome.map(|_| Wires {
        wiring: vpc.wiring().clone(),
        silence,
    })
}
