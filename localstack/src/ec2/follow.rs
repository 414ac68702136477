//! Follows the hook's state of a VPC. Passes each state on once, and asks for the next
//! when the wires are as the last one says. LocalStack's answers to changes wait for that
//! question.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::state::State;
use crate::emulator::Control;
use crate::error::LabError;
use crate::plane::WiringUpdate;

/// How long the server may hold one question until there is a change.
const WAIT: Duration = Duration::from_secs(20);
/// Pause after a question that the server did not answer.
const PAUSE: Duration = Duration::from_millis(250);

/// The states of a VPC, as they come.
pub(crate) struct Follow {
    control: Control,
    vpc: String,
    told: mpsc::Receiver<Told>,
    /// The generation that was passed on last.
    latest: u64,
    _asking: AbortOnDropHandle<()>,
}

struct Told {
    state: State,
    acted: oneshot::Sender<()>,
}

impl Follow {
    /// Begins to follow. Sets `generation` to that of each state when the wires agree with it.
    pub(crate) fn start(control: Control, vpc: &str, generation: watch::Sender<u64>) -> Self {
        let (tell, told) = mpsc::channel(1);
        let asking = tokio::spawn(ask(control.clone(), vpc.to_owned(), tell, generation));
        Self {
            control,
            vpc: vpc.to_owned(),
            told,
            latest: 0,
            _asking: AbortOnDropHandle::new(asking),
        }
    }

    /// What must be plugged in now.
    pub(crate) async fn now(
        &mut self,
        instances: &BTreeMap<String, u32>,
    ) -> Result<WiringUpdate, LabError> {
        let state = State::read(self.control.state_of(&self.vpc).await?)?;
        self.latest = self.latest.max(state.generation);
        Ok(WiringUpdate {
            wiring: state.wiring(instances),
            acted: None,
        })
    }

    /// What must be plugged in after the next change. Cancel-safe.
    pub(crate) async fn changed(
        &mut self,
        instances: &BTreeMap<String, u32>,
    ) -> Option<WiringUpdate> {
        loop {
            let Told { state, acted } = self.told.recv().await?;
            if state.generation < self.latest {
                // [`Follow::now`] has passed a newer state on meanwhile.
                let _unheard = acted.send(());
                continue;
            }
            self.latest = state.generation;
            return Some(WiringUpdate {
                wiring: state.wiring(instances),
                acted: Some(acted),
            });
        }
    }
}

async fn ask(
    control: Control,
    vpc: String,
    tell: mpsc::Sender<Told>,
    generation: watch::Sender<u64>,
) {
    let mut known = 0;
    let mut well = true;
    loop {
        let answer = control.follow(&vpc, known, WAIT).await;
        match answer.and_then(State::read) {
            Ok(state) if state.generation == known => {}
            Ok(state) => {
                let told = state.generation;
                let (acted, done) = oneshot::channel();
                if tell.send(Told { state, acted }).await.is_err() {
                    return;
                }
                // The wires' task has ended, so this one ends too.
                let _ended = done.await;
                known = told;
                generation.send_replace(known);
                well = true;
            }
            Err(error) => {
                if well {
                    tracing::warn!(%error, "the wires do not follow: LocalStack does not answer");
                }
                well = false;
                sleep(PAUSE).await;
            }
        }
    }
}
