//! Which policies isolate a pod, and what tells its rules from another pod's.

use crate::objects::{NetworkPolicy, ObjectName, Pod, Port};
use crate::state::State;
use crate::terms::{Numbers, Terms, numbers_on, rules};
use crate::{Direction, Ports};

/// All that a direction's rules depend on beside the peers: pods of equal isolation share them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Isolation {
    pub(crate) direction: Direction,
    /// The policies that select the pod for the direction, by name; at least one.
    pub(crate) policies: Vec<ObjectName>,
    /// What the named ports of ingress rules are on the pod.
    numbers: Numbers,
}

impl Isolation {
    /// `None` where no policy isolates the pod for `direction`.
    pub(crate) fn of(pod: &Pod, direction: Direction, state: &State) -> Option<Self> {
        if pod.host_network {
            return None;
        }
        let isolates = |policy: &&NetworkPolicy| {
            let rules = match direction {
                Direction::Ingress => &policy.ingress,
                Direction::Egress => &policy.egress,
            };
            rules.is_some() && policy.pods.matches(&pod.labels)
        };
        let policies: Vec<_> = state
            .policies_of(&pod.name.namespace)
            .filter(isolates)
            .collect();
        if policies.is_empty() {
            return None;
        }
        let numbers = match direction {
            Direction::Ingress => numbers(pod, &policies),
            Direction::Egress => Numbers::new(),
        };
        Some(Self {
            direction,
            policies: policies.iter().map(|policy| policy.name.clone()).collect(),
            numbers,
        })
    }

    /// The rules of the policies, whose objects `state` has.
    pub(crate) fn terms(&self, state: &State) -> Terms {
        let policies = self.policies.iter().filter_map(|name| state.policy(name));
        Terms::new(self.direction, &policies.collect::<Vec<_>>(), &self.numbers)
    }
}

fn numbers(pod: &Pod, policies: &[&NetworkPolicy]) -> Numbers {
    let rules = policies
        .iter()
        .flat_map(|policy| rules(policy, Direction::Ingress));
    let names = rules
        .flat_map(|rule| &rule.ports)
        .filter_map(|port| match port {
            Port::Name(name, protocol) => Some((name, *protocol)),
            Port::Number(_) => None,
        });
    let numbered = names.map(|(name, protocol)| {
        let mut numbers: Vec<u16> = numbers_on(pod, name, protocol)
            .filter_map(|ports| match ports {
                Ports::Some { first, .. } => Some(first),
                Ports::All => None,
            })
            .collect();
        numbers.sort_unstable();
        ((name.clone(), protocol), numbers)
    });
    numbered.collect()
}
