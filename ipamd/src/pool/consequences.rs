//! What a failed change means, decided and not done.

use std::time::Duration;

use veni_nouns::{Family, SubnetId};
use veni_pool::Action;
use veni_provider::{ErrorClass, Limit, ProviderError, Scarcity};

/// What is to be done about a change that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Consequence {
    /// The cloud is left alone with this kind of call for a while, which grows from failure
    /// to failure; for so long at least, where the cloud has said so.
    Pause { at_least: Duration },
    /// It was refused and will be again until somebody has repaired something.
    Refused {
        /// What was asked for rests on what is known, and that is wrong: the
        /// interface is somebody else's by now.
        refresh: bool,
    },
    /// A subnet of which no inventory tells is full. The planner has no place to note it:
    /// whoever chose the subnet would choose it again.
    UnknownSubnet,
    /// A subnet has less than was asked for, and may have something.
    SubnetHasLess {
        subnet: SubnetId,
        scarcity: Scarcity,
    },
    /// A subnet has nothing. With fewer free addresses than `least` the same would be
    /// refused again.
    SubnetIsFull {
        subnet: SubnetId,
        scarcity: Scarcity,
        least: u32,
    },
    /// The node's limit is lower than we thought.
    LimitReached(Limit),
    /// Whether it was made is not known, or what the refusal means: an inventory tells.
    Unanswered { limit: Option<Limit> },
}

/// What a failure of `action` means, which the plan of `family` asked for.
pub(super) fn consequence(
    family: Family,
    action: &Action,
    error: &ProviderError,
    knows_subnet: impl Fn(&SubnetId) -> bool,
    has_doubts: bool,
) -> Consequence {
    match &error.class {
        ErrorClass::Throttled { retry_after } => Consequence::Pause {
            at_least: retry_after.unwrap_or_default(),
        },
        ErrorClass::Transient => Consequence::Pause {
            at_least: Duration::ZERO,
        },
        ErrorClass::Invalid => Consequence::Refused { refresh: true },
        ErrorClass::Denied | ErrorClass::Unsupported | ErrorClass::Fatal => {
            Consequence::Refused { refresh: false }
        }
        ErrorClass::Exhausted { subnet, .. } if !knows_subnet(subnet) => Consequence::UnknownSubnet,
        ErrorClass::Exhausted { subnet, scarcity } => {
            let (subnet, scarcity) = (subnet.clone(), *scarcity);
            match family == Family::V4 && asks_for_several(action) {
                true => Consequence::SubnetHasLess { subnet, scarcity },
                false => Consequence::SubnetIsFull {
                    subnet,
                    scarcity,
                    least: smallest(action, scarcity),
                },
            }
        }
        // Nothing that is there can explain that a new one is too large.
        ErrorClass::LimitReached {
            limit: limit @ Limit::Slots,
        } if matches!(action, Action::Attach { .. }) && !has_doubts => {
            Consequence::LimitReached(*limit)
        }
        // An inventory that lags explains neither: ours or another's last change may be
        // what the cloud means.
        ErrorClass::LimitReached { limit } => Consequence::Unanswered {
            limit: Some(*limit),
        },
        ErrorClass::NotFound | ErrorClass::OutcomeUnknown => {
            Consequence::Unanswered { limit: None }
        }
    }
}

/// Whether a smaller request could succeed where this one did not.
fn asks_for_several(action: &Action) -> bool {
    match action {
        Action::Assign { count, .. } | Action::Attach { count, .. } => *count > 1,
        Action::Release { .. } | Action::Detach { .. } => false,
    }
}

/// Free addresses without which this request, which asked for one slot, is
/// refused again.
fn smallest(action: &Action, scarcity: Scarcity) -> u32 {
    match (action, scarcity) {
        // One is the new interface's own.
        (Action::Attach { count, .. }, Scarcity::Addresses) => 1 + count.min(&1),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use veni_nouns::{InterfaceId, SlotKind};

    use super::*;

    fn assign(count: u32) -> Action {
        Action::Assign {
            interface: InterfaceId::new("eni-1"),
            kind: SlotKind::Address,
            count,
        }
    }

    fn attach(count: u32) -> Action {
        Action::Attach {
            subnet: None,
            kind: SlotKind::Address,
            count,
        }
    }

    fn of(family: Family, action: &Action, class: ErrorClass, has_doubts: bool) -> Consequence {
        let error = ProviderError::new(class, "call", "no");
        let known = |subnet: &SubnetId| subnet.as_str() == "subnet-a";
        consequence(family, action, &error, known, has_doubts)
    }

    fn full(subnet: &str) -> ErrorClass {
        ErrorClass::Exhausted {
            subnet: SubnetId::new(subnet),
            scarcity: Scarcity::Addresses,
        }
    }

    #[test]
    fn a_full_subnet_is_left_alone_only_after_the_smallest_request() {
        let v4 = |action: &Action| of(Family::V4, action, full("subnet-a"), false);
        let is_full = |least| Consequence::SubnetIsFull {
            subnet: SubnetId::new("subnet-a"),
            scarcity: Scarcity::Addresses,
            least,
        };
        let less = Consequence::SubnetHasLess {
            subnet: SubnetId::new("subnet-a"),
            scarcity: Scarcity::Addresses,
        };
        assert_eq!(v4(&assign(2)), less);
        assert_eq!(v4(&assign(1)), is_full(1));
        assert_eq!(v4(&attach(1)), is_full(2), "one is the interface's own");
        assert_eq!(v4(&attach(0)), is_full(1));
        let v6 = of(Family::V6, &assign(2), full("subnet-a"), false);
        assert_eq!(v6, is_full(1));
        let unknown = of(Family::V4, &assign(1), full("subnet-b"), false);
        assert_eq!(unknown, Consequence::UnknownSubnet);
    }

    #[test]
    fn a_limit_is_believed_at_once_only_of_a_new_interface_and_without_doubts() {
        let slots = || ErrorClass::LimitReached {
            limit: Limit::Slots,
        };
        let unanswered = Consequence::Unanswered {
            limit: Some(Limit::Slots),
        };
        let at_once = of(Family::V4, &attach(9), slots(), false);
        assert_eq!(at_once, Consequence::LimitReached(Limit::Slots));
        assert_eq!(of(Family::V4, &attach(9), slots(), true), unanswered);
        assert_eq!(of(Family::V4, &assign(9), slots(), false), unanswered);
        let interfaces = ErrorClass::LimitReached {
            limit: Limit::Interfaces,
        };
        let unanswered = Consequence::Unanswered {
            limit: Some(Limit::Interfaces),
        };
        assert_eq!(of(Family::V4, &attach(9), interfaces, false), unanswered);
    }

    #[test]
    fn refusals_and_pauses_follow_the_class() {
        let class = |class| of(Family::V4, &assign(1), class, false);
        let second = Duration::from_secs(1);
        let throttled = ErrorClass::Throttled {
            retry_after: Some(second),
        };
        assert_eq!(class(throttled), Consequence::Pause { at_least: second });
        let pause = Consequence::Pause {
            at_least: Duration::ZERO,
        };
        assert_eq!(class(ErrorClass::Transient), pause);
        let refused = |refresh| Consequence::Refused { refresh };
        assert_eq!(class(ErrorClass::Denied), refused(false));
        assert_eq!(class(ErrorClass::Invalid), refused(true));
        let unanswered = Consequence::Unanswered { limit: None };
        assert_eq!(class(ErrorClass::OutcomeUnknown), unanswered);
        assert_eq!(class(ErrorClass::NotFound), unanswered);
    }
}
