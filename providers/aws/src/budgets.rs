//! How often this node calls EC2: a budget for each action, in front of every
//! single call, those of the clean-up too.
//!
//! EC2 gives an account and region one token bucket per action, whose size goes
//! by the action's category or is its own ("Request throttling for the Amazon
//! EC2 API"). A node takes a fifth of it and half of what it is refilled by,
//! which serves the largest instance type in seconds; when others need more, EC2
//! throttles, and the budget of that action is halved and comes back with the
//! calls that pass.
//!
//! Describe calls without a filter or a page have a smaller bucket: there are
//! none.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use veni_provider::{Adaptation, Budget, Rate};

use crate::actions::Action;

/// EC2 tells no time to come back at, so a node finds its share by halving. At the
/// slowest pace a change of three calls still ends within the daemon's deadline as
/// it is by default.
const ADAPTATION: Adaptation = Adaptation {
    slowest: 0.2,
    decrease: 0.5,
    increase: 0.2,
    jitter: 0.25,
};

/// EC2's bucket of an action: its size, and the tokens that it gains per second.
fn documented(action: Action) -> (u32, f64) {
    match action {
        Action::DescribeInstanceTypes
        | Action::DescribeInstances
        | Action::DescribeNetworkInterfaces
        | Action::DescribeSubnets
        | Action::DescribeVpcs => (100, 20.0),
        // Mutating actions as they are by default.
        Action::AttachNetworkInterface | Action::DetachNetworkInterface => (50, 5.0),
        // Those with buckets of their own.
        Action::CreateTags => (100, 10.0),
        Action::AssignIpv6Addresses
        | Action::AssignPrivateIpAddresses
        | Action::CreateNetworkInterface
        | Action::DeleteNetworkInterface
        | Action::ModifyNetworkInterfaceAttribute
        | Action::UnassignIpv6Addresses
        | Action::UnassignPrivateIpAddresses => (100, 5.0),
    }
}

/// What a node takes of it while EC2 does not throttle.
fn share(action: Action) -> Rate {
    let (size, refill) = documented(action);
    Rate {
        per_second: refill / 2.0,
        burst: size / 5,
    }
}

/// The budgets of all actions.
#[derive(Debug)]
pub(crate) struct Budgets([Budget; Action::ALL.len()]);

impl Budgets {
    /// All of them full.
    pub(crate) fn new() -> Self {
        Self(Action::ALL.map(|action| Budget::new(share(action), &ADAPTATION)))
    }

    fn of(&self, action: Action) -> &Budget {
        &self.0[action as usize]
    }

    pub(crate) fn per_second(&self, action: Action) -> f64 {
        self.of(action).per_second()
    }

    /// Waits for a call's share, and tells for how long; `None` when it has not
    /// come after `patience`, and the place in the queue is given up.
    pub(crate) async fn wait(&self, action: Action, patience: Duration) -> Option<Duration> {
        let asked = Instant::now();
        timeout(patience, self.of(action).wait()).await.ok()?;
        Some(asked.elapsed())
    }

    /// Takes note of a call that began then. The new pace, if it changed.
    pub(crate) fn ended(&self, action: Action, began: Instant, throttled: bool) -> Option<f64> {
        let budget = self.of(action);
        match throttled {
            true => budget.throttled(began, None),
            false => budget.passed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn every_action_has_its_own_place() {
        for (place, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action as usize, place, "{action}");
        }
    }

    #[test]
    fn a_node_takes_a_part_of_what_an_account_has() {
        for action in Action::ALL {
            let (size, refill) = documented(action);
            let own = share(action);
            assert!(own.per_second < refill && own.burst < size, "{action}");
            assert!(
                own.burst >= 10,
                "{action}: a full node's interfaces at once"
            );
            // EC2 documents more for reads than for changes.
            assert_eq!(action.mutates(), refill < 20.0, "{action}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_the_burst_wait_for_their_turn() {
        let budgets = Budgets::new();
        let action = Action::AttachNetworkInterface;
        for _ in 0..share(action).burst {
            assert_eq!(budgets.wait(action, LONG).await, Some(Duration::ZERO));
        }
        let waited = budgets.wait(action, LONG).await;
        assert!(waited.is_some_and(|waited| waited >= Duration::from_millis(300)));
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_slows_the_action_that_was_throttled_and_no_other() {
        let budgets = Budgets::new();
        let (slow, other) = (
            Action::AttachNetworkInterface,
            Action::CreateNetworkInterface,
        );
        let full = budgets.per_second(slow);
        budgets.wait(slow, LONG).await;
        let began = Instant::now();
        assert_eq!(budgets.ended(slow, began, true), Some(full / 2.0));
        assert_eq!(budgets.per_second(other), share(other).per_second);
        let mut calls = 0;
        while budgets.per_second(slow) < full {
            budgets.wait(slow, LONG).await;
            budgets.ended(slow, Instant::now(), false);
            calls += 1;
        }
        assert!(calls >= 5, "it came back after {calls} calls");
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_ends_at_the_slowest_pace() {
        let budgets = Budgets::new();
        let action = Action::AssignPrivateIpAddresses;
        for _ in 0..20 {
            budgets.wait(action, LONG).await;
            budgets.ended(action, Instant::now(), true);
        }
        assert_eq!(budgets.per_second(action), ADAPTATION.slowest);
        let began = Instant::now();
        for _ in 0..6 {
            budgets.wait(action, LONG).await;
        }
        assert!(began.elapsed() >= Duration::from_secs(25));
    }
}
