//! What can go wrong with a cloud call, in classes a planner can act on.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use veni_nouns::SubnetId;

/// What a subnet has run out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scarcity {
    /// It has no free address.
    Addresses,
    /// It has no free, aligned block of a prefix's size; single addresses may
    /// still be there.
    Prefixes,
}

/// Which of the limits of an instance type was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The node has as many interfaces as it may have.
    Interfaces,
    /// The interface, also one that is to be made, would hold more addresses
    /// and prefixes than it may.
    Slots,
}

/// Classes of errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Too many calls; slow down, then repeat.
    Throttled {
        /// The cloud's own hint.
        retry_after: Option<Duration>,
    },
    /// The subnet has nothing left.
    Exhausted {
        /// The subnet that was asked.
        subnet: SubnetId,
        /// What it has run out of.
        scarcity: Scarcity,
    },
    /// The node or the interface holds as many as its type allows; our own
    /// numbers are wrong or stale.
    LimitReached {
        /// The limit that was met.
        limit: Limit,
    },
    /// The interface does not exist (any more); look again.
    NotFound,
    /// Permission is missing; repeating helps only after somebody grants it.
    Denied,
    /// Passing trouble: repeat later. Nothing was changed.
    Transient,
    /// No answer, or one that does not tell: the change may have been made.
    /// Look before repeating.
    OutcomeUnknown,
    /// The request itself is wrong: a defect of ours.
    Invalid,
    /// This cloud cannot do that.
    Unsupported,
    /// Nothing will work until somebody repairs the node's set-up.
    Fatal,
}

impl ErrorClass {
    /// The names of all classes.
    pub const LABELS: [&'static str; 10] = [
        "throttled",
        "exhausted",
        "limit_reached",
        "not_found",
        "denied",
        "transient",
        "outcome_unknown",
        "invalid",
        "unsupported",
        "fatal",
    ];

    /// A short name for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Throttled { .. } => "throttled",
            Self::Exhausted { .. } => "exhausted",
            Self::LimitReached { .. } => "limit_reached",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Transient => "transient",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Fatal => "fatal",
        }
    }
}

/// A cloud call that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderError {
    /// What a planner may do about it.
    pub class: ErrorClass,
    /// The operation, in the cloud's own name (`AssignPrivateIpAddresses`).
    pub operation: String,
    /// The cloud's own code and text, request id included where there is one.
    pub reason: String,
}

impl ProviderError {
    /// An error of a class.
    pub fn new(class: ErrorClass, operation: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            class,
            operation: operation.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.operation, self.reason)
    }
}

impl std::error::Error for ProviderError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_call_and_the_cloud_s_reason() {
        let error = ProviderError::new(ErrorClass::Unsupported, "AssignIpv6Addresses", "no such");
        assert_eq!(error.to_string(), "AssignIpv6Addresses failed: no such");
    }

    /// The next class, so that the compiler asks for the place of a new one.
    fn after(class: &ErrorClass) -> Option<ErrorClass> {
        Some(match class {
            ErrorClass::Throttled { .. } => ErrorClass::Exhausted {
                subnet: SubnetId::new("subnet-1"),
                scarcity: Scarcity::Addresses,
            },
            ErrorClass::Exhausted { .. } => ErrorClass::LimitReached {
                limit: Limit::Slots,
            },
            ErrorClass::LimitReached { .. } => ErrorClass::NotFound,
            ErrorClass::NotFound => ErrorClass::Denied,
            ErrorClass::Denied => ErrorClass::Transient,
            ErrorClass::Transient => ErrorClass::OutcomeUnknown,
            ErrorClass::OutcomeUnknown => ErrorClass::Invalid,
            ErrorClass::Invalid => ErrorClass::Unsupported,
            ErrorClass::Unsupported => ErrorClass::Fatal,
            ErrorClass::Fatal => return None,
        })
    }

    #[test]
    fn every_class_has_its_name_among_all_names() {
        let first = ErrorClass::Throttled { retry_after: None };
        let all = std::iter::successors(Some(first), after);
        let labels: Vec<&str> = all.map(|class| class.label()).collect();
        assert_eq!(labels, ErrorClass::LABELS);
    }
}
