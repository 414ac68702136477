//! What ARM's codes mean to a planner. This file alone decides it.
//! <https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors>

use std::time::Duration;

use veni_provider::{ErrorClass, Limit, ProviderError, Scarcity, SubnetId};

use crate::actions::Action;

/// A call that failed, or an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) action: Action,
    /// HTTP's status; `None` where no answer came.
    pub(crate) status: Option<u16>,
    /// ARM's code, or an empty text.
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
    /// ARM's id of the request, or an empty text.
    pub(crate) request: String,
    /// Nobody knows whether it was carried out.
    pub(crate) in_doubt: bool,
}

/// What a change had asked for, where it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context<'a> {
    pub(crate) subnet: &'a SubnetId,
    /// What a full subnet lacks.
    pub(crate) scarcity: Scarcity,
}

impl Failure {
    /// No answer came; `in_doubt` where the request may have arrived.
    pub(crate) fn unanswered(action: Action, message: impl Into<String>, in_doubt: bool) -> Self {
        Self {
            action,
            status: None,
            code: String::new(),
            message: message.into(),
            retry_after: None,
            request: String::new(),
            in_doubt,
        }
    }

    /// The class of it. `context` is a change's; a read has none.
    pub(crate) fn class(&self, context: Option<Context<'_>>) -> ErrorClass {
        if self.in_doubt {
            return ErrorClass::OutcomeUnknown;
        }
        match (self.of_subnet(), context) {
            (Some(found), Some(Context { subnet, scarcity })) => {
                let subnet = subnet.clone();
                // A subnet that is full for a block may still have single addresses.
                let scarcity = if scarcity == Scarcity::Prefixes {
                    scarcity
                } else {
                    found
                };
                return ErrorClass::Exhausted { subnet, scarcity };
            }
            (Some(_), None) => return ErrorClass::Transient,
            (None, _) => {}
        }
        match self.code.as_str() {
            // The locks of Microsoft.Network, some of which come as 429.
            "AnotherOperationInProgress"
            | "RetryableError"
            | "RetryableErrorDueToAnotherOperation"
            | "ReferencedResourceNotProvisioned"
            | "OperationNotAllowed"
            | "OperationPreempted"
            | "Canceled"
            | "CanceledAndSupersededDueToAnotherOperation"
            | "PrivateIPAddressIsAllocated"
            | "PrivateIPAddressInUse"
            | "ExpiredAuthenticationToken" => ErrorClass::Transient,
            "NetworkInterfaceIpConfigurationCountExceeded"
            | "PrivateIPAddressCountLimitExceeded" => ErrorClass::LimitReached {
                limit: Limit::Slots,
            },
            "ScopeLocked" | "RequestDisallowedByPolicy" | "DenyAssignmentAuthorizationFailed" => {
                ErrorClass::Denied
            }
            _ => self.by_status(),
        }
    }

    fn of_subnet(&self) -> Option<Scarcity> {
        match self.code.as_str() {
            "SubnetIsFull" | "NoAvailableIPAddressesInSubnet" => Some(Scarcity::Addresses),
            "PrefixUnavailable" | "InsufficientCidrBlocks" => Some(Scarcity::Prefixes),
            _ => None,
        }
    }

    fn by_status(&self) -> ErrorClass {
        match self.status {
            Some(429) => ErrorClass::Throttled {
                retry_after: self.retry_after,
            },
            Some(401 | 403) => ErrorClass::Denied,
            Some(404) => ErrorClass::NotFound,
            // A resource that is busy, or locked while a scale set changes.
            Some(408 | 409 | 412) => ErrorClass::Transient,
            Some(500..) if self.action.writes() => ErrorClass::OutcomeUnknown,
            None | Some(500..) => ErrorClass::Transient,
            Some(_) => ErrorClass::Invalid,
        }
    }

    /// As the provider tells it. Code and id of the request go with it.
    pub(crate) fn error(&self, context: Option<Context<'_>>) -> ProviderError {
        let class = self.class(context);
        let mut reason = match self.code.is_empty() {
            true => self.message.clone(),
            false => format!("{}: {}", self.code, self.message),
        };
        if class == ErrorClass::Denied {
            reason.push_str(
                "; the node's identity needs the role in deploy/azure/role.json on the resource \
                 groups of the node and of its virtual network",
            );
        }
        if !self.request.is_empty() {
            reason.push_str(&format!(" (request {})", self.request));
        }
        ProviderError::new(class, self.action.label(), reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(status: u16, code: &str) -> Failure {
        Failure {
            status: Some(status),
            code: code.to_owned(),
            ..Failure::unanswered(Action::PutNic, "as it is", false)
        }
    }

    fn class(status: u16, code: &str, scarcity: Scarcity) -> &'static str {
        let subnet = SubnetId::new("nodes");
        let context = Context {
            subnet: &subnet,
            scarcity,
        };
        failed(status, code).class(Some(context)).label()
    }

    #[test]
    fn every_code_has_the_class_that_a_planner_can_act_on() {
        for (status, code, expected) in [
            (400, "SubnetIsFull", "exhausted"),
            (400, "PrivateIPAddressIsAllocated", "transient"),
            (409, "OperationNotAllowed", "transient"),
            (409, "AnotherOperationInProgress", "transient"),
            (429, "RetryableErrorDueToAnotherOperation", "transient"),
            (429, "RetryableError", "transient"),
            (400, "ReferencedResourceNotProvisioned", "transient"),
            (429, "TooManyRequests", "throttled"),
            (403, "AuthorizationFailed", "denied"),
            (403, "LinkedAuthorizationFailed", "denied"),
            (409, "ScopeLocked", "denied"),
            (404, "ResourceNotFound", "not_found"),
            (409, "Conflict", "transient"),
            (412, "PreconditionFailed", "transient"),
            (500, "InternalServerError", "outcome_unknown"),
            (400, "InvalidRequestFormat", "invalid"),
        ] {
            assert_eq!(class(status, code, Scarcity::Addresses), expected, "{code}");
        }
    }

    #[test]
    fn a_subnet_without_room_for_a_block_is_not_out_of_single_addresses() {
        let subnet = SubnetId::new("nodes");
        let of = |code: &str, scarcity| {
            let context = Context {
                subnet: &subnet,
                scarcity,
            };
            failed(400, code).class(Some(context))
        };
        let exhausted = |scarcity| ErrorClass::Exhausted {
            subnet: subnet.clone(),
            scarcity,
        };
        let blocks = exhausted(Scarcity::Prefixes);
        for code in [
            "SubnetIsFull",
            "NoAvailableIPAddressesInSubnet",
            "PrefixUnavailable",
            "InsufficientCidrBlocks",
        ] {
            assert_eq!(of(code, Scarcity::Prefixes), blocks, "{code}");
        }
        let addresses = exhausted(Scarcity::Addresses);
        assert_eq!(of("SubnetIsFull", Scarcity::Addresses), addresses);
    }

    #[test]
    fn a_read_that_fails_inside_azure_may_be_repeated_and_a_write_leaves_doubt() {
        let mut failure = failed(503, "ServiceUnavailable");
        assert_eq!(failure.class(None), ErrorClass::OutcomeUnknown);
        failure.action = Action::GetNic;
        assert_eq!(failure.class(None), ErrorClass::Transient);
    }

    #[test]
    fn a_right_that_is_missing_is_told_with_the_role_that_has_it() {
        let error = failed(403, "AuthorizationFailed").error(None);
        assert!(error.reason.contains("deploy/azure/role.json"), "{error}");
    }
}
