//! Ports of the node: which pod asked for which, and to whom they lead.

use std::collections::{BTreeMap, BTreeSet};

use super::super::log::Port;
use super::pods::Pods;

/// An ADD under way.
#[derive(Debug)]
struct Adding {
    pod: String,
    /// The pod had no network when it was called, and nothing else was under way.
    from_nothing: bool,
    /// Meanwhile somebody else may have had one of its ports.
    may_be_taken: bool,
}

/// What pods asked for when they were added last.
#[derive(Debug, Default)]
pub(super) struct Ports {
    asked: BTreeMap<String, Vec<Port>>,
    adding: BTreeMap<u32, Adding>,
}

impl Ports {
    fn of(&self, pod: &str) -> &[Port] {
        self.asked.get(pod).map_or(&[][..], Vec::as_slice)
    }

    /// Whether there is a packet for a port of one and for a port of the other.
    fn overlap(&self, one: &str, other: &str) -> bool {
        self.of(one).iter().any(|one| {
            self.of(other).iter().any(|other| {
                let hosts = one.host == other.host || one.host.is_empty() || other.host.is_empty();
                one.protocol == other.protocol && one.port == other.port && hosts
            })
        })
    }

    /// An ADD is called.
    pub(super) fn begins(&mut self, call: u32, pod: &str, ports: &[Port], pods: &mut Pods) {
        self.asked.insert(pod.to_owned(), ports.to_vec());
        let mut adding = std::mem::take(&mut self.adding);
        for other in adding.values_mut().filter(|other| other.pod != pod) {
            other.may_be_taken |= self.overlap(&other.pod, pod);
        }
        self.adding = adding;
        let others = pods.not_gone().filter(|other| *other != pod);
        let may_be_taken = others.into_iter().any(|other| self.overlap(other, pod));
        let adding = Adding {
            pod: pod.to_owned(),
            from_nothing: pods.begins(call, pod),
            may_be_taken,
        };
        self.adding.insert(call, adding);
    }

    /// An ADD was answered, or its plugin was killed.
    pub(super) fn ended(&mut self, call: u32) {
        self.adding.remove(&call);
    }

    /// All calls were cut off.
    pub(super) fn cut_off(&mut self) {
        self.adding.clear();
    }

    /// An ADD that was refused for its ports has left nothing.
    pub(super) fn refused(&mut self, call: u32, pod: &str, pods: &mut Pods) -> Option<String> {
        let adding = self.adding.remove(&call)?;
        if adding.from_nothing {
            pods.refused(call, pod);
        }
        (!adding.may_be_taken).then(|| format!("a free port was refused: {pod}"))
    }

    /// Nobody else that lives has one of a pod's ports.
    pub(super) fn led(&self, pod: &str, pods: &Pods) -> Option<String> {
        let living = pods.living().map(|(other, _)| other);
        let mut others = living.filter(|other| *other != pod);
        let other = others.find(|other| self.overlap(other, pod))?;
        Some(format!("two owners of a port: {other} and {pod}"))
    }

    /// The ports of those who live lead to them, and no others do.
    pub(super) fn rested(&self, ports: &[(Port, String)], pods: &Pods) -> Vec<String> {
        let mut wanted = BTreeSet::new();
        for (pod, addresses) in pods.living() {
            for port in self.of(pod) {
                wanted.extend(addresses.iter().map(|to| (port.clone(), to.clone())));
            }
        }
        let led: BTreeSet<(Port, String)> = ports.iter().cloned().collect();
        let lost = wanted.difference(&led);
        let mut found: Vec<String> = lost
            .map(|(port, to)| format!("lost port: {port:?} does not lead to {to}"))
            .collect();
        let unsure: Vec<&Port> = pods.unsure().flat_map(|pod| self.of(pod)).collect();
        let surplus = led.difference(&wanted);
        let surplus = surplus.filter(|(port, _)| !unsure.contains(&port));
        found.extend(surplus.map(|(port, to)| format!("port of nobody: {port:?} leads to {to}")));
        found
    }
}
