//! Ports of the node in the kernel that belong to no endpoint, whole or in part.

use std::collections::BTreeSet;
use std::net::IpAddr;

use veni_dataplane::{HalfPort, HostPort, Observed};

use super::next_start;
use crate::journal::endpoint::Record;
use crate::node_check::finding::{Cure, Finding, Kind};

/// Of the ports of endpoints, what is missing stands among the endpoints' differences.
pub(super) fn orphans(records: &[&Record], observed: &Observed) -> Vec<Finding> {
    let wanted = records.iter().flat_map(|record| record.plan.host_ports());
    let wanted: BTreeSet<HostPort> = wanted.collect();
    let pods: BTreeSet<IpAddr> = wanted.iter().map(|port| port.pod).collect();
    let whole = observed.host_ports.iter();
    let whole = whole.filter(|port| !wanted.contains(port)).map(of_nobody);
    let half = observed.half_ports.iter().filter_map(|half| match half {
        HalfPort::WithoutPod(port) => (!wanted.contains(port)).then(|| of_nobody(port)),
        HalfPort::WithoutPort(pod) => (!pods.contains(pod)).then(|| without_port(*pod)),
    });
    whole.chain(half).collect()
}

fn of_nobody(port: &HostPort) -> Finding {
    Finding {
        kind: Kind::Orphan,
        what: format!("the node's port {port} belongs to no endpoint"),
        breaks: "what is sent to the port does not reach whoever should have it".to_owned(),
        cure: next_start(),
    }
}

fn without_port(pod: IpAddr) -> Finding {
    let set = match pod {
        IpAddr::V4(_) => "pods_v4",
        IpAddr::V6(_) => "pods_v6",
    };
    Finding {
        kind: Kind::Orphan,
        what: format!("{pod} is in the set {set} of nftables, and no port leads to it"),
        breaks: "a pod that gets the address and reaches itself by a service sees the node's \
                 address instead of its own"
            .to_owned(),
        cure: Cure::Operator(format!(
            "nft delete element inet veni_host_ports {set} '{{ {pod} . {pod} }}'"
        )),
    }
}
