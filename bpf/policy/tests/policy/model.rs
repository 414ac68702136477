//! What Kubernetes says that policies mean, slow and obvious: the objects' JSON, a flow, yes or no.
//!
//! It shares no code with the compiler. The sentences in quotation marks are those of
//! kubernetes.io/docs/concepts/services-networking/network-policies and of the API's reference.

use std::net::IpAddr;

use serde_json::Value;

/// Objects as the API has them.
pub(crate) struct Model {
    pub(crate) objects: Vec<Value>,
}

/// The first packet of a flow, seen from the pod that is judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    /// `Ingress` or `Egress`.
    pub(crate) direction: &'static str,
    pub(crate) peer: IpAddr,
    /// `TCP`, `UDP`, `SCTP` or another one.
    pub(crate) protocol: &'static str,
    /// The destination's.
    pub(crate) port: u64,
}

impl Model {
    fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = &Value> {
        self.objects
            .iter()
            .filter(move |object| object["kind"] == kind)
    }

    pub(crate) fn allows(&self, pod: &Value, flow: Flow) -> bool {
        // "NetworkPolicies apply to a connection with a pod"; pods with hostNetwork are the node's.
        if pod["spec"]["hostNetwork"] == true {
            return true;
        }
        let isolating: Vec<&Value> = self
            .of_kind("NetworkPolicy")
            .filter(|policy| namespace_of(policy) == namespace_of(pod))
            .filter(|policy| selects(&policy["spec"]["podSelector"], &pod["metadata"]["labels"]))
            .filter(|policy| applies_to(policy, flow.direction))
            .collect();
        // "By default, a pod is non-isolated"; "the effects of those policies combine additively".
        isolating.is_empty()
            || isolating
                .iter()
                .any(|policy| self.policy_allows(policy, pod, flow))
    }

    fn policy_allows(&self, policy: &Value, pod: &Value, flow: Flow) -> bool {
        let (rules, peers) = match flow.direction {
            "Ingress" => ("ingress", "from"),
            _ => ("egress", "to"),
        };
        // The destination's owner matters for named ports, the peer's for selectors: the address
        // alone, and each pod that has it.
        let mut identities: Vec<Option<&Value>> = vec![None];
        identities.extend(self.pods_at(flow.peer).map(Some));
        list(&policy["spec"][rules]).any(|rule| {
            identities.iter().any(|&peer| {
                let destination = if rules == "ingress" { Some(pod) } else { peer };
                // "If this field is empty or missing, this rule matches all sources."
                let from_all = list(&rule[peers]).next().is_none();
                let peer_matches = from_all
                    || list(&rule[peers]).any(|entry| self.is_peer(entry, policy, flow.peer, peer));
                // "If this field is empty or missing, this rule matches all ports."
                let all_ports = list(&rule["ports"]).next().is_none();
                let port_matches = all_ports
                    || list(&rule["ports"]).any(|entry| is_port(entry, flow, destination));
                peer_matches && port_matches
            })
        })
    }

    /// Pods that are running or will be, with an address of their own.
    fn pods_at(&self, address: IpAddr) -> impl Iterator<Item = &Value> {
        self.of_kind("Pod").filter(move |pod| {
            pod["spec"]["hostNetwork"] != true
                && pod["status"]["phase"] != "Succeeded"
                && pod["status"]["phase"] != "Failed"
                && list(&pod["status"]["podIPs"]).any(|entry| parse(&entry["ip"]) == address)
        })
    }

    fn is_peer(&self, entry: &Value, policy: &Value, address: IpAddr, pod: Option<&Value>) -> bool {
        if !entry["ipBlock"].is_null() {
            let block = &entry["ipBlock"];
            let excepted = list(&block["except"]).any(|range| contains(range, address));
            return contains(&block["cidr"], address) && !excepted;
        }
        let Some(pod) = pod else {
            return false;
        };
        let namespace_matches = if entry["namespaceSelector"].is_null() {
            namespace_of(pod) == namespace_of(policy)
        } else {
            self.of_kind("Namespace").any(|namespace| {
                namespace["metadata"]["name"] == namespace_of(pod)
                    && selects(
                        &entry["namespaceSelector"],
                        &namespace["metadata"]["labels"],
                    )
            })
        };
        namespace_matches && selects(&entry["podSelector"], &pod["metadata"]["labels"])
    }
}

/// "If no policyTypes are specified on a NetworkPolicy then by default Ingress will always be set
/// and Egress will be set if the NetworkPolicy has any egress rules."
fn applies_to(policy: &Value, direction: &str) -> bool {
    let types = &policy["spec"]["policyTypes"];
    if list(types).next().is_some() {
        return list(types).any(|kind| kind == direction);
    }
    direction == "Ingress" || list(&policy["spec"]["egress"]).next().is_some()
}

fn is_port(entry: &Value, flow: Flow, destination: Option<&Value>) -> bool {
    if or_tcp(&entry["protocol"]) != flow.protocol {
        return false;
    }
    match &entry["port"] {
        Value::Null => true,
        Value::Number(first) => {
            let first = first.as_u64().expect("a port");
            let last = entry["endPort"].as_u64().unwrap_or(first);
            first <= flow.port && flow.port <= last
        }
        name => list(&destination.unwrap_or(&Value::Null)["spec"]["containers"])
            .flat_map(|container| list(&container["ports"]))
            .any(|port| {
                port["name"] == *name
                    && or_tcp(&port["protocol"]) == flow.protocol
                    && port["containerPort"].as_u64() == Some(flow.port)
            }),
    }
}

/// "The result of matchLabels and matchExpressions are ANDed"; an empty selector matches all.
fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector["matchLabels"].as_object().into_iter().flatten();
    let mut expressions = list(&selector["matchExpressions"]);
    wanted.into_iter().all(|(key, value)| labels[key] == *value)
        && expressions.all(|expression| {
            let value = &labels[expression["key"].as_str().expect("a key")];
            let among = list(&expression["values"]).any(|one| one == value);
            match expression["operator"].as_str().expect("an operator") {
                "In" => among,
                "NotIn" => !among,
                "Exists" => !value.is_null(),
                "DoesNotExist" => value.is_null(),
                other => panic!("operator {other}"),
            }
        })
}

fn namespace_of(object: &Value) -> &str {
    object["metadata"]["namespace"]
        .as_str()
        .expect("a namespace")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn or_tcp(protocol: &Value) -> &str {
    protocol.as_str().unwrap_or("TCP")
}

fn parse(text: &Value) -> IpAddr {
    text.as_str().expect("text").parse().expect("an address")
}

/// Bit by bit.
fn contains(range: &Value, address: IpAddr) -> bool {
    let (network, length) = range
        .as_str()
        .expect("a range")
        .split_once('/')
        .expect("a length");
    let length: usize = length.parse().expect("a number");
    match (network.parse().expect("an address"), address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (0..length).all(|bit| (a.to_bits() ^ b.to_bits()) >> (31 - bit) & 1 == 0)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (0..length).all(|bit| (a.to_bits() ^ b.to_bits()) >> (127 - bit) & 1 == 0)
        }
        _ => false,
    }
}
