//! An interface's way out: detach, wait for EC2's state machine, delete. Each
//! step starts from what is there, so a repetition goes on where the last call
//! ended.

use std::time::Duration;

use aws_sdk_ec2::types::NetworkInterface;
use veni_provider::{ErrorClass, InterfaceId, InterfaceState, ProviderError};

use crate::actions::Action;
use crate::debris::Unfinished;
use crate::failure::{Meaning, Refusal};
use crate::interfaces::place_of;
use crate::pace::Pace;
use crate::provider::Core;

/// Detaching takes seconds, and minutes when the guest does not let go.
const FIRST_LOOK: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(25);

/// How far an interface is on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Attached(String),
    Detaching,
    Available,
    Gone,
}

impl Core {
    pub(crate) async fn detach(&self, id: &InterfaceId) -> Result<(), ProviderError> {
        self.ensure_may_change(Action::DetachNetworkInterface)?;
        let known = self.memory.known(id);
        if known.as_ref().is_some_and(|known| known.primary()) {
            return Err(invalid(format!("{id} is the primary interface")));
        }
        let mut step = match known.and_then(|known| known.attachment) {
            Some(attachment) => Step::Attached(attachment),
            None => self.step_of(id).await?,
        };
        let mut pace = Pace::new(FIRST_LOOK, LONGEST_PAUSE, PATIENCE);
        let unfinished = Unfinished::new(&self.memory, id);
        loop {
            step = match step {
                Step::Attached(attachment) => match self.start(&attachment).await {
                    Ok(next) => next,
                    Err(refusal) => {
                        if !refusal.leaves_doubt() {
                            unfinished.finished();
                        }
                        return Err(refusal.error());
                    }
                },
                Step::Detaching => {
                    if !pace.next().await {
                        return Err(slow(id));
                    }
                    self.step_of(id).await?
                }
                Step::Available => match self.delete(id).await.map_err(Refusal::error)? {
                    Step::Gone => Step::Gone,
                    other => {
                        if !pace.next().await {
                            return Err(slow(id));
                        }
                        other
                    }
                },
                Step::Gone => {
                    unfinished.finished();
                    self.memory.deleted(id);
                    return Ok(());
                }
            };
        }
    }

    async fn step_of(&self, id: &InterfaceId) -> Result<Step, ProviderError> {
        match self.look(id).await.map_err(Refusal::error)? {
            None => Ok(Step::Gone),
            Some(shown) => self.step_shown(id, &shown),
        }
    }

    fn step_shown(
        &self,
        id: &InterfaceId,
        shown: &NetworkInterface,
    ) -> Result<Step, ProviderError> {
        let (Some(attachment), Some(place)) = (shown.attachment(), place_of(shown)) else {
            return Ok(Step::Available);
        };
        if place.device_index == 0 && place.card == 0 {
            return Err(invalid(format!("{id} is a primary interface")));
        }
        if attachment.instance_id() != Some(&self.instance.id) {
            return Err(invalid(format!("{id} is attached to another instance")));
        }
        Ok(match (place.state, attachment.attachment_id()) {
            (InterfaceState::Detaching, _) | (_, None) => Step::Detaching,
            (_, Some(attachment)) => Step::Attached(attachment.to_owned()),
        })
    }

    async fn start(&self, attachment: &str) -> Result<Step, Refusal> {
        let call = self
            .ec2
            .client
            .detach_network_interface()
            .attachment_id(attachment)
            .send();
        match self.ec2.call(Action::DetachNetworkInterface, call).await {
            Ok(_) => Ok(Step::Detaching),
            // Somebody was faster, or our last call was.
            Err(refusal)
                if matches!(
                    refusal.meaning,
                    Meaning::AttachmentNotFound | Meaning::WrongState
                ) =>
            {
                Ok(Step::Detaching)
            }
            Err(refusal) => Err(refusal),
        }
    }

    async fn delete(&self, id: &InterfaceId) -> Result<Step, Refusal> {
        let call = self
            .ec2
            .client
            .delete_network_interface()
            .network_interface_id(id.as_str())
            .send();
        match self.ec2.call(Action::DeleteNetworkInterface, call).await {
            Ok(_) => Ok(Step::Gone),
            Err(refusal) if refusal.meaning == Meaning::NotFound => Ok(Step::Gone),
            // What Describe shows and what Delete finds need not agree yet.
            Err(refusal) if refusal.meaning == Meaning::InUse => Ok(Step::Available),
            Err(refusal) => Err(refusal),
        }
    }
}

fn invalid(reason: String) -> ProviderError {
    let operation = Action::DetachNetworkInterface.label();
    ProviderError::new(ErrorClass::Invalid, operation, reason)
}

fn slow(id: &InterfaceId) -> ProviderError {
    let reason = format!("{id} is still being detached; asking again goes on from there");
    let operation = Action::DetachNetworkInterface.label();
    ProviderError::new(ErrorClass::Transient, operation, reason)
}
