//! What EC2's errors mean: one table of its codes, and what becomes of each
//! meaning as a class that a planner can act on.
//!
//! Codes follow "Error codes for the Amazon EC2 API"; texts are looked at only
//! where EC2 uses one code for several things.

use veni_provider::{ErrorClass, InterfaceId, Limit, ProviderError, Scarcity, SubnetId};

use crate::actions::Action;

/// What an error says, before it is known what was being tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Throttled,
    /// The subnet has no free address.
    NoAddresses,
    /// The subnet has no free block, single addresses may be there.
    NoPrefixes,
    /// The subnet has not enough of whatever was asked for.
    NoRoom,
    LimitReached(Limit),
    /// The interface does not exist, or is not seen yet.
    NotFound,
    AttachmentNotFound,
    SubnetNotFound,
    /// A security group does not exist.
    GroupNotFound,
    Denied,
    /// Refused before anything was done; it passes.
    Transient,
    /// EC2 itself failed, and does not tell how far it came.
    ServerTrouble,
    /// No answer, or none that can be read.
    NoAnswer,
    Invalid,
    Unsupported,
    Fatal,
    DeviceIndexTaken,
    /// Some of the addresses to give back are not there.
    NotAssigned,
    /// The interface is attached already, or still.
    InUse,
    /// A state that is about to change, as of an attachment being detached.
    WrongState,
}

const NO_ROOM: &str = "sufficient free ipv4 addresses or prefixes";
const INDEX_TAKEN: &str = "already has an interface attached at device index";
const NOT_ASSIGNED: &str = "are not assigned to interface";
const IN_USE: &str = "is currently in use";

/// What a code means; the status is HTTP's.
pub(crate) fn meaning(code: &str, message: &str, status: u16) -> Meaning {
    // Some of EC2's front ends put who is to blame before the code.
    let bare = code
        .strip_prefix("Client.")
        .or_else(|| code.strip_prefix("Server."))
        .unwrap_or(code);
    match bare {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "BandwidthLimitExceeded"
        | "EC2ThrottledException"
        | "PriorRequestNotComplete"
        | "SlowDown" => Meaning::Throttled,

        "InsufficientFreeAddressesInSubnet" => Meaning::NoAddresses,
        "InsufficientCidrBlocks" => Meaning::NoPrefixes,
        "PrivateIpAddressLimitExceeded" => Meaning::LimitReached(Limit::Slots),
        "AttachmentLimitExceeded" => Meaning::LimitReached(Limit::Interfaces),

        "InvalidParameterValue" => of_value(&message.to_ascii_lowercase()),

        "InvalidNetworkInterfaceID.NotFound"
        | "InvalidNetworkInterfaceId.NotFound"
        | "InvalidNetworkInterface.NotFound" => Meaning::NotFound,
        "InvalidAttachmentID.NotFound" | "InvalidAttachment.NotFound" => {
            Meaning::AttachmentNotFound
        }
        "InvalidSubnetID.NotFound" | "InvalidSubnet" => Meaning::SubnetNotFound,
        "InvalidGroup.NotFound" | "InvalidSecurityGroupID.NotFound" => Meaning::GroupNotFound,
        "InvalidNetworkInterface.InUse" => Meaning::InUse,
        "IncorrectState" => Meaning::WrongState,

        // Quotas are among them: somebody has to grant more.
        "UnauthorizedOperation"
        | "AccessDenied"
        | "AccessDeniedException"
        | "AuthFailure"
        | "Blocked"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "NetworkInterfaceLimitExceeded"
        | "NotAuthorized"
        | "OptInRequired"
        | "PendingVerification"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException"
        | "IncompleteSignature"
        | "VpcLimitExceeded" => Meaning::Denied,

        // The SDK fetches new credentials; a wrong clock is set some day.
        "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "InvalidIPAddress.InUse"
        | "RequestTimeTooSkewed"
        | "ConcurrentTagAccess"
        | "DependencyViolation"
        | "ResourceCountExceeded" => Meaning::Transient,

        // A server that failed, or had too much to do: EC2 promises of neither that
        // the request was left undone.
        "InternalError" | "InternalFailure" | "ServerInternal" | "ServiceUnavailable"
        | "Unavailable" => Meaning::ServerTrouble,

        "UnsupportedOperation"
        | "Unsupported"
        | "InvalidAction"
        | "UnknownParameter"
        | "UnsupportedHibernationConfiguration" => Meaning::Unsupported,

        "InvalidInstanceID.NotFound"
        | "InvalidInstanceID.Malformed"
        | "IncorrectInstanceState"
        | "InvalidGroupId.Malformed"
        | "SecurityGroupsPerInterfaceLimitExceeded"
        | "InvalidVpcID.NotFound"
        | "InvalidInstanceType" => Meaning::Fatal,

        _ if status == 429 => Meaning::Throttled,
        _ if status >= 500 || bare.is_empty() => Meaning::ServerTrouble,
        _ => Meaning::Invalid,
    }
}

/// `InvalidParameterValue` stands for several things that only its text tells
/// apart.
fn of_value(message: &str) -> Meaning {
    if message.contains(NO_ROOM) {
        Meaning::NoRoom
    } else if message.contains(INDEX_TAKEN) {
        Meaning::DeviceIndexTaken
    } else if message.contains(NOT_ASSIGNED) {
        Meaning::NotAssigned
    } else if message.contains(IN_USE) {
        Meaning::InUse
    } else {
        Meaning::Invalid
    }
}

/// A call to EC2 that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) action: Action,
    pub(crate) meaning: Meaning,
    /// EC2's code and text, with the request's id.
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(action: Action, meaning: Meaning, reason: impl Into<String>) -> Self {
        Self {
            action,
            meaning,
            reason: reason.into(),
        }
    }

    /// A change that was not sent, because none may be.
    pub(crate) fn no_change(action: Action) -> Self {
        let reason = "not sent: the settings let EC2 be asked for no change";
        Self::new(action, Meaning::Unsupported, reason)
    }

    /// Whether the change may have been made all the same.
    pub(crate) fn leaves_doubt(&self) -> bool {
        let silent = matches!(self.meaning, Meaning::NoAnswer | Meaning::ServerTrouble);
        silent && self.action.mutates()
    }

    /// A line in the log about an interface. What is denied has been said, and
    /// is not said with every try.
    pub(crate) fn tell(&self, interface: &InterfaceId, what: &str) {
        let error = &self.reason;
        match self.meaning {
            Meaning::Denied => tracing::debug!(%interface, error, "{what}"),
            _ => tracing::warn!(%interface, error, "{what}"),
        }
    }

    /// The class of a call that asks no subnet for anything.
    pub(crate) fn plain_class(&self) -> ErrorClass {
        self.class(None, Scarcity::Addresses)
    }

    /// The error of a call that asks no subnet for anything.
    pub(crate) fn error(self) -> ProviderError {
        let class = self.plain_class();
        ProviderError::new(class, self.action.label(), self.reason)
    }

    /// The error of a call that failed after an earlier one of the same change has
    /// changed something.
    pub(crate) fn in_doubt(self) -> ProviderError {
        ProviderError {
            class: ErrorClass::OutcomeUnknown,
            ..self.error()
        }
    }

    /// The error of a call that asked a subnet for something.
    pub(crate) fn error_in(self, subnet: &SubnetId, asked: Scarcity) -> ProviderError {
        let class = self.class(Some(subnet), asked);
        ProviderError::new(class, self.action.label(), self.reason)
    }

    fn class(&self, subnet: Option<&SubnetId>, asked: Scarcity) -> ErrorClass {
        let exhausted = |scarcity| {
            subnet.map_or(ErrorClass::Transient, |subnet| ErrorClass::Exhausted {
                subnet: subnet.clone(),
                scarcity,
            })
        };
        match self.meaning {
            // EC2 gives no hint how long to wait.
            Meaning::Throttled => ErrorClass::Throttled { retry_after: None },
            Meaning::NoAddresses => exhausted(Scarcity::Addresses),
            Meaning::NoPrefixes => exhausted(Scarcity::Prefixes),
            Meaning::NoRoom => exhausted(asked),
            Meaning::LimitReached(limit) => ErrorClass::LimitReached { limit },
            Meaning::NotFound | Meaning::AttachmentNotFound => ErrorClass::NotFound,
            Meaning::Denied => ErrorClass::Denied,
            Meaning::Transient
            | Meaning::DeviceIndexTaken
            | Meaning::InUse
            | Meaning::WrongState => ErrorClass::Transient,
            Meaning::ServerTrouble | Meaning::NoAnswer if self.action.mutates() => {
                ErrorClass::OutcomeUnknown
            }
            Meaning::ServerTrouble | Meaning::NoAnswer => ErrorClass::Transient,
            Meaning::Invalid | Meaning::NotAssigned => ErrorClass::Invalid,
            Meaning::Unsupported => ErrorClass::Unsupported,
            Meaning::SubnetNotFound | Meaning::GroupNotFound | Meaning::Fatal => ErrorClass::Fatal,
        }
    }
}

#[cfg(test)]
mod tests;
