//! Why the cloud does not do something: the class and its own text, before the
//! name of the operation is put to it.

use veni_provider::{ErrorClass, InterfaceId, ProviderError};

/// A refusal of one call.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) class: ErrorClass,
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(class: ErrorClass, reason: impl Into<String>) -> Self {
        Self {
            class,
            reason: reason.into(),
        }
    }

    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::new(
            ErrorClass::Invalid,
            format!("InvalidParameterValue: {}", reason.into()),
        )
    }

    pub(crate) fn no_such_interface(id: &InterfaceId) -> Self {
        Self::new(
            ErrorClass::NotFound,
            format!("InvalidNetworkInterfaceID.NotFound: the interface {id} does not exist"),
        )
    }

    pub(crate) fn no_such_instance(id: &str) -> Self {
        Self::new(
            ErrorClass::Fatal,
            format!("InvalidInstanceID.NotFound: the instance {id} does not exist"),
        )
    }

    pub(crate) fn named(self, operation: &str) -> ProviderError {
        ProviderError::new(self.class, operation, self.reason)
    }
}
