//! Parameters that a call can do without: they are younger than some partitions and
//! regions, which refuse a call that has one they do not know. Such a call is made
//! once more without it, and no later one has it.
//!
//! Not among them are parameters whose absence would change what is made: the tags
//! of a new interface, by which it is found again, and its client token, which the
//! SDK sends in any case.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::actions::Action;

/// A parameter that a call can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Parameter {
    /// Shows interfaces of AWS's services, too: a device index that one of them has is
    /// taken, shown or not.
    IncludeManagedResources,
    /// Asks for pages, without which EC2 describes no more than some number of
    /// interfaces.
    MaxResults,
}

impl Parameter {
    /// Those that a call of an action is made with.
    fn of(action: Action) -> &'static [Self] {
        match action {
            Action::DescribeNetworkInterfaces => &[Self::IncludeManagedResources, Self::MaxResults],
            _ => &[],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::IncludeManagedResources => "IncludeManagedResources",
            Self::MaxResults => "MaxResults",
        }
    }
}

/// The optional parameters of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent(Vec<Parameter>);

impl Sent {
    pub(crate) fn has(&self, parameter: Parameter) -> bool {
        self.0.contains(&parameter)
    }
}

/// Which parameters EC2 has refused here.
#[derive(Debug, Default)]
pub(crate) struct Optional {
    refused: Mutex<BTreeSet<Parameter>>,
}

impl Optional {
    /// What the next call of an action is made with.
    pub(crate) fn of(&self, action: Action) -> Sent {
        let refused = self.lock();
        let all = Parameter::of(action).iter().copied();
        Sent(all.filter(|one| !refused.contains(one)).collect())
    }

    /// Whether EC2 refused a call because of a parameter that it can do without: then
    /// it is worth another try. The parameter is not sent again.
    pub(crate) fn refused(&self, action: Action, sent: &Sent, code: &str, text: &str) -> bool {
        let blamed = blamed(sent, code, text);
        let mut refused = self.lock();
        for parameter in &blamed {
            if refused.insert(*parameter) {
                let parameter = parameter.name();
                tracing::info!(%action, parameter, code, text, "ec2 does not know a parameter here: it is not sent any more");
            }
        }
        !blamed.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Parameter>> {
        // No critical section can leave it half done.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which of the parameters a refusal is about. One that says that some parameter is
/// unknown, and not which, may be about any of them.
fn blamed(sent: &Sent, code: &str, text: &str) -> Vec<Parameter> {
    let code = code.strip_prefix("Client.").unwrap_or(code);
    let unknown = code == "UnknownParameter";
    let of_parameters = unknown
        || code.starts_with("InvalidParameter")
        || matches!(
            code,
            "UnsupportedOperation" | "Unsupported" | "ValidationError"
        );
    if !of_parameters {
        return Vec::new();
    }
    let text = plain(text);
    let named = |one: &&Parameter| text.contains(&plain(one.name()));
    let named: Vec<Parameter> = sent.0.iter().filter(named).copied().collect();
    match named.is_empty() && unknown {
        true => sent.0.clone(),
        false => named,
    }
}

/// EC2 writes names in several ways: `MaxResults`, `maxResults`, `max-results`.
fn plain(text: &str) -> String {
    let letters = text.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::Parameter::{IncludeManagedResources, MaxResults};
    use super::*;

    const DESCRIBE: Action = Action::DescribeNetworkInterfaces;

    /// What is sent after a refusal, and whether the call is tried again.
    fn after(code: &str, text: &str) -> (bool, Vec<Parameter>) {
        let optional = Optional::default();
        let again = optional.refused(DESCRIBE, &optional.of(DESCRIBE), code, text);
        (again, optional.of(DESCRIBE).0)
    }

    #[test]
    fn the_parameter_that_a_refusal_names_is_not_sent_again() {
        for (code, text) in [
            (
                "UnknownParameter",
                "The parameter IncludeManagedResources is not recognized",
            ),
            ("Client.UnknownParameter", "include-managed-resources"),
            (
                "InvalidParameterValue",
                "Invalid value 'true' for includeManagedResources",
            ),
            (
                "InvalidParameter",
                "include_managed_resources is not supported here",
            ),
            ("InvalidParameterCombination", "includeManagedResources"),
            ("UnsupportedOperation", "IncludeManagedResources"),
        ] {
            assert_eq!(after(code, text), (true, vec![MaxResults]), "{code} {text}");
        }
    }

    #[test]
    fn an_unknown_parameter_that_is_not_named_may_be_any() {
        let text = "An unknown or unrecognized parameter was supplied";
        assert_eq!(after("UnknownParameter", text), (true, Vec::new()));
    }

    #[test]
    fn refusals_for_other_reasons_change_nothing() {
        let all = vec![IncludeManagedResources, MaxResults];
        for (code, text) in [
            ("InvalidParameterValue", "The filter 'colour' is invalid"),
            ("RequestLimitExceeded", "IncludeManagedResources"),
            ("UnauthorizedOperation", "MaxResults"),
        ] {
            assert_eq!(after(code, text), (false, all.clone()), "{code}");
        }
    }

    #[test]
    fn a_call_that_was_made_without_is_not_tried_for_ever() {
        let optional = Optional::default();
        let sent = optional.of(DESCRIBE);
        assert!(optional.refused(DESCRIBE, &sent, "UnknownParameter", ""));
        let sent = optional.of(DESCRIBE);
        assert!(!optional.refused(DESCRIBE, &sent, "UnknownParameter", ""));
        // Another call was on its way with them.
        let sent = Sent(vec![MaxResults]);
        assert!(optional.refused(DESCRIBE, &sent, "UnknownParameter", "MaxResults"));
    }

    #[test]
    fn no_change_of_anything_has_a_parameter_that_it_can_do_without() {
        let optional = Optional::default();
        for action in Action::ALL.into_iter().filter(|action| action.mutates()) {
            assert_eq!(optional.of(action).0, [], "{action}");
        }
    }
}
