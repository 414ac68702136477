//! A change of what a node holds, as plain data: what is asked for, how far it is, what
//! it has brought. A change that runs in the cloud for minutes can be written down with
//! its operation's id and asked about by a later daemon.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use veni_nouns::{InterfaceId, OperationId};

use crate::{AddressSlots, AttachRequest, Grant, Interface, Operation, Provider, ProviderError};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeRequest {
    /// As [`Provider::attach_interface`].
    Attach(AttachRequest),
    /// As [`Provider::detach_interface`].
    Detach {
        /// The interface that goes.
        interface: InterfaceId,
    },
    /// As [`Provider::assign`].
    Assign {
        /// The interface that gets them.
        interface: InterfaceId,
        /// How many of what.
        slots: AddressSlots,
    },
    /// As [`Provider::release`].
    Release {
        /// The interface that gives them back.
        interface: InterfaceId,
        /// What goes back.
        grant: Grant,
    },
}

impl ChangeRequest {
    /// Returns the call that carries it out.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self {
            Self::Attach(_) => Operation::AttachInterface,
            Self::Detach { .. } => Operation::DetachInterface,
            Self::Assign { .. } => Operation::Assign,
            Self::Release { .. } => Operation::Release,
        }
    }

    /// Returns the interface that it changes; `None` for one that is to come.
    #[must_use]
    pub fn interface(&self) -> Option<&InterfaceId> {
        match self {
            Self::Attach(_) => None,
            Self::Detach { interface }
            | Self::Assign { interface, .. }
            | Self::Release { interface, .. } => Some(interface),
        }
    }
}

/// What a change has brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeResult {
    /// To [`ChangeRequest::Attach`].
    Attached(Interface),
    /// To [`ChangeRequest::Detach`].
    Detached,
    /// To [`ChangeRequest::Assign`]: what is new.
    Assigned(Grant),
    /// To [`ChangeRequest::Release`].
    Released,
}

/// How far a change is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It has ended.
    Done(ChangeResult),
    /// The cloud is carrying it out.
    Running(Running),
}

/// A change that the cloud is carrying out on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// What [`Provider::resume`] is asked with, also after a restart of the daemon.
    pub operation: OperationId,
    /// Ask again after this time: the cloud's own hint.
    pub ask_again: Duration,
    /// The change ends within this time from now. After it nobody knows what came of
    /// it, and the inventory tells.
    pub at_most: Duration,
}

/// Carries a change out by the call that stands for it, to its end.
///
/// # Errors
/// Those of the call.
pub async fn carry_out<P: Provider + ?Sized>(
    provider: &P,
    change: &ChangeRequest,
) -> Result<Progress, ProviderError> {
    let result = match change {
        ChangeRequest::Attach(request) => {
            ChangeResult::Attached(provider.attach_interface(request).await?)
        }
        ChangeRequest::Detach { interface } => {
            provider.detach_interface(interface).await?;
            ChangeResult::Detached
        }
        ChangeRequest::Assign { interface, slots } => {
            ChangeResult::Assigned(provider.assign(interface, *slots).await?)
        }
        ChangeRequest::Release { interface, grant } => {
            provider.release(interface, grant).await?;
            ChangeResult::Released
        }
    };
    Ok(Progress::Done(result))
}

#[cfg(test)]
mod tests {
    use veni_nouns::{Family, SlotKind};

    use super::*;

    #[test]
    fn a_change_names_its_call_and_the_interface_that_it_changes() {
        let interface = InterfaceId::new("eni-1");
        let attach = AttachRequest {
            subnet: None,
            slots: None,
            token: "t".to_owned(),
        };
        let slots = AddressSlots::new(Family::V4, SlotKind::Prefix, 1);
        let of = |interface: &InterfaceId| interface.clone();
        let all = [
            (ChangeRequest::Attach(attach), Operation::AttachInterface),
            (
                ChangeRequest::Detach {
                    interface: of(&interface),
                },
                Operation::DetachInterface,
            ),
            (
                ChangeRequest::Assign {
                    interface: of(&interface),
                    slots,
                },
                Operation::Assign,
            ),
            (
                ChangeRequest::Release {
                    interface: of(&interface),
                    grant: Grant::default(),
                },
                Operation::Release,
            ),
        ];
        for (change, operation) in all {
            assert_eq!(change.operation(), operation);
            let expected = (operation != Operation::AttachInterface).then_some(&interface);
            assert_eq!(change.interface(), expected);
        }
    }
}
