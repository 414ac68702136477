//! From objects to what one pod may receive and send: a pure function.

use std::sync::Arc;

use crate::objects::{Namespace, NetworkPolicy, Pod};
use crate::set::Set;
use crate::state::State;
use crate::subject::Isolation;
use crate::{Direction, PodPolicy, Side};

/// What `policies` allow `pod`, given the namespaces and pods that they may select.
///
/// Follows networking.k8s.io/v1. A pod of the node's network is never isolated. Such pods and
/// pods that have ended are no peers by selector. `pod` need not be one of `pods`; it is its own
/// peer only if it is. A named port of an egress rule is what each pod calls so that the rule
/// allows, by selector or by address.
pub fn compile(
    policies: &[NetworkPolicy],
    namespaces: &[Namespace],
    pods: &[Pod],
    pod: &Pod,
) -> PodPolicy {
    let mut state = State::default();
    for policy in policies {
        state.put_policy(policy.clone());
    }
    for namespace in namespaces {
        state.put_namespace(namespace.clone());
    }
    for pod in pods {
        state.put_pod(pod.clone());
    }
    let side = |direction| match Isolation::of(pod, direction, &state) {
        None => Side::Open,
        Some(isolation) => {
            let set = Set::new(isolation.terms(&state), &state);
            Side::Isolated(Arc::clone(set.rules()))
        }
    };
    PodPolicy {
        ingress: side(Direction::Ingress),
        egress: side(Direction::Egress),
    }
}
