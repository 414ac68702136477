//! NetworkPolicies of networking.k8s.io/v1, with the API server's defaults and refusals.

use ipnet::IpNet;
use serde::Deserialize;

use super::{Invalid, ObjectName, Selector, api};
use crate::{Ports, Protocol};

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "api::NetworkPolicy")]
pub struct NetworkPolicy {
    /// Namespace and name.
    pub name: ObjectName,
    /// Which pods of its namespace it isolates.
    pub pods: Selector,
    /// What the pods may receive, nothing but this; `None` where the policy leaves ingress alone.
    pub ingress: Option<Vec<Rule>>,
    /// What the pods may send, nothing but this; `None` where the policy leaves egress alone.
    pub egress: Option<Vec<Rule>>,
}

/// Peers by ports: each of `peers` by each of `ports`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// An empty list means every address.
    pub peers: Vec<Peer>,
    /// An empty list means every port of every protocol.
    pub ports: Vec<Port>,
}

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Addresses.
    Block {
        /// The range, without host bits.
        cidr: IpNet,
        /// Parts of it that the peer lacks.
        except: Vec<IpNet>,
    },
    /// Pods.
    Pods {
        /// Of which namespaces; `None` means the policy's own.
        namespaces: Option<Selector>,
        /// Which of their pods.
        pods: Selector,
    },
}

/// Destination ports of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// By number.
    Number(Ports),
    /// What the destination's containers call so.
    Name(String, Protocol),
}

impl TryFrom<api::NetworkPolicy> for NetworkPolicy {
    type Error = Invalid;

    fn try_from(raw: api::NetworkPolicy) -> Result<Self, Invalid> {
        let name = raw.metadata.require_object_name("NetworkPolicy")?;
        Self::try_new(name.clone(), raw.spec.unwrap_or_default()).map_err(|(field, reason)| {
            Invalid {
                object: format!("NetworkPolicy {name}"),
                field: format!("spec.{field}"),
                reason,
            }
        })
    }
}

/// The field below the object that was read, and the reason.
type Refusal = (String, String);

/// Puts the place of an element before what it refuses.
fn at(place: String) -> impl Fn(Refusal) -> Refusal {
    move |(field, reason)| (format!("{place}{field}"), reason)
}

impl NetworkPolicy {
    fn try_new(name: ObjectName, spec: api::NetworkPolicySpec) -> Result<Self, Refusal> {
        let ingress = spec.ingress.unwrap_or_default();
        let egress = spec.egress.unwrap_or_default();
        let (isolates_ingress, isolates_egress) =
            directions(&spec.policy_types.unwrap_or_default(), !egress.is_empty())?;
        let ingress = ingress
            .into_iter()
            .enumerate()
            .map(|(i, rule)| {
                Rule::try_new("from", rule.from, rule.ports).map_err(at(format!("ingress[{i}].")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let egress = egress
            .into_iter()
            .enumerate()
            .map(|(i, rule)| {
                Rule::try_new("to", rule.to, rule.ports).map_err(at(format!("egress[{i}].")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            name,
            pods: Selector::try_new(spec.pod_selector.unwrap_or_default())
                .map_err(at("podSelector.".to_owned()))?,
            ingress: isolates_ingress.then_some(ingress),
            egress: isolates_egress.then_some(egress),
        })
    }
}

/// Whether the policy isolates for ingress and for egress, defaults as the API server's.
fn directions(types: &[String], has_egress: bool) -> Result<(bool, bool), Refusal> {
    for (index, text) in types.iter().enumerate() {
        if !matches!(text.as_str(), "Ingress" | "Egress") {
            let reason = format!("must be Ingress or Egress; it is {text:?}");
            return Err((format!("policyTypes[{index}]"), reason));
        }
    }
    let names = |name| types.iter().any(|text| text == name);
    Ok(match types {
        [] => (true, has_egress),
        _ => (names("Ingress"), names("Egress")),
    })
}

impl Rule {
    fn try_new(
        peers_field: &str,
        peers: Option<Vec<api::Peer>>,
        ports: Option<Vec<api::Port>>,
    ) -> Result<Self, Refusal> {
        let peers = peers.unwrap_or_default().into_iter().enumerate();
        let ports = ports.unwrap_or_default().into_iter().enumerate();
        Ok(Self {
            peers: peers
                .map(|(i, peer)| Peer::try_new(peer).map_err(at(format!("{peers_field}[{i}]"))))
                .collect::<Result<_, _>>()?,
            ports: ports
                .map(|(i, port)| Port::try_new(port).map_err(at(format!("ports[{i}]"))))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl Peer {
    fn try_new(raw: api::Peer) -> Result<Self, Refusal> {
        match (raw.ip_block, raw.namespace_selector, raw.pod_selector) {
            (Some(block), None, None) => block_peer(block),
            (Some(_), _, _) => Err((
                String::new(),
                "ipBlock must stand alone, without podSelector and namespaceSelector".to_owned(),
            )),
            (None, None, None) => Err((
                String::new(),
                "must name a peer: ipBlock, podSelector or namespaceSelector".to_owned(),
            )),
            (None, namespaces, pods) => Ok(Self::Pods {
                namespaces: namespaces
                    .map(Selector::try_new)
                    .transpose()
                    .map_err(at(".namespaceSelector.".to_owned()))?,
                pods: Selector::try_new(pods.unwrap_or_default())
                    .map_err(at(".podSelector.".to_owned()))?,
            }),
        }
    }
}

fn block_peer(raw: api::IpBlock) -> Result<Peer, Refusal> {
    let cidr = range(&raw.cidr).map_err(at(".ipBlock.cidr".to_owned()))?;
    let mut except = Vec::new();
    for (index, text) in raw.except.unwrap_or_default().iter().enumerate() {
        let place = format!(".ipBlock.except[{index}]");
        let part = range(text).map_err(at(place.clone()))?;
        if part == cidr || !cidr.contains(&part) {
            let reason = format!("must be a part of {cidr} and smaller; it is {text:?}");
            return Err((place, reason));
        }
        except.push(part);
    }
    Ok(Peer::Block { cidr, except })
}

/// Host bits are dropped, and an IPv4 range in IPv6's notation is one of IPv4, as the API server and
/// Go's `net.ParseCIDR` have it.
fn range(text: &str) -> Result<IpNet, Refusal> {
    let range: IpNet = text.parse().map_err(|_| {
        let reason = format!("must be a range as 10.0.0.0/8 or fd00::/8; it is {text:?}");
        (String::new(), reason)
    })?;
    if let IpNet::V6(six) = range
        && let Some(address) = six.addr().to_ipv4_mapped()
        && let Some(length) = six.prefix_len().checked_sub(96)
        && let Ok(four) = IpNet::new(address.into(), length)
    {
        return Ok(four.trunc());
    }
    Ok(range.trunc())
}

impl Port {
    fn try_new(raw: api::Port) -> Result<Self, Refusal> {
        let protocol = Protocol::try_new(raw.protocol.as_deref())
            .map_err(|reason| (".protocol".to_owned(), reason))?;
        let end = |reason: &str| Err((".endPort".to_owned(), reason.to_owned()));
        let some = |first, last| {
            Self::Number(Ports::Some {
                protocol,
                first,
                last,
            })
        };
        match (raw.port, raw.end_port) {
            (None, None) => Ok(some(0, u16::MAX)),
            (Some(api::IntOrString::Int(port)), last) => {
                let first = number(".port", port)?;
                let last = last.map_or(Ok(first), |last| number(".endPort", last))?;
                if last < first {
                    return end(&format!(
                        "must be at least port, which is {first}; it is {last}"
                    ));
                }
                Ok(some(first, last))
            }
            (_, Some(_)) => end("needs a port that is a number"),
            (Some(api::IntOrString::String(name)), None) => {
                check_name(&name).map_err(|reason| (".port".to_owned(), reason))?;
                Ok(Self::Name(name, protocol))
            }
        }
    }
}

fn number(field: &str, value: i64) -> Result<u16, Refusal> {
    let port = u16::try_from(value).ok().filter(|&port| port > 0);
    port.ok_or_else(|| {
        let reason = format!("must be from 1 to 65535; it is {value}");
        (field.to_owned(), reason)
    })
}

/// Names of ports are those of RFC 6335, in small letters.
fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let well_formed = (1..=15).contains(&name.len())
        && name.chars().all(allowed)
        && name.contains(|c: char| c.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if well_formed {
        return Ok(());
    }
    Err(format!(
        "must be a number, or a name of up to 15 small letters, digits and hyphens with at least \
         one letter; it is {name:?}"
    ))
}
