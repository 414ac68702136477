//! The compiler's verdicts are those of the model.

use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::Value;
use veni_policy::objects::{Namespace, NetworkPolicy, Object, Pod};
use veni_policy::{Direction, compile};

use crate::generated::{ADDRESSES, any_objects, config};
use crate::model::{Flow, Model};

/// Objects sorted by kind, as the compiler takes them.
#[derive(Default)]
pub(crate) struct Sorted {
    pub(crate) policies: Vec<NetworkPolicy>,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) pods: Vec<Pod>,
}

impl Sorted {
    pub(crate) fn new(objects: impl IntoIterator<Item = Object>) -> Self {
        let mut sorted = Self::default();
        for object in objects {
            match object {
                Object::NetworkPolicy(policy) => sorted.policies.push(policy),
                Object::Namespace(namespace) => sorted.namespaces.push(namespace),
                Object::Pod(pod) => sorted.pods.push(pod),
            }
        }
        sorted
    }

    pub(crate) fn compile(&self, pod: &Pod) -> veni_policy::PodPolicy {
        compile(&self.policies, &self.namespaces, &self.pods, pod)
    }
}

pub(crate) fn read(value: &Value) -> Object {
    let mut read = Object::read(value.clone());
    read.remove(0)
        .unwrap_or_else(|invalid| panic!("{invalid} in {value}"))
}

/// IP's numbers; another protocol than a policy's three is ICMP.
pub(crate) fn number(protocol: &str) -> u8 {
    match protocol {
        "TCP" => 6,
        "UDP" => 17,
        "SCTP" => 132,
        _ => 1,
    }
}

const PORTS: [(&str, u64); 8] = [
    ("TCP", 80),
    ("TCP", 81),
    ("TCP", 53),
    ("TCP", 65535),
    ("UDP", 53),
    ("UDP", 80),
    ("SCTP", 80),
    ("ICMP", 0),
];

fn flows() -> impl Iterator<Item = Flow> {
    let others = ["10.0.1.4", "10.0.1.7", "2001:db8::1"];
    let peers = ADDRESSES.into_iter().chain(others);
    peers.flat_map(|peer| {
        let peer: IpAddr = peer.parse().expect("an address");
        PORTS.into_iter().flat_map(move |(protocol, port)| {
            ["Ingress", "Egress"].map(|direction| Flow {
                direction,
                peer,
                protocol,
                port,
            })
        })
    })
}

pub(crate) fn direction(flow: Flow) -> Direction {
    match flow.direction {
        "Ingress" => Direction::Ingress,
        _ => Direction::Egress,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_flow_of_made_up_clusters_meets_the_models_verdict(objects in any_objects()) {
        let sorted = Sorted::new(objects.iter().map(read));
        let model = Model { objects };
        for pod in model.objects.iter().filter(|object| object["kind"] == "Pod") {
            let Object::Pod(read) = read(pod) else { unreachable!() };
            let policy = sorted.compile(&read);
            for flow in flows() {
                let port = flow.port as u16;
                let verdict = policy.lookup(direction(flow), flow.peer, number(flow.protocol), port);
                let expected = model.allows(pod, flow);
                prop_assert_eq!(verdict.passes(), expected, "{} {:?}: {:?}", read.name, flow, policy);
            }
        }
    }
}
