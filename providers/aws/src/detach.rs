//! An interface's way out: detach, wait for EC2's state machine, delete. Each
//! step starts from what is there, so a repetition goes on where the last call
//! ended. Once EC2 has accepted the first one, whatever fails leaves doubt and
//! never "nothing was changed": the maintenance finishes it.

use std::time::Duration;

use aws_sdk_ec2::types::NetworkInterface;
use veni_provider::{ErrorClass, InterfaceId, InterfaceState, ProviderError};

use crate::actions::{Action, Undeleted};
use crate::debris::Unfinished;
use crate::failure::{Meaning, Refusal};
use crate::interfaces::place_of;
use crate::pace::Pace;
use crate::provider::Core;
use crate::tags;

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
        // There is no way back, and the last inventory may be an hour old: whose it is
        // is asked now.
        let step = match (
            self.step_of(id).await?,
            known.and_then(|known| known.attachment),
        ) {
            // A Describe that lags behind the attachment.
            (Step::Gone | Step::Available, Some(attachment)) => Step::Attached(attachment),
            (step, _) => step,
        };
        let unfinished = Unfinished::new(&self.memory, id);
        let mut begun = false;
        match self.lead_out(id, step, &mut begun).await {
            Ok(()) => {
                unfinished.finished();
                self.memory.deleted(id);
                Ok(())
            }
            Err(error) if begun => Err(on_its_way(id, error)),
            Err(error) => {
                if error.class != ErrorClass::OutcomeUnknown {
                    unfinished.not_begun();
                }
                Err(error)
            }
        }
    }

    /// Takes it from a step to its end. Tells, also of what fails, whether it has
    /// begun: from then on the interface is not to be counted on, whoever began.
    async fn lead_out(
        &self,
        id: &InterfaceId,
        mut step: Step,
        begun: &mut bool,
    ) -> Result<(), ProviderError> {
        let mut pace = Pace::new(FIRST_LOOK, LONGEST_PAUSE, PATIENCE);
        loop {
            *begun |= !matches!(step, Step::Attached(_));
            step = match step {
                Step::Attached(attachment) => {
                    self.ensure_may_delete()?;
                    self.start(&attachment).await.map_err(Refusal::error)?
                }
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
                Step::Gone => return Ok(()),
            };
        }
    }

    /// While the role lacks the right to delete, each detach would leave one more
    /// interface to nobody. The maintenance goes on trying with the one that is
    /// there, and so finds out when the right is granted.
    fn ensure_may_delete(&self) -> Result<(), ProviderError> {
        let action = Action::DeleteNetworkInterface;
        if !(self.memory.has_debris() && self.ec2.denials.refuses(action)) {
            return Ok(());
        }
        let reason = format!(
            "not begun: EC2 has refused to delete an interface that is detached, and would leave \
             this one behind too; the node's role needs {}",
            action.permission()
        );
        let operation = Action::DetachNetworkInterface.label();
        Err(ProviderError::new(ErrorClass::Denied, operation, reason))
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
        if tags::hands_off(shown.tag_set()) {
            let tag = tags::NO_MANAGE;
            return Err(invalid(format!(
                "{id} is tagged {tag}=true: it is left as it is"
            )));
        }
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
            Err(refusal) => {
                self.ec2.not_deleted(Undeleted::Detached, &refusal);
                Err(refusal)
            }
        }
    }
}

fn invalid(reason: String) -> ProviderError {
    let operation = Action::DetachNetworkInterface.label();
    ProviderError::new(ErrorClass::Invalid, operation, reason)
}

/// What went wrong with an interface that EC2 has begun to detach: it is lost to
/// pods, and goes on to its end without the caller.
fn on_its_way(id: &InterfaceId, error: ProviderError) -> ProviderError {
    let reason = format!("{}; {id} is on its way out all the same", error.reason);
    ProviderError::new(ErrorClass::OutcomeUnknown, error.operation, reason)
}

fn slow(id: &InterfaceId) -> ProviderError {
    let reason = format!("EC2 has not detached and deleted {id} within {PATIENCE:?}");
    let operation = Action::DetachNetworkInterface.label();
    ProviderError::new(ErrorClass::OutcomeUnknown, operation, reason)
}
