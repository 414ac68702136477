//! What the policies that isolate a pod in one direction allow, before it is known which pods there
//! are: ranges of addresses in their final form, and selectors to be held against each pod.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::blocks::{Blocks, Grant};
use crate::objects::{Labels, NetworkPolicy, Peer, Pod, Port, Rule, Selector};
use crate::{Class, Direction, PortRange, Ports, Protocol};

/// What named ports mean on one pod: the numbers, and none where the pod has no such port.
pub(crate) type Numbers = BTreeMap<(String, Protocol), Vec<u16>>;

/// The rules of all policies that isolate a pod in one direction.
#[derive(Debug)]
pub(crate) struct Terms {
    /// The policies, as `NAMESPACE/NAME`.
    pub(crate) origins: Vec<String>,
    /// What ranges of addresses are allowed, by ports that have numbers.
    pub(crate) blocks: Blocks,
    terms: Vec<Term>,
}

/// One peer of one rule, as far as it depends on pods.
#[derive(Debug)]
struct Term {
    origin: u32,
    who: Who,
    /// Not for [`Who::Within`]: `Terms::blocks` has them.
    ports: Vec<Ports>,
    /// Ports of the peer's, of egress alone: on ingress they are the subject's.
    names: Vec<(String, Protocol)>,
}

#[derive(Debug)]
enum Who {
    /// Pods of one namespace.
    Here { namespace: String, pods: Selector },
    /// Pods of selected namespaces.
    Across {
        namespaces: Selector,
        pods: Selector,
    },
    /// Pods whose address lies in a range: their ports have the names.
    Within { cidr: IpNet, except: Vec<IpNet> },
}

/// The terms that concern the pods of one namespace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Relevant(Vec<usize>);

impl Relevant {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whose pods the terms need to know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reach<'a> {
    Here(&'a str),
    Across(&'a Selector),
    Everywhere,
}

/// Every address of both families.
pub(crate) fn everywhere() -> [IpNet; 2] {
    [Ipv4Net::default().into(), Ipv6Net::default().into()]
}

impl Terms {
    /// `policies` isolate the pod in `direction`. `numbers` says what their named ports mean on the
    /// pod, and matters for ingress alone.
    pub(crate) fn new(
        direction: Direction,
        policies: &[&NetworkPolicy],
        numbers: &Numbers,
    ) -> Self {
        let mut terms = Vec::new();
        let mut grants = Vec::new();
        for (origin, policy) in (0..).zip(policies) {
            for rule in rules(policy, direction) {
                let (ports, names) = ports_of(rule, direction, numbers);
                for who in whos(rule, &policy.name.namespace) {
                    if let Who::Within { cidr, except } = &who {
                        let of = |&ports| PortRange { ports, origin };
                        grants.push(Grant {
                            cidr: *cidr,
                            except: except.clone(),
                            ports: ports.iter().map(of).collect(),
                        });
                        if names.is_empty() {
                            continue;
                        }
                    }
                    terms.push(Term {
                        origin,
                        who,
                        ports: ports.clone(),
                        names: names.clone(),
                    });
                }
            }
        }
        Self {
            origins: policies
                .iter()
                .map(|policy| policy.name.to_string())
                .collect(),
            blocks: Blocks::new(&grants),
            terms,
        }
    }

    /// The terms that can match pods of a namespace. `labels` are the namespace's; while they are
    /// unknown, no selector of namespaces matches it.
    pub(crate) fn relevant(&self, namespace: &str, labels: Option<&Labels>) -> Relevant {
        let concerns = |term: &Term| match &term.who {
            Who::Here { namespace: own, .. } => own == namespace,
            Who::Across { namespaces, .. } => {
                labels.is_some_and(|labels| namespaces.matches(labels))
            }
            Who::Within { .. } => true,
        };
        let indexes = 0..self.terms.len();
        Relevant(
            indexes
                .filter(|&index| concerns(&self.terms[index]))
                .collect(),
        )
    }

    /// Adds to `allowed` what the pod is allowed beyond what its address is. The pod may be a peer.
    pub(crate) fn add_allowed(
        &self,
        relevant: &Relevant,
        pod: &Pod,
        address: IpAddr,
        allowed: &mut Vec<PortRange>,
    ) {
        for term in relevant.0.iter().map(|&index| &self.terms[index]) {
            let (matches, ports) = match &term.who {
                Who::Here { pods, .. } | Who::Across { pods, .. } => {
                    (pods.matches(&pod.labels), &term.ports[..])
                }
                Who::Within { cidr, except } => {
                    let excepted = except.iter().any(|part| part.contains(&address));
                    (cidr.contains(&address) && !excepted, &[][..])
                }
            };
            if matches {
                let names = term.names.iter();
                let named = names.flat_map(|(name, protocol)| numbers_on(pod, name, *protocol));
                let origin = term.origin;
                let all = ports.iter().copied().chain(named);
                allowed.extend(all.map(|ports| PortRange { ports, origin }));
            }
        }
    }

    /// Whose pods decide what the terms allow.
    pub(crate) fn reaches(&self) -> impl Iterator<Item = Reach<'_>> {
        self.terms.iter().map(|term| match &term.who {
            Who::Here { namespace, .. } => Reach::Here(namespace),
            Who::Across { namespaces, .. } if namespaces.is_empty() => Reach::Everywhere,
            Who::Across { namespaces, .. } => Reach::Across(namespaces),
            Who::Within { .. } => Reach::Everywhere,
        })
    }

    /// What an address is allowed that `pods` have: each with the terms of its namespace.
    pub(crate) fn class<'a>(
        &self,
        address: IpAddr,
        pods: impl Iterator<Item = (&'a Pod, &'a Relevant)>,
    ) -> Class {
        let mut allowed = Vec::new();
        for (pod, relevant) in pods {
            self.add_allowed(relevant, pod, address, &mut allowed);
        }
        let covering = self.blocks.class(address);
        if allowed.is_empty() {
            return covering.clone();
        }
        allowed.extend_from_slice(&covering.ports);
        Class::new(allowed)
    }
}

/// The rules of a policy for a direction; none where it does not isolate for it.
pub(crate) fn rules(policy: &NetworkPolicy, direction: Direction) -> &[Rule] {
    let rules = match direction {
        Direction::Ingress => &policy.ingress,
        Direction::Egress => &policy.egress,
    };
    rules.as_deref().unwrap_or_default()
}

/// Ports by number, and those whose number depends on the peer. An empty list of a rule means all
/// ports; one whose names the pod lacks allows none.
fn ports_of(
    rule: &Rule,
    direction: Direction,
    numbers: &Numbers,
) -> (Vec<Ports>, Vec<(String, Protocol)>) {
    if rule.ports.is_empty() {
        return (vec![Ports::All], Vec::new());
    }
    let (mut ports, mut names) = (Vec::new(), Vec::new());
    for port in &rule.ports {
        match port {
            Port::Number(range) => ports.push(*range),
            Port::Name(name, protocol) if direction == Direction::Egress => {
                names.push((name.clone(), *protocol));
            }
            Port::Name(name, protocol) => {
                let known = numbers.get(&(name.clone(), *protocol));
                let known = known.into_iter().flatten();
                ports.extend(known.map(|&number| single(*protocol, number)));
            }
        }
    }
    (ports, names)
}

fn whos(rule: &Rule, own: &str) -> Vec<Who> {
    if rule.peers.is_empty() {
        return everywhere()
            .map(|cidr| Who::Within {
                cidr,
                except: Vec::new(),
            })
            .into();
    }
    let who = |peer: &Peer| match peer {
        Peer::Block { cidr, except } => Who::Within {
            cidr: *cidr,
            except: except.clone(),
        },
        Peer::Pods {
            namespaces: None,
            pods,
        } => Who::Here {
            namespace: own.to_owned(),
            pods: pods.clone(),
        },
        Peer::Pods {
            namespaces: Some(namespaces),
            pods,
        } => Who::Across {
            namespaces: namespaces.clone(),
            pods: pods.clone(),
        },
    };
    rule.peers.iter().map(who).collect()
}

/// What a pod's containers call `name`.
pub(crate) fn numbers_on(pod: &Pod, name: &str, protocol: Protocol) -> impl Iterator<Item = Ports> {
    pod.ports
        .iter()
        .filter(move |port| port.name == name && port.protocol == protocol)
        .map(move |port| single(protocol, port.port))
}

fn single(protocol: Protocol, port: u16) -> Ports {
    Ports::Some {
        protocol,
        first: port,
        last: port,
    }
}
